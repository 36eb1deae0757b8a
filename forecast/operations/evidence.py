"""The numbers behind a retraining: losses on fresh origins, drift, and whether a challenger is due.

    gate_splits            blocks that leave the newest origins to the gate
    GateData, fresh_losses mean scaled errors of challenger, champion and naive at fresh origins:
                           those of the test block after all data that both models have used
    Ledger                 the losses of each pair of models, every origin once; the gate tests them
    measure_shifts, measure_live_error    drift of the data, and of the champion's errors
    judge_due              whether a challenger is due, by age, drift and new rows

Drift of a column is a change in the distribution of its seasonal differences (in the transformed
scale): levels differ between July and the whole year without any drift, and a price's level always
drifts. The population stability index measures the size of the change; the Kolmogorov-Smirnov test
must confirm that it is not chance.

Losses are absolute errors of point forecasts (`GateData.mean_loss`); intervals are not judged, and
the ledger has no other number, so another measure would begin with an empty ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from forecast.backtest.backtest import BlockForecasts, forecast_table
from forecast.comparison import metrics
from forecast.config.datasets import Dataset, FractionSplits, load_dataset
from forecast.config.operation import Retraining, load_retraining
from forecast.config.paths import ProjectPaths
from forecast.config.task import FutureStep, Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data.calendars import DAY
from forecast.data.panel import Panel, add_series_names, series_name
from forecast.data.records import Record
from forecast.data.results import Results
from forecast.data.splits import Borders, origins_of, split_series
from forecast.forecaster.ensemble import Ensemble
from forecast.operations.gate import PairEvidence
from forecast.operations.live_accuracy import error_over_expected
from forecast.operations.records import ChampionCard, Shift
from forecast.system import files
from forecast.system.errors import DataError, ForecastError, list_first, plural

YEAR = pd.Timedelta(365, "D")


def gate_splits(
    ds: pd.Series, name: str, dataset: Dataset, *, fresh_steps: int
) -> dict[str, float] | dict[str, str]:
    """The `splits` of a challenger's configuration, for data at the times `ds`.

    The newest `fresh_steps` steps are cutoffs of the gate. Before them come calibration and
    validation, as long as configured; everything earlier is for training. Blocks end with a day, or
    are shares where rows have no dates. Raises `DataError` when too little is left to train on.
    """
    steps = pd.DatetimeIndex(np.unique(ds.to_numpy()))
    first = max(len(steps) - (fresh_steps + dataset.horizon - 1), 0)
    # rows without dates are numbered by minutes
    unit = pd.Timedelta(1, "min" if dataset.calendar.counts_rows else "D")
    ends = [steps[-1].floor(unit), steps[first].floor(unit) - unit]
    for length in _lengths(dataset, steps):
        ends.append((ends[-1] - length).floor(unit))
    stops = steps.searchsorted(pd.DatetimeIndex(ends) + unit).tolist()
    trained = stops[-1]
    if trained < dataset.lookback + 2 * dataset.horizon:
        raise DataError(
            f"Dataset {name!r} has {len(steps)} time steps; {fresh_steps} for the gate and what"
            f" validation and calibration take leave {trained} to train on, too few. Lower"
            " `fresh_steps` in configs/retraining.yaml, shorten the blocks in"
            " configs/datasets.yaml, or wait for more data."
        )
    if dataset.calendar.counts_rows:
        sizes = np.diff([0, *reversed(stops)]) / len(steps)
        return dict(zip(("train", "validation", "calibration"), sizes.tolist(), strict=False))
    names = ("train_end", "validation_end", "calibration_end", "test_end")
    return {name: f"{end:%Y-%m-%d}" for name, end in zip(names, reversed(ends), strict=True)}


def describe_missing_gate_rows(root: Path, name: str) -> str:
    """Why the rows of the last run are too few for `retrain`; empty where they are enough, or where
    there is no last run.
    """
    paths = ProjectPaths.of(root)
    if not paths.frame(name).exists():
        return ""
    try:
        settings = load_dataset(name, paths.configs)
        fresh_steps = load_retraining(name, paths.configs).count_fresh_steps(settings)
        ds = files.read_frame(paths.frame(name))["ds"]
        gate_splits(ds, name, settings, fresh_steps=fresh_steps)
    except ForecastError as fault:
        return str(fault)
    return ""


def _lengths(dataset: Dataset, steps: pd.DatetimeIndex) -> tuple[pd.Timedelta, pd.Timedelta]:
    """How long calibration and validation are: days as configured, or their shares of `steps`."""
    splits = dataset.splits
    if isinstance(splits, FractionSplits):
        span = steps[-1] - steps[0]
        return splits.calibration * span, splits.validation * span
    validation_end = pd.Timestamp(splits.validation_end)
    return (
        pd.Timestamp(splits.calibration_end) - validation_end,
        validation_end - pd.Timestamp(splits.train_end),
    )


@dataclass(frozen=True)
class GateData:
    """The prepared data of one gate."""

    panel: Panel
    borders: Borders
    scale: Mapping[str, float]
    """Series (`series_name`) → what its errors are divided by before they are averaged."""

    @classmethod
    def read(cls, project: Path, name: str) -> GateData:
        """The data that stage `prepare` wrote below `project`."""
        results = Results(ProjectPaths.of(project), name)
        panel = results.panel
        return cls(panel, results.borders, _error_scales(panel, results.borders))

    def fresh_rows(self, after: Sequence[pd.Timestamp]) -> dict[str, np.ndarray]:
        """Series → the rows of the test block's origins whose first target is later than all
        moments in `after`.
        """
        rows_by_series = {}
        last = np.datetime64(max(after, default=pd.Timestamp(0)))
        for series in self.panel.series:
            rows = origins_of(self.panel.task, split_series(series, self.borders), "test")
            rows_by_series[series.unique_id] = rows[series.ds[rows + 1] > last]
        return rows_by_series

    def mean_loss(self, table: pd.DataFrame, forecast: str) -> pd.Series:
        """Mean scaled absolute error of the column `forecast` of `table` (`_forecast_at`), over
        horizon, targets and series, indexed by the time of the origin.

        Unknown actuals are left out; a missing forecast is an infinite error.
        """
        scale = table["series"].map(self.scale)
        errors = ((table["y"] - table[forecast]).abs() / scale).fillna(np.inf)
        by_series = errors.groupby([table["cutoff"], table["unique_id"]]).mean()
        return by_series.groupby(level="cutoff").mean()


def _error_scales(panel: Panel, borders: Borders) -> dict[str, float]:
    """Series (`series_name`) → the error of the seasonal naive forecast over the train block, by
    which MASE scales errors too. Raises `DataError` for a series that is constant there.
    """
    targets = panel.task.targets
    season = panel.task.season_length
    scales = {}
    for series in panel.series:
        train = series.values[: split_series(series, borders).train[1]]
        for y, name in zip(train.T, targets, strict=False):
            scale = metrics.insample_scale(y, season_length=season)
            if not scale > 0:
                raise DataError(
                    f"Series {series.unique_id!r} is constant in training; its errors have no"
                    " scale."
                )
            scales[series_name(series.unique_id, name, targets)] = scale
    return scales


def fresh_losses(
    data: GateData,
    challenger: Ensemble,
    champion: Ensemble | None,
    seen_until: Sequence[pd.Timestamp],
) -> pd.DataFrame:
    """Mean scaled absolute errors (`GateData.mean_loss`) at the fresh origins.

    The columns are challenger, naive (the last value) and, if there is one, champion; the index is
    the cutoff. seen_until: the time of the last target that each model used in fitting, early
    stopping, tuning or calibration; an origin is fresh where its first target is later than all.
    """
    rows = data.fresh_rows(seen_until)
    table = _forecast_at(rows, challenger, data.panel)
    losses = {
        "challenger": data.mean_loss(table, "y_hat"),
        "naive": data.mean_loss(table, "last"),
    }
    if champion is not None:
        rival_table = _forecast_at(rows, champion, data.panel)
        losses["champion"] = data.mean_loss(rival_table, "y_hat")
    return pd.DataFrame(losses)


TASK_FIELDS = (
    "target",
    "past_exogenous",
    "future_exogenous",
    "holidays",
    "calendar_features",
    "time_zone",
    "static",
    "hierarchy",
    "horizon",
    "lookback",
    "calendar",
)
"""Fields of `Task` in which two models must agree for their losses to be compared."""


def has_same_task(champion: Ensemble, task: Task) -> bool:
    """Whether the champion's task is the configured one: the same columns, steps and lookback."""
    return all(getattr(champion.task, name) == getattr(task, name) for name in TASK_FIELDS)


class LedgerEntry(Record):
    """The losses of one pair of models at one origin."""

    origin: str
    """The cutoff of the forecasts, ISO 8601."""
    version: int
    """The champion's version."""
    config_hash: str
    """Digest of the configuration that the challenger follows."""
    champion: float
    """The champion's mean scaled absolute error."""
    challenger: float
    """The challenger's mean scaled absolute error."""
    at: str
    """When the entry was added."""


class Ledger(Record):
    """The losses of all pairs of models that a gate compared, each origin once; stored in
    `.forecast/retrain/<dataset>/ledger.json`.

    Which two models are compared at an origin is settled before its targets are known, so the
    losses stay valid evidence however often the gate looks at them.
    """

    remedy: ClassVar[str] = "Delete it: evidence is then gathered again."

    entries: list[LedgerEntry] = Field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """The ledger in `path`, empty where the file is missing.

        Raises `DamagedError` for a file that cannot be read.
        """
        try:
            return super().read(path)
        except FileNotFoundError:
            return cls()

    def add(
        self, losses: pd.DataFrame, *, version: int, config_hash: str, at: pd.Timestamp
    ) -> None:
        """Add the losses at origins later than all of this pair's entries, where both are finite.

        losses: columns champion and challenger, indexed by origin. Nothing is saved before `write`.
        """
        counted = [pd.Timestamp(entry.origin) for entry in self._entries_of(version, config_hash)]
        newest = max(counted, default=pd.Timestamp.min)
        is_finite = np.isfinite(losses[["champion", "challenger"]]).all(axis=1)
        for origin, row in losses[is_finite & (losses.index > newest)].iterrows():
            self.entries.append(
                LedgerEntry(
                    origin=pd.Timestamp(str(origin)).isoformat(),
                    version=version,
                    config_hash=config_hash,
                    champion=float(row["champion"]),
                    challenger=float(row["challenger"]),
                    at=at.isoformat(),
                )
            )

    def evidence(self, *, version: int, config_hash: str) -> PairEvidence | None:
        """The losses of one pair, or None where it has no entries.

        The pair's number counts the pairs that began in the year before it, itself included. Pairs
        with equal losses at every origin do not count: the gate tested nothing there.
        """
        entries = self._entries_of(version, config_hash)
        if not entries:
            return None
        first_look = entries[0].at
        n_earlier = self._count_pairs_before(version, config_hash, pd.Timestamp(first_look))
        return PairEvidence(
            champion=np.array([entry.champion for entry in entries]),
            challenger=np.array([entry.challenger for entry in entries]),
            pair_number=n_earlier + 1,
            n_first=sum(entry.at == first_look for entry in entries),
        )

    def _count_pairs_before(self, version: int, config_hash: str, moment: pd.Timestamp) -> int:
        """How many other pairs with different losses began in the year up to `moment`."""
        starts: dict[tuple[int, str], pd.Timestamp] = {}
        for entry in self.entries:
            if entry.champion != entry.challenger:
                starts.setdefault((entry.version, entry.config_hash), pd.Timestamp(entry.at))
        starts.pop((version, config_hash), None)
        return sum(moment - YEAR < start <= moment for start in starts.values())

    def _entries_of(self, version: int, config_hash: str) -> list[LedgerEntry]:
        return [e for e in self.entries if e.version == version and e.config_hash == config_hash]


MIN_VALUES = 20
"""The fewest independent values of which a distribution is compared."""
MIN_LIVE_ORIGINS = 8
"""The fewest unseen origins of a series that enter the champion's live error."""


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Population stability index: the sum of (q - p) ln(q / p) over the deciles of the reference
    (Siddiqi 2006).

    0 for equal shares; above 0.1 is called moderate, above 0.25 large. Empty bins count half an
    observation.
    """
    old = np.asarray(reference, dtype=float)
    edges = np.unique(np.quantile(old, np.linspace(0, 1, 11)[1:-1]))
    p = _bin_shares(old, edges)
    q = _bin_shares(np.asarray(current, dtype=float), edges)
    return float(np.sum((q - p) * np.log(q / p)))


def _bin_shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of `values` in each bin between the edges; an empty bin counts half a value."""
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return np.maximum(counts, 0.5) / counts.sum()


def measure_shifts(
    panel: Panel, card: ChampionCard, rules: Retraining, *, fresh_steps: int
) -> list[Shift]:
    """Drift of every column of every series between the training rows and the newest rows.

    fresh_steps: how many of the newest steps are compared; training rows among them do not count.
    Columns with fewer than `MIN_VALUES` values on either side are left out, and all steps but the
    first of an input known ahead.
    """
    shifts = []
    cutoff = np.datetime64(pd.Timestamp(card.training_cutoff))
    for series in panel.series:
        for channel, column in enumerate(panel.task.columns):
            if isinstance(column, FutureStep) and column.step > 1:
                continue
            season = panel.task.season_length
            change = _seasonal_changes(series.values[:, channel], column, season)
            is_train = series.ds <= cutoff
            is_new = ~is_train
            is_new[: max(len(series) - fresh_steps, 0)] = False
            # values a quarter of a season apart are nearly independent, and still many
            spacing = max(1, season // 4)
            old = change[is_train & np.isfinite(change)][::spacing]
            new = change[is_new & np.isfinite(change)][::spacing]
            if min(len(old), len(new)) < MIN_VALUES:
                continue
            size = psi(old, new)
            p = None
            if size >= rules.psi:
                from scipy.stats import ks_2samp  # loading it takes a third of a second

                p = float(ks_2samp(old, new).pvalue)
            drifted = p is not None and p < rules.ks_p
            what = f"{series.unique_id}: {column.frame_name}"
            shifts.append(Shift(what=what, psi=size, ks_p=p, drifted=drifted))
    return shifts


def measure_live_error(
    champion: Ensemble, card: ChampionCard, panel: Panel, rules: Retraining, *, fresh_steps: int
) -> Shift | None:
    """The champion's error at the newest origins that it has not seen, relative to its test error
    (`live_accuracy.error_over_expected`); its forecasts there are made here.

    It decides whether a retraining is due; `forecast status` instead scores issued forecasts. A
    mean that is no number counts as too high. Series without a test error, and those with fewer
    than `MIN_LIVE_ORIGINS` such origins, are left out; None where no series remains.
    """
    task = panel.task
    last_used = np.datetime64(pd.Timestamp(card.last_target_used))
    rows = {}
    for series in panel.series:
        if series_name(series.unique_id, task.targets[0], task.targets) not in card.expected:
            continue
        stop = len(series) - task.horizon
        last_seen = int(np.searchsorted(series.ds, last_used, side="right")) - 1
        first = max(last_seen, stop - fresh_steps, task.lookback - 1)
        origins = np.arange(first, stop, task.step_size)
        if len(origins) >= MIN_LIVE_ORIGINS:
            rows[series.unique_id] = origins
    if not rows:
        return None
    ratio = error_over_expected(_forecast_at(rows, champion, panel), card)
    if ratio is None:
        return None
    is_high = not ratio < rules.live_error
    return Shift(what="live error of the champion", live_error=ratio, drifted=is_high)


def _forecast_at(
    rows: Mapping[str, NDArray[np.int64]], ensemble: Ensemble, panel: Panel
) -> pd.DataFrame:
    """The ensemble's forecasts at the origins `rows`, where the actual is known.

    Columns as in `forecast_table`, and `series` and `last`, the last observed value.
    """
    with np.errstate(all="ignore"):
        forecasts_by_series = ensemble.predict(panel, rows)
    parts = []
    last = []
    for uid, y_hat in forecasts_by_series.items():
        parts.append(BlockForecasts("fresh", uid, rows[uid], y_hat))
        values = pd.DataFrame(panel.by_id[uid].values[:, : panel.outputs]).ffill().to_numpy()
        last.append(np.repeat(values[rows[uid]], panel.task.horizon, axis=0).ravel())
    table = forecast_table(panel, ensemble.scaling, parts, seed=0)
    return add_series_names(table.assign(last=np.concatenate(last))).dropna(subset=["y"])


def _seasonal_changes(
    values: NDArray[np.float64], column: TaskColumn, season_length: int
) -> NDArray[np.float64]:
    """The change of `values` over one season, (T,), in the units of the column's transform."""
    with np.errstate(invalid="ignore", divide="ignore"):
        units = pd.Series(TRANSFORMS[column.transform].to_model_units(values))
    return np.asarray(units.diff(season_length), dtype=np.float64)


@dataclass(frozen=True)
class DueDecision:
    """Whether a challenger is due, and whether the champion is ageing."""

    reasons: tuple[str, ...]
    """Why a challenger is due; empty where it is not."""
    ageing_reason: str
    """Why the champion is stale or drifting; empty where it is neither. An ageing champion may be
    replaced by an equivalent challenger or by its own recipe.
    """
    age_days: float | None = None
    """The champion's age; None without a champion."""


def judge_due(
    card: ChampionCard | None,
    shifts: list[Shift],
    dataset: Dataset,
    rules: Retraining,
    *,
    as_of: pd.Timestamp,
    now: pd.Timestamp,
    new_steps: int,
) -> DueDecision:
    """Judge by age, drift and new rows whether a challenger is due.

    It is due without a champion; with any new step where the champion is stale or drifting; and
    with `rules.new_steps` new steps (default: a horizon) in any case.

    as_of: when the newest row became known; the champion's age is measured up to then, or up to
    `now` where rows have no dates.
    """
    if card is None:
        return DueDecision(("there is no champion",), "")
    counts_rows = dataset.calendar.counts_rows
    age = card.age(now if counts_rows else as_of, counts_rows=counts_rows)
    # not below 0: a card's `as_of` may be the moment of a fetch, later than the newest row
    age_days = max(0.0, age / DAY)
    ageing_reasons = []
    if age_days >= rules.max_age_days:
        ageing_reasons.append(
            f"stale ({plural(age_days, 'day')} old, {rules.max_age_days:g} allowed)"
        )
    drifted = [shift.what for shift in shifts if shift.drifted]
    if drifted:
        ageing_reasons.append(f"drifting ({list_first(drifted, 3, str)})")
    reasons = list(ageing_reasons) if new_steps > 0 else []
    wanted_steps = rules.new_steps or dataset.horizon
    if new_steps >= wanted_steps:
        reasons.append(f"{new_steps} new steps ({wanted_steps} wanted)")
    return DueDecision(tuple(reasons), " and ".join(ageing_reasons), round(age_days, 3))
