"""Stacked gated recurrent units."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import Choices, RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "gru"
    summary: ClassVar[str] = "Update and reset gates in `layers` layers."
    equation: ClassVar[str] = "u,r = s(V x + W h + b); g = tanh(V x + r*(W h + b)); h = (1-u)*g + u*h"
    source: ClassVar[str] = "Cho et al. 2014 (`reset_after: false`); the cuDNN form otherwise"
    choices: ClassVar[Choices] = {**RecurrentSpec.choices, "layers": (1, 2)}

    family: Literal["gru"] = "gru"
    layers: int = Field(2, ge=1)
    reset_after: bool = True
