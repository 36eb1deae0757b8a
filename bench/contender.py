"""One contender of `make bench` in a process of its own: it builds what it is told, then times
calls when asked.

    python -m bench.contender '{"who": "torch", "what": "step", "cell": "LSTM", "units": 32,
                                "steps": 24, "batch": 64}'

The first line on its standard output tells the seconds of the first call, tracing and compilation
included, imports not; then every line on its input, a number of calls, is answered by a line with
the milliseconds of one call each. It runs on one thread and takes CPU time, which other processes
do not change. What is timed, on 8 input channels:

    step      two layers of one cell with outputs at every step, mean squared output, gradients,
              one plain step
    forward   the same two layers and a linear read-out at every step (ours: what inference runs)
    predict   one forecast with intervals from a saved model (ours alone)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = 8
Call = Callable[[], Any]
Task = dict[str, Any]


def main() -> None:
    task = json.loads(sys.argv[1])
    call, libraries = CONTENDERS[task["who"], task["what"]](task)
    began = time.perf_counter()
    call()
    answer(
        {
            "first": time.perf_counter() - began,
            "versions": {n: sys.modules[n].__version__ for n in libraries},
        }
    )
    clock = time.perf_counter if task["what"] == "predict" else time.process_time
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            began = clock()
            call()
            times.append((clock() - began) * 1e3)
        answer({"ms": times})


def answer(fields: dict[str, Any]) -> None:
    print(json.dumps(fields), flush=True)


def batch(task: Task) -> np.ndarray:
    shape = task["batch"], task["steps"], CHANNELS
    return np.random.default_rng(0).normal(size=shape).astype("float32")


OURS = {
    "LSTM": ("lstm", {}),
    "GRU": ("gru", {}),
    "GRU before": ("gru", {"reset_after": False}),
    "SimpleRNN": ("simple_rnn", {}),
}


def own_step(task: Task) -> tuple[Call, tuple[str, ...]]:
    from forecast.networks import cells
    from forecast.networks.layers.scan import Scan

    class Outputs(Scan):
        """The outputs alone, as Keras's layers give them."""

        def call(self, x: Any) -> Any:
            return super().call(x)[0]

        def compute_output_shape(self, input_shape: Any) -> Any:
            return super().compute_output_shape(input_shape)[0]

    name, options = OURS[task["cell"]]
    cell = cells.get(name, task["units"], options)
    return stepped(lambda: Outputs(cell), task, compiled=False), ("tensorflow",)


def keras_step(task: Task) -> tuple[Call, tuple[str, ...]]:
    """Keras's own layers; "keras-xla" compiles the step by XLA."""
    from forecast.networks.layers import keras

    options = {"reset_after": task["cell"] == "GRU"} if task["cell"].startswith("GRU") else {}
    layer = getattr(keras.layers, task["cell"].split()[0])
    make = lambda: layer(task["units"], return_sequences=True, **options)  # noqa: E731
    return stepped(make, task, compiled=task["who"] == "keras-xla"), ("keras", "tensorflow")


def stepped(layer: Call, task: Task, *, compiled: bool) -> Call:
    from forecast.networks.layers import keras, tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential([layer() for _ in range(2)])
    data = tf.constant(batch(task))
    model(data)
    weights = model.trainable_variables

    @tf.function(jit_compile=compiled)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(data) ** 2)
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(1e-4 * gradient)
        return loss

    return lambda: step().numpy()


def torch_layers(task: Task) -> tuple[Any, Any]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    name = {"SimpleRNN": "RNN"}.get(task["cell"], task["cell"])
    layers = getattr(torch.nn, name)(CHANNELS, task["units"], num_layers=2, batch_first=True)
    return layers, torch.from_numpy(batch(task))


def torch_step(task: Task) -> tuple[Call, tuple[str, ...]]:
    import torch

    model, data = torch_layers(task)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = (model(data)[0] ** 2).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step, ("torch",)


def torch_forward(task: Task) -> tuple[Call, tuple[str, ...]]:
    import torch

    layers, data = torch_layers(task)
    readout = torch.nn.Linear(task["units"], 1)

    def forward() -> Any:
        with torch.inference_mode():
            return readout(layers(data)[0]).numpy()

    return forward, ("torch",)


def own_forward(task: Task) -> tuple[Call, tuple[str, ...]]:
    from forecast.networks.description import Network, Recurrent, Shapes
    from forecast.networks.inference.batch import forward
    from forecast.networks.weights import initialise

    cell, options = OURS[task["cell"]]
    shapes = Shapes(
        channels=CHANNELS, future_channels=0, horizon=1, outputs=1, lookback=task["steps"]
    )
    blocks = tuple(Recurrent(f"layer{k}", cell, task["units"], options) for k in range(2))
    network, data = Network(blocks, shapes), batch(task)
    weights = initialise(network, seed=0)
    return lambda: forward(network, weights, data), ("numpy",)


def own_predict(task: Task) -> tuple[Call, tuple[str, ...]]:
    """A GRU on Dublin's hours, fitted in its first use and loaded from its folder afterwards."""
    import forecast

    frame, folder = forecast.example(), Path(task["folder"])
    if not folder.exists():
        forecast.fit(frame, "gru", freq="1h", horizon=24, past_exogenous=["wind"], n_jobs=1).save(
            folder
        )
    model = forecast.load(folder)
    history = frame.tail(24 * 14)
    return lambda: model.predict(history, levels=[80, 95]), ("numpy", "pandas")


CONTENDERS: dict[tuple[str, str], Callable[[Task], tuple[Call, tuple[str, ...]]]] = {
    ("ours", "step"): own_step,
    ("keras", "step"): keras_step,
    ("keras-xla", "step"): keras_step,
    ("torch", "step"): torch_step,
    ("ours", "forward"): own_forward,
    ("torch", "forward"): torch_forward,
    ("ours", "predict"): own_predict,
}


if __name__ == "__main__":
    main()
