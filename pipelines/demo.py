"""`make demo`: every stage on a small grid and budget, in a folder of its own beside DVC, up to the
leaderboard.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from forecast.config.datasets import load_datasets
from forecast.config.paths import ProjectPaths
from forecast.report.leaderboard import print_leaderboards
from forecast.system.stage import format_duration, run_stage
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
    began = time.monotonic()
    place = _linked(Path(root))
    names, state = load_datasets(place / "configs").run, str(place / ".forecast")
    for name in names:
        fetch.main(name, str(place))
        prepare.main(name, str(place))
        tune.main(name, str(place), state=state, jobs=jobs)
        train.main(name, str(place), state=state, jobs=jobs)
        compare.main(name, str(place))
    report.main(str(place))
    print_leaderboards(ProjectPaths.of(place), names)
    print(
        f"Took {format_duration(time.monotonic() - began)}. Report: {ProjectPaths.of(place).report}"
    )


def _linked(root: Path) -> Path:
    """The demo's folder, which reads the project's data through links and writes beside them."""
    place = root / FOLDER
    for name, target in LINKED.items():
        link = place / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(root / target, link.parent))
    return place


if __name__ == "__main__":
    run_stage(main)
