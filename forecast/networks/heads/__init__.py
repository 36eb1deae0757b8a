"""Heads of networks: a point forecast, quantiles, a density, value bins, or a class; without
TensorFlow.

A head is a subclass of `Head` (`base`) in a file of this folder, or of a folder that is added to
`__path__`; the default of its field `kind` is its name in YAML. `HEADS` has all classes by kind;
`AnyHead` is the type of `head:` in an entry of configs/models.yaml.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator

from forecast.networks.heads.base import FittedHead, Head, Point
from forecast.system.errors import suggest_known

__all__ = ["HEADS", "AnyHead", "FittedHead", "Head", "Point"]


def _find_heads() -> dict[str, type[Head]]:
    """The class of every head in this folder by kind, in the order of the files."""
    heads: dict[str, type[Head]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for member in vars(module).values():
            if isinstance(member, type) and issubclass(member, Head) and member is not Head:
                heads[str(member.model_fields["kind"].default)] = member
    return heads


HEADS = _find_heads()
KINDS = frozenset(HEADS)
"""The kinds of head that were found when this package was imported."""


def _validate_head(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """The head of `head:`, a kind or a mapping of `kind` and options; ValueError with the nearest
    kind for an unknown one. A head that was added to `__path__` later is not in the union of types,
    so it is validated here.
    """
    content = {"kind": value} if isinstance(value, str) else value
    kind = content.get("kind") if isinstance(content, dict) else getattr(content, "kind", None)
    if kind not in HEADS:
        HEADS.update(_find_heads())
    if kind not in HEADS:
        raise ValueError(f"unknown head {kind!r}.{suggest_known(str(kind), HEADS)}")
    return validate(content) if kind in KINDS else HEADS[kind].model_validate(content)


if TYPE_CHECKING:
    AnyHead = Head
else:
    AnyHead = Annotated[
        Annotated[reduce(or_, HEADS.values()), Field(discriminator="kind")],
        WrapValidator(_validate_head),
        SerializeAsAny(),
    ]
    """A head as an entry of configs/models.yaml gives it: a name, or a mapping of `kind` and
    options.
    """
