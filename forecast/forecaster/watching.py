"""Anomaly detection: alarms for observations far from their one-step forecast, with a bound on the
number of false alarms.

    table = watch(ensemble, panel, rows, rate=10)       # one row per observation, `alarm` or not

The p-value of an observation is conformal (Vovk, Gammerman & Shafer 2005): the share of errors at
least as large as its own, among the calibration errors and itself; so the observation lies outside
of its interval of coverage 1 - p. LORD++ (Ramdas, Yang, Wainwright & Jordan 2017) with the decaying
memory of Rebjock, Kurt, Januschowski & Callot (2021) decides in the order of time which p-values
are alarms. Without the decay the alarm level would fall below the smallest p-value that some
hundred errors can give, and no fault of a long quiet series would be found:

    alarm_level[t] = share (1 - d + sum over earlier alarms s of d^(t-s) gamma[t-s])
    gamma[j] = 0.0722 ln(max(j, 2)) / (j exp(sqrt(ln j)))         (their sum is below 1)

The decay d is 1 - 1 / memory, with a memory of share (n + 1) observations for n calibration errors.
So alarm_level[t] is 1 / (n + 1), the smallest possible p-value, while there is no alarm. The alarm
levels of N observations with R alarms sum to at most N / (n + 1) + share R. That is also the
expected number of false alarms while p-values are valid, that is while errors are exchangeable with
those of calibration; after a change of level, or where errors are clustered, there are more. A
fault whose errors are of ordinary size is never found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.data.panel import Panel, series_name
from forecast.forecaster.ensemble import Ensemble
from forecast.forecaster.intervals import NO_CALIBRATION, Array, Difficulty, visible_volatility
from forecast.system.errors import InputError, quote_names

ALL_SERIES = ""
"""The name of the single stream of all series, where they are pooled."""
TOLERANCE = 1e-9
"""Relative tolerance of comparing a p-value with an alarm level, which it may equal exactly."""


@dataclass(frozen=True)
class Watched:
    """The judged observations. `table`: `unique_id, output, ds, y, y_hat, p, alarm_level, alarm`,
    one row per observation in the order in which they were judged. `n_errors`: the number of
    calibration errors by stream (one series, or all of them).
    """

    table: pd.DataFrame
    n_errors: Mapping[str, int]


def watch(
    ensemble: Ensemble,
    panel: Panel,
    rows: Mapping[str, np.ndarray],
    *,
    rate: float,
    pooled: bool = False,
) -> Watched:
    """Judge the observation after each of `rows` by the forecast made at that row. Missing
    observations, and series without calibration errors, are left out.

    rate: the percentage of alarms that may be false; in addition one observation in n + 1 is a
    false alarm, with n calibration errors. pooled: judge all series as one stream by the errors of
    all, each divided by the median of its series; for series with few errors each.

    `InputError` where no series has calibration errors, or they are too few for `rate`.
    """
    share = rate / 100
    if not 0 < share < 1:
        raise InputError(f"Rate {rate:g} %: wanted above 0 and below 100, as 10.")
    observations, references = _score_observations(ensemble, panel, rows, pooled=pooled)
    parts = []
    for stream, reference in references.items():
        of_stream = observations[observations["stream"] == stream]
        memory = share * (len(reference) + 1)
        if memory < 1:
            whose = repr(stream) if stream else "all series"
            raise InputError(
                f"Rate {rate:g} %: {whose} has {len(reference)} calibration errors, wanted"
                f" at least {math.ceil(1 / share) - 1}. Take a higher rate, pool the series, or"
                " lengthen the calibration block."
            )
        beaten = np.searchsorted(reference, of_stream["score"].to_numpy(), side="left")
        p_values = (1 + len(reference) - beaten) / (len(reference) + 1)
        levels, alarms = decide_alarms(p_values, share, memory)
        parts.append(of_stream.assign(p=p_values, alarm_level=levels, alarm=alarms))
    n_errors = {stream: len(reference) for stream, reference in references.items()}
    return Watched(pd.concat(parts, ignore_index=True).drop(columns=["stream", "score"]), n_errors)


def decide_alarms(p_values: Array, share: float, memory: float) -> tuple[Array, Array]:
    """The alarm levels (n,) of `p_values` (n,) in the order of time, and which are alarms (n,)
    bool.

    share: the share of alarms that may be false; memory: in observations, at least 1.
    """
    decay = 1 - 1 / memory
    levels = np.empty(len(p_values))
    alarms = np.zeros(len(p_values), dtype=bool)
    for i, p_value in enumerate(p_values):
        since = i - np.flatnonzero(alarms[:i]).astype(float)
        levels[i] = share * (1 - decay + np.sum(decay**since * _gamma(since)))
        alarms[i] = p_value <= levels[i] * (1 + TOLERANCE)
    return levels, alarms


def _gamma(since: Array) -> Array:
    """gamma[since]: the weight in the alarm level of an alarm `since` tests ago, before the decay
    and the share of false alarms (Ramdas et al. 2017, section 3).
    """
    return 0.0722 * np.log(np.maximum(since, 2)) / (since * np.exp(np.sqrt(np.log(since))))


def _score_observations(
    ensemble: Ensemble, panel: Panel, rows: Mapping[str, np.ndarray], *, pooled: bool
) -> tuple[pd.DataFrame, dict[str, Array]]:
    """Every observation after `rows` with its forecast, score and stream, in the order of time; and
    by stream the sorted calibration scores.
    """
    targets = panel.task.targets
    references: dict[str, list[Array]] = {}
    parts = []
    for unique_id, forecasts in ensemble.predict(panel, rows).items():
        series = panel.by_id[unique_id]
        before = visible_volatility(ensemble.scaling, series, rows[unique_id], panel.task)
        judged_rows = rows[unique_id] + 1
        ds = series.ds[judged_rows]
        for output, name in enumerate(targets):
            label = series_name(unique_id, name, targets)
            if label not in ensemble.calibrated:
                continue
            calibration = ensemble.calibrated[label]
            scores = calibration.scores[:, 0, 0]
            scores = scores[np.isfinite(scores)]
            median_score = 1.0
            stream = label
            if pooled:
                median_score = float(np.median(scores)) or 1.0
                stream = ALL_SERIES
            references.setdefault(stream, []).append(scores / median_score)
            actual = series.values[judged_rows, output]
            y_hat = forecasts[:, 0, output]
            difficulty = Difficulty.of_targets(before[:, output], ds[:, None], panel.task)
            score, _ = calibration.score_errors(actual[:, None], y_hat[:, None], difficulty)
            columns = {
                "unique_id": unique_id,
                "output": name,
                "ds": ds,
                "y": actual,
                "y_hat": y_hat,
                "stream": stream,
                "score": score[:, 0, 0] / median_score,
            }
            parts.append(pd.DataFrame(columns))
    if not parts:
        raise InputError(
            f"Series {quote_names(rows)}: no calibration errors to judge them by. {NO_CALIBRATION}"
        )
    observations = pd.concat(parts).dropna(subset="y").sort_values("ds", kind="stable")
    sorted_references = {name: np.sort(np.concatenate(each)) for name, each in references.items()}
    return observations, sorted_references
