"""Family `lstm`: stacked long short-term memory with a forget gate.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `LSTM` in `forecast.networks.cells.gated`: a change of the equation is made
there, a new option in both.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "lstm"
    summary = "Gated memory cells in `layers` layers."
    equation = "i,f,o = s(V x + W h + b); g = tanh(..); c = f*c + i*g; h = o*tanh(c)"
    source = "Hochreiter & Schmidhuber 1997; forget gate of Gers, Schmidhuber & Cummins 2000"
    choices: ClassVar[Choices] = {**RecurrentSpec.choices, "layers": (1, 2)}

    layers: int = Field(2, ge=1)
