"""What a result depends on, as digests: equal key, equal result, so nothing is computed twice.

An edit of one family's file changes that family's keys alone; later data change no tuning key.
"""

from __future__ import annotations

from typing import Any

from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.models.base import ModelSpec, NetworkSpec, StatisticalSpec
from forecast.networks.description import Bidirectional, Block, Parallel, Recurrent, Shapes
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


def family_modules(spec: ModelSpec) -> list[str]:
    """The modules found by name that this spec runs: its family, its cells, its statistical model."""
    modules = [f"forecast.models.families.{spec.family}"]
    if isinstance(spec, StatisticalSpec):
        modules.append(f"forecast.models.statistical.{spec.method}")
    if isinstance(spec, NetworkSpec):
        shapes = Shapes(channels=1, future_channels=0, horizon=1, outputs=1, lookback=64)
        modules += sorted({f"forecast.networks.cells.{cell}" for cell in _cells(spec.build(shapes).blocks)})
    return modules


def candidate_digest(spec: ModelSpec, engine: str) -> str:
    """The code that `engine` (a module) and this spec run."""
    return code_digest([engine, *family_modules(spec)])


def key(**parts: Any) -> str:
    """One digest of everything a result depends on; short enough for a file name."""
    return sha256_of(parts)[:40]


def _cells(blocks: tuple[Block, ...]) -> list[str]:
    found = []
    for block in blocks:
        if isinstance(block, Parallel):
            found += [cell for branch in block.branches for cell in _cells(branch)]
        elif isinstance(block, Recurrent | Bidirectional) or hasattr(block, "cell"):
            found.append(block.cell)
    return found
