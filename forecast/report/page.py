"""reports/report.html of a finished run (`write`, `render`).

It is one file that needs no network. The other modules of the room make tables, panels and
sentences from `Results`; here they are collected for the templates in `templates/`. Equal results
and costs are equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from forecast import models
from forecast.config.paths import ProjectPaths
from forecast.config.task import SessionCalendar
from forecast.data.comparison_records import Alarm
from forecast.data.records import RunRecord
from forecast.data.results import RANKING_TITLES, RANKINGS, Results, read_costs
from forecast.report import board, calibration, diagnostics, figures, ledger, panels, text
from forecast.report.answer import Answer, Why, answer, why
from forecast.report.charts import as_markup
from forecast.report.leaderboard import as_csv, combine_leaderboards
from forecast.report.ledger import BlockOfTime
from forecast.report.text import Table
from forecast.system.files import write_text

SAMPLED_VALIDATION = "validation losses are of"
"""How the remark of a seed begins that was stopped early by a sample of the validation block."""
TEMPLATES = Path(__file__).parent / "templates"


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
    for of_dataset in results:
        records |= {record.model: record for record in of_dataset.records.values()}
    networks: list[RunRecord] = []
    for of_dataset in results:
        networks += [record for record in of_dataset.records.values() if record.is_network]
    content = {
        "style": _read_template("style.css"),
        "script": _read_template("script.js"),
        "datasets": [_dataset_content(d, costs.get(d.name, {})) for d in results],
        "models": sorted(records),
        "networks": sorted({record.model for record in networks}),
        "seeds": sorted({len(record.seeds) for record in networks}),
        "as_of": text.listing([f"{d.as_of} ({d.name})" for d in results]),
        # each model once: its sentence, equation and source
        "catalogue": [records[model] for model in sorted(records)],
    }
    return str(environment().get_template("page.html.j2").render(content))


@cache
def environment() -> Any:
    """Jinja with the page's templates and filters."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(name=text.name, count=text.count, listing=text.listing, code=_code)
    return environment


def _code(sentence: str) -> Markup:
    """Escaped text with what stands in backticks as code."""
    return as_markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def _read_template(name: str) -> Markup:
    """A style sheet or script of this package."""
    return as_markup((TEMPLATES / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class RankingContent:
    """What the template shows of one ranking."""

    ranking: str
    title: str
    table: Table
    tied: tuple[str, ...]
    combinations: list[tuple[str, str]]
    levels: Table | None
    """Of a hierarchy."""
    series: Table | None
    """None of a dataset of one series."""
    many: board.ManySeries | None
    """None where every series has a column of its own."""


@dataclass(frozen=True)
class DatasetContent:
    """Everything the template shows of one dataset, ready to print; sections in its order."""

    name: str
    title: str
    as_of: str
    horizon: str
    answer: Answer
    verdict: dict[str, list[str]]
    """Sentences and warnings by the ranking that they begin with."""
    leaks: list[str]
    copies: list[str]
    boards: list[RankingContent]
    origins: str
    left_out: int
    """Series that are not drawn."""
    chosen: str | None
    forecasts: list[figures.Panel]
    calendar: list[figures.Panel]
    steps: list[figures.Panel]
    curves: list[tuple[str, list[figures.Panel]]]
    skips: list[figures.Panel]
    why: Why | None
    private: bool
    """Whether the terms of the data forbid to draw them."""
    choice: Table | None
    choice_sentence: str
    network_diagnostics: Table | None
    loops: list[str]
    distribution_scores: Table | None
    residual_diagnostics: Table | None
    limits: list[str]
    calibration: Table | None
    coverage: list[figures.Panel]
    """By horizon step, then by month."""
    refused: list[str]
    levels: str
    ledger: Table
    same_budget: bool
    budget: str
    kinds: str
    timeline: list[BlockOfTime]
    quality: Table
    quality_left: int
    """Series whose quality is not listed."""
    findings: Table | None
    findings_left: int
    facts: list[tuple[str, str]]


def _dataset_content(results: Results, costs: ledger.Costs) -> DatasetContent:
    """Everything the template shows of one dataset; `costs` by candidate."""
    same_budget, budget = ledger.budget_sentence(results)
    verdicts = results.verdicts
    rankings = results.rankings
    forecasts = panels.read_forecasts(results)
    return DatasetContent(
        name=results.name,
        title=results.dataset.title,
        as_of=results.as_of,
        horizon=f"{results.dataset.horizon} {figures.step_unit(results.dataset)} ahead",
        answer=answer(results, forecasts),
        verdict=_group_by_ranking([*verdicts.sentences, *verdicts.warnings]),
        leaks=describe_alarms(verdicts.leaks),
        copies=describe_alarms(verdicts.copies),
        boards=[_ranking_content(results, r) for r in rankings if not results.board(r).empty],
        origins=text.count(results.leaderboard["n_origins"].max()),
        left_out=max(0, len(results.series) - text.MOST_SERIES),
        chosen=results.selected_model("shipped"),
        forecasts=panels.forecast_panels(results, forecasts),
        calendar=panels.calendar_panels(results, forecasts),
        steps=figures.step_panels(results),
        curves=[(RANKING_TITLES[r], figures.curve_panels(results, r)) for r in rankings],
        skips=figures.skip_panels(results),
        why=why(results),
        private=panels.is_private(results),
        choice=ledger.choice_table(results, costs),
        choice_sentence=ledger.choice_sentence(results),
        network_diagnostics=diagnostics.network_table(results),
        loops=diagnostics.describe_unstable_loops(results),
        distribution_scores=board.distribution_table(results),
        residual_diagnostics=diagnostics.residual_table(results),
        limits=_limits(results),
        calibration=calibration.calibration_table(results),
        coverage=[
            *calibration.coverage_panels(results),
            *calibration.monthly_panels(results, forecasts),
        ],
        refused=calibration.refusals(results),
        levels=calibration.levels(results),
        ledger=ledger.cost_table(results, costs),
        same_budget=same_budget,
        budget=budget,
        kinds=ledger.kinds_sentence(results, costs),
        timeline=ledger.timeline(results),
        quality=ledger.quality_table(results),
        quality_left=max(0, len(results.quality["series"]) - text.WORST),
        findings=ledger.findings_table(results),
        findings_left=max(0, len(results.quality.get("findings", [])) - ledger.MAX_FINDINGS),
        facts=ledger.facts(results),
    )


def _ranking_content(results: Results, ranking: str) -> RankingContent:
    """The leaderboard of one ranking and what stands below it."""
    series = None
    if figures.has_several_series(results):
        series = board.series_table(results, ranking)
    many = None
    if len(results.series) > text.MOST_SERIES:
        many = board.many_series(results, ranking)
    return RankingContent(
        ranking=ranking,
        title=RANKING_TITLES[ranking],
        table=board.leaderboard(results, ranking),
        tied=results.tied(ranking),
        combinations=board.combinations(results, ranking),
        levels=board.level_table(results, ranking),
        series=series,
        many=many,
    )


def _group_by_ranking(sentences: list[str]) -> dict[str, list[str]]:
    """The verdict's sentences under their ranking, whose name they begin with; others under
    nothing.
    """
    groups: dict[str, list[str]] = {}
    for sentence in sentences:
        lead, _, rest = sentence.partition(": ")
        if lead.lower() in RANKING_TITLES.values():
            groups.setdefault(lead, []).append(rest)
        else:
            groups.setdefault("", []).append(sentence)
    return groups


def _limits(results: Results) -> list[str]:
    """What nobody should read into the result, next to the result: the licence's note, trainings
    scored on a sample of validation, and what the comparison leaves out.
    """
    limits = [note.rstrip(".") for note in ledger.notes(results)]
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
    lines = []
    for ranking in ("baseline", *RANKINGS):
        title = RANKING_TITLES.get(ranking, "baseline")
        by_model: dict[str, list[Alarm]] = {}
        for alarm in alarms:
            if alarm.ranking == ranking:
                by_model.setdefault(alarm.model, []).append(alarm)
        for model, of_model in by_model.items():
            reasons = [f"{alarm.unique_id}: {alarm.reason}" for alarm in of_model[: text.WORST]]
            hidden = len(of_model) - text.WORST
            if hidden > 0:
                reasons.append(f"and {text.count(hidden)} more series")
            lines.append(f"{text.name(model)} ({title}): {'; '.join(reasons)}")
    return lines
