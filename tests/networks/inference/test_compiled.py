"""Nets train and forecast where numba may not compile; a spoilt window stays alone among many."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from forecast.networks.description import Network
from forecast.networks.inference import forecast_last
from tests.networks.inference.nets import NETWORKS, inputs_of, weights_of

GATED = {
    name: NETWORKS[name]
    for name in (
        "cell lstm",
        "cell gru",
        "stacked",
        "encoder-decoder",
        "bidirectional",
    )
}
NETS = pytest.mark.parametrize("network", GATED.values(), ids=GATED)


@pytest.mark.slow  # our own switch: native/test_private_interfaces.py
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
    w, (past, future) = weights_of(network, "float32"), inputs_of(batch=64)
    spoilt = past.copy()
    spoilt[7, 3] = value
    spoilt_y_hat, plain = (
        forecast_last(network, w, spoilt, future),
        forecast_last(network, w, past, future),
    )
    assert (
        np.isnan(spoilt_y_hat[7]).all() if np.isnan(value) else np.isfinite(spoilt_y_hat[7]).all()
    )
    np.testing.assert_array_equal(np.delete(spoilt_y_hat, 7, 0), np.delete(plain, 7, 0))
