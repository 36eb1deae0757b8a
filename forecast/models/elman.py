"""Elman's simple recurrent network: the gradient stops at the context, a history of one step.

MATLAB's elmannet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from forecast import search
from forecast.models.base import NetworkSpec, dropped
from forecast.network import Network, Recurrent, Shapes


class Spec(NetworkSpec):
    summary: ClassVar[str] = "Recurrent layer whose gradient stops at the previous state."
    equation: ClassVar[str] = "h[t] = f(V x[t] + W h[t-1] + b), d h[t-1] = 0; y = U h + c"
    source: ClassVar[str] = "Elman 1990"

    family: Literal["elman"] = "elman"
    units: int = Field(32, ge=1)
    activation: Literal["tanh", "sigmoid"] = "tanh"

    def build(self, shapes: Shapes) -> Network:
        layer = Recurrent("elman", "elman", self.units, {"activation": self.activation})
        return Network(dropped((layer,), self.dropout), shapes, self.future_units)

    def space(self) -> Mapping[str, search.Dimension]:
        return {**super().space(), "units": search.Choice((16, 32, 64))}
