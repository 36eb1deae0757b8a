"""The page's diagnostics: what goes on inside the networks, and what the errors still contain.

Of each network that stage `train` looked into how far back it looks and whether its closed loop
holds, as one table; MLflow has the curves. Of the shown models: one-step residuals with Ljung-Box's
test, their bias and their largest autocorrelation; MLflow has all of them. All is read from the
records, nothing is run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

import numpy as np

from forecast.comparison.sentences import p_text
from forecast.data.comparison_records import ResidualDiagnosis
from forecast.data.records import Diagnostics, RunRecord
from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.report import text
from forecast.report.charts import floats
from forecast.report.figures import (
    LINEAR,
)
from forecast.report.text import (
    EMPTY,
    MOST_SERIES,
    Row,
    Table,
    TableCell,
    chosen_class,
    drop_lone_series,
    number,
    whole,
    worse_class,
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


def describe_unstable_loops(results: Results) -> list[str]:
    """The closed loops that do not hold, one sentence each."""
    sentences = []
    for record, diagnostics in examined_networks(results):
        word = diagnostics.loop_verdict
        if word and word not in SAFE:
            title = RANKING_TITLES[record.ranking]
            sentences.append(
                f"{text.name(record.model)} ({title}): its closed loop is {word}: it {LOOPS[word]}."
            )
    return sentences


RANKING = "shipped"
"""What residuals are shown of."""
LEVEL = 0.05


def residual_table(results: Results) -> Table | None:
    """One row per series and shown model: the selected one, the best network, the ridge, naive and
    seasonal naive, as far as there are residuals of them; None without any.
    """
    chosen = results.selected_model(RANKING)
    models = [chosen, results.best_network(RANKING), LINEAR, "naive"]
    if results.dataset.season_length > 1:
        models.append("seasonal_naive")
    shipped = [d for d in results.residuals if d.ranking in (RANKING, "baseline")]
    by_key = {(diagnosis.series, diagnosis.model): diagnosis for diagnosis in shipped}
    rows = []
    for series in results.series[:MOST_SERIES]:
        for model in dict.fromkeys(models):
            diagnosis = by_key.get((series, model or ""))
            if diagnosis is not None:
                cls = chosen_class(diagnosis.model == chosen)
                rows.append(Row(diagnosis.model, _residual_cells(diagnosis), cls=cls))
    if not rows:
        return None
    return drop_lone_series(Table(text.columns("residuals"), rows), results.series)


def _residual_cells(diagnosis: ResidualDiagnosis) -> list[TableCell]:
    """Its series and statistics in the order of the table's columns."""
    correlations = floats(diagnosis.autocorrelation)
    lag = int(np.argmax(np.abs(correlations)))
    largest = float(correlations[lag])
    mean = diagnosis.mean or 0.0
    two_errors = 2 * (diagnosis.mean_error or 0.0)
    shown_mean = f"{text.figure(mean, 3)} ± {text.figure(two_errors, 2)}"
    return [
        TableCell(diagnosis.series, diagnosis.series),
        whole(diagnosis.n),
        TableCell(shown_mean, mean, "", worse_class(abs(mean) > two_errors)),
        whole(diagnosis.lags),
        _p_cell(diagnosis.p),
        _p_cell(diagnosis.p_robust),
        TableCell(f"{text.figure(largest, 2)} at lag {lag + 1}", abs(largest)),
    ]


def _p_cell(value: float | None) -> TableCell:
    """A p-value without `p =`; one below `LEVEL` is marked."""
    if value is None:
        return EMPTY
    rounded_p = p_text(value).removeprefix("p = ").removeprefix("p ")
    return TableCell(rounded_p, value, "", worse_class(value < LEVEL))
