"""Both loops of one-step networks, the state in the caller's hands: what is handed over and what
is found out.
"""

from __future__ import annotations

import numpy as np
import pytest

from forecast.networks import inference
from forecast.networks.description import Dense, Network, Parallel, Recurrent, Shapes, Taps
from forecast.networks.inference.streaming import (
    LoopState,
    begin_loop,
    predict_ahead,
    require_finite,
    run_loop,
)
from forecast.system.errors import ModelError
from tests.networks.inference.nets import weights_of

SHAPES = Shapes(
    channels=3, future_channels=0, horizon=1, outputs=2, lookback=20, target_channels=(0, 2)
)
MAPS = {
    "narx": (
        Parallel("d", ((Taps("y", (0, 1, 3), (0, 2)),), (Taps("u", (0, 2), (1,)),))),
        Dense("h", 4),
    ),
    "jordan": (Recurrent("j", "jordan", 4, {"targets": (0, 2)}),),
    "recurrent": (Recurrent("a", "lstm", 3), Taps("t", (0, 2)), Recurrent("b", "gru", 3)),
}


def setting(blocks, batch=2, rows=12, dtype="float64"):
    network = Network(blocks, SHAPES)
    rng = np.random.default_rng(5)
    drive, y = rng.normal(size=(batch, rows, 1)), rng.normal(size=(batch, rows, 2))
    return network, weights_of(network, dtype), drive, y


def run_closed(network, weights, state, drive):
    """Nothing is measured: every forecast is fed back."""
    unknown = np.full((*drive.shape[:2], SHAPES.outputs), np.nan)
    return run_loop(network, weights, state, drive, unknown)


def started(network, weights, batch=2):
    return begin_loop(network, weights, np.full((batch, 2), 0.3))


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_the_open_loop_is_the_networks_forecast_at_every_row(blocks):
    network, weights, drive, y = setting(blocks)
    y_hat, _ = run_loop(network, weights, started(network, weights), drive, y)
    before = np.concatenate([np.full((2, 1, 2), 0.3), y[:, :-1]], axis=1)
    past = np.stack([before[..., 0], drive[..., 0], before[..., 1]], axis=2)
    np.testing.assert_allclose(
        y_hat, inference.forward(network, weights, past)[:, :, 0, :, 0], atol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_a_closed_loop_handed_every_measured_y_is_the_open_loop(blocks, dtype):
    network, weights, drive, y = setting(blocks, dtype=dtype)
    expected, end = run_loop(network, weights, started(network, weights), drive, y)
    state = started(network, weights)
    for t in range(y.shape[1]):
        part = slice(t, t + 1)
        y_hat, state = run_closed(network, weights, state, drive[:, part])
        np.testing.assert_allclose(y_hat, expected[:, part], atol=1e-6)
        state = LoopState(state.memory, y[:, t])
    np.testing.assert_array_equal(state.last, end.last)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_on_its_own_output_the_open_loop_is_the_closed_one(blocks):
    network, weights, drive, _ = setting(blocks)
    free, _ = run_closed(network, weights, started(network, weights), drive)
    measured, _ = run_loop(network, weights, started(network, weights), drive, free)
    np.testing.assert_allclose(measured, free, atol=1e-12)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_a_run_cut_anywhere_and_handed_from_loop_to_loop_loses_nothing(blocks):
    network, weights, drive, y = setting(blocks)
    # three rows on its own between measured ones: the same as closing the loop there
    y[:, 5:8] = np.nan
    whole, _ = run_loop(network, weights, started(network, weights), drive, y)
    state, parts = started(network, weights), []
    for first, last in ((0, 5), (5, 8), (8, 12)):
        part = slice(first, last)
        if first == 5:
            run, state = run_closed(network, weights, state, drive[:, part])
        else:
            run, state = run_loop(network, weights, state, drive[:, part], y[:, part])
        parts.append(run)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_k_steps_ahead_is_the_closed_loop_from_every_row(blocks):
    network, weights, drive, y = setting(blocks)
    state = started(network, weights)
    ahead = predict_ahead(network, weights, state, drive, y, steps=3)
    assert ahead.shape == (2, 9, 3, 2)
    for t in (0, 4, 8):
        _, state_here = run_loop(network, weights, state, drive[:, : t + 1], y[:, : t + 1])
        run, _ = run_closed(network, weights, state_here, drive[:, t + 1 : t + 4])
        np.testing.assert_allclose(ahead[:, t], run, atol=1e-12)


def test_a_state_can_be_continued_twice():
    network, weights, drive, _ = setting(MAPS["recurrent"])
    _, state = run_closed(network, weights, started(network, weights), drive)
    first, _ = run_closed(network, weights, state, drive)
    second, _ = run_closed(network, weights, state, drive)
    np.testing.assert_array_equal(first, second)


def test_a_missing_y_in_one_sequence_of_a_batch_leaves_the_others_as_they_are():
    network, weights, drive, y = setting(MAPS["narx"])
    before, _ = run_loop(network, weights, started(network, weights), drive, y)
    y[0, 3] = np.nan
    after, _ = run_loop(network, weights, started(network, weights), drive, y)
    assert np.isfinite(after).all() and (after[0, 4] != before[0, 4]).any()
    np.testing.assert_array_equal(after[1], before[1])


def test_a_loop_that_explodes_is_named_as_unstable_with_the_row():
    network = Network((), Shapes(1, 0, 1, 1, 4))
    weights = {"readout/kernel": np.array([[1e3]]), "readout/bias": np.zeros(1)}
    state = begin_loop(network, weights, np.ones((1, 1)))
    with np.errstate(over="ignore", invalid="ignore"):
        run, _ = run_loop(
            network, weights, state, np.zeros((1, 200, 0)), np.full((1, 200, 1), np.nan)
        )
    with pytest.raises(
        ModelError, match=r"unstable: its output is no longer finite after 102 of 200 steps"
    ):
        require_finite(run)
    with pytest.raises(ModelError, match=r"unstable: .* after 102 of 150 steps"):
        predict_ahead(
            network, weights, state, np.zeros((1, 160, 0)), np.ones((1, 160, 1)), steps=150
        )
