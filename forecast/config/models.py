"""configs/models.yaml: named models, and the grid of names that a run compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from forecast.config.reading import Config, load
from forecast.config.training import Training
from forecast.system.errors import InputError, closest, quote_names

NAIVE = "naive"
"""The entry that every grid has, since every score is taken against it."""


class Models(Config):
    """`models` maps a name to its family and options; they are checked by the family itself (`forecast.models`).

    `training`: what every network trained by gradient starts from; an entry's own `training` goes before it.
    `rankings`: the leaderboards that every network is tuned and trained for, once for each.
    """

    grid: str
    grids: dict[str, tuple[str, ...]]
    rankings: tuple[Literal["shipped", "architecture"], ...] = Field(("shipped", "architecture"), min_length=1)
    training: Training = Field(default_factory=Training)
    models: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _names_are_known(self) -> Models:
        if self.grid not in self.grids:
            raise ValueError(
                f"grid {self.grid!r} is unknown.{closest(self.grid, self.grids)} Known: {quote_names(self.grids)}"
            )
        for grid, names in self.grids.items():
            for name in names:
                if name not in self.models:
                    raise ValueError(
                        f"grid {grid!r} names unknown model {name!r}.{closest(name, self.models)} "
                        f"Known: {quote_names(self.models)}"
                    )
        return self

    def selected(self, only: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
        """The entries of the grid in its order, or of `only`; `InputError` for a name that is not there."""
        for name in only:
            if name not in self.models:
                raise InputError(
                    f"Unknown model {name!r}.{closest(name, self.models)} "
                    f"Known in configs/models.yaml: {quote_names(self.models)}."
                )
        return {name: self.models[name] for name in (only or self.grids[self.grid])}


def load_models(folder: Path | str = "configs") -> Models:
    return load(Models, Path(folder) / "models.yaml")
