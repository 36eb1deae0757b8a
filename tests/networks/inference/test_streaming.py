"""Both loops of one-step networks with the state in the caller's hands: what is handed over,
refused and found out.
"""

from __future__ import annotations

import numpy as np
import pytest

from forecast.networks import inference
from forecast.networks.description import (
    Bidirectional,
    Dense,
    Network,
    Parallel,
    Recurrent,
    Shapes,
    Taps,
)
from forecast.networks.inference.streaming import (
    LoopState,
    ahead,
    begin_loop,
    parallel,
    series_parallel,
)
from forecast.system.errors import InputError, ModelError
from tests.networks.inference.nets import weights_of

SHAPES = Shapes(
    channels=3, future_channels=1, horizon=1, outputs=2, lookback=20, target_channels=(0, 2)
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
    network = Network(blocks, SHAPES, future_units=2, feedback=True)
    rng = np.random.default_rng(5)
    drive, y = rng.normal(size=(batch, rows, 1)), rng.normal(size=(batch, rows, 2))
    future = rng.normal(size=(batch, rows, 1))
    return network, weights_of(network, dtype), drive, y, future


def started(network, weights, batch=2):
    return begin_loop(network, weights, np.full((batch, 2), 0.3))


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_the_open_loop_is_the_networks_forecast_at_every_row(blocks):
    network, weights, drive, y, future = setting(blocks)
    found, _ = series_parallel(network, weights, started(network, weights), drive, y, future)
    before = np.concatenate([np.full((2, 1, 2), 0.3), y[:, :-1]], axis=1)
    past = np.stack([before[..., 0], drive[..., 0], before[..., 1]], axis=2)
    frames = np.concatenate([np.zeros((2, 1, 1)), future], axis=1)
    np.testing.assert_allclose(
        found, inference.forward(network, weights, past, frames)[:, :, 0, :, 0], atol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_a_closed_loop_handed_every_measured_y_is_the_open_loop(blocks, dtype):
    network, weights, drive, y, future = setting(blocks, dtype=dtype)
    wanted, end = series_parallel(network, weights, started(network, weights), drive, y, future)
    state = started(network, weights)
    for t in range(y.shape[1]):
        part = slice(t, t + 1)
        found, state = parallel(network, weights, state, drive[:, part], future[:, part])
        np.testing.assert_allclose(found, wanted[:, part], atol=1e-6)
        state = LoopState(state.memory, y[:, t])
    np.testing.assert_array_equal(state.last, end.last)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_on_its_own_output_the_open_loop_is_the_closed_one(blocks):
    network, weights, drive, _, future = setting(blocks)
    free, _ = parallel(network, weights, started(network, weights), drive, future)
    measured, _ = series_parallel(network, weights, started(network, weights), drive, free, future)
    np.testing.assert_allclose(measured, free, atol=1e-12)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_a_run_cut_anywhere_and_handed_from_loop_to_loop_loses_nothing(blocks):
    network, weights, drive, y, future = setting(blocks)
    # three rows on its own between measured ones: the same as closing the loop there
    y[:, 5:8] = np.nan
    whole, _ = series_parallel(network, weights, started(network, weights), drive, y, future)
    state, parts = started(network, weights), []
    for first, last in ((0, 5), (5, 8), (8, 12)):
        part = slice(first, last)
        if first == 5:
            run, state = parallel(network, weights, state, drive[:, part], future[:, part])
        else:
            run, state = series_parallel(
                network, weights, state, drive[:, part], y[:, part], future[:, part]
            )
        parts.append(run)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_k_steps_ahead_is_the_closed_loop_from_every_row(blocks):
    shapes = Shapes(
        channels=3, future_channels=0, horizon=1, outputs=2, lookback=20, target_channels=(0, 2)
    )
    network = Network(blocks, shapes, feedback=True)
    weights = weights_of(network)
    _, _, drive, y, _ = setting(blocks)
    state = started(network, weights)
    found = ahead(network, weights, state, drive, y, steps=3)
    assert found.shape == (2, 9, 3, 2)
    for t in (0, 4, 8):
        _, here = series_parallel(network, weights, state, drive[:, : t + 1], y[:, : t + 1])
        run, _ = parallel(network, weights, here, drive[:, t + 1 : t + 4])
        np.testing.assert_allclose(found[:, t], run, atol=1e-12)


def test_a_state_can_be_continued_twice():
    network, weights, drive, _, future = setting(MAPS["recurrent"])
    _, state = parallel(network, weights, started(network, weights), drive, future)
    first, _ = parallel(network, weights, state, drive, future)
    second, _ = parallel(network, weights, state, drive, future)
    np.testing.assert_array_equal(first, second)


def test_a_missing_y_in_one_sequence_of_a_batch_leaves_the_others_as_they_are():
    network, weights, drive, y, future = setting(MAPS["narx"])
    before, _ = series_parallel(network, weights, started(network, weights), drive, y, future)
    y[0, 3] = np.nan
    after, _ = series_parallel(network, weights, started(network, weights), drive, y, future)
    assert np.isfinite(after).all() and (after[0, 4] != before[0, 4]).any()
    np.testing.assert_array_equal(after[1], before[1])


def test_a_loop_that_explodes_is_named_as_unstable_with_the_row():
    network = Network((), Shapes(1, 0, 1, 1, 4), feedback=True)
    weights = {"readout/kernel": np.array([[1e3]]), "readout/bias": np.zeros(1)}
    with pytest.raises(
        ModelError, match=r"unstable: its output is no longer finite after 102 of 200 steps"
    ):
        parallel(
            network, weights, begin_loop(network, weights, np.ones((1, 1))), np.zeros((1, 200, 0))
        )


REFUSED = {
    "bidirectional": (
        Network((Bidirectional("b", "lstm", 2),), SHAPES, every_step=False),
        "reads its whole window at once",
    ),
    "direct head": (
        Network((Dense("h", 2),), Shapes(3, 1, 4, 2, 8, (0, 2))),
        r"forecasts 4 steps of 1 values at once \(a direct head\)",
    ),
    "no feedback": (
        Network((Dense("h", 2),), SHAPES),
        "feeds no forecast back: there is no loop to close",
    ),
}


@pytest.mark.parametrize(("network", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_closed_refuses_with_a_message(network, message):
    _, _, drive, _, future = setting(MAPS["narx"])
    state = started(
        Network((Dense("h", 2),), SHAPES), weights_of(Network((Dense("h", 2),), SHAPES))
    )
    with pytest.raises(InputError, match=message):
        parallel(network, weights_of(network), state, drive, future)


BAD = {
    "rank of drive": (
        {"drive": np.zeros((12, 1))},
        r"`drive` has shape \(12, 1\); wanted \(2, rows, 1\)",
    ),
    "columns of drive": ({"drive": np.zeros((2, 12, 2))}, r"`drive` has shape \(2, 12, 2\)"),
    "rows of y": ({"y": np.zeros((2, 11, 2))}, r"`y` has shape \(2, 11, 2\); wanted \(2, 12, 2\)"),
    "future": (
        {"future": np.zeros((2, 11, 1))},
        r"`future` has shape \(2, 11, 1\); wanted \(2, 12, 1\)",
    ),
    "infinite y": ({"y": np.full((2, 12, 2), np.inf)}, "`y` has infinite values"),
    "NaN in drive": (
        {"drive": np.full((2, 12, 1), np.nan)},
        "missing or infinite in row 0 of sequence 0",
    ),
}


@pytest.mark.parametrize(("changed", "message"), BAD.values(), ids=BAD)
def test_wrong_ranks_sizes_and_values_are_refused(changed, message):
    network, weights, drive, y, future = setting(MAPS["narx"])
    given = {"drive": drive, "y": y, "future": future, **changed}
    with pytest.raises(InputError, match=message):
        series_parallel(network, weights, started(network, weights), **given)


def test_a_first_value_of_another_size_is_refused():
    network, weights, *_ = setting(MAPS["narx"])
    with pytest.raises(InputError, match=r"`last` has shape \(2, 1\); wanted \(batch, 2\)"):
        begin_loop(network, weights, np.zeros((2, 1)))


@pytest.mark.parametrize("steps", [0, 12])
def test_more_steps_ahead_than_rows_are_refused(steps):
    network = Network(MAPS["jordan"], Shapes(3, 0, 1, 2, 20, (0, 2)), feedback=True)
    weights = weights_of(network)
    _, _, drive, y, _ = setting(MAPS["jordan"])
    with pytest.raises(InputError, match=f"`steps` is {steps}, the rows are 12"):
        ahead(network, weights, started(network, weights), drive, y, steps=steps)
