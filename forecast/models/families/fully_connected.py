"""Fully connected recurrent network: every unit feeds every unit."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "fully_connected"
    summary: ClassVar[str] = "One layer of units in which each feeds each, read out in part."
    equation: ClassVar[str] = "s[t] = f(V x[t] + W s[t-1] + b); y = U s_out + c"
    source: ClassVar[str] = "Williams & Zipser 1989"

    family: Literal["fully_connected"] = "fully_connected"
    hidden: int = Field(16, ge=1, description="units that are not read out")
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
