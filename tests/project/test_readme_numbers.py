"""Every figure of the README's leaderboards is the one in reports/leaderboard.csv."""

from __future__ import annotations

import re

import pandas as pd

from tests.support.small_project import ROOT

RANKINGS = {"as shipped": "shipped", "architecture alone": "architecture"}


def shown() -> list[tuple[str, str, str, list[float]]]:
    """(dataset, ranking, model, figures) of every row of the tables."""
    rows, place = [], None
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if head := re.match(r"    (\w+), (as shipped|architecture alone)$", line):
            place = (head[1], RANKINGS[head[2]])
        elif place and (row := re.match(r"     [ *] +([a-z_]+)((?: +[\d.]+)+) +[+−]?[\d.]+ %", line)):
            rows.append((*place, row[1], [float(figure) for figure in row[2].split()]))
    return rows


def test_the_readme_shows_the_committed_leaderboard() -> None:
    board = pd.read_csv(ROOT / "reports" / "leaderboard.csv", dtype={"seed": str})
    means = board[board["seed"] == "mean"]
    found = shown()
    assert {row[:2] for row in found} == {(d, r) for d in ("stocks", "weather") for r in RANKINGS.values()}
    for dataset, ranking, model, figures in found:
        mine = means[(means["dataset"] == dataset) & (means["model"] == model)]
        (row,) = mine[mine["ranking"].isin([ranking, "baseline"])].to_dict("records")
        known = [row[name] for name in ("mae", "mase") if pd.notna(row[name])]
        assert figures == [float(f"{value:.4g}") for value in known], (dataset, ranking, model)
