"""What goes on inside a trained network: how long it remembers, whether it saturates, whether its loop is stable.

NumPy alone, in float64, on a handful of windows.
"""

from __future__ import annotations

from forecast.backtest.diagnostics.examine import diagnose

__all__ = ["diagnose"]
