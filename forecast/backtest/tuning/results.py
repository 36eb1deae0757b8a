"""What a trial and a study leave behind, as plain data without Optuna."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TrialOutcome:
    """What the objective returns: the validation loss (lower is better), its curve, or why the model failed.

    `curve` is a list of numbers or of rows such as `[step, loss]`; a non-empty `failed` makes `value` infinite.
    """

    value: float
    curve: Sequence[Any] = ()
    failed: str = ""

    @classmethod
    def failure(cls, reason: str) -> TrialOutcome:
        """A model that diverged or cannot be fitted with these parameters; it uses up its share of the budget."""
        return cls(value=math.inf, failed=reason)

    def checked(self) -> TrialOutcome:
        """Plain Python numbers; a value that is not finite without a reason gets one."""
        value = float(self.value)
        reason = self.failed or ("" if math.isfinite(value) else f"the validation loss is {value}")
        return TrialOutcome(value if not reason else math.inf, finite(self.curve), reason)


@dataclass(frozen=True)
class Trial:
    """One finished trial; `number` counts finished trials from 0, whatever was interrupted in between."""

    number: int
    value: float
    params: dict[str, Any]
    curve: list[Any] = field(default_factory=list)
    reason: str = ""

    @property
    def state(self) -> str:
        return "failed" if self.reason else "complete"

    def to_json(self) -> dict[str, Any]:
        content = {"number": self.number, "state": self.state, "params": self.params, "curve": self.curve}
        content["value"] = None if self.reason else self.value
        return content | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True)
class StudyResult:
    """The first `n_trials` finished trials of the study `key`, in order."""

    key: str
    n_trials: int
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The lowest value, the earliest of equals; None when every trial failed."""
        succeeded = [trial for trial in self.trials if not trial.reason]
        return min(succeeded, key=lambda trial: trial.value, default=None)

    def to_json(self, *, model: str, skip: str | None, gradient_steps: int) -> dict[str, Any]:
        """The content of data/tuned/<dataset>/<model>.<skip>.json; equal studies give equal bytes."""
        best = self.best
        return {
            "model": model,
            "skip": skip,
            "study": self.key,
            "n_trials": self.n_trials,
            "gradient_steps": gradient_steps,
            "best": None if best is None else {"number": best.number, "value": best.value, "params": best.params},
            "trials": [trial.to_json() for trial in self.trials],
        }


def finite(value: Any) -> Any:
    """Nested lists of plain numbers; JSON knows neither NaN nor infinity, so they become None."""
    if isinstance(value, list | tuple) or hasattr(value, "tolist"):
        members = value.tolist() if hasattr(value, "tolist") else value
        return [finite(member) for member in members] if isinstance(members, list | tuple) else finite(members)
    return None if isinstance(value, float) and not math.isfinite(value) else value
