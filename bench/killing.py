"""kill -9 at random moments of random commands, over simulated days: `make soak DAYS=30 KILLS=100`.

Each day a row arrives, its source answers badly once, and one or more of fetch, run, retrain,
promote, predict and a scheduled retraining are killed; the same command must then complete, the
champion load, the registry agree, and no version, snapshot or issued forecast be lost. The folder
keeps days and counts after each day, so the same line goes on where it was stopped.

python -m bench.killing --days 30 --kills 100 --folder .forecast/soak
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from bench.soak import FINE, SECONDS, Soak, _write, until, write_project
from forecast.data import snapshots
from forecast.operations import champion, live_accuracy
from forecast.system import files
from forecast.system.errors import ForecastError

NAME = "wave"
FIRST_DAY = pd.Timestamp("2024-01-01")
HISTORY = 200
COMMANDS = {
    "fetch": ("fetch", NAME),
    "run": ("run", "--jobs", "1"),
    "retrain": ("retrain", NAME),
    "promote": ("promote", NAME),
    "predict": ("predict", NAME),
    "schedule": (),
}
WEIGHTS = (5, 1, 4, 2, 5, 2)
ENTRY = {
    "title": "A wave",
    "source": {"kind": "file", "path": f"data/{NAME}.csv"},
    "calendar": {"kind": "regular", "freq": "1D"},
    "horizon": 2,
    "lookback": 7,
    "season_length": 7,
    "target": {"column": "y"},
    "splits": {"train": 0.5, "validation": 0.2, "calibration": 0.1},
    "licence": {"name": "none", "attribution": "made for a test"},
}
BAD_ANSWERS: dict[str, Callable[[str], str]] = {
    "an empty answer": lambda text: "",
    "a page instead of a table": lambda text: "<html><body>503 Service Unavailable</body></html>",
    "another header": lambda text: text.replace("y", "value", 1),
    "words for numbers": lambda text: text[: text.rindex(",")] + ",n/a yet\n",
    "a row twice": lambda text: text + text.splitlines()[-1] + "\n",
    "half of a line at its end": lambda text: text[: text.rindex(",") - 3],
}
CLOCKED = """
import os, sys
from datetime import datetime
from pathlib import Path
moment = datetime.fromisoformat(sys.argv.pop(1))
from forecast.cli import common, main
class Clock(datetime):
    @classmethod
    def now(cls, tz=None): return moment
common.datetime = Clock
if len(sys.argv) > 1: main()
from forecast.config.operation import load_schedule
from forecast.operations.schedule import Scheduler
jobs = load_schedule(Path("configs"))
scheduler = Scheduler(Path.cwd(), jobs, dict(os.environ), print, clock=lambda: moment)
raise SystemExit(scheduler.run_job("daily"))
"""
"""A command of `forecast`, or without words the daily job of its scheduler, at a simulated time."""


@dataclass
class Killing(Soak):
    """A soak whose commands are killed at random moments.

    `usual`: the seconds a command takes undisturbed.
    """

    usual: dict[str, float] = field(default_factory=dict)
    issued: int = 0
    seen_snapshots: set[str] = field(default_factory=set)

    def started(self, command: str, moment: pd.Timestamp) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", CLOCKED, f"{moment.isoformat()}+00:00", *COMMANDS[command]]
        return subprocess.Popen(
            words,
            cwd=self.root,
            env=self._environment(FORECAST_JOBS="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def completed(self, command: str, moment: pd.Timestamp) -> None:
        """Runs the command to its end; its exit code and what it took are kept."""
        began = time.monotonic()
        process = self.started(command, moment)
        try:
            _, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.killed(process)
            self.problems.append(f"{moment}: {command} hangs")
            return
        self.usual[command] = time.monotonic() - began
        self.happened[f"{command} ended with {process.returncode}"] += 1
        if process.returncode not in FINE:
            self.problems.append(f"{moment}: {command}: exit {process.returncode}: {errors[-800:]}")

    def killed(self, process: subprocess.Popen[str]) -> None:
        """kill -9 of the command alone, as the kernel does it; what it started must end by
        itself.
        """
        process.kill()
        process.wait(timeout=SECONDS)
        assert process.stderr is not None
        process.stderr.close()
        until(lambda: not any(self._ours(p) for p in psutil.process_iter()), SECONDS)

    def kill(self, command: str, moment: pd.Timestamp) -> None:
        if command in ("run", "predict"):  # they refuse a file that changed since its snapshot
            self.completed("fetch", moment)
        process = self.started(command, moment)
        try:
            process.communicate(timeout=self.dice.uniform(0, self.usual.get(command, 10.0)))
            self.happened[f"{command} was quicker"] += 1
        except subprocess.TimeoutExpired:
            self.killed(process)
            self.happened[f"{command} killed"] += 1
        self.nothing_lost(f"{moment}, {command} killed")
        self.completed(command, moment)
        self.check(NAME, f"{moment}, after {command} was killed")
        self.nothing_lost(f"{moment}, {command} completed")

    def answered_badly(self, moment: pd.Timestamp) -> None:
        """A fetch of a source that answers with something else: refused in words, and what was
        there stays.
        """
        source = self.root / "data" / f"{NAME}.csv"
        good = source.read_text(encoding="utf-8")
        kind = self.dice.choice(list(BAD_ANSWERS))
        source.write_text(BAD_ANSWERS[kind](good), encoding="utf-8")
        refused = self.started("fetch", moment)
        _, errors = refused.communicate(timeout=SECONDS)
        self.happened[f"{kind}: exit {refused.returncode}"] += 1
        if refused.returncode not in (1, 2) or "Traceback" in errors:
            self.problems.append(f"{moment}: {kind}: exit {refused.returncode}: {errors[-800:]}")
        self.nothing_lost(f"{moment}, after {kind}")
        source.write_text(good, encoding="utf-8")

    def nothing_lost(self, when: str) -> None:
        """The pointed snapshot and the champion are whole, no issued forecast and no snapshot is
        gone.
        """
        try:
            snapshots.read_pointed(self.root, NAME)
            issued = len(live_accuracy.read_issues(self.root, NAME))
            if champion.load(self.root, NAME).notice:
                self.problems.append(f"{when}: the champion is damaged")
        except ForecastError as error:
            self.problems.append(f"{when}: {error}")
            return
        present = {path.name for path in snapshots.list_snapshots(self.root, NAME)}
        if issued < self.issued or not self.seen_snapshots <= present:
            lost = self.seen_snapshots - present
            self.problems.append(
                f"{when}: {self.issued - issued} issued forecasts, snapshots {lost} lost"
            )
        self.issued, self.seen_snapshots = issued, present

    def _git(self, *words: str) -> str:
        """Without the pointer, which `fetch` moves."""
        lines = super()._git(*words).splitlines()
        return "\n".join(
            line for line in lines if not line.endswith((f"pointers/{NAME}.json", "dvc.lock"))
        )


def begin(root: Path) -> None:
    """The project with two models, its first data, and a daily job."""
    write_project(root, (NAME,), ("naive", "ridge"), prepare=_write_project)


def _write_project(root: Path) -> None:
    _write(root / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: ENTRY}})
    _write(
        root / "configs" / "retraining.yaml", {"defaults": {"max_age_days": 3, "keep_snapshots": 3}}
    )
    _write(
        root / "configs" / "schedule.yaml",
        {"jobs": {"daily": {"run": f"retrain {NAME}", "at": "05:30"}}},
    )
    grow(root, 0)


def grow(root: Path, day: int) -> pd.Timestamp:
    """The wave up to this day; the moment at which its last row is known."""
    count = HISTORY + day
    noise = 0.2 * np.random.default_rng(0).standard_normal(10_000)[:count]
    ds = pd.date_range(FIRST_DAY, periods=count, freq="D")
    table = pd.DataFrame({"ds": ds.strftime("%Y-%m-%d"), "y": np.sin(np.arange(count)) + noise})
    files.write_text(root / "data" / f"{NAME}.csv", table.to_csv(index=False))
    return ds[-1] + pd.Timedelta(30, "h")


def lived(
    folder: Path,
    *,
    days: int,
    kills: int,
    seed: int,
    report: Callable[[str], None] = lambda line: None,
) -> Killing:
    """Goes on in `folder` from the day it has reached up to `days`, with `kills` spread over all of
    them.
    """
    root, state = folder / "project", folder / "state.json"
    known = (
        json.loads(state.read_text())
        if state.exists()
        else {"day": 0, "happened": {}, "problems": [], "usual": {}}
    )
    if not (root / ".git").exists():
        folder.mkdir(parents=True, exist_ok=True)
        begin(root)
        (folder / "temporary").mkdir(exist_ok=True)
    soak = Killing(
        root.resolve(), (NAME,), random.Random(), Counter(known["happened"]), known["problems"]
    )
    soak.usual = known["usual"]
    # of a soak that was stopped itself
    until(lambda: not any(soak._ours(p) for p in psutil.process_iter()), SECONDS)
    for day in range(known["day"], days):
        soak.dice = random.Random(f"{seed} {day}")
        moment = grow(root, day)
        if day == 0:
            for command in ("fetch", "retrain", "run", "promote", "predict"):
                soak.completed(command, moment)
        soak.answered_badly(moment)
        for _ in range(kills * (day + 1) // days - kills * day // days):
            soak.kill(soak.dice.choices(list(COMMANDS), weights=WEIGHTS)[0], moment)
        content = {
            "day": day + 1,
            "happened": soak.happened,
            "problems": soak.problems,
            "usual": soak.usual,
        }
        files.write_json(state, content)
        count = sum(n for what, n in soak.happened.items() if what.endswith(" killed"))
        report(
            f"day {day + 1}: {count} killed, {soak.size() / 1e6:.1f} MB, {len(soak.problems)}"
            " problems"
        )
    return soak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(".forecast/soak"))
    options = parser.parse_args()
    record = lived(
        options.folder,
        days=options.days,
        kills=options.kills,
        seed=options.seed,
        report=lambda line: print(line, flush=True),
    )
    print(json.dumps(record.happened, indent=1, sort_keys=True))
    for problem in record.problems:
        print(f"PROBLEM {problem}")
    raise SystemExit(1 if record.problems else 0)


if __name__ == "__main__":
    main()
