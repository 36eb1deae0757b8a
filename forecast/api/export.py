"""The results of a run as frames, for `forecast export` and `Board`: forecasts of the test block
(`cross_validation`), the data (`observations`), and the `leaderboard`.

`cross_validation` has the mean of the seeds; `model.tabulate_windows` averages them, for it, for
`Board.forecasts` and for `Model.cross_validation`. Forecasts of single seeds are in
`Results.forecasts`; `Model.cross_validation` without `refit` never has them. The step of a forecast
(1, 2, ...) is a column there, which `model.windows_of` and `_model_forecasts` leave out. A further
table is a function here and a value of `--what` in `cli.predict.export`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from forecast.api.model import tabulate_windows
from forecast.config.usual_names import require_model
from forecast.data.results import MEAN, Results
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.system.errors import InputError

RANKING = "shipped"
"""The ranking that is shown and exported: the models as they would serve, networks on their skips.
"""


def cross_validation(
    results: Results,
    *,
    models: Sequence[str] = (),
    levels: float | Sequence[float] = (),
) -> pd.DataFrame:
    """The forecasts at every origin of the test block: `unique_id, ds, cutoff, y`, and a column per
    model (the mean of its seeds), with two more per interval.

    The name and the columns are those of Nixtla's libraries; nothing is fitted here. levels: of the
    intervals, in percent. With several targets `unique_id` is series/column. A model that failed
    has no column. Raises `InputError` for a model that is not in `RANKING`.
    """
    tables = [
        _model_forecasts(results, name, levels)
        for name in candidates(results, models)
        if not results.records[name].has_failed
    ]
    if not tables:
        raise InputError(
            f"Dataset {results.name!r} has no forecasts in ranking {RANKING!r}. Run `dvc repro`."
        )
    keys = ["unique_id", "ds", "cutoff"]
    joined = tables[0]
    # every model forecasts at the same origins, so `y` of the first table has all actuals
    for table in tables[1:]:
        joined = joined.merge(table.drop(columns="y"), on=keys, how="outer", validate="1:1")
    return joined.sort_values(["unique_id", "cutoff", "ds"], kind="stable", ignore_index=True)


def observations(results: Results) -> pd.DataFrame:
    """The data of all blocks: `unique_id, ds, y` and the past exogenous columns.

    With several targets `unique_id` is series/column. A past exogenous column that has the name of
    a key column is called `input y`.
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


def leaderboard(results: Results) -> pd.DataFrame:
    """One row per model, for the mean of its seeds' forecasts, lowest MASE first."""
    rows = results.board(RANKING)
    return (
        rows[rows["seed"] == MEAN]
        .sort_values(["mase", "model"], na_position="last")
        .reset_index(drop=True)
    )


def candidates(results: Results, models: Sequence[str]) -> list[str]:
    """The names of the candidates of these models (() means all) in `RANKING`.

    Raises `InputError` for a model that is not in it.
    """
    candidate_of = results.candidates(RANKING)
    for model in models:
        where = f"ranking {RANKING!r} of dataset {results.name!r}"
        require_model(model, candidate_of, f"{where}: unknown model")
    return [name for model, name in candidate_of.items() if not models or model in models]


def _model_forecasts(
    results: Results, candidate: str, levels: float | Sequence[float]
) -> pd.DataFrame:
    """One model's columns of `cross_validation`."""
    model = results.records[candidate].model
    ensemble = load_trained_ensemble(results.folder(candidate))
    table, columns = tabulate_windows(results.forecasts(candidate, "test"), ensemble, model, levels)
    return table.assign(unique_id=table["series"])[["unique_id", *columns]]


def load_ensemble(results: Results, model: str) -> Ensemble:
    """The ensemble of one model in `RANKING`; "" means the selected model.

    Raises `InputError` for a model that is not in it.
    """
    (candidate,) = candidates(results, [model or str(results.selected_model(RANKING))])
    return load_trained_ensemble(results.folder(candidate))
