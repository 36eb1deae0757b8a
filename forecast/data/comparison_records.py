"""Typed records of what stage `compare` writes beside its tables.

    Verdicts           data/compared/<dataset>/verdicts.json: tests, choice, alarms and sentences

`forecast.comparison` writes them, `forecast.data.results.Results` reads them. Numbers that are not
finite are None. `ranking` is "shipped", "architecture" or, for a candidate that is in both,
"baseline".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from forecast.data.records import Number, Record

TestFamily = Literal["bar", "reference", "skip", "best"]
"""What a candidate is tested against: the best simple forecast on validation (bar), the other
simple forecasts close to it and naive (reference), its own skip (skip), or the selected candidate
(best).
"""
TestWord = Literal["better", "worse", "not distinguishable", "equivalent", "undecided"]


class PairedTest(Record):
    """A Diebold-Mariano test of a candidate against another on the origins of the test block, with
    the fields of `comparison.paired_tests.DieboldMariano`. A difference of mean losses below zero
    means that `model` is better than `against`.
    """

    ranking: str
    family: TestFamily
    model: str
    against: str
    word: TestWord
    """The verdict, after correction for the number of tests."""
    p: Number = None
    """Not corrected; None where there is no test."""
    p_holm: Number = None
    """Adjusted by Holm's procedure for `corrected_for` tests."""
    corrected_for: int = 1
    mean_difference: Number = None
    relative_difference: Number = None
    """As a share of the mean loss of `against`."""
    ci_low: Number = None
    """Lower 95 % confidence limit of `mean_difference`, not adjusted."""
    ci_high: Number = None
    """Upper 95 % confidence limit of `mean_difference`, not adjusted."""
    detectable: Number = None
    """The smallest difference of this sign that a test at 5 % finds in four of five such samples,
    as a positive share of the mean loss of `against`.
    """
    dof: Number = None
    """Degrees of freedom of the t ratio."""
    is_drift: bool = False
    """Whether the difference drifts through the whole test block like a random walk, so that the
    test gives it no confidence limit.
    """
    n: int = 0
    """The number of origins."""
    note: str = ""
    """Why there is no p, or why the verdict does not follow from p alone."""
    not_better_than: str = ""
    """Another simple forecast that `model` is not better than; then `word` is not "better",
    although the model is better than `against`.
    """

    @property
    def relative_limits(self) -> tuple[float, float] | None:
        """The 95 % confidence limits of `relative_difference`; None where they are not known or the
        difference is 0. As losses are not negative, the lower limit is at least -1.
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
        """Whether the two are tied: equal, equivalent, or not distinguishable although the test
        could have detected a larger difference (`DieboldMariano`, at 5 %).
        """
        if self.word == "not distinguishable":
            return self.detectable is not None and not self.is_beyond_detectable
        return self.word == "equivalent" or self.mean_difference == 0

    @property
    def is_kept_from_better(self) -> bool:
        """Whether another simple forecast (`not_better_than`) prevents the verdict "better"."""
        return self.not_better_than != "" and self.word in ("not distinguishable", "undecided")

    @property
    def sentence(self) -> str:
        """`gru against naive: better (-3.1 %, p 0.004 after Holm for 9 tests).` Where another
        simple forecast prevents "better", p is that of the test against it.
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
    """The names of a candidate in every table of stage `compare`."""

    model: str
    ranking: str


class Alarm(CandidateLabel):
    """A candidate whose forecasts of a series look like a copy of the last value, or like a
    leak.
    """

    unique_id: str
    """The series; series/column where a dataset has several targets."""
    reason: str


class BudgetExemption(CandidateLabel):
    """A network to which a part of the common training budget does not apply."""

    why: str


class Untrained(CandidateLabel):
    """A network that equals its skip in all seeds."""

    same_as: str
    """The model that forecasts as its skip alone."""


class UnsupportedLevel(Record):
    """An interval level for which a series has too few calibration origins."""

    series: str
    level: float
    reason: str
    candidates: tuple[CandidateLabel, ...]


def name_choice(model: str, by_rule: Collection[str]) -> str:
    """The words for how a model was selected. by_rule: combinations whose weights validation was
    too short to learn.
    """
    return "selected by rule" if model in by_rule else "selected on validation"


class Verdicts(Record):
    """What the tests of one dataset decided, in numbers and sentences."""

    dataset: str = ""
    chosen: dict[str, str] = Field(default_factory=dict)
    """By ranking, the model that was selected without the test block."""
    by_rule: tuple[str, ...] = ()
    """Those of the selected models that were selected by rule (`name_choice`)."""
    bar: str = "naive"
    """The simple forecast with the lowest validation loss, if possible among those from which the
    selected model does not drift. A model that is called better is better than it and than those
    close to it.
    """
    tests: tuple[PairedTest, ...] = ()
    tied: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By ranking, the selected model and the models tied with it (`PairedTest.is_tie`)."""
    untrained: tuple[Untrained, ...] = ()
    lowest: dict[str, str] = Field(default_factory=dict)
    """By ranking, the model with the lowest validation loss."""
    copies: tuple[Alarm, ...] = ()
    leaks: tuple[Alarm, ...] = ()
    unsupported_levels: tuple[UnsupportedLevel, ...] = ()
    exempt_from_budget: tuple[BudgetExemption, ...] = ()
    short_budget: str = ""
    """The networks' budget and advice, where it is too small to judge networks; else empty."""
    sentences: tuple[str, ...] = ()
    """The result in plain words, the most important sentence first."""
    warnings: tuple[str, ...] = ()
    """What a reader must not miss."""
