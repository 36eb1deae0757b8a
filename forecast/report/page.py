"""reports/report.html: one self-contained page, made from the evidence alone; equal evidence is equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from forecast.config.datasets import SessionCalendar
from forecast.config.paths import ProjectPaths
from forecast.report import (
    board,
    calibration,
    choice,
    data,
    diagnosis,
    figures,
    interval_coverage,
    ledger,
    outlook,
    panels,
    residual_diagnostics,
    text,
)
from forecast.report.evidence import RANKING_TITLES, RANKINGS, Evidence, read_all
from forecast.system.files import write_text

TEMPLATES = Path(__file__).parent / "templates"


def write(paths: ProjectPaths, datasets: Iterable[str]) -> None:
    """reports/report.html for `datasets`; `InputError` naming the stage that makes what is missing."""
    write_text(paths.report, render(read_all(paths.root, datasets)))


def render(evidence: list[Evidence]) -> str:
    """The page's HTML."""
    return str(environment().get_template("page.html.j2").render(_context(evidence)))


@cache
def environment() -> Any:
    """Jinja with the page's templates and filters."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(name=text.name, count=text.count, listing=text.listing, code=_code)
    return environment


def _code(sentence: str) -> Markup:
    """Escaped text with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704  (escaped before)


def _context(evidence: list[Evidence]) -> dict[str, Any]:
    models = sorted({record["model"] for e in evidence for record in e.records.values()})
    return {
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        "script": Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        "datasets": [_dataset(e) for e in evidence],
        "models": models,
        "networks": sorted({r["model"] for e in evidence for r in e.records.values() if r["kind"] == "network"}),
        "seeds": sorted({len(r["seeds"]) for e in evidence for r in e.records.values() if r["kind"] == "network"}),
        "as_of": text.listing([f"{e.as_of} ({e.name})" for e in evidence]),
        "catalogue": _catalogue(evidence),
    }


def _dataset(evidence: Evidence) -> dict[str, Any]:
    """Everything the template shows of one dataset, ready to print."""
    same_budget, budget = ledger.budget_sentence(evidence)
    intervals_held, several = interval_coverage.held(evidence), len(evidence.series) > 1
    return {
        "name": evidence.name,
        "title": evidence.dataset.title,
        "as_of": evidence.as_of,
        "horizon": f"{evidence.dataset.horizon} {figures.step_unit(evidence.dataset)} ahead",
        "lookback": evidence.dataset.lookback,
        "sentences": evidence.verdicts.get("sentences", []),
        "verdict": _grouped(evidence.verdicts.get("sentences", [])),
        "tiles": _tiles(evidence),
        "leaks": alarms(evidence, "leaks"),
        "copies": alarms(evidence, "copies"),
        "boards": [
            {
                "ranking": ranking,
                "title": RANKING_TITLES[ranking],
                "table": board.leaderboard(evidence, ranking),
                "tied": evidence.tied(ranking),
                "series": board.series_table(evidence, ranking) if len(evidence.series) > 1 else None,
            }
            for ranking in evidence.rankings
            if not evidence.board(ranking).empty
        ],
        "origins": _test_origins(evidence),
        "metric": figures.METRIC_TITLES[evidence.headline],
        "several": several,
        "left_out": max(0, len(evidence.series) - panels.MOST_SERIES),
        "chosen": evidence.chosen("shipped"),
        "forecasts": _safe(panels.forecast_panels(evidence)),
        "over_time": _safe(panels.time_panels(evidence)),
        "steps": _safe(figures.step_panels(evidence)),
        "curves": [(RANKING_TITLES[r], _safe(figures.curve_panels(evidence, r))) for r in evidence.rankings],
        "skips": _safe(figures.skip_panels(evidence)),
        "private": evidence.private,
        "memory": [said for r in evidence.rankings if (said := figures.memory_sentence(evidence, r))],
        "choice": choice.table(evidence),
        "choice_said": choice.sentence(evidence),
        "inside": diagnosis.table(evidence),
        "loops": diagnosis.alarms(evidence),
        "inside_panels": _safe(diagnosis.panels(evidence)),
        "outlook": outlook.table(evidence),
        "remains": residual_diagnostics.table(evidence),
        "remains_panels": _safe(residual_diagnostics.panels(evidence)),
        "limits": _limits(evidence),
        "calibration": calibration.table(evidence),
        "coverage": _safe(calibration.panels(evidence)),
        "reliability": _safe(calibration.reliability_panels(evidence)),
        "methods": calibration.method_table(evidence),
        "held": interval_coverage.table(intervals_held, several=several),
        "held_counts": interval_coverage.counts(intervals_held, several=several),
        "judged": next(iter(calibration.shown_models(evidence)), ""),
        "method_said": calibration.method_sentence(evidence),
        "refused": calibration.refusals(evidence),
        "levels": calibration.levels(evidence),
        "ledger": ledger.ledger(evidence),
        "same_budget": same_budget,
        "budget": budget,
        "cost": _safe([p for p in [ledger.cost_panel(evidence)] if p]),
        "timeline": data.timeline(evidence),
        "quality": data.quality_table(evidence),
        "findings": data.findings_table(evidence),
        "gaps": data.gaps(evidence),
        "facts": data.facts(evidence),
        "notes": data.notes(evidence),
    }


def _grouped(sentences: list[str]) -> list[tuple[str, list[str]]]:
    """The verdict's sentences under their ranking, whose name they begin with; others under nothing."""
    groups: list[tuple[str, list[str]]] = []
    for sentence in sentences:
        lead, _, rest = sentence.partition(": ")
        known = lead.lower() in RANKING_TITLES.values()
        head = lead if known else ""
        if not groups or groups[-1][0] != head:
            groups.append((head, []))
        groups[-1][1].append(rest if known else sentence)
    return groups


def _safe(found: list[figures.Panel]) -> list[dict[str, Any]]:
    """The panels for the template; their SVG is ours and already escaped."""
    return [{**vars(panel), "svg": Markup(panel.svg)} for panel in found]  # noqa: S704


def _tiles(evidence: Evidence) -> list[tuple[str, str, str]]:
    """The chosen model's key figures as (what, value, remark)."""
    model = evidence.chosen("shipped") or ""
    score = evidence.score(model, "shipped")
    if score is None:
        return []
    error = f"{text.figure(score[evidence.headline])} {evidence.unit if evidence.headline == 'mae' else ''}"
    tiles = [
        ("Chosen on validation", text.name(model), "ranking as shipped"),
        (f"Test {figures.METRIC_TITLES[evidence.headline]}", error, "mean over seeds"),
    ]
    for family, what in (("naive", "Error against naive"), ("skip", "Error against its own skip")):
        test = evidence.tests("shipped", family).get(model)
        if test:
            value = -score["skill"] if family == "naive" else test["relative_difference"]
            tiles.append((what, text.signed_percent(value), test["word"] + text.holm(test)))
    return tiles


def _limits(evidence: Evidence) -> list[str]:
    """What nobody should read into the result, next to the result."""
    own = [note.rstrip(".") for note in data.notes(evidence)]
    priced = is_priced(evidence)
    market = "No trading cost is counted and no return is claimed"
    return [
        *own,
        *([market] if priced else ["Not compared with numerical weather prediction or other outside forecasts"]),
    ]


def is_priced(evidence: Evidence) -> bool:
    """Whether the dataset follows an exchange's sessions."""
    return isinstance(evidence.dataset.calendar, SessionCalendar)


def _test_origins(evidence: Evidence) -> str:
    board = evidence.leaderboard["n_origins"].dropna()
    return text.count(board.max()) if len(board) else text.NOTHING


def alarms(evidence: Evidence, kind: str) -> list[str]:
    """The flags of one kind (`copies`, `leaks`), one line per model and ranking."""
    lines = []
    for ranking in ("baseline", *RANKINGS):
        for model, flags in evidence.flags(kind, ranking).items():
            own = [flag for flag in flags if flag["ranking"] == ranking]
            reasons = "; ".join(f"{flag['unique_id']}: {flag['reason']}" for flag in own)
            if own:
                lines.append(f"{text.name(model)} ({RANKING_TITLES.get(ranking, 'baseline')}): {reasons}")
    return lines


def _catalogue(evidence: list[Evidence]) -> list[dict[str, str]]:
    """Each model once: its sentence, equation and source."""
    keys = ("model", "description", "equation", "source")
    records = {record["model"]: record for e in evidence for record in e.records.values()}
    return [{key: str(records[model].get(key) or "") for key in keys} for model in sorted(records)]
