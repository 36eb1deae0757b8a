"""`forecast.fit`: one model of a frame, made by the stages of `dvc repro`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.api import project
from forecast.api.frames import Names, several
from forecast.api.model import Model, Recipe
from forecast.api.project import Question
from forecast.config.experiment import COMBINATION
from forecast.data.results import Results
from forecast.forecaster.ensemble import ensemble_of
from forecast.system.errors import InputError, ModelFailure


def fit(
    df: Any,
    model: str | Mapping[str, Any] = "gru",
    *,
    freq: str | Mapping[str, Any],
    horizon: int,
    lookback: int | None = None,
    season_length: int | None = None,
    past_exogenous: str | Sequence[str | Mapping[str, Any]] = (),
    future_exogenous: str | Sequence[str | Mapping[str, Any]] = (),
    calendar_features: Sequence[str] | None = None,
    transform: str = "none",
    difference_inputs: bool = False,
    splits: Mapping[str, Any] | None = None,
    tuning: str | Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = (0,),
    n_jobs: int | None = None,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str | Sequence[str] = "y",
) -> Model:
    """One model for all series of a frame, by the stages of `dvc repro`.

    df: one row per series and time, of pandas, polars or pyarrow. model: a name of the catalogue,
    or an entry of models.yaml such as `{"family": "gru", "units": 16}`. freq: a step such as `1h`,
    or a calendar such as `{"kind": "sessions", "exchange": "XNYS"}`. horizon, lookback,
    season_length: in steps; what is left out is chosen by the length of the series and the step.
    past_exogenous: columns, or entries such as `{"column": "rain", "transform": "log1p"}`.
    future_exogenous: columns known ahead, such as holidays or prices; a forecast finds them in rows
    behind the last observation, or in the `future_df` of `predict`. calendar_features: None takes
    the hour of the day and the day of the year where the frame shows these cycles; `()` none.
    splits: dates or shares as in datasets.yaml; by default the last horizon is the test block and a
    tenth before it calibrates the intervals. tuning: None for the family's own values, `quick`,
    `full`, or keys of tuning.yaml. seeds: of a network; several are averaged.

    `InputError` for a frame or an option that is not as wanted, `ModelFailure` where the model
    cannot be fitted.

    >>> forecast.fit(df, "ridge", freq="1h", horizon=24, past_exogenous=["wind"])
    Model('ridge', horizon=24, lookback=168, series=1)
    """
    asked = project.question(
        df,
        freq=freq,
        horizon=horizon,
        lookback=lookback,
        season_length=season_length,
        past_exogenous=past_exogenous,
        future_exogenous=future_exogenous,
        calendar_features=calendar_features,
        transform=transform,
        difference_inputs=difference_inputs,
        names=Names(id_col, time_col, several("target_col", target_col)),
    )
    asked = asked.with_splits(splits) if splits else asked.cut(horizon)
    ((name, entry),) = project.entries([model]).items()
    if entry.get("family") == COMBINATION:
        raise InputError(
            f"Model {name!r} is a combination of fitted rows, of which `fit` has one. Pass it to"
            " `forecast.compare` beside its members."
        )
    budget = project.budget(tuning, seeds=[seeds] if isinstance(seeds, int) else seeds)
    return fitted(name, asked, Recipe(entry, budget, tuning is not None, n_jobs))[0]


def fitted(name: str, asked: Question, recipe: Recipe) -> tuple[Model, pd.DataFrame]:
    """The model that the stages make, and its forecasts of every origin (forecasts.parquet)."""
    with tempfile.TemporaryDirectory(prefix="forecast-") as folder:
        results = project.run(
            Path(folder),
            asked,
            {name: recipe.entry},
            recipe.tuning,
            n_jobs=recipe.n_jobs,
            tuned=recipe.tuned,
        )
        (candidate,) = results.records
        return of_candidate(results, candidate, asked, recipe), results.forecasts(candidate)


def of_candidate(results: Results, candidate: str, asked: Question, recipe: Recipe) -> Model:
    """A trained candidate as a model; `ModelFailure` with its reason where it could not be
    fitted.
    """
    record = results.records[candidate]
    if record.has_failed:
        raise ModelFailure(f"Model {record.model!r} could not be fitted: {record.reason}")
    return Model(record.model, ensemble_of(results.folder(candidate)), asked.names, asked, recipe)
