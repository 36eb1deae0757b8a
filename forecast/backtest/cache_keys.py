"""What a result depends on, as digests: equal key, equal result, so nothing is computed twice.

An edit of one family's file changes that family's keys alone; later data change no tuning key.
"""

from __future__ import annotations

from typing import Any

from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.models.base import ModelSpec
from forecast.system.code_closure import code_digest
from forecast.system.files import sha256, sha256_of

DESCRIPTIVE = {"title", "source", "licence", "splits", "quality"}
"""Parts of a dataset that reach no model; source, splits and thresholds act through the frame and the borders."""
CHECKED_OR_SHOWN = ("unit", "max_missing")


def lock_digest(paths: ProjectPaths) -> str:
    """The installed versions, as far as the lock tells them."""
    return sha256(paths.requirements) if paths.requirements.exists() else ""


def dataset_digest(dataset: Dataset) -> str:
    content = dataset.model_dump(mode="json", exclude=DESCRIPTIVE)
    for column in (*content["target"], *content["past"]):
        for name in CHECKED_OR_SHOWN:
            del column[name]
    return sha256_of(content)


def candidate_digest(spec: ModelSpec, engine: str) -> str:
    """The code that `engine` (a module) and this spec run."""
    return code_digest([engine, *spec.modules()])


def key(**parts: Any) -> str:
    """One digest of everything a result depends on; short enough for a file name."""
    return sha256_of(parts)[:40]
