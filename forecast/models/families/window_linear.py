"""Family `window_linear`: linear maps of each target's own window, fitted in closed form. Such maps
were shown to beat long-horizon networks.

- `nlinear`: maps the differences to the last value to the changes from it;
- `dlinear`: maps a moving average and the differences to it to the values;
- `climatology`: maps the departures from harmonics of the calendar to later departures (a direct
  autoregression).

No other column is read, nor the calendar but by `climatology`. Each target has its own map, which
all series share. Maps are fitted by ridge regression instead of the papers' gradient steps: as in
the family `ridge` a map is a mean over penalties and lags, weighted by cross-validation
(`forecast.models.choice`). A refit keeps these settings. `dlinear` has no anchor where the target
drifts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from forecast.data.windows import Layout, Windows, fill_gaps
from forecast.models.base import RegressorSpec
from forecast.models.choice import (
    LinearBatch,
    fold_cases,
    fold_errors,
    mean_weights,
    steadiest_setting,
)
from forecast.models.problem import FittedForecaster, Parameters, Problem
from forecast.models.skip import (
    PENALTIES,
    calendar_harmonics,
    calendar_terms,
    centre_sums,
    fill_missing_targets,
    joint_shift,
    products_matrix,
    solve_ridge,
)
from forecast.system.errors import ModelError


class Spec(RegressorSpec):
    """Options of an entry of this family, its fit and its forecast."""

    summary = "A linear map of the target's own window: NLinear, DLinear, or climatology and AR."
    equation = "y[t+h] = b[t+h] + B_h' x; b, x: y[t], y - y[t]; 0, (mean, rest); c' f, y - c' f"
    source = "Zeng, Chen, Zhang & Xu 2023; climatology and AR: von Storch & Zwiers 1999"

    form: Literal["nlinear", "dlinear", "climatology"] = "nlinear"
    average: int = Field(25, ge=2, description="rows of dlinear's moving average")

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season; empty when it fits."""
        if self.form == "climatology" and season_length == 1:
            return "a climatology needs a season"
        return ""

    def refit_chosen(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
        """The arrays of a fit on more rows, with the settings of the first fit."""
        return self.fit(problem, seed=seed, chosen=chosen.weights)

    def fit(
        self, problem: Problem, *, seed: int, chosen: Mapping[str, np.ndarray] | None = None
    ) -> Parameters:
        """The arrays of each output o: `o/map` (inputs + 1, H), the coefficients of the inputs
        (`_inputs`; 0 for rows beyond the lags) and last the intercept; `o/mean_of` (settings, 3),
        the weight, lags and penalty of the ridges whose mean it is. A climatology also has
        `harmonics`, `levels` and `o/climatology`.

        chosen: the arrays of an earlier fit, whose settings stay; None: they are chosen here.
        """
        arrays: dict[str, np.ndarray] = {}
        task = problem.panel.task
        if self.form == "climatology":
            if chosen is None:
                pairs = calendar_harmonics(task.calendar_features, problem.most_train_rows)
                harmonics = np.array(pairs, dtype=np.int64)
            else:
                harmonics = chosen["harmonics"]
            arrays["harmonics"] = harmonics
            arrays["levels"] = problem.joint_level_ranges()
            for output in range(problem.panel.outputs):
                arrays[f"{output}/climatology"] = _fit_climatology(problem, output, harmonics)
        for output in range(problem.panel.outputs):
            if chosen is None:
                mean_of = self._choose_settings(problem, arrays, output)
            else:
                mean_of = chosen[f"{output}/mean_of"]

            def products(windows: Windows, target: np.ndarray, output: int = output) -> np.ndarray:
                batch = self._linear_batch(arrays, output, windows, target)
                return products_matrix(
                    batch.inputs[batch.is_usable], batch.targets[batch.is_usable]
                )

            # a climatology that is fitted again changes the inputs of earlier rows too
            key = None if self.form == "climatology" else (self.form, self.average, output)
            moments = centre_sums(problem.sum_train(products, task.horizon, key))
            n_inputs = len(moments.means) - task.horizon
            arrays[f"{output}/map"] = np.zeros((n_inputs + 1, task.horizon))
            for weight, lags, penalty in mean_of:
                columns = self._columns(task.lookback, int(lags))
                slopes = solve_ridge(moments, columns, penalty, task.horizon)
                arrays[f"{output}/map"][[*columns, -1]] += weight * slopes
            arrays[f"{output}/mean_of"] = mean_of
        return Parameters(arrays)

    def _choose_settings(
        self, problem: Problem, arrays: Mapping[str, np.ndarray], output: int
    ) -> np.ndarray:
        """(settings, 3): the weight, lags and penalty of each ridge in the mean, by their errors
        over the folds. `ModelError` where no ridge has a finite error in every fold.

        A climatology has a single setting, the steadiest one: its harmonics were fitted on the rows
        that score the folds, so small penalties look better than they are.
        """
        task = problem.panel.task

        def make_batch(windows: Windows, target: np.ndarray) -> LinearBatch:
            return self._linear_batch(arrays, output, windows, target)

        cases = fold_cases(problem.folds(task.horizon), {}, make_batch)
        pairs = list(itertools.product(task.candidate_lags(), PENALTIES))
        errors_by_pair = []
        for lags, penalty in pairs:
            columns = self._columns(task.lookback, lags)
            errors_by_pair.append(fold_errors(cases, columns, penalty))
        errors = np.array(errors_by_pair)
        errors[~np.isfinite(errors)] = np.nan
        mean = np.nan_to_num(errors.mean(axis=1), nan=np.inf)
        if not np.isfinite(mean).any():
            raise ModelError(
                "No linear map has a finite error on validation. Check the data, or move the dates."
            )
        if self.form == "climatology":
            weights = np.eye(len(pairs))[steadiest_setting(errors, len(PENALTIES))]
        else:
            weights = mean_weights(mean)
        return np.column_stack([weights, pairs])[weights > 0]

    def _linear_batch(
        self, arrays: Mapping[str, np.ndarray], output: int, windows: Windows, target: np.ndarray
    ) -> LinearBatch:
        """A batch as a regression: the inputs of whole lookbacks, and the targets (B, H) minus
        their base, with missing steps filled for the fit and NaN for the score.
        """
        x, base = self._inputs(windows, arrays, output, target.shape[1])
        y = fill_missing_targets(windows.last, target)[:, :, output] - base
        return LinearBatch(x, y, np.isfinite(y).all(axis=1), target[:, :, output] - base)

    def _columns(self, lookback: int, lags: int) -> np.ndarray:
        """The column numbers of `_inputs` for the last `lags` of `lookback` rows; twice as many for
        `dlinear`, which has two inputs per row.
        """
        rows = np.arange(lookback - lags, lookback)
        return np.concatenate([rows, lookback + rows]) if self.form == "dlinear" else rows

    def _inputs(
        self, windows: Windows, arrays: Mapping[str, np.ndarray], output: int, horizon: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The inputs (B, features), oldest row first, and the base (B, H) that the map adds to."""
        window = fill_gaps(windows.z[:, :, output : output + 1])[0][:, :, 0]
        if self.form == "nlinear":
            return window - window[:, -1:], np.repeat(window[:, -1:], horizon, axis=1)
        if self.form == "dlinear":
            mean = _moving_average(window, self.average)
            return np.hstack([mean, window - mean]), np.zeros((len(window), horizon))
        usual = _climatology_values(windows, arrays["harmonics"], arrays[f"{output}/climatology"])
        usual = usual + joint_shift(arrays, windows)[:, [output]]  # no pull back to fitted levels
        return window - usual[:, :-horizon], usual[:, -horizon:]

    def forecast(
        self, parameters: Mapping[str, np.ndarray], windows: Windows, channels: Layout
    ) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units: the map of each target applied to its own window,
        added to the base of the form (the last value, zero, or the climatology).
        """
        outputs = []
        for output in range(channels.outputs):
            linear_map = parameters[f"{output}/map"]
            slopes = linear_map[:-1]
            intercept = linear_map[-1]
            x, base = self._inputs(windows, parameters, output, len(intercept))
            lags = len(slopes) // (2 if self.form == "dlinear" else 1)
            columns = self._columns(windows.z.shape[1], lags)
            outputs.append(base + x[:, columns] @ slopes + intercept)
        return np.stack(outputs, axis=2)


def _moving_average(window: np.ndarray, rows: int) -> np.ndarray:
    """(B, L): centred means of `window` (B, L) over `rows` rows, both ends repeated."""
    padded = np.pad(window, ((0, 0), (rows - 1 - rows // 2, rows // 2)), mode="edge")
    total = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    return (total[:, rows:] - total[:, :-rows]) / rows


def _fit_climatology(problem: Problem, output: int, harmonics: np.ndarray) -> np.ndarray:
    """The coefficients (terms + 1,) of the climatology, the intercept last: least squares on the
    observed train rows of all series.
    """
    xs = []
    ys = []
    for series in problem.panel.series:
        start, stop = problem.blocks[series.unique_id].train
        xs.append(_calendar_design(series.future[start:stop], harmonics))
        ys.append(problem.scaled(series.unique_id)[start:stop, output])
    x = np.concatenate(xs)
    y = np.concatenate(ys)
    known = np.isfinite(y)
    return np.linalg.lstsq(x[known], y[known], rcond=None)[0]


def _climatology_values(
    windows: Windows, harmonics: np.ndarray, coefficients: np.ndarray
) -> np.ndarray:
    """The climatology (B, L + H) at every row of the windows and their horizons. Overlapping
    windows at equal distances share the computation of their rows.
    """
    future = windows.future
    distances = set(np.diff(windows.rows))
    distance = min(distances, default=0)
    is_one_stretch = len(distances) == 1 and len(set(windows.series)) == 1
    if is_one_stretch and 0 < distance <= future.shape[1]:
        rows = np.concatenate([future[0], *future[1:, -distance:]])
        values = _calendar_design(rows, harmonics) @ coefficients
        return np.lib.stride_tricks.sliding_window_view(values, future.shape[1])[::distance]
    values = _calendar_design(np.concatenate(future), harmonics) @ coefficients
    return values.reshape(future.shape[:2])


def _calendar_design(future: np.ndarray, harmonics: np.ndarray) -> np.ndarray:
    """(n, terms + 1): the `calendar_terms` of the rows `future` (n, F), and a column of ones."""
    calendar = future[:, : 2 * len(harmonics)].astype(np.float64)
    terms = calendar_terms(calendar, tuple(map(int, harmonics)))
    return np.hstack([*terms, np.ones((len(future), 1))])
