"""`forecast compare A B`: two models of the last run, in words, with the tests that were made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.shown import FORMAT, ROOT, Format, require_project
from forecast.system.errors import InputError, closest, quote_names

if TYPE_CHECKING:
    from forecast.data.results import Results, Row

FAMILIES = {"naive": "all against naive", "skip": "each against its skip", "best": "all against the best"}
SUMMARY_ORDER = ("mean", "0")


@dataclass(frozen=True)
class Comparison:
    """`difference`: (error of a − error of b) / error of b; below 0, a is better. `sentences` say what was tested.

    `metric` is mae, or mase where a dataset has several series, whose units must not be pooled.
    """

    dataset: str
    ranking: str
    a: str
    b: str
    metric: str
    error_a: float
    error_b: float
    difference: float
    sentences: tuple[str, ...]


def compare(
    a: str = typer.Argument(help="A model of the leaderboard."),
    b: str = typer.Argument(help="Another one."),
    dataset: str = typer.Option("", "--dataset", help="Only on this data set."),
    root: Path = ROOT,
    form: Format = FORMAT,
) -> None:
    """Compare two models of the last run, in words."""
    found = comparisons(require_project(root), a, b, dataset)
    if form is Format.json:
        print(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        print(f"{one.dataset}, {titles()[one.ranking]}: {headline(one)}")
        for sentence in one.sentences:
            print(f"  {sentence}")


def comparisons(root: Path, a: str, b: str, dataset: str = "") -> list[Comparison]:
    """Every dataset and ranking in which both models stand; `InputError` when there is none."""
    from forecast.config.paths import ProjectPaths
    from forecast.data.results import Results, read_leaderboard

    paths = ProjectPaths.of(root)
    rows = read_leaderboard(paths)
    _require(a, {row["model"] for row in rows}, "model")
    _require(b, {row["model"] for row in rows}, "model")
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    if dataset:
        _require(dataset, set(datasets), "dataset")
        datasets = [dataset]
    of = {name: [row for row in rows if row["dataset"] == name] for name in datasets}
    found = [one for name, own in of.items() for one in _on(Results(paths, name), a, b, own)]
    if not found:
        raise InputError(f"{a!r} and {b!r} stand in no ranking together with a result. See reports/report.html.")
    return found


def headline(one: Comparison) -> str:
    """`lstm 1.291 against naive 2.160 in test MAE: 40.2 % lower.`"""
    a, b, metric = f"{one.a} {one.error_a:.4g}", f"{one.b} {one.error_b:.4g}", one.metric.upper()
    share = f"{abs(one.difference):.1%}".replace("%", " %")
    word = "equal" if one.error_a == one.error_b else f"{share} {'lower' if one.difference < 0 else 'higher'}"
    return f"{a} against {b} in test {metric}: {word}."


def titles() -> dict[str, str]:
    """The rankings as a reader knows them."""
    from forecast.data.results import BASELINE, RANKING_TITLES

    return {**RANKING_TITLES, BASELINE: "baselines"}


def _on(results: Results, a: str, b: str, rows: list[Row]) -> list[Comparison]:
    tests = results.verdicts["tests"] if results.compared else []
    found = []
    for ranking in titles():
        row_a, row_b = _row(rows, a, ranking), _row(rows, b, ranking)
        # Baselines stand in both rankings: two of them are compared once.
        if row_a is None or row_b is None or (row_a["ranking"] == row_b["ranking"] != ranking):
            continue
        metric = "mae" if row_a["mae"] and row_b["mae"] else "mase"
        error_a, error_b = float(row_a[metric]), float(row_b[metric])
        share = error_a / error_b - 1 if error_b else 0.0
        sentences = tuple(_sentences(tests, a, b, ranking)) or (NOT_TESTED,)
        found.append(Comparison(results.name, ranking, a, b, metric, error_a, error_b, share, sentences))
    return found


NOT_TESTED = "This pair was not tested: a difference of the means alone says little."


def _row(rows: list[Row], model: str, ranking: str) -> Row | None:
    own = [row for row in rows if row["model"] == model and row["ranking"] in (ranking, "baseline")]
    known = [row for row in own if row["status"] == "ok" and (row["mae"] or row.get("mase"))]
    return next((row for seed in SUMMARY_ORDER for row in known if row["seed"] == seed), None)


def _sentences(tests: list[dict[str, Any]], a: str, b: str, ranking: str) -> list[str]:
    found = []
    for test in tests:
        pair = (test["model"], test["against"])
        if pair in ((a, b), (b, a)) and test.get("ranking") in (ranking, None, "baseline"):
            among = f"after Holm among {FAMILIES[test['family']]}"
            p = "" if test.get("p_holm") is None else f", p {test['p_holm']:.3g} {among}"
            found.append(f"{pair[0]} against {pair[1]}: {test['word']} ({test['relative_difference']:+.1%}{p}).")
    return found


def _require(name: str, known: set[str], what: str) -> None:
    if name not in known:
        raise InputError(f"Unknown {what} {name!r}.{closest(name, known)} In the leaderboard: {quote_names(known)}.")
