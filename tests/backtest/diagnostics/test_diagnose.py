"""All diagnostics of a network at once; loops that are stable, drift or explode are told apart and
named.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from forecast.backtest.diagnostics.examine import FREE_RUN_STEPS, diagnose, free_run
from forecast.data.records import NetworkDiagnosis
from forecast.data.windows import Layout, Windows
from forecast.models.skip import Skip
from forecast.networks.description import Dense, Network, Shapes
from tests.contract.families import EVERY_NETWORK, FAMILIES, forecaster
from tests.support import problems

ONE = Layout((0,), (-1,), (-1,), (False,), (False,), 1, (0,))
LOOKBACK = 6


def loop(factor, constant=0.0):
    """y[t+1] = factor y[t] + constant, started from three positive values; ReLU passes them as they
    are.
    """
    net = Network((Dense("through", 1, "relu"),), Shapes(1, 0, 1, 1, LOOKBACK))
    weights = {
        "through/kernel": np.ones((1, 1)),
        "through/bias": np.zeros(1),
        "readout/kernel": np.full((1, 1), factor),
        "readout/bias": np.full(1, constant),
    }
    z = np.linspace(0.5, 1.5, 3 * LOOKBACK).reshape(3, LOOKBACK, 1)
    ahead, rows = np.zeros((3, LOOKBACK + 1, 0), np.float32), np.arange(3)
    start = Windows(z, z.astype(np.float32), ahead, z[:, -1], rows, np.full(3, "one"))
    return free_run(net, weights, Skip("none", 1, 1), start, ONE)


@pytest.mark.parametrize(
    ("factor", "constant", "verdict"),
    [
        (0.9, 0.0, "stable"),
        (0.2, 0.5, "stable"),
        (1.0, 0.0, "marginal"),
        (1.0, 0.5, "drifting"),
        (1.02, 0.0, "sensitive"),
        (1.2, 0.0, "unstable"),
        (1e9, 0.0, "unstable"),
    ],
)
def test_a_closed_loop_is_named_by_what_it_does_to_a_disturbance(factor, constant, verdict):
    assert loop(factor, constant)[0].verdict == verdict


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_the_exponent_of_a_linear_loop_is_the_logarithm_of_its_factor(factor):
    assert loop(factor)[0].exponent == pytest.approx(np.log(factor), abs=1e-4)


def test_the_reach_is_the_farthest_distance_from_the_last_observation():
    found, path = loop(1.0, 0.1)
    assert found.reach == pytest.approx(0.1 * FREE_RUN_STEPS)
    np.testing.assert_allclose(path[:, 0], 0.1 * np.arange(1, FREE_RUN_STEPS + 1), rtol=1e-6)


def test_a_loop_that_overflows_is_unstable_without_a_number():
    found, _ = loop(1e9)
    assert found.reach is None and found.exponent is None


def windows():
    shops = problems.shops()
    return next(shops.windows("north", shops.rows("north", "validation")[:3]))


@EVERY_NETWORK
@pytest.mark.parametrize("skip", ["linear", "last"])
def test_every_family_gives_json_numbers_and_the_same_ones_again(family, skip):
    found = diagnose(forecaster(family, skip), windows())
    content = json.dumps(found.to_json(), allow_nan=False)
    assert NetworkDiagnosis.model_validate_json(content) == found
    assert diagnose(forecaster(family, skip), windows()) == found
    numbers, arrays = found.numbers, found.arrays
    assert len(arrays.lags) == len(arrays.gradient)
    assert (numbers.loop is not None) == bool(arrays.free_run) == FAMILIES[family].is_recursive
    assert set(numbers.layers) == set(arrays.decay)
    assert (numbers.spectral_radius is not None) == bool(numbers.layers)


def test_of_several_layers_the_worst_stands_for_the_network():
    numbers = diagnose(forecaster("lstm", "last"), windows()).numbers
    layers = numbers.layers.values()
    assert len(layers) == 2
    assert numbers.spectral_radius == max(layer.spectral_radius for layer in layers)
    assert numbers.lyapunov == max(layer.lyapunov for layer in layers)


def test_dense_layers_saturate_too():
    mlp = forecaster("mlp", "last")
    calm = diagnose(mlp, windows()).numbers
    driven = {
        name: 50 * w if name.startswith("dense_0/kernel") else w for name, w in mlp.weights.items()
    }
    assert calm.layers == {} and calm.saturated < 0.2
    assert diagnose(replace(mlp, weights=driven), windows()).numbers.saturated > 0.4
