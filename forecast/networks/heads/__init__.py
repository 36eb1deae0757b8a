"""What stands on top of a network: a point, quantiles, a density, value bins, or a class; free of TensorFlow."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from forecast.networks.heads.base import Head
from forecast.networks.heads.bins import Bins
from forecast.networks.heads.fitted import FittedHead
from forecast.networks.heads.gaussian import Gaussian
from forecast.networks.heads.point import Point
from forecast.networks.heads.quantiles import Quantiles
from forecast.networks.heads.student_t import StudentT
from forecast.networks.heads.updown import UpDown
from forecast.system.errors import closest, quote_names

HEADS: dict[str, type[Head]] = {
    str(head.model_fields["kind"].default): head for head in (Point, Quantiles, Gaussian, StudentT, Bins, UpDown)
}


def _written_out(value: Any) -> Any:
    """`gaussian` stands for `{kind: gaussian}`; an unknown kind is refused with the nearest right one."""
    content = {"kind": value} if isinstance(value, str) else value
    kind = content.get("kind") if isinstance(content, dict) else getattr(content, "kind", None)
    if kind not in HEADS:
        raise ValueError(f"unknown head {kind!r}.{closest(str(kind), HEADS)} Known: {quote_names(HEADS)}")
    return content


AnyHead = Annotated[
    Annotated[Point | Quantiles | Gaussian | StudentT | Bins | UpDown, Field(discriminator="kind")],
    BeforeValidator(_written_out),
]
"""A head as an entry of configs/models.yaml gives it: a name, or a mapping of `kind` and options."""

__all__ = ["HEADS", "AnyHead", "Bins", "FittedHead", "Gaussian", "Head", "Point", "Quantiles", "StudentT", "UpDown"]
