"""Family `multi_level`: recurrent `levels` inside one cell, in which the delayed output of a higher
one enters the lower ones. `layers` are such cells in series.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `MultiLevel` in `forecast.networks.cells.context`: a change of the equation is
made there, a new option in both.
"""

from __future__ import annotations

from pydantic import Field

from forecast.models.base import RecurrentSpec
from forecast.networks.cells.base import HiddenActivation


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "multi_level"
    summary = "Stacked levels with feedback from higher to lower ones."
    equation = "h_l[t] = f(V_l h_{l-1}[t] + sum_{m>=l} W_lm h_m[t-1] + b_l)"
    source = "Chung, Gulcehre, Cho & Bengio 2015, without gates"

    levels: int = Field(2, ge=2)
    activation: HiddenActivation = "tanh"
