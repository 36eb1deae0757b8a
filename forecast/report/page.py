"""reports/report.html: one self-contained page, made from the evidence alone; equal evidence is equal bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forecast.report import data, figures, panels, tables, text
from forecast.report.evidence import RANKING_TITLES, RANKINGS, Evidence

TEMPLATES = Path(__file__).parent / "templates"


def render(evidence: list[Evidence]) -> str:
    """The page's HTML."""
    return str(_environment().get_template("page.html.j2").render(_context(evidence)))


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(name=text.name, count=text.count, listing=text.listing)
    return environment


def _context(evidence: list[Evidence]) -> dict[str, Any]:
    models = sorted({record["model"] for e in evidence for record in e.records.values()})
    return {
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        "script": Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        "datasets": [_dataset(e) for e in evidence],
        "models": models,
        "networks": sorted({r["model"] for e in evidence for r in e.records.values() if r["kind"] == "network"}),
        "seeds": sorted({len(r["seeds"]) for e in evidence for r in e.records.values() if r["kind"] == "network"}),
        "as_of": max((e.as_of for e in evidence), default="unknown"),
        "catalogue": _catalogue(evidence),
    }


def _dataset(evidence: Evidence) -> dict[str, Any]:
    """Everything the template shows of one dataset, ready to print."""
    same_budget, budget = tables.budget_sentence(evidence)
    return {
        "name": evidence.name,
        "title": evidence.dataset.title,
        "as_of": evidence.as_of,
        "horizon": f"{evidence.dataset.horizon} {figures.step_unit(evidence.dataset)} ahead",
        "lookback": evidence.dataset.lookback,
        "sentences": evidence.verdicts.get("sentences", []),
        "tiles": _tiles(evidence),
        "warnings": warnings(evidence),
        "boards": [
            {"ranking": ranking, "title": RANKING_TITLES[ranking], "table": tables.leaderboard(evidence, ranking)}
            for ranking in RANKINGS
        ],
        "origins": _test_origins(evidence),
        "metric": figures.METRIC_TITLES[evidence.headline],
        "several": len(evidence.series) > 1,
        "left_out": max(0, len(evidence.series) - panels.MOST_SERIES),
        "chosen": evidence.chosen("shipped"),
        "forecasts": _safe(panels.forecast_panels(evidence)),
        "over_time": _safe(panels.time_panels(evidence)),
        "steps": _safe(figures.step_panels(evidence)),
        "curves": [(RANKING_TITLES[r], _safe(figures.curve_panels(evidence, r))) for r in RANKINGS],
        "skips": _safe(figures.skip_panels(evidence)),
        "ledger": tables.ledger(evidence),
        "same_budget": same_budget,
        "budget": budget,
        "cost": _safe([p for p in [figures.cost_panel(evidence)] if p]),
        "timeline": data.timeline(evidence),
        "quality": data.quality_table(evidence),
        "gaps": data.gaps(evidence),
        "facts": data.facts(evidence),
        "notes": data.notes(evidence),
    }


def _safe(found: list[figures.Panel]) -> list[dict[str, Any]]:
    """The panels for the template; their SVG is ours and already escaped."""
    return [{**vars(panel), "svg": Markup(panel.svg)} for panel in found]  # noqa: S704


def _tiles(evidence: Evidence) -> list[tuple[str, str, str]]:
    """The chosen model's key figures as (what, value, remark)."""
    model = evidence.chosen("shipped")
    board = evidence.leaderboard
    mine = board[(board["model"] == model) & (board["seed"] == "mean") & board["ranking"].isin(["shipped", "baseline"])]
    if mine.empty or mine["status"].iloc[0] != "ok":
        return []
    row = mine.iloc[0]
    head = evidence.headline
    unit = f" {evidence.unit}" if head == "mae" else ""
    tiles = [
        ("Chosen on validation", text.name(str(model)), "ranking as shipped"),
        (f"Test {figures.METRIC_TITLES[head]}", text.figure(row[head]) + unit, "mean over seeds"),
    ]
    for family, what in (("naive", "Error against naive"), ("skip", "Error against its own skip")):
        test = evidence.tests("shipped", family).get(str(model))
        if test:
            value = -row["skill"] if family == "naive" else test["relative_difference"]
            tiles.append((what, text.signed_percent(value), f"{test['word']}, Holm {text.p_value(test['p_holm'])}"))
    return tiles


def _test_origins(evidence: Evidence) -> str:
    board = evidence.leaderboard["n_origins"].dropna()
    return text.count(board.max()) if len(board) else text.NOTHING


def warnings(evidence: Evidence) -> list[str]:
    """Copy flags and leak alarms of the verdicts, as sentences."""
    found = []
    for copy in evidence.verdicts.get("copies", []):
        found.append(_sentence(copy, "repeats the last value: its forecasts are a copy of it"))
    for leak in evidence.verdicts.get("leaks", []):
        found.append(_sentence(leak, "is suspiciously good: check for a leak"))
    return found


def _sentence(flag: Any, said: str) -> str:
    if not isinstance(flag, dict):
        return str(flag)
    return str(flag.get("sentence") or f"{text.name(str(flag.get('model', '?')))} {said}.")


def _catalogue(evidence: list[Evidence]) -> list[dict[str, str]]:
    """Each model once: its sentence, equation and source."""
    found = {}
    for e in evidence:
        for record in e.records.values():
            found.setdefault(record["model"], {key: str(record.get(key) or "") for key in ("model", "description", "equation", "source")})
    return [found[model] for model in sorted(found)]
