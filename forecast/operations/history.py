"""What became of a dataset's versions, one line per event; small, local and readable without MLflow.

    .forecast/champions/<dataset>/history.jsonl    {"at", "event", "version", "from", "reason", ...}

Events: `promoted`, `rolled back`, and what a retraining decided (`gate refused`, `nothing to do`, ...).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.operations.champion import Meta, folder_of, read_meta
from forecast.system import files
from forecast.system.errors import ForecastError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 1000
"""Events kept: three years of daily ones."""


def record(root: Path, dataset: str, event: Mapping[str, Any], *, now: pd.Timestamp) -> None:
    """Append one event; the file is replaced whole, so a kill leaves the old one or the new one."""
    lines = [*events(root, dataset), {"at": now.floor("s").isoformat(), **event}][-LONGEST:]
    text = "".join(json.dumps(line, sort_keys=True, default=str) + "\n" for line in lines)
    files.write_text(_path(root, dataset), text)


def events(root: Path, dataset: str) -> list[dict[str, Any]]:
    """All events, oldest first; a line that cannot be read is left out."""
    path = _path(root, dataset)
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _path(root: Path, dataset: str) -> Path:
    return folder_of(root, dataset) / "history.jsonl"


def told(root: Path, dataset: str) -> list[dict[str, Any]]:
    """The events as rows of equal columns, with what is known here about the version of each."""
    rows = []
    for event in events(root, dataset):
        meta = _meta(root, dataset, event.get("version"))
        skill = meta.metrics.get("skill") if meta else None
        row = {
            "at": event.get("at", ""),
            "event": event.get("event", ""),
            "version": event.get("version"),
            "from": event.get("from"),
            "model": meta.candidate if meta else "",
            "training_cutoff": meta.training_cutoff[:10] if meta else "",
            "test_skill": round(skill, 4) if skill is not None else None,
            "reason": event.get("reason", ""),
        }
        rows.append(row)
    return rows


def _meta(root: Path, dataset: str, version: object) -> Meta | None:
    try:
        return read_meta(root, dataset, version) if isinstance(version, int) else None
    except ForecastError:  # pruned here; the registry still has it
        return None
