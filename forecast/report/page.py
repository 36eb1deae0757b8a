"""reports/report.html and reports/live.html: self-contained pages; equal results and costs are
equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from forecast.config.paths import ProjectPaths
from forecast.config.task import SessionCalendar
from forecast.data.comparison_records import Alarm
from forecast.data.results import RANKING_TITLES, RANKINGS, Results, read_costs
from forecast.report import board, calibration, diagnostics, figures, ledger, panels, text
from forecast.report.charts import Axes, Line, line_chart
from forecast.report.leaderboard import as_csv, combined
from forecast.report.svg import as_markup
from forecast.report.text import Row, Table, number, share, whole
from forecast.system.files import write_text

TEMPLATES = Path(__file__).parent / "templates"


def write(paths: ProjectPaths, datasets: Sequence[str], folder: Path | None = None) -> Path:
    """leaderboard.csv and report.html in reports/ or `folder`; the page.

    `InputError` names the stage that lacks.
    """
    found = [Results(paths, name) for name in datasets]
    place = folder or paths.reports
    write_text(place / paths.leaderboard.name, as_csv(combined(paths, datasets)))
    write_text(
        place / paths.report.name,
        render(found, {one.name: read_costs(paths, one.name) for one in found}),
    )
    return place / paths.report.name


def render(found: Sequence[Results], costs: Mapping[str, ledger.Costs]) -> str:
    """The page's HTML. `costs`: by dataset and candidate, as far as they were kept."""
    records = {record.model: record for e in found for record in e.records.values()}
    networks = [r for e in found for r in e.records.values() if r.is_network]
    content = {
        "style": _own("style.css"),
        "script": _own("script.js"),
        "datasets": [_dataset(e, costs.get(e.name, {})) for e in found],
        "models": sorted(records),
        "networks": sorted({record.model for record in networks}),
        "seeds": sorted({len(record.seeds) for record in networks}),
        "as_of": text.listing([f"{e.as_of} ({e.name})" for e in found]),
        # each model once: its sentence, equation and source
        "catalogue": [
            {key: getattr(records[model], key) for key in KEYS} for model in sorted(records)
        ],
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


def _own(name: str) -> Markup:
    return as_markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _dataset(results: Results, costs: ledger.Costs) -> dict[str, Any]:
    """Everything the template shows of one dataset, ready to print."""
    same_budget, budget = ledger.budget_sentence(results)
    networks = calibration.network_intervals(results)
    several = figures.has_several_series(results)
    return {
        "name": results.name,
        "title": results.dataset.title,
        "as_of": results.as_of,
        "horizon": f"{results.dataset.horizon} {figures.step_unit(results.dataset)} ahead",
        "sentences": results.verdicts.sentences,
        "verdict": _grouped([*results.verdicts.sentences, *results.verdicts.warnings]),
        "tiles": _tiles(results),
        "leaks": describe_alarms(results.verdicts.leaks),
        "copies": describe_alarms(results.verdicts.copies),
        "boards": [
            {
                "ranking": ranking,
                "title": RANKING_TITLES[ranking],
                "table": board.leaderboard(results, ranking),
                "tied": results.tied(ranking),
                "combinations": board.combinations(results, ranking),
                "series": board.series_table(results, ranking) if len(results.series) > 1 else None,
                "many": (
                    board.many_series(results, ranking)
                    if len(results.series) > text.MOST_SERIES
                    else None
                ),
            }
            for ranking in results.rankings
            if not results.board(ranking).empty
        ],
        "origins": text.count(results.leaderboard["n_origins"].max()),
        "left_out": max(0, len(results.series) - text.MOST_SERIES),
        "chosen": results.chosen("shipped"),
        "forecasts": panels.forecast_panels(results),
        "over_time": panels.time_panels(results),
        "steps": figures.step_panels(results),
        "curves": [(RANKING_TITLES[r], figures.curve_panels(results, r)) for r in results.rankings],
        "skips": figures.skip_panels(results),
        "private": panels.is_private(results),
        "memory": [said for r in results.rankings if (said := figures.memory_sentence(results, r))],
        "choice": ledger.choice_table(results, costs),
        "choice_sentence": ledger.choice_sentence(results),
        "network_diagnostics": diagnostics.network_table(results),
        "loops": diagnostics.alarms(results),
        "network_panels": diagnostics.network_panels(results),
        "distribution_scores": board.distribution_table(results),
        "residual_diagnostics": diagnostics.residual_table(results),
        "residual_panels": diagnostics.residual_panels(results),
        "limits": _limits(results),
        "calibration": calibration.calibration_table(results),
        "coverage": calibration.coverage_panels(results),
        "reliability": calibration.reliability_panels(results),
        "interval_coverage": calibration.network_table(networks, several=several),
        "interval_counts": calibration.count_table(networks, several=several),
        "refused": calibration.refusals(results),
        "levels": calibration.levels(results),
        "ledger": ledger.ledger(results, costs),
        "same_budget": same_budget,
        "budget": budget,
        "kinds": ledger.kinds_sentence(results, costs),
        "cost": ledger.cost_panels(results, costs),
        "timeline": ledger.timeline(results),
        "quality": ledger.quality_table(results),
        "quality_left": max(0, len(results.quality["series"]) - text.WORST),
        "findings": ledger.findings_table(results),
        "findings_left": max(0, len(results.quality.get("findings", [])) - ledger.MAX_FINDINGS),
        "gaps": ledger.gaps(results),
        "facts": ledger.facts(results),
        "notes": ledger.notes(results),
    }


def _grouped(sentences: list[str]) -> dict[str, list[str]]:
    """The verdict's sentences under their ranking, whose name they begin with; others under
    nothing.
    """
    groups: dict[str, list[str]] = {}
    for sentence in sentences:
        lead, _, rest = sentence.partition(": ")
        known = lead.lower() in RANKING_TITLES.values()
        groups.setdefault(lead if known else "", []).append(rest if known else sentence)
    return groups


def _tiles(results: Results) -> list[tuple[str, str, str]]:
    """The chosen model's key figures as (what, value, remark)."""
    model = results.chosen("shipped") or ""
    score = results.score(model, "shipped")
    if score is None:
        return []
    error = (
        f"{text.figure(score[results.headline_metric])}"
        f" {results.unit if results.headline_metric == 'mae' else ''}"
    )
    tiles = [
        ("Chosen on validation", text.name(model), "ranking as shipped"),
        (f"Test {figures.headline(results).title}", error, "a network: mean forecast of its seeds"),
    ]
    against_naive = results.tests("shipped", "naive").get(model)
    if against_naive:
        change = text.signed_percent(-score["skill"])
        remark = against_naive.word + text.holm(against_naive)
        tiles.append(("Error against naive", change, remark))
    against_skip = results.tests("shipped", "skip").get(model)
    if against_skip:
        change = text.signed_percent(against_skip.relative_difference)
        remark = against_skip.word + text.holm(against_skip)
        tiles.append(("Error against its own skip", change, remark))
    return tiles


def _limits(results: Results) -> list[str]:
    """What nobody should read into the result, next to the result."""
    market = "No trading cost is counted and no return is claimed"
    outside = (
        "Not compared with outside forecasts, such as a weather service's, but for a row `service`"
    )
    networks = (record for record in results.records.values() if record.is_network)
    sampled = {r for record in networks for seed in record.seeds for r in seed.reason.split("; ")}
    return [
        *(note.rstrip(".") for note in ledger.notes(results)),
        *sorted(
            f"Of the trainings {r}" for r in sampled if r.startswith("validation losses are of")
        ),
        market if isinstance(results.dataset.calendar, SessionCalendar) else outside,
    ]


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


KEYS = ("model", "description", "equation", "source")
SIZE = (720.0, 260.0)


@dataclass(frozen=True)
class LiveDataset:
    """Accuracy of the forecasts of one dataset's champions, beside that of their test blocks.

    A page of its own, since it changes with every forecast whose actuals arrive.

    issues: one row per issue with known actuals: `cutoff, version, error, naive`, both relative to
    the test error at the same steps (1: as on test). versions: one mapping each: version, model,
    issues, scored, error, skill, coverage.
    """

    name: str
    title: str
    as_of: str
    issues: pd.DataFrame
    versions: Sequence[dict[str, Any]]


LIVE = (
    "Every forecast that a champion made, once per cutoff and version, scored when its actual"
    " values arrived, beside the error on its test block. How the models were chosen is in"
    " `report.html`."
)


def render_live(datasets: Sequence[LiveDataset]) -> str:
    """The page's HTML; equal content is equal bytes."""
    parts = ((d, f"Actuals as of {d.as_of}.") for d in datasets)
    sections = [
        _section(d.name, d.title, said, _live_panel(d), _live_table(d)) for d, said in parts
    ]
    return _sections("Live accuracy of the champions", LIVE, sections)


def _section(
    name: str, title: str, sentence: str, panel: figures.Panel | None, table: Table
) -> dict[str, Any]:
    return {"name": name, "title": title, "sentence": sentence, "panel": panel, "table": table}


def _sections(title: str, lead: str, sections: Sequence[Mapping[str, Any]]) -> str:
    template = environment().get_template("live.html.j2")
    return str(template.render(style=_own("style.css"), title=title, lead=lead, datasets=sections))


FREE_RUN = (
    "Free run: the models see the inputs and no measured output after the first rows. Ranked by the"
    " error on the validation rows, after training on the rows before them; the test error is that"
    " of the same way to a model, trained on both, and chooses nothing. Errors are RMSE over the"
    " deviation of the output."
)


def render_free_runs(results: Mapping[str, Mapping[str, Any]]) -> str:
    """reports/experiments.html from the result.json of every record."""
    return _sections(
        "Free-run errors", FREE_RUN, [_free_run(name, one) for name, one in results.items()]
    )


def _free_run(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    titles = ("Row", "validation", "test", "test RMSE in units", "CPU s", "model")
    rows = [
        Row(
            one["row"],
            [
                number(one["validation"]),
                number(one["test"]),
                text.Cell(", ".join(f"{value:.4g}" for value in one["rmse"])),
                number(one["seconds"], 3),
                text.Cell(one["note"], cls="notes"),
            ],
        )
        for one in result["rows"]
    ]
    chosen, step, last = rows[0].model, result["sampling_time"], len(result["measured"]) - 1
    runs = (("measured", "actual"), ("run", "chosen"))
    lines = [
        Line(word, step * np.arange(last + 1.0), np.array(result[word], float), role)
        for word, role in runs
    ]
    ticks = [(step * row, f"{step * row:.4g}") for row in np.linspace(0, last, 5).round()]
    label = f"Free run of {chosen} on the first test rows of {name}"
    axes = Axes(label, "seconds", result["outputs"][0], ticks, size=SIZE)
    panel, table = (
        figures.Panel(label, line_chart(lines, axes)),
        Table([(title, "") for title in titles], rows),
    )
    return _section(name, result["title"] or name, result["sentence"], panel, table)


def _live_panel(dataset: LiveDataset) -> figures.Panel | None:
    """Error of each issue over the error on test, with the last value's; None before the first
    known actual.
    """
    rows = dataset.issues.sort_values("cutoff")
    if rows.empty:
        return None
    x = np.arange(len(rows), dtype=np.float64)
    roles = (("champion", "error", "chosen"), ("last value", "naive", "naive"))
    lines = [Line(name, x, rows[column].to_numpy(np.float64), role) for name, column, role in roles]
    moments = [str(cutoff)[:16] for cutoff in rows["cutoff"]]
    shown = np.unique(np.linspace(0, len(rows) - 1, 5).round().astype(int))
    label = f"Live error of {dataset.name} by cutoff, relative to the test error"
    axes = Axes(
        label,
        "cutoff of the forecast (UTC)",
        "error / test error",
        [(float(i), moments[i][:10]) for i in shown],
        level=1.0,
        moments=moments,
        size=SIZE,
    )
    return figures.Panel(
        "Error of each forecast", line_chart(lines, axes), "1 is the error on the test block"
    )


def _live_table(dataset: LiveDataset) -> Table:
    levels = sorted(
        {level for version in dataset.versions for level in version["coverage"]}, key=float
    )
    columns = [
        ("Version", "the registry's number, and the model"),
        ("forecasts", "forecasts kept"),
        ("scored", "of these with known actuals"),
        ("error / test", "mean error over the test error at the same steps; 1 is as expected"),
        ("skill", "1 - error / error of repeating the last value, at the same cutoffs"),
        *((f"in {level} %", f"share of actuals inside the {level} % interval") for level in levels),
    ]
    rows = []
    for version in dataset.versions:
        counts = [whole(version["issues"]), whole(version["scored"])]
        shares = [version["skill"], *(version["coverage"].get(level) for level in levels)]
        cells = [*counts, number(version["error"]), *map(share, shares)]
        rows.append(Row(f"{version['version']} ({version['model']})", cells))
    return Table(columns, rows)
