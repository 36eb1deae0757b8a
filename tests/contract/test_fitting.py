"""One contract over every network family as it is trained: five steps, twice."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from forecast.forecaster import Budget, FitResult, Forecaster, fit
from forecast.networks import inference
from tests.contract.families import EVERY_NETWORK, NETWORKS, network, scored_rows, spec_of
from tests.support import problems

BUDGET = Budget(steps=5, evaluate_every=5)
ALIKE = (
    "elman",
    "fully_connected",
    "layrecnet",
    "lstm_variant",
    "mlp",
    "projected",
    "rnn",
    "segment_gru",
)
"""Networks on the layers of ffnn, gru, jordan and lstm: trained in `make test-slow`. All others,
and families that somebody adds, are trained always.
"""
EVERY_KIND_OF_NETWORK = pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in NETWORKS],
)


@cache
def twice(family: str) -> tuple[FitResult, FitResult]:
    once, second = (
        fit(problems.shops(), spec_of(family), skip="linear", seed=0, budget=BUDGET)
        for _ in range(2)
    )
    return once, second


@EVERY_KIND_OF_NETWORK
def test_equal_seeds_train_to_equal_bits(family):
    once, second = twice(family)
    assert once.curve[0][2] == second.curve[0][2] and once.curve[1:] == second.curve[1:]
    assert once.best_step == second.best_step
    assert once.forecaster.weights.keys() == second.forecaster.weights.keys()
    for name, weight in once.forecaster.weights.items():
        np.testing.assert_array_equal(weight, second.forecaster.weights[name])


@EVERY_NETWORK
def test_seeds_differ_in_where_they_begin(family):
    net = network(family)
    a, b = (inference.initialise(net, seed) for seed in (0, 1))
    assert any((a[name] != b[name]).any() for name in a)


@EVERY_KIND_OF_NETWORK
def test_training_looks_before_the_first_step_and_after_the_last_and_keeps_the_better(family):
    fitted = twice(family)[0]
    assert [step for step, _, _ in fitted.curve] == [0, 5]
    best = min(fitted.curve, key=lambda look: look[2])
    assert (fitted.best_step, fitted.validation_loss) == (best[0], best[2])
    assert np.isfinite(fitted.curve[1][1]) and not fitted.note


@EVERY_KIND_OF_NETWORK
def test_a_trained_model_survives_being_saved(family, tmp_path):
    model, rows = twice(family)[0].forecaster, scored_rows()
    model.save(tmp_path / "seed")
    y_hats, expected = (
        m.predict(problems.shops().panel, rows) for m in (Forecaster.load(tmp_path / "seed"), model)
    )
    for uid in rows:
        np.testing.assert_array_equal(y_hats[uid], expected[uid])


@pytest.mark.parametrize("skip", ["last", "seasonal", "none"])
def test_every_other_skip_can_be_trained_beside_a_network(skip):
    fitted = fit(problems.shops(), spec_of("tdnn"), skip=skip, seed=0, budget=BUDGET)
    assert fitted.forecaster.skip is not None and fitted.forecaster.skip.kind == skip
    assert np.isfinite(fitted.validation_loss)
