"""The page's facts about a comparison: the budget and cost of every candidate (`cost_table`,
`budget_sentence`), the blocks of time (`timeline`), and the data (`quality_table`,
`findings_table`).

Costs are read from the files that training writes beside the results; they may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nlargest

import pandas as pd

from forecast.config.task import format_time
from forecast.data.quality import SeriesDescription
from forecast.data.records import UNKNOWN_COST, CandidateCost, RunRecord, TrainingCost
from forecast.data.results import RANKING_TITLES, Results
from forecast.data.splits import BLOCKS
from forecast.report import text
from forecast.report.leaderboard import order_records
from forecast.report.panels import is_private
from forecast.report.text import Row, Table, TableCell, number, whole

Costs = Mapping[str, CandidateCost]
"""The cost of each candidate; empty if the costs were not stored."""


def cost_table(results: Results, costs: Costs) -> Table:
    """The budget and cost of every candidate, baselines first."""
    rows = [
        _row(costs.get(record.candidate, UNKNOWN_COST), record) for record in order_records(results)
    ]
    return Table(text.columns("costs"), rows)


def _row(cost: CandidateCost, record: RunRecord) -> Row:
    """The row of one candidate, in the order of the columns `costs` in columns.yaml. A cell is
    empty for a count of zero and for an unknown cost.
    """
    usable = sum(seed.status == "ok" for seed in record.seeds)
    trials = len(record.trials)
    cells = [
        TableCell(RANKING_TITLES.get(record.ranking, "baseline"), record.ranking),
        whole(trials or None),
        whole(record.cost.tuning_gradient_steps or None),
        _steps(record.cost),
        whole(record.cost.targets_learnt_from or None),
        whole(record.n_params),
        text.cell(cost.tuning_cpu_seconds if trials else None, text.duration),
        text.cell(cost.cpu_seconds, text.duration),
        TableCell(f"{usable} of {len(record.seeds)}", usable),
        whole(record.rows_seen),
        whole(record.refits or None),
    ]
    marks = ["failed"] if record.has_failed else []
    return Row(record.model, cells, marks)


def _steps(cost: TrainingCost) -> TableCell:
    """The gradient steps of training: `450 of 600`, or `600` if all were taken."""
    allowed = cost.gradient_steps
    steps_taken = cost.gradient_steps_taken
    if steps_taken < allowed:
        return TableCell(f"{steps_taken:,} of {allowed:,}", steps_taken)
    return whole(allowed or None)


def budget_sentence(results: Results) -> str:
    """The common budget of all networks, and the exempt networks with the reason."""
    exempt = {(e.model, e.ranking): e.why for e in results.verdicts.exempt_from_budget}
    networks = [
        record
        for record in results.records.values()
        if record.is_network
        and not record.has_failed
        and (record.model, record.ranking) not in exempt
    ]
    sentences = []
    if networks:
        trials = text.count(len(networks[0].trials))
        tuning = text.count(networks[0].cost.tuning_gradient_steps)
        training = text.count(networks[0].cost.gradient_steps)
        sentences.append(
            f"Same budget for every network: {trials} trials, {tuning} gradient steps in tuning,"
            f" {training} in training over all seeds."
        )
    sentences += [f"{name_candidate(*row)} is exempt: {why}." for row, why in exempt.items()]
    return " ".join(sentences) or "No networks were trained."


def name_candidate(model: str, ranking: str) -> str:
    """A model with its ranking: `seasonal naive (baseline)`."""
    return f"{text.name(model)} ({RANKING_TITLES.get(ranking, 'baseline')})"


MAX_FINDINGS = 100
"""Most findings of the data checks that are listed."""
PURPOSES = {
    "train": "scaling, and the first fit of everything; the second is on train and validation",
    "validation": "choices: hyper-parameters, early stopping, combinations, the selected model",
    "calibration": "the width of intervals",
    "test": "the scores on this page; looked at last, chosen from never",
}


@dataclass(frozen=True)
class BlockOfTime:
    """One block of the time axis."""

    name: str
    first: str
    last: str
    share: float
    """Its share of the whole time."""
    origins: int
    """The number of cutoffs; 0 for train."""
    purpose: str


def timeline(results: Results) -> list[BlockOfTime]:
    """The blocks in time order."""
    bounds = _block_bounds(results)
    origins = results.naive.groupby("block")["cutoff"].nunique()
    whole_span = _seconds(bounds[0][1], bounds[-1][2])
    return [
        BlockOfTime(
            name=name,
            first=_short_time(results, str(first)),
            last=_short_time(results, str(last)),
            share=_seconds(first, last) / whole_span,
            origins=int(origins.get(name, 0)),
            purpose=PURPOSES[name],
        )
        for name, first, last in bounds
    ]


def _seconds(first: pd.Timestamp, last: pd.Timestamp) -> float:
    """The seconds between two times, also if they are more than 292 years apart, as in a record of
    sunspots since 1700: nanoseconds would overflow.
    """
    return float((last.as_unit("s") - first.as_unit("s")).total_seconds())


def _block_bounds(results: Results) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    """(block, first, last) in time order: the first and last target of each scored block; for the
    train block the first row and the first target of the first scored block.
    """
    start = pd.Timestamp(min(s["first"] for s in results.quality["series"].values()))
    targets = results.naive.groupby("block")["ds"].agg(["min", "max"])
    bounds = [(block, *targets.loc[block]) for block in BLOCKS[1:] if block in targets.index]
    return [("train", start, bounds[0][1]), *bounds]


def quality_table(results: Results) -> Table:
    """By series and column: rows, first and last time, missing steps, gaps, least, mean and
    greatest value, which are left out of private data. Of many series those with the most missing
    steps are shown.
    """
    shown_series = list(results.quality["series"].items())
    if len(shown_series) > text.MOST_LISTED:
        shown_series = nlargest(text.MOST_LISTED, shown_series, key=_missing_steps)
    rows = []
    for unique_id, series in shown_series:
        for column in results.dataset.columns:
            if column.column in series["columns"]:
                cells = _quality_cells(results, series, column.column, column.unit)
                rows.append(Row(unique_id, cells))
    return Table(text.columns("data"), rows)


def _missing_steps(series: tuple[str, SeriesDescription]) -> int:
    """The missing steps of a series, an entry of quality.json, over all its columns."""
    return sum(int(column["missing"]) for column in series[1]["columns"].values())


def _quality_cells(
    results: Results, series: SeriesDescription, column: str, unit: str
) -> list[TableCell]:
    """The cells of one column of a series; `series`: an entry of quality.json."""
    quality = series["columns"][column]
    title = column + text.in_brackets(unit)
    missing = "0"
    if quality["missing"]:
        missing_share = text.percent(quality["missing_share"], decimals=2)
        missing = f"{text.count(quality['missing'])} ({missing_share})"
    values = [quality[key] for key in ("min", "mean", "max")]
    if is_private(results):
        values = [None, None, None]
    return [
        TableCell(title, title),
        whole(series["rows"]),
        *[TableCell(_short_time(results, end), end) for end in (series["first"], series["last"])],
        TableCell(missing, quality["missing"]),
        whole(series["gaps"]),
        *map(number, values),
    ]


def _short_time(results: Results, moment: str) -> str:
    """The time in ISO 8601 to the day; the row number if rows have no dates."""
    return format_time(results.dataset.calendar.kind, moment, 10).replace("T", " ")


def findings_table(results: Results) -> Table | None:
    """The first findings of the data checks; None if there are none. Of private data without their
    sentences, many of which quote values.
    """
    rows = []
    for finding in results.quality.get("findings", [])[:MAX_FINDINGS]:
        sentence = str(finding["sentence"])
        if is_private(results):
            sentence = f"May quote values: `forecast data {results.name}` shows it."
        cells = [TableCell(sentence, sentence, cls="said")]
        for key in ("series", "column", "action"):
            label = str(finding.get(key) or text.NOTHING)
            cells.append(TableCell(label, label))
        rows.append(Row(str(finding["rule"]), cells))
    return Table(text.columns("findings", most=MAX_FINDINGS), rows) if rows else None
