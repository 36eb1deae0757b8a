"""Family `sklearn`: a regressor of scikit-learn, or LightGBM's boosted trees, by its name; one
regressor for all steps of the horizon, with the step as an input.

For origin t and step h it reads the last `lags` values of the targets as differences to the newest
one, their level and its averages, the newest rows and averages of the past-only inputs, the
calendar and the known-future inputs of t + h, h itself, and the values one, two and seven seasons
before t + h as far as the lookback reaches. It is fitted to the change from the last value, or to
the error of the ridge (`base`), on about `rows` pairs of origin and step at most. Boosting keeps as
many trees as have the lowest error on validation; each split is the best of one random threshold
per input (Geurts, Ernst & Wehenkel 2006; docs/research/seconds.md). With `base: last` validation
also chooses among `TREE_FORMS`: some targets depend on exact thresholds, some not on the last value
(a closed day), and a river depends on the rain that is forecast for the steps before t + h
(docs/research/quarter-hour.md). Missing values are carried forward before, as for every model.

No regressor is pickled: a pickle can run any code when it is loaded, and needs the version of the
library that wrote it. Instead the arrays that a forecast needs are saved like the weights of a
network, and forecasts are made from them with NumPy alone (`predict`):

    trees         feature, threshold, left, right, value (nodes of all trees one after another),
                  roots, start
    kernel        vectors, weights, intercept, gamma (radial basis functions)
    neighbours    points, answers, count
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from forecast.data.windows import Layout, Windows
from forecast.models import search
from forecast.models.base import OF_SAVED_MODEL, RegressorSpec
from forecast.models.problem import FittedForecaster, Parameters, Problem
from forecast.models.skip import SkipKind, joint_shift
from forecast.networks.description import weights_at
from forecast.system.errors import InputError, ModelError, quote_names, require_known, suggest

ROWS_AT_ONCE = 2048
"""Rows that are forecast at once, which bounds the memory of the table of rows and trees."""
ROWS_NEAR = 128
"""The same for neighbours, with a table of rows and points."""
STEPS_PER_CUTOFF = 4
"""The mean number of steps of one cutoff that boosting is fitted to: neighbouring steps are nearly
equal. More where the cutoffs are too few to make up `rows` with so many.
"""
BOOSTING = "LGBMRegressor"
TREE_REGRESSORS = (BOOSTING, "RandomForestRegressor", "ExtraTreesRegressor")
SEASONS_BACK = (1, 2, 7)
"""Part of the format of saved models, which know their input columns by position: with another
tuple, those saved before would read wrong ones.
"""
DEFAULTS: dict[str, dict[str, Any]] = {
    BOOSTING: {
        "objective": "regression_l1",
        "extra_trees": True,
        "max_bin": 63,
        "boost_from_average": False,
        "force_row_wise": True,
        "n_jobs": 1,
        "random_state": 0,
        "verbose": -1,
    },
    "RandomForestRegressor": {"max_features": 0.3, "random_state": 0},
    "ExtraTreesRegressor": {"max_features": 0.3, "random_state": 0},
    "KNeighborsRegressor": {"n_neighbors": 50},
}
"""Arguments where a library's own defaults are too slow, or overfit, on tens of thousands of rows.
"""
POINT_OBJECTIVES = (
    "fair",
    "huber",
    "l1",
    "l2",
    "l2_root",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mse",
    "regression",
    "regression_l1",
    "regression_l2",
    "rmse",
    "root_mean_squared_error",
)
"""The names of LightGBM's losses for a mean or median forecast. Others are refused, as the number
of trees is chosen by the absolute error.
"""
N_TREES, N_EXACT_TREES = 100, 400
"""The most boosted trees: `N_TREES` of each form, while forms are compared and as the model;
`N_EXACT_TREES` as the model where the chosen form has exact thresholds
(docs/research/quarter-hour.md). `options: {n_estimators: ...}` replaces both.
"""
EXACT_LEAF_ROWS = 20
"""The least pairs in a leaf with exact thresholds."""


class TreeForm(NamedTuple):
    """A form of boosted trees: what they are fitted to, and how their splits are found."""

    has_base: bool
    """Whether they are fitted to the change from the base (`base`), or to the value itself."""
    is_exact: bool
    """Whether every threshold is tried, or one random threshold per input."""
    reads_earlier_steps: bool
    """Whether they read known-future inputs at the steps before t + h too."""
    least_gain: float
    """The share by which it must lower the validation error: of the usual form or, for a form that
    reads earlier steps, of the best form that does not.
    """


TREE_FORMS = (
    TreeForm(has_base=True, is_exact=False, reads_earlier_steps=False, least_gain=0.0),
    TreeForm(has_base=True, is_exact=True, reads_earlier_steps=False, least_gain=0.05),
    TreeForm(has_base=False, is_exact=True, reads_earlier_steps=False, least_gain=0.1),
    TreeForm(has_base=True, is_exact=False, reads_earlier_steps=True, least_gain=0.1),
    TreeForm(has_base=True, is_exact=True, reads_earlier_steps=True, least_gain=0.1),
    TreeForm(has_base=False, is_exact=True, reads_earlier_steps=True, least_gain=0.1),
)
"""The usual form first. Part of the format of saved models, which hold the number of their form."""


EARLIER_STEPS = 3
"""How many steps before t + h a form that reads earlier steps reads one by one."""
DECAY_SPANS = (3, 8, 24)
"""The spans (in steps) of its exponentially weighted means: a river keeps rain for some steps, the
walls of a house warmth for a day. Both are part of the format of saved models.
"""


class TreeNodes(NamedTuple):
    """The nodes of one tree, (nodes,) each; `left` and `right` are the numbers of child nodes."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    is_leaf: np.ndarray


def boosting_arrays(model: Any) -> dict[str, np.ndarray]:
    """The arrays `trees` of a fitted LGBMRegressor without categorical inputs. `InputError` for a
    `boosting_type` whose first trees are not a model of their own.
    """
    if model.boosting_type not in ("gbdt", "goss"):
        raise InputError(
            f"regressor {BOOSTING}: boosting_type {model.boosting_type!r} is not supported; wanted"
            " 'gbdt' or 'goss'. Leave it out, or take RandomForestRegressor."
        )
    texts = model.booster_.model_to_string().split("\nTree=")[1:]
    return _join_trees([_parse_tree(text) for text in texts])


def _parse_tree(text: str) -> TreeNodes:
    """The nodes of a tree in LightGBM's text format, all splits before all leaves. In the text a
    negative child ~k is leaf k.
    """
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def numbers(name: str) -> np.ndarray:
        return np.array(fields.get(name, "").split(), dtype=float)

    leaves = numbers("leaf_value")
    n_splits = len(leaves) - 1
    leaf_zeros = np.zeros(len(leaves), dtype=int)

    def children(side: str) -> np.ndarray:
        child = numbers(side).astype(int)
        return np.append(np.where(child < 0, n_splits + ~child, child), leaf_zeros)

    return TreeNodes(
        np.append(numbers("split_feature").astype(int), leaf_zeros),
        np.append(numbers("threshold"), leaf_zeros),
        children("left_child"),
        children("right_child"),
        np.append(np.zeros(n_splits), leaves),
        np.arange(2 * n_splits + 1) >= n_splits,
    )


def forest_arrays(model: Any) -> dict[str, np.ndarray]:
    """The arrays `trees` of a fitted RandomForestRegressor or ExtraTreesRegressor. Values are
    divided by the number of trees, so that the sum over trees is their mean.
    """
    trees = []
    for estimator in model.estimators_:
        tree = estimator.tree_
        value = tree.value[:, 0, 0] / len(model.estimators_)
        left = tree.children_left
        trees.append(
            TreeNodes(tree.feature, tree.threshold, left, tree.children_right, value, left < 0)
        )
    return _join_trees(trees)


def _join_trees(trees: Sequence[TreeNodes]) -> dict[str, np.ndarray]:
    """The arrays `trees`: the nodes of all trees one after another, the number of each root, and a
    start value of 0. A leaf is its own child, so that descending further stays there.
    """
    roots = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1]
    first = np.repeat(roots, [len(tree.feature) for tree in trees])
    nodes = TreeNodes(*(np.concatenate(parts) for parts in zip(*trees, strict=True)))
    numbers = np.arange(len(first))
    return {
        "feature": np.where(nodes.is_leaf, 0, nodes.feature).astype(np.int32),
        "threshold": np.where(nodes.is_leaf, np.inf, nodes.threshold),
        "left": np.where(nodes.is_leaf, numbers, first + nodes.left).astype(np.int32),
        "right": np.where(nodes.is_leaf, numbers, first + nodes.right).astype(np.int32),
        "value": np.where(nodes.is_leaf, nodes.value, 0.0),
        "roots": roots.astype(np.int32),
        "start": np.array(0.0),
    }


def kernel_arrays(model: Any) -> dict[str, np.ndarray]:
    """The arrays `kernel` of a fitted SVR; `InputError` for a kernel that is not Gaussian."""
    if model.kernel != "rbf":
        raise InputError(
            f"regressor SVR: kernel {model.kernel!r} is not supported; wanted 'rbf'. Leave `kernel`"
            " out."
        )
    return {
        "vectors": model.support_vectors_,
        "weights": np.ravel(model.dual_coef_),
        "intercept": model.intercept_,
        "gamma": np.array(float(model._gamma)),
    }


def neighbour_arrays(model: Any) -> dict[str, np.ndarray]:
    """The arrays `neighbours` of a fitted KNeighborsRegressor. `InputError` for weights, and for a
    distance that is not Euclidean.
    """
    if model.effective_metric_ != "euclidean" or model.weights != "uniform":
        raise InputError(
            "regressor KNeighborsRegressor: wanted the Euclidean distance and equal weights; leave"
            " `metric`, `p` and `weights` out."
        )
    return {
        "points": model._fit_X,
        "answers": np.ravel(model._y),
        "count": np.array(min(model.n_neighbors, len(model._fit_X))),
    }


REGRESSORS: dict[str, tuple[str, Callable[[Any], dict[str, np.ndarray]]]] = {
    BOOSTING: ("lightgbm", boosting_arrays),
    "RandomForestRegressor": ("sklearn.ensemble", forest_arrays),
    "ExtraTreesRegressor": ("sklearn.ensemble", forest_arrays),
    "SVR": ("sklearn.svm", kernel_arrays),
    "KNeighborsRegressor": ("sklearn.neighbors", neighbour_arrays),
}
"""By name, the module of the regressor, and the function that gives its arrays."""


def require_regressor(name: str) -> str:
    """`name` as it is; ValueError with the nearest name where there is no such regressor."""
    require_known(name, REGRESSORS, "unknown regressor", ValueError)
    return name


def predict(arrays: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Forecasts (n,) of a regressor with these `arrays` for the inputs x (n, features)."""
    forecast_rows: Callable[..., np.ndarray] = _sum_leaves
    batch_size = ROWS_AT_ONCE
    if "points" in arrays:
        forecast_rows = _average_nearest
        batch_size = ROWS_NEAR
    elif "vectors" in arrays:
        forecast_rows = _sum_kernels
    starts = range(0, len(x), batch_size)
    parts = [forecast_rows(arrays, x[start : start + batch_size]) for start in starts]
    return np.concatenate([[], *parts])


def _sum_kernels(arrays: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(n,): the weighted sum of Gaussian functions of the distances to the support vectors."""
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(arrays["vectors"] ** 2, axis=1)
    distances = np.maximum(squares - 2 * (x @ arrays["vectors"].T), 0.0)
    sums = np.exp(-arrays["gamma"] * distances) @ arrays["weights"]
    return sums + arrays["intercept"]


def _average_nearest(arrays: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(n,): the mean answer of the nearest points. They are ranked by the squared distance without
    the term |x|^2, which is the same for all points.
    """
    points = arrays["points"]
    ranks = np.sum(points**2, axis=1) - 2.0 * (x @ points.T)
    count = int(arrays["count"])
    nearest = np.argpartition(ranks, count - 1, axis=1)[:, :count]
    return np.mean(arrays["answers"][nearest], axis=1)


def _sum_leaves(arrays: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(n,): the start value plus the sum over trees of the leaf values."""
    return arrays["start"] + np.sum(leaf_values(arrays, x), axis=1)


def leaf_values(arrays: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(n, trees): the value of the leaf that each row of x (n, features) reaches in each tree."""
    nodes = np.repeat(arrays["roots"][None], len(x), axis=0)
    rows = np.arange(len(x))[:, None]
    while True:
        goes_left = x[rows, arrays["feature"][nodes]] <= arrays["threshold"][nodes]
        children = np.where(goes_left, arrays["left"][nodes], arrays["right"][nodes])
        if (children == nodes).all():
            return arrays["value"][nodes]
        nodes = children


class Pairs(NamedTuple):
    """The pairs of cutoff and step of one series that a fit reads: cutoffs (n,) in rising order,
    and which of their steps (n, horizon).
    """

    cutoffs: np.ndarray
    steps: np.ndarray

    def steps_at(self, rows: np.ndarray) -> np.ndarray:
        """(B, horizon) bool: which steps of the cutoffs `rows` (B,) are read."""
        return self.steps[np.searchsorted(self.cutoffs, rows)]


class Spec(RegressorSpec):
    """Options of an entry of this family, its fit and its forecast."""

    summary = (
        "A regressor of scikit-learn, or LightGBM's boosted trees (the default), with the lead time"
        " as an input."
    )
    equation = (
        "y[t+h] = b[t+h] + F(y[t-k] - y[t], y[t+h-jm] - y[t], x[t], f[t+h], h), b: y[t] or ridge"
    )
    source = "Pedregosa et al. 2011; boosting: Friedman 2001, Ke et al. 2017"

    regressor: Annotated[str, AfterValidator(require_regressor)] = BOOSTING
    options: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict,
        description="arguments of the regressor, by their names in its class",
    )
    base: Literal["last", "ridge"] = Field(
        "ridge", description="what it is fitted to the error of; tuning keeps one that is named"
    )
    lags: int = Field(24, ge=2, description="newest rows of the targets; at most the lookback")
    leaves: int = Field(31, ge=2, description="of a tree, at most")
    leaf_rows: int = Field(
        300, ge=1, description="pairs in a leaf, at least; fewer where there are few rows"
    )
    rows: int = Field(20_000, ge=100, description="pairs of origin and step it is fitted on")

    @model_validator(mode="after")
    def _refuse_unknown_options(self, info: ValidationInfo) -> Spec:
        """Refuse options that the regressor does not have, or that have no effect on it."""
        # importing scikit-learn takes a second, which loading a saved model can do without
        if self.options and info.context != OF_SAVED_MODEL:
            parameters = inspect.signature(self._load_regressor_class()).parameters
            names = [name for name in parameters if name != "kwargs"]
            for option in self.options:
                if option not in names:
                    raise ValueError(
                        f"{self.regressor} has no option {option!r}.{suggest(option, names)}"
                        f" It has {quote_names(names)}"
                    )
        objective = str(self.options.get("objective") or "regression")
        require_known(objective, POINT_OBJECTIVES, "unknown loss", ValueError)
        given = self.model_dump(exclude_defaults=True)
        for name in () if self.regressor in TREE_REGRESSORS else ("leaves", "leaf_rows"):
            if name in given:
                raise ValueError(
                    f"{name} has no effect on {self.regressor}, which has no trees; leave it out"
                )
        return self

    @property
    def base_skip(self) -> SkipKind | None:
        """The linear skip with `base: ridge`, to whose error the regressor is fitted; else None."""
        return "linear" if self.base == "ridge" else None

    def space(self) -> Mapping[str, search.Dimension]:
        """The search space of tuning, by field name."""
        space: dict[str, search.Dimension] = {"base": search.Choice(("ridge", "last"))}
        if self.regressor in TREE_REGRESSORS:
            space["leaves"] = search.Choice((7, 15, 31))
            space["leaf_rows"] = search.Choice((300, 1000, 3000))
        return space

    def search_space(self) -> Mapping[str, search.Dimension]:
        """The search space of this entry: a `base` that it names stays."""
        space = dict(self.space())
        if "base" in self.model_fields_set:
            del space["base"]
        return space

    def refit_chosen(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
        """The arrays of a fit on more rows, with the form and number of trees of the first fit."""
        return self.fit(problem, seed=seed, chosen=chosen.weights)

    def fit(
        self, problem: Problem, *, seed: int, chosen: Mapping[str, np.ndarray] | None = None
    ) -> Parameters:
        """The arrays `o/...` of the regressor of each output o. Boosting has the number of trees
        with the lowest error on validation. `ModelError` for fewer than two observed targets.

        chosen: the arrays of an earlier fit, whose form and number of trees stay.
        """
        from threadpoolctl import threadpool_limits

        parameters = {"levels": problem.joint_level_ranges()}
        for output in range(problem.panel.outputs):
            try:
                # candidates run side by side, where waiting threads make a fit ten times as long
                with threadpool_limits(1):
                    arrays = self._fit_output(problem, output, chosen)
            except Exception as error:
                if not self.options or isinstance(error, InputError | ModelError):
                    raise
                # libraries raise several classes of errors for wrong values of options
                cause = str(error).rstrip(".")
                raise ModelError(
                    f"{self.regressor} cannot be fitted with options {self.options}: {cause}."
                ) from error
            parameters |= {f"{output}/{name}": value for name, value in arrays.items()}
        return Parameters(parameters)

    def _fit_output(
        self, problem: Problem, output: int, chosen: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """The arrays of the regressor of one output. Boosted trees have the form of `chosen`, or
        the first of `TREE_FORMS` unless another has a clearly lower error on validation.
        """
        if self.regressor != BOOSTING:
            x, y = self._training_table(problem, "train", output)
            return REGRESSORS[self.regressor][1](self._regressor(len(y)).fit(x, y))
        if chosen is not None:
            number = int(chosen.get(f"{output}/form", 0))
            x, y = self._training_table(problem, "train", output, TREE_FORMS[number])
            model = self._regressor(len(y), TREE_FORMS[number])
            n_trees = len(chosen.get(f"{output}/roots", ()))
            return _fit_trees(model, x, y, n_trees) | _name_form(number)
        grown, lowest = self._grow_form(problem, output, 0, N_TREES)
        if self.base != "last":
            return grown
        best = 0
        error_to_beat = {False: lowest}
        for number in self._other_forms(problem):
            form = TREE_FORMS[number]
            error_to_beat.setdefault(form.reads_earlier_steps, lowest)
            arrays, error = self._grow_form(problem, output, number, N_TREES)
            if error < min(lowest, (1 - form.least_gain) * error_to_beat[form.reads_earlier_steps]):
                best, lowest, grown = number, error, arrays
        if TREE_FORMS[best].is_exact:
            return self._grow_form(problem, output, best, N_EXACT_TREES)[0]
        return grown

    def _other_forms(self, problem: Problem) -> list[int]:
        """The numbers of the other `TREE_FORMS` that the inputs allow: no exact thresholds where a
        channel holds changes, no earlier steps without known-future inputs.
        """
        channels = problem.channels
        has_earlier_steps = (
            bool(channels.plan_channels) and problem.panel.task.lookback > EARLIER_STEPS
        )
        return [
            number
            for number, form in enumerate(TREE_FORMS[1:], start=1)
            if (has_earlier_steps or not form.reads_earlier_steps)
            and not (form.is_exact and channels.change_channels)
        ]

    def _grow_form(
        self, problem: Problem, output: int, number: int, n_trees: int
    ) -> tuple[dict[str, np.ndarray], float]:
        """The arrays of at most `n_trees` boosted trees of form `number`, and their validation
        error.
        """
        form = TREE_FORMS[number]
        x, y = self._training_table(problem, "train", output, form)
        validation = self._training_table(problem, "validation", output, form)
        model = self._regressor(len(y), form, n_trees)
        arrays, error = _grow_trees(model, x, y, *validation)
        return arrays | _name_form(number), error

    def _regressor(self, rows: int, form: TreeForm = TREE_FORMS[0], n_trees: int = N_TREES) -> Any:
        """The unfitted regressor for a table of `rows` rows. Its arguments are the `options` of the
        entry, then its fields, then `DEFAULTS`.
        """
        arguments = dict(DEFAULTS.get(self.regressor, {}))
        if self.regressor in TREE_REGRESSORS:
            leaf_rows = max(1, min(self.leaf_rows, rows // 50))
            if self.regressor == BOOSTING:
                if form.is_exact:
                    leaf_rows = min(leaf_rows, EXACT_LEAF_ROWS)
                    arguments["extra_trees"] = False
                arguments |= {"num_leaves": self.leaves, "min_child_samples": leaf_rows}
                arguments["n_estimators"] = n_trees
            else:
                arguments |= {"max_leaf_nodes": self.leaves, "min_samples_leaf": leaf_rows}
        return self._load_regressor_class()(**{**arguments, **self.options})

    def _load_regressor_class(self) -> Any:
        """The class of the regressor, imported here; `ModelError` where a shared library of its
        package cannot be loaded, which so far was OpenMP.
        """
        try:
            return getattr(importlib.import_module(REGRESSORS[self.regressor][0]), self.regressor)
        except OSError as error:
            raise ModelError(
                f"{self.regressor} cannot be loaded ({error}): it needs OpenMP, which its package"
                " does not bring. Install it: libgomp1 on Debian, `brew install libomp` on macOS."
            ) from None

    def _training_table(
        self, problem: Problem, block: str, output: int, form: TreeForm = TREE_FORMS[0]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (n, features) and observed targets (n,) over all series, the targets minus the
        skip where `form.has_base`. `ModelError` for fewer than two train targets.
        """
        horizon = problem.panel.task.horizon
        season = problem.panel.task.season_length
        skip = problem.skip(self.base_skip or "last", horizon)
        xs = []
        ys = []
        pairs = self._draw_pairs(problem, block)
        cutoffs = {uid: each.cutoffs for uid, each in pairs.items()}
        for windows, target in problem.examples(block, horizon, cutoffs=cutoffs)():
            base = skip.forecast(windows, problem.channels) if form.has_base else 0.0
            residual = (target - base)[:, :, output]
            is_used = np.isfinite(residual) & pairs[windows.series[0]].steps_at(windows.rows)
            x = self.inputs(windows, problem.channels, horizon, season, form)
            xs.append(x[is_used])
            ys.append(residual[is_used])
        y = np.concatenate(ys)
        if block == "train" and len(y) < 2:
            raise ModelError(
                f"{self.regressor} found {len(y)} observed train targets; at least 2 are needed."
                " Give more rows, shorten `lookback` or `horizon`, or take 'naive'."
            )
        return np.concatenate(xs), y

    def _draw_pairs(self, problem: Problem, block: str) -> dict[str, Pairs]:
        """The pairs of each series, about `rows` in all. Boosting draws a few steps of many
        cutoffs; any other regressor has every step of evenly spaced cutoffs.
        """
        horizon = problem.panel.task.horizon
        rows = {uid: problem.rows(uid, block) for uid in problem.panel.by_id}
        n_cutoffs = max(sum(map(len, rows.values())), 1)
        spacing = -(-n_cutoffs * horizon // self.rows)
        cutoff_share = min(1.0, self.rows / (n_cutoffs * min(STEPS_PER_CUTOFF, horizon)))
        step_share = self.rows / (n_cutoffs * cutoff_share * horizon)
        rng = np.random.default_rng(0)
        pairs = {}
        n_earlier = 0
        for uid, cutoffs in rows.items():
            if self.regressor == BOOSTING:
                drawn = cutoffs[rng.random(len(cutoffs)) < cutoff_share]
                steps = rng.random((len(drawn), horizon)) < step_share
            else:
                # those whose number, counted over all series, is a multiple of `spacing`, because a
                # series may have fewer cutoffs than that
                drawn = cutoffs[-n_earlier % spacing :: spacing]
                steps = np.ones((len(drawn), horizon), dtype=bool)
            n_earlier += len(cutoffs)
            pairs[uid] = Pairs(drawn, steps)
        return pairs

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units: those of the regressor of each target, added to the
        base where its form has one.
        """
        task = model.task
        channels = model.channels
        base = np.repeat(windows.last[:, None], task.horizon, axis=1)
        if model.skip is not None:
            base = model.skip.forecast(windows, channels)
        shift = joint_shift(model.weights, windows)
        known = windows.with_targets_moved(-shift, channels)
        parts = []
        for output in range(channels.outputs):
            arrays = weights_at(model.weights, str(output))
            form = TREE_FORMS[int(arrays.get("form", 0))]
            x = self.inputs(known, channels, task.horizon, task.season_length, form)
            steps = predict(arrays, x.reshape(-1, x.shape[2])).reshape(len(windows), task.horizon)
            start = base[:, :, output] if form.has_base else shift[:, [output]]
            parts.append(steps + start)
        return np.stack(parts, axis=2)

    def inputs(
        self,
        windows: Windows,
        channels: Layout,
        horizon: int,
        season: int,
        form: TreeForm = TREE_FORMS[0],
    ) -> np.ndarray:
        """(B, H, features) float64: the inputs that are the same for all steps of a cutoff, then
        those of each step: calendar, share of the horizon, values of past seasons as far as the
        lookback reaches, and known-future inputs.

        Levels are differences to the newest value, unless the form has no base or the channel holds
        changes.
        """
        past = windows.past.astype(np.float64)
        steps = np.arange(1, horizon + 1)
        levels = []
        for channel, is_change in zip(
            channels.target_channels, channels.difference_inputs, strict=False
        ):
            level = past[:, :, channel]
            if form.has_base and not is_change:
                level = level - level[:, -1:]
            levels.append(level)
        of_cutoff = np.hstack(list(self._cutoff_features(past, channels, season, levels)))
        of_steps = [windows.future[:, -horizon:].astype(np.float64)]
        of_steps.append(np.broadcast_to(steps[None, :, None] / horizon, (len(past), horizon, 1)))
        of_steps += _seasonal_values(levels, steps, season)
        future = windows.future_exogenous(channels).astype(np.float64)
        of_steps += [future[:, column, :, None] for column in range(future.shape[1])]
        if form.reads_earlier_steps:
            plan = np.hstack([past[:, :-1, channels.plan_channels], future.swapaxes(1, 2)])
            of_steps += _earlier_plan_values(plan, horizon)
        return np.concatenate([np.repeat(of_cutoff[:, None], horizon, axis=1), *of_steps], axis=2)

    def _cutoff_features(
        self, past: np.ndarray, channels: Layout, season: int, levels: Sequence[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """The inputs (B, columns) that are the same for all steps. For each target: the newest
        `lags` levels, the newest value, and the mean, lowest and highest level of the last season
        and of the lookback. For the other inputs: the newest value, and the means of the last three
        rows and of the last season.
        """
        season_rows = max(season, 2)
        for channel, level in zip(channels.target_channels, levels, strict=True):
            yield level[:, -self.lags :]
            yield past[:, -1:, channel]
            for part in (level[:, -season_rows:], level):
                yield np.stack([part.mean(axis=1), part.min(axis=1), part.max(axis=1)], axis=1)
        others = past[:, :, channels.past_channels]
        yield np.hstack(
            [others[:, -1], others[:, -3:].mean(axis=1), others[:, -season_rows:].mean(axis=1)]
        )


def _seasonal_values(
    levels: Sequence[np.ndarray], steps: np.ndarray, season: int
) -> list[np.ndarray]:
    """(B, H, 1) each: the levels that are `SEASONS_BACK` seasons before t + h, for every target, as
    far as the window reaches; none without a season. levels: (B, L) per target.
    """
    values: list[np.ndarray] = []
    for n_seasons in SEASONS_BACK if season > 1 else ():
        seasons = np.maximum(n_seasons, -(-steps // season))
        rows = levels[0].shape[1] - 1 + steps - season * seasons
        if rows.min() >= 0:
            values += [level[:, rows, None] for level in levels]
    return values


def _earlier_plan_values(plan: np.ndarray, horizon: int) -> list[np.ndarray]:
    """(B, H, K) each, from K known-future inputs `plan` (B, rows, K) whose last `horizon` rows are
    those of the horizon: the value at t, the values at `EARLIER_STEPS` steps before t + h, the mean
    over t + 1 .. t + h, and exponentially weighted means with `DECAY_SPANS`.
    """
    steps = np.arange(horizon)
    first = plan.shape[1] - horizon
    values = [np.repeat(plan[:, first - 1 : first], horizon, axis=1)]
    values += [plan[:, first + steps - lag] for lag in range(1, EARLIER_STEPS + 1)]
    values.append(np.cumsum(plan[:, first:], axis=1) / (steps + 1)[:, None])
    for span in DECAY_SPANS:
        means = plan.copy()
        for row in range(1, plan.shape[1]):
            means[:, row] = means[:, row - 1] + (plan[:, row] - means[:, row - 1]) * 2 / (span + 1)
        values.append(means[:, first:])
    return values


def _name_form(number: int) -> dict[str, np.ndarray]:
    """The array `form` with the number in `TREE_FORMS`; none for the first form."""
    return {"form": np.array(number)} if number else {}


def _grow_trees(
    model: Any, x: np.ndarray, y: np.ndarray, validation_x: np.ndarray, validation_y: np.ndarray
) -> tuple[dict[str, np.ndarray], float]:
    """The arrays of as many boosted trees (from 0 on) as have the lowest absolute error on
    validation, and this error; all trees and infinity without an observed target.
    """
    start = np.median(y)
    if not len(validation_y):
        return _fit_trees(model, x, y, model.n_estimators), np.inf
    residuals = validation_y - start
    fitted = model.fit(x, y - start, eval_X=validation_x, eval_y=residuals, eval_metric="l1")
    errors = [np.abs(residuals).mean(), *fitted.evals_result_["valid_0"]["l1"]]
    return _first_trees(fitted, int(np.argmin(errors)), start), float(min(errors))


def _fit_trees(model: Any, x: np.ndarray, y: np.ndarray, n_trees: int) -> dict[str, np.ndarray]:
    """The arrays of `n_trees` boosted trees on the median of `y`; 0: the median alone."""
    start = np.median(y)
    fitted = model.set_params(n_estimators=max(n_trees, 1)).fit(x, y - start)
    return _first_trees(fitted, n_trees, start)


def _first_trees(model: Any, n_trees: int, start: float) -> dict[str, np.ndarray]:
    """The arrays of the first `n_trees` trees of a fitted LGBMRegressor, with this start value."""
    arrays = boosting_arrays(model)
    roots = arrays["roots"][:n_trees]
    end = np.append(arrays["roots"], len(arrays["value"]))[len(roots)]
    nodes = {name: array[:end] for name, array in arrays.items() if array.ndim}
    return {**nodes, "roots": roots, "start": np.array(start)}
