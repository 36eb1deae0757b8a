"""All diagnostics of a network at once; loops that are stable, drift or explode are told apart and
named.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from forecast.backtest import diagnostics
from forecast.backtest.diagnostics import (
    FREE_RUN_STEPS,
    diagnose,
    free_run,
    gradient_by_lag,
    spread_lags,
)
from forecast.backtest.prepared_data import PreparedData
from forecast.config.paths import ProjectPaths
from forecast.data.records import NetworkDiagnosis
from forecast.data.windows import Layout, Windows
from forecast.models.skip import Skip
from forecast.networks.description import Dense, Network, Recurrent, Shapes, Taps
from forecast.networks.weights import weight_specs
from forecast.system import files
from tests.contract.families import FAMILIES, NETWORKS, forecaster
from tests.support import problems

ONE = Layout((0,), (-1,), (-1,), (False,), (False,), 1, (0,), 0)
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
    reach, path = loop(1.0, 0.1)
    assert reach.reach == pytest.approx(0.1 * FREE_RUN_STEPS)
    np.testing.assert_allclose(path[:, 0], 0.1 * np.arange(1, FREE_RUN_STEPS + 1), rtol=1e-6)


def test_a_loop_that_overflows_is_unstable_without_a_number():
    reach, _ = loop(1e9)
    assert reach.reach is None and reach.exponent is None


def windows():
    shops = problems.shops()
    return next(shops.windows("north", shops.rows("north", "validation")[:3]))


@pytest.mark.parametrize(
    ("family", "skip"), [*((family, "linear") for family in NETWORKS), ("narx", "last")]
)
def test_every_family_gives_json_numbers_and_the_same_ones_again(family, skip):
    diagnostics = diagnose(forecaster(family, skip), windows())
    content = json.dumps(diagnostics.to_json(), allow_nan=False)
    assert NetworkDiagnosis.model_validate_json(content) == diagnostics
    assert diagnose(forecaster(family, skip), windows()) == diagnostics
    arrays = diagnostics.arrays
    assert len(arrays.lags) == len(arrays.gradient)
    assert (diagnostics.loop is not None) == bool(arrays.free_run) == FAMILIES[family].is_recursive


def test_the_gradient_by_lag_of_a_linear_law_is_the_norm_of_its_matrix_product():
    net = Network((Recurrent("r", "simple_rnn", 2, {"activation": "relu"}),), Shapes(2, 0, 3, 1, 8))
    rng = np.random.default_rng(3)
    w = {name: rng.uniform(0.1, 0.5, array.shape) for name, array in weight_specs(net).items()}
    lags = [0, 1, 2, 5, 7]
    gradients = gradient_by_lag(net, w, rng.uniform(0.5, 1, (3, 8, 2)), None, lags)
    product = [
        w["r/kernel"] @ np.linalg.matrix_power(w["r/recurrent_kernel"], k) @ w["readout/kernel"]
        for k in lags
    ]
    np.testing.assert_allclose(gradients, [np.linalg.norm(p) for p in product], rtol=1e-6)


def test_beyond_its_taps_a_network_without_recurrence_has_no_gradient():
    net = Network((Taps("taps", (0, 1, 2)), Dense("hidden", 4)), Shapes(1, 0, 1, 1, 8))
    w = {name: np.full(array.shape, 0.2) for name, array in weight_specs(net).items()}
    gradients = gradient_by_lag(net, w, np.ones((3, 8, 1)), None, list(range(8)))
    assert (gradients[:3] > 0).all() and not gradients[3:].any()


@pytest.mark.parametrize("lookback", [1, 2, 7, 168, 1000])
def test_lags_reach_from_the_origin_to_the_first_row(lookback):
    lags = spread_lags(lookback)
    assert lags[0] == 0 and lags[-1] == lookback - 1 and len(set(lags)) == len(lags) <= 16


PLACE = PreparedData(ProjectPaths.of("nowhere"), "shops", "frame.parquet", "digest")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "load_problem", lambda place: problems.shops())
    forecaster("narx", "last").save(tmp_path / "seed")
    return tmp_path


def test_they_are_those_of_the_saved_network_on_validation_windows(folder):
    assert diagnostics.read_or_diagnose(PLACE, folder) == diagnostics.diagnose_first_series(
        forecaster("narx", "last"), problems.shops()
    )


def test_they_are_found_once(folder, monkeypatch):
    first = diagnostics.read_or_diagnose(PLACE, folder)
    monkeypatch.setattr(diagnostics, "diagnose", None)
    assert diagnostics.read_or_diagnose(PLACE, folder) == first


def test_other_code_finds_them_again(folder, monkeypatch):
    diagnostics.read_or_diagnose(PLACE, folder)
    monkeypatch.setattr(diagnostics, "code_digest", lambda modules: "f" * 64)
    counted = lambda model, windows: NetworkDiagnosis(  # noqa: E731
        arrays=diagnostics.NetworkCurves(lags=(len(windows),), gradient=())
    )
    monkeypatch.setattr(diagnostics, "diagnose", counted)
    assert diagnostics.read_or_diagnose(PLACE, folder).arrays.lags == (diagnostics.N_WINDOWS,)
    assert len(list(folder.glob("diagnostics-*.json"))) == 2


def test_they_are_plain_json(folder):
    diagnostics.read_or_diagnose(PLACE, folder)
    (file,) = folder.glob("diagnostics-*.json")
    assert json.loads(file.read_text()) == files.read_json(file)
    assert files.read_json(file)["loop"]["verdict"] in (
        "stable",
        "marginal",
        "sensitive",
        "drifting",
        "unstable",
    )
