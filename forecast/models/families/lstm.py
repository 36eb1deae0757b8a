"""Family `lstm`: stacked long short-term memory with a forget gate.

`Spec` (a `RecurrentSpec`) is what an entry of configs/models.yaml with this family is read as; its
fields are the options, and those that the cell's class has as well are handed to it. `build` of the
base class gives the `Network`: `layers` recurrent layers of `units`, past (B, T, C) to forecasts
(B, H, O, K), relative to the skip. The equation's step, states and weights are those of `LSTM` in
`forecast.networks.cells.gated`: a change of the equation is made there, a new option in both.
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
