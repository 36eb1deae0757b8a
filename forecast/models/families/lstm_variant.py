"""Family `lstm_variant`: LSTMs with another forget gate (absent, or coupled to the input gate), a
linear output, or diagonal peepholes.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `LSTMVariant` in `forecast.networks.cells.gated`: a change of the equation is
made there, a new option in both.
"""

from __future__ import annotations

from typing import Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "lstm_variant"
    summary = "An LSTM with another forget gate, output or peepholes."
    equation = "c = f*c + (1-f)*g or c + i*g; h = o*c or o*tanh(c); i,f see c[t-1], o sees c[t]"
    source = "Gers & Schmidhuber 2000; Greff et al. 2017"

    forget: Literal["gate", "none", "coupled"] = "gate"
    output: Literal["tanh", "linear"] = "tanh"
    peepholes: Literal["none", "current", "previous"] = "current"
