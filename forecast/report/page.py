"""reports/report.html of a finished run (`write`, `render`).

It is one file that needs no network. The templates in `templates/` ask the other modules of
`forecast.report` for tables, panels and sentences, which they make from `Results`. Equal results
and costs are equal bytes.

Another section is a part of `dataset.html.j2` and a function that returns its table or panels;
`forecast.report` lists who draws what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast import models
from forecast.config.paths import ProjectPaths
from forecast.config.task import SessionCalendar
from forecast.data.calendars import calendar_yaml
from forecast.data.comparison_records import Alarm
from forecast.data.records import RunRecord
from forecast.data.results import RANKING_TITLES, Results, read_costs
from forecast.report import (
    answer,
    board,
    calibration,
    diagnostics,
    figures,
    ledger,
    panels,
    text,
)
from forecast.report.leaderboard import as_csv, combine_leaderboards
from forecast.system.files import write_text

SAMPLED_VALIDATION = "validation losses are of"
"""How the remark of a seed begins that was stopped early by a sample of the validation block."""


def write(paths: ProjectPaths, datasets: Sequence[str], folder: Path | None = None) -> Path:
    """Write leaderboard.csv and report.html in reports/ or `folder`; returns the page's path.

    `InputError` names the stage that lacks.
    """
    results = [Results(paths, name) for name in datasets]
    costs = {name: read_costs(paths, name) for name in datasets}
    target = folder or paths.reports
    write_text(target / paths.leaderboard.name, as_csv(combine_leaderboards(paths, datasets)))
    write_text(target / paths.report.name, render(results, costs))
    return target / paths.report.name


def render(results: Sequence[Results], costs: Mapping[str, ledger.Costs]) -> str:
    """The page's HTML. `costs`: by dataset and candidate, as far as they were kept."""
    records: dict[str, RunRecord] = {}
    networks: list[RunRecord] = []
    for of_dataset in results:
        records |= {record.model: record for record in of_dataset.records.values()}
        networks += [record for record in of_dataset.records.values() if record.is_network]
    content = {
        "datasets": [
            DatasetContent(d, costs.get(d.name, {}), panels.read_forecasts(d)) for d in results
        ],
        "answer": answer,
        "board": board,
        "calibration": calibration,
        "diagnostics": diagnostics,
        "figures": figures,
        "ledger": ledger,
        "panels": panels,
        "calendar_yaml": calendar_yaml,
        "describe_limits": describe_limits,
        "describe_alarms": describe_alarms,
        "ranking_titles": RANKING_TITLES,
        "text": text,
        "models": sorted(records),
        "networks": sorted({record.model for record in networks}),
        "seeds": sorted({len(record.seeds) for record in networks}),
        "as_of": text.listing([f"{d.as_of} ({d.name})" for d in results]),
        # each model once: its sentence, equation and source
        "catalogue": [records[model] for model in sorted(records)],
    }
    return str(text.render("page.html.j2", **content))


@dataclass(frozen=True)
class DatasetContent:
    """What the templates hand to the modules for one dataset."""

    results: Results
    costs: ledger.Costs
    """The cost of each candidate."""
    forecasts: list[panels.SeriesForecasts]


def describe_limits(results: Results) -> list[str]:
    """What nobody should read into the result, next to the result: the licence's note, trainings
    scored on a sample of validation, and what the comparison leaves out.
    """
    note = results.dataset.licence.note
    limits = [note.rstrip(".")] if note else []
    limits += models.describe_pretrained(results.records.values())
    remarks: set[str] = set()
    for record in results.records.values():
        if record.kind == "linear" and record.seeds and record.seeds[0].reason:
            limits.append(f"{text.name(record.model)}: {record.seeds[0].reason}")
        if record.is_network:
            for seed in record.seeds:
                remarks.update(seed.reason.split("; "))
    sampled = sorted(remark for remark in remarks if remark.startswith(SAMPLED_VALIDATION))
    limits += [f"Of the trainings {remark}" for remark in sampled]
    if isinstance(results.dataset.calendar, SessionCalendar):
        limits.append("No trading cost is counted and no return is claimed")
    return limits


def describe_alarms(alarms: Sequence[Alarm]) -> list[str]:
    """One line per model and ranking: the series it is about, each with its reason."""
    by_row: dict[tuple[str, str], list[Alarm]] = {}
    for alarm in sorted(alarms, key=lambda alarm: ledger.ORDER.index(alarm.ranking)):
        by_row.setdefault((alarm.model, alarm.ranking), []).append(alarm)
    lines = []
    for row, of_row in by_row.items():
        reasons = [f"{alarm.unique_id}: {alarm.reason}" for alarm in of_row[: text.MOST_LISTED]]
        hidden = len(of_row) - text.MOST_LISTED
        if hidden > 0:
            reasons.append(f"and {text.count(hidden)} more series")
        lines.append(f"{ledger.name_row(*row)}: {'; '.join(reasons)}")
    return lines
