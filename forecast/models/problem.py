"""`Problem`, the data of a fit; `Parameters`, its result; and `FittedForecaster`, what a fitted
model offers its spec.

A problem is a dataset prepared for any model: panel, blocks, scaling and cutoffs, computed once and
shared. It gives windows and targets by block (`windows`, `targets`, `examples`), the folds of
cross-validation (`folds`, `sample_validation_windows`), and the fitted skips (`skip`), which all
seeds and trials share. The scaling is fitted on the train rows and stays in every problem made from
this one: `joined` (train and validation as train), `with_rows` (rows up to a refit), `with_series`.

Every train row with a target counts alike. A weight for each row (by age, by season) would have to
enter each kind of fit by itself: the sums of linear maps (`skip.products_matrix`, `choice`,
`long_windows`), the pairs of `families.sklearn`, and the sample weights of networks
(`forecaster.fitting.build_training_series`, where they are 0 or 1); statistical models take a
series as it is.

The leak audit can set a recorder (`record_with`), which is told the rows of all targets that a fit
asks for, the folds of cross-validation, and what intervals are calibrated on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecast.config.task import Task
from forecast.data import splits
from forecast.data.panel import Panel, Series
from forecast.data.scaling import Scaling
from forecast.data.splits import Blocks, Borders
from forecast.data.windows import (
    MAX_BATCH,
    Layout,
    Windows,
    count_windows_within,
    fill_gaps,
    first_cutoff,
    layout,
    target_windows,
    task_windows,
)
from forecast.models.choice import FoldBatch, Folds, SumsByLearners, choose_linear_shape
from forecast.models.long_windows import LongWindows, suits_long_windows
from forecast.models.series_fit import SeriesFit
from forecast.models.skip import (
    PROFILE_HARMONICS,
    Carry,
    Skip,
    SkipKind,
    calendar_harmonics,
    design_of,
    fit_linear_map,
    levels_of,
    products_matrix,
)
from forecast.system import files

Purpose = Literal["skip", "training"]
"""What asks for targets: a closed-form fit, or the training and validation loss of another model.
"""
LEVEL_SEASONS = 20
"""The least number of seasons in the train rows for a range of seasonal levels; with fewer the next
level lies outside of the range as often as not.
"""
MAX_VALIDATION_CUTOFFS = 4096
"""The most cutoffs over all series that score a network while it trains, or choose a linear map; of
more a random sample is taken.
"""
MAX_VALIDATION_ROWS = 2**20
"""The most rows of all windows that score a network: 4,096 windows of a day of minutes would cost
as much as 600 gradient steps, every 25 steps (docs/research/seconds.md).
"""
VALIDATION_FOLDS = 5
"""Folds of the validation block; each is forecast with what was chosen on the others. Networks
choose their best step by them, combinations their members and weights (`backtest.combinations`).
"""
HISTORY_FOLDS = 5
"""Folds of the history, on which a linear map is chosen."""
MIN_SCORED_CUTOFFS = 1000
"""Where fewer origins choose a linear map, and its horizon is shorter than the step size, cutoffs
between the origins are scored too, so that every target is scored.
"""
WINDOWS_PER_BATCH = 256
"""Windows of several short blocks that go through a model at once."""
MIN_WEEKDAY_SPAN = np.timedelta64(14, "D")
"""A profile has weekdays where the train rows span at least this time: the effect of a weekday that
was seen once is the error of that day (docs/research/linear-part.md).
"""
MAX_PLAN_LEVELS = 10
"""A known-future input with at most so many values, such as depths of a promotion, has one slope.
"""
MAX_KEPT_SUMS_BYTES = 2**26
"""Sums of a linear map of at most so many bytes are kept for the next refit."""
MIN_REGULAR_SHARE = 0.9
"""`LongWindows` saves time only where at least this share of the cutoffs is regular."""
CHOICE_TIMEOUT = 3600.0
"""Seconds to wait for another process that chooses the same shape; a choice takes a few."""
Examples = Callable[[], Iterable[tuple[Windows, np.ndarray]]]
"""A function that yields batches of windows and their scaled targets (B, H, O); called once per
pass over the data.
"""
TargetTransform = Callable[[Windows, np.ndarray], np.ndarray]
"""From windows and their scaled targets (B, H, O) to the targets (B, H, O) of a linear map."""


class Recorder(Protocol):
    """An object that is told what fits are given, while it is set with `record_with`."""

    def targets_given(self, purpose: Purpose, length: int, last: int) -> None:
        """A fit asked for targets up to row `last` of a series of `length` rows."""

    def folds_given(
        self, purpose: Purpose, rows: np.ndarray, is_learnt_by: np.ndarray, fold: np.ndarray
    ) -> None:
        """A fit asked for a cross-validation over the cutoffs `rows` (n,) of one series.
        is_learnt_by (folds, n): which of them each fold learns from; fold (n,): in which fold each
        is scored, or -1.
        """

    def calibration_given(self, y: np.ndarray, y_hat: np.ndarray) -> None:
        """A conformal fit got these actuals and forecasts (n, H)."""


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def record_with(recorder: Recorder) -> Iterator[None]:
    """A context in which every problem that is made, and every interval that is calibrated in this
    process, tells `recorder`.
    """
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def record_calibration(y: ArrayLike, y_hat: ArrayLike) -> None:
    """Tell the recorder, if one is set, the actuals and forecasts (n, H) of a conformal fit."""
    recorder = _recorder.get()
    if recorder is not None:
        recorder.calibration_given(np.array(y, dtype=float), np.array(y_hat, dtype=float))


class TrainSums(NamedTuple):
    """A sum over train cutoffs, which a fit on more rows can continue."""

    cutoffs: dict[str, range]
    """The cutoffs of each series that has any."""
    sums: np.ndarray

    def is_part_of(self, cutoffs: Mapping[str, range]) -> bool:
        """Whether `cutoffs` begin with the cutoffs of this sum, in every series."""
        return all(
            cutoffs.get(uid, range(0))[: len(span)] == span for uid, span in self.cutoffs.items()
        )


@dataclass
class Problem:
    """A dataset prepared for a fit, see the module. Everything is fitted on the train rows of
    `blocks`; linear skips choose their shape on train and validation rows.
    """

    panel: Panel
    borders: Borders
    blocks: dict[str, Blocks]
    """The blocks of each series."""
    scaling: Scaling
    channels: Layout
    vintages: pd.DataFrame | None = None
    """The provider's own forecasts at each cutoff (`data.vintages.forecasts_by_cutoff`), where a
    model reads them.
    """
    chosen_by: Problem | None = None
    """The problem whose choices (shapes of linear maps) are used here; None: choose anew."""
    shapes: Path | None = None
    """Folder in which processes share the chosen shapes of linear maps, by a digest of the rows;
    None: not shared.
    """
    recorder: Recorder | None = field(default_factory=_recorder.get, repr=False)
    _scaled: dict[str, np.ndarray] = field(default_factory=dict)
    training: dict[tuple[SkipKind, int], Any] = field(default_factory=dict, init=False, repr=False)
    """A cache of the training series of networks, by skip and horizon (`forecaster.fitting`). All
    seeds and trials use the same.
    """
    _skips: dict[tuple[SkipKind, int], Skip] = field(default_factory=dict, init=False, repr=False)
    _skips_by_rows: dict[Any, dict[tuple[SkipKind, int], Skip]] = field(
        default_factory=dict, init=False, repr=False
    )
    _train_sums: dict[Hashable, list[TrainSums]] = field(
        default_factory=dict, init=False, repr=False
    )
    """By key, the sums over the fewest train rows and over the newest ones; shared by this problem
    and those made from it (`sum_train`).
    """

    @classmethod
    def of(cls, panel: Panel, borders: Borders, needed: tuple[str, ...] = splits.BLOCKS) -> Problem:
        """The problem of a dataset: split into blocks, with the scaling fitted on train rows."""
        blocks = splits.split_panel(panel, borders, needed)
        return cls(panel, borders, blocks, Scaling.fit(panel, blocks), layout(panel.task))

    @cached_property
    def joined(self) -> Problem:
        """This problem with train and validation as one train block, the same scaling and the
        choices made here; itself where it has the choices of another problem already.
        """
        if self.chosen_by is not None:
            return self
        blocks = {uid: cut.with_validation_in_train() for uid, cut in self.blocks.items()}
        joined = replace(self, blocks=blocks, chosen_by=self)
        joined._train_sums = self._train_sums
        return joined

    def with_rows(self, panel: Panel, blocks: dict[str, Blocks], key: Any) -> Problem:
        """This problem with the first rows of every series, the same scaling and the choices made
        here. Fitted skips are cached by `key`, which stands for these rows.
        """
        scaled = {uid: self.scaled(uid)[: len(series)] for uid, series in panel.by_id.items()}
        other = replace(self, panel=panel, blocks=blocks, chosen_by=self, _scaled=scaled)
        other._skips = self._skips_by_rows.setdefault(key, {})
        other._train_sums = self._train_sums
        return other

    def with_series(self, series: slice | None) -> Problem:
        """This problem with some of the series (None: all), scaled as they are here."""
        if series is None:
            return self
        panel = replace(self.panel, series=self.panel.series[series])
        # a model of a part saves the scaling of its own series: that of all would be saved by every
        # part, whose number grows with the series
        return replace(
            self,
            panel=panel,
            blocks={uid: self.blocks[uid] for uid in panel.by_id},
            scaling=self.scaling.of_series(panel.by_id),
        )

    def scaled(self, unique_id: str) -> np.ndarray:
        """The scaled values (T, C) of one series, NaN where not observed; cached."""
        if unique_id not in self._scaled:
            self._scaled[unique_id] = self.scaling.scale_series(
                self.panel.by_id[unique_id], self.panel.task
            )
        return self._scaled[unique_id]

    def rows(self, unique_id: str, block: str) -> np.ndarray:
        """The cutoffs of a block: every row in train, one per step size in other blocks."""
        return splits.origins_of(self.panel.task, self.blocks[unique_id], block)

    def windows(
        self, unique_id: str, rows: np.ndarray, *, horizon: int | None = None
    ) -> Iterator[Windows]:
        """The windows of one series that end at `rows`, in batches."""
        future = self.panel.by_id[unique_id].future
        return task_windows(
            self.panel.task,
            self.scaled(unique_id),
            future,
            rows,
            unique_id=unique_id,
            horizon=horizon,
        )

    def targets(
        self, unique_id: str, rows: np.ndarray, *, horizon: int, purpose: Purpose = "training"
    ) -> np.ndarray:
        """The scaled targets (n, horizon, O) after `rows` (n,) of one series; NaN where not
        observed.
        """
        z = self.scaled(unique_id)
        self.record_targets(unique_id, rows, horizon, purpose)
        return target_windows(z, rows, horizon=horizon, outputs=self.panel.outputs)

    def record_targets(
        self, unique_id: str, rows: np.ndarray, horizon: int, purpose: Purpose
    ) -> None:
        """Tell the recorder that a fit is given the targets after `rows` of one series."""
        if self.recorder is not None and len(rows):
            length = len(self.panel.by_id[unique_id])
            self.recorder.targets_given(purpose, length, int(rows.max()) + horizon)

    def long_windows(
        self, shape: Skip, cutoffs: Mapping[str, np.ndarray]
    ) -> dict[str, LongWindows]:
        """The `LongWindows` of the series for which they save time. cutoffs: by series."""
        result = {}
        for uid, rows in cutoffs.items():
            if uid not in shape.unused_series and suits_long_windows(
                shape, self.channels, len(rows)
            ):
                future = self.panel.by_id[uid].future
                windows = LongWindows(
                    shape, self.channels, first_cutoff(self.panel.task), self.scaled(uid), future
                )
                if windows.is_regular[rows].mean() > MIN_REGULAR_SHARE:
                    result[uid] = windows
        return result

    def examples(
        self,
        block: str,
        horizon: int,
        *,
        purpose: Purpose = "training",
        cutoffs: Mapping[str, np.ndarray] | None = None,
    ) -> Examples:
        """A function that yields batches of windows and their scaled targets (B, horizon, O) over
        all series. cutoffs: by series, the wanted rows of the block; None: all.
        """

        def iterate_batches() -> Iterator[tuple[Windows, np.ndarray]]:
            for series in self.panel.series:
                uid = series.unique_id
                rows = self.rows(uid, block) if cutoffs is None else cutoffs[uid]
                for windows in self.windows(uid, rows, horizon=horizon):
                    target = self.targets(uid, windows.rows, horizon=horizon, purpose=purpose)
                    yield windows, target

        return iterate_batches

    def folds(self, horizon: int, transform_target: TargetTransform | None = None) -> Folds:
        """The train and validation cutoffs in contiguous folds of time. A fold is scored on its own
        cutoffs and learns from those whose lookback and horizon do not touch them. Where there are
        too few rows, the only fold learns from train and is scored on validation.
        """
        return _HistoryFolds(self, horizon, transform_target, self._fold_rows(horizon))

    def _fold_rows(self, horizon: int) -> dict[str, _FoldRows]:
        """The folds of each series, which are cut at the same times. horizon: that of the linear
        map that is chosen on them.
        """
        task = self.panel.task
        rows_by_series = {
            uid: splits.origins_of(task, blocks.with_validation_in_train(), "train")
            for uid, blocks in self.blocks.items()
        }
        all_times = np.unique(
            np.concatenate([self.panel.by_id[uid].ds[rows] for uid, rows in rows_by_series.items()])
        )
        has_folds = len(all_times) >= HISTORY_FOLDS * task.rows_per_origin
        n_cutoffs = sum(len(rows) for rows in rows_by_series.values())
        spacing = min(task.step_size, max(horizon, n_cutoffs // MIN_SCORED_CUTOFFS))
        result = {}
        for uid, rows in rows_by_series.items():
            series = self.panel.by_id[uid]
            # the first cutoff of the validation block: the row before its first target
            starts = series.ds[[self.blocks[uid].validation[0] - 1]]
            if has_folds:
                starts = _part_starts(all_times, HISTORY_FOLDS)
            is_learnt_by = _outside_folds(series, rows, starts, task.horizon, task.rows_per_origin)
            fold = np.searchsorted(starts, series.ds[rows], side="right") - 1
            first = np.argmax(fold >= 0)  # so that at least one cutoff of a short block is scored
            fold[(np.arange(len(rows)) - first) % spacing > 0] = -1
            if self.recorder is not None:
                self.recorder.folds_given("skip", rows, is_learnt_by, fold)
            result[uid] = _FoldRows(rows, is_learnt_by, fold)
        return result

    def skip(self, kind: SkipKind, horizon: int) -> Skip:
        """The fitted skip of this kind and horizon; cached, since no network changes it."""
        if (kind, horizon) not in self._skips:
            task = self.panel.task
            skip = Skip(kind, horizon, self.panel.outputs, task.season_length)
            if kind == "linear":
                chosen = self.chosen_by.skip("linear", horizon) if self.chosen_by else None
                skip = self.fit_linear_skip(horizon, chosen)
            if horizon < task.horizon and (task.past_exogenous or task.future_exogenous):
                # one carry serves skips of all kinds
                carry = self._fit_carry() if kind == "last" else self.skip("last", horizon).carry
                skip = replace(skip, carry=carry)
            self._skips[kind, horizon] = skip
        return self._skips[kind, horizon]

    def fit_linear_skip(
        self,
        horizon: int,
        chosen: Skip | None = None,
        transform_target: TargetTransform | None = None,
    ) -> Skip:
        """The linear skip, fitted on the train rows: of the shape `chosen`, or of a shape that is
        chosen here. transform_target: makes the targets of the fit; None: as they are.
        """
        shape = chosen or self._shared_shape(horizon, transform_target)

        def products(windows: Windows, target: np.ndarray) -> np.ndarray:
            if transform_target is not None:
                target = transform_target(windows, target)
            x, y, is_known = design_of(shape, windows, target, self.channels)
            return products_matrix(x[is_known], y[is_known])

        key = None if transform_target is not None else (shape, shape.unused_series)
        cutoffs = (
            {} if transform_target else {uid: self.rows(uid, "train") for uid in self.panel.by_id}
        )
        long = self.long_windows(shape, cutoffs)
        sums = self.sum_train(products, horizon, key, purpose="skip", long=long)
        fitted = fit_linear_map(sums, self.channels, shape)
        # not for a one-step map, whose closed loop diverges without its level, nor a correction
        if transform_target is None and shape.reads_level and horizon == self.panel.task.horizon:
            fitted = replace(fitted, level_ranges=self.level_ranges())
        return fitted

    def level_ranges(self) -> dict[str, list[list[float]]]:
        """By series, for each target: the lowest, mean and highest level of the scaled train rows,
        and the number of rows that make a level (`levels_of`). These are the rows of a season, or a
        single row where the shortest series has fewer than `LEVEL_SEASONS` seasons or the lookback
        is shorter. A series without any value of a target is left out.
        """
        ranges = {}
        task = self.panel.task
        fewest = min(blocks.train[1] - blocks.train[0] for blocks in self.blocks.values())
        longest = min(fewest // LEVEL_SEASONS, first_cutoff(task) + 1)  # no season beyond a window
        rows = task.season_length if task.season_length <= longest else 1
        for uid, blocks in self.blocks.items():
            targets = self.scaled(uid)[slice(*blocks.train), : self.panel.outputs]
            if np.isfinite(targets).any(axis=0).all():
                levels = levels_of(fill_gaps(targets[None])[0][0], rows).T
                ranges[uid] = [[each.min(), each.mean(), each.max(), rows] for each in levels]
        return ranges

    def joint_level_ranges(self) -> np.ndarray:
        """(O, 4): the lowest, mean and highest level over all series, and the rows of a level."""
        ranges = np.array([*self.level_ranges().values()])
        joint = ranges.mean(axis=0)  # the rows of a level are the same in all series
        joint[:, 0] = ranges[..., 0].min(axis=0)
        joint[:, 2] = ranges[..., 2].max(axis=0)
        return joint

    def _shared_shape(self, horizon: int, transform_target: TargetTransform | None) -> Skip:
        """The shape of `_choose_shape`, read from the folder `shapes` where another process has
        chosen it on the same rows, because choosing takes seconds. Without this folder, with a
        recorder, or with transformed targets, it is always chosen anew.
        """
        if self.shapes is None or self.recorder is not None or transform_target is not None:
            return self._choose_shape(horizon, transform_target)
        path = self.shapes / f"{self._chosen_rows_digest(horizon)}.json"
        purpose = "Choosing the shape of a linear map"
        # so that workers that begin at the same time do not all make the same choice
        with files.hold_lock(path.with_suffix(".lock"), purpose=purpose, timeout=CHOICE_TIMEOUT):
            stored = files.read_note(path)
            if stored:
                return Skip.from_saved(stored, {})
            shape = self._choose_shape(horizon, None)
            files.write_json(path, shape.to_json())
        return shape

    def _chosen_rows_digest(self, horizon: int) -> str:
        """The digest of everything that a choice of a linear map for `horizon` steps depends on:
        the task, and the scaled train and validation rows.
        """
        digest = hashlib.sha256(f"{horizon} {self.panel.task!r}".encode())
        for series in self.panel.series:
            uid = series.unique_id
            blocks = self.blocks[uid]
            digest.update(f"{uid} {blocks.train} {blocks.validation}".encode())
            for rows in (series.ds, self.scaled(uid), series.future):
                digest.update(rows[: blocks.validation[1]].tobytes())
        return digest.hexdigest()

    def _choose_shape(self, horizon: int, transform_target: TargetTransform | None) -> Skip:
        """The shape of the linear map, chosen on folds of the history. A map of transformed targets
        reads the whole lookback.
        """
        task = self.panel.task
        spans = [
            np.ptp(self.panel.by_id[uid].ds[slice(*blocks.train)])
            for uid, blocks in self.blocks.items()
        ]
        profile = dict(PROFILE_HARMONICS)
        if max(spans) < MIN_WEEKDAY_SPAN:
            profile["day_of_week"] = 0
        features = {*task.calendar_features}
        if "hour_of_day" in features or {"day_of_month", "day_to_month_end"} <= features:
            # a profile has products of its features, here of 31 days with 24 hours or 31 days
            profile["day_of_month"] = profile["day_to_month_end"] = 0
        has_plans = bool(self.channels.plan_channels)
        richest = Skip(
            "linear",
            horizon,
            self.panel.outputs,
            task.season_length,
            # a profile is the same for all series, but shops of two kinds differ in their weeks
            calendar_steps=horizon if task.static_names else 1,
            profile=calendar_harmonics(task.calendar_features, self.most_train_rows, profile),
            harmonics=calendar_harmonics(task.calendar_features, self.most_train_rows),
            reads_plans=has_plans,
            reads_past_plans=has_plans,
            bent=self._varied_plans(),
        )
        lags = task.candidate_lags()[-1:] if transform_target else task.candidate_lags()
        return choose_linear_shape(
            self.folds(horizon, transform_target), self.channels, richest, lags
        )

    @property
    def most_train_rows(self) -> int:
        """The train rows of the longest series."""
        return max(blocks.train[1] - blocks.train[0] for blocks in self.blocks.values())

    def _varied_plans(self) -> tuple[int, ...]:
        """The channels of known-future inputs with more than `MAX_PLAN_LEVELS` different values in
        the train rows of a series.
        """
        varied = set()
        for series in self.panel.series:
            train = slice(*self.blocks[series.unique_id].train)
            for channel, step, values in zip(
                self.channels.value, self.channels.step, series.values[train].T, strict=True
            ):
                if step and len(np.unique(values)) > MAX_PLAN_LEVELS:
                    varied.add(channel)
        return tuple(sorted(varied))

    def sum_train(
        self,
        summand: Callable[[Windows, np.ndarray], np.ndarray],
        horizon: int,
        key: Hashable | None,
        *,
        purpose: Purpose = "training",
        long: Mapping[str, LongWindows] | None = None,
    ) -> np.ndarray:
        """The sum of `summand` over the train cutoffs; it is given batches of windows and targets.
        The regular cutoffs of the series in `long` are summed without windows.

        With a `key` the sum over earlier rows is continued, so that in a backtest each cutoff is
        summed once and not at every refit (docs/research/seconds.md). Equal keys need equal
        summands; None for a summand that changes with the rows.
        """
        cutoffs = {uid: self.rows(uid, "train") for uid in self.panel.by_id}
        spans = {uid: range(rows[0], rows[-1] + 1) for uid, rows in cutoffs.items() if len(rows)}
        stored = [] if key is None else self._train_sums.setdefault(key, [])
        earlier = [sums for sums in stored if sums.is_part_of(spans)]
        if earlier:
            for uid, span in earlier[-1].cutoffs.items():
                cutoffs[uid] = cutoffs[uid][len(span) :]
        long_sum: Any = 0.0
        for uid, windows in (long or {}).items():
            self.record_targets(uid, cutoffs[uid], horizon, purpose)
            long_sum = long_sum + windows.sum_products(cutoffs[uid])
            cutoffs[uid] = cutoffs[uid][~windows.is_regular[cutoffs[uid]]]
        train = self.examples("train", horizon, purpose=purpose, cutoffs=cutoffs)
        sums = (summand(*batch) for batch in _join_short(train()))
        total = np.asarray(sum(sums, long_sum), float)
        if earlier:
            total = earlier[-1].sums + total
        if total.nbytes <= MAX_KEPT_SUMS_BYTES:
            stored[1:] = [TrainSums(spans, total)]
        return total

    def _fit_carry(self) -> Carry:
        """The forecasts of past-only inputs for closed loops, fitted on all train windows."""
        task = self.panel.task
        outputs = self.panel.outputs
        steps = np.arange(1, task.horizon + 1)

        def terms(windows: Windows, _target: np.ndarray) -> np.ndarray:
            following = [
                self.scaled(str(uid))[row + steps, outputs:]
                for uid, row in zip(windows.series, windows.rows, strict=True)
            ]
            inputs = windows.z[:, :, outputs:]
            return Carry.sum_terms(inputs, np.stack(following), task.season_length)

        sums = self.sum_train(terms, task.horizon, "carry", purpose="skip")
        return Carry.of_sums(sums, self.channels, task.season_length)


@dataclass(frozen=True)
class _FoldRows:
    """The cutoffs `rows` (n,) of one series; is_learnt_by (folds, n): which of them each fold
    learns from; fold (n,): in which fold each is scored, or -1.
    """

    rows: np.ndarray
    is_learnt_by: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class _HistoryFolds:
    """The `Folds` of a problem. rows: by series."""

    problem: Problem
    horizon: int
    transform_target: TargetTransform | None
    rows: Mapping[str, _FoldRows]
    long: Mapping[str, LongWindows] = field(default_factory=dict)
    """The series whose regular cutoffs are summed already, so that no fold learns them again."""

    def __call__(self, *, sampled: bool = True) -> Iterator[FoldBatch]:
        """See `Folds`."""
        n_scored = sum(int((each.fold >= 0).sum()) for each in self.rows.values())
        rng = np.random.default_rng(0)
        for uid, each in self.rows.items():
            is_sampled = rng.random(len(each.rows)) * n_scored < MAX_VALIDATION_CUTOFFS
            fold = np.where(is_sampled | (not sampled), each.fold, -1)
            is_learnt_by = each.is_learnt_by
            is_wanted = fold >= 0
            if uid in self.long:
                is_learnt_by = is_learnt_by & ~self.long[uid].is_regular[each.rows]
                is_wanted = is_wanted | is_learnt_by.any(axis=0)
            elif sampled:
                is_wanted[:] = True
            # batches of the same cutoffs, wanted or not: sums round by the size of a batch
            ends = range(MAX_BATCH, len(each.rows), MAX_BATCH)
            for batch in np.split(np.arange(len(each.rows)), ends):
                index = batch[is_wanted[batch]]
                for windows in self.problem.windows(uid, each.rows[index], horizon=self.horizon):
                    target = self.problem.targets(
                        uid, windows.rows, horizon=self.horizon, purpose="skip"
                    )
                    if self.transform_target is not None:
                        target = self.transform_target(windows, target)
                    yield FoldBatch(windows, target, is_learnt_by[:, index], fold[index])

    def sum_long(
        self, shape: Skip, unused: Collection[str]
    ) -> tuple[_HistoryFolds, SumsByLearners]:
        """See `Folds`."""
        problem = self.problem
        cutoffs = {uid: each.rows for uid, each in self.rows.items() if uid not in unused}
        long = problem.long_windows(shape, {} if self.transform_target else cutoffs)
        sums: SumsByLearners = {}
        for uid, windows in long.items():
            problem.record_targets(uid, cutoffs[uid], self.horizon, "skip")
            is_learnt_by = self.rows[uid].is_learnt_by
            for learners in np.unique(is_learnt_by, axis=1).T:
                if learners.any():
                    is_of_learners = (learners == is_learnt_by.T).all(axis=1)
                    products = windows.sum_products(cutoffs[uid][is_of_learners])
                    sums[tuple(learners)] = sums.get(tuple(learners), 0.0) + products
        return replace(self, long=long), sums


def _part_starts(times: np.ndarray, n_parts: int) -> np.ndarray:
    """The first time of each of `n_parts` contiguous parts of `times`."""
    return np.array([part[0] for part in np.array_split(times, n_parts)])


def validation_fold_starts(problem: Problem) -> np.ndarray:
    """The first cutoff of each fold of the validation block, over all series."""
    cutoffs = [
        series.ds[problem.rows(series.unique_id, "validation")] for series in problem.panel.series
    ]
    times = np.unique(np.concatenate(cutoffs))
    return _part_starts(times, min(VALIDATION_FOLDS, len(times)))


def _outside_folds(
    series: Series, rows: np.ndarray, starts: np.ndarray, before: int, after: int
) -> np.ndarray:
    """(folds, n): which of the cutoffs `rows` (n,) a fold may learn from: those at least `before`
    rows before its first row, or `after` rows after its end (the embargo). starts (folds,): the
    first time of each fold, which ends where the next begins.
    """
    begin = np.searchsorted(series.ds, starts)[:, None]
    end = np.vstack([begin[1:], [[len(series)]]])
    return (rows <= begin - before) | (rows >= end + after)


def sample_validation_windows(
    problem: Problem, horizon: int, *, per_series: int | None = None
) -> tuple[list[tuple[Windows, np.ndarray]], np.ndarray]:
    """Batches of windows and targets (B, horizon, O) of the sampled validation cutoffs, on which a
    network is scored while it trains (`_validation_sample`).

    Also which of the n cutoffs are counted (1 + folds, n): first all of them, then for each fold
    those of the other folds that are at least a horizon away from it (all where there are none).
    """
    starts = validation_fold_starts(problem)
    embargo = problem.panel.task.horizon
    batches: list[tuple[Windows, np.ndarray]] = []
    is_outside = []
    for uid, rows in _validation_sample(problem, per_series).items():
        series = problem.panel.by_id[uid]
        is_outside.append(_outside_folds(series, rows, starts, embargo, embargo))
        if problem.recorder is not None:
            fold = np.searchsorted(starts, series.ds[rows], side="right") - 1
            problem.recorder.folds_given("training", rows, is_outside[-1], fold)
        batches += [
            (windows, problem.targets(uid, windows.rows, horizon=horizon))
            for windows in problem.windows(uid, rows, horizon=horizon)
        ]
    counts = np.concatenate(is_outside, axis=1)
    counts |= ~counts.any(axis=1, keepdims=True)
    counts = np.vstack([np.ones_like(counts[:1]), counts])
    return [*_join_short(batches)], counts


def _validation_sample(problem: Problem, per_series: int | None) -> dict[str, np.ndarray]:
    """The validation cutoffs of each series that score a network while it trains: `per_series`
    evenly spaced ones (None: all), of which at most `_most_validation_cutoffs` over all series are
    drawn at random with a fixed seed. Series without validation rows are left out; a series of
    which none is drawn has an empty array.
    """
    sample = {}
    for series in problem.panel.series:
        rows = problem.rows(series.unique_id, "validation")
        if len(rows):
            spacing = -(-len(rows) // (per_series or len(rows)))
            sample[series.unique_id] = rows[::spacing]
    lengths = [len(rows) for rows in sample.values()]
    order = np.random.default_rng(0).permutation(sum(lengths))
    is_drawn = np.zeros(sum(lengths), dtype=bool)
    is_drawn[order[: _most_validation_cutoffs(problem)]] = True
    parts = np.split(is_drawn, np.cumsum(lengths)[:-1])
    return {uid: rows[part] for (uid, rows), part in zip(sample.items(), parts, strict=True)}


def _most_validation_cutoffs(problem: Problem) -> int:
    """The most sampled validation cutoffs, by their number and by the rows of their windows."""
    by_rows = count_windows_within(MAX_VALIDATION_ROWS, problem.panel.task)
    return min(MAX_VALIDATION_CUTOFFS, by_rows)


def _join_short(
    batches: Iterable[tuple[Windows, np.ndarray]],
) -> Iterator[tuple[Windows, np.ndarray]]:
    """`batches` with short ones joined to at most `WINDOWS_PER_BATCH` windows, in their order."""
    waiting: list[tuple[Windows, np.ndarray]] = []
    n_waiting = 0
    for batch in batches:
        if waiting and n_waiting + len(batch[0]) > WINDOWS_PER_BATCH:
            yield _join_batches(waiting)
            waiting = []
            n_waiting = 0
        waiting.append(batch)
        n_waiting += len(batch[0])
    if waiting:
        yield _join_batches(waiting)


def _join_batches(batches: Sequence[tuple[Windows, np.ndarray]]) -> tuple[Windows, np.ndarray]:
    """Several batches of windows and targets as one."""
    if len(batches) == 1:
        return batches[0]
    windows = Windows.concatenate([windows for windows, _ in batches])
    return windows, np.concatenate([target for _, target in batches])


def mean_losses_by_fold(
    losses: Sequence[np.ndarray], known: Sequence[np.ndarray], counted: np.ndarray
) -> np.ndarray:
    """(1 + folds,): the mean loss over all sampled windows, then for each fold over the windows
    `counted` for it (`sample_validation_windows`); NaN without any. losses, known: batches (B, H,
    O) of losses, and whether each is known.
    """
    is_known = np.concatenate(known)
    totals = np.where(is_known, np.concatenate(losses), 0.0).sum(axis=(1, 2))
    counts = is_known.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.array([totals[fold].sum() / counts[fold].sum() for fold in counted])


def describe_validation_sample(problem: Problem) -> str:
    """A note for the record where a network is validated on a sample of the cutoffs; else empty."""
    count = sum(len(problem.rows(s.unique_id, "validation")) for s in problem.panel.series)
    most = _most_validation_cutoffs(problem)
    return f"validation losses are of {most} of the {count} origins" if count > most else ""


@dataclass(frozen=True)
class Parameters:
    """The fitted parameters of a model."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Arrays by name; for every family but the statistical ones."""
    series: Mapping[str, Sequence[SeriesFit]] = field(default_factory=dict)
    """By series, the fit of each target; for a statistical family."""


ForecastRequest = tuple[Series, np.ndarray]
"""A series, and the rows at which it is to be forecast."""


class FittedForecaster(Protocol):
    """The part of `forecast.forecaster.Forecaster` that a spec may use."""

    @property
    def task(self) -> Task:
        """The task that the model was fitted for."""

    @property
    def scaling(self) -> Scaling:
        """The scaling between raw units and scaled ones."""

    @property
    def channels(self) -> Layout:
        """The channels of a window's `past`."""

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Fitted arrays by name."""

    @property
    def statistical(self) -> Mapping[str, Sequence[SeriesFit]]:
        """By series, the fit of each target of a statistical family."""

    @property
    def skip(self) -> Skip | None:
        """The closed-form part, if it has one."""

    @property
    def correction(self) -> Skip | None:
        """The direct correction of a closed loop, if it has one."""

    def predict_windows(self, given: Sequence[ForecastRequest]) -> list[np.ndarray]:
        """Forecasts (n, H, O) of each request in raw units, by `ModelSpec.scaled_forecast`."""

    def forecast_with_skip(self, windows: Windows) -> np.ndarray:
        """Forecasts (B, H, O) of the skip and its network in scaled units; one-step models run in
        closed loop.
        """

    def to_raw_units(self, scaled: np.ndarray, series: Series, rows: np.ndarray) -> np.ndarray:
        """The forecasts `scaled` (n, H, O), made at `rows` (n,) of a series, in raw units."""
