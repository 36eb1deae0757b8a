"""A dense layer over delayed rows against the rows laid side by side and multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from forecast.models.families import narx
from forecast.networks.description import Dense, Network, Parallel, Recurrent, Shapes, Taps
from forecast.networks.layers.assemble import assemble, get_weights, set_weights
from forecast.networks.layers.feedforward import (
    DelayedDense,
    is_evenly_spaced,
    last_rows,
)
from forecast.system.errors import InputError

BATCH, STEPS, CHANNELS, UNITS = 2, 9, 3, 4
LINES: dict[str, list[Taps]] = {
    "from now on": [Taps("line", (0, 1, 2))],
    "from a delay on": [Taps("line", (2, 3))],
    "every third": [Taps("line", (0, 3, 6))],
    "one delay": [Taps("line", (4,))],
    "longer than the chunk": [Taps("line", (0, 5, 10))],
    "two lines of some channels": [Taps("a", (0, 1), (0,)), Taps("b", (1, 3, 5), (2, 1))],
}


def side_by_side(x: tf.Tensor, kernel: tf.Tensor, lines: Sequence[Taps]) -> tf.Tensor:
    columns = []
    for line in lines:
        delayed = x if line.channels is None else tf.gather(x, line.channels, axis=-1)
        known = tf.pad(delayed, [[0, 0], [max(line.delays), 0], [0, 0]])
        columns += [known[:, max(line.delays) - d :][:, :STEPS] for d in line.delays]
    return tf.tanh(tf.concat(columns, -1) @ kernel)


def draw_layer(lines: Sequence[Taps]) -> tuple[tf.Tensor, DelayedDense]:
    rng = np.random.default_rng(0)
    layer = DelayedDense(UNITS, lines, "tanh")
    x = tf.Variable(rng.normal(size=(BATCH, STEPS, CHANNELS)), dtype=tf.float32)
    layer(x)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    return x, layer


@pytest.mark.parametrize("last", [None, 1, 5])
@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
def test_output_and_gradients_are_those_of_the_rows_side_by_side(
    lines: list[Taps], last: int | None
) -> None:
    x, layer = draw_layer(lines)
    kernel = layer.kernel.value
    with tf.GradientTape(persistent=True) as tape:
        y = layer(x, last=last)
        expected = side_by_side(x, kernel, lines)[:, -(last or STEPS) :]
        losses = [tf.reduce_sum(output**2) for output in (y, expected)]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for source in (x, kernel):
        ours, theirs = (
            tape.gradient(loss, source, unconnected_gradients="zero") for loss in losses
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_delays_that_are_not_evenly_spaced_are_no_convolution() -> None:
    assert [is_evenly_spaced(d) for d in ((3,), (0, 1, 2), (1, 4, 7), (0, 1, 3), (2, 1, 0))] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_steps_read_alone_are_those_of_the_whole_pass_however_blocks_follow_each_other() -> None:
    shapes = Shapes(channels=3, future_channels=2, horizon=2, outputs=1, lookback=12)
    uneven, even = Taps("uneven", (0, 1, 3)), Taps("even", (1, 3))
    side = Parallel("side", ((Taps("a", (0, 2), (0,)),), (Taps("b", (1, 2, 3), (1, 2)),)))
    for blocks in (
        (even, Dense("d", 3), uneven, Dense("e", 3)),
        (side, Dense("d", 3), even, Dense("e", 3)),
        (even, Dense("d", 3), Recurrent("r", "lstm", 3), Taps("t", (0, 2)), Dense("e", 3)),
        (side, uneven),
    ):
        network = Network(blocks, shapes, future_units=2)
        model = assemble(network, seed=1)
        rng = np.random.default_rng(1)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape) * 0.5)
        given = {"past": rng.normal(size=(2, 12, 3)), "future": rng.normal(size=(2, 14, 2))}
        given = {name: tf.constant(value, tf.float32) for name, value in given.items()}
        last = assemble(network, seed=1, last_steps=4)
        set_weights(last, get_weights(model))
        np.testing.assert_allclose(last(given), model(given)[:, -4:], atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, STEPS, STEPS + 2])
def test_the_last_rows_and_their_gradient_are_those_of_the_plain_slice_to_the_bit(
    count: int,
) -> None:
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(BATCH, STEPS, CHANNELS)), tf.float32)
    factor = tf.constant(rng.normal(size=(BATCH, min(count, STEPS), CHANNELS)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours, plain = last_rows(x, count), x[:, -count:]
    np.testing.assert_array_equal(ours, plain)
    gradient, expected = (tape.gradient(y, x, output_gradients=factor) for y in (ours, plain))
    np.testing.assert_array_equal(gradient, expected)


def test_a_dead_time_beyond_the_lookback_is_told_in_the_words_of_the_entry() -> None:
    shapes = Shapes(channels=2, future_channels=0, horizon=7, outputs=1, lookback=14)
    entry = narx.Spec(family="narx", input_delay=14)
    with pytest.raises(InputError, match="input_delay=14, wanted less than lookback=14"):
        entry.build(shapes)
