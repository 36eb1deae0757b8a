"""Stacked gated recurrent units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from forecast.models import search
from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "gru"
    summary: ClassVar[str] = "Update and reset gates in `layers` layers."
    equation: ClassVar[str] = "u,r = s(V x + W h + b); g = tanh(V x + r*(W h + b)); h = (1-u)*g + u*h"
    source: ClassVar[str] = "Cho et al. 2014 (`reset_after: false`); the cuDNN form otherwise"

    family: Literal["gru"] = "gru"
    layers: int = Field(2, ge=1)
    reset_after: bool = True

    def options(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after}

    def space(self) -> Mapping[str, search.Dimension]:
        return {**super().space(), "layers": search.Choice((1, 2))}
