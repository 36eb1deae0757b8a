"""The confirmation set, opened once per release: `make confirm DATA=folder`.

DATA is a folder outside of the repository with a `datasets.yaml` (entries as in
configs/datasets.yaml) and the files that it names (`python -m bench.confirmation_set` writes it);
it is copied to `.forecast/confirm/`, which git ignores, and no value of it is written anywhere
else. The whole pipeline runs with the committed models, budget and protocol. Before the data are
read, version, commit and digest are written to `bench/confirmations.json`: commit that file, for a
set that was looked at confirms nothing twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from forecast import __version__
from forecast.config.datasets import load_datasets
from forecast.config.paths import ProjectPaths
from forecast.data.ingest import fetch_snapshot
from forecast.data.sources import Request
from forecast.report.leaderboard import print_leaderboards
from forecast.system import files
from forecast.system.errors import ForecastError, InputError
from forecast.system.stage import default_jobs

ROOT = Path(__file__).resolve().parent.parent
RECORD = Path("bench") / "confirmations.json"
CONFIGS = ("models.yaml", "tuning.yaml", "evaluation.yaml")


def confirm(root: Path, data: Path, *, now: pd.Timestamp, run: Callable[[Path], None]) -> Path:
    """Record the opening, copy set and configs into a folder of their own, `run` it there; returns
    that folder.

    `InputError` where this version has opened this set before: after a change, raise the version.
    """
    if not (data / "datasets.yaml").is_file():
        raise InputError(
            f"{data}: no datasets.yaml there. Wanted a folder with that file and the data it names."
        )
    digest = files.sha256_of(
        {p.relative_to(data).as_posix(): files.sha256(p) for p in sorted(_files(data))}
    )
    known: list[dict[str, Any]] = files.read_json(root / RECORD) if (root / RECORD).exists() else []
    before = [one for one in known if (one["version"], one["data"]) == (__version__, digest)]
    if before:
        raise InputError(
            f"Version {__version__} opened this confirmation set at {before[0]['opened']}"
            f" ({RECORD}); a second look confirms nothing. Take another set, or open it once more"
            " with the next release."
        )
    opened = {
        "version": __version__,
        "commit": _commit(root),
        "data": digest,
        "opened": now.isoformat(),
    }
    files.write_json(root / RECORD, [*known, opened])
    place = root / ".forecast" / "confirm" / digest[:12]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(data, place)
    (place / "configs").mkdir()
    (place / "datasets.yaml").rename(place / "configs" / "datasets.yaml")
    for name in CONFIGS:
        shutil.copy(root / "configs" / name, place / "configs")
    if (root / "requirements.lock").exists():
        shutil.copy(root / "requirements.lock", place)
    run(place)
    return place


def stages(place: Path) -> None:
    """Fetch to report, as `dvc repro` runs them."""
    from pipelines import compare, fetch, prepare, report, train, tune

    config, state = load_datasets(place / "configs"), str(place / ".forecast")
    jobs = default_jobs(os.environ)
    for name in config.run:
        now = pd.Timestamp.now("UTC").tz_localize(None)
        fetch_snapshot(Request(name, config.datasets[name], place), now=now)
        fetch.main(name, str(place))
        prepare.main(name, str(place))
        tune.main(name, str(place), state=state, jobs=jobs)
        train.main(name, str(place), state=state, jobs=jobs)
        compare.main(name, str(place))
    report.main(str(place))
    print_leaderboards(ProjectPaths.of(place), config.run)


def _files(data: Path) -> list[Path]:
    return [path for path in data.rglob("*") if path.is_file()]


def _commit(root: Path) -> str:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder with datasets.yaml and the files it names")
    try:
        place = confirm(
            ROOT,
            parser.parse_args().data,
            now=pd.Timestamp.now("UTC").tz_localize(None),
            run=stages,
        )
    except ForecastError as error:
        print(f"confirm: {error}", file=sys.stderr)
        return 1
    print(f"Report: {ProjectPaths.of(place).report}. Commit {RECORD}, and nothing of the set.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
