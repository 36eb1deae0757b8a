"""Whether a difference between two forecasters is real: docs/protocol.md in code. Pure functions, nothing of files."""

from __future__ import annotations

from forecast.comparison.error_diagnostics import (
    CopyCheck,
    LeakAlarm,
    LjungBox,
    copy_check,
    leak_alarm,
    ljung_box,
    one_step,
)
from forecast.comparison.losses import by_origin, choose, variance_parts
from forecast.comparison.multiple_comparisons import Ranks, friedman_nemenyi, holm, model_confidence_set, ranked
from forecast.comparison.paired_tests import (
    DieboldMariano,
    Equivalence,
    change_by_step,
    diebold_mariano,
    equivalence,
)
from forecast.comparison.verdicts import Verdicts, compare, verdict

__all__ = [
    "CopyCheck",
    "DieboldMariano",
    "Equivalence",
    "LeakAlarm",
    "LjungBox",
    "Ranks",
    "Verdicts",
    "by_origin",
    "change_by_step",
    "choose",
    "compare",
    "copy_check",
    "diebold_mariano",
    "equivalence",
    "friedman_nemenyi",
    "holm",
    "leak_alarm",
    "ljung_box",
    "model_confidence_set",
    "one_step",
    "ranked",
    "variance_parts",
    "verdict",
]
