"""The executable leak audit: does anything know what it could not have known?

The pipeline is treated as a black box. Its input, the stored snapshot, is changed after some
moment; everything that belongs to the time before must come out bit for bit as it was. No rule
knows any particular leak: what is listed is what may depend on which rows, and a leak is whatever
depends on others.

    scaling, skip, weights      train rows; a choice between fits may look at validation
    tuning, the chosen model    train and validation rows
    members and their weights   validation rows
    intervals                   errors whose targets are known at the cutoff; widths, the rows up to
                                it and the calibration block
    prepared rows, inputs       rows up to their own
    known-future inputs         the calendar, issues of that time or earlier, and plans declared as
                                known ahead
    a forecast                  rows up to its cutoff

Which module catches which kind of leak (the keys of `KINDS`); a `Finding` names its detector:

    module    detectors                                       kinds of leak
    runs      rows after a moment changed: fits, choices,     scaling, skip, tuning, training,
              calibrations and forecasts of two runs          weights, choice, calibration, scores,
                                                              forecast, beside
    runs      one run: the rows of tuning, origins, folds,    blocks, folds, tuning, calibration,
              calibration rows, targets that a fit asked for  skip, training
    origins   rows after one moment changed or cut            scaling, features, gap, known future,
                                                              forecast, beside
    rescored  scores and choices once more                    origins, scores, choice, tuning,
                                                              training
    data_     the data themselves                             history, target, column, actuals,
    checks                                                    repeated
    stored    the finished results once more; fits made       stored, scaling, training, scores,
              once more without later rows                    choice, and those of two runs

The leak planted for each kind is in tests/audit (`test_leaks`, `test_training_leaks`, `test_data`
...). The next detector is a function of that module which yields findings, called by
`audit.__main__.audit`, with a plant of its kind.

What no change of later rows can show is looked for in the data themselves: a column that tells the
target in advance, a history that was revised, blocks out of order, a stretch of test in the
training rows. And what the project holds as its finished results is made again from its models, as
far as that costs no training.

`changes` makes what an audited pipeline is fed.
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
"""Kind of finding to its name, causes before effects."""


@dataclass(frozen=True)
class Finding:
    """`kind`: a key of `KINDS`; `detector`: the check that caught it; `where`: a column, a model or
    a file.
    """

    kind: str
    detector: str
    where: str
    text: str

    @property
    def order(self) -> tuple[int, str]:
        """What findings are sorted by: causes before effects, then by their detector."""
        return list(KINDS).index(self.kind), self.detector


@dataclass(frozen=True)
class Audit:
    """`checked`: what was looked at and how often, so that a clean audit of nothing does not pass
    for a clean one; `outdated_file`: one of the project that its stages would write otherwise now,
    so that its stored results were not looked at.
    """

    dataset: str
    findings: tuple[Finding, ...]
    checked: dict[str, int]
    notes: tuple[str, ...] = ()
    outdated_file: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values, with `clean`."""
        return {**asdict(self), "clean": self.is_clean}

    def lines(self) -> list[str]:
        """For a terminal: the verdict, the findings with the cause first, what was checked."""
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
    """Causes first; equal findings of several models or origins once, with the number of the
    others.
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
