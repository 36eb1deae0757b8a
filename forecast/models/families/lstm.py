"""Family `lstm`: stacked long short-term memory with a forget gate. `Spec` holds the options;
`RecurrentSpec` builds `layers` of the cell of that name in `forecast.networks.cells`.
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
