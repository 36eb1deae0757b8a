"""Stacked long short-term memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from forecast import search
from forecast.models.base import NetworkSpec, dropped
from forecast.network import Block, Network, Recurrent, Shapes


class Spec(NetworkSpec):
    summary: ClassVar[str] = "Gated memory cells in `layers` layers."
    equation: ClassVar[str] = "i,f,o = s(V x + W h + b); g = tanh(..); c = f*c + i*g; h = o*tanh(c)"
    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997; forget gate of Gers, Schmidhuber & Cummins 2000"

    family: Literal["lstm"] = "lstm"
    units: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)

    def build(self, shapes: Shapes) -> Network:
        blocks: tuple[Block, ...] = tuple(Recurrent(f"lstm_{i}", "lstm", self.units) for i in range(self.layers))
        return Network(dropped(blocks, self.dropout), shapes, self.future_units)

    def space(self) -> Mapping[str, search.Dimension]:
        return {**super().space(), "units": search.Choice((16, 32, 64)), "layers": search.Choice((1, 2))}
