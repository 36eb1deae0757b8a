"""Family `elman`: Elman's simple recurrent network, MATLAB's elmannet.

The gradient stops at the context (the previous state), so training looks one step back; the
forecast itself keeps the whole history. With `trainer: lm` the derivatives are whole, so that the
network is trained as an `rnn`.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `Elman` in `forecast.networks.cells.simple`: a change of the equation is made
there, a new option in both.
"""

from __future__ import annotations

from typing import Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "elman"
    summary = "Recurrent layer whose gradient stops at the previous state."
    equation = "h[t] = f(V x[t] + W h[t-1] + b), d h[t-1] = 0; y = U h + c"
    source = "Elman 1990"

    activation: Literal["tanh", "sigmoid"] = "tanh"
