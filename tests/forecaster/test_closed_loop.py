"""The closed loop: a one-step map fed with its own forecasts, and with nothing measured after the
cutoff.
"""

from __future__ import annotations

import numpy as np
import pytest

from forecast.data.windows import gather_windows, input_channels, layout
from forecast.forecaster.loops import Loop
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Dense, Network, Recurrent, Shapes, Taps, memory_rows
from tests.networks.inference.nets import weights_of
from tests.support import problems

LOOKBACK, HORIZON = 8, 4
MAPS = {
    "taps": (Taps("t", (0, 1, 2)), Dense("a", 4)),
    "stacked taps": (Taps("t", (0, 3)), Dense("a", 4), Taps("u", (0, 1)), Dense("b", 4)),
    "recurrent": (Recurrent("r", "lstm", 4),),
}


def setting(**target):
    """Layout and scaled rows of one target and one past-only input with gaps, and two future
    channels.

    No window of the tests comes to begin in a gap: the loop still knows the value before it, rows
    built anew do not.
    """
    task = problems.task(
        target={"column": "y", **target},
        past_exogenous=[{"column": "x", "difference_inputs": True, "max_missing": 0.5}],
    )
    rng = np.random.default_rng(3)
    z = rng.normal(size=(40, 2))
    z[[12, 13, 29], 1] = np.nan
    return layout(task), z, rng.normal(size=(50, 2))


def network_of(blocks, channels):
    shapes = Shapes(channels.n_channels, 2, 1, 1, LOOKBACK, channels.target_channels)
    network = Network(blocks, shapes, future_units=3)
    return network, weights_of(network, "float64")


def one_by_one(network, weights, skip, z, future, row, channels):
    """The loop in words: forecast one step from rows built anew, write it down as observed, look
    again.
    """
    z = z[: row + 1].copy()
    forecasts = []
    for _ in range(HORIZON):
        at = np.array([len(z) - 1])
        windows = gather_windows(z, future, at, channels, lookback=LOOKBACK, horizon=1)
        # the network goes on from where it started
        past = input_channels(z[None, row + 1 - LOOKBACK :], channels)
        ahead = future[None, row + 1 - LOOKBACK : len(z) + 1]
        value = (
            skip.forecast(windows, channels)[0, 0]
            + inference.forecast_last(network, weights, past, ahead)[0, 0, :, 0]
        )
        forecasts.append(value)
        z = np.vstack([z, np.append(value, np.nan)])
    return np.array(forecasts)


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("kind", ["none", "last", "seasonal", "linear"])
@pytest.mark.parametrize(
    "target",
    [{}, {"difference_inputs": True}, {"max_missing": 0.5}],
    ids=["fixed", "drifting", "gaps"],
)
def test_the_loop_is_one_step_after_another_with_its_own_forecasts_as_observations(
    blocks, kind, target
):
    channels, z, future = setting(**target)
    network, weights = network_of(blocks, channels)
    skip = one_step_skip(kind, channels)
    rows = np.array([9, 13, 30])
    windows = gather_windows(z, future, rows, channels, lookback=LOOKBACK, horizon=HORIZON)
    y_hat = Loop(network, weights, skip, windows, channels, horizon=HORIZON).run()
    for i, row in enumerate(rows):
        expected = one_by_one(network, weights, skip, z, future, row, channels)
        np.testing.assert_allclose(y_hat[i], expected, atol=2e-6)  # inputs are float32


def one_step_skip(kind, channels):
    if kind != "linear":
        return Skip(kind, 1, 1, season_length=4)
    count = (LOOKBACK - 1 if channels.difference_inputs[0] else LOOKBACK) + LOOKBACK + 2
    coefficients = np.random.default_rng(0).normal(0, 0.1, (count + 1, 1))
    return Skip("linear", 1, 1, lags=LOOKBACK, coefficients=coefficients)


def test_without_a_network_it_is_the_skip_alone():
    channels, z, future = setting()
    windows = gather_windows(
        z, future, np.array([20]), channels, lookback=LOOKBACK, horizon=HORIZON
    )
    y_hat = Loop(
        None, {}, Skip("seasonal", 1, 1, season_length=2), windows, channels, horizon=HORIZON
    ).run()
    last, before = z[20, 0], z[19, 0]
    assert y_hat[0, :, 0].tolist() == [before, last, before, last]


@pytest.mark.parametrize("garbage", [np.nan, 1e30])
def test_nothing_measured_after_the_cutoff_changes_a_bit(garbage):
    channels, z, future = setting(difference_inputs=True)
    network, weights = network_of(MAPS["taps"], channels)
    at, skip = np.array([20]), one_step_skip("linear", channels)

    def forecast():
        windows = gather_windows(z, future, at, channels, lookback=LOOKBACK, horizon=HORIZON)
        return Loop(network, weights, skip, windows, channels, horizon=HORIZON).run()

    before = forecast()
    z[21:], future[21 + HORIZON :] = garbage, garbage
    np.testing.assert_array_equal(forecast(), before)
    future[20 + HORIZON] += 1  # but this row is known ahead
    assert (forecast()[:, -1] != before[:, -1]).all()


@pytest.mark.parametrize("blocks", MAPS.values(), ids=MAPS)
def test_a_window_of_one_row_is_enough(blocks):
    channels, z, future = setting()
    network, weights = network_of(blocks, channels)
    windows = gather_windows(z, future, np.array([20]), channels, lookback=1, horizon=HORIZON)
    y_hat = Loop(network, weights, Skip("last", 1, 1), windows, channels, horizon=HORIZON).run()
    assert y_hat.shape == (1, HORIZON, 1) and np.isfinite(y_hat).all()


def test_a_delay_line_remembers_its_longest_delay_and_a_recurrence_the_whole_window():
    channels, _, _ = setting()
    rows_by_network = {
        name: memory_rows(network_of(blocks, channels)[0], LOOKBACK)
        for name, blocks in MAPS.items()
    }
    assert rows_by_network == {"taps": 3, "stacked taps": 5, "recurrent": LOOKBACK}
