"""Networks in plain NumPy: the reference of the tests, the service without TensorFlow, closed loops
and the export.

forward       forecasts at every step of many windows
forecast_last forecasts at the end of each window alone
initial, step one row at a time, the state carried by the caller
absorb        the state after a window, from which `step` goes on
"""

from __future__ import annotations

from forecast.networks.inference.batch import forecast_last, forward
from forecast.networks.inference.streaming import absorb, initial, step
from forecast.networks.weights import initialise

__all__ = [
    "absorb",
    "forecast_last",
    "forward",
    "initial",
    "initialise",
    "step",
]
