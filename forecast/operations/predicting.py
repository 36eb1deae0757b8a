"""The champion's forecast from the newest snapshot (`forecast_champion`), and alarms for newest
observations that it cannot explain (`watch_champion`).

Nothing is fetched or trained, and neither TensorFlow nor MLflow is imported. Each forecast is
stored for scoring (`forecast.operations.live_accuracy`) over the trained horizon with the levels of
configs/evaluation.yaml that calibration supports, whatever was asked for; where that fails, a
notice says so. Old data are no fault here: `operations.status` judges their age, and at a fetch the
check `freshness`. The commands `forecast predict` and `watch` print the results
(`forecast.cli.predict`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.comparison.low_medians import describe_zero_forecasts, is_zero_median
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.paths import ProjectPaths
from forecast.config.task import format_time
from forecast.data import preparation
from forecast.data.panel import Panel, from_frame, series_name
from forecast.data.scaling import check_transforms
from forecast.data.windows import fill_gaps
from forecast.forecaster.ensemble import Ensemble, JudgedLevels, forecast_latest, judge_levels
from forecast.forecaster.serving import describe_odd_rows, keep_forecastable
from forecast.forecaster.watching import Watched, watch
from forecast.operations import champion, live_accuracy
from forecast.operations.champion import Champion
from forecast.operations.worktree import newest_data_root
from forecast.system.errors import ForecastError, InputError, plural, quote_names


@dataclass(frozen=True)
class Forecast:
    """A forecast of the champion."""

    champion: Champion
    settings: Dataset
    table: pd.DataFrame
    """As of `forecast_latest`: a row per series, output and step, in the target's unit; where rows
    have no dates, with row numbers for times.
    """
    panel: Panel
    """The history that it was made from."""

    notices: tuple[str, ...]
    """Sentences for the user."""


def forecast_champion(
    root: Path,
    dataset: str,
    *,
    now: pd.Timestamp,
    usual_levels: Sequence[float],
    horizon: int | None = None,
    levels: Sequence[float] | None = None,
    plan: Path | None = None,
) -> Forecast:
    """Forecast `horizon` steps (default: the trained horizon) after the newest snapshot's last
    rows, and store the issue.

    levels: of intervals, in percent; None takes those of `usual_levels` that calibration and
    horizon support. plan: a file with the inputs known ahead, used instead of the snapshot's.

    Raises `InputError` for a horizon that the model cannot reach, a given level that no series
    supports, or a plan that the model does not use; `ForecastError` where the forecast is not
    finite.
    """
    settings = load_dataset(dataset, ProjectPaths.of(root).configs)
    current = champion.load(root, dataset)
    n_steps = horizon or current.ensemble.task.horizon
    ensemble = current.ensemble.with_horizon(n_steps)
    if plan is not None and not ensemble.task.plans:
        raise InputError(
            f"{plan}: the champion of {dataset!r} reads no column known ahead, so a plan changes"
            " nothing. Forecast without it."
        )
    frame = read_newest_frame(root, dataset, settings, ensemble, plan=plan)
    whole = from_frame(frame, dataset, ensemble.task)
    panel, left_out = keep_forecastable(whole, ensemble)
    judged = _judge_levels(ensemble, panel, levels, usual_levels)
    notices = [*judged.unsupported, *judged.incomplete]
    supported = judged.supported
    if supported and n_steps > (trained := current.ensemble.task.horizon):
        notices.append(
            f"Intervals are calibrated for {plural(trained, 'step')}; beyond, margins grow as those"
            " of a random walk, untested."
        )
    table = pd.DataFrame(forecast_latest(ensemble, panel, horizon=n_steps, levels=supported))
    if not np.isfinite(table["y_hat"].to_numpy()).all():
        raise ForecastError(
            f"Version {current.version} of {dataset!r} forecasts values that are not finite. Roll"
            " back."
        )
    storing_fault = _store_issue(root, current, frame, panel, usual_levels, now, (table, supported))
    notices = [
        current.notice,
        _describe_changed_files(root, dataset, settings),
        left_out,
        _describe_lost_series(ensemble, whole),
        _describe_zeros(table, panel),
        *notices,
        *describe_odd_rows(panel, ensemble),
        storing_fault,
    ]
    table = live_accuracy.times_to_row_numbers(table, ensemble.task.calendar.kind)
    return Forecast(current, settings, table, panel, tuple(filter(None, notices)))


def _describe_changed_files(root: Path, dataset: str, settings: Dataset) -> str:
    """Which source files changed since the snapshot, and what to do; empty where none did."""
    # a retraining has copied the files as well: its copies do not change
    changed = preparation.describe_changed_files(
        dataset, settings, newest_data_root(root, dataset), checkout=root
    )
    if changed:
        changed += f" This forecast follows the old one; `forecast fetch {dataset}` takes the new."
    return changed


def _describe_lost_series(ensemble: Ensemble, panel: Panel) -> str:
    """A sentence about series that the champion was fitted on and that the data lack, or ""."""
    lost = ensemble.scaling.centre.keys() - panel.by_id.keys()
    if not lost:
        return ""
    return f"No forecast of series {quote_names(lost)} (without usable rows in the newest data)."


def _describe_zeros(table: pd.DataFrame, panel: Panel) -> str:
    """A sentence about series that are forecast as nearly zero despite demand in the lookback, or
    "".
    """
    task = panel.task
    zero_series = {}
    groups = table.groupby(["unique_id", "output"], sort=False)
    for (series, output), rows in groups:
        number = task.targets.index(str(output))
        observed = panel.by_id[str(series)].values[:, number]
        is_demanded = np.nansum(observed[-task.lookback :]) > 0
        if is_demanded and is_zero_median(observed, rows["y_hat"]):
            name = series_name(str(series), str(output), task.targets)
            zero_series[name] = task.target[number]
    return describe_zero_forecasts("The champion", zero_series, groups.ngroups)


def _judge_levels(
    ensemble: Ensemble, panel: Panel, levels: Sequence[float] | None, usual_levels: Sequence[float]
) -> JudgedLevels:
    """Which of `levels` (None: of the usual ones) the series support.

    Raises `InputError` for a given level that no series supports; it names the possible ones.
    """
    judged = judge_levels(ensemble, panel, usual_levels if levels is None else levels)
    if levels is not None and judged.unsupported:
        possible = judged.supported or judge_levels(ensemble, panel, usual_levels).supported
        percents = ",".join(f"{level:g}" for level in possible) or "none"
        raise InputError(f"{panel.name}: {judged.unsupported[0]} Possible: `--levels {percents}`.")
    return judged


def read_newest_frame(
    root: Path,
    dataset: str,
    settings: Dataset,
    ensemble: Ensemble,
    *,
    plan: Path | None = None,
) -> pd.DataFrame:
    """The newest snapshot (the checkout's or a retraining's) as a long frame, prepared as in
    training; the rules of `quality` are not applied.

    plan: as in `forecast_champion`. Source files edited since the snapshot are accepted, since a
    scheduled forecast would else fail after every edit.
    """
    frame, _ = preparation.check_data(
        dataset,
        settings.with_columns_of(ensemble.task),
        root=newest_data_root(root, dataset),
        plan=plan,
        files_may_differ=True,
    )
    check_transforms(frame, ensemble.task)
    return frame


def last_values(panel: Panel) -> dict[str, float]:
    """Series (`series_name`: with several targets "series/target") → last observed value."""
    targets = panel.task.targets
    last = {}
    for series in panel.series:
        newest_row = fill_gaps(series.values[None, :, : panel.outputs])[0][0][-1]
        for target, value in zip(targets, newest_row, strict=True):
            last[series_name(series.unique_id, target, targets)] = float(value)
    return last


def _store_issue(
    root: Path,
    current: Champion,
    frame: pd.DataFrame,
    panel: Panel,
    levels: Sequence[float],
    now: pd.Timestamp,
    printed_forecast: tuple[pd.DataFrame, tuple[float, ...]],
) -> str:
    """Store the champion's issue and score earlier ones; returns a sentence for a fault, or "".

    An issue has the whole trained horizon and the configured `levels`. printed_forecast: (table,
    levels), which is stored where it has both. Nothing is stored where the data end before the rows
    that the model was fitted on: it would be scored on rows that it has seen.
    """
    dataset = current.card.dataset
    newest = pd.Timestamp(panel.newest)
    fitted_to = current.card.training_cutoff
    if newest < pd.Timestamp(fitted_to):
        kind = panel.task.calendar.kind
        return (
            f"The data end at {format_time(kind, newest.isoformat(), 16)}, before"
            f" {format_time(kind, fitted_to, 16)}, up to which version"
            f" {current.version} was fitted: rows are lost, and the forecast is not kept for"
            f" scoring. Restore them, then `forecast fetch {dataset}`."
        )
    ensemble, (table, printed_levels) = current.ensemble, printed_forecast
    try:
        configured_levels = judge_levels(ensemble, panel, levels).supported
        horizon = ensemble.task.horizon
        if configured_levels != printed_levels or table["step"].max() != horizon:
            table = pd.DataFrame(
                forecast_latest(ensemble, panel, horizon=horizon, levels=configured_levels)
            )
        live_accuracy.store_issue(root, current, table, last_values(panel), now=now)
        live_accuracy.update_live_scores(root, dataset, frame)
    except (ForecastError, OSError) as error:
        return f"This forecast was not kept for scoring: {error}"
    return ""


@dataclass(frozen=True)
class WatchedChampion:
    """The champion's judgement of the observations that it has not been fitted on."""

    champion: Champion
    settings: Dataset
    watched: Watched
    table: pd.DataFrame
    """As in `Watched`, with `is_newest` (among the newest rows of its series); where rows have no
    dates, with row numbers for times.
    """

    @property
    def has_new_alarms(self) -> bool:
        """Whether an alarm is among the newest observations."""
        return bool((self.table["alarm"] & self.table["is_newest"]).any())


def watch_champion(
    root: Path, dataset: str, *, rate: float, pooled: bool = False, newest: int = 0
) -> WatchedChampion:
    """Judge each observation of the newest snapshot that is later than all the champion has used.
    With more rows of the same data a later call adds rows, and changes of the others no more than
    `is_newest`.

    rate, pooled: as in `forecaster.watching`. newest: how many rows of each series count as newest,
    0 means a horizon. Raises `InputError` without a champion.
    """
    settings = load_dataset(dataset, ProjectPaths.of(root).configs)
    current = champion.load(root, dataset)
    ensemble = current.ensemble
    frame = read_newest_frame(root, dataset, settings, ensemble)
    panel = from_frame(frame, dataset, ensemble.task)
    rows = _rows_before_unseen(panel, pd.Timestamp(current.card.last_target_used))
    watched = watch(ensemble, panel, rows, rate=rate, pooled=pooled)
    steps = newest or ensemble.task.horizon
    first_new = {series.unique_id: series.ds[-min(steps, len(series))] for series in panel.series}
    table = watched.table
    is_newest = table["ds"] >= table["unique_id"].map(first_new)
    table = live_accuracy.times_to_row_numbers(
        table.assign(is_newest=is_newest), ensemble.task.calendar.kind
    )
    return WatchedChampion(current, settings, watched, table)


def _rows_before_unseen(panel: Panel, last_used: pd.Timestamp) -> dict[str, np.ndarray]:
    """Series → the row before each observation that is later than `last_used` and has a whole
    lookback before it.
    """
    rows = {}
    for series in panel.series:
        n_used = int(np.searchsorted(series.ds, last_used.to_datetime64(), side="right"))
        first = max(n_used - 1, panel.task.lookback - 1)
        rows[series.unique_id] = np.arange(first, len(series) - 1)
    return rows
