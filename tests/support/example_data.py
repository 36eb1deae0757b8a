"""Small datasets for the tests of the data side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config

HOURLY: dict[str, Any] = {
    "title": "Hourly example",
    "source": {"kind": "file", "path": "data/mine.csv"},
    "calendar": {"kind": "regular", "freq": "1h"},
    "target": {"column": "temp"},
    "horizon": 2,
    "lookback": 4,
    "season_length": 24,
    "splits": {"train": 0.6, "validation": 0.15, "calibration": 0.1},
    "licence": {"name": "mine", "attribution": "me"},
}


def dataset(**changes: Any) -> Dataset:
    """The hourly example with some keys changed."""
    return validate_config(Dataset, {**HOURLY, **changes}, where="example")


def hourly(
    rows: int = 100, series: tuple[str, ...] = ("a",), start: str = "2024-01-01"
) -> pd.DataFrame:
    """A long frame: temp = 10 + its row number in the series."""
    times = pd.date_range(start, periods=rows, freq="h").as_unit("ns")
    return pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": times, "temp": 10.0 + np.arange(rows)})
            for name in series
        ],
        ignore_index=True,
    )


def write_project(root: Path, **datasets: Any) -> Path:
    """configs/datasets.yaml with these entries, each the hourly example with its changes."""
    content = {
        "run": list(datasets),
        "datasets": {name: {**HOURLY, **entry} for name, entry in datasets.items()},
    }
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "data").mkdir(exist_ok=True)
    (root / "configs" / "datasets.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return root
