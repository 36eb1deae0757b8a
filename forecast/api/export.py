"""The results of a run as frames for other tools, for `forecast export` and for `Board`.

`cross_validation`: the forecasts of the test block beside what came true, a column per model and
two per interval; `observations`: the data; `leaderboard`: one row per model. `candidates` finds the
candidate that stands for a model in a ranking. Everything is read from finished `Results`; nothing
is fitted or scored here.

A model that is not there is an `InputError`; one that failed has no column.

Another frame is a function here, of `Results` to a frame, named by the command `forecast export`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from forecast.api.model import windows
from forecast.config.usual_names import require_model
from forecast.data.results import BASELINE, MEAN, Results
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.system.errors import InputError


def cross_validation(
    results: Results,
    *,
    ranking: str = "shipped",
    models: Sequence[str] = (),
    levels: float | Sequence[float] = (),
) -> pd.DataFrame:
    """The forecasts of every origin of the test block, a column per model; of several seeds their
    mean.

    levels: of the intervals, in percent. With several targets `unique_id` is series/column. A model
    that could not be fitted has no column; `InputError` for one that is not there.
    """
    tables = [
        _model_forecasts(results, name, levels)
        for name in candidates(results, ranking, models)
        if not results.records[name].has_failed
    ]
    if not tables:
        raise InputError(
            f"Dataset {results.name!r} has no forecasts in ranking {ranking!r}. Run `dvc repro`."
        )
    keys = ["unique_id", "ds", "cutoff"]
    joined = tables[0]
    for table in tables[1:]:
        joined = joined.merge(table.drop(columns="y"), on=keys, how="outer", validate="1:1")
    return joined.sort_values(["unique_id", "cutoff", "ds"], kind="stable", ignore_index=True)


def observations(results: Results) -> pd.DataFrame:
    """What was forecast and from what: `unique_id, ds, y` and the past exogenous columns, all
    blocks; one that is called `y` itself is `input y`.

    With several targets `unique_id` is series/column, one below the other.
    """
    task = results.task
    frame = results.frame
    key_columns = {"unique_id", "ds", "y"}
    past = {
        column.name: f"input {column.name}" if column.name in key_columns else column.name
        for column in task.past_exogenous
    }
    parts = []
    for name in task.targets:
        suffix = f"/{name}" if len(task.targets) > 1 else ""
        parts.append(
            frame[["ds", *past]]
            .rename(columns=past)
            .assign(unique_id=frame["unique_id"].astype(str) + suffix, y=frame[name])
        )
    return pd.concat(parts, ignore_index=True)[["unique_id", "ds", "y", *past.values()]]


def leaderboard(results: Results, *, ranking: str = "shipped") -> pd.DataFrame:
    """One row per model (a network: its seeds' mean forecast), lowest MASE first."""
    rows = results.board(ranking)
    return (
        rows[rows["seed"] == MEAN]
        .sort_values(["mase", "model"], na_position="last")
        .reset_index(drop=True)
    )


def candidates(results: Results, ranking: str, models: Sequence[str]) -> list[str]:
    """The candidates that stand for these models, or for all, in a ranking.

    Raises `InputError` for a model that is not in it.
    """
    candidate_of = {
        record.model: name
        for name, record in results.records.items()
        if record.ranking in (ranking, BASELINE)
    }
    for model in models:
        where = f"ranking {ranking!r} of dataset {results.name!r}"
        require_model(model, candidate_of, f"{where}: unknown model")
    return [name for model, name in candidate_of.items() if not models or model in models]


def _model_forecasts(
    results: Results, candidate: str, levels: float | Sequence[float]
) -> pd.DataFrame:
    """One model's forecasts: `unique_id, ds, cutoff, y`, its name, the ends of its intervals."""
    model = results.records[candidate].model
    ensemble = load_trained_ensemble(results.folder(candidate))
    table, columns = windows(results.forecasts(candidate, "test"), ensemble, model, levels)
    return table.assign(unique_id=table["series"])[["unique_id", *columns]]


def load_ensemble(results: Results, model: str, ranking: str) -> Ensemble:
    """What serves of one model; empty: of the selected one.

    `InputError` where it is unknown or could not be fitted.
    """
    (candidate,) = candidates(results, ranking, [model or str(results.selected_model(ranking))])
    return load_trained_ensemble(results.folder(candidate))
