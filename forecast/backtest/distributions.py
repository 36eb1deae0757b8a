"""What a candidate with a head says beyond its point forecasts, at every scored origin."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from forecast.backtest import refits
from forecast.backtest.refits import Stage
from forecast.forecaster import Problem, log_density, predict_quantiles, rise_probability
from forecast.forecaster.distributions import LEVELS, LOG_DENSITY, RISE, quantile_column
from forecast.system.errors import ModelFailure


def with_distributions(
    fits: list[Stage], problem: Problem, forecasts: pd.DataFrame, *, seed: int
) -> pd.DataFrame | None:
    """`forecasts` of one seed without `y_hat`, and with the columns of its head; None for a point head.

    `ModelFailure` where what was drawn diverged, though the point forecast did not.
    """
    head = fits[0].forecaster.head
    if head is None:
        return None
    quantiles = partial(predict_quantiles, levels=LEVELS, seed=seed)
    parts = []
    for (uid, _), rows in forecasts.groupby(["unique_id", "block"], sort=False):
        ask = partial(refits.asked, fits, problem.panel, str(uid), _rows(problem, str(uid), rows))
        columns = {RISE: ask(partial(rise_probability, seed=seed))}
        if head.head.has_distribution:
            grid = ask(quantiles)
            if not np.isfinite(grid).all():
                raise ModelFailure(f"Quantiles of series {uid!r} are not finite: the paths of the model diverge.")
            columns |= {quantile_column(level): grid[..., place] for place, level in enumerate(LEVELS)}
            columns[LOG_DENSITY] = ask(log_density)
        own = {name: values.ravel() for name, values in columns.items()}
        parts.append(rows.drop(columns="y_hat").assign(**own))
    return pd.concat(parts, ignore_index=True)


def _rows(problem: Problem, uid: str, forecasts: pd.DataFrame) -> np.ndarray:
    """The origins of a series' forecasts as row numbers, in their order."""
    cutoffs = forecasts["cutoff"].drop_duplicates().to_numpy()
    return np.searchsorted(problem.panel.by_id[uid].ds, cutoffs)
