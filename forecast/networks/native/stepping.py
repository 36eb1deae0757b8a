"""What follows the matrix product in a step of many windows, for the LSTM and the GRU: one pass
over the values, float32, in the form that `inference.steppers` stacks them.

A gate s(z) is 1/2 + tanh(z/2) / 2, and each tanh is a fraction (`activations.tanh_fraction`), so
the new states are fractions too and cost two divisions in place of five.

Loading what was compiled before takes .4 s, compiling 5 s, so inference imports this for many
windows alone (`forecast.networks.inference.steppers`).
"""

from __future__ import annotations

from typing import Any

from forecast.networks.native.activations import HALF, tanh_fraction
from forecast.networks.native.door import compile_cached, prefer_wide_registers


@compile_cached
def lstm(z: Any, _: Any, h: Any) -> None:
    """One step of the LSTM: z (5, values) holds the halved sums of i, f and o, the sum of g, and c,
    which is replaced; `h` is filled in.
    """
    prefer_wide_registers()
    out = h.reshape(-1)
    for k in range(out.size):
        i, of_i = tanh_fraction(z[0, k])
        f, of_f = tanh_fraction(z[1, k])
        o, of_o = tanh_fraction(z[2, k])
        g, of_g = tanh_fraction(z[3, k])
        scale = of_i * of_g  # one division for c and one for h, in place of five
        new_c = HALF * ((of_i + i) * g * of_f + (of_f + f) * z[4, k] * scale) / (scale * of_f)
        squashed, of_c = tanh_fraction(new_c)
        z[4, k] = new_c
        out[k] = HALF * (of_o + o) * squashed / (of_o * of_c)


@compile_cached
def gru(z: Any, before: Any, after: Any) -> None:
    """One step of the GRU: z (4, values) holds the halved sums of u and r, the sum of g of x, and
    that of h, which r is multiplied with; from h `before` the step to h `after` it, which is filled
    in.
    """
    prefer_wide_registers()
    old = before.reshape(-1)
    out = after.reshape(-1)
    for k in range(out.size):
        u, of_u = tanh_fraction(z[0, k])
        r, of_r = tanh_fraction(z[1, k])
        g, of_g = tanh_fraction(z[2, k] + HALF * (of_r + r) * z[3, k] / of_r)
        out[k] = HALF * ((of_u + u) * old[k] * of_g + (of_u - u) * g) / (of_u * of_g)
