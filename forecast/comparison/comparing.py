"""The compare stage's data: the train stage's records and forecasts in, scored tables and losses out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison import metrics, scores
from forecast.comparison.scores import Cube, Reference
from forecast.config.datasets import Dataset
from forecast.config.models import NAIVE
from forecast.data.panel import series_name, with_series
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.errors import InputError

SERVICE = "service"
LOSS_COLUMNS = ["model", "ranking", "skip", "seed", "unique_id", "cutoff", "loss"]


@dataclass(frozen=True)
class Scored:
    """One candidate: its record, its forecasts by block and, where it did not fail, its scores on the test block."""

    record: dict[str, Any]
    forecasts: pd.DataFrame | None = None
    board: pd.DataFrame | None = None
    by_step: pd.DataFrame | None = None
    by_series: pd.DataFrame | None = None
    validation: pd.DataFrame | None = None
    """Test scores: `board` over the series, `by_series`, `by_step`; `validation` is what the choice looks at."""
    cubes: tuple[Cube, ...] = ()

    @property
    def name(self) -> str:
        return str(self.record["candidate"])


def references(frame: pd.DataFrame, naive: pd.DataFrame, dataset: Dataset, borders: Borders, block: str) -> Reference:
    """Scales from the train rows and naive's errors on the origins of `block`."""
    scale, squared, last = {}, {}, {}
    targets = [c.column for c in dataset.target]
    for uid, rows in frame.groupby("unique_id", sort=True):
        for target in targets:
            name = series_name(uid, target, targets)
            values = rows.set_index("ds")[target]
            train = values[values.index <= borders.train_end].to_numpy()
            scale[name] = metrics.insample_scale(train, season=dataset.season)
            squared[name] = metrics.insample_scale(train, season=dataset.season, squared=True)
            last[name] = values.ffill()
    cubes = scores.cubes(naive[naive["block"] == block], last)
    errors = {c.series: _by_step(c) for c in cubes}
    return Reference(scale, squared, last, errors)


def read(folder: Path) -> list[tuple[dict[str, Any], pd.DataFrame | None]]:
    """Every candidate's record and forecasts below `folder`, in the order of their names."""
    result = []
    for path in sorted(p.parent for p in folder.glob("*/record.json")):
        record = files.read_json(path / "record.json")
        ok = record["status"] == "ok"
        result.append((record, pd.read_parquet(path / "forecasts.parquet") if ok else None))
    return result


def score(folder: Path, frame: pd.DataFrame, dataset: Dataset, borders: Borders) -> list[Scored]:
    """All candidates scored on test, and on validation for the choice."""
    found = read(folder)
    naive = next((f for record, f in found if record["candidate"] == NAIVE and f is not None), None)
    if naive is None:
        raise InputError(
            f"{folder} has no forecasts of {NAIVE!r}; every score is taken against it. "
            "Put `naive` into the grid of configs/models.yaml."
        )
    reference = {b: references(frame, naive, dataset, borders, b) for b in ("validation", "test")}
    return [_scored(record, forecasts, reference) for record, forecasts in found]


def _scored(record: dict[str, Any], forecasts: pd.DataFrame | None, reference: Mapping[str, Reference]) -> Scored:
    if forecasts is None:
        return Scored(record)
    test = tuple(scores.cubes(forecasts[forecasts["block"] == "test"], reference["test"].last))
    held = scores.cubes(forecasts[forecasts["block"] == "validation"], reference["validation"].last)
    by_series = pd.concat([scores.series_scores(c, reference["test"]) for c in test], ignore_index=True)
    by_step = pd.concat([scores.step_scores(c, reference["test"]) for c in test], ignore_index=True)
    on_validation = pd.concat([scores.series_scores(c, reference["validation"]) for c in held], ignore_index=True)
    return Scored(
        record=record,
        forecasts=forecasts,
        board=scores.with_mean_and_spread(scores.over_series(by_series, ["seed"]), []),
        by_step=scores.with_mean_and_spread(scores.over_series(by_step, ["seed", "step"]), ["step"]),
        by_series=by_series,
        validation=scores.with_mean_and_spread(scores.over_series(on_validation, ["seed"]), []),
        cubes=test,
    )


def leaderboard(scored: list[Scored], chosen: Mapping[str, str], dataset: str) -> pd.DataFrame:
    """The tidy rows of one dataset; a failed candidate is one row with its status."""
    parts = []
    for candidate in scored:
        record = candidate.record
        common = {"dataset": dataset, "model": record["model"], "ranking": record["ranking"], "skip": record["skip"]}
        if candidate.board is None or candidate.validation is None:
            parts.append(pd.DataFrame([{**common, "seed": scores.MEAN, "status": "failed", "n_origins": 0}]))
            continue
        board = candidate.board.assign(status="ok", **common)
        board["n_params"] = record["n_params"]
        held = candidate.validation.set_index("seed")["mase"]
        board["validation_mase"] = board["seed"].map(held)
        is_chosen = chosen.get(record["ranking"]) == record["model"] or (
            record["ranking"] == "baseline" and record["model"] in chosen.values()
        )
        board["chosen"] = is_chosen & board["seed"].isin([scores.MEAN, scores.ENSEMBLE])
        parts.append(board)
    table = pd.concat(parts, ignore_index=True)
    table["chosen"] = table["chosen"].fillna(False).astype(bool)
    table["n_params"] = table["n_params"].fillna(0).astype(int)
    table["n_origins"] = table["n_origins"].astype(int)
    columns = ["dataset", "model", "ranking", "skip", "seed", "status", *scores.METRICS]
    return table[[*columns, "n_params", "n_origins", "validation_mase", "chosen"]]


def losses(scored: list[Scored], scale: Mapping[str, metrics.Scale], block: str) -> pd.DataFrame:
    """Long `model, ranking, skip, seed, unique_id, cutoff, loss`: absolute error over the train scale, mean over the
    horizon. `skip` is the row that is the candidate's skip standing alone. A missing actual is left out."""
    divisor = {name: s.value for name, s in scale.items()}
    parts = []
    for candidate in scored:
        if candidate.forecasts is None:
            continue
        rows = with_series(candidate.forecasts[candidate.forecasts["block"] == block])
        error = (rows["y"] - rows["y_hat"]).abs() / rows["series"].map(divisor)
        keys = {"seed": rows["seed"], "unique_id": rows["series"], "cutoff": rows["cutoff"]}
        own = pd.DataFrame({**keys, "loss": error}).groupby(list(keys), observed=True)["loss"].mean().reset_index()
        record = candidate.record
        parts.append(own.assign(model=record["model"], ranking=record["ranking"], skip=record["skip_row"]))
    return pd.concat(parts, ignore_index=True)[LOSS_COLUMNS]


def _by_step(cube: Cube) -> np.ndarray:
    return np.array([metrics.mae(cube.y[:, s], cube.y_hat[0][:, s]) for s in range(cube.y.shape[1])])
