"""Family `fully_connected`: one recurrent layer in which every unit feeds every unit (Williams &
Zipser), of which `hidden` units are not read out.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `FullyConnected` in `forecast.networks.cells.simple`: a change of the equation
is made there, a new option in both.
"""

from __future__ import annotations

from pydantic import Field

from forecast.models.base import RecurrentSpec
from forecast.networks.cells.base import HiddenActivation


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "fully_connected"
    summary = "One layer of units in which each feeds each, read out in part."
    equation = "s[t] = f(V x[t] + W s[t-1] + b); y = U s_out + c"
    source = "Williams & Zipser 1989"

    hidden: int = Field(16, ge=1, description="units that are not read out")
    activation: HiddenActivation = "tanh"
