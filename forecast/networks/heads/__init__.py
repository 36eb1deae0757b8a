"""What stands on top of a network: a point, quantiles, a density, value bins, or a class; free of
TensorFlow.

A head is a class with a `kind` in a file here, found when this package is imported.

`HEADS` maps each `kind` to its class; `AnyHead` is the type of `head:` in an entry of
configs/models.yaml, a kind or a mapping of `kind` and options, and an unknown kind is refused with
the nearest right one. `base` says what a head provides, with shapes. The next head is a subclass of
`Head` in a file of this folder, or of one that is added to `__path__`; its name in YAML is the
default of `kind`.
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
    """Kind → class, of every file in this folder; in the order of the files."""
    heads: dict[str, type[Head]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for member in vars(module).values():
            if isinstance(member, type) and issubclass(member, Head) and member is not Head:
                heads[str(member.model_fields["kind"].default)] = member
    return heads


HEADS = _find_heads()
KINDS = frozenset(HEADS)
"""The kinds of head, of the files that were here when the package was imported."""


def _validate_head(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """`gaussian` stands for `{kind: gaussian}`; an unknown kind is refused with the nearest right
    one. One of a folder that was added to `__path__` is in no union of types.
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
