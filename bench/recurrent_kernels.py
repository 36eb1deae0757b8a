"""Speed of the recurrent layers against Keras's own (and torch's, where torch is installed).

    python bench/recurrent_kernels.py [--threads 1] [--rounds 15]

Two layers of one kind on 8 input channels: one training step (forward, backward, plain gradient step) and one forward
pass, in milliseconds. All contenders of a row take turns, and the median of the rounds is printed, so that a busy
machine slows all of them alike. On one thread it is CPU time, which other processes do not change; else wall time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from forecast.networks.layers import prepare_runtime

SIZES = {
    "small   H32 L24  B64": (32, 24, 64),
    "large   H64 L48  B128": (64, 48, 128),
    "window  H32 L168 B64": (32, 168, 64),
}
CHANNELS = 8

Contender = tuple[Callable[[], Any], Callable[[], Any]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    prepare_runtime(threads=options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    print(f"{'':24}{'layer':26}{'step ms':>9}{'ratio':>7}{'forward ms':>12}{'ratio':>7}")
    for size, (units, steps, batch) in SIZES.items():
        x = np.random.default_rng(0).normal(size=(batch, steps, CHANNELS)).astype("float32")
        for kind, own, stock, library in kinds():
            rows = {"forecast": keras_pair(own, units, x), "keras": keras_pair(stock, units, x)}
            if library and (pair := torch_pair(library, units, x, options.threads)):
                rows["torch"] = pair
            show(size, kind, measured(rows, options.rounds, clock))


def kinds() -> list[tuple[str, Callable[..., Any], Callable[..., Any], str]]:
    """Name, own layer, Keras's layer, torch's class."""
    import keras

    return [
        ("LSTM", own("lstm"), keras.layers.LSTM, "LSTM"),
        ("GRU", own("gru"), keras.layers.GRU, "GRU"),
        ("GRU reset before", own("gru", reset_after=False), before(keras.layers.GRU), ""),
        ("SimpleRNN", own("simple_rnn"), keras.layers.SimpleRNN, "RNN"),
    ]


def own(cell: str, **options: Any) -> Callable[..., Any]:
    """The cell's layer with its outputs alone, as Keras's layers give them."""
    from forecast.networks.layers.scan import Scan

    class Outputs(Scan):
        def call(self, x: Any) -> Any:
            return super().call(x)[0]

        def compute_output_shape(self, input_shape: Any) -> Any:
            return super().compute_output_shape(input_shape)[0]

    return lambda units, **_: Outputs(cell, units, options)


def before(layer: Callable[..., Any]) -> Callable[..., Any]:
    return lambda units, **arguments: layer(units, reset_after=False, **arguments)


def keras_pair(layer: Callable[..., Any], units: int, x: np.ndarray) -> Contender:
    """A compiled training step and a compiled forward pass of two layers."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential([layer(units, return_sequences=True) for _ in range(2)])
    data = tf.constant(x)
    model(data)
    weights = model.trainable_variables

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(data) ** 2)
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(1e-4 * gradient)
        return loss

    forward = tf.function(lambda: tf.reduce_mean(model(data)))
    return lambda: step().numpy(), lambda: forward().numpy()


def torch_pair(name: str, units: int, x: np.ndarray, threads: int) -> Contender | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    model = getattr(torch.nn, name)(CHANNELS, units, num_layers=2, batch_first=True)
    data = torch.from_numpy(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = (model(data)[0] ** 2).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    def forward() -> float:
        with torch.no_grad():
            return float(model(data)[0].mean())

    return step, forward


def measured(rows: dict[str, Contender], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Median milliseconds of step and forward pass."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    for _ in range(rounds + 1):
        for name, pair in rows.items():
            for run, seen in zip(pair, times[name], strict=True):
                start = clock()
                for _ in range(3):
                    run()
                seen.append((clock() - start) / 3 * 1e3)
    # The first round compiles.
    return {name: [statistics.median(seen[1:]) for seen in pair] for name, pair in times.items()}


def show(size: str, kind: str, medians: dict[str, list[float]]) -> None:
    step, forward = medians["keras"]
    for name, (own_step, own_forward) in medians.items():
        ratios = f"{own_step:9.2f}{own_step / step:7.2f}{own_forward:12.2f}{own_forward / forward:7.2f}"
        print(f"{size:24}{f'{name} {kind}':26}{ratios}", flush=True)


if __name__ == "__main__":
    main()
