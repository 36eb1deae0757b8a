"""Stage `report`: what the finished datasets say, as reports/leaderboard.csv and reports/report.html."""

from __future__ import annotations

from forecast.config.paths import ProjectPaths
from forecast.report.evidence import read_all, running
from forecast.report.leaderboard import as_csv, combined
from forecast.report.page import render
from forecast.system.files import write_text
from forecast.system.stage import run_stage


def main(root: str = ".") -> None:
    """Write the combined leaderboard and the page for every dataset that configs/datasets.yaml runs."""
    datasets = running(root)
    paths = ProjectPaths.of(root)
    table, page = as_csv(combined(root, datasets)), render(read_all(root, datasets))
    write_text(paths.leaderboard, table)
    write_text(paths.report, page)


if __name__ == "__main__":
    run_stage(main)
