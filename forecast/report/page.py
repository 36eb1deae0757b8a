"""Writes reports/report.html of a finished run (`write`, `render`): one file without external
resources.

The templates in `templates/` call the other modules of `forecast.report` for tables, charts and
sentences; the docstring of `forecast.report` lists them. Equal results and costs give equal bytes.
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
    calibration,
    diagnostics,
    facts,
    figures,
    panels,
    score_tables,
    text,
)
from forecast.report.leaderboard import RANKING_ORDER, as_csv, combine_leaderboards
from forecast.system.files import write_text

SAMPLED_VALIDATION = "validation losses are of"
"""The remark of a seed begins so if its training was stopped by a sample of the validation block.
"""


def write(paths: ProjectPaths, datasets: Sequence[str], folder: Path | None = None) -> Path:
    """Write leaderboard.csv and report.html in reports/ or `folder`; returns the path of the page.

    `InputError` names the stage that has not run.
    """
    results = [Results(paths, name) for name in datasets]
    costs = {name: read_costs(paths, name) for name in datasets}
    target = folder or paths.reports
    write_text(target / paths.leaderboard.name, as_csv(combine_leaderboards(paths, datasets)))
    write_text(target / paths.report.name, render(results, costs))
    return target / paths.report.name


def render(results: Sequence[Results], costs: Mapping[str, facts.Costs]) -> str:
    """The HTML of the page; `costs`: by dataset and candidate, as far as they are stored. A model
    of several datasets is described by its record in the last of them.
    """
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
        "calibration": calibration,
        "diagnostics": diagnostics,
        "facts": facts,
        "figures": figures,
        "panels": panels,
        "score_tables": score_tables,
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
    """What the templates need of one dataset."""

    results: Results
    costs: facts.Costs
    """The cost of each candidate."""
    forecasts: list[panels.SeriesForecasts]


def describe_limits(results: Results) -> list[str]:
    """The limits of the result, as phrases: the note of the licence, models that may have seen the
    data, remarks on linear models and trainings, and that trading costs are not counted.
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
    """A line for each model and ranking, with the series and the reasons of its alarms."""
    reasons_by_row: dict[tuple[str, str], list[str]] = {}
    for alarm in sorted(alarms, key=lambda alarm: RANKING_ORDER.index(alarm.ranking)):
        reasons = reasons_by_row.setdefault((alarm.model, alarm.ranking), [])
        reasons.append(f"{alarm.unique_id}: {alarm.reason}")
    return [
        f"{facts.name_candidate(*row)}: {text.abridge(reasons, '; ')}"
        for row, reasons in reasons_by_row.items()
    ]
