"""What a retraining looks at: which origins are fresh, what each model lost on them, the ledger in
which every origin is counted once; and is a dataset due for a challenger, is its champion ageing:
by age, new rows and drift.

Drift: have the data, or the champion's errors, moved away from what the champion was trained on?
Distributions are compared on changes over one season (in the transformed scale): the level of a
July differs from the year's without any drift, and a price's level always does. The population
stability index says how large the shift is, the Kolmogorov-Smirnov test whether so few independent
values can tell; both must agree. The live error needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from forecast.comparison import metrics
from forecast.config.datasets import Dataset, FractionSplits
from forecast.config.operation import Retraining
from forecast.config.paths import ProjectPaths
from forecast.config.task import FutureStep, Task, TaskColumn
from forecast.data.panel import Panel, Series, from_frame, series_name
from forecast.data.splits import Borders, cut, origins_of
from forecast.forecaster.ensemble import Ensemble
from forecast.forecaster.intervals import RAW, SCALES
from forecast.operations.champion import ChampionCard
from forecast.operations.gate import PairEvidence
from forecast.system import files
from forecast.system.errors import DataError, ForecastError

YEAR = pd.Timedelta(365, "D")


def gate_splits(ds: pd.Series, name: str, dataset: Dataset, *, fresh_steps: int) -> dict[str, Any]:
    """`splits` for data at the times `ds`: the newest `fresh_steps` origins for the gate, before
    them calibration and validation as long as they are configured, everything earlier for training.

    Blocks end with a day; those of rows without dates are shares. `DataError` when too little is
    left to train on.
    """
    steps = pd.DatetimeIndex(np.unique(ds.to_numpy()))
    first = max(len(steps) - (fresh_steps + dataset.horizon - 1), 0)
    rows = dataset.calendar.kind == "index"
    unit = pd.Timedelta(1, "min" if rows else "D")
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
    if rows:
        sizes = np.diff([0, *reversed(stops)]) / len(steps)
        return dict(zip(("train", "validation", "calibration"), sizes.tolist(), strict=False))
    names = ("test_end", "calibration_end", "validation_end", "train_end")
    return {key: f"{end:%Y-%m-%d}" for key, end in reversed(list(zip(names, ends, strict=True)))}


def _lengths(dataset: Dataset, steps: pd.DatetimeIndex) -> tuple[pd.Timedelta, pd.Timedelta]:
    """How long calibration and validation are: as many days as configured, or the shares of what
    there is.
    """
    splits = dataset.splits
    if isinstance(splits, FractionSplits):
        span = steps[-1] - steps[0]
        return splits.calibration * span, splits.validation * span
    ends = [
        pd.Timestamp(day)
        for day in (splits.train_end, splits.validation_end, splits.calibration_end)
    ]
    return ends[2] - ends[1], ends[1] - ends[0]


@dataclass(frozen=True)
class GateData:
    """The prepared data of one gate. `scale`: per series and target what errors are divided by."""

    panel: Panel
    borders: Borders
    scale: Mapping[tuple[str, int], float]

    @classmethod
    def read(cls, project: Path, name: str, task: Task) -> GateData:
        """What stage `prepare` wrote below `project`."""
        paths = ProjectPaths.of(project)
        panel = from_frame(files.read_frame(paths.frame(name)), name, task)
        borders = Borders.from_json(files.read_json(paths.borders(name)))
        return cls(panel, borders, _error_scales(panel, borders))

    def fresh_rows(self, after: Sequence[pd.Timestamp]) -> dict[str, np.ndarray]:
        """Per series the origins of the test block whose first target lies after every moment of
        `after`.
        """
        found = {}
        last = max(after, default=pd.Timestamp(0))
        for series in self.panel.series:
            rows = origins_of(self.panel.task, cut(series, self.borders), "test")
            found[series.unique_id] = (
                rows[series.ds[rows + 1] > np.datetime64(last)] if len(rows) else rows
            )
        return found

    def model_loss(self, ensemble: Ensemble, rows: Mapping[str, np.ndarray]) -> pd.Series:
        """Mean scaled absolute error over horizon, targets and series at each origin, indexed by
        its time.

        An unknown actual is left out; what a model cannot forecast is NaN, never left out.
        """
        with np.errstate(all="ignore"):
            forecasts = ensemble.predict(self.panel, rows)
        return self._mean_loss(forecasts, rows)

    def naive_loss(self, rows: Mapping[str, np.ndarray]) -> pd.Series:
        """The same of repeating the last observed value."""
        horizon, outputs = self.panel.task.horizon, self.panel.outputs
        forecasts = {}
        for uid, at in rows.items():
            known = pd.DataFrame(self.panel.by_id[uid].values[:, :outputs]).ffill().to_numpy()
            forecasts[uid] = np.repeat(known[at][:, None, :], horizon, axis=1)
        return self._mean_loss(forecasts, rows)

    def _mean_loss(
        self, forecasts: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
    ) -> pd.Series:
        parts = []
        for uid, at in rows.items():
            series = self.panel.by_id[uid]
            ahead = at[:, None] + np.arange(1, self.panel.task.horizon + 1)
            actual = series.values[ahead, : self.panel.outputs]
            scale = np.array([self.scale[uid, output] for output in range(self.panel.outputs)])
            error = np.where(np.isfinite(actual), np.abs(actual - forecasts[uid]) / scale, 0.0).sum(
                axis=(1, 2)
            )
            count = np.isfinite(actual).sum(axis=(1, 2))
            known = count > 0
            parts.append(pd.Series(error[known] / count[known], index=series.ds[at[known]]))
        return (
            pd.concat(parts)
            .groupby(level=0)
            .agg(lambda values: values.mean(skipna=False))
            .sort_index()
        )


def _error_scales(panel: Panel, borders: Borders) -> dict[tuple[str, int], float]:
    found = {}
    for series in panel.series:
        train = series.values[: cut(series, borders).train[1]]
        for output in range(panel.outputs):
            scale = metrics.insample_scale(train[:, output], season_length=panel.task.season_length)
            if not scale > 0:
                raise DataError(
                    f"Series {series.unique_id!r} is constant in training; its errors have no"
                    " scale."
                )
            found[series.unique_id, output] = float(scale)
    return found


def fresh_losses(
    case: GateData, challenger: Ensemble, champion: Ensemble | None, seen: Sequence[pd.Timestamp]
) -> pd.DataFrame:
    """Losses on the fresh origins: index cutoff, columns challenger, naive and, if there is one,
    champion.

    `seen`: the last target that each model used in fitting, early stopping, tuning or calibration.
    """
    rows = case.fresh_rows(seen)
    own = {} if champion is None else {"champion": case.model_loss(champion, rows)}
    return pd.DataFrame(
        {"challenger": case.model_loss(challenger, rows), "naive": case.naive_loss(rows), **own}
    )


def has_same_task(champion: Ensemble, task: Task) -> bool:
    """Whether the champion forecasts what the configuration asks for now: the same columns, steps
    and lookback.
    """
    same = (
        "target",
        "past_exogenous",
        "future_exogenous",
        "calendar_features",
        "horizon",
        "lookback",
        "calendar",
    )
    return all(getattr(champion.task, name) == getattr(task, name) for name in same)


class Ledger:
    """Every origin that a gate has counted, once: `.forecast/retrain/<dataset>/ledger.json`.

    A row is (origin, champion version, recipe, losses of both, when). Which model stood against
    which at an origin was settled before its targets were known, so the differences are evidence
    however often they are looked at.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        if path.exists():
            try:
                self.entries = files.read_json(path)["rows"]
            except (ValueError, KeyError, TypeError):
                raise ForecastError(
                    f"{path}: cannot be read. Delete it: evidence is then gathered anew."
                ) from None

    def add(self, losses: pd.DataFrame, *, version: int, recipe: str, at: pd.Timestamp) -> None:
        """Count the origins of `losses` that are newer than any this pair has counted."""
        own = self._entries_of(version, recipe)
        last = max((pd.Timestamp(row["origin"]) for row in own), default=pd.Timestamp.min)
        pair = {"version": version, "recipe": recipe, "at": at.isoformat()}
        finite = losses[np.isfinite(losses[["champion", "challenger"]]).all(axis=1)]
        for origin, row in finite[finite.index > last].iterrows():
            both = {"champion": float(row["champion"]), "challenger": float(row["challenger"])}
            self.entries.append({"origin": pd.Timestamp(str(origin)).isoformat(), **both, **pair})

    def evidence(self, *, version: int, recipe: str) -> PairEvidence | None:
        """What one pair has gathered, None when nothing.

        `test` counts the pairs begun in the year before it began, itself included; two models that
        lost the same at every origin were never told apart, so they are no test.
        """
        own = self._entries_of(version, recipe)
        if not own:
            return None
        begun: dict[tuple[int, str], pd.Timestamp] = {}
        for row in self.entries:
            if row["champion"] != row["challenger"]:
                begun.setdefault((row["version"], row["recipe"]), pd.Timestamp(row["at"]))
        mine = pd.Timestamp(own[0]["at"])
        test = (
            sum(
                1
                for pair, at in begun.items()
                if mine - YEAR < at <= mine and pair != (version, recipe)
            )
            + 1
        )
        first = sum(1 for row in own if row["at"] == own[0]["at"])
        champion, challenger = (
            np.array([row[name] for row in own]) for name in ("champion", "challenger")
        )
        return PairEvidence(champion, challenger, pair_number=test, n_first=first)

    def save(self) -> None:
        files.write_json(self.path, {"rows": self.entries})

    def _entries_of(self, version: int, recipe: str) -> list[dict[str, Any]]:
        return [
            row for row in self.entries if row["version"] == version and row["recipe"] == recipe
        ]


BINS = 10
MIN_VALUES = 20
"""Independent values below which a distribution is not compared."""


@dataclass(frozen=True)
class Shift:
    """One column of one series, or the champion's error: what was measured and whether it counts as
    drift.
    """

    what: str
    psi: float | None = None
    ks_p: float | None = None
    live_error: float | None = None
    drifted: bool = False


def psi(reference: ArrayLike, current: ArrayLike, *, bins: int = BINS) -> float:
    """Population stability index: sum of (q - p) ln(q / p) over the deciles of the reference
    (Siddiqi 2006).

    0 for equal shares; above 0.1 is called moderate, above 0.25 large. Empty bins count half an
    observation.
    """
    old, new = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    edges = np.unique(np.quantile(old, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
        for values in (old, new)
    ]
    p, q = (np.maximum(count, 0.5) / count.sum() for count in counts)
    return float(np.sum((q - p) * np.log(q / p)))


def measure_shifts(
    panel: Panel, meta: ChampionCard, rules: Retraining, *, recent_steps: int
) -> list[Shift]:
    """Every column of every series: what came after the champion's training against the training
    rows.

    `recent_steps`: how many of the newest steps are looked at; none of them may be a training row.
    """
    found = []
    cutoff = np.datetime64(pd.Timestamp(meta.training_cutoff))
    for series in panel.series:
        for channel, column in enumerate(panel.task.columns):
            if isinstance(column, FutureStep) and column.step > 1:
                continue
            old, new = _seasonal_changes(
                series, channel, column, panel.task.season_length, cutoff, recent_steps
            )
            if min(len(old), len(new)) >= MIN_VALUES:
                size, p = psi(old, new), float(stats.ks_2samp(old, new).pvalue)
                drifted = size >= rules.psi and p < rules.ks_p
                found.append(
                    Shift(
                        f"{series.unique_id}: {column.frame_name}",
                        psi=size,
                        ks_p=p,
                        drifted=drifted,
                    )
                )
    return found


def measure_live_error(
    champion: Ensemble, meta: ChampionCard, panel: Panel, rules: Retraining, *, recent_steps: int
) -> Shift | None:
    """The champion's error on the newest origins after everything it has seen, over what its test
    block promised.

    The mean over series and steps of MAE / expected MAE; None where it has seen all, or too few
    origins are left.
    """
    horizon, step_size = panel.task.horizon, panel.task.step_size
    rows = {}
    for series in panel.series:
        seen = int(
            np.searchsorted(
                series.ds, np.datetime64(pd.Timestamp(meta.last_target_used)), side="right"
            )
        )
        first = max(seen - 1, len(series) - horizon - recent_steps, panel.task.lookback - 1)
        rows[series.unique_id] = np.arange(first, len(series) - horizon, step_size)
    if min(map(len, rows.values())) < 8 or not meta.expected:
        return None
    ratios = _error_ratios(champion, meta.expected, panel, rows)
    if not ratios:
        return None
    ratio = float(np.mean(ratios))
    return Shift(
        "live error of the champion", live_error=ratio, drifted=not ratio < rules.live_error
    )


def _error_ratios(
    champion: Ensemble,
    expected: Mapping[str, list[float | None]],
    panel: Panel,
    rows: Mapping[str, NDArray[np.int64]],
) -> list[float]:
    names = panel.task.targets
    found = []
    for uid, values in champion.predict(panel, rows).items():
        ahead = rows[uid][:, None] + np.arange(1, panel.task.horizon + 1)
        for output, name in enumerate(names):
            actual = panel.by_id[uid].values[ahead, output]
            promised = expected.get(series_name(uid, name, names))
            if (
                promised is None
                or len(promised) != panel.task.horizon
                or not np.isfinite(actual).any()
            ):
                continue
            wanted = np.array([np.nan if value is None else value for value in promised])
            with np.errstate(invalid="ignore", divide="ignore"):
                error = np.nanmean(np.abs(actual - values[:, :, output]), axis=0) / wanted
            found.append(float(np.nanmean(error)))
    return found


def _seasonal_changes(
    series: Series,
    channel: int,
    column: TaskColumn,
    season_length: int,
    cutoff: np.datetime64,
    recent: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Changes over one season in training and in the newest rows, a season apart: neighbours share
    their hours.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        values = pd.Series(SCALES.get(column.transform, RAW)[0](series.values[:, channel]))
    change = np.asarray(values.diff(season_length), dtype=np.float64)
    train = series.ds <= cutoff
    newest = np.arange(len(change)) >= len(change) - recent
    parts = [change[train], change[newest & ~train]]
    # a quarter of a season apart: near enough to independence, and enough values
    step = max(1, season_length // 4)
    old, new = (part[np.isfinite(part)][::step] for part in parts)
    return old, new


@dataclass(frozen=True)
class DueDecision:
    """`reasons`: why a challenger is made, empty when it is not; `ageing`: why an equivalent one
    may take over.
    """

    reasons: tuple[str, ...]
    ageing: str
    numbers: dict[str, Any]


def judge_due(
    meta: ChampionCard | None,
    shifts: list[Shift],
    dataset: Dataset,
    rules: Retraining,
    *,
    as_of: pd.Timestamp,
    now: pd.Timestamp,
    new_steps: int,
) -> DueDecision:
    """Age by the data, which reach to `as_of`, or by the clock where rows have no dates; drift;
    steps since a gate.
    """
    if meta is None:
        return DueDecision(("there is no champion",), "", {"new_steps": new_steps})
    # Not below 0: `meta` counts to the end of its last day, the data to the begin of their last
    # step.
    began, known = (
        (meta.created_at, now) if dataset.calendar.kind == "index" else (meta.as_of, as_of)
    )
    age = max(0.0, (known - pd.Timestamp(began)) / pd.Timedelta(1, "D"))
    ageing = []
    if age >= rules.max_age_days:
        ageing.append(f"stale ({age:.0f} days old, {rules.max_age_days:g} allowed)")
    drifted = [shift.what for shift in shifts if shift.drifted]
    if drifted:
        ageing.append(f"drifting ({', '.join(drifted[:3])}{', ...' if len(drifted) > 3 else ''})")
    reasons = list(ageing) if new_steps > 0 else []
    wanted = rules.new_steps or dataset.horizon
    if new_steps >= wanted:
        reasons.append(f"{new_steps} new steps ({wanted} wanted)")
    return DueDecision(
        tuple(reasons), " and ".join(ageing), {"age_days": round(age, 3), "new_steps": new_steps}
    )
