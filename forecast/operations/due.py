"""Is a dataset due for a challenger, and is its champion ageing? Pure functions of what is known and a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.retraining import Retraining
from forecast.operations.champion import Meta
from forecast.operations.drift import Shift


@dataclass(frozen=True)
class Due:
    """`reasons`: why a challenger is made, empty when it is not; `ageing`: why an equivalent one may take over."""

    reasons: tuple[str, ...]
    ageing: str
    numbers: dict[str, Any]


def due(
    meta: Meta | None,
    shifts: Sequence[Shift],
    dataset: Dataset,
    rules: Retraining,
    *,
    as_of: pd.Timestamp,
    new_steps: int,
) -> Due:
    """Age, drift and new rows. `as_of`: how far the data reach; `new_steps`: steps since the last gate."""
    if meta is None:
        return Due(("there is no champion",), "", {"new_steps": new_steps})
    # Not below 0: `meta` counts to the end of its last day, the data to the begin of their last step.
    age = max(0.0, (as_of - pd.Timestamp(meta.as_of)) / pd.Timedelta(1, "D"))
    ageing = []
    if age >= rules.max_age_days:
        ageing.append(f"stale ({age:.0f} days old, {rules.max_age_days:g} allowed)")
    drifted = [shift.what for shift in shifts if shift.drifted]
    if drifted:
        ageing.append(f"drifting ({', '.join(drifted[:3])}{', ...' if len(drifted) > 3 else ''})")
    reasons = list(ageing) if new_steps > 0 else []
    wanted = rules.due_after(dataset)
    if new_steps >= wanted:
        reasons.append(f"{new_steps} new steps ({wanted} wanted)")
    return Due(tuple(reasons), " and ".join(ageing), {"age_days": round(age, 3), "new_steps": new_steps})
