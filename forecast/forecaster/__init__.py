"""Problem → fit → Forecaster: one object for backtest and service."""

from forecast.forecaster.fitting import Fitted, fit
from forecast.forecaster.forecaster import Forecaster, network_of
from forecast.forecaster.problem import Problem
from forecast.forecaster.trainers import Budget

__all__ = ["Budget", "Fitted", "Forecaster", "Problem", "fit", "network_of"]
