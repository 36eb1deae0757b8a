"""configs/retraining.yaml (`Retraining`), configs/schedule.yaml (`Schedule`) and
configs/experiments.yaml (`ExperimentEntry`, the records of `forecast identify`).

The first two files may be absent. A wrong key or value is an `InputError`. The rules of retraining
are explained and applied in `forecast.operations`; a new one is a field of `Retraining`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from forecast.config.reading import (
    EACH_ONCE,
    ONE_OR_MANY,
    Config,
    load_config,
    read_yaml,
    require_plain_names,
    validate_config,
)
from forecast.config.task import WEEKDAYS, ClockTime, TimeZone, Weekday
from forecast.system.errors import require_known

if TYPE_CHECKING:
    # not imported at run time, since `status` does without the settings of datasets
    from forecast.config.datasets import Dataset

DEFAULT_GATE_SESSIONS = 60
DEFAULT_GATE_DAYS = 28
HookEvent = Literal["promoted", "kept", "not_due", "failed"]
"""The end of a retraining: a new champion; a challenger that failed at the gate; no challenger,
since none was due; an error.
"""


class Hooks(Config):
    """Programs and addresses that are told the end of a retraining. `command`: the words of a
    program that gets the decision as JSON on standard input, and the event in FORECAST_EVENT.
    `webhook`: an address that gets it as a POST; FORECAST_WEBHOOK in the environment overrides it,
    so that a secret address need not be in a file.
    """

    command: tuple[str, ...] = ()
    webhook: str = ""
    on: tuple[HookEvent, ...] = ("failed", "promoted")
    timeout_seconds: float = Field(30.0, gt=0)


class Retraining(Config):
    """The rules of one dataset's retraining.

    When a challenger is due: `max_age_days`: an older champion is stale. `new_steps`: this many
    time steps since the last gate are enough (default: the horizon). `psi`, `ks_p`: a column drifts
    where its population stability index is at least psi and the p of a Kolmogorov-Smirnov test
    below ks_p. `live_error`: the champion drifts where its newest errors are at least this multiple
    of the expected one.

    How the gate decides: `fresh_steps`: this many time steps at the end are seen by the gate alone
    (default: 28 days, or 60 sessions, weekdays or rows without dates, and at least 8 origins).
    `alpha`: the chance that a challenger that is no better is promoted within a year of tests.
    `margin`: the relative loss that counts as equivalent.

    What follows: `after_promotion`: fit the promoted recipe again on all data (unscored), or serve
    the model that was scored. `keep_snapshots`: so many uncommitted ones stay in the work tree.
    """

    max_age_days: float = Field(30.0, gt=0)
    new_steps: int | None = Field(None, ge=1)
    fresh_steps: int | None = Field(None, ge=8)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    margin: float = Field(0.02, gt=0, lt=1)
    psi: float = Field(0.25, gt=0)
    ks_p: float = Field(0.001, gt=0, lt=1)
    live_error: float = Field(1.5, gt=1)
    after_promotion: Literal["refit", "serve"] = "refit"
    keep_snapshots: int = Field(10, ge=1)
    hooks: Hooks = Field(default_factory=lambda: Hooks.model_validate({}))

    def count_fresh_steps(self, dataset: Dataset) -> int:
        """The time steps of the gate's block."""
        if self.fresh_steps is not None:
            return self.fresh_steps
        steps = DEFAULT_GATE_SESSIONS
        if dataset.calendar.kind == "regular":
            import pandas as pd

            begin = pd.Timestamp("2001-01-01")
            end = begin + pd.Timedelta(DEFAULT_GATE_DAYS, "D")
            steps = len(pd.date_range(begin, end, freq=dataset.calendar.freq)) - 1
            if hours := dataset.calendar.opening_hours:
                day_steps = len(hours.step_starts(dataset.calendar.freq))
                steps = day_steps * len(hours.days) * DEFAULT_GATE_DAYS // 7
        elif dataset.calendar.kind == "year_weeks":
            steps = DEFAULT_GATE_DAYS // 7
        return max(steps, 8 * dataset.step_size)

    def min_gate_origins(self, dataset: Dataset) -> int:
        """The fewest origins a gate decides on."""
        return max(self.count_fresh_steps(dataset) // dataset.step_size, 8)


class _RetrainingFile(Config):
    """The whole file; every key may be left out, so each entry is checked by itself."""

    defaults: Retraining = Field(default_factory=lambda: Retraining.model_validate({}))
    datasets: dict[str, Retraining] = Field(default_factory=dict)


def _load_rules(path: Path) -> _RetrainingFile:
    """The rules of all datasets; the defaults where there is no file."""
    content = read_yaml(path) if path.exists() else None
    return validate_config(_RetrainingFile, content or {}, where=str(path))


def load_retraining(name: str, folder: Path | str) -> Retraining:
    """The rules of one dataset: its entry over `defaults`. Both, and the file, may be absent."""
    rules = _load_rules(Path(folder) / "retraining.yaml")
    entry = rules.datasets.get(name, rules.defaults)
    given = {key: getattr(entry, key) for key in entry.model_fields_set}
    return rules.defaults.model_copy(update=given)


def check_retraining(names: Collection[str], folder: Path | str) -> None:
    """`InputError` for a wrong key or value, and for an entry of an unknown dataset."""
    path = Path(folder) / "retraining.yaml"
    for name in _load_rules(path).datasets:
        require_known(name, names, f"{path}: correct or remove the entry: unknown dataset")


SCHEDULED_COMMANDS = ("retrain", "fetch", "predict", "watch", "status", "check", "run", "sync")


class ScheduledJob(Config):
    """One command at fixed times of fixed days.

    `run`: the words after `forecast`. `at`: times of day `HH:MM` in `time_zone`. `jitter_minutes`:
    each run is delayed by a random time up to this, so that many machines do not ask a service at
    once. `timeout_minutes`: after this the command is ended.
    """

    run: tuple[str, ...] = Field(min_length=1)
    at: Annotated[tuple[ClockTime, ...], ONE_OR_MANY] = Field(min_length=1)
    days: tuple[Weekday, ...] = Field(WEEKDAYS, min_length=1)
    time_zone: TimeZone = "UTC"
    jitter_minutes: float = Field(0.0, ge=0, lt=720)
    timeout_minutes: float = Field(120.0, gt=0)

    @field_validator("run", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        """The words of a command that is written as one text."""
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("run")
    @classmethod
    def _known_command(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuses commands that a schedule may not start."""
        require_known(value[0], SCHEDULED_COMMANDS, "unknown command", ValueError)
        return value

    @field_validator("at")
    @classmethod
    def _times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """The times in order, each once."""
        return tuple(sorted(set(value)))

    @property
    def times(self) -> tuple[time, ...]:
        """The times of day of `at`."""
        return tuple(time.fromisoformat(text) for text in self.at)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of `at`."""
        return ZoneInfo(self.time_zone)


class Schedule(Config):
    """Jobs by name; a name becomes a file name."""

    jobs: Annotated[dict[str, ScheduledJob], require_plain_names("job")] = Field(min_length=1)


def load_schedule(folder: Path | str) -> Schedule:
    """configs/schedule.yaml of `folder`; `InputError` for a fault in it."""
    return load_config(Schedule, Path(folder) / "schedule.yaml")


Share = Annotated[float, Field(gt=0, le=0.4)]
Simulator = Literal["identify", "narx_lm", "gru", "lstm", "arx"]


class ExperimentEntry(Config):
    """One experiment. `file`: a CSV or MATLAB file with a row per time, relative to the project.
    `record`: the column whose values tell several records apart.

    `test`: the share of every record's rows at its end, or the names of whole records.
    `validation`: the share of the other rows, at the end of each record.
    """

    kind: Literal["experiment"]
    title: str = ""
    file: Path
    outputs: tuple[str, ...] = Field(min_length=1)
    inputs: tuple[str, ...] = ()
    record: str | None = None
    validation: Share = 0.25
    test: Share | Annotated[tuple[str | int, ...], Field(min_length=1), EACH_ONCE] = 0.2
    models: Annotated[tuple[Simulator, ...], EACH_ONCE] = Field(get_args(Simulator), min_length=1)
    seed: int = Field(0, ge=0)


class Experiments(Config):
    """The whole file."""

    experiments: Annotated[dict[str, ExperimentEntry], require_plain_names("experiment")]


def load_experiment(name: str, folder: Path | str) -> ExperimentEntry:
    """One entry; `InputError` with the nearest name where it is unknown."""
    known = load_config(Experiments, Path(folder) / "experiments.yaml").experiments
    require_known(name, known, "Unknown experiment")
    return known[name]
