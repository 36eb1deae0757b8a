"""What the data are like, and what may be wrong with them: checks by rule that warn or refuse."""

from __future__ import annotations

from forecast.quality.check import enforce, findings
from forecast.quality.describe import describe
from forecast.quality.finding import Finding

__all__ = ["Finding", "describe", "enforce", "findings"]
