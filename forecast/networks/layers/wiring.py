"""The graph of a network: which Keras layer each block becomes, and what flows between them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from forecast.networks.cells.weights import future_width, weight_shapes
from forecast.networks.description import (
    Bidirectional,
    Block,
    CellBlock,
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    Taps,
)
from forecast.networks.layers import blocks as layers
from forecast.networks.layers.blocks import DelayedDense, evenly_spaced
from forecast.networks.layers.decoder import Decoder
from forecast.networks.layers.scan import Scan
from forecast.system.errors import InputError

FRAMES = "future.frames"
"""The layer of the weights "future/..."; the input of that name is a layer too, and no two may
share one.
"""

Tensor = Any
States = dict[str, Tensor]


def dropout_seed(seed: int, path: str) -> int:
    """What the masks of the dropout at `path` are drawn from; the masks of no two layers are
    alike.
    """
    return zlib.crc32(f"{seed}/{path}".encode())


@dataclass
class Wiring:
    """Makes layers once by name and connects them; a second graph over a model's layers shares its
    weights.
    """

    network: Network
    dtype: str
    seed: int = 0
    layers: dict[str, keras.Layer] = field(default_factory=dict)
    before: States | None = None
    after: States = field(default_factory=dict)

    @classmethod
    def over(cls, network: Network, model: keras.Model) -> Wiring:
        """A wiring that uses the layers of a model of the same network, and so shares its
        weights.
        """
        known = {
            layer.name: layer
            for layer in model.layers
            if not isinstance(layer, keras.layers.InputLayer)
        }
        return cls(network, model.get_layer("past").dtype, layers=known)

    def model(self, read: int | None = None) -> keras.Model:
        """The Keras model, read out at so many last steps alone (None: at all): `(B, T, H, O, K)`.

        For windows, whose last step is the forecast, and for chunks, whose warm-up is not counted.
        """
        inputs = self._inputs()
        return keras.Model(inputs, self._forecast(inputs, read))

    def taught(self, read: int | None) -> keras.Model:
        """The same, its decoder fed what the forecasts ought to have been: one more input,
        "teacher" `(B, T, H, O)`, target minus skip, 0 where the target is missing.
        """
        inputs, shapes = self._inputs(), self.network.shapes
        inputs["teacher"] = self._input("teacher", (None, shapes.horizon, shapes.outputs))
        return keras.Model(inputs, self._forecast(inputs, read))

    def carrying(self) -> keras.Model:
        """The model with its states in and out, so that one pass can be cut into chunks: inputs
        `{"past", "future", "states"}`, outputs `{"forecast", "states"}`; before the first row stand
        `assemble.first_states`.
        """
        inputs = self._inputs()
        inputs["states"] = self.before = self._state_inputs()
        return keras.Model(inputs, {"forecast": self._forecast(inputs, None), "states": self.after})

    def hidden(self) -> keras.Model:
        """The model without its read-out, `(B, T, units)`: for a loss that needs some of the
        read-out's columns.
        """
        inputs = self._inputs()
        return keras.Model(inputs, self._series(self.network.blocks, "", self._first(inputs, None)))

    def _inputs(self) -> dict[str, Any]:
        weight_shapes(self.network)  # refuses blocks that do not fit together
        shapes = self.network.shapes
        found = {"past": self._input("past", (None, shapes.channels))}
        if shapes.future_channels:
            found["future"] = self._input("future", (None, shapes.future_channels))
        return found

    def _first(self, inputs: Mapping[str, Tensor], last: int | None) -> Tensor:
        """The first block's input, at all steps or at the last ones that matter."""
        past, horizon = inputs["past"], self.network.shapes.horizon
        past = past[:, -last:] if last else past
        units = future_width(self.network)
        if not units:
            return past
        future = inputs["future"][:, -(last + horizon) :] if last else inputs["future"]
        frames = self._layer(FRAMES, layers.FutureFrames, horizon=horizon, units=units)(future)
        return self._layer("past.future", layers.Joined)([past, frames])

    def _forecast(self, inputs: Mapping[str, Tensor], read: int | None) -> Tensor:
        blocks, s = self.network.blocks, self.network.shapes
        read_out = {
            "shape": (s.horizon, s.outputs, s.parameters),
            "activation": self.network.readout_activation,
        }
        if decoder := self.network.decoder:
            return self._encoder_decoder(decoder, inputs, read, read_out)
        read = read if self.network.every_step else 1
        first, *needed = _needed(blocks, read)
        x = self._series(blocks, "", self._first(inputs, first), needed)
        return self._layer("readout", layers.ReadOut, **read_out, parts=self.network.parts)(
            x, last=read
        )

    def _encoder_decoder(
        self,
        block: EncoderDecoder,
        inputs: Mapping[str, Tensor],
        read: int | None,
        read_out: dict[str, Any],
    ) -> Tensor:
        x = self._series(self.network.blocks[:-1], "", self._first(inputs, None))
        own = {"cell": block.cell, "units": block.units, "options": dict(block.options)}
        encoder = self._layer(f"{block.name}/encoder", Scan, **own, all_states=True)
        encoded, *states = self._run(encoder, block, block.name, x)
        found = {
            "encoded": encoded,
            **{key: inputs[key] for key in ("future", "teacher") if key in inputs},
        }
        sequences = dict(zip(block.made.states(), states, strict=False))
        # a decoder runs from every step that is read: H steps each, most of this network's cost
        if read:
            ahead = self.network.shapes.horizon + read
            found = {
                key: value[:, -ahead if key == "future" else -read :]
                for key, value in found.items()
            }
            sequences = {name: state[:, -read:] for name, state in sequences.items()}
        how = {"feedback": block.feedback, "parameter": block.parameter}
        decoder = self._layer(f"{block.name}/decoder", Decoder, **own, **how, **read_out)
        return decoder({**found, "states": sequences})

    def _series(
        self,
        blocks: Sequence[Block],
        prefix: str,
        x: Tensor,
        needed: Sequence[int | None] | None = None,
    ) -> Tensor:
        """`needed`: for every block the last steps of its output that matter; None: all."""
        at = 0
        while at < len(blocks):
            lines, dense = (
                _lines(blocks[at], prefix),
                blocks[at + 1] if at + 1 < len(blocks) else None,
            )
            if lines and isinstance(dense, Dense) and dense.principal_of is None:
                x = self._delayed(lines, dense, prefix, x, needed[at + 1] if needed else None)
                at += 2
            else:
                x = self._block(blocks[at], prefix + blocks[at].name, x)
                at += 1
        return x

    def _delayed(
        self, lines: Mapping[str, Taps], dense: Dense, prefix: str, x: Tensor, last: int | None
    ) -> Tensor:
        """Delay lines and the dense layer behind them in one, under the name of the dense layer."""
        how = {"units": dense.units, "activation": dense.activation}
        delays = [(taps.delays, taps.channels) for taps in lines.values()]
        layer = self._layer(prefix + dense.name, DelayedDense, **how, lines=delays)
        given = None if self.before is None else [self.before[f"{path}/line"] for path in lines]
        output, *rows = layer(x, earlier=given, last=last)
        self.after |= {f"{path}/line": line for path, line in zip(lines, rows, strict=True)}
        return output

    def _block(self, block: Block, path: str, x: Tensor) -> Tensor:
        match block:
            case Dense():
                how = {"activation": block.activation, "trainable": block.principal_of is None}
                return self._layer(path, layers.Dense, units=block.units, **how)(x)
            case Taps():
                return self._taps(block, path, x)
            case Recurrent():
                return self._run(self._recurrence(block, path, parts=block.parts), block, path, x)[
                    0
                ]
            case Dropout():
                return self._dropout(block, path, x)
            case Segments():
                sizes = {
                    "length": block.length,
                    "count": block.count,
                    "channels": self.network.shapes.channels,
                }
                return self._layer(path, layers.Segments, **sizes, relative=block.relative)(x)
            case Parallel():
                parts = [self._series(b, f"{path}/{k}/", x) for k, b in enumerate(block.branches)]
                return self._layer(path, layers.Joined, merge=block.merge)(parts)
            case Bidirectional():
                return self._bidirectional(block, path, x)
        raise InputError(
            f"Block {path!r} is a {type(block).__name__}, which forecast.networks.layers cannot"
            " build."
        )

    def _taps(self, block: Taps, path: str, x: Tensor) -> Tensor:
        layer = self._layer(path, layers.DelayLine, delays=block.delays, channels=block.channels)
        earlier = () if self.before is None else (self.before[f"{path}/line"],)
        taps, self.after[f"{path}/line"] = layer(x, *earlier)
        return taps

    def _run(self, layer: keras.Layer, block: CellBlock, path: str, x: Tensor) -> Sequence[Tensor]:
        """All that a layer of the block's cell returns from the states before; its last states are
        the last of it.
        """
        names = [f"{path}/{name}" for name in block.made.states()]
        given = None if self.before is None else [self.before[name] for name in names]
        found: Sequence[Tensor] = layer(x, initial_state=given)
        self.after |= dict(zip(names, found[-len(names) :], strict=True))
        return found

    def _bidirectional(self, block: Bidirectional, path: str, x: Tensor) -> Tensor:
        ends = [
            self._recurrence(block, f"{path}/{way}", reverse=way == "backward")
            for way in ("forward", "backward")
        ]
        return self._layer(path, layers.Joined)([layer(x)[0] for layer in ends], last=1)

    def _recurrence(
        self, block: Recurrent | Bidirectional, path: str, reverse: bool = False, parts: int = 0
    ) -> keras.Layer:
        own = {"cell": block.cell, "units": block.units, "options": dict(block.options)}
        return self._layer(path, Scan, **own, go_backwards=reverse, parts=parts)

    def _dropout(self, block: Dropout, path: str, x: Tensor) -> Tensor:
        if not block.rate:
            return x
        # One mask for all steps of a sequence: noise that changed with time would be a second,
        # faster signal.
        own = {
            "rate": block.rate,
            "noise_shape": (None, 1, None),
            "seed": dropout_seed(self.seed, path),
        }
        return self._layer(path, keras.layers.Dropout, **own)(x)

    def _layer(self, path: str, make: Callable[..., keras.Layer], **arguments: Any) -> keras.Layer:
        name = path.replace("/", ".")
        if name not in self.layers:
            self.layers[name] = make(**arguments, name=name, dtype=self.dtype)
        return self.layers[name]

    def _input(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        return keras.Input(shape, dtype=self.dtype, name=name.replace("/", "."))

    def _state_inputs(self) -> States:
        """One input for each state, with the shapes a plain pass ends with."""
        probe = Wiring(self.network, self.dtype, layers=self.layers)
        probe.model()
        return {
            path: self._input(f"states/{path}", tuple(state.shape[1:]))
            for path, state in probe.after.items()
        }


def _lines(block: Block, prefix: str) -> dict[str, Taps]:
    """The delay lines that a block consists of, by path, side by side; none where it is anything
    else.
    """
    match block:
        case Taps():
            found = {prefix + block.name: block}
        case Parallel(merge="concat"):
            alone = [
                branch[0]
                for branch in block.branches
                if len(branch) == 1 and isinstance(branch[0], Taps)
            ]
            paths = [f"{prefix}{block.name}/{k}/{taps.name}" for k, taps in enumerate(alone)]
            found = (
                dict(zip(paths, alone, strict=True)) if len(alone) == len(block.branches) else {}
            )
        case _:
            found = {}
    return found if all(evenly_spaced(taps.delays) for taps in found.values()) else {}


def _needed(blocks: Sequence[Block], read: int | None) -> list[int | None]:
    """How many last steps matter of the network's input and of every block's output, where `read`
    are read out.

    A block with a memory of its own needs all of them.
    """
    needed: list[int | None] = [read]
    for block in reversed(blocks):
        later, lines = needed[0], _lines(block, "")
        reach = max((max(taps.delays) for taps in lines.values()), default=0)
        remembers = not lines and not isinstance(block, Dense | Dropout)
        needed.insert(0, None if later is None or remembers else later + reach)
    return needed
