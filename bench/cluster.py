"""A Dask cluster's own cost: trivial tasks, the overhead of one, and the schedule of sixteen
workers, drawn.

    python -m bench.cluster [--tasks 10000] [--costs PROJECT/.forecast/cost] [--drawn schedule.svg]
    python -m bench.cluster --wall weather [--turns 4] [--trials 2] [--cores 0,1]

The second line is `forecast run --dataset weather` from clean copies of this tree on two cores: two
processes of joblib, then two workers of `--cluster local:2`, then the same in the other order;
whether their results are equal to the byte.

Two worker processes on this machine for the trivial tasks. The sixteen are threads whose tasks
sleep as long as the recorded trainings took (without records: a fixed mixture of lengths), longest
first and scaled to twenty seconds of ideal time; the ideal is the larger of all work over sixteen
and the longest task.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from distributed import LocalCluster

from bench.results_file import ROOT
from forecast.system import cluster, files, workers
from forecast.system.workers import WorkItem, WorkOutcome

WORKERS = 16
IDEAL = 20.0
BARS = "bars: 10,000 tasks in 60 s, 20 ms a task, 0.8 of the ideal"
RESULTS = ("tuned", "trained", "compared")
SECONDS = 3600


def nothing(place: int) -> int:
    return place


def sleeping(seconds: float) -> tuple[int, float, float]:
    begun = time.time()
    time.sleep(seconds)
    return threading.get_ident(), begun, time.time()


def durations(folder: Path | None) -> np.ndarray:
    """Seconds, longest first."""
    records = (
        [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))] if folder else []
    )
    # a study's cost has none
    measured = [record["wall_seconds"] for record in records if "wall_seconds" in record]
    known = np.array(measured) if measured else np.random.default_rng(1).lognormal(0.0, 1.0, 120)
    return np.sort(known)[::-1]


def timed(tasks: list[WorkItem]) -> tuple[float, list[WorkOutcome]]:
    begun = time.perf_counter()
    done = list(workers.run_items(tasks, jobs=2))
    assert not any(outcome.error for outcome in done)
    return time.perf_counter() - begun, done


def trivial(number: int) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as local:
        os.environ[cluster.CLUSTER_VARIABLE] = local.scheduler_address
        start, _ = timed([WorkItem("first", nothing, (0,))])
        took, _ = timed([WorkItem(str(n), nothing, (n,)) for n in range(number)])
    print(
        f"{number} trivial tasks on two workers: {took:.1f} s, {1e3 * (took - start) / number:.2f}"
        " ms a task"
    )


def sixteen(seconds: np.ndarray, drawn: Path) -> None:
    ideal = max(seconds.sum() / WORKERS, seconds.max())
    seconds = seconds * IDEAL / ideal
    options = {
        "processes": False,
        "protocol": "tcp",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": 50,
    }
    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, **options) as local:
        os.environ[cluster.CLUSTER_VARIABLE] = local.scheduler_address
        timed([WorkItem(f"warm {n}", sleeping, (0.1,)) for n in range(WORKERS)])
        took, done = timed([WorkItem(str(n), sleeping, (float(s),)) for n, s in enumerate(seconds)])
    print(
        f"{len(seconds)} tasks on {WORKERS} workers: {took:.2f} s, {IDEAL / took:.2f} of the ideal"
    )
    drawn.write_text(picture([outcome.value for outcome in done]))
    print(f"schedule: {drawn}")


def picture(spans: list[tuple[int, float, float]]) -> str:
    """One row a worker, one bar a task, time to the right; SVG."""
    rows = {worker: row for row, worker in enumerate(sorted({worker for worker, _, _ in spans}))}
    first, last = min(begun for _, begun, _ in spans), max(ended for _, _, ended in spans)
    scale = 760 / (last - first)
    bars = "".join(
        f'<rect x="{20 + (begun - first) * scale:.1f}" y="{10 + 18 * rows[worker]}" height="14"'
        f' fill="#4477aa" width="{(ended - begun) * scale:.1f}" stroke="white" stroke-width="0.5"/>'
        for worker, begun, ended in spans
    )
    size = f'width="800" height="{20 + 18 * len(rows)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect {size} fill="white"/>{bars}</svg>'


def copied(target: Path, trials: int) -> None:
    """What git knows of this tree, with its environment; `trials`: of each study, 0 as
    configured.
    """
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (target / ".venv").symlink_to(Path(sys.prefix))
    place = target / "configs" / "tuning.yaml"
    if trials:
        place.write_text(re.sub(r"n_trials: \d+", f"n_trials: {trials}", place.read_text()))
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)


def whole_run(
    dataset: str, project: Path, on: list[str], cores: set[int]
) -> tuple[float, float, dict[str, str]]:
    """Wall and CPU seconds, and the digest of every result."""
    command = [sys.executable, "-m", "forecast", "run", "--dataset", dataset, "--jobs", "2", *on]
    env = {**os.environ, "PYTHONPATH": str(project)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (project.parent / f"{project.name}.log").open("w") as log:
        done = subprocess.run(
            command,
            cwd=project,
            env=env,
            stdout=log,
            stderr=log,
            timeout=SECONDS,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    if done.returncode:
        raise SystemExit(Path(log.name).read_text()[-3000:])
    took, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    result_files = [
        path for name in RESULTS for path in sorted((project / "data" / name / dataset).rglob("*"))
    ]
    digests = {
        str(path.relative_to(project)): files.sha256(path)
        for path in result_files
        if path.is_file()
    }
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, digests


def walls(dataset: str, turns: int, trials: int, cores: set[int], folder: Path) -> None:
    ways = {"joblib": [], "cluster": ["--cluster", "local:2"]}
    took: dict[str, list[float]] = {name: [] for name in ways}
    results = []
    order = [name for turn in range(turns) for name in (ways if turn % 2 == 0 else reversed(ways))]
    projects = [folder / f"{place}-{name}" for place, name in enumerate(order)]
    for project in projects:
        copied(project, trials)
    for name, project in zip(order, projects, strict=True):
        wall, cpu, digests = whole_run(dataset, project, ways[name], cores)
        took[name].append(wall)
        results.append(digests)
        print(
            f"{name}: {wall:.1f} s, {cpu:.1f} s of CPU; {len(digests)} files of results", flush=True
        )
    ratio = float(np.mean(took["cluster"]) / np.mean(took["joblib"]))
    print(f"{dataset}: {ratio:.3f} of joblib's wall time (bar: 1.10)")
    other = sorted(
        {
            name
            for digests_of_run in results
            for name in digests_of_run
            if digests_of_run[name] != results[0].get(name)
        }
    )
    print(f"results equal to the byte: {'yes' if not other else other[:10]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--costs", type=Path)
    parser.add_argument("--drawn", type=Path, default=Path("cluster-schedule.svg"))
    parser.add_argument("--wall", metavar="DATASET", default="")
    parser.add_argument("--turns", type=int, default=2, help="of both")
    parser.add_argument("--trials", type=int, default=0, help="of each study; as configured")
    parser.add_argument("--cores", default="0,1", help="two of this machine's")
    given = parser.parse_args()
    if given.wall:
        with tempfile.TemporaryDirectory() as folder:
            cores = {int(core) for core in given.cores.split(",")}
            walls(given.wall, given.turns, given.trials, cores, Path(folder))
        return
    trivial(given.tasks)
    sixteen(durations(given.costs), given.drawn)
    print(BARS)


if __name__ == "__main__":
    main()
