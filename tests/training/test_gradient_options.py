"""Every training option does what its name says: known answers, one option each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from forecast.models.base import add_dropout
from forecast.networks import inference
from forecast.networks.description import EncoderDecoder, Network, Recurrent, Shapes
from forecast.networks.layers import assemble as layers
from forecast.networks.layers.wiring import Wiring
from forecast.networks.losses import POINT_LOSSES
from forecast.training import gradient
from forecast.training.chunks import join_series
from forecast.training.gradient import draw_chunks
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
    seen = []
    found = gradient.fit(
        network,
        chunks,
        lambda w: seen.append(w) or 1.0,
        settings,
        seed=0,
        initial=start or shaken(network),
    )
    return [loss for _, loss, _ in found.curve[1:]], seen


def one_series(rows, horizon=1):
    return series.training_series(series.ar2(rows, 0), horizon)


def test_a_carried_state_goes_on_from_chunk_to_chunk_as_in_one_pass():
    """Two series of three and two chunks: each loss is that of one pass from the series' first
    row.
    """
    whole = [series.training_series(series.ar2(rows, seed)) for seed, rows in enumerate((15, 10))]
    chunks = join_series(whole, supervised=LENGTH, warm_up=0)
    weights, settings = shaken(GRU), series.settings(**STILL, steps=5, batch_size=1, state="carry")
    starts = draw_chunks(chunks, settings, seed=0)["starts"][:, 0]
    begun, wanted = starts[0], []
    for start in starts:
        # row 16: the second series, behind 15 rows and one spare
        begun = start if start in (0, 16) else begun
        rows = slice(begun, start + LENGTH)
        output = inference.forward(GRU, weights, chunks.past[None, rows])[0, -LENGTH:, ..., 0]
        counted = chunks.weight[start : start + LENGTH]
        error = (output - chunks.target[start : start + LENGTH]) ** 2 * counted
        wanted.append(error.sum() / counted.sum())
    losses, _ = trained(GRU, chunks, settings, weights)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    from_reset, _ = trained(GRU, chunks, replace(settings, state="reset"), weights)
    assert not np.allclose(sorted(from_reset), sorted(wanted), rtol=1e-3)


def test_a_carried_state_of_one_chunk_is_training_from_a_reset_state():
    chunks = join_series([one_series(12)], supervised=12, warm_up=0)
    carry, reset = (
        trained(GRU, chunks, series.settings(steps=4, batch_size=1, state=state))[1]
        for state in ("carry", "reset")
    )
    for name, weight in reset[-1].items():
        np.testing.assert_allclose(carry[-1][name], weight, atol=1e-6)


def test_the_gradient_ends_where_a_carried_state_comes_in():
    """Of a chunk of one row that goes on, the gradient of the inputs' kernel is that of this row
    alone: the state depends on the rows before it too, and passes none on.
    """
    network = Network((Recurrent("rnn", "simple_rnn", 3),), Shapes(2, 0, 1, 1, 30))
    rows = replace(
        one_series(20), past=np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    )
    chunks = join_series([rows], supervised=1, warm_up=0)
    settings = series.settings(
        steps=6,
        batch_size=1,
        evaluate_every=1,
        state="carry",
        rule="sgd",
        schedule="constant",
        weight_decay=0.0,
    )
    _, seen = trained(network, chunks, settings, shaken(network))
    choices = draw_chunks(chunks, settings, seed=0)
    assert not choices["begins_series"][1:].all()
    for start, before, after in zip(choices["starts"][:, 0], seen, seen[1:], strict=False):
        if not rows.weight[start].any():
            continue
        x = rows.past[start].astype(float)
        change = (after["rnn/kernel"] - before["rnn/kernel"]).astype(float)
        along_x = np.outer(x, x @ change) / (x @ x)
        assert np.abs(change).max() > 1e-5
        np.testing.assert_allclose(change, along_x, atol=1e-2 * np.abs(change).max())


def test_every_column_walks_through_all_series_and_begins_anew_at_each():
    chunks = join_series([one_series(17), one_series(11)], supervised=LENGTH, warm_up=0)
    drawn = draw_chunks(chunks, series.settings(steps=10, batch_size=2, state="carry"), seed=3)
    starts, anew = drawn["starts"], drawn["begins_series"]
    assert anew[0].all()
    for column in range(2):
        steps = np.diff(starts[:, column])
        np.testing.assert_array_equal(steps[~anew[1:, column]], LENGTH)
        first = starts[1:, column][anew[1:, column]]
        assert set(first[first < 17]) <= {0, 1, 2} and set(first[first >= 17]) <= {18, 19}
        assert len(set(starts[:, column])) == 5  # three chunks of the one, two of the other


def test_patience_stops_after_as_many_looks_without_a_new_best_and_keeps_the_best_weights():
    said, asked = iter([3.0, 2.0, 2.5, 2.5, 0.0]), []
    settings = series.settings(steps=40, evaluate_every=2, patience=2)
    found = gradient.fit(
        GRU,
        join_series([one_series(30)], supervised=5, warm_up=2),
        lambda w: asked.append(w) or next(said),
        settings,
        seed=0,
    )
    assert [step for step, _, _ in found.curve] == [0, 2, 4, 6]
    assert (found.best_step, found.validation_loss, found.note) == (2, 2.0, "")
    np.testing.assert_array_equal(found.weights["readout/kernel"], asked[1]["readout/kernel"])


def test_a_loss_that_explodes_stops_and_keeps_the_best_weights_and_says_so():
    said, asked = iter([3.0, 2.0, *[1e9] * 30]), []
    settings = series.settings(
        steps=60, learning_rate=1e4, schedule="constant", rule="sgd", loss=POINT_LOSSES["mse"]
    )
    found = gradient.fit(
        GRU,
        join_series([one_series(30)], supervised=5, warm_up=2),
        lambda w: asked.append(w) or next(said),
        settings,
        seed=0,
    )
    assert found.note.startswith("the loss exploded to ") and found.note.endswith(
        "the best weights before it are kept"
    )
    assert found.best_step == 2 and found.curve[-1][0] < 60


def test_dropout_falls_on_v_and_u_and_never_on_w():
    """Two layers with dropout: the first one's states are untouched, what leaves it and the second
    one is masked.
    """
    blocks = add_dropout((Recurrent("low", "lstm", 8), Recurrent("high", "lstm", 8)), 0.5)
    net = series.network_of(*blocks)
    model = layers.assemble(net, seed=0)
    layers.set_weights(model, shaken(net))
    cut = Wiring.sharing_layers(net, model).stateful_model()
    x = {
        "past": tf.constant(series.ar2(6, 0)[None, :, None], tf.float32),
        "states": layers.first_state_tensors(cut, 1),
    }
    plain, noisy = cut(x, training=False)["states"], cut(x, training=True)["states"]
    for state in ("low/h", "low/c"):
        # W and the input's V of the first layer
        np.testing.assert_array_equal(plain[state], noisy[state])
    # V of the second: one mask on what the first gives
    assert (plain["high/h"] != noisy["high/h"]).numpy().any()
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
