"""The switch of the native kernels: on unless somebody turned it, and off without a trace."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from forecast.networks.layers.fused import register_recurrences

SWITCH = "FORECAST_NATIVE_KERNELS"
PROGRAM = """
import sys
from forecast.networks.layers.fused import register_recurrences
print(register_recurrences(), "numba" in sys.modules)
"""


def answer(value: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, SWITCH: value},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_native_kernels_are_in_use_unless_they_are_switched_off() -> None:
    assert register_recurrences() is (os.environ.get(SWITCH) != "0")


@pytest.mark.parametrize(
    ("value", "expected"),
    [pytest.param("1", "True True", marks=pytest.mark.slow), ("0", "False False")],
)
def test_the_switch_turns_training(value: str, expected: str) -> None:
    assert answer(value) == expected
