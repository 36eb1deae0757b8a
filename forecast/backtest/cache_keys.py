"""What a result depends on, as digests: equal key, equal result, so nothing is computed twice.

An edit of one family's file changes that family's keys alone; later data change no tuning key.
"""

from __future__ import annotations

from typing import Any

from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.models.base import ModelSpec
from forecast.system.code_closure import code_digest
from forecast.system.files import sha256, sha256_of


def lock_digest(paths: ProjectPaths) -> str:
    """The installed versions, as far as the lock tells them."""
    return sha256(paths.requirements) if paths.requirements.exists() else ""


def task_digest(task: Task) -> str:
    """Of the whole task: it holds nothing that only describes. The splits act through the borders."""
    return sha256_of(task.model_dump(mode="json"))


def candidate_digest(spec: ModelSpec, engine: str) -> str:
    """The code that `engine` (a module) and this spec run."""
    return code_digest([engine, *spec.modules()])


def key(**parts: Any) -> str:
    """One digest of everything a result depends on; short enough for a file name."""
    return sha256_of(parts)[:40]
