"""`forecast.fit`: fits one model on a caller's frame, by the stages of `dvc repro`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forecast.api.frame_dataset import TaskOptions, frame_dataset
from forecast.api.frames import WHERE
from forecast.api.model import Model
from forecast.api.stages import (
    FitSettings,
    fit_ensemble,
    fit_with_default_splits,
    model_entries,
    specs_to_fit,
    tuning_budget,
)
from forecast.config.reading import Entry
from forecast.forecaster.intervals import NO_CALIBRATION
from forecast.models.base import ModelSpec
from forecast.system.errors import InputError, quote_names

SEARCH_KEYS = {"n_trials", "trial_steps"}
"""Keys of tuning.yaml that ask for a search; other keys only change the training."""


def fit(
    df: Any,
    model: str | Entry = "gru",
    *,
    freq: str | int | Entry,
    horizon: int,
    lookback: int | None = None,
    season_length: int | None = None,
    past_exogenous: str | Sequence[str | Entry] = (),
    future_exogenous: str | Sequence[str | Entry] = (),
    calendar_features: Sequence[str] | None = None,
    holidays: str | Entry | None = None,
    static: str | Sequence[str | Entry] = (),
    hierarchy: str | Sequence[str] = (),
    transform: str = "none",
    minimum: float | None = None,
    difference_inputs: bool = False,
    point: str = "median",
    splits: Entry | None = None,
    tuning: str | Entry | None = None,
    seeds: int | Sequence[int] | None = None,
    n_jobs: int | None = None,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str | Sequence[str] = "y",
) -> Model:
    """Fit one model for all series of a frame, by the stages of `dvc repro`.

    df: one row per series and time, a frame of pandas, polars or pyarrow.
    model: a name of the catalogue, or an entry of models.yaml such as `{"family": "gru", "units":
    16}`. A combination cannot be fitted alone.
    freq: a step such as `1h`, a calendar such as `{"kind": "sessions", "exchange": "XNYS"}`, or 1
    where `time_col` counts rows in whole numbers.
    horizon, lookback, season_length: in steps; lookback and season are chosen where left out.
    past_exogenous: columns, or entries such as `{"column": "rain", "transform": "log1p"}`.
    future_exogenous: columns known ahead, such as prices; a forecast takes them from rows after the
    last observation, or from the `future_df` of `predict`.
    calendar_features: None takes the hour of the day, the day of the year and the day of the week
    where the frame shows such a pattern; `()` takes none.
    holidays: a country such as `DE`, or `{"country": "DE", "states": ["BY"]}`, whose public
    holidays are inputs.
    static: columns that are constant in each series, such as its kind or size.
    hierarchy: columns of groups, largest first, such as `["region", "shop"]`. Their sums are
    forecast too, and all forecasts add up; series are called `North/shop 1`, sums `North` and
    `total`.
    transform, point: a scale such as `log1p`; with `point="mean"` it is undone to means, by default
    to medians.
    minimum: the least value of forecasts and intervals; None takes 0 for a target whose lowest
    value is 0, unless its name, such as `growth`, says that it may fall below; `-math.inf`: none.
    splits: dates or shares as in datasets.yaml. By default the last horizon is the test block and a
    tenth of the rows before it calibrates the intervals; on short series a simple or statistical
    model is tested on a shorter horizon, with a warning. Either way the model is then fitted again
    on all rows.
    tuning: None for the family's own values, `quick`, `full`, or keys of tuning.yaml, which search
    only with `n_trials` or `trial_steps`.
    seeds: one seed (default 0), or several, such as `[0, 1, 2]`, whose forecasts are averaged; only
    for models with random initial weights.

    Raises `InputError` for a faulty frame or option, `ModelError` where the model cannot be fitted.

    >>> forecast.fit(df, "ridge", freq="1h", horizon=24, past_exogenous=["wind"])
    Model('ridge', horizon=24, lookback=168, series=1)
    """
    # the first statement: `locals()` must hold the arguments only
    dataset = frame_dataset(df, TaskOptions.of_call(locals()))
    ((name, entry),) = model_entries([model]).items()
    budget = tuning_budget(tuning, seeds=0 if seeds is None else seeds)
    keys = {*tuning} if isinstance(tuning, Mapping) else set()
    if seeds is not None and "seeds" in keys:
        raise InputError("`seeds` stands in `tuning` as well; wanted it once. Drop one.")
    if len(budget.seeds) > 1:
        keys.add("seeds")
    is_tuned = isinstance(tuning, str) or not SEARCH_KEYS.isdisjoint(keys)
    for spec in specs_to_fit({name: entry}).values():  # empty for a combination
        _require_effect(keys, name, spec, is_tuned=is_tuned)
    recipe = FitSettings(entry, budget, is_tuned, n_jobs)
    if splits:
        ensemble, _ = fit_ensemble(name, dataset.with_keys(splits=splits), recipe, rows="all")
    else:
        ensemble = fit_with_default_splits(name, dataset, recipe)
    if not ensemble.calibrated:
        warnings.warn(
            f"{WHERE}: `predict` will refuse `levels`. {NO_CALIBRATION}",
            stacklevel=2,
        )
    return Model(name, ensemble, dataset.names, dataset, recipe)


def _require_effect(keys: Iterable[str], name: str, spec: ModelSpec, *, is_tuned: bool) -> None:
    """Raises `InputError` for keys of tuning.yaml that have no effect on this model; several
    `seeds` of the call are such a key too.
    """
    has_search = bool(spec.search_space())
    reads = {
        "n_trials": has_search,
        "base_seed": has_search and is_tuned,
        "seeds": spec.is_seeded,
    }
    if unread := [key for key in keys if not reads.get(key, spec.is_trained_by_gradient)]:
        raise InputError(
            f"{quote_names(unread)} has no effect on {name!r}, which has no such search,"
            " steps or seeds; leave it out. To search, pass `n_trials`."
        )
