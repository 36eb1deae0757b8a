"""The page's account of a comparison: what every candidate was given and cost (`cost_table`,
`budget_sentence`), how time was cut (`timeline`), and what the data were (`quality_table`,
`findings_table`).

All is read from `Results` and from the costs that training kept beside them, which are no results
and may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nlargest

import pandas as pd

from forecast.config.task import format_time
from forecast.data.quality import SeriesDescription
from forecast.data.records import UNKNOWN_COST, CandidateCost, RunRecord, TrainingCost
from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.data.splits import BLOCKS
from forecast.report import text
from forecast.report.text import Row, Table, TableCell, number, whole

ORDER = ("baseline", *RANKINGS)
Costs = Mapping[str, CandidateCost]
"""The cost of each candidate; empty when costs were not kept."""


def cost_table(results: Results, costs: Costs) -> Table:
    """What every candidate was given, baselines first."""
    by_name = sorted(results.records.items())
    by_name.sort(key=lambda item: ORDER.index(item[1].ranking))
    rows = [_row(costs.get(name, UNKNOWN_COST), record) for name, record in by_name]
    return Table(text.columns("costs"), rows)


def _row(seconds: CandidateCost, record: RunRecord) -> Row:
    """The row of one candidate: its name, then a cell for each later column of `costs` in
    templates/columns.yaml, in that order.

    A cell is empty where no trial, step, target or refit was counted, and where seconds are
    unknown.
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
        text.cell(seconds.tuning_cpu_seconds if trials else None, text.duration),
        text.cell(seconds.cpu_seconds, text.duration),
        TableCell(f"{usable} of {len(record.seeds)}", usable),
        whole(record.rows_seen),
        whole(record.refits or None),
    ]
    marks = ["failed"] if record.has_failed else []
    return Row(record.model, cells, marks)


def _steps(cost: TrainingCost) -> TableCell:
    """`450 of 600` gradient steps; `600` where all were taken."""
    allowed = cost.gradient_steps
    steps_taken = cost.gradient_steps_taken
    if steps_taken < allowed:
        return TableCell(f"{steps_taken:,} of {allowed:,}", steps_taken)
    return whole(allowed or None)


def budget_sentence(results: Results) -> str:
    """The budget of all networks, which stage `compare` refuses to have differ, and the exempt with
    their reason.
    """
    exempt = {(e.model, e.ranking): e.why for e in results.verdicts.exempt_from_budget}
    sentences = [f"{name_row(*row)} is exempt: {why}." for row, why in exempt.items()]
    for record in results.records.values():
        label = (record.model, record.ranking)
        if record.is_network and not record.has_failed and label not in exempt:
            trials = text.count(len(record.trials))
            tuning = text.count(record.cost.tuning_gradient_steps)
            training = text.count(record.cost.gradient_steps)
            sentences.insert(
                0,
                f"Same budget for every network: {trials} trials, {tuning} gradient steps in"
                f" tuning, {training} in training over all seeds.",
            )
            break
    return " ".join(sentences) or "No networks were trained."


def name_row(model: str, ranking: str) -> str:
    """`seasonal naive (baseline)`."""
    return f"{text.name(model)} ({RANKING_TITLES.get(ranking, 'baseline')})"


MAX_FINDINGS = 100
"""Findings of the data checks that are listed."""


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
    """The share of the whole span."""
    origins: int
    """Cutoffs of naive; train has none."""
    purpose: str


def timeline(results: Results) -> list[BlockOfTime]:
    """The blocks in time order."""
    bounds = _block_bounds(results)
    origins = results.naive.groupby("block")["cutoff"].nunique()
    whole_span = _seconds(bounds[0][1], bounds[-1][2]) or 1.0
    return [
        BlockOfTime(
            name=name,
            first=_short_time(results, str(first), 10),
            last=_short_time(results, str(last), 10),
            share=_seconds(first, last) / whole_span,
            origins=int(origins.get(name, 0)),
            purpose=PURPOSES[name],
        )
        for name, first, last in bounds
    ]


def _seconds(first: pd.Timestamp, last: pd.Timestamp) -> float:
    """The seconds of a span, also beyond 292 years, where nanoseconds overflow: the sunspots begin
    in 1700.
    """
    return float((last.as_unit("s") - first.as_unit("s")).total_seconds())


def _block_bounds(results: Results) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    """(block, first, last): of each scored block its first and last target; of the train block the
    first row, and the first target of the first scored block.
    """
    series = results.quality["series"].values()
    start = pd.Timestamp(min(s["first"] for s in series))
    end = pd.Timestamp(max(s["last"] for s in series))
    targets = results.naive.groupby("block")["ds"].agg(["min", "max"])
    bounds = [(block, *targets.loc[block]) for block in BLOCKS[1:] if block in targets.index]
    train_end = bounds[0][1] if bounds else end
    return [("train", start, train_end), *bounds]


def quality_table(results: Results) -> Table:
    """Per series and column: rows, range in time, missing steps, gaps, range of values; of many
    series those with the most missing steps.
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
    """The missing steps of an entry of quality.json, over all its columns."""
    return sum(int(column["missing"]) for column in series[1]["columns"].values())


def _quality_cells(
    results: Results, series: SeriesDescription, column: str, unit: str
) -> list[TableCell]:
    """`series`: an entry of quality.json."""
    quality = series["columns"][column]
    title = column + text.in_brackets(unit)
    missing = "0"
    if quality["missing"]:
        missing_share = text.percent(quality["missing_share"], decimals=2)
        missing = f"{text.count(quality['missing'])} ({missing_share})"
    return [
        TableCell(title, title),
        whole(series["rows"]),
        *[
            TableCell(_short_time(results, end, 10), end)
            for end in (series["first"], series["last"])
        ],
        TableCell(missing, quality["missing"]),
        whole(series["gaps"]),
        *[number(quality[key]) for key in ("min", "mean", "max")],
    ]


def _short_time(results: Results, moment: str, places: int = 16) -> str:
    """ISO 8601 to its minute (16 places) or day (10); the number of a row without a date."""
    return format_time(results.dataset.calendar.kind, moment, places).replace("T", " ")


def findings_table(results: Results) -> Table | None:
    """What the data checks found first, in their words; None when they found nothing."""
    rows = []
    for finding in results.quality.get("findings", [])[:MAX_FINDINGS]:
        sentence = str(finding["sentence"])
        cells = [TableCell(sentence, sentence, cls="said")]
        for key in ("series", "column", "action"):
            label = str(finding.get(key) or text.NOTHING)
            cells.append(TableCell(label, label))
        rows.append(Row(str(finding["rule"]), cells))
    return Table(text.columns("findings", most=MAX_FINDINGS), rows) if rows else None
