"""The catalogue of families: one file each, found by file name, free of TensorFlow."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from forecast.config.reading import validated
from forecast.errors import InputError, closest, quote_names
from forecast.models.base import ModelSpec

NOT_FAMILIES = ("base",)


@cache
def families() -> dict[str, type[ModelSpec]]:
    """Family name → its spec class, in alphabetical order."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_FAMILIES)
    return {name: importlib.import_module(f"{__name__}.{name}").Spec for name in names}


def spec(entry: dict[str, Any], *, where: str) -> ModelSpec:
    """One entry of configs/models.yaml as the spec of its family."""
    name = entry.get("family")
    if name not in families():
        raise InputError(
            f"{where}: unknown family {name!r}.{closest(str(name), families())} Known: {quote_names(families())}."
        )
    return validated(families()[name], entry, where=where)
