"""Family `multi_level`: stacked recurrent `levels` in which the delayed output of a higher one
enters the lower ones. `Spec` holds the options; `RecurrentSpec` builds `layers` of the cell of that
name in `forecast.networks.cells`, each with `levels` of its own (`RecurrentSpec.options` hands on
what the cell has under the same name).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "multi_level"
    summary = "Stacked layers with feedback from higher to lower ones."
    equation = "h_l[t] = f(V_l h_{l-1}[t] + sum_{m>=l} W_lm h_m[t-1] + b_l)"
    source = "Chung, Gulcehre, Cho & Bengio 2015, without gates"

    levels: int = Field(2, ge=2)
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
