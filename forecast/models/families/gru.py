"""Family `gru`: stacked gated recurrent units; `reset_after` is the form that cuDNN computes.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `GRU` in `forecast.networks.cells.gated`: a change of the equation is made
there, a new option in both.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "gru"
    summary = "Update and reset gates in `layers` layers."
    equation = "u,r = s(V x + W h + b); g = tanh(V x + r*(W h + b)); h = (1-u)*g + u*h"
    source = "Cho et al. 2014 (`reset_after: false`); the cuDNN form otherwise"
    choices: ClassVar[Choices] = {**RecurrentSpec.choices, "layers": (1, 2)}

    layers: int = Field(2, ge=1)
    reset_after: bool = True
