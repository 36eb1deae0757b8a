"""Memoryless feed-forward network: sees the present row only, which shows what time is worth."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec, dropped
from forecast.networks.description import Block, Dense, Network, Shapes


class Spec(NetworkSpec):
    summary: ClassVar[str] = "A perceptron of the present row; no memory at all."
    equation: ClassVar[str] = "y[t+1..t+H] = U f(V x[t] + b) + c"
    source: ClassVar[str] = "Rumelhart, Hinton & Williams 1986"
    choices: ClassVar[Choices] = {"units": (16, 32, 64)}

    family: Literal["ffnn"] = "ffnn"
    units: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)

    def build(self, shapes: Shapes) -> Network:
        blocks: tuple[Block, ...] = tuple(Dense(f"dense_{i}", self.units) for i in range(self.layers))
        return Network(dropped(blocks, self.dropout), shapes, self.future_units)
