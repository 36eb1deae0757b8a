"""Gradient descent: the best step is kept, an exploding loss is said, equal seeds are equal
bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.networks import inference
from forecast.networks.description import Dense, Dropout, Recurrent, Taps
from forecast.networks.losses import POINT_LOSSES
from forecast.system.errors import ModelError
from forecast.training import gradient
from forecast.training.chunks import join_series
from tests.training import series

TDNN = series.network_of(Taps("taps", (0, 1, 2)), Dense("hidden", 4))
GRU = series.network_of(Recurrent("gru", "gru", 3))
NOTHING = {"steps": 3, "evaluate_every": 1}


@pytest.fixture(scope="module")
def waves():
    return join_series(
        [series.training_series(series.ar2(60, seed)) for seed in (0, 1)], n_supervised=8, burn_in=4
    )


def losses_in_turn(values):
    """A validation that gives these values one after another and keeps the weights it was asked
    about.
    """
    remaining, weights_asked = iter(values), []

    def validate(weights):
        weights_asked.append(weights)
        return np.atleast_1d(next(remaining))

    return validate, weights_asked


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_step_with_the_lowest_validation_loss_is_kept(waves):
    validate, weights_asked = losses_in_turn([3.0, 2.0, 1.0, 2.0])
    trained = gradient.fit(TDNN, waves, validate, series.settings(), seed=0)
    assert (trained.best_step, trained.validation_loss, trained.note) == (4, 1.0, "")
    assert equal(trained.weights, weights_asked[2])
    assert not equal(weights_asked[2], weights_asked[3])


def test_each_further_loss_keeps_the_step_where_it_is_lowest(waves):
    looks = [
        [3.0, 3.0, np.nan, 2.0],
        [2.0, 1.0, np.nan, 3.0],
        [1.0, 2.0, np.nan, 3.0],
        [2.0, 3.0, np.nan, 1.0],
    ]
    validate, weights_asked = losses_in_turn([np.array(losses) for losses in looks])
    trained = gradient.fit(TDNN, waves, validate, series.settings(), seed=0)
    assert (trained.best_step, trained.validation_loss, trained.curve[2][2]) == (4, 1.0, 1.0)
    # the second never was a number: the best of the first
    assert [step for step, _ in trained.best_by_fold] == [2, 4, 6]
    assert all(equal(weights, weights_asked[step // 2]) for step, weights in trained.best_by_fold)


def test_when_nothing_improves_the_network_stays_as_it_began(waves):
    validate, _ = losses_in_turn([1.0, 1.0, 2.0, 3.0])
    trained = gradient.fit(TDNN, waves, validate, series.settings(), seed=5)
    assert trained.best_step == 0
    assert equal(trained.weights, inference.initialise(TDNN, 5))


def test_a_network_begins_as_its_skip_alone():
    out = inference.forward(TDNN, inference.initialise(TDNN, 0), np.ones((1, 5, 1)))
    assert not out.any()


def test_the_budget_is_spent_in_full_and_looked_at_at_its_end(waves):
    validate, _ = losses_in_turn([9.0] * 5)
    trained = gradient.fit(TDNN, waves, validate, series.settings(steps=7), seed=0)
    assert [step for step, _, _ in trained.curve] == [0, 2, 4, 6, 7]
    assert (
        np.isnan(trained.curve[0][1])
        and np.isfinite([loss for _, loss, _ in trained.curve[1:]]).all()
    )


def test_training_goes_on_from_given_weights(waves):
    given = {name: w + 0.25 for name, w in inference.initialise(TDNN, 0).items()}
    validate, weights_asked = losses_in_turn([1.0] * 4)
    gradient.fit(TDNN, waves, validate, series.settings(), seed=0, initial=given)
    assert equal(weights_asked[0], given)


@pytest.mark.parametrize("network", [TDNN, GRU], ids=["taps", "recurrent"])
def test_a_training_that_explodes_from_the_start_is_a_failed_model(network, waves):
    explosive = series.settings(steps=400, learning_rate=1e6, evaluate_every=20)
    with pytest.raises(
        ModelError, match=r"Training diverged: .* Lower `learning_rate` \(now 1e\+06\)"
    ):
        gradient.fit(network, waves, series.error_on(network, series.ar2(80, 9)), explosive, seed=0)


def test_a_loss_that_explodes_late_stops_and_keeps_the_best_weights_and_says_so(waves):
    validate, weights_asked = losses_in_turn([3.0, 2.0, float("nan")])
    trained = gradient.fit(TDNN, waves, validate, series.settings(steps=8), seed=0)
    assert [step for step, _, _ in trained.curve] == [0, 2, 4]
    assert (
        trained.note
        == "the loss was no longer finite at step 4; the best weights before it are kept"
    )
    assert (trained.best_step, trained.validation_loss) == (2, 2.0) and equal(
        trained.weights, weights_asked[1]
    )


def test_a_loss_that_was_never_finite_is_a_failed_model(waves):
    with pytest.raises(
        ModelError, match=r"No finite validation loss up to step 2: .* Lower `learning_rate`"
    ):
        gradient.fit(TDNN, waves, lambda weights: np.array([np.nan]), series.settings(), seed=0)


def test_a_target_that_is_never_finite_is_a_failed_model(waves):
    """The weight says it counts, so the loss is NaN from the first step on."""
    broken = replace(waves, target=np.full_like(waves.target, np.nan))
    with pytest.raises(ModelError, match="its loss was nan at step 2"):
        gradient.fit(
            TDNN, broken, series.error_on(TDNN, series.ar2(80, 9)), series.settings(), seed=0
        )


@pytest.mark.parametrize("network", [TDNN, GRU], ids=["taps", "recurrent"])
def test_equal_seeds_are_equal_bits_and_others_are_not(network, waves):
    validate = series.error_on(network, series.ar2(80, 9))
    a, b, c = (
        gradient.fit(network, waves, validate, series.settings(), seed=seed) for seed in (3, 3, 4)
    )
    assert equal(a.weights, b.weights) and a.curve[1:] == b.curve[1:]
    assert not equal(a.weights, c.weights)


@pytest.fixture
def traced(monkeypatch):
    """The settings of every training that is traced from here on."""
    traces = []

    class Counted(gradient.Updates):
        def __init__(self, network, chunks, settings):
            traces.append(settings)
            super().__init__(network, chunks, settings)

    monkeypatch.setattr(gradient, "Updates", Counted)
    monkeypatch.setattr(gradient, "_traces", {})
    return traces


NOISY = series.network_of(Dense("hidden", 3), Dropout("dropout", 0.5))


def test_another_seed_needs_no_second_trace_and_is_what_it_would_be_alone(
    waves, traced, monkeypatch
):
    def weights(seed, **other):
        settings = series.settings(l2=0.01, **other)
        return gradient.fit(
            NOISY, waves, series.error_on(NOISY, series.ar2(80, 9)), settings, seed=seed
        ).weights

    first, second = weights(3), weights(4)
    assert len(traced) == 1
    weights(
        3, clip=0.5, loss=POINT_LOSSES["mae"]
    )  # what is kept of one training must not reach the next
    assert len(traced) == 2 and equal(weights(4), second)
    monkeypatch.setattr(gradient, "_traces", {})
    assert equal(weights(4), second) and not equal(first, second)
    assert len(traced) == 3


def test_other_numbers_of_the_rule_need_no_second_trace_and_count(waves, traced, monkeypatch):
    def weights(**numbers):
        settings = series.settings(**numbers)
        return gradient.fit(
            TDNN, waves, series.error_on(TDNN, series.ar2(80, 9)), settings, seed=0
        ).weights

    others = {
        "learning_rate": 0.2,
        "steps": 7,
        "weight_decay": 0.3,
        "clip": 0.05,
        "l2": 0.02,
        "evaluate_every": 3,
    }
    weights(l2=0.5)
    each = {name: weights(**{"l2": 0.01, name: value}) for name, value in others.items()}
    assert not any(equal(each[a], each[b]) for a in each for b in each if a < b)
    plain, together = weights(l2=0.01), weights(**others)
    # the last one is no number of the rule: it says when the weights are looked at
    assert [name for name in each if equal(each[name], plain)] in ([], ["evaluate_every"])
    assert len(traced) == 1
    monkeypatch.setattr(gradient, "_traces", {})
    assert equal(weights(**others), together)


def test_a_training_inside_anothers_validation_touches_nothing_of_it(waves, traced):
    error = series.error_on(TDNN, series.ar2(80, 9))

    def weights(seed, validate=error):
        return gradient.fit(TDNN, waves, validate, series.settings(), seed=seed).weights

    alone, inner = weights(0), []

    def training_meanwhile(values):
        inner.append(weights(1))
        return error(values)

    assert equal(weights(0, training_meanwhile), alone)
    assert len(traced) == 2 and all(equal(weights_inside, weights(1)) for weights_inside in inner)


def test_only_the_last_traces_are_kept(waves, traced, monkeypatch):
    monkeypatch.setattr(gradient, "MAX_TRACES", 1)
    for size in (4, 5, 4):
        validate = series.error_on(TDNN, series.ar2(80, 9))
        gradient.fit(TDNN, waves, validate, series.settings(batch_size=size), seed=0)
    assert [settings.batch_size for settings in traced] == [4, 5, 4]


def test_other_data_of_any_length_need_no_second_trace_and_leave_nothing_behind(
    waves, traced, monkeypatch
):
    equally_long, longer = (
        join_series(
            [series.training_series(series.ar2(rows, seed)) for seed in (2, 3)],
            n_supervised=8,
            burn_in=4,
        )
        for rows in (60, 90)
    )

    def weights(chunks):
        return gradient.fit(
            TDNN, chunks, series.error_on(TDNN, series.ar2(80, 9)), series.settings(), seed=0
        ).weights

    first, second, third = weights(waves), weights(equally_long), weights(longer)
    assert len(traced) == 1 and not equal(first, second) and not equal(second, third)
    monkeypatch.setattr(gradient, "_traces", {})
    assert equal(weights(longer), third) and equal(weights(equally_long), second)
    assert equal(weights(waves), first)


def test_the_steps_up_to_the_best_one_taken_again_give_its_weights(waves, traced):
    looks = iter([3.0, 2.0, 1.0, 2.0, 3.0])
    trained = gradient.fit(
        TDNN,
        waves,
        lambda _: np.array([next(looks)]),
        series.settings(steps=20, evaluate_every=5),
        seed=0,
    )
    repeated = gradient.fit(
        TDNN, waves, None, series.settings(steps=20, evaluate_every=5), seed=0, n_steps=10
    )
    assert trained.best_step == repeated.best_step == 10 and equal(
        repeated.weights, trained.weights
    )


def test_other_layers_shapes_and_options_are_traced_anew(waves, traced):
    shorter = join_series([series.training_series(series.ar2(60, 0))], n_supervised=6, burn_in=4)
    reset_before = series.network_of(Recurrent("gru", "gru", 3, {"reset_after": False}))
    for network, chunks in ((GRU, waves), (TDNN, waves), (reset_before, waves), (GRU, shorter)):
        validate = series.error_on(network, series.ar2(80, 9))
        gradient.fit(network, chunks, validate, series.settings(steps=2, evaluate_every=1), seed=0)
    assert len(traced) == 4


def weights_after_training(whole):
    validate, weights_asked = losses_in_turn([1.0] * 4)
    gradient.fit(TDNN, whole, validate, series.settings(**NOTHING), seed=0)
    return weights_asked[-1]


@pytest.mark.parametrize("garbage", [np.nan, 1e30])
def test_targets_without_weight_change_no_bit(garbage):
    plain = series.training_series(series.ar2(40, 0))
    plain.sample_weight[10:14] = 0
    hidden = replace(
        plain, target=np.where(plain.sample_weight > 0, plain.target, garbage).astype(np.float32)
    )
    a, b = (
        weights_after_training(join_series([s], n_supervised=8, burn_in=4)) for s in (plain, hidden)
    )
    assert equal(a, b)


def test_the_burn_in_carries_no_loss():
    """One chunk alone, so no row of its warm-up is supervised in another."""
    plain = series.training_series(series.ar2(12, 0))
    other = replace(plain, target=plain.target.copy())
    other.target[:4] += 100
    a, b = (join_series([s], n_supervised=8, burn_in=4) for s in (plain, other))
    assert equal(weights_after_training(a), weights_after_training(b))
    other.target[4] += 100
    assert not equal(
        weights_after_training(a),
        weights_after_training(join_series([other], n_supervised=8, burn_in=4)),
    )


def test_a_change_at_a_chunks_first_row_is_not_seen():
    """As in a window: what the row before would tell is not known there."""
    plain = series.training_series(series.ar2(12, 0))
    other = replace(plain, past=plain.past.copy())
    other.past[0] += 100
    blind = series.settings(**NOTHING, change_channels=(0,))
    results = []
    for s in (plain, other):
        validate, weights_asked = losses_in_turn([1.0] * 4)
        gradient.fit(TDNN, join_series([s], n_supervised=12, burn_in=0), validate, blind, seed=0)
        results.append(weights_asked[-1])
    assert equal(*results)
