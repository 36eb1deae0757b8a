"""The fair-comparison ledger: what the data were, how time was cut, what every candidate was given
and cost; and the choice between LSTM and GRU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset, Splits
from forecast.config.task import SessionCalendar, WeekdayCalendar, format_time
from forecast.data.records import RunRecord, TrainingCost
from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.data.splits import BLOCKS
from forecast.report import text
from forecast.report.charts import Axes, Point, scatter
from forecast.report.figures import Panel, error_title, headline, role_of
from forecast.report.text import Cell, Row, Table, number, whole
from forecast.system.errors import plural

COLUMNS = [
    ("Model", ""),
    ("Ranking", "Which skip connection it was trained with"),
    ("Trials", "Tuning trials, scored on validation only"),
    ("Steps, tuning", "Gradient steps of all trials together"),
    (
        "Steps, training",
        "Gradient steps of all seeds: those given, and those taken where a seed stopped early",
    ),
    (
        "Targets",
        (
            "Observed values learnt from, tuning and training: steps x chunks x origins of a chunk"
            " x horizon"
        ),
    ),
    ("Parameters", "Number of trained weights"),
    ("CPU, tuning", "CPU seconds of the tuning study"),
    ("CPU, training", "CPU seconds of fitting and forecasting, all seeds"),
    ("Seeds", "Seeds that gave a usable model"),
    ("Rows seen", "Rows of train and validation that it was fitted on"),
    (
        "Fitted again",
        (
            "How often in the backtest, on all rows known then; by default of a network its linear"
            " part"
        ),
    ),
]
ORDER = ("baseline", *RANKINGS)
Costs = Mapping[str, Mapping[str, Any]]
"""CPU seconds and kinds of machines by candidate; empty when they were not kept."""


def cost_table(results: Results, costs: Costs) -> Table:
    """What every candidate was given, baselines first."""
    rows = [_row(costs.get(name, {}), record) for name, record in results.records.items()]
    rows.sort(key=lambda row: (ORDER.index(str(row.cells[0].value)), row.model))
    return Table(COLUMNS, rows)


def _row(cost: Mapping[str, Any], record: RunRecord) -> Row:
    usable = sum(seed.status == "ok" for seed in record.seeds)
    trials = len(record.trials)
    cells = [
        Cell(RANKING_TITLES.get(record.ranking, "baseline"), record.ranking),
        whole(trials or None),
        whole(record.cost.tuning_gradient_steps or None),
        _steps(record.cost),
        whole(record.cost.targets_learnt_from or None),
        whole(record.n_params),
        _time(cost.get("tuning_cpu_seconds") if trials else None),
        _time(cost.get("cpu_seconds")),
        Cell(f"{usable} of {len(record.seeds)}", usable),
        whole(record.rows_seen),
        whole(record.refits or None),
    ]
    marks = ["failed"] if record.has_failed else []
    return Row(record.model, cells, marks)


def _steps(cost: TrainingCost) -> Cell:
    given, taken = cost.gradient_steps, cost.gradient_steps_taken
    return Cell(f"{taken:,} of {given:,}", taken) if taken < given else whole(given or None)


def _time(spent: float | None) -> Cell:
    return Cell(text.seconds(spent), spent)


def budget_sentence(results: Results) -> tuple[bool, str]:
    """Whether all networks had the same budget of trials and gradient steps, and the sentence that
    says so.

    The exempt (`exempt_from_budget` of verdicts.json) are named with their reason and not compared.
    """
    exempt = {(e.model, e.ranking): e.why for e in results.verdicts.exempt_from_budget}
    networks = {name: r for name, r in results.records.items() if r.is_network}
    compared = {
        name: _budget(r) for name, r in networks.items() if (r.model, r.ranking) not in exempt
    }
    apart = [f"{_name_row(m, r)} is exempt: {why}." for (m, r), why in exempt.items()]
    spent = list(compared.values())
    if not spent:
        return True, " ".join(["No networks were trained." if not networks else "", *apart]).strip()
    if len(set(spent)) == 1:
        trials, tuning, training = map(text.count, spent[0])
        steps = f"{tuning} gradient steps in tuning, {training} in training over all seeds"
        return True, " ".join([f"Same budget for every network: {trials} trials, {steps}.", *apart])
    usual = max(set(spent), key=lambda budget: (spent.count(budget), budget))
    odd = text.listing(
        [
            _name_row(**results.records[name].labels)
            for name, budget in compared.items()
            if budget != usual
        ]
    )
    said = f"Not the same budget: {odd} had another than the rest. Compare those rows with care."
    return False, " ".join([said, *apart])


def kinds_sentence(results: Results, costs: Costs) -> str:
    """Which rows came from which kind of machine; empty where all that is known of came from
    one.
    """
    rows: dict[str, list[str]] = {}
    for name in costs.keys() & results.records.keys():
        for kind in costs[name].get("kinds", ()):
            rows.setdefault(kind, []).append(_name_row(**results.records[name].labels))
    told = "; ".join(
        f"{text.listing(sorted(names))} on {kind}" for kind, names in sorted(rows.items())
    )
    said = (
        f"Computed on {len(rows)} kinds of machines, whose results may differ in the last digits:"
        f" {told}."
    )
    return said if len(rows) > 1 else ""


def _budget(record: RunRecord) -> tuple[int, int, int]:
    """Tuning trials, and the gradient steps allowed in tuning and in training."""
    return len(record.trials), record.cost.tuning_gradient_steps, record.cost.gradient_steps


def _name_row(model: str, ranking: str) -> str:
    return f"{text.name(model)} ({RANKING_TITLES.get(ranking, 'baseline')})"


def cost_panels(results: Results, costs: Costs) -> list[Panel]:
    """Accuracy against CPU seconds (tuning and training); none when the costs were not kept."""
    points = []
    for name, cost in costs.items():
        point = _cost_point(results, name, cost)
        if point is not None:
            points.append(point)
    if len(points) < 3:
        return []
    axes = Axes(
        "Accuracy against cost",
        "CPU seconds, tuning and training (log scale)",
        error_title(results),
        [],
    )
    return [Panel("Accuracy against cost", scatter(points, axes, lambda value: f"{value:g}"))]


def _cost_point(results: Results, name: str, cost: Mapping[str, Any]) -> Point | None:
    record = results.records.get(name)
    spent = float(cost.get("cpu_seconds") or 0) + float(cost.get("tuning_cpu_seconds") or 0)
    if record is None or spent <= 0:
        return None
    score = results.score(record.model, record.ranking)
    if score is None:
        return None
    error = float(score[results.headline_metric])
    role = "other"
    if record.ranking != ARCHITECTURE:
        role = role_of(results, "shipped", record.model)
    tip = (
        f"{_name_row(**record.labels)}: {error_title(results)} {text.figure(error)},"
        f" {text.seconds(spent)} of CPU"
    )
    return Point(text.name(record.model), spent, error, role, record.model, tip)


ARCHITECTURE = "architecture"
MAX_FINDINGS = 100
"""Findings of the data checks that are listed."""
PAIR = ("lstm", "gru")


def choice_table(results: Results, costs: Costs) -> Table | None:
    """What the rule weighs; None where one of the two was not compared."""
    scores = {
        model: score for model in PAIR if (score := results.score(model, ARCHITECTURE)) is not None
    }
    choice = results.verdicts.choice
    if choice is None or len(scores) < len(PAIR):
        return None
    taken = choice.take
    title = headline(results).title
    columns = [
        ("Network", "On top of the last value only, so that no fitted skip hides the architecture"),
        (f"Test {title}", "Mean over seeds"),
        ("Parameters", "Number of trained weights"),
        ("CPU, training", "CPU seconds of fitting and forecasting, all seeds"),
    ]
    rows = []
    for model, score in scores.items():
        spent = costs.get(str(results.candidate(model, ARCHITECTURE)), {}).get("cpu_seconds")
        cells = [number(score[results.headline_metric]), whole(score["n_params"]), _time(spent)]
        rows.append(
            Row(
                model,
                cells,
                ["taken"] if model == taken else [],
                "chosen" if model == taken else "",
            )
        )
    return Table(columns, rows)


def choice_sentence(results: Results) -> str:
    """The numbers of the choice between LSTM and GRU in words; empty where there was none."""
    choice = results.verdicts.choice
    if choice is None:
        return ""
    change = text.signed_percent(choice.relative_difference)
    upper = text.signed_percent(choice.upper)
    margin = text.signed_percent(choice.margin)
    scores = [results.score(model, ARCHITECTURE) for model in PAIR]
    sizes = [int(score["n_params"]) for score in scores if score]
    warning = ""
    if len(sizes) == len(PAIR) and sizes[1] > sizes[0]:
        warning = " Tuning gave the GRU more weights than the LSTM here, so it saves none."
    shown = "shown" if choice.word == "equivalent" else "not shown"
    return (
        f"The GRU's loss against the LSTM's: {change}, upper 95 % bound {upper} on"
        f" {text.count(choice.non_overlapping)} origins whose horizons do not overlap (wanted:"
        f" below {margin}, on at least {choice.wanted_origins}). That the GRU costs no more is"
        f" {shown}: the {text.name(choice.take).upper()} is taken.{warning}"
    )


PURPOSES = {
    "train": "scaling, and the first fit of everything; the second is on train and validation",
    "validation": "choices: hyper-parameters, early stopping, combinations, the chosen model",
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
    """Of the whole span."""
    origins: int
    """Cutoffs of naive; train has none."""
    purpose: str


def timeline(results: Results) -> list[BlockOfTime]:
    """The blocks in time order."""
    bounds = _bounds(results)
    origins = results.naive.groupby("block")["cutoff"].nunique()
    whole_span = _seconds(bounds[0][1], bounds[-1][2]) or 1.0
    return [
        BlockOfTime(
            name=name,
            first=_written(results, str(first), 10),
            last=_written(results, str(last), 10),
            share=_seconds(first, last) / whole_span,
            origins=int(origins.get(name, 0)),
            purpose=PURPOSES[name],
        )
        for name, first, last in bounds
    ]


def _seconds(first: pd.Timestamp, last: pd.Timestamp) -> float:
    """Of spans beyond 292 years too, where nanoseconds overflow: sunspots are counted since
    1700.
    """
    return float((last.as_unit("s") - first.as_unit("s")).total_seconds())


def _bounds(results: Results) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    """(block, first, last): configured days where there are any, else the range of the scored
    targets.
    """
    series = results.quality["series"].values()
    start = pd.Timestamp(min(s["first"] for s in series))
    end = pd.Timestamp(max(s["last"] for s in series))
    splits = results.dataset.splits
    if isinstance(splits, Splits):
        ends = [pd.Timestamp(getattr(splits, f"{block}_end")) for block in BLOCKS]
        starts = [start, *(day + pd.Timedelta(days=1) for day in ends[:-1])]
        found = zip(BLOCKS, starts, ends, strict=True)
        return [(block, first, min(last, end)) for block, first, last in found if first <= end]
    scored = {str(block): part["ds"] for block, part in results.naive.groupby("block")}
    known = [
        (b, pd.Timestamp(scored[b].min()), pd.Timestamp(scored[b].max()))
        for b in BLOCKS[1:]
        if b in scored
    ]
    return [("train", start, known[0][1] if known else end), *known]


def quality_table(results: Results) -> Table:
    """Per series and column: rows, range in time, missing steps, gaps, range of values; of many
    series those with the most missing steps.
    """
    columns = [
        ("Series", ""),
        ("Column", "With its unit; the first one is forecast"),
        ("Rows", "Rows that exist; none is invented"),
        ("First", ""),
        ("Last", ""),
        ("Missing", "Calendar steps without a value"),
        ("Gaps", "Runs of calendar steps without a row"),
        ("Least", ""),
        ("Mean", ""),
        ("Greatest", ""),
    ]
    shown = list(results.quality["series"].items())
    if len(shown) > text.WORST:  # a stable sort: of equal ones the first
        shown.sort(
            key=lambda series: -sum(column["missing"] for column in series[1]["columns"].values())
        )
        shown = shown[: text.WORST]
    rows = [
        _quality_row(results, unique_id, series, column.column, column.unit)
        for unique_id, series in shown
        for column in results.dataset.columns
        if column.column in series["columns"]
    ]
    return Table(columns, rows)


def _quality_row(
    results: Results, unique_id: str, series: dict[str, Any], column: str, unit: str
) -> Row:
    found = series["columns"][column]
    shown = f"{column} [{unit}]" if unit else column
    missing = f"{text.count(found['missing'])} ({text.percent(found['missing_share'], decimals=2)})"
    cells = [
        Cell(shown, shown),
        Cell(text.count(series["rows"]), series["rows"]),
        *[Cell(_written(results, series[end], 10), series[end]) for end in ("first", "last")],
        Cell(missing if found["missing"] else "0", found["missing"]),
        Cell(text.count(series["gaps"]), series["gaps"]),
        *[Cell(text.figure(found[key]), found[key]) for key in ("min", "mean", "max")],
    ]
    return Row(unique_id, cells)


def gaps(results: Results) -> list[str]:
    """The gaps the record names, longest first, as sentences."""
    found = sorted(
        results.quality.get("gaps_shown", []), key=lambda gap: (-gap["steps"], gap["first"])
    )
    return [
        f"{g['series']}: {plural(g['steps'], 'step')} from {_written(results, g['first'])}"
        for g in found
    ]


def _written(results: Results, moment: str, places: int = 16) -> str:
    """ISO 8601 to its minute (16 places) or day (10); the number of a row without a date."""
    return format_time(results.dataset.calendar.kind, moment, places).replace("T", " ")


def findings_table(results: Results) -> Table | None:
    """What the data checks found first, in their words; None when they found nothing."""
    columns = [
        (
            "Check",
            f"The rule that was broken; the first {MAX_FINDINGS} findings, all stand in"
            " quality.json",
        ),
        ("Found", ""),
        ("Series", ""),
        ("Column", "Empty: all columns"),
        ("Action", "What the configuration wants done about it when the data are fetched"),
    ]
    rows = []
    for finding in results.quality.get("findings", [])[:MAX_FINDINGS]:
        named = [str(finding.get(key) or text.NOTHING) for key in ("series", "column", "action")]
        said = Cell(str(finding["sentence"]), str(finding["sentence"]), cls="said")
        rows.append(Row(str(finding["rule"]), [said, *[Cell(n, n) for n in named]]))
    return Table(columns, rows) if rows else None


def facts(results: Results) -> list[tuple[str, str]]:
    """The dataset in a few words: (what, value)."""
    dataset = results.dataset
    transform = (
        ""
        if dataset.target[0].transform == "none"
        else f", transform {dataset.target[0].transform}"
    )
    inputs = [c.column for c in dataset.past_exogenous]
    known = [*dataset.calendar_features, *(c.column for c in dataset.future_exogenous)]
    return [
        ("Series", text.abridged(list(results.quality["series"]))),
        (
            "Target",
            f"{dataset.target[0].column}{f' in {results.unit}' if results.unit else ''}{transform}",
        ),
        ("Time steps", _calendar(dataset)),
        ("Inputs known up to the cutoff", text.listing(["the target's own past", *inputs])),
        ("Inputs known in advance", text.listing([text.name(f) for f in known]) or "none"),
        (
            "Horizon",
            (
                f"{plural(dataset.horizon, 'step')}; a forecast every"
                f" {plural(dataset.step_size, 'step')}"
            ),
        ),
        ("Lookback", f"{plural(dataset.lookback, 'row')}; nothing older influences a forecast"),
        (
            "Season",
            f"{plural(dataset.season_length, 'step')} (seasonal naive forecast, scale of MASE)",
        ),
        ("Data as of", results.as_of),
        ("Licence", dataset.licence.name),
        ("Attribution", dataset.licence.attribution),
        *[("Note", note) for note in notes(results)],
    ]


def _calendar(dataset: Dataset) -> str:
    calendar = dataset.calendar
    if isinstance(calendar, SessionCalendar):
        return f"sessions of the exchange {calendar.exchange}"
    if isinstance(calendar, WeekdayCalendar):
        return f"days: {text.listing(list(calendar.days))}"
    return "rows without dates" if calendar.kind == "index" else f"every {calendar.freq}, UTC"


def notes(results: Results) -> list[str]:
    """The note of the licence, where it has one."""
    return list(filter(None, [results.dataset.licence.note]))
