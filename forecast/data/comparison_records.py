"""What stage `compare` writes beside its tables: typed records, each with one file format.

    Verdicts           data/compared/<dataset>/verdicts.json: tests, choice, alarms and sentences

Written by `forecast.comparison`, read through `forecast.data.results.Results`. Numbers that are not
finite are None, since JSON has neither NaN nor infinity. In every record `ranking` is "shipped",
"architecture" or "baseline" (a baseline stands in both others).

The next field is one more field of its record, filled in `forecast.comparison`; what the report
shows of it is read from the record.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from forecast.data.records import Number, Record

TestFamily = Literal["bar", "reference", "skip", "best"]
"""What a candidate is tested against: the strongest simple forecast on validation, the others near
it and naive, its own skip alone, or the selected candidate.
"""
TestWord = Literal["better", "worse", "not distinguishable", "equivalent", "undecided"]


class PairedTest(Record):
    """A Diebold-Mariano test of one candidate against another on the origins of the test block.

    Differences are those of the mean loss: below zero `model` is better than `against`. It has the
    fields of `comparison.paired_tests.DieboldMariano`.
    """

    ranking: str
    family: TestFamily
    model: str
    against: str
    word: TestWord
    """The verdict after correction for the number of tests."""
    statistic: Number = None
    p: Number = None
    """Not corrected; None where nothing can be said."""
    p_holm: Number = None
    """Adjusted by Holm's procedure for `corrected_for` tests."""
    corrected_for: int = 1
    mean_difference: Number = None
    relative_difference: Number = None
    """As a share of the mean loss of `against`."""
    ci_low: Number = None
    ci_high: Number = None
    """95 % confidence limits of `mean_difference`, not adjusted."""
    detectable: Number = None
    """The smallest difference on the side of this one that a test at 5 % finds in four of five
    samples like it, as a share of the mean loss of `against`; above zero.
    """
    dof: Number = None
    """Degrees of freedom of the t statistic."""
    is_drift: bool = False
    """Whether the difference drifts through the whole test block, so that there is no limit."""
    n: int = 0
    """Origins."""
    note: str = ""
    """Why there is no p, or why the word is not what p alone says."""
    not_better_than: str = ""
    """The simple forecast that keeps a model from "better" though it is better than `against`."""

    @property
    def relative_limits(self) -> tuple[float, float] | None:
        """The 95 % confidence limits of `relative_difference`; None where they are not known.

        A loss is never below zero, so no difference is below -1: the interval is cut there, and
        covers the difference as often as before.
        """
        if not self.mean_difference or not self.relative_difference:
            return None
        if self.ci_low is None or self.ci_high is None:
            return None
        base = self.mean_difference / self.relative_difference
        return max(self.ci_low / base, -1.0), self.ci_high / base

    @property
    def is_beyond_detectable(self) -> bool:
        """Whether the difference is larger than the smallest detectable one."""
        if self.relative_difference is None or self.detectable is None:
            return False
        return abs(self.relative_difference) > self.detectable

    @property
    def is_tie(self) -> bool:
        """Whether the two are tied: equal, equivalent, or with enough origins not distinguishable
        by a difference that is not beyond the detectable one. Where no difference would be
        detected nothing is tied.
        """
        if self.word == "not distinguishable":
            return self.detectable is not None and not self.is_beyond_detectable
        return self.word == "equivalent" or self.mean_difference == 0

    @property
    def is_kept_from_better(self) -> bool:
        """Whether the model is better than `against`, and another simple forecast is in its way."""
        return self.not_better_than != "" and self.word in ("not distinguishable", "undecided")

    @property
    def sentence(self) -> str:
        """`gru against naive: better (-3.1 %, p 0.004 after Holm for 9 tests).`: what is known. The
        p is the one against another simple forecast where that keeps it from "better".
        """
        against, of_rival = self.against, ""
        if self.is_kept_from_better:
            against = f"{self.against} and {self.not_better_than}"
            of_rival = f" against {self.not_better_than}"
        numbers = []
        if self.relative_difference is not None:
            numbers.append(f"{100 * self.relative_difference:+.1f} %")
        if self.p_holm is not None:
            after = f" after Holm for {self.corrected_for} tests" if self.corrected_for > 1 else ""
            numbers.append(f"p {self.p_holm:.3g}{of_rival}{after}")
        size = f" ({', '.join(numbers)})" if numbers else ""
        return f"{self.model} against {against}: {self.word}{size}."


class CandidateLabel(Record):
    """Names a candidate's rows in every table of stage `compare`."""

    model: str
    ranking: str


class Alarm(CandidateLabel):
    """A candidate's forecasts of one series look like a copy of the last value, or like a leak."""

    unique_id: str
    """The series; series/column where a dataset has several targets."""
    reason: str


class BudgetExemption(CandidateLabel):
    """A network to which a part of the common training budget does not apply."""

    why: str


class Untrained(CandidateLabel):
    """A network that is its skip alone in all seeds, and so no model of its own."""

    same_as: str
    """The model whose forecasts it repeats."""


class UnsupportedLevel(Record):
    """An interval level that the calibration block of one series cannot support."""

    series: str
    level: float
    reason: str
    candidates: tuple[CandidateLabel, ...]


def name_choice(model: str, by_rule: Collection[str]) -> str:
    """How a selected model was selected: the only words for it, so that no two sentences differ.
    by_rule: combinations whose weights validation was too short to learn.
    """
    return "selected by rule" if model in by_rule else "selected on validation"


class Verdicts(Record):
    """Everything that the tests of one dataset decided, in numbers and in sentences."""

    dataset: str = ""
    chosen: dict[str, str] = Field(default_factory=dict)
    """Ranking to the model that was selected before the test block was looked at."""
    by_rule: tuple[str, ...] = ()
    """Of them those that `name_choice` has other words for."""
    bar: str = "naive"
    """The simple forecast with the lowest validation loss of those from which the selected model
    does not drift: who is called better is better than it, and than those near it.
    """
    tests: tuple[PairedTest, ...] = ()
    tied: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Ranking to the selected model and whose test against it is a tie (`PairedTest.is_tie`)."""
    untrained: tuple[Untrained, ...] = ()
    lowest: dict[str, str] = Field(default_factory=dict)
    """Ranking to the model with the lowest validation loss."""
    copies: tuple[Alarm, ...] = ()
    leaks: tuple[Alarm, ...] = ()
    unsupported_levels: tuple[UnsupportedLevel, ...] = ()
    exempt_from_budget: tuple[BudgetExemption, ...] = ()
    short_budget: str = ""
    """What the networks had and what to do, where it is too little to judge them by."""
    sentences: tuple[str, ...] = ()
    """The result in plain words, most important first."""
    warnings: tuple[str, ...] = ()
    """What a reader must not miss."""
