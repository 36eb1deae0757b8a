"""Every training option does what its name says: known answers, one option each."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.models.base import add_dropout
from forecast.networks import inference
from forecast.networks.description import EncoderDecoder, Network, Recurrent, Shapes
from forecast.networks.layers import assemble as layers
from forecast.networks.layers import keras, tf
from forecast.networks.losses import POINT_LOSSES
from forecast.training import gradient
from forecast.training.chunks import join_series
from tests.training import series

LENGTH = 5
GRU = series.network_of(Recurrent("gru", "gru", 3))
SEQ2SEQ = Network((EncoderDecoder("seq", "gru", 3),), Shapes(1, 0, 4, 1, 30))
STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "evaluate_every": 1}
"""Steps too small to change a weight: the curve shows the loss of the initial weights, chunk by
chunk.
"""


def shaken(network, seed=0):
    """Initial weights, the read-out no longer zero."""
    rng = np.random.default_rng(seed)
    first = inference.initialise(network, seed)
    return {name: (w + rng.normal(0, 0.2, w.shape)).astype(np.float32) for name, w in first.items()}


def trained(network, chunks, settings, start=None):
    """The curve of training losses and the weights after every look."""
    weights_seen = []
    result = gradient.fit(
        network,
        chunks,
        lambda w: weights_seen.append(w) or np.ones(1),
        settings,
        seed=0,
        initial=start or shaken(network),
    )
    return [loss for _, loss, _ in result.curve[1:]], weights_seen


def one_series(rows, horizon=1):
    return series.training_series(series.ar2(rows, 0), horizon)


def fit_gru(validate, settings):
    """Trained on one series of 30 rows, and judged by what `validate` says of the weights."""
    chunks = join_series([one_series(30)], n_supervised=5, burn_in=2)
    return gradient.fit(GRU, chunks, validate, settings, seed=0)


def test_patience_stops_after_as_many_looks_without_a_new_best_and_keeps_the_best_weights():
    losses, weights_asked = iter([3.0, 2.0, 2.5, 2.5, 0.0]), []
    settings = series.settings(steps=40, evaluate_every=2, patience=2)
    trained = fit_gru(lambda w: weights_asked.append(w) or np.array([next(losses)]), settings)
    assert [step for step, _, _ in trained.curve] == [0, 2, 4, 6]
    assert (trained.best_step, trained.validation_loss, trained.note) == (2, 2.0, "")
    np.testing.assert_array_equal(
        trained.weights["readout/kernel"], weights_asked[1]["readout/kernel"]
    )


@pytest.mark.parametrize(
    ("looks", "first_best", "last"),
    [(2, 1, 2), (4, 1, 4), (6, 1, 4), (6, 2, 5), (12, 1, 7), (12, 5, 11), (12, 0, 12)],
)
def test_without_patience_given_half_of_all_looks_but_at_least_three_end_it_after_a_gain(
    looks, first_best, last
):
    """Trials of tuning have six looks, final trainings twelve."""
    losses = iter([1.0 if number >= first_best else 2.0 for number in range(looks + 1)])
    trained = fit_gru(
        lambda _: np.array([next(losses)]), series.settings(steps=looks, evaluate_every=1)
    )
    assert (trained.best_step, trained.curve[-1][0]) == (first_best, last)


def test_the_choice_of_a_fold_ends_with_its_own_patience_whatever_other_losses_do():
    """Neither a loss that goes on falling nor the looks after it make a fold wait longer; of the
    loss over all of validation every look counts.
    """
    whole = [5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0]
    fold = [5.0, 6.0, 6.0, 1.0, 1.0, 1.0, 1.0]
    losses = zip(whole, fold, strict=True)
    trained = fit_gru(
        lambda _: np.array(next(losses)), series.settings(steps=20, evaluate_every=1, patience=2)
    )
    assert (trained.best_step, [step for step, _ in trained.best_by_fold]) == (1, [0])
    patient = [5.0, 6.0, 4.0, 4.5, 4.5]
    losses = zip([5.0, 5.0, 5.0, 3.0, 3.5], patient, strict=True)
    trained = fit_gru(
        lambda _: np.array(next(losses)), series.settings(steps=4, evaluate_every=1, patience=2)
    )
    assert (trained.best_step, [step for step, _ in trained.best_by_fold]) == (3, [2])


def test_a_loss_that_explodes_stops_and_keeps_the_best_weights_and_says_so():
    losses, weights_asked = iter([3.0, 2.0, *[1e9] * 30]), []
    settings = series.settings(
        steps=60, learning_rate=1e4, schedule="constant", rule="sgd", loss=POINT_LOSSES["mse"]
    )
    trained = fit_gru(lambda w: weights_asked.append(w) or np.array([next(losses)]), settings)
    assert trained.note.startswith("the loss exploded to ") and trained.note.endswith(
        "the best weights before it are kept"
    )
    assert trained.best_step == 2 and trained.curve[-1][0] < 60


def test_dropout_falls_on_v_and_u_and_never_on_w():
    """Two layers with dropout: the first one's states are untouched, what leaves it and the second
    one is masked.
    """
    blocks = add_dropout((Recurrent("low", "lstm", 8), Recurrent("high", "lstm", 8)), 0.5)
    net = series.network_of(*blocks)
    model = layers.assemble(net, seed=0)
    layers.set_weights(model, shaken(net))
    inner = keras.Model(model.inputs, [model.get_layer(name).output for name in ("low", "high")])
    x = {"past": tf.constant(series.ar2(6, 0)[None, :, None], tf.float32)}
    (low, low_noisy), (high, high_noisy) = zip(
        inner(x, training=False), inner(x, training=True), strict=True
    )
    # W and the input's V of the first layer
    np.testing.assert_array_equal(low[0], low_noisy[0])
    # V of the second: one mask on what the first gives
    assert (high[0] != high_noisy[0]).numpy().any()
    mask = layers.assemble(series.network_of(*blocks[:2]), seed=0).get_layer("drop_1")
    ratio = mask(tf.ones((1, 6, 8)), training=True).numpy()
    np.testing.assert_array_equal(ratio, np.repeat(ratio[:, :1], 6, axis=1))
    assert set(np.unique(ratio)) == {0.0, 2.0}


@pytest.mark.parametrize("cell", ["simple_rnn", "elman", "lstm", "gru"])
def test_w_begins_with_orthonormal_rows(cell):
    """(units, gates * units): units rows at right angles, so a state keeps its length."""
    w = inference.initialise(series.network_of(Recurrent("layer", cell, 6)), 0)[
        "layer/recurrent_kernel"
    ]
    np.testing.assert_allclose(w @ w.T, np.eye(6), atol=1e-6)
