"""What numba compiles of the commonest cells: large nets, numbers that are none, and where it is
kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from forecast.networks import cells
from forecast.networks.layers import fused, scan
from forecast.networks.layers.scan import Scan
from tests.support import small_project, warm_interpreter

recurrence = pytest.importorskip(
    "forecast.networks.native.recurrence", reason="switched off", exc_type=ImportError
)

PROGRAM = """
import hashlib, numpy as np, tensorflow as tf
from forecast.networks import cells
from forecast.networks.layers.fused import register_recurrences
from forecast.networks.layers.scan import Scan
assert register_recurrences()
values = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
layer, x = Scan(cells.get("lstm", 7)), tf.constant(values)
layer.build(x.shape)
layer.set_weights([np.full(weight.shape, 0.3, "float32") for weight in layer.get_weights()])
with tf.GradientTape() as tape:
    tape.watch(x)
    found = layer(x)
parts = [*found, *tape.gradient(found, [x, *layer.trainable_variables])]
print(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
"""


IN_THREADS = """
import threading, tensorflow as tf
from forecast.networks import cells
from forecast.networks.layers.scan import Scan
def trained():
    gate.wait()
    layer = Scan(cells.get("lstm", 7))
    found.append(layer(tf.ones((3, 5, 4)))[0].shape)
gate, found = threading.Barrier(3), []
threads = [threading.Thread(target=trained) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found))
"""


def start_process(cache: Path, **environment: str) -> subprocess.Popen[str]:
    given = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **environment,
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=given,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def results(processes: Sequence[subprocess.Popen[str]]) -> set[str]:
    try:
        answers = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), answers
    assert not any("Traceback" in errors or "Warning" in errors for _, errors in answers), answers
    return {answer for answer, _ in answers}


@pytest.mark.slow
def test_processes_that_compile_at_once_or_keep_nothing_find_the_same_bytes(tmp_path: Path) -> None:
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}  # has no folder for a file
    first = results(
        [start_process(tmp_path), start_process(tmp_path), start_process(tmp_path, **nowhere)]
    )
    compiled = sorted(path.name.split("-")[0] for path in tmp_path.rglob("*.nbc"))
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")}
    assert compiled == [
        "recurrence.backward",
        "recurrence.forward",
        "recurrence.input_gradient",
    ]
    assert len(first) == 1 and results([start_process(tmp_path)]) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")} == stamps


@pytest.mark.slow
def test_of_processes_that_begin_at_once_one_compiles(tmp_path: Path) -> None:
    output = "".join(results([start_process(tmp_path, NUMBA_DEBUG_CACHE="1") for _ in range(2)]))
    assert output.count("data saved to") == 3


@pytest.mark.slow
def test_a_cache_that_is_cut_or_cannot_be_written_costs_compiling_alone(tmp_path: Path) -> None:
    first = results([start_process(tmp_path)])
    for path in tmp_path.rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert results([start_process(tmp_path)]) == first
    for path in tmp_path.rglob("*.nbi"):
        path.unlink()
        path.mkdir()  # neither read nor replaced by a file
    assert results([start_process(tmp_path)]) == first


def test_nets_that_are_first_trained_in_several_threads_register_the_operations_once() -> None:
    # the server's process has TensorFlow and none of our operations
    command = [sys.executable, "-c", IN_THREADS]
    done = warm_interpreter.run(command, cwd=small_project.ROOT, env=small_project.environment())
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_where_no_operation_can_be_registered_the_loop_gives_the_same(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            y = layer(x)
        return [part.numpy() for part in (*y, *tape.gradient(y, layer.trainable_variables))]

    layer, x = (
        Scan(cells.get(cell, 3), all_states=True),
        tf.random.stateless_normal((2, 5, 4), (0, 1)),
    )
    layer.build(x.shape)
    layer.set_weights([np.full(weight.shape, 0.3, "float32") for weight in layer.get_weights()])
    compiled = trained()
    monkeypatch.setattr(scan, "register_recurrences", lambda: False)
    for ours, other in zip(compiled, trained(), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=5e-6)
    monkeypatch.undo()
    monkeypatch.setattr(tf.sysconfig, "get_lib", lambda: "/nowhere")
    assert fused.register_recurrences.__wrapped__() is False


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_no_windows_have_empty_outputs_and_gradients_of_zero(
    cell: str, capfd: pytest.CaptureFixture[str]
) -> None:
    layer, x = Scan(cells.get(cell, 3)), tf.ones((0, 5, 4))
    layer.build((None, None, 4))
    with tf.GradientTape() as tape:
        y = layer(x)[0]
    assert y.shape == (0, 5, 3)
    assert not any(np.any(part) for part in tape.gradient(y, layer.trainable_variables))
    # an error in a callback of C is told there alone
    assert "Exception ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_a_cell_of_many_units_is_left_to_the_products_of_tensorflow(cell: str) -> None:
    sizes = scan.MAX_FUSED_UNITS, scan.MAX_FUSED_UNITS + 1
    are_fused = [scan.has_fused_kernel(cells.get(cell, n), tf.float32) for n in sizes]
    assert are_fused == [True, False]


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_no_python_runs_in_a_step(cell: str) -> None:
    layer, x = Scan(cells.get(cell, 3)), tf.ones((2, 5, 4))
    layer(x)

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            y = layer(x)[0]
        return tape.gradient(y, layer.trainable_variables)

    graph = step.get_concrete_function().graph.as_graph_def()
    nodes = [node.op for part in graph.library.function for node in part.node_def] + [
        node.op for node in graph.node
    ]
    assert "ForecastRecurrence" in nodes and not [op for op in nodes if "PyFunc" in op]


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("way", [tf.function, lambda function: function])
def test_a_gradient_leaves_what_a_second_one_of_the_same_pass_reads(
    cell: str, way: Callable[..., Any]
) -> None:
    layer, x = Scan(cells.get(cell, 3)), tf.random.stateless_normal((2, 5, 4), (0, 1))
    layer.build(x.shape)
    layer.set_weights([np.full(weight.shape, 0.3, "float32") for weight in layer.get_weights()])

    @way
    def gradients() -> list[list[tf.Tensor]]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = layer(x)[0]
        sources = x, *layer.trainable_variables
        return [tape.gradient(y, sources, tf.fill(y.shape, size)) for size in (1.0, 2.0)]

    for first, other in zip(*gradients(), strict=True):
        assert np.any(first) and np.array_equal(2 * first, other)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_the_gradient_of_the_data_is_computed_only_where_it_is_asked_for(
    cell: str, tmp_path: Path
) -> None:
    layers, x = [Scan(cells.get(cell, 3)), Scan(cells.get(cell, 3))], tf.ones((2, 5, 4))

    def pass_forward() -> tf.Tensor:
        return layers[1](layers[0](x)[0])[0]

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            y = pass_forward()
        return tape.gradient(y, [v for layer in layers for v in layer.trainable_variables])

    @tf.function
    def step_to_data() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = pass_forward()
        return tape.gradient(y, x)

    pass_forward()
    assert [
        run_operations(function, tmp_path).count("ForecastRecurrenceToData")
        for function in (step, step_to_data)
    ] == [1, 2]


def run_operations(function: Callable[[], Any], folder: Path) -> list[str]:
    """The operations of one run, as TensorFlow's profiler saw them."""
    function()
    tf.profiler.experimental.start(str(folder))
    function()
    tf.profiler.experimental.stop()
    file = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime_ns)
    planes = xplane_pb2.XSpace.FromString(file.read_bytes()).planes
    names = [
        p.event_metadata[event.metadata_id].name
        for p in planes
        for line in p.lines
        for event in line.events
    ]
    return [name.rpartition(":")[2] for name in names]


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("value", [np.nan, -3e38])
def test_a_number_that_is_none_or_huge_stays_in_its_window(cell: str, value: float) -> None:
    layer, x = Scan(cells.get(cell, 3)), np.zeros((4, 5, 2), "float32")
    layer.build(x.shape)
    layer.set_weights([np.full(weight.shape, 0.3, "float32") for weight in layer.get_weights()])
    x[1, 2, 0] = value
    spoilt, plain = layer(x)[0].numpy(), layer(np.zeros_like(x))[0].numpy()
    assert np.isnan(spoilt[1, 2:]).all() if np.isnan(value) else (np.abs(spoilt[1]) <= 1).all()
    np.testing.assert_array_equal(np.delete(spoilt, 1, 0), np.delete(plain, 1, 0))
    np.testing.assert_array_equal(spoilt[1, :2], plain[1, :2])


def test_a_net_too_large_for_one_fast_product_is_taken_window_by_window() -> None:
    assert [
        recurrence.windows_per_product.py_func(*sizes)
        for sizes in ((32, 65, 64), (160, 225, 41), (2000, 3000, 3))
    ] == [64, 21, 1]
