"""Stacked gated recurrent units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from forecast import search
from forecast.models.base import NetworkSpec, dropped
from forecast.network import Block, Network, Recurrent, Shapes


class Spec(NetworkSpec):
    summary: ClassVar[str] = "Update and reset gates in `layers` layers."
    equation: ClassVar[str] = "u,r = s(V x + W h + b); g = tanh(V x + r*(W h + b)); h = (1-u)*g + u*h"
    source: ClassVar[str] = "Cho et al. 2014 (`reset_after: false`); the cuDNN form otherwise"

    family: Literal["gru"] = "gru"
    units: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)
    reset_after: bool = True

    def build(self, shapes: Shapes) -> Network:
        options = {"reset_after": self.reset_after}
        blocks: tuple[Block, ...] = tuple(
            Recurrent(f"gru_{i}", "gru", self.units, options) for i in range(self.layers)
        )
        return Network(dropped(blocks, self.dropout), shapes, self.future_units)

    def space(self) -> Mapping[str, search.Dimension]:
        return {**super().space(), "units": search.Choice((16, 32, 64)), "layers": search.Choice((1, 2))}
