"""Forecasts of networks in NumPy, without TensorFlow: while they are trained by TensorFlow their
validation, and all that is forecast with them afterwards; and their export as a file.

forward          forecasts at every step of many windows
forecast_last    forecasts at the end of each window alone
final_states     the states after a window, from which `step` can go on
initial, step    one row at a time, with the states carried by the caller
"""

from __future__ import annotations

from forecast.networks.inference.batch import final_states, forecast_last, forward
from forecast.networks.inference.streaming import initial, step
from forecast.networks.weights import initialise

__all__ = ["final_states", "forecast_last", "forward", "initial", "initialise", "step"]
