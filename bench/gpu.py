"""Time of a training step on a GPU and on one core of a processor: from which size does a GPU pay?

    python -m bench.gpu [--only LSTM/256] [--again]      (without a GPU: says so, exit code 2)

The product's own training of a network with one recurrent layer on 8 columns, whose outputs at
every step are supervised. Rows go to bench/results/gpu.json as they are measured. Milliseconds:

    core    one core, with the native kernels; `AT_ONCE` are measured at once
    gpu     the GPU, cuDNN
    loop    the GPU, the general loop that every other cell takes; for some sizes
    keras   the GPU, Keras's own layer with its own optimiser; for some sizes
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from bench.results_file import RESULTS, ResultsFile, Row, command, options_of
from bench.turns import ONE_THREAD
from forecast.networks.description import Network, Recurrent, Shapes
from forecast.networks.losses import POINT_LOSSES
from forecast.networks.weights import initialise
from forecast.system.errors import InputError
from forecast.training.chunks import TrainingSeries, join_series

CELLS = ("LSTM", "GRU")
UNITS, BATCHES, LOOKBACKS = (16, 64, 256, 1024), (32, 256, 2048), (24, 168, 672)
CHANNELS, ROWS, STEPS = 8, 20_000, 100
COMPARED = ((16, 32, 24), (64, 32, 168), (64, 256, 168), (256, 256, 168), (1024, 256, 168))
"""Units, batch and lookback at which the loop and Keras are measured too."""
AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
MOST_OPERATIONS = 1e11
"""Of a step that one core is asked for: some ten seconds."""
READING = 0.5
"""Seconds that one reading takes, in as many steps as fit."""


class Task(NamedTuple):
    way: str
    cell: str
    units: int
    batch: int
    lookback: int


@command
def main() -> None:
    options = options_of(__doc__).parse_args()
    os.environ.update(ONE_THREAD)
    (gpu,) = in_processes(1, gpu_name, [None])
    if not gpu:
        raise InputError("No GPU: TensorFlow sees none, so nothing is measured.")
    store = ResultsFile(RESULTS / "gpu.json")
    every = {"/".join(map(str, task)): task for task in tasks()}
    missing = list(store.missing(every, options))
    for way in ("gpu", "loop", "keras", "core"):
        keys = [key for key in missing if every[key].way == way]
        rows = in_processes(AT_ONCE if way == "core" else 1, measured, [every[k] for k in keys])
        for key, row in zip(keys, rows, strict=True):
            store.write(key, row | {"GPU": gpu, "cores": os.cpu_count()})
            print(key, row.get("ms", row.get("not run")), flush=True)


def tasks() -> Iterator[Task]:
    for cell, *size in itertools.product(CELLS, UNITS, BATCHES, LOOKBACKS):
        core = Task("core", cell, *size)
        if operations(core) < MOST_OPERATIONS:
            yield core
        yield Task("gpu", cell, *size)
        if tuple(size) in COMPARED:
            yield from (Task(way, cell, *size) for way in ("loop", "keras"))


def operations(task: Task) -> float:
    """Additions and multiplications of a step, forward and back."""
    gates = {"LSTM": 4, "GRU": 3}[task.cell]
    return 6 * gates * task.units * (task.units + CHANNELS) * task.batch * task.lookback


def in_processes(count: int, function: Callable, given: Iterable) -> Iterator:
    """What the function gives for each, in order; so many processes at a time."""
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, given)


def gpu_name(_: None) -> str:
    """Of the GPU that TensorFlow sees; empty where there is none."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return ""
    return tf.config.experimental.get_device_details(devices[0])["device_name"]


def measured(task: Task) -> Row:
    """The median of three readings, or why there is none."""
    from forecast.networks.layers import scan, tf

    if task.way == "core":
        tf.config.set_visible_devices([], "GPU")
    if task.way == "loop":
        scan.has_gpu = lambda: False
    try:
        steps = (keras_steps if task.way == "keras" else own_steps)(task)
        steps(1)  # traces
        count = max(1, min(STEPS, round(READING / seconds(steps, 1))))
        readings = [seconds(steps, count) / count for _ in range(3)]
    except tf.errors.ResourceExhaustedError:
        return {"not run": "out of memory"}
    return {"ms": float(np.median(readings)) * 1e3, "versions": {"tensorflow": tf.__version__}}


def seconds(steps: Callable[[int], float], count: int) -> float:
    began = time.perf_counter()
    steps(count)
    return time.perf_counter() - began


def own_steps(task: Task) -> Callable[[int], float]:
    """The training of `forecast.training.gradient`: so many updates, and their mean loss."""
    from forecast.networks.layers import tf
    from forecast.training.descent import Settings
    from forecast.training.gradient import Updates

    shapes = Shapes(CHANNELS, 0, horizon=1, outputs=1, lookback=task.lookback)
    network = Network((Recurrent("layer", task.cell.lower(), task.units),), shapes)
    loss = POINT_LOSSES["mse"]
    settings = Settings(STEPS, 1e-3, task.batch, 0.0, 1.0, loss, evaluate_every=STEPS)
    chunks = join_series([random_series()], n_supervised=task.lookback, burn_in=0)
    starts = chunks.random_starts(STEPS, task.batch, seed=0)
    updates = Updates(network, chunks, settings)
    updates.begin(0, initialise(network, seed=0), chunks, settings)

    def steps(count: int) -> float:
        return float(updates.take_steps(tf.constant(starts[:count])))

    return steps


def keras_steps(task: Task) -> Callable[[int], float]:
    """The same network of Keras's layers, on one batch."""
    from forecast.networks.layers import keras, tf

    shape = task.batch, task.lookback, CHANNELS
    layer = getattr(keras.layers, task.cell)(task.units, return_sequences=True)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    optimizer = keras.optimizers.AdamW(1e-3, global_clipnorm=1.0)
    data = tf.constant(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    model(data)
    weights = model.trainable_variables
    optimizer.build(weights)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(data) - data[..., :1]) ** 2)
        optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    return lambda count: float([step() for _ in range(count)][-1])


def random_series() -> TrainingSeries:
    values = np.random.default_rng(0).normal(size=(ROWS, CHANNELS)).astype(np.float32)
    return TrainingSeries(
        past=values,
        future=np.zeros((ROWS + 1, 0), np.float32),
        target=values[:, None, :1],
        sample_weight=np.ones((ROWS, 1, 1), bool),
    )


if __name__ == "__main__":
    sys.exit(main())
