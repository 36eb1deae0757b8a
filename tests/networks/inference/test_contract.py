"""What every network must hold in NumPy, whatever its blocks."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.networks.inference import final_states, forecast_last, forward, initial, step
from tests.networks.inference.nets import NETWORKS, SHAPES, STEPS, STREAMED, inputs_of, weights_of

H = SHAPES.horizon
ALL = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
STREAMS = pytest.mark.parametrize("network", STREAMED.values(), ids=STREAMED)
STEPPED = {name: network for name, network in STREAMED.items() if not network.decoder}
TAKES_STEPS = pytest.mark.parametrize("network", STEPPED.values(), ids=STEPPED)


@ALL
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_forecast_has_an_axis_each_for_step_horizon_output_and_parameter(network, dtype):
    past, future = inputs_of()
    out = forward(network, weights_of(network, dtype), past, future)
    assert out.shape == (3, STEPS if network.every_step else 1, 4, 2, 2)
    assert out.dtype == dtype
    assert np.isfinite(out).all()
    assert len(np.unique(out.round(6))) > out.size // 2  # not one value everywhere


@ALL
def test_the_last_forecast_is_the_last_of_all(network):
    past, future = inputs_of()
    w = weights_of(network)
    np.testing.assert_allclose(
        forecast_last(network, w, past, future),
        forward(network, w, past, future)[:, -1],
        atol=1e-13,
    )


@STREAMS
@pytest.mark.parametrize("garbage", [np.nan, 1e30])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_nothing_after_a_step_changes_a_bit_of_its_forecast(network, garbage):
    past, future = inputs_of()
    w = weights_of(network)
    for t in (0, 4, STEPS - 2):
        before = forward(network, w, past, future)[:, : t + 1]
        later_past, later_future = past.copy(), future.copy()
        later_past[:, t + 1 :], later_future[:, t + H + 1 :] = garbage, garbage
        np.testing.assert_array_equal(
            forward(network, w, later_past, later_future)[:, : t + 1], before
        )


@STREAMS
def test_the_future_rows_up_to_the_horizon_do_matter(network):
    past, future = inputs_of()
    w = weights_of(network)
    changed = future.copy()
    changed[:, 4 + H] += 1
    assert (
        forward(network, w, past, changed)[:, 4] != forward(network, w, past, future)[:, 4]
    ).any()


@STREAMS
def test_a_window_cut_off_after_a_step_gives_the_same_forecast_there(network):
    past, future = inputs_of()
    w = weights_of(network)
    whole = forward(network, w, past, future)
    for t in (0, 3, 7):
        cut = forecast_last(network, w, past[:, : t + 1], future[:, : t + 1 + H])
        np.testing.assert_allclose(cut, whole[:, t], atol=1e-12)


@ALL
def test_a_forecast_does_not_depend_on_the_windows_beside_it(network):
    past, future = inputs_of(batch=300)  # more than one slice
    w = weights_of(network, "float32")
    together = forward(network, w, past, future)
    for k in (0, 150, 299):
        alone = forward(network, w, past[k : k + 1], future[k : k + 1])
        np.testing.assert_allclose(alone[0], together[k], atol=2e-6)


@ALL
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_nan_in_one_window_of_a_batch_stays_in_that_window(network):
    past, future = inputs_of()
    w = weights_of(network)
    before = forward(network, w, past, future)
    past[1, 2], future[1, 3] = np.nan, np.nan
    after = forward(network, w, past, future)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert np.isnan(after[1]).any()


@TAKES_STEPS
def test_streaming_row_by_row_equals_one_pass(network):
    past, future = inputs_of()
    w = weights_of(network)
    state, outputs = initial(network, w, 3), []
    for t in range(STEPS):
        output, state = step(network, w, state, past[:, t], future[:, t + 1 : t + 1 + H])
        outputs.append(output)
    np.testing.assert_allclose(
        np.stack(outputs, axis=1), forward(network, w, past, future), atol=1e-12
    )


@TAKES_STEPS
def test_the_state_after_a_window_goes_on_where_the_window_ended(network):
    past, future = inputs_of()
    w = weights_of(network)
    for cut in (1, 6):
        state = final_states(network, w, past[:, :cut], future[:, : cut + H])
        for t in range(cut, STEPS):
            output, state = step(network, w, state, past[:, t], future[:, t + 1 : t + 1 + H])
        np.testing.assert_allclose(output, forecast_last(network, w, past, future), atol=1e-12)


@TAKES_STEPS
def test_a_step_leaves_the_old_state_as_it_was(network):
    past, future = inputs_of()
    w = weights_of(network)
    state = final_states(network, w, past, future)
    first, _ = step(network, w, state, past[:, 0], future[:, :H])
    y_again, _ = step(network, w, state, past[:, 0], future[:, :H])
    np.testing.assert_array_equal(first, y_again)


@ALL
def test_float32_is_close_to_float64(network):
    past, future = inputs_of()
    exact = forward(network, weights_of(network, "float64"), past, future)
    np.testing.assert_allclose(
        forward(network, weights_of(network, "float32"), past, future), exact, atol=2e-5
    )


@ALL
def test_no_windows_give_no_forecasts(network):
    past, future = inputs_of(batch=0)
    assert forecast_last(network, weights_of(network), past, future).shape == (0, 4, 2, 2)


@STREAMS
def test_fresh_weights_forecast_zero_because_the_readout_starts_at_zero(network):
    from forecast.networks.inference import initialise

    past, future = inputs_of()
    assert not forward(network, initialise(network, seed=0), past, future).any()
