"""The table `distributions.parquet`: what the train stage writes of a head, and the compare stage scores.

Its rows and keys are those of `forecasts.parquet`. `p_rise`: the probability of a value above the last one;
`q_0.025` ... `q_0.975`: quantiles in raw units; `log_density`: ln of the density at the actual, for heads that are
densities and steps that have a formula.
"""

from __future__ import annotations

FILE = "distributions.parquet"
EVEN = tuple(round(0.05 * k, 2) for k in range(1, 20))
LEVELS = (0.025, *EVEN, 0.975)
"""Quantiles that are kept: an even grid for the CRPS, and the ends of the 95 % interval."""
RISE, LOG_DENSITY = "p_rise", "log_density"


def quantile_column(level: float) -> str:
    return f"q_{level:g}"
