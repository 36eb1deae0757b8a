"""The loops of a net, open and closed: those of any network (`NetworkLoop`), and of a set of nets
(`SetLoop`). A net of one layer has its own, in `narx.Narx`.

`Model` asks the numerics of a net for six things, which all three have:

- `begin(weights, u)`: what the net remembers before the first row of u, which only `Narx` looks at;
- `absorb(weights, u, y)`: what it remembers after measured rows;
- `loop(weights, memory, u, y)`: the outputs row after row, and the memory after the last one. With
  y given the loop is open (measured y is fed back, the net's own where it is NaN); None: closed;
- `ahead(weights, memory, u, y, steps)`: the closed loop over the next steps from every row;
- `bounded(run)`: a run kept inside the range the net knows, where it knows one;
- `flatten(weights)`: the weights by name in the form that the others want.

All values are scaled. A `State` is what a user carries from one loop to the next: the memory, and
whether y was given as a vector, so that it stays one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forecast.identification.experiment import Array
from forecast.identification.narx import Memory, Narx
from forecast.networks.description import Network, weights_at
from forecast.networks.inference import streaming


@dataclass(frozen=True)
class NetworkMemory:
    """The state of a network's loop, and the inputs (shift, I) that have not acted yet."""

    loop: streaming.LoopState
    inputs: Array


@dataclass(frozen=True)
class SetMemory:
    """The state of every net of a set."""

    members: tuple[Memory | NetworkMemory, ...]


LoopMemory = Memory | NetworkMemory | SetMemory
"""What a net remembers before a row, in scaled units."""


@dataclass(frozen=True)
class State:
    """Stands between two rows: either loop goes on from it. `is_vector`: y was given as (T,), so
    outputs are (T,) too.
    """

    memory: LoopMemory = field(repr=False)
    is_vector: bool = False


@dataclass(frozen=True)
class NetworkLoop:
    """The loops of any net: its network, whose row t holds y[t-1] and u[t - shift]."""

    network: Network
    shift: int

    def flatten(self, weights: Mapping[str, Array]) -> Mapping[str, Array]:
        """A network takes its weights by name."""
        return weights

    def bounded(self, run: Array) -> Array:
        """A network has no bounds."""
        return run

    def begin(self, weights: Mapping[str, Array], u: Array) -> NetworkMemory:
        """The state before the first row: zeros for y and for the inputs before u."""
        shapes = self.network.shapes
        loop = streaming.begin_loop(self.network, weights, np.zeros((1, shapes.outputs)))
        return NetworkMemory(loop, np.zeros((self.shift, shapes.channels - shapes.outputs)))

    def absorb(self, weights: Mapping[str, Array], u: Array, y: Array) -> NetworkMemory:
        """The state after the measured rows u (T, I) and y (T, O)."""
        return self.loop(weights, self.begin(weights, u), u, y)[1]

    def loop(
        self, weights: Mapping[str, Array], memory: NetworkMemory, u: Array, y: Array | None = None
    ) -> tuple[Array, NetworkMemory]:
        """The run (T, O) under u (T, I), and the state after it."""
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
        return streaming.ahead(self.network, weights, memory.loop, inputs, y[None], steps=steps)[0]


@dataclass(frozen=True)
class SetLoop:
    """The median of several loops, each of which feeds back its own output: a few that go astray do
    not move it.
    """

    loops: tuple[Any, ...]

    def flatten(self, weights: Mapping[str, Array]) -> list[Any]:
        """The weights of every loop, their names without the number of the net."""
        return [
            loop.flatten(weights_at(weights, str(number))) for number, loop in enumerate(self.loops)
        ]

    def bounded(self, run: Array) -> Array:
        """The median of bounded runs is bounded."""
        return run

    def begin(self, weights: list[Any], u: Array) -> SetMemory:
        """The state of every net before the first row."""
        return SetMemory(
            tuple(loop.begin(flat, u) for loop, flat in zip(self.loops, weights, strict=True))
        )

    def absorb(self, weights: list[Any], u: Array, y: Array) -> SetMemory:
        """The state of every net after the measured rows."""
        return SetMemory(
            tuple(loop.absorb(flat, u, y) for loop, flat in zip(self.loops, weights, strict=True))
        )

    def loop(
        self, weights: list[Any], memory: SetMemory, u: Array, y: Array | None = None
    ) -> tuple[Array, SetMemory]:
        """The median run (T, O) under u (T, I), and the state of every net after it."""
        runs, after = self.member_runs(weights, memory, u, y)
        return median_run(runs), after

    def member_runs(
        self, weights: list[Any], memory: Any, u: Array, y: Array | None = None
    ) -> tuple[Array, SetMemory]:
        """The run of every net (nets, T, O), and the state of each after it; `memory` is a
        `SetMemory`.
        """
        runs: list[Array] = [np.empty(0)] * len(self.loops)
        memories = list(memory.members)
        alike: dict[Any, list[int]] = {}  # nets of one layer by their loop, others alone
        for number, loop in enumerate(self.loops):
            alike.setdefault(loop if isinstance(loop, Narx) else number, []).append(number)
        for numbers in alike.values():
            loop = self.loops[numbers[0]]
            if len(numbers) == 1:
                (number,) = numbers
                run, memories[number] = loop.loop(weights[number], memories[number], u, y)
                runs[number] = loop.bounded(run)
                continue
            # side by side: ten take little longer than one
            together = Memory(np.stack([memories[n].y for n in numbers], 1), memories[numbers[0]].u)
            run, after = loop.loop(np.array([weights[n] for n in numbers]), together, u, y)
            for place, number in enumerate(numbers):
                runs[number] = loop.bounded(run[:, place])
                memories[number] = Memory(after.y[:, place], after.u)
        return np.array(runs), SetMemory(tuple(memories))

    def ahead(self, weights: list[Any], memory: SetMemory, u: Array, y: Array, steps: int) -> Array:
        """(T - steps, steps, O): the median of the nets' closed loops, each fed its own output,
        from every row but the last `steps`; `weights`: of each net.
        """
        members = zip(self.loops, weights, memory.members, strict=True)
        return median_run(
            np.array([loop.ahead(flat, before, u, y, steps) for loop, flat, before in members])
        )


def median_run(runs: Array) -> Array:
    """The median of the runs (nets, ...), also where some of them are not finite."""
    ordered = np.sort(runs, axis=0)
    return (ordered[(len(runs) - 1) // 2] + ordered[len(runs) // 2]) / 2
