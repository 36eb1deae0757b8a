"""The results of a run as frames that other tools read: `unique_id, ds, cutoff, y, <model>, <model>-lo-80, …`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from forecast.api.model import windows
from forecast.config.task import load_task
from forecast.data.results import BASELINE, MEAN, Results
from forecast.forecaster.ensemble import ensemble_of
from forecast.system import files
from forecast.system.errors import InputError, closest, quote_names

KEYS = ["unique_id", "ds", "cutoff", "y"]


def cross_validation(
    results: Results, *, ranking: str = "shipped", models: Sequence[str] = (), levels: float | Sequence[float] = ()
) -> pd.DataFrame:
    """The forecasts of every origin of the test block, a column per model; of several seeds their mean.

    levels: of the intervals, in percent. With several targets `unique_id` is series/column. A model that could not be
    fitted has no column; `InputError` for one that is not there.
    """
    found = [_own(results, name, levels) for name in _candidates(results, ranking, models)]
    if not found:
        raise InputError(f"Dataset {results.name!r} has no forecasts in ranking {ranking!r}. Run `dvc repro`.")
    whole = found[0]
    for own in found[1:]:
        whole = whole.merge(own.drop(columns="y"), on=["unique_id", "ds", "cutoff"], how="outer", validate="1:1")
    return whole.sort_values(["unique_id", "cutoff", "ds"], kind="stable").reset_index(drop=True)


def observations(results: Results) -> pd.DataFrame:
    """What was forecast and from what: `unique_id, ds, y` and the past exogenous columns, all blocks.

    With several targets `unique_id` is series/column, one below the other.
    """
    task = load_task(results.paths.task(results.name))
    frame = files.read_frame(results.paths.frame(results.name))
    past = [column.name for column in task.past_exogenous]
    parts = []
    for target in task.targets:
        part = frame[["unique_id", "ds", target, *past]].rename(columns={target: "y"})
        several = len(task.targets) > 1
        parts.append(part.assign(unique_id=part["unique_id"].astype(str) + f"/{target}") if several else part)
    return pd.concat(parts, ignore_index=True)


def leaderboard(results: Results, *, ranking: str = "shipped") -> pd.DataFrame:
    """One row per model, mean over seeds, lowest MASE first."""
    rows = results.board(ranking)
    return rows[rows["seed"] == MEAN].sort_values(["mase", "model"], na_position="last").reset_index(drop=True)


def _candidates(results: Results, ranking: str, models: Sequence[str]) -> list[str]:
    own = {r["model"]: name for name, r in results.records.items() if r["ranking"] in (ranking, BASELINE)}
    for model in models:
        if model not in own:
            raise InputError(
                f"Model {model!r} is not in ranking {ranking!r} of dataset {results.name!r}.{closest(model, own)} "
                f"Known: {quote_names(own)}."
            )
    return [
        name for model, name in own.items() if model in (models or own) and results.records[name]["status"] == "ok"
    ]


def _own(results: Results, candidate: str, levels: float | Sequence[float]) -> pd.DataFrame:
    """One model's part: `KEYS`, its name, its intervals."""
    rows = results.forecasts(candidate)
    ensemble = ensemble_of(results.folder(candidate))
    model = str(results.records[candidate]["model"])
    table, columns = windows(rows[rows["block"] == "test"], ensemble, model, levels)
    return table.assign(unique_id=table["series"])[["unique_id", *columns]]
