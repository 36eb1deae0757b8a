"""The leak audit: finds results that depend on data which were not known at the time.

The pipeline is treated as a black box. Its input, the stored snapshot, is changed after some
moment; everything that belongs to the time before must stay equal bit for bit. These are the rows
on which each part may depend; a dependence on any other row is a leak:

    scaling, skip, network      train rows; a choice between fits may look at validation
    tuning, the selected model  train and validation rows
    members and their weights   validation rows
    intervals                   errors whose targets are known at the cutoff; widths, the rows up to
                                it and the calibration block
    prepared rows, inputs       rows up to their own
    known-future inputs         the calendar, issues of that time or earlier, and plans declared as
                                known ahead
    a forecast                  rows up to its cutoff

The modules, and the kinds of leak (keys of `KINDS`) that each can find:

    module        what it does                                kinds of leak
    runs          compares fits, choices, calibrations and    scaling, skip, tuning, training,
                  forecasts of two runs, whose rows after a   weights, choice, calibration, scores,
                  moment differ                               forecast, beside
    runs          checks one run: rows of tuning, origins,    blocks, folds, tuning, calibration,
                  folds, calibration, targets used by fits    skip, training
    origins       changes or cuts the rows after single       scaling, features, gap, known future,
                  moments                                     forecast, beside
    rescored      computes scores and choices again           origins, scores, choice, tuning,
                                                              training
    data_checks   checks the data themselves                  history, target, column, actuals,
                                                              repeated
    stored        computes the project's stored results       stored, scaling, skip, training,
                  again; fits again without later rows        tuning, origins, scores, choice

`changes` has the changes of rows, `sandbox` runs the stages. A leak of each kind is planted in
tests/audit. A new check is a function that yields findings, called by `audit.__main__.audit`, and
has a planted leak in the tests.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

KINDS: dict[str, str] = {
    "history": "revised history",
    "beside": "data read or kept beside the run",
    "target": "the target, ahead of time, among the inputs",
    "repeated": "test rows among the training rows",
    "blocks": "blocks out of order",
    "origins": "scores over other origins or actuals than the protocol's",
    "features": "a feature made of later rows",
    "gap": "a gap filled from later rows",
    "known future": "a known-future input made of observations",
    "column": "a column that holds later values",
    "actuals": "targets that are not those of the source",
    "stored": "stored results that are not those of the stored models",
    "scaling": "scaling fitted on later rows",
    "folds": "folds that learn from what they are scored on",
    "skip": "a skip fitted on later rows",
    "tuning": "tuning that saw later rows",
    "training": "training that saw later rows",
    "weights": "a combination's weights that saw later rows",
    "forecast": "a forecast that sees beyond its cutoff",
    "choice": "a choice that saw later rows",
    "calibration": "intervals that saw rows outside the calibration block",
    "scores": "scores that are not those of all forecasts at the scale of the train part",
}
"""Kind of finding → its name, causes before effects."""


@dataclass(frozen=True)
class Finding:
    """A leak that was found."""

    kind: str
    """A key of `KINDS`."""
    detector: str
    """The check that found it."""
    where: str
    """The column, model, series or file."""
    text: str

    @property
    def order(self) -> tuple[int, str]:
        """The sort key of findings: causes before effects, then the detector."""
        return list(KINDS).index(self.kind), self.detector


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit."""

    dataset: str
    findings: tuple[Finding, ...]
    checked: dict[str, int]
    """What was checked → how often; shows that a clean audit has checked something."""
    notes: tuple[str, ...] = ()
    outdated_file: str = ""
    """A file of the project that its stages would now write differently; then the stored results
    were not audited.
    """

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values, with `clean`."""
        return {**asdict(self), "clean": self.is_clean}

    def describe(self) -> list[str]:
        """The lines for a terminal: verdict, findings, what was checked, notes. The first of
        `findings` is named as the cause, so they must come from `order_findings`.
        """
        checked_counts = ", ".join(f"{count} {what}" for what, count in self.checked.items())
        notes = list(self.notes)
        if self.outdated_file:
            notes.append(
                f"The run is out of date: {self.outdated_file} is not what the stages make of the"
                " snapshot now, so stored results were not looked at. `forecast run"
                f" --dataset {self.dataset}`, then the audit again."
            )
        if self.is_clean:
            return [f"{self.dataset}: no leak found. Checked: {checked_counts}.", *notes]
        kinds = list(dict.fromkeys(finding.kind for finding in self.findings))
        head = f"{self.dataset}: LEAK: {KINDS[kinds[0]]}"
        if len(kinds) > 1:
            head += f"; with it: {', '.join(KINDS[kind] for kind in kinds[1:])}"
        finding_lines = [
            f"- {KINDS[f.kind]} ({f.where}), caught by {f.detector}: {f.text}"
            for f in self.findings
        ]
        return [f"{head}.", *finding_lines, f"Checked: {checked_counts}.", *notes]


def order_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """The findings with causes first; those of one kind and detector are merged to one, with the
    number of the other places.
    """
    merged_findings = []
    order = attrgetter("order")
    for _, group in groupby(sorted(findings, key=order), order):
        first, *others = group
        n_others = len({finding.where for finding in others} - {first.where})
        if n_others:
            first = replace(first, where=f"{first.where} and {n_others} more")
        merged_findings.append(first)
    return tuple(merged_findings)
