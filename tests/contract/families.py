"""Every family with its default options on the two shops, ready to forecast; a family added later
is found here too.

Networks get random weights that are nowhere zero: after a short training the read-out is still so
small that a fault in the network would hide behind the skip.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from forecast.data.panel import Panel
from forecast.data.scaling import transform_column
from forecast.forecaster import Budget, Forecaster, Problem, fit
from forecast.models import catalogue
from forecast.models.base import ModelSpec, NetworkSpec
from forecast.networks.description import Network
from forecast.networks.weights import initialise, weight_specs
from tests.support import problems

FAMILIES = {name: spec for name, spec in catalogue().items() if spec.kind != "pretrained"}
"""Pretrained ones need weights: tests/models/test_pretrained.py."""
NETWORKS = [name for name, spec in FAMILIES.items() if issubclass(spec, NetworkSpec)]
SKIPS = ("linear", "last", "seasonal", "none")
CASES = [(name, skip) for name in FAMILIES for skip in (SKIPS if name in NETWORKS else (None,))]


WAYS = ("encoder_decoder", "gru", "narx", "segment_gru")
"""A network for every way to a forecast: fed back in the decoder, at every step, fed back in a
closed loop, at the end of the window alone.
"""
ONCE = [(name, SKIPS[k % len(SKIPS)]) for k, name in enumerate(NETWORKS)]


def over(cases: list[tuple[str, str | None]]) -> pytest.MarkDecorator:
    """The usual tests have every family once and every way beside every skip, which knows of a
    network no more than that; `make test-slow` has all pairs.
    """
    params = []
    for name, skip in cases:
        is_usual = skip is None or name in WAYS or (name, skip) in ONCE
        marks = () if is_usual else pytest.mark.slow
        params.append(pytest.param(name, skip, marks=marks, id=f"{name}-{skip}" if skip else name))
    return pytest.mark.parametrize(("family", "skip"), params)


EVERY = over(CASES)
EVERY_WINDOWED = over([(name, s) for name, s in CASES if not FAMILIES[name].starts_at_train_end])
"""A statistical model's state is filtered from the first row on: it alone may look back beyond the
lookback.
"""
EVERY_NETWORK = pytest.mark.parametrize("family", NETWORKS)


def spec_of(family: str) -> ModelSpec:
    return FAMILIES[family](family=family)


def network(family: str) -> Network:
    return spec_of(family).network(problems.task())


def random_weights(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """The initial weights moved a little everywhere: far from zero, and not so far that a
    recurrence is chaotic.
    """
    rng = np.random.default_rng(seed)
    first = initialise(network, seed)
    return {
        name: (first[name] + rng.normal(0, 0.05, weight.shape)).astype(np.float32)
        for name, weight in weight_specs(network).items()
    }


def fit_family(problem: Problem, family: str, skip: str | None) -> Forecaster:
    """The family on a problem: networks with random weights, everything else fitted."""
    spec = spec_of(family)
    problem = problems.with_vintages(problem) if spec.needs_vintages else problem
    if not isinstance(spec, NetworkSpec):
        return fit(problem, spec, skip=None, seed=0, budget=Budget(0, 1)).forecaster
    net = spec.network(problem.panel.task)
    part = problem.skip(skip, net.shapes.horizon)
    arguments = (problem.panel.name, problem.panel.task, spec, problem.scaling)
    return Forecaster(*arguments, skip=part, weights=random_weights(net))


@cache
def forecaster(family: str, skip: str | None) -> Forecaster:
    return fit_family(problems.shops(), family, skip)


def scored_rows() -> dict[str, np.ndarray]:
    shops = problems.shops()
    return {uid: shops.rows(uid, "test") for uid in shops.blocks}


def over_horizon(
    model: Forecaster, panel: Panel, rows: dict[str, np.ndarray], *, horizon: int
) -> dict[str, np.ndarray]:
    """Forecasts of a recursive model over another horizon than that of its task."""
    task = model.task.model_copy(update={"horizon": horizon})
    return replace(model, task=task).predict(panel, rows)


def in_scaled_units(model: Forecaster, uid: str, raw: np.ndarray) -> np.ndarray:
    """(..., O) forecasts as the network's errors are measured."""
    parts = []
    for output, column in enumerate(model.task.target):
        units = transform_column(raw[..., output].ravel(), column).reshape(raw.shape[:-1])
        parts.append((units - model.scaling.centre[uid][output]) / model.scaling.scale[uid][output])
    return np.stack(parts, axis=-1)
