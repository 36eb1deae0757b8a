"""Many windows at once in numba: the same forecasts as NumPy's alone, and only where they are asked
for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from forecast.networks.description import Network
from forecast.networks.inference import forward, last, steppers
from tests.contract.families import forecaster
from tests.networks.inference.nets import NETWORKS, inputs_of, weights_of
from tests.support import problems

GATED = {
    name: NETWORKS[name]
    for name in (
        "cell lstm",
        "cell gru",
        "stacked",
        "encoder-decoder",
        "bidirectional",
        "learnt first state lstm",
    )
}
SWITCHED_ON = pytest.mark.skipif(
    os.environ.get("FORECAST_NATIVE_KERNELS") == "0", reason="native kernels are switched off"
)
NETS = pytest.mark.parametrize("network", GATED.values(), ids=GATED)


def plainly(network: Network, weights: dict[str, np.ndarray], *given: np.ndarray) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steppers, "NATIVE_WINDOWS", 10**9)
        return forward(network, weights, *given)


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "forecast.networks.native", None)


@SWITCHED_ON
@NETS
def test_many_windows_have_the_forecasts_of_numpy_alone(network: Network) -> None:
    w, given = weights_of(network, "float32"), inputs_of(batch=steppers.NATIVE_WINDOWS)
    found, plain = forward(network, w, *given), plainly(network, w, *given)
    assert (found != plain).any()  # another way
    exact = plainly(network, weights_of(network), *given)
    np.testing.assert_allclose(found, exact, atol=3 * max(np.abs(plain - exact).max(), 1e-6))


# decodes steps side by side
@pytest.mark.parametrize("name", [name for name in GATED if name != "encoder-decoder"])
def test_fewer_windows_and_float64_are_left_to_numpy(name: str) -> None:
    network = GATED[name]
    for dtype, batch in (
        ("float32", steppers.NATIVE_WINDOWS - 1),
        ("float64", 2 * steppers.NATIVE_WINDOWS),
    ):
        w, given = weights_of(network, dtype), inputs_of(batch=batch)
        np.testing.assert_array_equal(forward(network, w, *given), plainly(network, w, *given))


@NETS
def test_an_installation_without_numba_forecasts_many_windows(
    network: Network, without_numba: None
) -> None:
    w, given = weights_of(network, "float32"), inputs_of(batch=steppers.NATIVE_WINDOWS)
    np.testing.assert_array_equal(forward(network, w, *given), plainly(network, w, *given))


def test_with_numba_s_compiler_switched_off_nets_train_and_forecast_without_it() -> None:
    """`NUMBA_DISABLE_JIT` is read at the first import of numba, so by a process of its own."""
    program = """
import forecast
frame = forecast.example().tail(900)
tuning = {"n_trials": 1, "trial_steps": 2, "final_steps": 2, "evaluate_every": 1}
model = forecast.fit(frame, "lstm", freq="1h", horizon=2, lookback=8, tuning=tuning)
print(len(model.predict()), len(model.cross_validation(n_windows=70)))
"""
    given = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=given, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "2 140\n"), done.stderr


@NETS
@pytest.mark.parametrize("value", [np.nan, 1e30])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_number_that_is_none_or_huge_stays_in_its_window(network: Network, value: float) -> None:
    w, (past, future) = weights_of(network, "float32"), inputs_of(batch=steppers.NATIVE_WINDOWS)
    spoilt = past.copy()
    spoilt[7, 3] = value
    found, plain = last(network, w, spoilt, future), last(network, w, past, future)
    assert np.isnan(found[7]).all() if np.isnan(value) else np.isfinite(found[7]).all()
    np.testing.assert_array_equal(np.delete(found, 7, 0), np.delete(plain, 7, 0))


@SWITCHED_ON
def test_gates_far_out_are_exactly_open_or_shut() -> None:
    from forecast.networks.native import stepping

    sums = np.linspace(-30, 30, 6001, dtype="float32")
    c, h = np.ones((1, sums.size), "float32"), np.empty((1, sums.size), "float32")
    z = np.concatenate(
        [np.full_like(c, -1e9), sums[None] / 2, np.full_like(c, 1e9), np.zeros_like(c), c]
    )
    stepping.lstm(z, h, h)
    np.testing.assert_allclose(z[4], 1 / (1 + np.exp(-sums.astype(float))), atol=5e-7)
    np.testing.assert_allclose(h[0], np.tanh(z[4].astype(float)), atol=1e-6)
    assert z[4].min() >= 0 and z[4].max() <= 1


@SWITCHED_ON
def test_one_forecast_of_each_of_many_series_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[bool] = []
    asked = steppers.native_step
    monkeypatch.setattr(steppers, "native_step", lambda *given: loaded.append(bool(asked(*given))))
    problem = problems.problem_of(
        problems.frame({f"s{n:03}": 60 for n in range(2 * steppers.NATIVE_WINDOWS)}, gaps=False)
    )
    model = replace(forecaster("lstm", "linear"), scaling=problem.scaling)
    found = problems.latest(model, problem.panel)
    assert loaded and not any(loaded)
    rows = {
        uid: np.array([len(series) - 2, len(series) - 1])
        for uid, series in problem.panel.by_id.items()
    }
    again = model.predict(problem.panel, rows)
    assert any(loaded)
    for uid, values in found.items():
        np.testing.assert_allclose(values, again[uid][1], rtol=1e-5)
