"""Recurrent cells with gates: the LSTM and its variants, and the gated recurrent unit.

The docstring of each class has its equation, states and weights. A new cell is a class here with
its name in `CELLS`, and a file in `forecast.models.families`; code that is specialised by class
(`inference.steppers`, `layers.fused`, `layers.cudnn`, `native`) does not apply to it. The families
`bidirectional`, `encoder_decoder`, `parallel_rnn` and `projected` list the cells that they take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forecast.networks.cells.base import (
    Array,
    Arrays,
    Cell,
    Initializer,
    Namespace,
    Weight,
    recurrent_layer,
)


@dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber &
    Cummins 2000).

        i, f, o = sigmoid(x V + h_{t-1} W + b)        input, forget and output gate
        g       = tanh(x V + h_{t-1} W + b)
        c_t     = f * c_{t-1} + i * g
        h_t     = o * tanh(c_t)

    States h (the output) and c, `units` each. Weights and gate order (i, f, g, o; Keras calls g the
    candidate c) are those of `keras.layers.LSTM`: kernel (I, 4u), recurrent_kernel (u, 4u), bias
    (4u,). The forget bias starts at 1 (Jozefowicz, Zaremba & Sutskever 2015), so that a new cell
    remembers.
    """

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {"h": self.units, "c": self.units}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        return recurrent_layer(inputs, self.units, 4 * self.units, "forget_bias")

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        i, f, g, o = xp.split(projected + xp.matmul(states["h"], w["recurrent_kernel"]), 4)
        c = xp.sigmoid(f) * states["c"] + xp.sigmoid(i) * xp.tanh(g)
        h = xp.sigmoid(o) * xp.tanh(c)
        return h, {"h": h, "c": c}


PARTS = {"gate": ("i", "f", "g", "o"), "none": ("i", "g", "o"), "coupled": ("f", "g", "o")}
BIAS: dict[str, Initializer] = {
    "gate": "forget_bias",
    "none": "zeros",
    "coupled": "forget_bias_first_third",
}


@dataclass(frozen=True)
class LSTMVariant(Cell):
    """LSTM variants, as compared by Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber (2017).

        forget: gate      c_t = f * c_{t-1} + i * g             the LSTM
                none      c_t = c_{t-1} + i * g                 as first published
                                                                (Hochreiter & Schmidhuber 1997)
                coupled   c_t = f * c_{t-1} + (1 - f) * g       i = 1 - f
        output: tanh      h_t = o * tanh(c_t)
                linear    h_t = o * c_t
        peepholes (Gers & Schmidhuber 2000), diagonal:
                          i and f also see p_i * c_{t-1} and p_f * c_{t-1}
                current   o also sees p_o * c_t
                previous  o also sees p_o * c_{t-1}

    States h (the output) and c, `units` each. The parts stand in the order i, f, g, o without what
    the choice of `forget` leaves out: i, g, o or f, g, o; n of them. Weights: kernel (I, n u),
    recurrent_kernel (u, n u), bias (n u,); with peepholes also peephole (n - 1, u), one row a gate.
    """

    forget: Literal["gate", "none", "coupled"] = "gate"
    output: Literal["tanh", "linear"] = "tanh"
    peepholes: Literal["none", "current", "previous"] = "current"

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {"h": self.units, "c": self.units}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        parts = len(PARTS[self.forget])
        weights = recurrent_layer(inputs, self.units, parts * self.units, BIAS[self.forget])
        if self.peepholes != "none":
            weights["peephole"] = Weight((parts - 1, self.units), "glorot_uniform")
        return weights

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        names = PARTS[self.forget]
        c = states["c"]
        z = xp.split(projected + xp.matmul(states["h"], w["recurrent_kernel"]), len(names))
        part = dict(zip(names, z, strict=True))

        def gate(name: str, peephole_state: Array) -> Array:
            """The gate `name`, with its peephole on `peephole_state` where there is one."""
            if self.peepholes == "none":
                return xp.sigmoid(part[name])
            row = [other for other in names if other != "g"].index(name)
            return xp.sigmoid(part[name] + w["peephole"][row] * peephole_state)

        g = xp.tanh(part["g"])
        if self.forget == "gate":
            new_c = gate("f", c) * c + gate("i", c) * g
        elif self.forget == "none":
            new_c = c + gate("i", c) * g
        else:
            f = gate("f", c)
            new_c = f * c + (1 - f) * g
        o = gate("o", new_c if self.peepholes == "current" else c)
        h = o * (xp.tanh(new_c) if self.output == "tanh" else new_c)
        return h, {"h": h, "c": new_c}


@dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014; `reset_after` as in cuDNN, Keras and torch).

        u = sigmoid(x V_u + h_{t-1} W_u + b_u)        update gate (Keras calls it z)
        r = sigmoid(x V_r + h_{t-1} W_r + b_r)        reset gate
        g = tanh(x V_g + (r * h_{t-1}) W_g + b_g)             reset_after: false, the paper's form
        g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))       reset_after: true
        h_t = (1 - u) * g + u * h_{t-1}

    State h, which is the output. Weights and gate order (u, r, g; Keras calls them z, r, h) are
    those of `keras.layers.GRU`, with n units: kernel (I, 3n), recurrent_kernel (n, 3n), bias (3n,);
    with `reset_after` the bias is (2, 3n): its first row is added to the input's product, its
    second to the state's.
    """

    reset_after: bool = True

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        weights = recurrent_layer(inputs, self.units, 3 * self.units)
        if self.reset_after:
            weights["bias"] = Weight((2, 3 * self.units), "zeros")
        return weights

    def project(self, xp: Namespace, w: Arrays, x: Array) -> Array:
        """The part of the equation that needs the input alone: x `(..., I)` to `(..., 3 units)`."""
        return xp.matmul(x, w["kernel"]) + (w["bias"][0] if self.reset_after else w["bias"])

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        h = states["h"]
        u_x, r_x, g_x = xp.split(projected, 3)
        if self.reset_after:
            u_h, r_h, g_h = xp.split(xp.matmul(h, w["recurrent_kernel"]) + w["bias"][1], 3)
            u = xp.sigmoid(u_x + u_h)
            r = xp.sigmoid(r_x + r_h)
            g = xp.tanh(g_x + r * g_h)
        else:
            gates = 2 * self.units
            u_h, r_h = xp.split(xp.matmul(h, w["recurrent_kernel"][:, :gates]), 2)
            u = xp.sigmoid(u_x + u_h)
            r = xp.sigmoid(r_x + r_h)
            g = xp.tanh(g_x + xp.matmul(r * h, w["recurrent_kernel"][:, gates:]))
        h = (1 - u) * g + u * h
        return h, {"h": h}


CELLS = {"lstm": LSTM, "lstm_variant": LSTMVariant, "gru": GRU}
