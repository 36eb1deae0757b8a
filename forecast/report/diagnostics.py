"""The page's table on the networks (`network_table`): how far back each looks, and whether its
closed loop is stable. Stage `train` computed it (`backtest.diagnostics`); MLflow has the curves.
"""

from __future__ import annotations

import numpy as np

from forecast.data.records import Diagnostics, RunRecord
from forecast.data.results import RANKING_TITLES, Results
from forecast.report import text
from forecast.report.charts import floats
from forecast.report.leaderboard import order_records
from forecast.report.text import EMPTY, Row, Table, TableCell, number, whole

SAFE_VERDICTS = ("stable", "marginal")
"""The verdicts on a closed loop that need no warning."""
MEANING_OF_VERDICT = {
    "stable": "forgets a disturbance and stays within bounds",
    "marginal": "keeps a disturbance as it is, like a random walk",
    "sensitive": "amplifies a disturbance within bounds, as chaos does",
    "drifting": "goes over 25 scaled units from its start without amplifying, like a straight line",
    "unstable": "goes over 25 scaled units from its start and amplifies, or is not finite",
}
"""What each verdict on a closed loop means."""
LEAST_GRADIENT = 0.01
"""A network looks back as far as its gradient has at least this share of the largest gradient."""


def network_table(results: Results) -> Table | None:
    """The table with one row per network with diagnostics, which are those of its first seed, by
    ranking and name; None without any.
    """
    rows = [
        _network_row(record, record.diagnostics)
        for record in order_records(results)
        if record.diagnostics is not None
    ]
    return Table(text.columns("networks"), rows) if rows else None


def _network_row(record: RunRecord, diagnostics: Diagnostics) -> Row:
    """The row of one network, in the order of the columns `networks` in columns.yaml."""
    verdict = diagnostics.loop_verdict
    loop = EMPTY
    if verdict:
        loop = TableCell(
            verdict,
            verdict,
            MEANING_OF_VERDICT[verdict],
            "" if verdict in SAFE_VERDICTS else "w-worse",
        )
    cells = [
        TableCell(RANKING_TITLES[record.ranking], record.ranking),
        whole(rows_back(diagnostics)),
        loop,
        number(diagnostics.loop.reach if diagnostics.loop else None),
    ]
    return Row(record.model, cells)


def rows_back(diagnostics: Diagnostics) -> int | None:
    """The largest lag whose gradient is at least `LEAST_GRADIENT` of the largest; None if all are
    0.
    """
    arrays = diagnostics.arrays
    gradient = floats(arrays.gradient)
    greatest = np.nanmax(gradient, initial=0.0)
    if greatest == 0:
        return None
    return int(np.asarray(arrays.lags)[gradient >= LEAST_GRADIENT * greatest].max())
