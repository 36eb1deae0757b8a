"""Where a dataset's newest data lie: in the checkout, or in the work tree that retrains it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forecast import snapshots
from forecast.errors import ForecastError


def home(root: Path, dataset: str) -> Path:
    """Everything one dataset's retraining keeps."""
    return root / ".forecast" / "retrain" / dataset


def newest_data(root: Path, dataset: str) -> Path:
    """The folder whose pointer names the later snapshot; the checkout's where both are equal or only it has one."""
    tree = home(root, dataset) / "tree"
    return tree if _as_of(tree, dataset) > _as_of(root, dataset) else root


def _as_of(project: Path, dataset: str) -> pd.Timestamp:
    """When the data that `project` points to were known; the beginning of time where it holds none."""
    try:
        pointer = snapshots.read_pointer(project, dataset)
    except (ForecastError, OSError):
        return pd.Timestamp(0)
    return pd.Timestamp(pointer.as_of) if snapshots.stored(project, pointer).exists() else pd.Timestamp(0)
