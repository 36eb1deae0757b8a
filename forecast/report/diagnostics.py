"""The page's diagnostics: what goes on inside the networks.

Of each network that stage `train` looked into how far back it looks and whether its closed loop
holds, as one table; MLflow has the curves. All is read from the records, nothing is run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

import numpy as np

from forecast.data.records import Diagnostics, RunRecord
from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.report import text
from forecast.report.charts import floats
from forecast.report.text import (
    EMPTY,
    Row,
    Table,
    TableCell,
    number,
    whole,
)

SAFE = ("stable", "marginal")
LOOPS = {
    "stable": "forgets a disturbance and stays within bounds",
    "marginal": "keeps a disturbance as it is, like a random walk",
    "sensitive": "amplifies a disturbance within bounds, as chaos does",
    "drifting": "leaves the range of the train data without amplifying, like a straight line",
    "unstable": "leaves the range of the train data and amplifies",
}
SEEN = 0.01


def examined_networks(results: Results) -> Iterator[tuple[RunRecord, Diagnostics]]:
    """Every candidate that was looked into, rankings one after another, by name, with the
    diagnostics of its first seed.
    """
    by_name = sorted(results.records.values(), key=attrgetter("model"))
    for ranking in RANKINGS:
        for record in by_name:
            if record.ranking == ranking and record.diagnostics is not None:
                yield record, record.diagnostics


def network_table(results: Results) -> Table | None:
    """One row per examined network; None without any."""
    rows = [_network_row(*network) for network in examined_networks(results)]
    return Table(text.columns("networks"), rows) if rows else None


def _network_row(record: RunRecord, diagnostics: Diagnostics) -> Row:
    """Its numbers in the order of the columns `networks`."""
    verdict = diagnostics.loop_verdict
    loop = EMPTY
    if verdict:
        loop = TableCell(verdict, verdict, LOOPS[verdict], text.worse_class(verdict not in SAFE))
    cells = [
        TableCell(RANKING_TITLES[record.ranking], record.ranking),
        whole(looks_back(diagnostics)),
        loop,
        number(diagnostics.loop.reach if diagnostics.loop else None),
    ]
    return Row(record.model, cells)


def looks_back(diagnostics: Diagnostics) -> int | None:
    """The last of the lags whose gradient is at least 1 % of the greatest; None without any
    gradient.
    """
    arrays = diagnostics.arrays
    gradient = floats(arrays.gradient)
    greatest = np.nanmax(gradient, initial=0.0)
    if not greatest > 0:
        return None
    return int(np.asarray(arrays.lags)[gradient >= SEEN * greatest].max())
