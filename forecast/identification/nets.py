"""The nets of MATLAB's time-series family by MATLAB's names, as descriptions without weights.

    net                                       y^[t] = F(...)                          defaults
    narxnet(input_delays, feedback_delays)    u[t-d], y[t-d]                          1:2, 1:2, 10
    narnet(feedback_delays)                   y[t-d]                                  1:2, 10
    timedelaynet(input_delays)                u[t-d]                                  1:2, 10
    distdelaynet(delays)                      u[t-d], and delays into every layer     {1:2, 1:2}, 10
    layrecnet(layer_delays)                   u[t], each layer's own output before    1:2, 10
    elmannet(layer_delays)                    u[t], each layer's own output before    1:2, 10
    grunet(), lstmnet()                       u[t], gated states (not MATLAB's)       8

Delays are whole steps in rising order, or one alone. Hidden units are tanh or gated, the output is
linear. `hidden` counts the units of each layer; () makes a linear model (ARX, FIR), but of
recurrent nets. In the network of `Net.network` the row of time t holds y[t-1] and u[t - shift],
where `shift` is the shortest input delay: what is known when y[t] is forecast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import is_whole
from forecast.identification.loops import NetworkLoop, SetLoop
from forecast.identification.narx import Narx
from forecast.identification.polynomial import Term
from forecast.networks.description import Block, Dense, Network, Parallel, Recurrent, Shapes, Taps
from forecast.system.errors import InputError, plural

Delays = tuple[int, ...]
GATED = ("grunet", "lstmnet")


@dataclass(frozen=True)
class Net:
    """A net without its weights.

    `layer_delays`: into each layer after the first (distdelaynet), or of the layers' own outputs
    (recurrent nets); `linear`: with a linear path beside the hidden layers. `low`, `high`,
    `held_back_rows`, `states`, `terms` and `origin` are those of `narx.Narx`, found by `identify`
    (`terms` also by `frols`). `first`: how many measured rows a run begins with, None for as many
    as fill the delays (`start`).
    """

    kind: str
    hidden: tuple[int, ...]
    input_delays: Delays = ()
    feedback_delays: Delays = ()
    layer_delays: tuple[Delays, ...] = ()
    linear: bool = False
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    held_back_rows: tuple[tuple[int, ...], ...] = ()
    first: int | None = None
    states: int = 0
    terms: tuple[Term, ...] = ()
    origin: tuple[float, ...] = ()

    @property
    def feedback(self) -> bool:
        """Whether y is fed back, so that its loop can be opened and closed."""
        return bool(self.feedback_delays)

    @property
    def shift(self) -> int:
        """The shortest input delay."""
        return min(self.input_delays, default=0)

    @property
    def start(self) -> int:
        """How many measured rows a run begins with: `first`, else the longest delay, and with
        delays between layers (distdelaynet) the longest of each layer besides.
        """
        if self.first is not None:
            return self.first
        start = max((*self.input_delays, *self.feedback_delays), default=0)
        if self.kind == "distdelaynet":
            start += sum(map(max, self.layer_delays))
        return start

    def network(self, inputs: int, outputs: int) -> Network:
        """The network of the net for u (T, inputs) and y (T, outputs); `InputError` as
        `check_inputs`.
        """
        self.check_inputs(inputs)
        shapes = Shapes(outputs + inputs, 0, 1, outputs, self.start + 1, tuple(range(outputs)))
        return Network(self._blocks(inputs, outputs), shapes)

    def check_inputs(self, inputs: int) -> None:
        """`InputError` where the net wants inputs and there are none, or the reverse."""
        if self.input_delays and not inputs:
            raise InputError(
                f"{self.kind} wants inputs u (T, I); got {inputs} of them. Give u, or use narnet."
            )
        if inputs and not self.input_delays:
            raise InputError(
                f"{self.kind} wants no inputs (u=None); got {inputs} of them. Leave u out, or use"
                " narxnet."
            )

    @property
    def has_narx_form(self) -> bool:
        """Whether it can be computed as a `narx.Narx`: it feeds y back and has at most one hidden
        layer.
        """
        return self.feedback and len(self.hidden) <= 1

    def narx_form(self, inputs: int, outputs: int) -> Narx:
        """The net as a `narx.Narx`, which has the derivatives of its free run; `InputError` unless
        `has_narx_form`, and as `check_inputs`.
        """
        if not self.feedback:
            raise InputError(
                f"A {self.kind} feeds no forecast back: there is no loop to train it in. `train`"
                " alone trains it."
            )
        if not self.has_narx_form:
            raise InputError(
                "Closed-loop training is for narx and nar nets with one hidden layer; this is a"
                f" {self.kind} with {len(self.hidden)}. Train it in open loop and run it in closed"
                " loop, or take one hidden layer."
            )
        self.check_inputs(inputs)
        hidden = sum(self.hidden)
        return Narx(
            inputs,
            outputs + self.states,
            y_delays=self.feedback_delays,
            u_delays=self.input_delays,
            hidden=hidden,
            linear=self.linear or not hidden,
            low=self.low,
            high=self.high,
            held_back_rows=self.held_back_rows,
            states=self.states,
            terms=self.terms,
            origin=self.origin,
        )

    def loop(self, inputs: int, outputs: int) -> Narx | NetworkLoop:
        """Its open and closed loop (`loops`)."""
        if self.has_narx_form:
            return self.narx_form(inputs, outputs)
        return NetworkLoop(self.network(inputs, outputs), self.shift)

    def describe(self) -> str:
        """The net in one line, as MATLAB's `view` would draw it."""
        sources = []
        if self.input_delays == (0,):
            sources.append("u[t]")
        elif self.input_delays:
            sources.append(f"u[t-{_span(self.input_delays)}]")
        if self.feedback:
            sources.append(f"y[t-{_span(self.feedback_delays)}]")
        if self.states:
            sources.append(f"{plural(self.states, 'state')} of its own")
        if self.terms:
            return f"{self.kind}: {', '.join(sources)} -> {plural(len(self.terms), 'term')} -> y[t]"
        unit = self.kind.removesuffix("net") if self.kind in GATED else "tanh"
        layers = [f"{units} {unit}" for units in self.hidden]
        for index, delays in enumerate(self.layer_delays):
            layers[index] += f" (delays {_span(delays)})"
        path = " + linear path" if self.linear and self.hidden else ""
        return " -> ".join([f"{self.kind}: {', '.join(sources)}", *layers, f"linear{path} -> y[t]"])

    def _blocks(self, inputs: int, outputs: int) -> tuple[Block, ...]:
        """The blocks of the network, from the delays to the last hidden layer."""
        y_columns = tuple(range(outputs))
        u_columns = tuple(range(outputs, outputs + inputs))
        u = Taps("u", tuple(delay - self.shift for delay in self.input_delays), u_columns)
        if self.layer_delays:
            layers: list[Block] = []
            for k, units in enumerate(self.hidden):
                layers += self._layer_blocks(k, units, self.layer_delays[k])
            return (u, *layers)
        lines: list[tuple[Block, ...]] = []
        if self.feedback:
            lines.append((Taps("y", tuple(d - 1 for d in self.feedback_delays), y_columns),))
        if inputs:
            lines.append((u,))
        hidden: tuple[Block, ...] = tuple(
            Dense(f"layer_{k}", units) for k, units in enumerate(self.hidden)
        )
        if self.linear and hidden:
            hidden = (Parallel("paths", (hidden, ())),)
        return (Parallel("delays", tuple(lines)), *hidden)

    def _layer_blocks(self, k: int, units: int, delays: Delays) -> tuple[Block, ...]:
        """Hidden layer k. `delays`: those of its output that the next layer (distdelaynet) or the
        layer itself reads; a gated layer reads its last output alone, whatever they are.
        """
        if self.kind == "distdelaynet":
            return Dense(f"layer_{k}", units), Taps(f"taps_{k}", delays)
        if self.kind in GATED or (self.kind == "elmannet" and delays == (1,)):
            return (Recurrent(f"layer_{k}", self.kind.removesuffix("net"), units),)
        return (Recurrent(f"layer_{k}", "multi_delay", units, {"delays": delays}),)


@dataclass(frozen=True)
class NetSet:
    """Several nets on the same u and y, whose median is the output. The names of the weights of the
    first one begin with `0/`.
    """

    nets: tuple[Net, ...]
    kind: str = "set"
    has_narx_form: ClassVar[bool] = False  # its nets are trained one by one

    @property
    def feedback(self) -> bool:
        """Whether a net feeds y back."""
        return any(net.feedback for net in self.nets)

    @property
    def shift(self) -> int:
        """The shortest input delay of any net."""
        return min(net.shift for net in self.nets)

    @property
    def start(self) -> int:
        """How many measured rows a run begins with, which fill the delays of all nets."""
        return max(net.start for net in self.nets)

    def network(self, inputs: int, outputs: int) -> Any:
        """Raises `InputError`, since every net is a network of its own."""
        raise InputError(
            f"A set of {len(self.nets)} nets is no single network; take one of `Model.members`."
        )

    narx_form = network

    def loop(self, inputs: int, outputs: int) -> SetLoop:
        """The open and closed loop of their median."""
        return SetLoop(tuple(net.loop(inputs, outputs) for net in self.nets))

    def describe(self) -> str:
        """The nets, a line each below a title."""
        title = f"median of {plural(len(self.nets), 'net')}"
        return "\n".join([title, *(net.describe() for net in self.nets)])


def check_rows(net: Net | NetSet, name: str, rows: int, needed: int) -> None:
    """`InputError` where the series `name` has fewer rows than needed."""
    if rows < needed:
        raise InputError(
            f"{net.kind} has delays up to {net.start}; {name} has {plural(rows, 'row')}, at least"
            f" {needed} are needed. Give a longer one, leave it out, or take shorter delays."
        )


def check_first_rows(net: Net | NetSet, name: str, y: npt.NDArray[np.float64], needed: int) -> None:
    """`InputError` as `check_rows`, and where y (T, O) is missing in the rows that fill the delays
    of a net with feedback.
    """
    check_rows(net, name, len(y), needed)
    if net.feedback and np.isnan(y[: net.start]).any():
        raise InputError(
            f"y is missing before row {net.start}, where it fills the delays. Begin after the gap."
        )


def narxnet(
    input_delays: int | Iterable[int] = (1, 2),
    feedback_delays: int | Iterable[int] = (1, 2),
    hidden: int | Sequence[int] = 10,
    *,
    linear: bool = True,
) -> Net:
    """Nonlinear ARX (Leontaritis & Billings 1985).

    A linear path beside the hidden units most often makes the free run better, since the units
    learn only what is not linear. MATLAB's narxnet has none: `linear=False`.
    """
    y = check_delays("feedback_delays", feedback_delays, least=1)
    return Net(
        "narxnet", _units(hidden), check_delays("input_delays", input_delays), y, linear=linear
    )


def narnet(
    feedback_delays: int | Iterable[int] = (1, 2),
    hidden: int | Sequence[int] = 10,
    *,
    linear: bool = True,
) -> Net:
    """A nonlinear autoregression, without inputs."""
    y = check_delays("feedback_delays", feedback_delays, least=1)
    return Net("narnet", _units(hidden), feedback_delays=y, linear=linear)


def timedelaynet(
    input_delays: int | Iterable[int] = (1, 2), hidden: int | Sequence[int] = 10
) -> Net:
    """A net on delayed inputs alone; without hidden units a linear filter (FIR)."""
    return Net("timedelaynet", _units(hidden), check_delays("input_delays", input_delays))


def distdelaynet(
    delays: Sequence[int | Iterable[int]] = ((1, 2), (1, 2)), hidden: int | Sequence[int] = 10
) -> Net:
    """A net with delays into every layer (Waibel et al. 1989): `delays[0]` of the inputs,
    `delays[k]` of hidden layer k. `InputError` for another number of them.
    """
    units = _units(hidden)
    if len(delays) != len(units) + 1:
        raise InputError(
            f"distdelaynet: {len(delays)} sets of delays for {len(units)} hidden layers; wanted one"
            " for the inputs and one for each hidden layer."
        )
    input_delays, *layer_delays = (check_delays("delays", each) for each in delays)
    return Net("distdelaynet", units, input_delays, layer_delays=tuple(layer_delays))


def layrecnet(layer_delays: int | Iterable[int] = (1, 2), hidden: int | Sequence[int] = 10) -> Net:
    """A recurrent net whose layers see their own outputs over several delays."""
    return _recurrent_net("layrecnet", layer_delays, hidden)


def elmannet(layer_delays: int | Iterable[int] = (1, 2), hidden: int | Sequence[int] = 10) -> Net:
    """Elman's net (1990), in MATLAB of the same form as `layrecnet`. With delay 1 it has the cell
    of `networks.cells.simple`, whose derivatives are whole here, not cut at the previous state.
    """
    return _recurrent_net("elmannet", layer_delays, hidden)


def grunet(hidden: int | Sequence[int] = 8) -> Net:
    """Gated recurrent units (Cho et al. 2014) on the inputs alone."""
    return _recurrent_net("grunet", (1,), hidden)


def lstmnet(hidden: int | Sequence[int] = 8) -> Net:
    """Long short-term memory (Hochreiter & Schmidhuber 1997) on the inputs alone."""
    return _recurrent_net("lstmnet", (1,), hidden)


def _recurrent_net(
    kind: str, layer_delays: int | Iterable[int], hidden: int | Sequence[int]
) -> Net:
    """A net whose layers see their own outputs, each over the same delays; `InputError` without
    hidden units.
    """
    delays, units = check_delays("layer_delays", layer_delays, least=1), _units(hidden)
    if not units:
        raise InputError(
            f"{kind} without hidden units has nothing to feed back. Give it at least one."
        )
    return Net(kind, units, (0,), layer_delays=(delays,) * len(units))


def check_delays(name: str, values: int | Iterable[int], least: int = 0) -> Delays:
    """The delays, or one alone, as a tuple; `InputError` unless there is one and they are whole
    steps from `least` in rising order.
    """
    delays = _as_tuple(values)
    are_whole = all(is_whole(delay, least) for delay in delays)
    if not delays or not are_whole or list(delays) != sorted(set(delays)):
        raise InputError(
            f"`{name}` is {delays}; wanted whole steps from {least} in rising order, e.g. (1, 2)."
        )
    return tuple(map(int, delays))


def _units(hidden: int | Sequence[int]) -> tuple[int, ...]:
    """The units of each hidden layer; `InputError` unless each is whole, from 1 up."""
    units = _as_tuple(hidden)
    if not all(is_whole(count, 1) for count in units):
        raise InputError(
            f"`hidden` is {hidden!r}; wanted units per layer, each at least 1, or () for none."
        )
    return tuple(map(int, units))


def _as_tuple(values: int | Iterable[int]) -> tuple[int, ...]:
    return tuple(values) if isinstance(values, Iterable) else (values,)


def _span(delays: Delays) -> str:
    """Delays as text, as MATLAB writes a range: 1:5, or 1,3 where there is a gap."""
    first, last = delays[0], delays[-1]
    if len(delays) > 2 and len(delays) == last - first + 1:
        return f"{first}:{last}"
    return ",".join(map(str, delays))
