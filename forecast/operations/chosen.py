"""What the last `dvc repro` made and chose on validation, described as a version that can be registered.

`project` is the folder whose `data/` is read: the person's own, or the work tree of a retraining.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.data import snapshots
from forecast.data.panel import with_series
from forecast.data.splits import Borders
from forecast.forecaster import Forecaster
from forecast.forecaster.ensemble import Ensemble, calibration_scores
from forecast.operations.champion import Meta
from forecast.system import files
from forecast.system.errors import InputError

SCORES = ("mae", "rmse", "mase", "rmsse", "smape", "direction", "direction_base", "skill", "n_origins")
NAIVE = "naive"


def chosen(project: Path, dataset: str, *, now: pd.Timestamp, revision: str) -> tuple[Path, Meta]:
    """Folder and description of the candidate chosen on validation as shipped; `InputError` without a comparison."""
    path = project / "data" / "compared" / dataset / "verdicts.json"
    if not path.exists():
        raise InputError(f"{path}: no such file; nothing was compared yet. Run `make run DATASET={dataset}`.")
    model = files.read_json(path)["chosen"].get("shipped")
    trained = project / "data" / "trained" / dataset
    records = {p.parent: files.read_json(p) for p in sorted(trained.glob("*/record.json"))}
    for folder, record in records.items():
        if record["model"] == model and record["ranking"] != "architecture" and record["status"] == "ok":
            return folder, describe(project, dataset, folder, now=now, revision=revision)
    raise InputError(
        f"{path}: names {model!r} as chosen, but data/trained/{dataset} has no such model. Run `make run`."
    )


def describe(project: Path, dataset: str, folder: Path, *, now: pd.Timestamp, revision: str) -> Meta:
    """The description of one candidate below data/trained/<dataset>/ of `project`. `now` is UTC without zone."""
    record = files.read_json(folder / "record.json")
    borders = Borders.from_json(files.read_json(project / "data" / "prepared" / dataset / "borders.json"))
    pointer = snapshots.read_pointer(project, dataset)
    test = _test_rows(folder)
    naive = _test_rows(folder.parent / NAIVE)
    return Meta(
        dataset=dataset,
        candidate=record["candidate"],
        model=record["model"],
        training_cutoff=borders.train_end.isoformat(),
        last_target_used=borders.calibration_end.isoformat(),
        as_of=pointer.as_of,
        data_sha256=pointer.sha256,
        config_hash=record.get("digests", {}).get("config", ""),
        git_revision=revision,
        created_at=now.floor("s").isoformat(),
        metrics=_scores(project, dataset, record),
        expected=_error_by_step(test),
        naive=_error_by_step(naive),
    )


def ensemble_of(folder: Path) -> Ensemble:
    """The forecasters of one trained candidate with the calibration errors of their mean."""
    seeds = sorted(folder.glob("seed-*"), key=lambda path: int(path.name.removeprefix("seed-")))
    if not seeds:
        raise InputError(f"{folder}: has no saved forecaster; its training failed. Choose another candidate.")
    forecasts = pd.read_parquet(folder / "forecasts.parquet")
    members = tuple(Forecaster.load(seed) for seed in seeds)
    return Ensemble(members, calibration_scores(forecasts, members[0].dataset))


def _scores(project: Path, dataset: str, record: dict[str, Any]) -> dict[str, float]:
    """The leaderboard's row of the ensemble, or of the only seed."""
    table = pd.read_csv(project / "data" / "compared" / dataset / "leaderboard.csv", dtype={"seed": str})
    rows = table[(table["model"] == record["model"]) & (table["ranking"] == record["ranking"])].set_index("seed")
    name = next((seed for seed in ("ensemble", "mean") if seed in rows.index), None)
    if name is None:
        return {}
    return {score: float(rows.loc[name, score]) for score in SCORES if np.isfinite(rows.loc[name, score])}


def _test_rows(folder: Path) -> pd.DataFrame:
    path = folder / "forecasts.parquet"
    columns = ["unique_id", "output", "cutoff", "step", "block", "y", "y_hat"]
    if not path.exists():
        return pd.DataFrame(columns=columns)
    rows = pd.read_parquet(path, columns=columns)
    return rows[rows["block"] == "test"]


def _error_by_step(rows: pd.DataFrame) -> dict[str, list[float | None]]:
    """Per series (`uid/output` with several targets) the MAE of the mean over seeds, by step, on the test origins."""
    if rows.empty:
        return {}
    mean = with_series(rows).groupby(["series", "cutoff", "step"])[["y", "y_hat"]].mean()
    error = (mean["y"] - mean["y_hat"]).abs().groupby(["series", "step"]).mean()
    return {str(name): [files.json_number(v) for v in own] for name, own in error.groupby(level="series")}
