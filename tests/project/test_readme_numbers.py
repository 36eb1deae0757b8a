"""Every figure of the README's results is the one in reports/leaderboard.csv."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from tests.support.small_project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RANKINGS = {"as shipped": "shipped", "architecture alone": "architecture"}


def shown() -> list[tuple[str, str, str, list[float]]]:
    """(dataset, ranking, model, figures) of every row of the tables."""
    rows, place = [], None
    for line in README.splitlines():
        if head := re.match(r"    (\w+), (as shipped|architecture alone)$", line):
            place = (head[1], RANKINGS[head[2]])
        elif place and (
            row := re.match(r"     [ *] +([a-z_]+)((?: +[\d.]+)+) +[+−]?[\d.]+ %", line)
        ):
            rows.append((*place, row[1], [float(figure) for figure in row[2].split()]))
    return rows


def means() -> pd.DataFrame:
    board = pd.read_csv(ROOT / "reports" / "leaderboard.csv", dtype={"seed": str})
    return board[board["seed"] == "mean"]


def row_of(dataset: str, ranking: str, model: str) -> dict[str, Any]:
    board = means()
    mine = board[(board["dataset"] == dataset) & (board["model"] == model)]
    (row,) = mine[mine["ranking"].isin([ranking, "baseline"])].to_dict("records")
    return row


def test_the_readme_shows_the_committed_leaderboard() -> None:
    found = shown()
    assert {row[:2] for row in found} == {
        (d, r) for d in ("stocks", "weather") for r in RANKINGS.values()
    }
    for dataset, ranking, model, figures in found:
        row = row_of(dataset, ranking, model)
        known = [row[name] for name in ("mae", "mase", "winkler_80") if pd.notna(row[name])]
        assert figures == [float(f"{value:.4g}") for value in known], (dataset, ranking, model)


def test_each_table_has_the_best_the_chosen_and_the_references() -> None:
    for dataset, ranking in {row[:2] for row in shown()}:
        models = [row[2] for row in shown() if row[:2] == (dataset, ranking)]
        board = means()
        own = board[(board["dataset"] == dataset) & board["ranking"].isin([ranking, "baseline"])]
        references = {"ridge", "naive", "seasonal_naive"} & set(own["model"])
        assert models[0] == own.loc[own["mase"].idxmin(), "model"]
        chosen = own[own["chosen"] & (own["ranking"] == ranking)]
        # a baseline stands in both rankings
        chosen = own[own["chosen"]] if chosen.empty else chosen
        assert {*references, *chosen["model"]} <= set(models)


def test_the_sentences_before_the_tables_give_the_shares_of_the_leaderboard() -> None:
    text = " ".join(README.split())
    nobody = r"\*\*(\w+)\*\*: as shipped, no model is told apart [^`]*`(\w+)`, is ([\d.]+) % below"
    lowest = [*re.finditer(nobody, text)]
    for found in lowest:
        assert percent(row_of(found[1], "shipped", found[2])["skill"]) == float(found[3])
    words = (
        r"[^`]*on validation, `(\w+)`, has an error ([\d.]+) % below [^%]*?([\d.]+) % (below|above)"
    )
    chosen = [
        *re.finditer(r"\*\*(\w+)\*\*: \w+ of \d+ networks [^.]*\. The row chosen" + words, text)
    ]
    for found in chosen:
        row, ridge = row_of(found[1], "shipped", found[2]), row_of(found[1], "shipped", "ridge")
        share = float(found[4]) * (1 if found[5] == "below" else -1)
        assert [percent(row["skill"]), percent(1 - row["mase"] / ridge["mase"])] == [
            float(found[3]),
            share,
        ]
    assert {found[1] for found in (*lowest, *chosen)} == {"stocks", "weather"}


def percent(share: float) -> float:
    return round(100 * share, 1)
