"""What the data were and how time was cut: splits timeline, data quality, licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset, Splits
from forecast.config.task import SessionCalendar, WeekdayCalendar
from forecast.data.results import BLOCKS, Results
from forecast.report import text
from forecast.report.text import Cell, Row, Table

PURPOSES = {
    "train": "everything fitted is fitted here: scaling, skip, weights",
    "validation": "choices: hyper-parameters, early stopping, the chosen model",
    "calibration": "the width of intervals",
    "test": "the scores on this page; looked at last, chosen from never",
}


@dataclass(frozen=True)
class Block:
    """One block of the timeline: first and last day, share of the whole span, number of origins (train has none)."""

    name: str
    first: str
    last: str
    share: float
    origins: int
    purpose: str


def timeline(results: Results) -> list[Block]:
    bounds = _bounds(results)
    origins = results.naive.groupby("block")["cutoff"].nunique().to_dict()
    whole = _seconds(bounds[0][1], bounds[-1][2]) or 1.0
    blocks = []
    for name, first, last in bounds:
        share = _seconds(first, last) / whole
        days = first.date().isoformat(), last.date().isoformat()
        blocks.append(Block(name, days[0], days[1], share, int(origins.get(name, 0)), PURPOSES[name]))
    return blocks


def _seconds(first: pd.Timestamp, last: pd.Timestamp) -> float:
    """Of spans beyond 292 years too, where nanoseconds overflow: sunspots are counted since 1700."""
    return float((last.as_unit("s") - first.as_unit("s")).total_seconds())


def _bounds(results: Results) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    """(block, first, last): configured days where there are any, else the range of the scored targets."""
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
    known = [(b, pd.Timestamp(scored[b].min()), pd.Timestamp(scored[b].max())) for b in BLOCKS[1:] if b in scored]
    return [("train", start, known[0][1] if known else end), *known]


def quality_table(results: Results) -> Table:
    """Per series and column: rows, range in time, missing steps, gaps, range of values; of many series those with the
    most missing steps."""
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
    rows = [
        _quality_row(results, unique_id, series, column.column, column.unit)
        for unique_id, series in _least_complete(results.quality["series"])
        for column in results.dataset.columns
        if column.column in series["columns"]
    ]
    return Table(columns, rows)


def _least_complete(series: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """All of a few; else the `WORST`."""
    if len(series) <= text.WORST:
        return list(series.items())
    missing = {name: sum(c["missing"] for c in found["columns"].values()) for name, found in series.items()}
    return [(name, series[name]) for name in sorted(series, key=lambda name: -missing[name])[: text.WORST]]


def _quality_row(results: Results, unique_id: str, series: dict[str, Any], column: str, unit: str) -> Row:
    found = series["columns"][column]
    shown = f"{column} [{unit}]" if unit else column
    missing = f"{text.count(found['missing'])} ({text.percent(found['missing_share'], decimals=2)})"
    cells = [
        Cell(shown, shown),
        Cell(text.count(series["rows"]), series["rows"]),
        Cell(series["first"][:10], series["first"]),
        Cell(series["last"][:10], series["last"]),
        Cell(missing if found["missing"] else "0", found["missing"]),
        Cell(text.count(series["gaps"]), series["gaps"]),
        *[Cell(text.figure(found[key]), found[key]) for key in ("min", "mean", "max")],
    ]
    return Row(unique_id, cells)


def gaps(results: Results) -> list[str]:
    """The gaps the record names, longest first, as sentences."""
    found = sorted(results.quality.get("gaps_shown", []), key=lambda gap: (-gap["steps"], gap["first"]))
    return [f"{g['series']}: {g['steps']} steps from {g['first'].replace('T', ' ')[:16]}" for g in found]


def findings_table(results: Results) -> Table | None:
    """What the data checks found, in their words; None when they found nothing."""
    found = results.quality.get("findings") or []
    columns = [
        ("Check", "The rule that was broken"),
        ("Found", ""),
        ("Series", ""),
        ("Column", "Empty: all columns"),
        ("Action", "What the configuration wants done about it when the data are fetched"),
    ]
    rows = []
    for finding in found:
        named = [str(finding.get(key) or text.NOTHING) for key in ("series", "column", "action")]
        said = Cell(str(finding["sentence"]), str(finding["sentence"]), cls="said")
        rows.append(Row(str(finding["rule"]), [said, *[Cell(n, n) for n in named]]))
    return Table(columns, rows) if rows else None


def facts(results: Results) -> list[tuple[str, str]]:
    """The dataset in a few words: (what, value)."""
    dataset = results.dataset
    transform = "" if dataset.target[0].transform == "none" else f", transform {dataset.target[0].transform}"
    inputs = [c.column for c in dataset.past_exogenous]
    known = [*dataset.calendar_features, *(c.column for c in dataset.future_exogenous)]
    return [
        ("Series", text.abridged(list(results.quality["series"]))),
        ("Target", f"{dataset.target[0].column}{f' in {results.unit}' if results.unit else ''}{transform}"),
        ("Time steps", _steps(dataset)),
        ("Inputs known up to the cutoff", text.listing(["the target's own past", *inputs])),
        ("Inputs known in advance", text.listing([text.name(f) for f in known]) or "none"),
        ("Horizon", f"{_count(dataset.horizon)}; a forecast every {_count(dataset.step_size)}"),
        ("Lookback", f"{dataset.lookback} rows; nothing older influences a forecast"),
        ("Season", f"{_count(dataset.season_length)} (seasonal naive forecast, scale of MASE)"),
        ("Data as of", results.as_of),
        ("Licence", dataset.licence.name),
        ("Attribution", dataset.licence.attribution),
        *[("Note", note) for note in notes(results)],
    ]


def _count(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"


def _steps(dataset: Dataset) -> str:
    calendar = dataset.calendar
    if isinstance(calendar, SessionCalendar):
        return f"sessions of the exchange {calendar.exchange}"
    if isinstance(calendar, WeekdayCalendar):
        return f"days: {text.listing(list(calendar.days))}"
    return f"every {calendar.freq}, UTC"


def notes(results: Results) -> list[str]:
    """The notes of the dataset's configuration: that of the licence and, where there are any, its own."""
    own = getattr(results.dataset, "notes", ())
    return [note for note in (results.dataset.licence.note, *([own] if isinstance(own, str) else own)) if note]
