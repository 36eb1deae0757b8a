"""The catalogue of model families, which are the files in families/: a new file is a new family.

`catalogue` gives the spec class of every family; `spec` turns an entry of configs/models.yaml into
a checked spec. Nothing here fits or forecasts, and no family's file imports TensorFlow.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from forecast.config.models import Training
from forecast.config.reading import Entry, validate_config
from forecast.data.records import RunRecord
from forecast.models import families
from forecast.models.base import OF_SAVED_MODEL, ModelSpec, NetworkSpec
from forecast.system.errors import InputError, suggest_known


@cache
def catalogue() -> dict[str, type[ModelSpec]]:
    """Family name → its spec class, in alphabetical order."""
    return {name: _family(name) for name in _names()}


def _names() -> list[str]:
    """The names of the files in `families/`, and in folders that were added to its path."""
    return sorted(module.name for module in pkgutil.iter_modules(families.__path__))


def _family(name: str) -> type[ModelSpec]:
    """The class `Spec` of the family's file."""
    return importlib.import_module(f"{families.__name__}.{name}").Spec


def spec(
    entry: Entry,
    *,
    where: str,
    training: Training | None = None,
    refit: str | int = "never",
    context: str = "",
) -> ModelSpec:
    """The checked spec of an entry of configs/models.yaml; `where` names the entry in errors.

    training, refit: settings that all entries share, unless the entry has its own. context:
    OF_SAVED_MODEL for a saved model, for which checks that import a library are left out.
    `InputError` for an unknown family or a wrong field.
    """
    name = str(entry.get("family"))
    names = _names()
    if name not in names:
        hint = suggest_known(name, names)
        if context:
            hint = " It is of another version: train again (`forecast run`), or promote another"
        raise InputError(f"{where}: unknown family {entry.get('family')!r}.{hint}.")
    family = _family(name)
    if "refit" in family.model_fields:
        entry = {"refit": refit, **entry}
    is_gradient_trained = issubclass(family, NetworkSpec) and entry.get("trainer") != "lm"
    overrides = entry.get("training", {})
    if training is not None and is_gradient_trained and isinstance(overrides, dict):
        shared = training.model_dump(exclude_unset=True)
        entry = {**entry, "training": {**shared, **overrides}}
    return validate_config(family, dict(entry), where=where, context=context)


def describe_pretrained(records: Iterable[RunRecord]) -> list[str]:
    """A remark on the weights of every pretrained model (`families.chronos`) in `records`, without
    a full stop.
    """
    remarks = []
    for record in records:
        if record.kind == "pretrained":
            entry = {**record.params, "family": record.family}
            pretrained = spec(entry, where=record.model, context=OF_SAVED_MODEL)
            remarks.append(f"{record.model}: {pretrained.remark}")
    return remarks
