"""One small network of every kind of block, with weights that are not zero anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast.networks import cells
from forecast.networks.description import (
    Bidirectional,
    Block,
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    Shapes,
    Taps,
)
from forecast.networks.weights import initialise, weight_specs

SHAPES = Shapes(
    channels=3,
    future_channels=2,
    horizon=4,
    outputs=2,
    lookback=9,
    target_channels=(0, 1),
    parameters=2,
)
STEPS = 9


def recurrent(name: str, cell: str, units: int = 4, **options: Any) -> Recurrent:
    return Recurrent(name, cell, units, options)


BLOCKS: dict[str, tuple[Block, ...]] = {
    "linear": (),
    "dense": (Dense("a", 5), Dropout("drop", 0.5), Dense("b", 4, "softplus")),
    "tdnn": (
        Taps("t", (0, 1, 3)),
        Dense("a", 5),
        Taps("u", (0, 2), channels=(4, 1)),
        Dense("b", 4, "relu"),
    ),
    "window": (Taps("t", tuple(range(STEPS))), Dense("a", 5, "sigmoid")),
    "taps beyond the window": (Taps("t", (0, 30)), Dense("a", 5)),
    "stacked": (
        recurrent("a", "lstm", 5),
        recurrent("b", "gru", 4),
        Taps("t", (0, 2)),
        recurrent("c", "simple_rnn"),
    ),
    "parallel": (
        Parallel(
            "p",
            ((recurrent("a", "gru", reset_after=False), Taps("t", (0, 4))), (Dense("d", 3),), ()),
        ),
        Parallel("q", ((recurrent("e", "lstm"),), (Dense("f", 4),))),
    ),
    "encoder-decoder": (
        Dense("a", 5),
        EncoderDecoder("talk", "lstm", 4, parameter=1),
    ),
    "one to many": (EncoderDecoder("talk", "gru", 4, feedback=False),),
    **{f"cell {name}": (recurrent("a", name),) for name in sorted(cells.catalogue())},
}
STREAMED: dict[str, Network] = {
    name: Network(blocks, SHAPES, future_units=3) for name, blocks in BLOCKS.items()
}
SEGMENTED: dict[str, Network] = {
    "segments": Network(
        (Segments("s", 3, 3, (0,)), Dense("a", 5, "relu"), recurrent("b", "gru")), SHAPES, 3, False
    ),
    "segments beyond the window": Network(
        (Segments("s", 4, 3), recurrent("b", "lstm")), SHAPES, every_step=False
    ),
    "segments ahead": Network(
        (Segments("s", 3, 3), Recurrent("b", "gru", 4, parts=2)), SHAPES, 3, False
    ),
}
WINDOWED: dict[str, Network] = SEGMENTED | {
    "bidirectional": Network(
        (recurrent("a", "gru"), Bidirectional("b", "lstm", 4), Dense("c", 3)),
        SHAPES,
        3,
        every_step=False,
    ),
    "encoder-decoder at the end": Network(
        (EncoderDecoder("talk", "lstm", 4),), SHAPES, every_step=False
    ),
}
NETWORKS = STREAMED | WINDOWED


def weights_of(network: Network, dtype: str = "float64", seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of moderate size everywhere, the zero-initialised read-out included."""
    rng = np.random.default_rng(seed)
    shapes = weight_specs(network)
    first = initialise(network, seed, "float64")
    return {
        name: (first[name] + rng.normal(0, 0.3, w.shape)).astype(dtype)
        for name, w in shapes.items()
    }


def inputs_of(batch: int = 3, steps: int = STEPS, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """past `(batch, steps, C)` and future `(batch, steps + H, F)`."""
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(batch, steps, SHAPES.channels))
    return past, rng.normal(size=(batch, steps + SHAPES.horizon, SHAPES.future_channels))
