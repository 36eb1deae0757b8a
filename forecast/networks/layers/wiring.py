"""Makes the functional Keras model of a network: a layer for each block, and their connections; for
`assemble`.

Two rules save work: a delay line and the dense layer after it become one convolution
(`feedforward.DelayedDense`), and where only the last steps are read out, layers without a state
compute only the steps that are needed (`count_wanted_steps`). Another kind of block is a `visit_`
method of `Wiring` that returns the output of a layer.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

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
    Taps,
)
from forecast.networks.layers import feedforward
from forecast.networks.layers.decoder import Decoder
from forecast.networks.layers.feedforward import DelayedDense, is_evenly_spaced
from forecast.networks.layers.scan import Scan
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import future_width

FRAMES = "future.frames"
"""The name of the layer with the weights "future/..."; "future" is the name of an input already."""

Tensor = Any
"""A symbolic tensor of Keras."""


def dropout_seed(seed: int, path: str) -> int:
    """The seed of the dropout masks of the layer at `path`, another one for each layer."""
    return zlib.crc32(f"{seed}/{path}".encode())


@dataclass
class Wiring(BlockVisitor[Tensor]):
    """Makes the layers of a network and connects them.

    `wanted_steps`: see `count_wanted_steps`.
    """

    network: Network
    dtype: str
    seed: int = 0
    wanted_steps: dict[str, int | None] = field(default_factory=dict)

    def model(self, last_steps: int | None = None) -> keras.Model:
        """The Keras model, read out at the last `last_steps` steps, None: every one: `(B, T, H, O,
        K)`.

        For windows, whose last step is the forecast, and for chunks, whose burn-in is not counted.
        """
        inputs = self._inputs()
        return keras.Model(inputs, self._forecast(inputs, last_steps))

    def _inputs(self) -> dict[str, Tensor]:
        """The inputs past (B, T, C) and, with known-future channels, future (B, T + H, F)."""
        shapes = self.network.shapes
        columns = {"past": shapes.channels, "future": shapes.future_channels}
        return {
            name: keras.Input((None, width), dtype=self.dtype, name=name)
            for name, width in columns.items()
            if width
        }

    def _first(self, inputs: Mapping[str, Tensor], last: int | None) -> Tensor:
        """The input of the first block at all steps, or at the `last` ones."""
        past = inputs["past"]
        horizon = self.network.shapes.horizon
        past = past[:, -last:] if last else past
        units = future_width(self.network)
        if not units:
            return past
        future = inputs["future"][:, -(last + horizon) :] if last else inputs["future"]
        frames = self._layer(FRAMES, feedforward.FutureFrames, horizon=horizon, units=units)(future)
        return self._layer("past.future", feedforward.Joined)([past, frames])

    def _forecast(self, inputs: Mapping[str, Tensor], last_steps: int | None) -> Tensor:
        """The forecasts `(B, steps, H, O, K)` at the last `last_steps` steps, None: every one; at
        the last alone of a network that needs its whole window.
        """
        network = self.network
        if network.decoder:
            return self._encoder_decoder(network.decoder, inputs, last_steps)
        last_steps = last_steps if network.every_step else 1
        self.wanted_steps = count_wanted_steps(network.blocks, last_steps)
        x = self.visit_series(network.blocks, "", self._first(inputs, self.wanted_steps[INPUT]))
        layer = self._layer(
            "readout", feedforward.ReadOut, shape=self._forecast_shape(), parts=network.parts
        )
        return layer(x, last=last_steps)

    def _forecast_shape(self) -> tuple[int, int, int]:
        """The shape (H, O, K) of a forecast."""
        shapes = self.network.shapes
        return shapes.horizon, shapes.outputs, shapes.parameters

    def _encoder_decoder(
        self, block: EncoderDecoder, inputs: Mapping[str, Tensor], last_steps: int | None
    ) -> Tensor:
        """The forecasts of the network's last block, at the last `last_steps` steps, None: every
        one.
        """
        x = self.visit_series(self.network.blocks[:-1], "", self._first(inputs, None))
        encoder = self._layer(
            f"{block.name}/encoder", Scan, cell=block.cell_object, all_states=True
        )
        encoded, *states = encoder(x)
        sequences = dict(zip(block.cell_object.states(), states, strict=True))
        rows = {"encoded": encoded}
        if "future" in inputs:
            rows["future"] = inputs["future"]
        # the decoder runs H steps from every step that is read out, most of the network's time
        if last_steps:
            steps = {"encoded": last_steps, "future": self.network.shapes.horizon + last_steps}
            rows = {name: values[:, -steps[name] :] for name, values in rows.items()}
            sequences = {name: state[:, -last_steps:] for name, state in sequences.items()}
        decoder = self._layer(
            f"{block.name}/decoder", Decoder, block=block, shape=self._forecast_shape()
        )
        return decoder({**rows, "states": sequences})

    def visit_series(self, blocks: Sequence[Block], prefix: str, x: Tensor) -> Tensor:
        """The output of blocks in series; delay lines and a dense layer after them become one
        layer.
        """
        lines: dict[str, Taps] = {}
        for block, following in itertools.zip_longest(blocks, blocks[1:]):
            path = prefix + block.name
            if lines and isinstance(block, Dense):
                x = self._delayed(lines, block, path, x)
                lines = {}
                continue
            if isinstance(following, Dense) and following.principal_of is None:
                lines = delay_lines(block, path)
            if not lines:
                x = self.visit_block(block, path, x)
        return x

    def _delayed(self, lines: Mapping[str, Taps], dense: Dense, path: str, x: Tensor) -> Tensor:
        """The output of delay lines and the dense layer after them, as one layer with the name of
        the dense layer.
        """
        layer = self._layer(
            path,
            DelayedDense,
            units=dense.units,
            activation=dense.activation,
            lines=list(lines.values()),
        )
        return layer(x, last=self.wanted_steps.get(path))

    def visit_dense(self, block: Dense, path: str, x: Tensor) -> Tensor:
        """The dense layer at every step; not trained where its weights are principal axes."""
        layer = self._layer(
            path,
            feedforward.Affine,
            units=block.units,
            activation=block.activation,
            trainable=block.principal_of is None,
        )
        return layer(x)

    def visit_taps(self, block: Taps, path: str, x: Tensor) -> Tensor:
        """A delay line that no dense layer follows."""
        return self._layer(path, feedforward.DelayLine, line=block)(x)

    def visit_segments(self, block: Segments, path: str, x: Tensor) -> Tensor:
        """A layer that cuts the window into segments, the steps of all later layers."""
        channels = self.network.shapes.channels
        return self._layer(path, feedforward.CutSegments, block=block, channels=channels)(x)

    def visit_recurrent(self, block: Recurrent, path: str, x: Tensor) -> Tensor:
        """The outputs of a recurrent layer at every step."""
        return self._layer(path, Scan, cell=block.cell_object, parts=block.parts)(x)[0]

    def visit_bidirectional(self, block: Bidirectional, path: str, x: Tensor) -> Tensor:
        """The last outputs of both directions side by side."""
        cell = block.cell_object
        forward = self._layer(f"{path}/forward", Scan, cell=cell)
        backward = self._layer(f"{path}/backward", Scan, cell=cell, go_backwards=True)
        ends = [layer(x)[0] for layer in (forward, backward)]
        return self._layer(path, feedforward.Joined)(ends, last=1)

    def visit_dropout(self, block: Dropout, path: str, x: Tensor) -> Tensor:
        """Dropout with one mask for all steps of a sequence; other masks at every step would be
        noise in time.
        """
        if not block.rate:
            return x
        layer = self._layer(
            path,
            keras.layers.Dropout,
            rate=block.rate,
            noise_shape=(None, 1, None),
            seed=dropout_seed(self.seed, path),
        )
        return layer(x)

    def join_branches(self, block: Parallel, path: str, outputs: list[Tensor]) -> Tensor:
        """The outputs of the branches side by side."""
        return self._layer(path, feedforward.Joined)(outputs)

    def _layer(self, path: str, make: Callable[..., keras.Layer], **arguments: Any) -> keras.Layer:
        """The layer at `path`, made with these arguments."""
        return make(**arguments, name=path.replace("/", "."), dtype=self.dtype)


def delay_lines(block: Block, path: str) -> dict[str, Taps]:
    """The delay lines of a block that consists of nothing else, by path; empty for any other block,
    and for delays that a convolution cannot read.
    """
    lines: dict[str, Taps] = {}
    match block:
        case Taps():
            lines[path] = block
        case Parallel():
            for prefix, branch in block.prefixed_branches(path):
                if len(branch) != 1 or not isinstance(branch[0], Taps):
                    return {}
                lines[prefix + branch[0].name] = branch[0]
    return lines if all(is_evenly_spaced(taps.delays) for taps in lines.values()) else {}


INPUT = ""
"""The key of the network's input in `count_wanted_steps`."""


def count_wanted_steps(blocks: Sequence[Block], last_steps: int | None) -> dict[str, int | None]:
    """How many last steps are needed of the output of every block of the network and of the
    `INPUT`, by name, where `last_steps` are read out; None: all, as for the input of a block with a
    state. Blocks within branches are not counted (`inference.batch.count_steps_by_path` does).
    """
    counts: dict[str, int | None] = {}
    for block in reversed(blocks):
        counts[block.name] = last_steps
        lines = delay_lines(block, block.name)
        if lines and last_steps is not None:
            last_steps += max(max(taps.delays) for taps in lines.values())
        elif not lines and not isinstance(block, Dense | Dropout):
            last_steps = None
    counts[INPUT] = last_steps
    return counts
