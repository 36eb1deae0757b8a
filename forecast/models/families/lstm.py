"""Stacked long short-term memory."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import Choices, RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "lstm"
    summary: ClassVar[str] = "Gated memory cells in `layers` layers."
    equation: ClassVar[str] = "i,f,o = s(V x + W h + b); g = tanh(..); c = f*c + i*g; h = o*tanh(c)"
    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997; forget gate of Gers, Schmidhuber & Cummins 2000"
    choices: ClassVar[Choices] = {**RecurrentSpec.choices, "layers": (1, 2)}

    family: Literal["lstm"] = "lstm"
    layers: int = Field(2, ge=1)
