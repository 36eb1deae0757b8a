"""The open and the closed loop of a net: of any network (`NetworkLoop`) and of a set of nets
(`SetLoop`). A net of one hidden layer has both in `narx.Narx`.

`Model` calls five methods, which all three classes have; all values are scaled:

- `absorb(weights, u, y)`: the memory after measured rows;
- `loop(weights, memory, u, y)`: the outputs row after row, and the memory after the last row. With
  y the loop is open: y is fed back, the net's own output where y is NaN. Without y it is closed;
- `ahead(weights, memory, u, y, steps)`: the closed loop over the next `steps` from every row;
- `bounded(run)`: the run clipped to the bounds of y that the net knows;
- `flatten(weights)`: the weights by name in the form that the other methods take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forecast.identification.experiment import Array, Standardization
from forecast.identification.narx import Memory, Narx
from forecast.networks.description import Network, weights_at
from forecast.networks.inference import streaming


@dataclass(frozen=True)
class NetworkMemory:
    """The state of a network's loop, and the inputs (shift, I) that do not act on y yet."""

    loop: streaming.LoopState
    inputs: Array


LoopMemory = Memory | NetworkMemory | list[Any]
"""What a net remembers before a row, in scaled units; of a set the memory of every net."""


@dataclass(frozen=True)
class State:
    """What a model remembers between two rows; either loop goes on from it.

    `is_vector`: y was given as (T,), so outputs are (T,), too; `net`, `scaling`: of the model
    whose memory it is.
    """

    memory: LoopMemory = field(repr=False)
    is_vector: bool = False
    net: object = field(default=None, repr=False)
    scaling: Standardization | None = field(default=None, repr=False)


@dataclass(frozen=True)
class NetworkLoop:
    """The loops of any net, by its network, whose row t holds y[t-1] and u[t - shift]."""

    network: Network
    shift: int

    def flatten(self, weights: Mapping[str, Array]) -> Mapping[str, Array]:
        """A network takes its weights by name."""
        return weights

    def bounded(self, run: Array) -> Array:
        """A network has no bounds."""
        return run

    def begin(self, weights: Mapping[str, Array]) -> NetworkMemory:
        """The memory before the first row: zeros for y and for the inputs before."""
        shapes = self.network.shapes
        loop = streaming.begin_loop(self.network, weights, np.zeros((1, shapes.outputs)))
        return NetworkMemory(loop, np.zeros((self.shift, shapes.channels - shapes.outputs)))

    def absorb(self, weights: Mapping[str, Array], u: Array, y: Array) -> NetworkMemory:
        """The memory after the measured rows u (T, I) and y (T, O)."""
        return self.loop(weights, self.begin(weights), u, y)[1]

    def loop(
        self, weights: Mapping[str, Array], memory: NetworkMemory, u: Array, y: Array | None = None
    ) -> tuple[Array, NetworkMemory]:
        """The run (T, O) under u (T, I), and the memory after it."""
        inputs = np.concatenate([memory.inputs, u])
        if y is None:
            y = np.full((len(u), self.network.shapes.outputs), np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller says what a lost run means
            run, loop = streaming.run_loop(
                self.network, weights, memory.loop, inputs[None, : len(u)], y[None]
            )
        return run[0], NetworkMemory(loop, inputs[len(u) :])

    def ahead(
        self, weights: Mapping[str, Array], memory: NetworkMemory, u: Array, y: Array, steps: int
    ) -> Array:
        """(T - steps, steps, O): the closed loop over the next steps from every row but the last
        `steps`.
        """
        inputs = np.concatenate([memory.inputs, u])[None, : len(u)]
        return streaming.predict_ahead(
            self.network, weights, memory.loop, inputs, y[None], steps=steps
        )[0]


@dataclass(frozen=True)
class SetLoop:
    """The median of several loops, each of which feeds back its own output."""

    loops: tuple[Any, ...]

    def flatten(self, weights: Mapping[str, Array]) -> list[Any]:
        """The weights of every loop, from names that begin with the number of its net."""
        return [
            loop.flatten(weights_at(weights, str(number))) for number, loop in enumerate(self.loops)
        ]

    def bounded(self, run: Array) -> Array:
        """The median of bounded runs is bounded."""
        return run

    def absorb(self, weights: list[Any], u: Array, y: Array) -> list[Any]:
        """The memory of every net after the measured rows."""
        return [loop.absorb(flat, u, y) for loop, flat in zip(self.loops, weights, strict=True)]

    def loop(
        self, weights: list[Any], memory: list[Any], u: Array, y: Array | None = None
    ) -> tuple[Array, list[Any]]:
        """The median run (T, O) under u (T, I), and the memory of every net after it."""
        runs, after = self.member_runs(weights, memory, u, y)
        return median_run(runs), after

    def member_runs(
        self, weights: list[Any], memory: Any, u: Array, y: Array | None = None
    ) -> tuple[Array, list[Any]]:
        """The run of every net (nets, T, O), and the memory of each after it; `memory`: that of
        each before it.
        """
        runs: list[Array] = [np.empty(0)] * len(self.loops)
        memories = list(memory)
        alike: dict[Any, list[int]] = {}  # equal nets of one layer share a loop; others are alone
        for number, loop in enumerate(self.loops):
            alike.setdefault(loop if isinstance(loop, Narx) else number, []).append(number)
        for numbers in alike.values():
            loop = self.loops[numbers[0]]
            if len(numbers) == 1:
                (number,) = numbers
                run, memories[number] = loop.loop(weights[number], memories[number], u, y)
                runs[number] = loop.bounded(run)
                continue
            # at once: ten take little longer than one
            together = Memory(np.stack([memories[n].y for n in numbers], 1), memories[numbers[0]].u)
            run, after = loop.loop(np.array([weights[n] for n in numbers]), together, u, y)
            for place, number in enumerate(numbers):
                runs[number] = loop.bounded(run[:, place])
                memories[number] = Memory(after.y[:, place], after.u)
        return np.array(runs), memories

    def ahead(self, weights: list[Any], memory: list[Any], u: Array, y: Array, steps: int) -> Array:
        """(T - steps, steps, O): the median of the nets' closed loops, each fed its own output,
        from every row but the last `steps`; `weights`: of each net.
        """
        members = zip(self.loops, weights, memory, strict=True)
        return median_run(
            np.array([loop.ahead(flat, before, u, y, steps) for loop, flat, before in members])
        )


def median_run(runs: Array) -> Array:
    """The median of the runs (nets, ...), also where some of them are not finite."""
    ordered = np.sort(runs, axis=0)
    return (ordered[(len(runs) - 1) // 2] + ordered[len(runs) // 2]) / 2
