"""configs/experiments.yaml: input-output records, entries of kind `experiment`, for `forecast identify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forecast.config.reading import Config, load, require_plain_names
from forecast.system.errors import InputError, closest, quote_names

Share = Annotated[float, Field(gt=0, le=0.4)]


class Record(Config):
    """One entry. `file`: a CSV with a row per time, relative to the project; `record`: its column whose values tell
    several records apart; `sampling_time` in seconds.

    `test`: the share of every record's rows at its end, or the names of whole records; `validation`: the share of the
    other rows, at the end of each.
    """

    kind: Literal["experiment"]
    title: str = ""
    file: Path
    outputs: tuple[str, ...] = Field(min_length=1)
    inputs: tuple[str, ...] = ()
    record: str | None = None
    sampling_time: float = Field(default=1.0, gt=0)
    validation: Share = 0.25
    test: Share | tuple[str, ...] = 0.2
    rows: tuple[Literal["identify", "narx_lm", "gru", "lstm", "arx"], ...] = (
        "identify",
        "narx_lm",
        "gru",
        "lstm",
        "arx",
    )
    seed: int = 0


class Records(Config):
    """The whole file."""

    experiments: dict[str, Record]

    @model_validator(mode="after")
    def _names_are_plain(self) -> Records:
        require_plain_names(self.experiments, "experiment")
        return self


def load_record(name: str, folder: Path | str = "configs") -> Record:
    """One entry; `InputError` with the nearest name when it is unknown."""
    known = load(Records, Path(folder) / "experiments.yaml").experiments
    if name not in known:
        raise InputError(f"Unknown experiment {name!r}.{closest(name, known)} Known: {quote_names(known)}.")
    return known[name]
