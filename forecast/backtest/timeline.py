"""When a model is fitted again in a backtest, and which of its fits forecasts a cutoff.

    CandidateFitter    fits one candidate and seed
    RefitSchedule      the cutoffs at which a model is fitted again, and the data it may see there
    FitTimeline        the fits (`DatedFit`) of a backtest; each cutoff is forecast by one of them
    fit_through_time   makes all fits of one candidate and seed (`SeedFits`)

A cutoff is forecast by the newest fit that begins at or before it: in the validation block by the
first fit, in later blocks by the final fit, in both only until the first refit. A refit is given
data that end at its cutoff, so nothing later can enter it. `refit` in configs/models.yaml says how
often a model is fitted again:

    never      not again
    quarterly  at the first cutoff of every quarter of a year
    monthly    at the first cutoff of every calendar month
    k          at every k-th cutoff

A refit uses all rows from the first one on. It keeps the scaling of the first fit, and what that
fit selected on validation: lags, penalties, steps, trees.

    train      | validation                | calibration | test ...
    first fit ─► until the first refit; by fold: a fit stopped on the other folds
    final fit, on train and validation ────► until the first refit
    refit at a cutoff ──────────────────────────────► until the next refit
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from forecast.backtest.candidates import Candidate
from forecast.config.models import RefitFrequency
from forecast.data.panel import Panel
from forecast.data.splits import Blocks
from forecast.forecaster import Budget, FitResult, Forecaster, Problem, fit, fit_again
from forecast.models.base import ModelSpec
from forecast.models.problem import validation_fold_starts
from forecast.system.errors import InputError

SCORED = ("validation", "calibration", "test")
"""The blocks whose every cutoff is forecast."""
MONTHS_BETWEEN_REFITS = {"quarterly": 3, "monthly": 1}
BEGINNING = np.datetime64(1 - 2**63, "ns")
"""Before every cutoff."""

Forecasters = dict[np.datetime64, Forecaster]
"""Forecasters by the first cutoff that they forecast, in rising order."""
Predictor = Callable[[Forecaster, Panel, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""(forecaster, panel, cutoff rows by series) -> forecasts by series; axis 0 is that of the rows."""


@dataclass(frozen=True)
class CandidateFitter:
    """Fits one candidate and seed on any rows: for the backtest, for the refit before serving, and
    for the leak audit.
    """

    candidate: Candidate
    seed: int
    budget: Budget
    part: slice | None = None
    """Which series are fitted, by number; None: all."""

    def fit_both(self, problem: Problem) -> tuple[FitResult, FitResult]:
        """Fit twice: on the train rows, where the validation block selects steps, penalties, lags
        or trees; then with these on the train and validation rows.

        A model that is not fitted again gives the first fit twice, as the same object.
        """
        first = fit(
            problem.with_series(self.part),
            self.candidate.spec,
            skip=self.candidate.skip,
            seed=self.seed,
            budget=self.budget,
        )
        return first, self.refit(problem, first)

    def refit(self, problem: Problem, first: FitResult) -> FitResult:
        """Fit what `first` selected on the rows of `problem`. At a refit cutoff a network keeps its
        weights (`Problem.with_rows`); otherwise it is trained anew.
        """
        return fit_again(
            problem.with_series(self.part),
            self.candidate.spec,
            first,
            skip=self.candidate.skip,
            seed=self.seed,
            budget=self.budget,
        )


@dataclass(frozen=True)
class RefitSchedule:
    """The rising cutoffs at which a model is fitted again, and what data it may see there."""

    cutoffs: tuple[np.datetime64, ...]

    @classmethod
    def of(cls, frequency: RefitFrequency, cutoffs: np.ndarray) -> RefitSchedule:
        """The schedule that refits at the first of the rising `cutoffs` (n,) in every quarter or
        month, or at every k-th of them (`cutoffs[k]`, `cutoffs[2 k]` …), never at the first.
        """
        if frequency == "never":
            refits = cutoffs[:0]
        elif isinstance(frequency, str):
            months = cutoffs.astype("datetime64[M]").astype(int)
            periods = months // MONTHS_BETWEEN_REFITS[frequency]
            refits = cutoffs[1:][periods[1:] != periods[:-1]]
        else:
            refits = cutoffs[frequency::frequency]
        return cls(tuple(refits))

    @classmethod
    def of_problem(cls, spec: ModelSpec, problem: Problem) -> RefitSchedule:
        """The schedule that `spec` asks for, over the cutoffs of all scored blocks."""
        cutoffs: list[np.ndarray] = []
        for series in problem.panel.series:
            cutoffs += [series.ds[problem.rows(series.unique_id, block)] for block in SCORED]
        return cls.of(spec.refit_frequency, np.unique(np.concatenate(cutoffs)))

    def after(self, cutoff: np.datetime64) -> tuple[np.datetime64, ...]:
        """The refits that come after `cutoff`."""
        return tuple(refit for refit in self.cutoffs if refit > cutoff)

    def problem_at(self, problem: Problem, cutoff: np.datetime64) -> Problem:
        """The problem as it was known at `cutoff`: all rows up to it are train rows, the other
        blocks are empty, and the scaling stays.
        """
        known_series = []
        blocks = {}
        for series in problem.panel.series:
            stop = int((series.ds <= cutoff).sum())
            planned = len(series.future) - len(series)
            known_series.append(
                replace(
                    series,
                    ds=series.ds[:stop],
                    values=series.values[:stop],
                    future=series.future[: stop + planned],
                )
            )
            blocks[series.unique_id] = Blocks((0, stop), *[(stop, stop)] * 3)
        panel = replace(problem.panel, series=tuple(known_series))
        return problem.with_rows(panel, blocks, cutoff)


@dataclass(frozen=True)
class DatedFit:
    """A fitted model and the cutoffs that it forecasts."""

    forecaster: Forecaster
    first_cutoffs: Mapping[str, np.datetime64]
    """By series, the first cutoff that it forecasts; of a series without one it forecasts none."""
    is_for_validation: bool = False
    """Whether it forecasts the validation block alone."""

    @property
    def first_cutoff(self) -> np.datetime64:
        """The first cutoff that it forecasts of any series."""
        return min(self.first_cutoffs.values())


@dataclass(frozen=True)
class FitTimeline:
    """The fits of a backtest. Each cutoff of a series is forecast by the fit that begins last among
    those that begin at or before it.

    `fits`: ordered by first cutoff; of two fits that begin together the later one counts.
    """

    fits: tuple[DatedFit, ...]

    def fit_numbers(self, unique_id: str, cutoffs: np.ndarray) -> np.ndarray:
        """(n,): the index in `fits` of the fit that forecasts each of `cutoffs` (n,).

        `InputError` for a cutoff before every fit of the series.
        """
        numbers = [i for i, fit in enumerate(self.fits) if unique_id in fit.first_cutoffs]
        begins = np.array([self.fits[i].first_cutoffs[unique_id] for i in numbers])
        order = np.argsort(begins, kind="stable")
        newest = np.searchsorted(begins[order], cutoffs, side="right") - 1
        if (newest < 0).any():
            raise InputError(
                f"No fit forecasts series {unique_id!r} at {cutoffs[newest < 0][0]}: its first fit"
                f" begins at {begins.min()}. Choose a later cutoff."
            )
        return np.array(numbers)[order[newest]]

    def serving_fit(self, test_start: np.datetime64) -> DatedFit:
        """The newest fit that begins at or before `test_start`, the last time before the test
        block: it has seen no later target.
        """
        begun = [
            fit for fit in self.fits if not fit.is_for_validation and fit.first_cutoff <= test_start
        ]
        return begun[-1]

    def predict(
        self,
        panel: Panel,
        rows: Mapping[str, np.ndarray],
        predictor: Predictor = Forecaster.predict,
    ) -> dict[str, np.ndarray]:
        """(n, ...) by series: the forecasts at the cutoff rows `rows` (n,), each made by
        `predictor` with the fit of its cutoff.

        By default these are point forecasts (n, H, O) in raw units.
        """
        fit_numbers = {
            uid: self.fit_numbers(uid, panel.by_id[uid].ds[cutoff_rows])
            for uid, cutoff_rows in rows.items()
        }
        forecasts: dict[str, np.ndarray] = {}
        for number, dated_fit in enumerate(self.fits):
            masks = {uid: numbers == number for uid, numbers in fit_numbers.items()}
            # the first fit is asked for every series, even without rows, so that each has its shape
            fit_rows = {
                uid: rows[uid][mask] for uid, mask in masks.items() if number == 0 or mask.any()
            }
            for uid, by_fit in predictor(dated_fit.forecaster, panel, fit_rows).items():
                if uid not in forecasts:
                    forecasts[uid] = np.empty((len(rows[uid]), *by_fit.shape[1:]), by_fit.dtype)
                forecasts[uid][masks[uid]] = by_fit
        return forecasts


@dataclass(frozen=True)
class SeedFits:
    """All fits of one candidate and seed in a backtest.

    `first` was fitted on the train rows, `final` on the train and validation rows; they are the
    same object for a model that is not fitted again.
    """

    first: FitResult
    final: FitResult
    timeline: FitTimeline
    refits: int
    newest: Forecaster | None = None
    """The newest refit that has seen no target of the test block, which serves; None: `final`
    serves.
    """


def fit_through_time(problem: Problem, fitter: CandidateFitter) -> SeedFits:
    """Fit a candidate on the train rows, on train and validation rows, and at each of its refits.

    Which fit forecasts which cutoffs:

    - the first fit: the validation block, each fold with the weights that the other folds selected
    - the final fit: all cutoffs after validation; the first fit does where there is no final one
    - a refit: all cutoffs from its own on, in validation too, until the next fit begins

    A refit sees no row after its cutoff and selects nothing: lags, penalties, steps and scaling
    stay those of the first fit. A network that keeps its weights stays that of the first or final
    fit, with a newer linear skip from each refit on. Nothing is forecast or saved here.
    """
    spec = fitter.candidate.spec
    first, final = fitter.fit_both(problem)
    schedule = RefitSchedule.of_problem(spec, problem)
    validation_ends = block_ends(problem, "validation")
    has_final = final is not first

    def refit(cutoff: np.datetime64, forecaster: Forecaster) -> Forecaster:
        known = schedule.problem_at(problem, cutoff)
        return fitter.refit(known, replace(first, forecaster=forecaster)).forecaster

    by_fold = zip(validation_fold_starts(problem), first.forecasters_by_fold, strict=False)
    in_validation = {BEGINNING: first.forecaster, **dict(by_fold)}
    after_validation: Forecasters = {}
    if has_final:
        after_validation = {min(validation_ends.values()): final.forecaster}
    whole_refits: Forecasters = {}
    if spec.keeps_weights_at_refit:
        last_end = max(validation_ends.values())
        early = [cutoff for cutoff in schedule.cutoffs if not has_final or cutoff < last_end]
        late = schedule.after(min(validation_ends.values()))
        in_validation = _renew_skips(in_validation, early, refit)
        after_validation = _renew_skips(after_validation, late, refit)
    else:
        whole_refits = {cutoff: refit(cutoff, first.forecaster) for cutoff in schedule.cutoffs}
        in_validation = {
            start: forecaster
            for start, forecaster in in_validation.items()
            if not schedule.cutoffs or start < schedule.cutoffs[0]
        }

    anytime = dict.fromkeys(validation_ends, BEGINNING)
    ends = validation_ends if has_final else None
    fits = [
        *_date_fits(in_validation, anytime, ends),
        *_date_fits(after_validation, validation_ends),
        *_date_fits(whole_refits, anytime),
    ]
    timeline = FitTimeline(tuple(sorted(fits, key=attrgetter("first_cutoff"))))
    newest = None
    if schedule.cutoffs:
        serving = timeline.serving_fit(min(block_ends(problem, "calibration").values()))
        if serving.forecaster is not final.forecaster:
            newest = serving.forecaster
    return SeedFits(first, final, timeline, len(schedule.cutoffs), newest)


def _date_fits(
    forecasters: Forecasters,
    begins: Mapping[str, np.datetime64],
    ends: Mapping[str, np.datetime64] | None = None,
) -> list[DatedFit]:
    """Give each forecaster the first cutoff that it forecasts of each series: its own first cutoff,
    or that of the series in `begins` where this is later.

    `ends`: the end of validation by series, for fits that forecast validation alone; such a fit
    forecasts no series whose validation ends before it begins.
    """
    fits = []
    for start, forecaster in forecasters.items():
        first_cutoffs = {
            uid: max(start, begin)
            for uid, begin in begins.items()
            if ends is None or start < ends[uid]
        }
        fits.append(DatedFit(forecaster, first_cutoffs, ends is not None))
    return fits


def _renew_skips(
    forecasters: Forecasters,
    refits: Sequence[np.datetime64],
    refit: Callable[[np.datetime64, Forecaster], Forecaster],
) -> Forecasters:
    """The `forecasters` and a further one at each cutoff of `refits`, each with the skip of the
    newest refit by then.

    `refit(cutoff, forecaster)`: the forecaster with its skip fitted again at `cutoff`.
    """
    if not forecasters:
        return {}
    renewed = {}
    for cutoff in sorted({*refits, *forecasters}):
        forecaster = forecasters[max(start for start in forecasters if start <= cutoff)]
        known = [refit_cutoff for refit_cutoff in refits if refit_cutoff <= cutoff]
        if known:
            forecaster = refit(known[-1], forecaster)
        renewed[cutoff] = forecaster
    return renewed


def block_ends(problem: Problem, block: str) -> dict[str, np.datetime64]:
    """The time of the last row of `block`, by series."""
    return {
        uid: problem.panel.by_id[uid].ds[blocks.range(block)[1] - 1]
        for uid, blocks in problem.blocks.items()
    }
