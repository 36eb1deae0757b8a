"""Whole trainings and backtests in CPU seconds, each contender in a process of its own: ETTh1 OT,
and many series.

    python -m bench.race [--data FOLDER] [--only growth] [--again] [--limit 60]
                                                       (or: make race DATA=FOLDER)
    python -m bench.race --only grid --run FOLDER      a project whose comparison is finished
                                                       (or: make race RUN=FOLDER)

Rows go to bench/results/race.json as they are measured. What is done stands in bench/racer.py; the
rows of a grid are read from what that run kept of its costs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench import page
from bench.beside import SCRATCH, run
from bench.published import FILES, folder_of
from bench.race_page import SIZES
from bench.racer import CONTENDERS
from bench.recipes import ETT_ROWS, etth1
from bench.results_file import RESULTS, ROOT, ResultsFile, Row, command, options_of

DATA = ROOT.parent / "shared" / "data" / "benchmarks"
STOP = 1_800
"""Seconds after which a process is stopped."""


def tasks(limit: float) -> dict[str, dict[str, Any]]:
    """By key, in the order of the table."""
    by_key = {}
    for who, what in CONTENDERS:
        if what in ("train", "backtest"):
            by_key[f"{what}/{who}"] = {
                "who": who,
                "what": what,
                "block": ETT_ROWS[1],
                "limit": limit,
            }
    by_key |= {"prepare/ours": {"who": "ours", "what": "prepare", "series": 10_000, "days": 1_000}}
    grown = {f"growth/{size}": {"who": "ours", "what": "growth", "series": size} for size in SIZES}
    return dict(sorted(by_key.items(), reverse=True)) | grown


def measured(task: Mapping[str, Any], data: Path) -> Row:
    """What the process answers; the standardised OT column is handed over as a file, its validation
    block last.
    """
    if task["what"] in ("growth", "prepare"):
        return run(task, STOP, module="bench.racer")
    data = folder_of("etth1", data)
    if not (data / FILES["etth1"].name).exists():
        return {
            "not run": (
                f"{FILES['etth1'].name} is not in the data folder; published at"
                f" {FILES['etth1'].source}"
            )
        }
    SCRATCH.mkdir(parents=True, exist_ok=True)
    values_file = SCRATCH / "ot.npy"
    np.save(values_file, etth1(data, ["OT"])[: sum(ETT_ROWS[:2]), 0])
    return run({**task, "data": str(values_file)}, STOP, module="bench.racer")


@command
def main() -> None:
    parser = options_of(__doc__, DATA)
    parser.add_argument(
        "--limit", type=float, default=60, help="CPU seconds of the longest training"
    )
    options = parser.parse_args()
    store = ResultsFile(RESULTS / "race.json")
    every = tasks(options.limit)
    for key in store.missing(every, options):
        row = measured(every[key], options.data)
        store.write(key, row)
        print(key, row.get("not run", "measured"), flush=True)
    page.write(show="race")


if __name__ == "__main__":
    sys.exit(main())
