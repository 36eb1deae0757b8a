"""A regressor of scikit-learn by its name, one for all steps of the horizon: the lead time is an input.

Per origin t and step h it sees the last `lags` values of the targets as differences to the newest one, their level and
its averages, the newest rows and averages of the other inputs, the calendar of t + h, h itself, and the values one
season, two and seven of them before t + h as far as the lookback reaches. It is fitted to the change from the last
value, or to what the ridge leaves (`base`), on at most `rows` pairs of origin and step. Missing values are carried
forward before, as for every model, so no regressor meets a NaN.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from forecast.data.windows import Layout, Windows
from forecast.models import regressors, search
from forecast.models.base import RegressorSpec
from forecast.models.problem import FittedModel, Parameters, Problem
from forecast.models.skip import Kind
from forecast.system.errors import ModelFailure, closest, quote_names

BOOSTING = "HistGradientBoostingRegressor"
TREES = (BOOSTING, "RandomForestRegressor", "ExtraTreesRegressor")
SEASONS_BACK = (1, 2, 7)
DEFAULTS: dict[str, dict[str, Any]] = {
    BOOSTING: {"max_iter": 200, "learning_rate": 0.05, "max_features": 0.3, "early_stopping": False},
    "RandomForestRegressor": {"n_estimators": 100, "max_features": 0.3},
    "ExtraTreesRegressor": {"n_estimators": 100, "max_features": 0.3},
    "KNeighborsRegressor": {"n_neighbors": 50},
}
"""Where scikit-learn's own defaults are too slow or too greedy for tens of thousands of rows."""


class Spec(RegressorSpec):
    summary: ClassVar[str] = "A regressor of scikit-learn with the lead time as an input; boosted trees by default."
    equation: ClassVar[str] = "y[t+h] = b[t+h] + F(y[t-k] - y[t], y[t+h-jm] - y[t], x[t], f[t+h], h), b: y[t] or ridge"
    source: ClassVar[str] = "Pedregosa et al. 2011; boosting: Friedman 2001, Ke et al. 2017"

    family: Literal["sklearn"] = "sklearn"
    regressor: Annotated[str, AfterValidator(regressors.known)] = BOOSTING
    options: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, description="arguments of the regressor, by their names in scikit-learn"
    )
    base: Literal["last", "ridge"] = Field("ridge", description="what it is fitted to the error of")
    lags: int = Field(24, ge=2, description="newest rows of the targets; at most the lookback")
    leaves: int = Field(31, ge=2, description="of a tree, at most")
    leaf_rows: int = Field(100, ge=1, description="rows in a leaf, at least; fewer where there are few rows")
    rows: int = Field(60_000, ge=100, description="pairs of origin and step it is fitted on, evenly spread")

    @model_validator(mode="after")
    def _options_are_known(self) -> Spec:
        names = inspect.signature(self._class()).parameters if self.options else {}  # scikit-learn takes a second
        for name in self.options:
            if name not in names:
                raise ValueError(
                    f"{self.regressor} has no option {name!r}.{closest(name, names)} It has {quote_names(names)}"
                )
        fields = type(self).model_fields
        for name in ("leaves", "leaf_rows"):
            if self.regressor not in TREES and getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} has no effect on {self.regressor}, which has no trees; leave it out")
        return self

    @property
    def beside(self) -> Kind | None:
        return "linear" if self.base == "ridge" else None

    def space(self) -> Mapping[str, search.Dimension]:
        common: dict[str, search.Dimension] = {"base": search.Choice(("ridge", "last"))}
        if self.regressor not in TREES:
            return common
        return {**common, "leaves": search.Choice((7, 15, 31)), "leaf_rows": search.Choice((30, 100, 300))}

    def modules(self) -> list[str]:
        return [*super().modules(), regressors.__name__]

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """Per output `o` the arrays `o/...` of its regressor; boosting keeps the trees that validation asks for."""
        season = problem.panel.task.season_length

        def trees(output: int, arrays: Mapping[str, np.ndarray]) -> int:
            return _best_count(arrays, *self._table(problem, "validation", output, season))

        return self._fitted(problem, trees)

    def fit_again(self, problem: Problem, chosen: Mapping[str, np.ndarray], *, seed: int) -> Parameters:
        return self._fitted(problem, lambda output, arrays: len(chosen[f"{output}/roots"]))

    def _fitted(self, problem: Problem, trees: Callable[[int, Mapping[str, np.ndarray]], int]) -> Parameters:
        from threadpoolctl import threadpool_limits

        found: dict[str, np.ndarray] = {}
        season = problem.panel.task.season_length
        for output in range(problem.panel.outputs):
            x, y = self._table(problem, "train", output, season)
            if len(y) < 2:
                raise ModelFailure(f"{self.regressor} found {len(y)} observed train targets; at least 2 are needed.")
            with threadpool_limits(1):  # candidates run side by side; spinning threads take ten times as long
                model = self._regressor(len(y)).fit(x, y)
            arrays = regressors.KINDS[self.regressor][1](model)
            if self.regressor == BOOSTING:
                arrays = regressors.first_trees(arrays, trees(output, arrays))
            found |= {f"{output}/{name}": value for name, value in arrays.items()}
        return Parameters(found)

    def _regressor(self, rows: int) -> Any:
        kind = self._class()
        about = dict(DEFAULTS.get(self.regressor, {}))
        if self.regressor in TREES:
            about |= {"max_leaf_nodes": self.leaves, "min_samples_leaf": max(1, min(self.leaf_rows, rows // 20))}
        if "random_state" in inspect.signature(kind).parameters:
            about["random_state"] = 0
        return kind(**{**about, **self.options})

    def _class(self) -> Any:
        return getattr(importlib.import_module(regressors.KINDS[self.regressor][0]), self.regressor)

    def _table(self, problem: Problem, block: str, output: int, season: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (n, features) and what is left of the targets (n,), over all series; unobserved ones left out."""
        horizon = problem.panel.task.horizon
        count = sum(len(problem.rows(uid, block)) for uid in problem.blocks) * horizon
        every = max(1, -(-count // self.rows)) if block == "train" else 1
        skip = problem.skip(self.beside or "last", horizon)
        xs, ys = [], []
        for windows, target in problem.examples(block, horizon)():
            left = (target - skip.forecast(windows, problem.channels))[:, :, output]
            kept = np.isfinite(left) & (windows.rows % every == 0)[:, None]
            xs.append(self.inputs(windows, problem.channels, horizon, season)[kept])
            ys.append(left[kept])
        return np.concatenate(xs), np.concatenate(ys)

    def scaled_forecast(self, model: FittedModel, windows: Windows) -> np.ndarray:
        horizon, channels = model.task.horizon, model.channels
        x = self.inputs(windows, channels, horizon, model.task.season_length)
        steps = x.reshape(-1, x.shape[2])
        parts = []
        for output in range(channels.outputs):
            own = {name.split("/", 1)[1]: a for name, a in model.weights.items() if name.startswith(f"{output}/")}
            parts.append(regressors.predict(own, steps).reshape(len(windows), horizon))
        base = np.repeat(windows.last[:, None], horizon, axis=1)
        if self.beside is not None and model.skip is not None:
            base = model.skip.forecast(windows, channels)
        return base + np.stack(parts, axis=2)

    def inputs(self, windows: Windows, channels: Layout, horizon: int, season: int) -> np.ndarray:
        """(B, H, features) float64."""
        past = windows.past.astype(np.float64)
        steps = np.arange(1, horizon + 1)
        origin = np.hstack(list(self._of_origin(past, channels, season)))
        ahead = [windows.future[:, -horizon:].astype(np.float64)]
        ahead.append(np.broadcast_to(steps[None, :, None] / horizon, (len(past), horizon, 1)))
        ahead += _of_seasons(past, channels, steps, season)
        ahead += _of_leads(past, channels, horizon)
        return np.concatenate([np.repeat(origin[:, None], horizon, axis=1), *ahead], axis=2)

    def _of_origin(self, past: np.ndarray, channels: Layout, season: int) -> Iterator[np.ndarray]:
        recent, day = past[:, -self.lags :], past[:, -max(season, 2) :]
        for i, channel in enumerate(channels.target_channels):
            newest = 0.0 if channels.difference_inputs[i] else past[:, -1:, channel]
            yield recent[:, :, channel] - newest
            yield past[:, -1:, channel]
            for part in (day, past):
                level = part[:, :, channel] - newest
                yield np.stack([level.mean(axis=1), level.min(axis=1), level.max(axis=1)], axis=1)
        others = [channel for channel in channels.value[channels.outputs :] if channel not in channels.leads]
        yield np.hstack([past[:, -1, others], past[:, -3:, others].mean(axis=1), day[:, :, others].mean(axis=1)])


def _of_seasons(past: np.ndarray, channels: Layout, steps: np.ndarray, season: int) -> list[np.ndarray]:
    """(B, H, 1) each: a target's value a number of seasons before t + h, from the newest one; as far as it is seen."""
    found = []
    for back in SEASONS_BACK if season > 1 else ():
        at = past.shape[1] - 1 + steps - season * np.maximum(back, -(-steps // season))
        for i, channel in enumerate(channels.target_channels):
            if at.min() >= 0:
                newest = 0.0 if channels.difference_inputs[i] else past[:, -1:, channel]
                found.append((past[:, at, channel] - newest)[:, :, None])
    return found


def _of_leads(past: np.ndarray, channels: Layout, horizon: int) -> list[np.ndarray]:
    """(B, H, 1) each: what was said or given at t of step t + h, one for every `future_exogenous` column."""
    leads = np.array(channels.leads, dtype=int).reshape(-1, horizon)
    return [past[:, -1, group][:, :, None] for group in leads]


def _best_count(arrays: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> int:
    """The number of trees with the lowest absolute error; all of them without an observed target."""
    if not len(y):
        return len(arrays["roots"])
    slices = zip(
        regressors.staged(arrays, x), np.split(y, range(regressors.ROWS, len(y), regressors.ROWS)), strict=True
    )
    return int(np.argmin(sum(np.abs(said - known[:, None]).sum(axis=0) for said, known in slices)))
