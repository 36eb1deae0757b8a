"""What the data are like, and what may be wrong with them: checks by rule that warn or refuse."""

from __future__ import annotations

from forecast.data.quality.check import enforce, findings
from forecast.data.quality.describe import describe
from forecast.data.quality.finding import Finding

__all__ = ["Finding", "describe", "enforce", "findings"]
