"""Every network family under every head, ready to forecast on the two shops; random weights as in
`families`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from forecast import models
from forecast.forecaster import Forecaster
from forecast.forecaster.fitting import build_training_series
from forecast.forecaster.trainers import estimate_dependence, fit_head
from forecast.models.base import NetworkSpec
from forecast.networks.heads import HEADS
from forecast.training.chunks import JoinedSeries
from tests.contract.families import NETWORKS, WAYS, random_weights
from tests.support import problems

OPTIONS = {
    "bins": {"kind": "bins", "count": 7},
    "quantiles": {"kind": "quantiles", "probabilities": [0.1, 0.5, 0.8, 0.9]},
}
NAMES = [name for name in HEADS if name != "point"]
CASES = [(family, head) for family in NETWORKS for head in NAMES]
ONCE = [(family, NAMES[k % len(NAMES)]) for k, family in enumerate(NETWORKS)]
DIAGONAL = pytest.mark.parametrize(("family", "head"), ONCE)
"""Every family once and every head several times: for what is dear to compute and does not hang on
the pair.
"""
EVERY = pytest.mark.parametrize(
    ("family", "head"),
    [
        pytest.param(
            *case,
            marks=() if case in ONCE or case[0] in WAYS else pytest.mark.slow,
            id="-".join(case),
        )
        for case in CASES
    ],
)
"""The usual tests have every family once and every way under every head, on which alone the code of
a head depends; `make test-slow` has all pairs.
"""
WITH_DISTRIBUTION = [name for name in NAMES if name != "updown"]


def spec_of(family: str, head: str) -> NetworkSpec:
    spec = models.spec({"family": family, "head": OPTIONS.get(head, head)}, where="test")
    assert isinstance(spec, NetworkSpec)
    return spec


@cache
def targets_beside(skip: str, horizon: int) -> JoinedSeries:
    shops = problems.shops()
    return build_training_series(shops, shops.skip(skip, horizon))


@cache
def forecaster(family: str, head: str, skip: str = "linear", stirred: float = 1.0) -> Forecaster:
    """`stirred` multiplies the random weights; 0 is a network that says nothing."""
    shops, spec = problems.shops(), spec_of(family, head)
    net = spec.network(shops.panel.task)
    part = shops.skip(skip, net.shapes.horizon)
    fitted, _ = fit_head(shops, part, spec, targets_beside(skip, net.shapes.horizon))
    weights = {name: np.float32(stirred) * w for name, w in random_weights(net).items()}
    arguments = (shops.panel.name, shops.panel.task, spec, shops.scaling)
    model = Forecaster(*arguments, skip=part, weights=weights, head=fitted)
    return Forecaster(
        *arguments,
        skip=part,
        weights=weights,
        head=fitted,
        dependence=estimate_dependence(shops, model),
    )


def some_rows(count: int = 3) -> dict[str, np.ndarray]:
    shops = problems.shops()
    return {uid: shops.rows(uid, "test")[:count] for uid in shops.blocks}
