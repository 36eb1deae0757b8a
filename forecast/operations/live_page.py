"""reports/live.html from the issued forecasts and the newest snapshots; see `forecast.report.page`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from forecast.config.datasets import load_dataset
from forecast.data import preparation, snapshots
from forecast.operations import champion, live_accuracy
from forecast.operations.newest import newest_data
from forecast.report.page import LiveDataset, render_live
from forecast.system import files
from forecast.system.errors import ForecastError


def write(root: Path, datasets: Sequence[str]) -> Path:
    """The page of these datasets; one whose data cannot be read is shown with what was scored before."""
    path = root / "reports" / "live.html"
    files.write_text(path, render_live([_of(root, dataset) for dataset in datasets]))
    return path


def _of(root: Path, dataset: str) -> LiveDataset:
    settings = load_dataset(dataset, root / "configs")
    try:
        place = newest_data(root, dataset)
        frame = preparation.check_data(dataset, settings, root=place)
        as_of = snapshots.read_pointer(place, dataset).as_of
        found = live_accuracy.refresh(root, dataset, frame, as_of=as_of)
        issues = live_accuracy.by_issue(root, dataset, frame)
    except ForecastError:
        as_of, found = live_accuracy.remembered(root, dataset)
        issues = pd.DataFrame(columns=["cutoff", "version", "error", "naive"])
    versions = [{**asdict(entry), "model": _model(root, dataset, entry.version)} for entry in found]
    return LiveDataset(dataset, settings.title, as_of, issues, versions)


def _model(root: Path, dataset: str, version: int) -> str:
    try:
        return champion.read_meta(root, dataset, version).candidate
    except ForecastError:
        return "no longer here"
