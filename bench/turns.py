"""Contenders in turns: A B A B ..., each in processes of its own, compared pair by pair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from bench.results_file import ROOT

PEERS = ROOT / "bench" / "peers" / ".venv" / "bin" / "python"
COPIES = min(2, os.cpu_count() or 1)  # processes that run one contender's turn at the same time

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Read when NumPy is imported: told before the process starts."""


class NotRun(Exception):
    """A contender that is absent or failed; its text says why."""


@dataclass(frozen=True)
class Ratio:
    """Peer's time over ours, geometric mean over the turns, and its one-sided lower 95 % bound
    (paired, t).
    """

    mean: float
    lower: float


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of one time per turn each, in the order of the turns."""
    logs = np.log(np.asarray(theirs) / np.asarray(ours))
    error = (
        stats.t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
        if len(logs) > 1
        else np.inf
    )
    return Ratio(float(np.exp(logs.mean())), float(np.exp(logs.mean() - error)))


class Contender:
    """`COPIES` processes of one contender, kept alive between its turns; `NotRun` where one cannot
    start or dies.
    """

    def __init__(self, task: Mapping[str, Any], copies: int = COPIES) -> None:
        self.name = str(task["who"])
        python = PEERS if self.name not in ("ours", "keras", "keras-xla") else sys.executable
        if not os.access(python, os.X_OK):
            raise NotRun("not installed: make bench-setup")
        command = [str(python), "-m", "bench.contender", json.dumps(task)]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.processes = [
            subprocess.Popen(command, cwd=ROOT, env=os.environ | ONE_THREAD, text=True, **pipes)
            for _ in range(copies)
        ]
        started = [self._answer(process) for process in self.processes]
        self.first, self.versions = max(s["first"] for s in started), started[0]["versions"]

    def turn(self, calls: int) -> list[float]:
        """Milliseconds of every call of all copies, which run at the same time."""
        for process in self.processes:
            process.stdin.write(f"{calls}\n")
            process.stdin.flush()
        return [ms for process in self.processes for ms in self._answer(process)["ms"]]

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        line = process.stdout.readline() if process.stdout else ""
        while line and not line.startswith("{"):
            line = process.stdout.readline() if process.stdout else ""
        if not line:
            messages = (process.stderr.read() if process.stderr else "").strip().splitlines()
            self.close()
            raise NotRun(f"failed: {messages[-1] if messages else 'no message'}"[:200])
        return json.loads(line)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


def measured(
    tasks: Mapping[str, Mapping[str, Any]], turns: int, calls: int
) -> dict[str, dict[str, Any]]:
    """By contender its `ms` per turn (medians of the calls), `first` call and `versions`, or `not
    run`.
    """
    with ExitStack() as stack:
        measurements: dict[str, dict[str, Any]] = {}
        running: dict[str, Contender] = {}
        for name, task in tasks.items():
            try:
                running[name] = Contender(task)
                stack.callback(running[name].close)
                measurements[name] = {
                    "ms": [],
                    "first": running[name].first,
                    "versions": running[name].versions,
                }
            except NotRun as reason:
                measurements[name] = {"not run": str(reason)}
        for turn in range(turns + 1):  # the first warms up
            for name, contender in list(running.items()):
                try:
                    times = contender.turn(calls)
                except NotRun as reason:
                    measurements[name] = {"not run": str(reason)}
                    del running[name]
                    continue
                if turn:
                    measurements[name]["ms"].append(float(np.median(times)))
        return measurements
