"""Recurrent cells whose context is their last state: the simple cell, Elman's, the fully connected
one, and state space.

The docstring of each class has its equation, states and weights. A new cell is a file of its own
(docs/learn/new-cell.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from forecast.networks.cells.base import (
    ActivatedCell,
    Array,
    Arrays,
    Namespace,
    Weight,
    activate,
    recurrent_layer,
    require,
)


@dataclass(frozen=True)
class SimpleRNN(ActivatedCell):
    """The simple recurrent net with full back-propagation through time
    (Rumelhart, Hinton & Williams 1986; Werbos 1990).

        h_t = f(x_t V + h_{t-1} W + b)

    f is tanh, the sigmoid, ReLU (Le, Jaitly & Hinton 2015) or its smooth form ln(1 + e^x). State h,
    the output. Weights are those of `keras.layers.SimpleRNN`: kernel V (I, u), recurrent_kernel W
    (u, u), bias (u,).
    """

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        h = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        return h, {"h": h}


@dataclass(frozen=True)
class Elman(ActivatedCell):
    """Elman's simple recurrent network: the hidden state copied to context units, and learning one
    step deep (Elman 1990).

        h_t = sigma(x_t V + stop_gradient(h_{t-1}) W + b)

    The equation of the simple recurrent net; what differs is the gradient, which stops at h_{t-1}:
    the context is an input like any other, so V, W and b learn from the current step alone. In
    NumPy both are the same function.

        dE_t/dW = h_{t-1}^T e_t,   dE_t/dV = x_t^T e_t,   e_t = dE_t/dh_t * sigma'(.)

    The full gradient of `simple_rnn` adds to these what h_{t-1} itself owes to V and W, back to the
    first row: what it takes to learn a cause that lies several steps back. State h, which is the
    output; sigma is `activation`. Weights: kernel V (I, u), recurrent_kernel W (u, u), bias (u,).
    """

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        context = xp.stop_gradient(states["h"])
        h = activate(xp, self.activation, projected + xp.matmul(context, w["recurrent_kernel"]))
        return h, {"h": h}


@dataclass(frozen=True)
class FullyConnected(ActivatedCell):
    """The fully connected recurrent net: every unit feeds every unit, the output units included
    (Williams & Zipser 1989).

        s_t = f(x_t V + s_{t-1} W + b)          s: `hidden` units and `units` output units together
        output_t = the output units' part of s_t

    Unlike the simple recurrent net, what is read out is part of the state and is fed back, and a
    hidden unit reaches the output one step later, through W: there is no layer in between. State h
    of `units + hidden`, the output units first. Weights: kernel V (I, n), recurrent_kernel W (n,
    n), bias (n,); n = units + hidden.
    """

    hidden: int = 16

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {"h": self.units + self.hidden}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        return recurrent_layer(inputs, self.units + self.hidden, self.units + self.hidden)

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        h = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        return h[:, : self.units], {"h": h}


@dataclass(frozen=True)
class StateSpace(ActivatedCell):
    """A neural state-space model: the next state is a multilayer perceptron of input and state,
    shared by all steps (Zamarreno & Vega 1998; Suykens, Vandewalle & De Moor 1996).

        a^1 = f(x_t V + h_{t-1} W + b)
        a^l = f(a^{l-1} V_l + b_l)          l = 2 ... L, one for each width in `hidden`,
                                            the last of width `units`
        h_t = a^L
        y_t = g(h_t)                        the read-out, outside the cell

    State h, which is the output. `hidden`: the widths of the layers between (x, h) and the new h,
    at least one. Weights: kernel V (I, hidden_1), recurrent_kernel W (u, hidden_1), bias
    (hidden_1,); kernel_l, bias_l from l = 2.
    """

    hidden: tuple[int, ...] = (32,)

    def __post_init__(self) -> None:
        """`InputError` for invalid options."""
        requirement = "at least one width of 1 or more (without one it is the cell `simple_rnn`)"
        require(self, "hidden", len(self.hidden) > 0 and min(self.hidden) >= 1, requirement)

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        weights = recurrent_layer(inputs, self.units, self.hidden[0])
        for level, (before, after) in enumerate(pairwise((*self.hidden, self.units)), start=2):
            weights[f"kernel_{level}"] = Weight((before, after), "glorot_uniform")
            weights[f"bias_{level}"] = Weight((after,), "zeros")
        return weights

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        a = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        for level in range(2, len(self.hidden) + 2):
            a = activate(
                xp, self.activation, xp.matmul(a, w[f"kernel_{level}"]) + w[f"bias_{level}"]
            )
        return a, {"h": a}


CELLS = {
    "simple_rnn": SimpleRNN,
    "elman": Elman,
    "fully_connected": FullyConnected,
    "state_space": StateSpace,
}
