"""`forecast_champion`: the champion's `Forecast` from the newest snapshot.
`watch_champion`: which of the newest observations it cannot explain.

NumPy and pandas, neither TensorFlow nor MLflow. Nothing is fetched or trained. Each forecast is
stored for scoring (`forecast.operations.live_accuracy`); a fault of that is a notice and never
costs the forecast. A damaged champion is replaced by the previous one, with a notice.

`forecast_champion` returns a table in the target's unit, a row per series and step, with the
notices for the user; the forecast is made from rows up to the newest observation only. What the
commands `forecast predict` and `watch` print of it is decided in `forecast.cli.predict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.comparison.low_medians import describe_zero_forecasts, is_zero_median
from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.config.task import format_time
from forecast.data import preparation, snapshots
from forecast.data.panel import Panel, from_frame, series_name
from forecast.data.scaling import check_transforms
from forecast.data.windows import fill_gaps
from forecast.forecaster.ensemble import (
    Ensemble,
    JudgedLevels,
    forecast_latest,
    judge_levels,
)
from forecast.forecaster.serving import (
    describe_odd_rows,
    keep_forecastable,
)
from forecast.forecaster.watching import Watched, watch
from forecast.operations import champion, live_accuracy
from forecast.operations.champion import Champion
from forecast.operations.worktree import newest_data_root
from forecast.system.errors import ForecastError, InputError, plural, quote_names


@dataclass(frozen=True)
class Forecast:
    """`table`: see `forecast_latest`, of rows without dates with their numbers; `panel`:
    the history it was made from; `notices`: sentences.
    """

    champion: Champion
    table: pd.DataFrame
    panel: Panel
    levels: tuple[float, ...]
    notices: tuple[str, ...]


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
    """Forecast `horizon` steps (the trained ones when None) after the newest snapshot's last rows,
    and keep the issue.

    levels: of intervals, in percent, such as 80; None takes those of `usual_levels` that
    calibration and horizon support. plan: a file with the inputs known ahead, after the last
    observations, instead of what the snapshot has of them. `InputError` for a horizon the model
    cannot reach, for a given level that no series supports, and for a plan that the model does not
    read.

    `ForecastError` where the forecast is not finite.
    """
    current = champion.load(root, dataset)
    n_steps = horizon or current.ensemble.task.horizon
    ensemble = current.ensemble.with_horizon(n_steps)
    if plan is not None and not ensemble.task.plans:
        raise InputError(
            f"{plan}: the champion of {dataset!r} reads no column known ahead, so a plan changes"
            " nothing. Forecast without it."
        )
    frame = read_newest_frame(root, dataset, ensemble, plan=plan)
    whole = from_frame(frame, dataset, ensemble.task)
    panel, left_out = keep_forecastable(whole, ensemble)
    judged = _judge_levels(ensemble, panel, levels, usual_levels)
    notices = [*judged.unsupported, *judged.incomplete]
    shown_levels = judged.supported
    if shown_levels and n_steps > (trained := current.ensemble.task.horizon):
        notices.append(
            f"Intervals are calibrated for {plural(trained, 'step')}; beyond, margins grow as those"
            " of a random walk, untested."
        )
    table = pd.DataFrame(forecast_latest(ensemble, panel, horizon=n_steps, levels=shown_levels))
    if not np.isfinite(table["y_hat"].to_numpy()).all():
        raise ForecastError(
            f"Version {current.version} of {dataset!r} forecasts values that are not finite. Roll"
            " back."
        )
    storing_fault = _store_issue(
        root, current, frame, panel, usual_levels, now, (table, shown_levels)
    )
    notes = [
        current.notice,
        _describe_changed_files(root, dataset),
        left_out,
        _describe_lost(ensemble, whole),
        _describe_zeros(table, panel),
        *notices,
        *describe_odd_rows(panel, ensemble),
        storing_fault,
    ]
    table = live_accuracy.number_rows(table, ensemble.task.calendar.kind)
    return Forecast(current, table, panel, shown_levels, tuple(filter(None, notes)))


def _describe_changed_files(root: Path, dataset: str) -> str:
    """Which of the dataset's files changed since they were read, and what to do; else empty."""
    entry = load_dataset(dataset, ProjectPaths.of(root).configs)
    changed = preparation.describe_changed_files(dataset, entry, newest_data_root(root, dataset))
    if changed:
        changed += f" This forecast follows the old one; `forecast fetch {dataset}` takes the new."
    return changed


def _describe_lost(ensemble: Ensemble, panel: Panel) -> str:
    """The series that the champion was fitted on and the data have no more, as a sentence."""
    lost = ensemble.scaling.centre.keys() - panel.by_id.keys()
    if not lost:
        return ""
    return f"No forecast of series {quote_names(lost)} (without usable rows in the newest data)."


def _describe_zeros(table: pd.DataFrame, panel: Panel) -> str:
    """The series that are demanded in the lookback and forecast as nearly zero, as a sentence."""
    task = panel.task
    zero_series = {}
    groups = table.groupby(["unique_id", "output"], sort=False)
    for (series, output), rows in groups:
        place = task.targets.index(str(output))
        observed = panel.by_id[str(series)].values[:, place]
        is_demanded = np.nansum(observed[-task.lookback :]) > 0
        if is_demanded and is_zero_median(observed, rows["y_hat"]):
            name = series_name(str(series), str(output), task.targets)
            zero_series[name] = task.target[place]
    return describe_zero_forecasts("The champion", zero_series, groups.ngroups)


def _judge_levels(
    ensemble: Ensemble, panel: Panel, levels: Sequence[float] | None, usual_levels: Sequence[float]
) -> JudgedLevels:
    """What the series make of `levels` (None: the usual ones); `InputError` for a given one that
    none can support, which ends with those of `levels` that are possible, else with the usual ones.
    """
    judged = judge_levels(ensemble, panel, usual_levels if levels is None else levels)
    if levels is not None and judged.unsupported:
        possible = judged.supported or judge_levels(ensemble, panel, usual_levels).supported
        percents = ",".join(f"{level:g}" for level in possible) or "none"
        raise InputError(f"{panel.name}: {judged.unsupported[0]} Possible: `--levels {percents}`.")
    return judged


def read_newest_frame(
    root: Path, dataset: str, ensemble: Ensemble, *, plan: Path | None = None
) -> pd.DataFrame:
    """The newest snapshot, the checkout's or a retraining's, as a long frame, prepared and checked
    as in training; `plan` as in `forecast_champion`. Files edited since the snapshot are accepted:
    else a scheduled forecast would fail after every edit.
    """
    entry = load_dataset(dataset, ProjectPaths.of(root).configs).with_columns_of(ensemble.task)
    frame, _ = preparation.check_data(
        dataset,
        entry,
        root=newest_data_root(root, dataset),
        plan=plan,
        files_may_differ=True,
    )
    check_transforms(frame, ensemble.task)
    return frame


def last_values(panel: Panel) -> dict[str, float]:
    """By name (`series_name`: of the series, or "series/target" with several targets) the last
    observed value.
    """
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
    """Store this forecast until its actuals arrive, and score earlier ones whose actuals have.

    Stored are the whole trained horizon and the configured `levels`; `printed_forecast` (table,
    its levels) is stored as it is where it has both. Returns a sentence for what went wrong, none
    when all was written: a full disk must not cost the forecast. Nothing is stored of rows that the
    model was fitted on: it would be scored on what it has seen.
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
        as_of = snapshots.read_pointer(newest_data_root(root, dataset), dataset).as_of
        live_accuracy.update_live_scores(root, dataset, frame, as_of=as_of)
    except (ForecastError, OSError) as error:
        return f"This forecast was not kept for scoring: {error}"
    return ""


@dataclass(frozen=True)
class WatchedChampion:
    """The champion and what it makes of the observations that are new to it; `table` as in
    `Watched`, of rows without dates with their numbers, and with `is_newest`: among the last so
    many of its series.
    """

    champion: Champion
    watched: Watched
    table: pd.DataFrame

    @property
    def has_new_alarms(self) -> bool:
        """Whether an alarm is among the newest observations."""
        return bool((self.table["alarm"] & self.table["is_newest"]).any())


def watch_champion(
    root: Path, dataset: str, *, rate: float, pooled: bool = False, newest: int = 0
) -> WatchedChampion:
    """Judge each observation of the newest snapshot after all that the champion has learnt from, so
    that a later call only adds to what an earlier one said.

    rate, pooled: as in `forecaster.watching`. newest: rows of each series that count as new, 0:
    a horizon. `InputError` without a champion.
    """
    current = champion.load(root, dataset)
    ensemble = current.ensemble
    panel = from_frame(read_newest_frame(root, dataset, ensemble), dataset, ensemble.task)
    rows = _rows_before_unseen(panel, pd.Timestamp(current.card.last_target_used))
    watched = watch(ensemble, panel, rows, rate=rate, pooled=pooled)
    steps = newest or ensemble.task.horizon
    first_new = {series.unique_id: series.ds[-min(steps, len(series))] for series in panel.series}
    table = watched.table
    is_newest = table["ds"] >= table["unique_id"].map(first_new)
    table = live_accuracy.number_rows(
        table.assign(is_newest=is_newest), ensemble.task.calendar.kind
    )
    return WatchedChampion(current, watched, table)


def _rows_before_unseen(panel: Panel, last_used: pd.Timestamp) -> dict[str, np.ndarray]:
    """By series the row before each observation after `last_used` that has a whole lookback."""
    rows = {}
    for series in panel.series:
        n_used = int(np.searchsorted(series.ds, last_used.to_datetime64(), side="right"))
        first = max(n_used - 1, panel.task.lookback - 1)
        rows[series.unique_id] = np.arange(first, len(series) - 1)
    return rows
