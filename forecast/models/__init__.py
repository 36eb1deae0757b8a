"""The catalogue of families: one file each, found by file name, free of TensorFlow."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from forecast.config.experiment import Training
from forecast.config.reading import validated
from forecast.models import families
from forecast.models.base import ModelSpec, NetworkSpec
from forecast.system.errors import InputError, nearest


@cache
def catalogue() -> dict[str, type[ModelSpec]]:
    """Family name → its spec class, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(families.__path__))
    return {name: importlib.import_module(f"{families.__name__}.{name}").Spec for name in names}


def spec(entry: dict[str, Any], *, where: str, training: Training | None = None) -> ModelSpec:
    """One entry of configs/models.yaml as the spec of its family.

    `training`: what all entries share; a key that the entry's own block names is the entry's.
    """
    name = entry.get("family")
    if name not in catalogue():
        raise InputError(f"{where}: unknown family {name!r}.{nearest(str(name), catalogue())}.")
    family = catalogue()[name]
    own = entry.get("training", {})
    if (
        training is not None
        and issubclass(family, NetworkSpec)
        and entry.get("trainer") != "lm"
        and isinstance(own, dict)
    ):
        entry = {**entry, "training": {**training.model_dump(exclude_unset=True), **own}}
    return validated(family, entry, where=where)
