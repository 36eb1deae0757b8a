"""One thing a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """`count` values of `series` and `column` (empty: all) break `rule`; `sentence` says where and what to do."""

    rule: str
    series: str
    column: str
    count: int
    sentence: str
    action: str = "warn"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def times(moments: Iterable[pd.Timestamp]) -> str:
    """The first few moments, for a sentence; midnights as dates."""
    found = [pd.Timestamp(moment) for moment in moments]
    shown = [f"{m:%Y-%m-%d}" if m == m.normalize() else f"{m:%Y-%m-%d %H:%M}" for m in found[:SHOWN]]
    return ", ".join(shown) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
