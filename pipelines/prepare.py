"""Stage `prepare`: the columns of the dataset, checked; what tuning may see is written apart from
what comes later.

A thin door for DVC: `forecast.data.preparation` does the work.
"""

from __future__ import annotations

from forecast.config.paths import ProjectPaths
from forecast.data.preparation import prepare_dataset
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write frame.parquet, tuning.parquet (rows up to validation_end), borders.json, task.json and
    quality.json.
    """
    prepare_dataset(ProjectPaths.of(root), dataset)


if __name__ == "__main__":
    run_stage(main)
