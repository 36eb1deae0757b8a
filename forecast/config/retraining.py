"""configs/retraining.yaml: when a dataset is retrained, and what its gate asks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from forecast.config.datasets import Dataset
from forecast.config.reading import Config, read_yaml, validated
from forecast.config.task import RegularCalendar
from forecast.system.errors import InputError, closest, quote_names

SESSIONS = 60
FRESH_DAYS = 28
Event = Literal["success", "failure", "promotion"]


class Hooks(Config):
    """Who is told. `command`: words of a program that gets the decision as JSON on its standard input and the event in
    FORECAST_EVENT; `webhook`: an address that gets it as a POST (FORECAST_WEBHOOK in the environment goes first, so
    that an address which is a secret need not stand in a file)."""

    command: tuple[str, ...] = ()
    webhook: str = ""
    on: tuple[Event, ...] = ("failure", "promotion")
    timeout_seconds: float = Field(30.0, gt=0)


class Retraining(Config):
    """One dataset's rules.

    max_age_days: an older champion is stale; new_steps: so many new time steps make a challenger due (default: the
    horizon); fresh_steps: time steps that only the gate sees (default: 60 sessions, or 28 days); alpha: chance that
    luck alone promotes in a year of looks; margin: relative loss that still counts as equivalent; psi, ks_p and
    live_error: from where on the data, or the champion's live error over what was expected, count as drift;
    after_promotion: fit the promoted recipe again on all data (unscored), or serve what was scored; keep_snapshots:
    snapshots that stay in the work tree.
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

    def fresh(self, dataset: Dataset) -> int:
        """Time steps of the gate's block."""
        if self.fresh_steps is not None:
            return self.fresh_steps
        if not isinstance(dataset.calendar, RegularCalendar):
            return SESSIONS
        return max(steps_in(dataset.calendar, FRESH_DAYS), 8 * dataset.step_size)

    def wanted_origins(self, dataset: Dataset) -> int:
        """The fewest origins a gate decides on."""
        return max(self.fresh(dataset) // dataset.step_size, 8)

    def due_after(self, dataset: Dataset) -> int:
        return self.new_steps if self.new_steps is not None else dataset.horizon


class _File(Config):
    """Every key is optional everywhere, so an entry is checked as if it stood alone."""

    defaults: Retraining = Field(default_factory=lambda: Retraining.model_validate({}))
    datasets: dict[str, Retraining] = Field(default_factory=dict)


def load_retraining(name: str, folder: Path | str = "configs") -> Retraining:
    """The rules of one dataset: its entry over `defaults`; both, and the file, may be absent."""
    path = Path(folder) / "retraining.yaml"
    if not path.exists():
        return Retraining.model_validate({})
    content: dict[str, Any] = read_yaml(path) or {}
    validated(_File, content, where=str(path))
    entry = {**(content.get("defaults") or {}), **((content.get("datasets") or {}).get(name) or {})}
    return validated(Retraining, entry, where=f"{path}: {name}")


def check_retraining(names: Iterable[str], folder: Path | str = "configs") -> None:
    """`InputError` for a wrong key or value, and for an entry of a dataset that does not exist."""
    path, known = Path(folder) / "retraining.yaml", list(names)
    for name in validated(_File, read_yaml(path) or {}, where=str(path)).datasets:
        if name not in known:
            raise InputError(f"{path}: unknown dataset {name!r}.{closest(name, known)} Known: {quote_names(known)}.")


def steps_in(calendar: RegularCalendar, days: int) -> int:
    """How many steps of a regular calendar `days` hold."""
    import pandas as pd

    start = pd.Timestamp("2001-01-01")
    return len(pd.date_range(start, start + pd.Timedelta(days=days), freq=calendar.freq)) - 1
