"""Stage `compare`: scores, rankings, significance and alarms of one dataset, from the forecasts
alone.

A thin door for DVC: `forecast.comparison.comparing` does the work.
"""

from __future__ import annotations

from forecast.comparison.comparing import compare_dataset
from forecast.config.paths import ProjectPaths
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write data/compared/<dataset>/: the tables, bands.parquet and verdicts.json."""
    compare_dataset(ProjectPaths.of(root), dataset)


if __name__ == "__main__":
    run_stage(main)
