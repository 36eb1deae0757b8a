"""Scores of forecasts: pure formulas on arrays, in the unit of the data unless the name says otherwise.

Every function takes arrays of any equal shape and averages over all of it. A missing actual (NaN) is left out;
a missing forecast where the actual is known makes the score NaN: skipping it would flatter a model that failed.
"""

from __future__ import annotations

from forecast.comparison.metrics.distributions import (
    binomial_band,
    brier,
    coverage,
    coverage_by_step,
    crps_gaussian,
    crps_quantiles,
    crps_samples,
    interval_width,
    log_score_event,
    log_score_gaussian,
    log_score_student,
    pinball,
    reliability,
    winkler,
)
from forecast.comparison.metrics.points import (
    METRICS,
    Metric,
    Sample,
    Scale,
    absolute_errors,
    average,
    direction_hits,
    directional_accuracy,
    insample_scale,
    mae,
    mase,
    rmse,
    rmsse,
    skill,
    smape,
)

__all__ = [
    "METRICS",
    "Metric",
    "Sample",
    "Scale",
    "absolute_errors",
    "average",
    "binomial_band",
    "brier",
    "coverage",
    "coverage_by_step",
    "crps_gaussian",
    "crps_quantiles",
    "crps_samples",
    "direction_hits",
    "directional_accuracy",
    "insample_scale",
    "interval_width",
    "log_score_event",
    "log_score_gaussian",
    "log_score_student",
    "mae",
    "mase",
    "pinball",
    "reliability",
    "rmse",
    "rmsse",
    "skill",
    "smape",
    "winkler",
]
