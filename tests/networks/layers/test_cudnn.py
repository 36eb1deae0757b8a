"""The plain LSTM and GRU by cuDNN: a stand-in with the equations and the layout of NVIDIA's manual
(cudnnRNNMode_t, cudnnGetRNNWeightParams) takes the place of the kernel, which only a GPU has.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from forecast.networks import cells
from forecast.networks.layers import cudnn, scan
from forecast.networks.layers.scan import run_cell

UNITS, STEPS, BATCH, CHANNELS = 3, 6, 2, 4
CALLED: list[str] = []


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def stand_in(
    *, input, input_h, input_c, params, sequence_lengths, rnn_mode
) -> tuple[np.ndarray, ...]:  # the names of TensorFlow's operation
    """W and R of every gate (units x inputs, row by row), then b_W and b_R of every gate. LSTM:
    input, forget, new memory, output; GRU: reset, update, new memory.
    """
    CALLED.append(rnn_mode)
    x, flat = np.asarray(input), np.asarray(params)
    assert list(sequence_lengths) == [x.shape[0]] * x.shape[1]
    n = 4 if rnn_mode == "lstm" else 3
    sizes = [(UNITS, x.shape[2])] * n + [(UNITS, UNITS)] * n + [(UNITS,)] * 2 * n
    edges = np.cumsum([np.prod(size) for size in sizes])
    assert edges[-1] == len(flat)
    parts = [
        part.reshape(size) for part, size in zip(np.split(flat, edges[:-1]), sizes, strict=True)
    ]
    w, r, b = parts[:n], parts[n : 2 * n], parts[2 * n :]
    h = np.asarray(input_h)[0]
    c = np.asarray(input_c)[0] if rnn_mode == "lstm" else h
    outputs = []
    for row in x:
        from_x = [row @ w[k].T + b[k] for k in range(n)]
        from_h = [h @ r[k].T + b[n + k] for k in range(n)]
        if rnn_mode == "lstm":
            i, f, g, o = (a + d for a, d in zip(from_x, from_h, strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            reset, update = (sigmoid(from_x[k] + from_h[k]) for k in (0, 1))
            h = (1 - update) * np.tanh(from_x[2] + reset * from_h[2]) + update * h
        outputs.append(h)
    stacked = tf.constant(np.stack(outputs).astype("float32"))
    last = (tf.constant(state[None].astype("float32")) for state in (h, c))
    return stacked, *last, None, None


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLED.clear()
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", stand_in)


def results(name: str, options: dict) -> np.ndarray:
    rng = np.random.default_rng(0)
    cell = cells.get(name, UNITS, options)
    w = {
        key: rng.normal(0, 0.3, weight.shape) for key, weight in cell.weight_specs(CHANNELS).items()
    }
    first = {key: rng.normal(size=(BATCH, size)) for key, size in cell.states().items()}
    w, first = (
        {key: tf.constant(value, tf.float32) for key, value in arrays.items()}
        for arrays in (w, first)
    )
    x = tf.constant(rng.normal(size=(BATCH, STEPS, CHANNELS)), tf.float32)
    return np.asarray(run_cell(cell, w, x, first)[0])


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_weights_lie_as_cudnn_reads_them(name: str, request: pytest.FixtureRequest) -> None:
    expected = results(name, {})
    request.getfixturevalue("gpu")
    computed = results(name, {})
    assert [name] == CALLED
    np.testing.assert_allclose(computed, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gru", {"reset_after": False}), ("simple_rnn", {}), ("lstm_variant", {"peepholes": "none"})],
)
@pytest.mark.usefixtures("gpu")
def test_another_equation_stays_in_the_loop(name: str, options: dict) -> None:
    results(name, options)
    assert not CALLED


def test_without_a_gpu_or_with_one_of_another_maker_there_is_no_such_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    assert not cudnn.has_gpu() and not scan.has_cudnn_kernel(cells.get("lstm", 2))
