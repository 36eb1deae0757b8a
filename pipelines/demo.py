"""`make demo`: every stage on a small grid and budget, in a folder of its own beside DVC, up to the
leaderboard.
"""

from __future__ import annotations

import time
from pathlib import Path

from forecast.config.datasets import load_datasets
from forecast.config.paths import ProjectPaths
from forecast.operations.repro import link_files
from forecast.report.leaderboard import print_leaderboards
from forecast.system.progress import format_duration
from forecast.system.stage import run_stage
from pipelines import compare, fetch, prepare, report, train, tune

FOLDER = "demo"
LINKED = {
    "configs/datasets.yaml": "configs/datasets.yaml",
    "configs/evaluation.yaml": "configs/evaluation.yaml",
    "configs/models.yaml": "configs/demo/models.yaml",
    "configs/tuning.yaml": "configs/demo/tuning.yaml",
    "requirements.lock": "requirements.lock",
    "data/pointers": "data/pointers",
    "data/snapshots": "data/snapshots",
}
"""What the demo's folder reads of the project, by its name there."""


def main(root: str = ".", jobs: int = 0) -> None:
    """Fill <root>/demo/ and print its leaderboards and the path of its report."""
    started = time.monotonic()
    folder = Path(root) / FOLDER
    link_files(Path(root), folder, LINKED)
    names, state = load_datasets(folder / "configs").run, str(folder / ".forecast")
    for name in names:
        fetch.main(name, str(folder))
        prepare.main(name, str(folder))
        tune.main(name, str(folder), state=state, jobs=jobs)
        train.main(name, str(folder), state=state, jobs=jobs)
        compare.main(name, str(folder))
    report.main(str(folder))
    print_leaderboards(ProjectPaths.of(folder), names)
    took = format_duration(time.monotonic() - started)
    print(f"Took {took}. Report: {ProjectPaths.of(folder).report}")


if __name__ == "__main__":
    run_stage(main)
