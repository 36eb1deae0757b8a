"""Where a dataset's newest data lie: in the checkout, or in the work tree that retrains it; two small files tell."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from forecast.system import files


def home(root: Path, dataset: str) -> Path:
    """Everything one dataset's retraining keeps."""
    return root / ".forecast" / "retrain" / dataset


def newest_data(root: Path, dataset: str) -> Path:
    """The folder whose pointer names the later snapshot; the checkout's where both are equal or only it has one."""
    tree = home(root, dataset) / "tree"
    return tree if _as_of(tree, dataset) > _as_of(root, dataset) else root


def _as_of(project: Path, dataset: str) -> datetime:
    """When the data that `project` points to were known; the beginning of time where it holds none."""
    try:
        pointer = files.read_json(project / "data" / "pointers" / f"{dataset}.json")
        known = datetime.fromisoformat(pointer["as_of"])
        return known if (project / pointer["snapshot"]).exists() else datetime.min
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.min
