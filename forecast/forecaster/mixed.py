"""The mixed strategy: a recursive forecast, and a direct correction of every step of the horizon.

RECTIFY (Ben Taieb & Hyndman 2012, Recursive and direct multi-step forecasting: the best of both worlds):

    forecast[t + h] = recursive[t + h] + correction_h(window at t)            h = 1 .. H

The recursive forecast keeps the path of a one-step law; its bias, which grows where that law is bent or misses
something, is taken out by one ridge regression per step, fitted on what the recursive forecast leaves of the train
targets. The penalty is chosen on validation, and is large where nothing is left to correct.

    direct       a family that forecasts all H steps at once
    recursive    a one-step family (arx, narx, jordan), fed with its own forecasts
    mixed        the family `rectify` (on arx), or `corrected` on top of any recursive forecaster
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from forecast.data.windows import Windows
from forecast.forecaster.closed_loop import parallel
from forecast.forecaster.forecaster import Forecaster
from forecast.models.problem import Problem
from forecast.models.skip import Batches, fit_linear
from forecast.system.errors import InputError


def corrected(problem: Problem, recursive: Forecaster) -> Forecaster:
    """The one-step forecaster with a correction fitted on what its closed loop leaves of the train rows."""
    spec = recursive.spec
    if recursive.skip is None or not (spec.recursive or spec.corrected):
        raise InputError(
            f"Model {spec.family!r} has no closed loop to correct. Take a recursive family (arx, narx, jordan)."
        )
    task = problem.panel.task
    correction = fit_linear(
        _left_over(problem, recursive, "train"),
        _left_over(problem, recursive, "validation"),
        problem.channels,
        horizon=task.horizon,
        lags=task.candidate_lags()[-1:],
        season_length=task.season_length,
    )
    return replace(recursive, correction=correction)


def _left_over(problem: Problem, recursive: Forecaster, block: str) -> Batches:
    """Windows, and what the recursion leaves of their targets, written as a change from the last value."""
    horizon = problem.panel.task.horizon
    examples = problem.examples(block, horizon, purpose="skip")
    wanted = [target - _run(recursive, windows, horizon) + windows.last[:, None] for windows, target in examples()]

    def pairs() -> Iterator[tuple[Windows, np.ndarray]]:
        for (windows, _), left in zip(examples(), wanted, strict=True):
            yield windows, left

    return pairs


def _run(recursive: Forecaster, windows: Windows, horizon: int) -> np.ndarray:
    assert recursive.skip is not None
    about = (recursive.network, recursive.weights, recursive.skip, windows, recursive.channels)
    return parallel(*about, horizon=horizon, choice=recursive.fed_back)
