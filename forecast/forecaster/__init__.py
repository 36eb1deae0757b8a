"""Problem → fit → Forecaster: one object for backtest and service.

    fitting, trainers      a fit of any family; the two trainers of a network
    forecaster             a fitted model: point forecasts, saving
    loops                  the closed loop of a one-step map, over the horizon or as long as wanted
    distributions          quantiles, paths and probabilities of a network's distribution head
    reconciliation         means of transformed targets, and forecasts of a hierarchy that add up
    intervals, watching    conformal intervals around any forecast; observations outside of them
    ensemble, serving      seeds or members as one model; a request answered
    unseen                 warnings about inputs unlike the training data

The backtest fits by this package; comparison, operations, tracking, audit and the Python door use
what was fitted. A fitted model forecasts without TensorFlow, which only training imports.
"""

from forecast.forecaster.distributions import (
    log_density,
    predict_quantiles,
    rise_probability,
    sample_paths,
)
from forecast.forecaster.fitting import FitResult, fit, fit_again
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.trainers import Budget
from forecast.models.problem import Problem

__all__ = [
    "Budget",
    "FitResult",
    "Forecaster",
    "Problem",
    "fit",
    "fit_again",
    "log_density",
    "predict_quantiles",
    "rise_probability",
    "sample_paths",
]
