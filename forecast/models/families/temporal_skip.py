"""Simple recurrent network with a connection that skips time."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "temporal_skip"
    summary: ClassVar[str] = "Recurrent layer that also sees its state k steps back."
    equation: ClassVar[str] = "h[t] = f(V x[t] + W h[t-1] + S h[t-k] + b); y = U h + c"
    source: ClassVar[str] = "Lin, Horne, Tino & Giles 1996"

    family: Literal["temporal_skip"] = "temporal_skip"
    skip: int = Field(12, ge=2, description="k, in steps")
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
