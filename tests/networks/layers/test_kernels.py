"""What numba compiles of the commonest cells: large nets, numbers that are none, and where it is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from forecast.networks.inference import kernels
from forecast.networks.layers.scan import Scan

PROGRAM = """
import hashlib, kernels, numpy as np
draw = lambda *shape: np.random.default_rng(0).normal(size=shape).astype("float32")
weights, h, tape, dx, d_weights, d_first = (
    draw(12, 28), draw(3, 5, 7), np.zeros((6, 162), "float32"), draw(3, 5, 4), draw(12, 28), draw(2, 3, 7)
)
kernels.there(kernels.LSTM, draw(3, 5, 4), weights, draw(3, 7), draw(3, 7), h, tape)
kernels.back(kernels.LSTM, weights, tape, draw(3, 5, 7), draw(3, 5, 7), dx, d_weights, d_first)
print(hashlib.sha256(b"".join(part.tobytes() for part in (h, tape, dx, d_weights, d_first))).hexdigest())
"""


def begun(folder: Path, **environment: str) -> subprocess.Popen[str]:
    given = {**os.environ, "PYTHONPATH": str(folder), **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=given, stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.slow
def test_processes_that_compile_at_once_or_keep_nothing_find_the_same_bytes(tmp_path: Path) -> None:
    shutil.copy(kernels.__file__, tmp_path)
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}  # has no folder for a file
    at_once = [begun(tmp_path), begun(tmp_path), begun(tmp_path, **nowhere)]
    try:
        first = [process.communicate(timeout=120) for process in at_once]
        compiled = sorted(path.name.split("-")[0] for path in tmp_path.glob("__pycache__/*.nbc"))
        stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("__pycache__/*.nb*")}
        at_once.append(begun(tmp_path))
        again = at_once[-1].communicate(timeout=120)
    finally:
        for process in at_once:
            process.kill()
    assert compiled == ["kernels.back", "kernels.there"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("__pycache__/*.nb*")} == stamps
    assert {errors for _, errors in [*first, again]} == {""} and len({found for found, _ in [*first, again]}) == 1


@pytest.mark.slow
def test_a_cache_that_is_cut_or_cannot_be_written_costs_compiling_alone(tmp_path: Path) -> None:
    shutil.copy(kernels.__file__, tmp_path)

    def run() -> tuple[str, str]:
        with begun(tmp_path) as process:
            try:
                return process.communicate(timeout=120)
            finally:
                process.kill()

    first = run()
    for path in tmp_path.glob("__pycache__/*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    cut = run()
    for path in tmp_path.glob("__pycache__/*.nbi"):
        path.unlink()
        path.mkdir()  # neither read nor replaced by a file
    assert [first, cut, run()] == [(first[0], "")] * 3


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_training_compiles_one_signature_of_each(cell: str) -> None:
    """Two in one cache could be taken for each other by processes that compile at once."""
    for units, shape in ((1, (1, 1, 1)), (3, (2, 5, 4))):
        layer, x = Scan(cell, units), tf.ones(shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x)[0][:, -1])
        tape.gradient(loss, [x, *layer.trainable_variables])
    assert len(kernels.there.signatures) == len(kernels.back.signatures) == 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("value", [np.nan, -3e38])
def test_a_number_that_is_none_or_huge_stays_in_its_window(cell: str, value: float) -> None:
    layer, x = Scan(cell, 3), np.zeros((4, 5, 2), "float32")
    layer.build(x.shape)
    layer.set_weights([np.full(weight.shape, 0.3, "float32") for weight in layer.get_weights()])
    x[1, 2, 0] = value
    found, plain = layer(x)[0].numpy(), layer(np.zeros_like(x))[0].numpy()
    assert np.isnan(found[1, 2:]).all() if np.isnan(value) else (np.abs(found[1]) <= 1).all()
    np.testing.assert_array_equal(np.delete(found, 1, 0), np.delete(plain, 1, 0))
    np.testing.assert_array_equal(found[1, :2], plain[1, :2])


def test_a_net_too_large_for_one_fast_product_is_taken_window_by_window() -> None:
    assert [kernels.few(*sizes) for sizes in ((32, 65, 64), (160, 225, 41), (2000, 3000, 3))] == [64, 21, 1]
