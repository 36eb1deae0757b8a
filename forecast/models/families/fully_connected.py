"""Family `fully_connected`: one recurrent layer in which every unit feeds every unit (Williams &
Zipser), of which `hidden` units are not read out. `Spec` holds the options; `RecurrentSpec` builds
`layers` of the cell of that name in `forecast.networks.cells`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "fully_connected"
    summary = "One layer of units in which each feeds each, read out in part."
    equation = "s[t] = f(V x[t] + W s[t-1] + b); y = U s_out + c"
    source = "Williams & Zipser 1989"

    hidden: int = Field(16, ge=1, description="units that are not read out")
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
