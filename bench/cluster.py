"""A Dask cluster's own cost: trivial tasks, the overhead of one, and the schedule of sixteen workers, drawn.

    python -m bench.cluster [--tasks 10000] [--costs PROJECT/.forecast/cost] [--drawn schedule.svg]

Two worker processes on this machine for the trivial tasks. The sixteen are threads whose tasks sleep as long as the
recorded trainings took (without records: a fixed mixture of lengths), longest first and scaled to twenty seconds
of ideal time; the ideal is the larger of all work over sixteen and the longest task.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
from distributed import LocalCluster

from forecast.system import cluster, workers

WORKERS = 16
IDEAL = 20.0
BARS = "bars: 10,000 tasks in 60 s, 20 ms a task, 0.8 of the ideal"


def nothing(place: int) -> int:
    return place


def sleeping(seconds: float) -> tuple[int, float, float]:
    begun = time.time()
    time.sleep(seconds)
    return threading.get_ident(), begun, time.time()


def durations(folder: Path | None) -> np.ndarray:
    """Seconds, longest first."""
    found = [json.loads(path.read_text())["wall_seconds"] for path in sorted(folder.rglob("*.json"))] if folder else []
    known = np.array(found) if found else np.random.default_rng(1).lognormal(0.0, 1.0, 120)
    return np.sort(known)[::-1]


def timed(tasks: list[workers.Task]) -> tuple[float, list[workers.Outcome]]:
    begun = time.perf_counter()
    done = list(workers.run(tasks, jobs=2))
    assert not any(outcome.error for outcome in done)
    return time.perf_counter() - begun, done


def trivial(number: int) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as here:
        os.environ[cluster.VARIABLE] = here.scheduler_address
        start, _ = timed([workers.Task("first", nothing, (0,))])
        took, _ = timed([workers.Task(str(n), nothing, (n,)) for n in range(number)])
    print(f"{number} trivial tasks on two workers: {took:.1f} s, {1e3 * (took - start) / number:.2f} ms a task")


def sixteen(seconds: np.ndarray, drawn: Path) -> None:
    ideal = max(seconds.sum() / WORKERS, seconds.max())
    seconds = seconds * IDEAL / ideal
    about = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, **about) as here:
        os.environ[cluster.VARIABLE] = here.scheduler_address
        timed([workers.Task(f"warm {n}", sleeping, (0.1,)) for n in range(WORKERS)])
        took, done = timed([workers.Task(str(n), sleeping, (float(s),)) for n, s in enumerate(seconds)])
    print(f"{len(seconds)} tasks on {WORKERS} workers: {took:.2f} s, {IDEAL / took:.2f} of the ideal")
    drawn.write_text(picture([outcome.value for outcome in done]))
    print(f"schedule: {drawn}")


def picture(spans: list[tuple[int, float, float]]) -> str:
    """One row a worker, one bar a task, time to the right; SVG."""
    rows = {worker: row for row, worker in enumerate(sorted({worker for worker, _, _ in spans}))}
    first, last = min(begun for _, begun, _ in spans), max(ended for _, _, ended in spans)
    scale = 760 / (last - first)
    bars = "".join(
        f'<rect x="{20 + (begun - first) * scale:.1f}" y="{10 + 18 * rows[worker]}" height="14" fill="#4477aa" '
        f'width="{(ended - begun) * scale:.1f}" stroke="white" stroke-width="0.5"/>'
        for worker, begun, ended in spans
    )
    size = f'width="800" height="{20 + 18 * len(rows)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect {size} fill="white"/>{bars}</svg>'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--costs", type=Path)
    parser.add_argument("--drawn", type=Path, default=Path("cluster-schedule.svg"))
    given = parser.parse_args()
    trivial(given.tasks)
    sixteen(durations(given.costs), given.drawn)
    print(BARS)


if __name__ == "__main__":
    main()
