"""LSTM variants, as compared by Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber (2017).

    forget: gate      c_t = f * c_{t-1} + i * g             the LSTM
            none      c_t = c_{t-1} + i * g                 as first published (Hochreiter & Schmidhuber 1997)
            coupled   c_t = f * c_{t-1} + (1 - f) * g       i = 1 - f
    output: tanh      h_t = o * tanh(c_t)
            linear    h_t = o * c_t
    peepholes (Gers & Schmidhuber 2000), diagonal: i and f also see p_i * c_{t-1} and p_f * c_{t-1}
            current   o also sees p_o * c_t
            previous  o also sees p_o * c_{t-1}

The parts stand in the order i, f, g, o without what the choice of `forget` leaves out: i, g, o or f, g, o; n of them.
Weights: kernel (I, n u), recurrent_kernel (u, n u), bias (n u,); with peepholes also peephole (n - 1, u), one row a
gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forecast.networks.cells.base import Array, Arrays, Cell, Initializer, Namespace, Weight, require_one_of

Forget = Literal["gate", "none", "coupled"]
Output = Literal["tanh", "linear"]
Peepholes = Literal["none", "current", "previous"]

PARTS = {"gate": ("i", "f", "g", "o"), "none": ("i", "g", "o"), "coupled": ("f", "g", "o")}
BIAS: dict[str, Initializer] = {"gate": "forget_bias", "none": "zeros", "coupled": "forget_bias_first_third"}


@dataclass(frozen=True)
class LSTMVariant(Cell):
    """States h (the output) and c, `units` each."""

    forget: Forget = "gate"
    output: Output = "tanh"
    peepholes: Peepholes = "current"

    def check(self) -> None:
        require_one_of(self, "forget", Forget)
        require_one_of(self, "output", Output)
        require_one_of(self, "peepholes", Peepholes)

    def states(self) -> dict[str, int]:
        return {"h": self.units, "c": self.units}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        parts = len(PARTS[self.forget])
        weights = {
            "kernel": Weight((inputs, parts * self.units), "glorot_uniform"),
            "recurrent_kernel": Weight((self.units, parts * self.units), "orthogonal"),
            "bias": Weight((parts * self.units,), BIAS[self.forget]),
        }
        if self.peepholes != "none":
            weights["peephole"] = Weight((parts - 1, self.units), "glorot_uniform")
        return weights

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        names, c = PARTS[self.forget], states["c"]
        z = xp.split(projected + xp.matmul(states["h"], w["recurrent_kernel"]), len(names))
        part = dict(zip(names, z, strict=True))

        def gate(name: str, seen: Array) -> Array:
            if self.peepholes == "none":
                return xp.sigmoid(part[name])
            row = [other for other in names if other != "g"].index(name)
            return xp.sigmoid(part[name] + w["peephole"][row] * seen)

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


CELL = LSTMVariant
