"""What the last `dvc repro` made and chose on validation, described as a version that can be registered.

`project` is the folder whose `data/` is read: the person's own, or the work tree of a retraining.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.config.experiment import NAIVE
from forecast.config.paths import ProjectPaths
from forecast.data import snapshots
from forecast.data.panel import with_series
from forecast.data.results import MEAN, Results
from forecast.data.splits import Borders
from forecast.operations.champion import Meta
from forecast.system import files
from forecast.system.errors import InputError


def chosen(project: Path, dataset: str, *, now: pd.Timestamp, revision: str) -> tuple[Path, Meta]:
    """Folder and description of the candidate chosen on validation as shipped; `InputError` without a comparison."""
    results = Results(ProjectPaths.of(project), dataset)
    verdicts = results.paths.compared(dataset) / "verdicts.json"
    if not results.compared:
        raise InputError(f"{verdicts}: missing; nothing was compared yet. Run `forecast run --dataset {dataset}`.")
    model = results.chosen("shipped")
    name = results.candidate(model, "shipped") if model else None
    if name is None or results.records[name]["status"] != "ok":
        raise InputError(f"{verdicts}: {model!r} is chosen, but not in data/trained/{dataset}. Run `forecast run`.")
    return results.folder(name), describe(project, dataset, results.folder(name), now=now, revision=revision)


def describe(project: Path, dataset: str, folder: Path, *, now: pd.Timestamp, revision: str) -> Meta:
    """The description of one candidate below data/trained/<dataset>/ of `project`. `now` is UTC without zone."""
    results = Results(ProjectPaths.of(project), dataset)
    record = results.records[folder.name]
    borders = Borders.from_json(files.read_json(results.paths.borders(dataset)))
    pointer = snapshots.read_pointer(project, dataset)
    return Meta(
        dataset=dataset,
        candidate=record["candidate"],
        model=record["model"],
        training_cutoff=borders.validation_end.isoformat(),
        last_target_used=borders.calibration_end.isoformat(),
        as_of=pointer.as_of,
        data_sha256=pointer.sha256,
        config_hash=record.get("digests", {}).get("config", ""),
        git_revision=revision,
        created_at=now.floor("s").isoformat(),
        metrics=_scores(results, record),
        expected=_error_by_step(results, folder.name),
        naive=_error_by_step(results, NAIVE),
    )


def _scores(results: Results, record: dict[str, Any]) -> dict[str, float]:
    """The leaderboard's row of what serves."""
    table = results.leaderboard
    rows = table[(table["model"] == record["model"]) & (table["ranking"] == record["ranking"])].set_index("seed")
    if MEAN not in rows.index:
        return {}
    scores = (*(metric.name for metric in metrics.METRICS), "n_origins")
    return {score: float(rows.loc[MEAN, score]) for score in scores if np.isfinite(rows.loc[MEAN, score])}


def _error_by_step(results: Results, candidate: str) -> dict[str, list[float | None]]:
    """Per series (`uid/output` with several targets) the MAE of the mean over seeds, by step, on the test origins;
    empty for a candidate without forecasts."""
    if results.records.get(candidate, {}).get("status") != "ok":
        return {}
    rows = results.forecasts(candidate)
    mean = with_series(rows[rows["block"] == "test"]).groupby(["series", "cutoff", "step"])[["y", "y_hat"]].mean()
    error = (mean["y"] - mean["y_hat"]).abs().groupby(["series", "step"]).mean()
    return {str(name): [files.json_number(v) for v in own] for name, own in error.groupby(level="series")}
