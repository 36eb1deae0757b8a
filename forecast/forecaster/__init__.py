"""Problem → fit → Forecaster: one object for backtest and service."""

from forecast.forecaster.beams import BestPaths, most_probable_paths
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
    "BestPaths",
    "Budget",
    "FitResult",
    "Forecaster",
    "Problem",
    "fit",
    "fit_again",
    "log_density",
    "most_probable_paths",
    "predict_quantiles",
    "rise_probability",
    "sample_paths",
]
