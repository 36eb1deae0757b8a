"""The mixed strategy: a recursive forecast, and a direct correction of every step of the horizon.

RECTIFY (Ben Taieb & Hyndman 2012, Recursive and direct multi-step forecasting: the best of both worlds):

    forecast[t + h] = recursive[t + h] + correction_h(window at t)            h = 1 .. H

The recursive forecast keeps the path of a one-step law; its bias, which grows where that law is bent or misses
something, is taken out by one ridge regression per step, fitted on what the recursive forecast leaves of the train
targets. The penalty is chosen on validation, and is large where nothing is left to correct.

    direct       `fit` with a family that forecasts all H steps at once
    recursive    `fit` with a one-step family (arx, narx, jordan): fed with its own forecasts
    mixed        `fit_mixed` on top of a recursive one
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast import files
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.loops import of_every_series, refuse_direct, scaled_run, windows_at
from forecast.forecaster.problem import Problem
from forecast.panel import Panel, Series
from forecast.skip import Batches, Skip, fit_linear
from forecast.windows import Windows


@dataclass(frozen=True)
class Mixed:
    """`correction`: a linear skip of the whole horizon; what it adds to the last value, it adds to the recursion."""

    recursive: Forecaster
    correction: Skip

    def predict(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """(n, H, O) forecasts in raw units per series, made at `rows` (the last row each may see)."""
        horizon = self.recursive.dataset.horizon

        def run(series: Series, at: np.ndarray) -> np.ndarray:
            return np.concatenate([self._scaled(w) for w in windows_at(self.recursive, series, at, horizon)])

        return of_every_series(self.recursive, panel, rows, horizon, run)

    def _scaled(self, windows: Windows) -> np.ndarray:
        change = self.correction.forecast(windows, self.recursive.channels) - windows.last[:, None, :]
        return scaled_run(self.recursive, windows, self.correction.horizon) + change

    def save(self, folder: Path) -> None:
        """The recursive forecaster in `folder/recursive`, the correction beside it."""
        self.recursive.save(folder / "recursive")
        files.write_json(folder / "correction.json", self.correction.to_json())
        files.write_arrays(folder / "correction.npz", self.correction.to_arrays())

    @classmethod
    def load(cls, folder: Path) -> Mixed:
        """What `save` wrote."""
        arrays = files.read_arrays(folder / "correction.npz")
        correction = Skip.from_saved(files.read_json(folder / "correction.json"), arrays)
        return cls(Forecaster.load(folder / "recursive"), correction)


def fit_mixed(problem: Problem, recursive: Forecaster) -> Mixed:
    """Fit the correction of a fitted recursive forecaster on the train rows; `InputError` for a direct family."""
    refuse_direct(recursive)
    dataset = problem.panel.dataset
    correction = fit_linear(
        _left_over(problem, recursive, "train"),
        _left_over(problem, recursive, "validation"),
        problem.channels,
        horizon=dataset.horizon,
        lags=[dataset.lookback],
        season=dataset.season,
    )
    return Mixed(recursive, correction)


def _left_over(problem: Problem, recursive: Forecaster, block: str) -> Batches:
    """Windows, and what the recursion leaves of their targets, written as a change from the last value."""
    horizon = problem.panel.dataset.horizon
    examples = problem.examples(block, horizon)
    wanted = [
        target - scaled_run(recursive, windows, horizon) + windows.last[:, None, :] for windows, target in examples()
    ]

    def pairs() -> Iterator[tuple[Windows, np.ndarray]]:
        for (windows, _), left in zip(examples(), wanted, strict=True):
            yield windows, left

    return pairs
