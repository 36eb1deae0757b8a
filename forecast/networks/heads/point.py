"""The point head: one number per value, trained with the family's own loss (`loss:`), added to the skip."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.networks.heads.base import Head


class Point(Head):
    summary: ClassVar[str] = "One number, no distribution."
    equation: ClassVar[str] = "y = skip + p"
    source: ClassVar[str] = "Huber 1964 for the default loss"

    kind: Literal["point"] = "point"

    @property
    def parameters(self) -> int:
        return 1

    @property
    def has_distribution(self) -> bool:
        return False
