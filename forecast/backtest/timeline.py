"""When a model is fitted again in a backtest, and which of its fits forecasts a cutoff.

    RefitSchedule      the cutoffs at which a model is fitted again, and what it may see there
    CandidateFitter    fits one candidate and seed, as often as a backtest asks
    FitTimeline        its `DatedFit`s: which one forecasts a cutoff, and with what it forecasts
    fit_through_time   makes all of them for one candidate and seed (`SeedFits`)

Backtest, combinations and audit ask these types; service reads what they saved. A cutoff is
forecast by the newest fit that began at or before it: validation by the first fit, later blocks by
the final one, both until the first refit.

A fit at a cutoff is given a problem that ends there, so nothing later can enter it. How often a
model is fitted again is its policy (`refit` in configs/models.yaml):

    never      not again
    quarterly  at the first cutoff of every quarter of a year
    monthly    at the first cutoff of every calendar month
    k          at every k-th cutoff

It is fitted on everything from the first row on. What the first fit selected on validation (lags,
penalties, steps, trees) and its units stay.

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

SCORED = ("validation", "calibration", "test")
"""The blocks whose every cutoff is forecast."""
MONTHS_BETWEEN_REFITS = {"quarterly": 3, "monthly": 1}
BEGINNING = np.datetime64(1 - 2**63, "ns")
"""Before every cutoff."""
NEVER = np.datetime64(2**63 - 1, "ns")
"""After every cutoff."""

Forecasters = dict[np.datetime64, Forecaster]
"""Each forecaster by the first cutoff that it forecasts, rising."""
Predictor = Callable[[Forecaster, Panel, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""(forecaster, panel, rows by series) -> values by series, the first axis that of the rows."""


@dataclass(frozen=True)
class CandidateFitter:
    """How one candidate and seed is fitted, on whatever rows are asked for: for the backtest, for
    the refit before serving, and for the leak audit.
    """

    candidate: Candidate
    seed: int
    budget: Budget
    part: slice | None = None
    """The numbers of the series that are fitted; None: all."""

    def fit_both(self, problem: Problem) -> tuple[FitResult, FitResult]:
        """The fit on the train rows of `problem`, with the steps, penalties, lags or trees that its
        validation block selects; and what it selected fitted on train and validation rows: the same
        object twice where the model is not fitted again.
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
        """What `first` selected, fitted on the rows of `problem`. Where that is the data of a
        refit at a cutoff, a network keeps its weights; else it is trained anew.
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
        """A schedule that refits at the first of the rising `cutoffs` in every quarter or month, or
        at every k-th, but never at the very first.
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

    @property
    def first(self) -> np.datetime64:
        """The first refit; `NEVER` where there is none."""
        return self.cutoffs[0] if self.cutoffs else NEVER

    def after(self, cutoff: np.datetime64) -> tuple[np.datetime64, ...]:
        """The refits that come after `cutoff`."""
        return tuple(refit for refit in self.cutoffs if refit > cutoff)

    def problem_at(self, problem: Problem, cutoff: np.datetime64) -> Problem:
        """The problem as it was known at `cutoff`: every row up to it as train rows; no other
        blocks; the same choices and units.
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
    """The first cutoff that it forecasts of each series; it forecasts none of a series that is not
    named.
    """
    is_for_validation: bool = False
    """Whether it forecasts the validation block alone."""

    @property
    def first_cutoff(self) -> np.datetime64:
        """The first cutoff that it forecasts of any series."""
        return min(self.first_cutoffs.values())


@dataclass(frozen=True)
class FitTimeline:
    """Which fit forecasts a cutoff of a series: of those that begin there or earlier, the one that
    begins last.

    `fits`: in the order of their first cutoffs; of two that begin together the later one counts.
    """

    fits: tuple[DatedFit, ...]

    def fit_numbers(self, unique_id: str, cutoffs: np.ndarray) -> np.ndarray:
        """(n,): the place in `fits` of the fit that forecasts each of `cutoffs` (n,)."""
        places = [i for i, fit in enumerate(self.fits) if unique_id in fit.first_cutoffs]
        begins = np.array([self.fits[i].first_cutoffs[unique_id] for i in places])
        order = np.argsort(begins, kind="stable")
        newest = np.searchsorted(begins[order], cutoffs, side="right") - 1
        return np.array(places)[order[newest]]

    def serving_fit(self, test_start: np.datetime64) -> DatedFit:
        """The newest fit that begins by `test_start`, so that it has seen no target after it."""
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
        """(n, ...) by series: what `predictor` makes at `rows` (n,) with the fit of each cutoff.

        By default the point forecasts (n, H, O) in raw units.
        """
        numbers = {
            uid: self.fit_numbers(uid, panel.by_id[uid].ds[cutoff_rows])
            for uid, cutoff_rows in rows.items()
        }
        values = dict[str, np.ndarray]()
        for number, dated in enumerate(self.fits):
            fit_rows = {uid: each[numbers[uid] == number] for uid, each in rows.items()}
            if number > 0:  # the first predicts for every series, so that each has its shape
                fit_rows = {uid: each for uid, each in fit_rows.items() if len(each)}
            for uid, part in predictor(dated.forecaster, panel, fit_rows).items():
                if uid not in values:
                    values[uid] = np.empty((len(rows[uid]), *part.shape[1:]), part.dtype)
                values[uid][numbers[uid] == number] = part
        return values


@dataclass(frozen=True)
class SeedFits:
    """Every fit of one candidate and seed in a backtest.

    `first` saw the train rows, `final` train and validation rows; they are the same object where
    the model is not fitted again.
    """

    first: FitResult
    final: FitResult
    timeline: FitTimeline
    refits: int
    newest: Forecaster | None = None
    """The newest refit that has seen no target of the test block: it serves. None: `final` does."""


def fit_through_time(problem: Problem, spec: ModelSpec, fitter: CandidateFitter) -> SeedFits:
    """Fit `spec` on the train rows, on train and validation rows, and at each of its refits.

    Which fit forecasts what:

    - the first the validation block, each fold with the weights that the other folds selected
    - the final one what follows validation in each series; the first, where there is no other
    - a refit everything from its cutoff on, in validation too, until a later fit begins

    A refit sees no row after its cutoff. It chooses nothing: lags, penalties, steps and units stay
    what the first fit chose. A network that keeps its weights goes on with those of the first two
    fits, and has a newer linear skip from each refit on. Nothing is forecast or saved here.
    """
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
            if start < schedule.first
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
    """The fits with the cutoffs that they forecast: of each series from `begins` on, or from the
    fit's own first cutoff where that is later; with `ends`, for validation alone, of no series that
    ends before it.
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
    """The `forecasters`, and one more at each of `refits`, with the skip of the newest
    refit: `refit(cutoff, forecaster)` gives the forecaster with the skip fitted at `cutoff`.
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
