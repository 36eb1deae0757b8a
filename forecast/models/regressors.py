"""Fitted scikit-learn regressors as plain arrays, and their forecasts from these with NumPy alone.

A pickle runs whatever code is in it when it is loaded, and loads only with the version of scikit-learn that wrote it.
What each kind of regressor needs for a forecast is a few arrays, so those are saved like the weights of a network:

    trees         feature, threshold, left, right, value (nodes of all trees one after another), roots, start
    linear        slopes, intercept
    kernel        vectors, weights, intercept, gamma (radial basis functions)
    neighbours    points, answers, count, by_distance
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from forecast.system.errors import InputError, closest, quote_names

Arrays = Mapping[str, np.ndarray]
ROWS = 2048
"""Rows that are forecast at once: the table of rows and trees stays small."""


def boosted_trees(model: Any) -> dict[str, np.ndarray]:
    """Of a HistGradientBoostingRegressor without categories. Inputs hold no NaN."""
    trees = [stage[0].nodes for stage in model._predictors]
    nodes = [
        (n["feature_idx"], n["num_threshold"], n["left"], n["right"], n["value"], n["is_leaf"].astype(bool))
        for n in trees
    ]
    return _forest(nodes, start=float(model._baseline_prediction.ravel()[0]))


def forest(model: Any) -> dict[str, np.ndarray]:
    """Of a RandomForestRegressor or an ExtraTreesRegressor."""
    trees = [one.tree_ for one in model.estimators_]
    nodes = [
        (t.feature, t.threshold, t.children_left, t.children_right, t.value[:, 0, 0] / len(trees), t.children_left < 0)
        for t in trees
    ]
    return _forest(nodes, start=0.0)


def _forest(trees: Sequence[tuple[np.ndarray, ...]], *, start: float) -> dict[str, np.ndarray]:
    """Leaves point at themselves, so that a row may go on down after it has arrived."""
    roots = np.cumsum([0, *(len(tree[0]) for tree in trees)])[:-1]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
    for root, (feature, threshold, left, right, value, leaf) in zip(roots, trees, strict=True):
        own = root + np.arange(len(feature))
        parts["feature"].append(np.where(leaf, 0, feature).astype(np.int32))
        parts["threshold"].append(np.where(leaf, np.inf, threshold))
        parts["left"].append(np.where(leaf, own, root + left.astype(np.int64)).astype(np.int32))
        parts["right"].append(np.where(leaf, own, root + right.astype(np.int64)).astype(np.int32))
        parts["value"].append(np.where(leaf, value, 0.0))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return {**joined, "roots": roots.astype(np.int32), "start": np.array(start)}


def linear(model: Any) -> dict[str, np.ndarray]:
    return {"slopes": np.ravel(model.coef_), "intercept": np.array(float(np.ravel(model.intercept_)[0]))}


def kernel(model: Any) -> dict[str, np.ndarray]:
    if model.kernel != "rbf":
        raise InputError(f"regressor SVR: kernel {model.kernel!r} is not supported; wanted 'rbf'. Leave `kernel` out.")
    return {
        "vectors": model.support_vectors_,
        "weights": np.ravel(model.dual_coef_),
        "intercept": np.array(float(model.intercept_[0])),
        "gamma": np.array(float(model._gamma)),
    }


def neighbours(model: Any) -> dict[str, np.ndarray]:
    if model.effective_metric_ != "euclidean" or model.weights not in ("uniform", "distance"):
        raise InputError(
            "regressor KNeighborsRegressor: wanted the Euclidean distance and weights 'uniform' or 'distance'; leave "
            "`metric` and `p` out."
        )
    return {
        "points": model._fit_X,
        "answers": np.ravel(model._y),
        "count": np.array(model.n_neighbors),
        "by_distance": np.array(model.weights == "distance"),
    }


KINDS: dict[str, tuple[str, Callable[[Any], dict[str, np.ndarray]]]] = {
    "HistGradientBoostingRegressor": ("sklearn.ensemble", boosted_trees),
    "RandomForestRegressor": ("sklearn.ensemble", forest),
    "ExtraTreesRegressor": ("sklearn.ensemble", forest),
    "SVR": ("sklearn.svm", kernel),
    "KNeighborsRegressor": ("sklearn.neighbors", neighbours),
    "Ridge": ("sklearn.linear_model", linear),
    "Lasso": ("sklearn.linear_model", linear),
    "ElasticNet": ("sklearn.linear_model", linear),
}
"""Name in scikit-learn → the module that has it, and what takes its arrays."""


def known(name: str) -> str:
    """`name`; ValueError with the nearest one where there is no such regressor."""
    if name not in KINDS:
        raise ValueError(f"unknown regressor {name!r}.{closest(name, KINDS)} Known: {quote_names(KINDS)}")
    return name


def predict(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    """(n,) from the arrays of any kind and inputs (n, features)."""
    return np.concatenate([_predict(arrays, x[k : k + ROWS]) for k in range(0, max(len(x), 1), ROWS)])


def _predict(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    if "roots" in arrays:
        return np.asarray(arrays["start"] + np.sum(leaves(arrays, x), axis=1))
    if "slopes" in arrays:
        return np.asarray(x @ arrays["slopes"] + arrays["intercept"])
    if "vectors" in arrays:
        near = np.exp(-arrays["gamma"] * _squared_distances(x, arrays["vectors"]))
        return np.asarray(near @ arrays["weights"] + arrays["intercept"])
    return _mean_of_nearest(arrays, x)


def leaves(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    """(n, trees): the value of the leaf in which each row ends."""
    at = np.repeat(arrays["roots"][None], len(x), axis=0)
    rows = np.arange(len(x))[:, None]
    while True:
        below = np.where(
            x[rows, arrays["feature"][at]] <= arrays["threshold"][at], arrays["left"][at], arrays["right"][at]
        )
        if (below == at).all():
            return np.asarray(arrays["value"][at])
        at = below


def first_trees(arrays: Arrays, count: int) -> dict[str, np.ndarray]:
    """A boosted forest cut after `count` trees."""
    stop = int(arrays["roots"][count]) if count < len(arrays["roots"]) else len(arrays["value"])
    nodes = {name: arrays[name][:stop] for name in ("feature", "threshold", "left", "right", "value")}
    return {**nodes, "roots": arrays["roots"][:count], "start": arrays["start"]}


def staged(arrays: Arrays, x: np.ndarray) -> Iterator[np.ndarray]:
    """For slices of the rows (m, trees + 1): the forecast of the first 0, 1, ... trees."""
    for k in range(0, len(x), ROWS):
        values = leaves(arrays, x[k : k + ROWS])
        yield np.hstack([np.zeros((len(values), 1)), np.cumsum(values, axis=1)]) + arrays["start"]


def _squared_distances(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    products = x @ points.T
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(points**2, axis=1)[None] - 2 * products
    return np.asarray(np.maximum(squares, 0.0))


def _mean_of_nearest(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    distances = _squared_distances(x, arrays["points"])
    nearest = np.argpartition(distances, int(arrays["count"]) - 1, axis=1)[:, : int(arrays["count"])]
    answers = arrays["answers"][nearest]
    if not bool(arrays["by_distance"]):
        return np.asarray(answers.mean(axis=1))
    weights = 1.0 / np.maximum(np.sqrt(np.take_along_axis(distances, nearest, axis=1)), 1e-12)
    return np.asarray((weights * answers).sum(axis=1) / weights.sum(axis=1))
