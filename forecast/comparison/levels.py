"""Errors by level of a hierarchy, for `comparing`: of the reconciled forecasts, which serve; of the
forecasts of each series and sum by itself (base); and of the added forecasts of the series (bottom
up).

`level_scores` makes a table with the MASE on the test block. Of a combination only the reconciled
forecasts are known. Nothing is selected by these errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from forecast.comparison.scores import ScoredCandidate
from forecast.config.task import Task
from forecast.data.hierarchy import SERIES_LEVEL, TOTAL, level_of
from forecast.data.results import Results
from forecast.forecaster.reconciliation import bottom_up

ALL_LEVELS = "all"
LEVEL_ERRORS = ("mase", "mase_base", "mase_bottom_up")
"""The columns with the MASE of the reconciled, the base and the bottom-up forecasts."""


def level_scores(
    results: Results, scored: Iterable[ScoredCandidate], scale: Mapping[str, float], task: Task
) -> pd.DataFrame:
    """`model, ranking, level, n_series` and `LEVEL_ERRORS` on the test block: for each candidate
    that has not failed a row per level, from the total down, and one of all levels.

    scale: the denominator of MASE by series
    """
    order = [*dict.fromkeys([TOTAL, *task.hierarchy, SERIES_LEVEL]), ALL_LEVELS]
    parts = []
    for candidate in scored:
        if candidate.record.has_failed:
            continue
        errors = _errors_by_series(results.forecasts(candidate.name, "test"), scale)
        levels = pd.Series([level_of(str(name), task) for name in errors.index], errors.index)
        table = errors.groupby(levels).mean()
        table.loc[ALL_LEVELS] = errors.mean()
        counts = levels.value_counts()
        counts[ALL_LEVELS] = len(errors)
        table.insert(0, "n_series", counts)
        table = table.reindex([name for name in order if name in table.index])
        labelled = table.rename_axis("level").reset_index().assign(**candidate.record.labels)
        parts.append(labelled[["model", "ranking", "level", "n_series", *LEVEL_ERRORS]])
    return pd.concat(parts, ignore_index=True)


def _errors_by_series(forecasts: pd.DataFrame, scale: Mapping[str, float]) -> pd.DataFrame:
    """`LEVEL_ERRORS` of each series and sum, for the mean of the seeds' forecasts."""
    keys = ["cutoff", "step"]
    known = forecasts if "base" in forecasts else forecasts.assign(base=np.nan)
    wide = known.groupby([*keys, "unique_id"])[["y", "y_hat", "base"]].mean().unstack("unique_id")
    names = [str(name) for name in wide["y"].columns]
    sums = bottom_up(wide["base"].to_numpy().T, names).T
    forecasts_by_name = dict(zip(LEVEL_ERRORS, (wide["y_hat"], wide["base"], sums), strict=True))
    scales = np.array([scale[name] for name in names])
    errors = {
        name: (values - wide["y"]).abs().mean() / scales
        for name, values in forecasts_by_name.items()
    }
    return pd.DataFrame(errors)
