"""Whether a difference between two forecasters is real: docs/protocol.md in code. Pure functions, nothing of files."""

from __future__ import annotations

from forecast.comparison.alarms import CopyCheck, LeakAlarm, copy_check, leak_alarm
from forecast.comparison.confidence_set import model_confidence_set
from forecast.comparison.dm import DieboldMariano, diebold_mariano
from forecast.comparison.equivalence import Equivalence, equivalence
from forecast.comparison.families import holm, verdict
from forecast.comparison.losses import by_origin, choose, variance_parts
from forecast.comparison.ranks import Ranks, friedman_nemenyi, ranked
from forecast.comparison.residuals import LjungBox, ljung_box, one_step
from forecast.comparison.steps import change_by_step
from forecast.comparison.verdicts import Verdicts, compare

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
