"""The executable leak audit: does anything know what it could not have known?

The pipeline is treated as a black box. Its input, the stored snapshot, is changed after some moment; everything that
belongs to the time before must come out bit for bit as it was. No rule knows any particular leak: what is listed is
what may depend on which rows, and a leak is whatever depends on others.

    scaling, skip, weights      train rows; a choice between fits may look at validation
    tuning, the chosen model    train and validation rows
    intervals                   nothing after the calibration block
    prepared rows, inputs       rows up to their own
    known-future inputs         the calendar alone, or issues of that time or earlier
    a forecast                  rows up to its cutoff

What no change of later rows can show is looked for in the data themselves: a column that tells the target in advance,
a history that was revised, blocks out of order, a stretch of test in the training rows. And what the project holds as
its finished results is made again from its models, as far as that costs no training.
"""

from __future__ import annotations

from forecast.audit.findings import KINDS, Audit, Finding

__all__ = ["KINDS", "Audit", "Finding"]
