"""Simulated days of operation with faults: `make soak`.

Each day data arrive and a retraining runs, is killed or hindered; afterwards nothing may be lost,
wrong, left running or growing without bound.

    python -m bench.soak --days 60 --seed 7    # the seed is printed; the same seed is the same days
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

from forecast.config.paths import ProjectPaths
from forecast.operations import champion, records, registry
from forecast.system.errors import ForecastError
from forecast.system.files import TEMPORARY
from forecast.tracking import model_registry, tracking_store

ROOT = Path(__file__).resolve().parent.parent
STEPS = (
    "work tree",
    "tune",
    "fetch",
    "check",
    "drift",
    "challenger",
    "gate",
    "write down",
    "register",
    "promote",
    "refit",
    "record",
)
FINE = {0, 4}
SECONDS = 600
"""The longest that a command may take."""
MODELS = ("naive", "seasonal_naive", "ridge", "elman")
FIRST_DAY = {"weather": "2026-03-01", "stocks": "2018-06-01"}
KILLED = r"""
import builtins, os, re, runpy, signal, sys

step, written = sys.argv.pop(1), builtins.print

def fatal(*words, **options):
    written(*words, **options)
    if re.search(rf" retrain \S+: {step}$", str(words[0] if words else "")):
        os.kill(os.getpid(), signal.SIGKILL)

builtins.print = fatal
runpy.run_module("forecast", run_name="__main__", alter_sys=True)
"""
BUDGET = {
    "n_trials": 1,
    "trial_steps": 2,
    "final_steps": 2,
    "evaluate_every": 1,
    "seeds": [0],
    "base_seed": 0,
}


@dataclass
class Soak:
    """One project, its datasets and what happened.

    `problems` is empty at the end of a good soak.
    """

    root: Path
    datasets: tuple[str, ...]
    dice: random.Random
    happened: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    known_versions: dict[str, set[int]] = field(default_factory=dict)

    def day(self, number: int) -> None:
        for dataset in self.datasets:
            as_of = pd.Timestamp(FIRST_DAY[dataset]) + pd.Timedelta(number, "D")
            fault = (
                "nothing" if number == 0 else self.dice.choices(list(FAULTS), weights=WEIGHTS)[0]
            )
            self.happened[fault] += 1
            FAULTS[fault](self, dataset, f"{as_of:%Y-%m-%d}")
            self.check(dataset, f"day {number}, {dataset}, {fault}")

    def retrain(self, dataset: str, as_of: str, *, fine: set[int] = FINE, **extra: str) -> int:
        done = subprocess.run(
            self._words(dataset, as_of),
            cwd=self.root,
            env=self._environment(**extra),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        self.happened[f"exit {done.returncode}"] += 1
        known = records.read_decisions(self.root, dataset)
        if known:
            self.happened[f"last decision {known[-1].word}"] += 1
        if done.returncode not in fine:
            self.problems.append(f"{dataset} {as_of}: exit {done.returncode}: {done.stderr[-800:]}")
        return done.returncode

    def check(self, dataset: str, when: str) -> None:
        """The champion loads, aliases agree and lose no version, and no process or temporary file
        is left.
        """
        try:
            state = champion.load(self.root, dataset)
            if state.notice:
                self.problems.append(f"{when}: {state.notice}")
        except ForecastError as error:
            self.problems.append(f"{when}: no champion: {error}")
        registered = dict(model_registry.read_registry(tracking_store(self.root), dataset).aliases)
        if {k: v for k, v in registered.items() if k != "challenger"} != self._local(dataset):
            self.problems.append(
                f"{when}: registry {registered}, here {champion.read_aliases(self.root, dataset)}"
            )
        numbers = {d.version for d in records.read_decisions(self.root, dataset)} - {None}
        lost = self.known_versions.get(dataset, set()) - numbers
        if lost:
            self.problems.append(f"{when}: versions {lost} are lost")
        self.known_versions[dataset] = {int(n) for n in numbers if n is not None}
        left = [p for p in psutil.process_iter() if self._ours(p)]
        if left:
            self.problems.append(f"{when}: still running: {[p.cmdline() for p in left]}")
        lying = [*self.root.rglob(f"{TEMPORARY}*"), *self.temporary.iterdir()]
        if lying:
            self.problems.append(f"{when}: left behind: {[str(path) for path in lying[:5]]}")
        tracked = self._git("status", "--porcelain", "--untracked-files=no")
        if tracked:
            self.problems.append(f"{when}: the checkout changed: {tracked}")

    def size(self) -> int:
        """Bytes below the project, what is hard-linked counted once, MLflow's own artifacts of
        versions left out.
        """
        inodes = {}
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and "mlartifacts" not in path.parts:
                stat = path.stat()
                inodes[stat.st_ino] = stat.st_size
        return sum(inodes.values())

    @property
    def temporary(self) -> Path:
        """The machine's folder for temporary files, of these processes alone."""
        return self.root.parent / "temporary"

    def _local(self, dataset: str) -> dict[str, int]:
        return {
            k: v for k, v in champion.read_aliases(self.root, dataset).items() if k != "challenger"
        }

    def _words(self, dataset: str, as_of: str) -> list[str]:
        return [sys.executable, "-m", "forecast", "retrain", dataset, "--as-of", as_of]

    def _environment(self, **extra: str) -> dict[str, str]:
        # each retraining starts a dozen processes
        others = ("MLFLOW_", "FORECAST_", "PYTHONDONTWRITEBYTECODE")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        return {
            **clean,
            "PYTHONPATH": "",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.temporary),
            **extra,
        }

    def _ours(self, process: psutil.Process) -> bool:
        try:
            is_below = Path(process.cwd()).is_relative_to(self.root)
            return is_below and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False

    def _git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self.root, capture_output=True, text=True, check=True
        ).stdout


def killed_at(
    step: str,
    words: Sequence[str],
    root: Path,
    environment: Mapping[str, str],
    run: Callable[..., subprocess.CompletedProcess[Any]] = subprocess.run,
) -> bool:
    """A retraining (`python -m forecast ...`) that kills itself -9 where it says that `step`
    begins; False when it ended before. Whoever reads its words and then kills it comes too late on
    a busy machine.
    """
    command = [words[0], "-c", KILLED, step, *words[3:]]
    nowhere = subprocess.DEVNULL
    done = run(
        command,
        cwd=root,
        env=environment,
        stdout=nowhere,
        stderr=nowhere,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode == -signal.SIGKILL


@contextmanager
def bounded(process: subprocess.Popen[str], seconds: float = SECONDS) -> Iterator[None]:
    """A process with a session of its own; after `seconds` all of that is killed, so that no pipe
    stays open.
    """
    watch = threading.Timer(seconds, lambda: os.killpg(process.pid, signal.SIGKILL))
    watch.start()
    try:
        with process:
            yield
    finally:
        watch.cancel()


def quiet(soak: Soak, dataset: str, as_of: str) -> None:
    soak.retrain(dataset, as_of)


def killed(soak: Soak, dataset: str, as_of: str) -> None:
    """kill -9 when a step begins; the next run of the same day finishes."""
    step = soak.dice.choice(STEPS)
    killed_at(step, soak._words(dataset, as_of), soak.root, soak._environment())
    until(lambda: not any(soak._ours(p) for p in psutil.process_iter()))
    soak.happened[f"killed at {step}"] += 1
    if dataset in soak.known_versions and champion.load(soak.root, dataset).notice:
        soak.problems.append(f"{dataset} {as_of}: killed at {step}: the champion is damaged")
    soak.retrain(dataset, as_of)


def twice(soak: Soak, dataset: str, as_of: str) -> None:
    """Two at once: one works, the other is told that it is busy."""
    first = subprocess.Popen(
        soak._words(dataset, as_of),
        cwd=soak.root,
        env=soak._environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert first.stderr is not None
    with bounded(first), first.stderr as lines:
        lines.readline()
        soak.retrain(dataset, as_of, fine={75})
        lines.read()
    if first.returncode not in FINE:
        soak.problems.append(f"{dataset} {as_of}: the first of two ended with {first.returncode}")


def unreachable(soak: Soak, dataset: str, as_of: str) -> None:
    """MLflow's database is gone: a promotion waits, the rest continues; afterwards everything is
    recorded.
    """
    database, away = soak.root / "mlflow.db", soak.root / "mlflow.db.away"
    database.rename(away)
    database.write_text("this is no database")
    soak.retrain(dataset, as_of, fine={0, 1, 4, 5})
    away.replace(database)
    soak.retrain(dataset, as_of)


def locked(soak: Soak, dataset: str, as_of: str) -> None:
    """Another program holds the database for a while."""
    with closing(sqlite3.connect(soak.root / "mlflow.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        process = subprocess.Popen(
            soak._words(dataset, as_of),
            cwd=soak.root,
            env=soak._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(soak.dice.uniform(1, 5))
        holder.execute("ROLLBACK")
    with process:
        if process.wait(timeout=600) not in {*FINE, 1}:
            soak.problems.append(f"{dataset} {as_of}: database locked: exit {process.returncode}")
    soak.retrain(dataset, as_of)


def damaged(soak: Soak, dataset: str, as_of: str) -> None:
    """A byte of the champion is changed: the previous one takes over with a notice, until the
    repair.
    """
    version = champion.read_aliases(soak.root, dataset).get("champion")
    if version is None:
        return quiet(soak, dataset, as_of)
    path = champion.version_folder(soak.root, dataset, version) / "calibration.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    soak.retrain(dataset, as_of, fine={0, 4, 5})
    registry.repair_registry(soak.root, dataset, now=pd.Timestamp(as_of))
    return None


def full(soak: Soak, dataset: str, as_of: str) -> None:
    """Files may not grow beyond a limit, as on a full disk: the run fails with a message, the next
    one completes.
    """
    limit = soak.dice.choice([4, 64, 512])
    words = " ".join(soak._words(dataset, as_of))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {limit}; trap '' XFSZ; exec {words}"],
        cwd=soak.root,
        env=soak._environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode not in {*FINE, 1, 2, 3, 5}:
        soak.problems.append(
            f"{dataset} {as_of}: full disk: exit {done.returncode}: {done.stderr[-800:]}"
        )
    soak.retrain(dataset, as_of)


def back(soak: Soak, dataset: str, as_of: str) -> None:
    """The operator goes back to the previous version."""
    try:
        registry.rollback(soak.root, dataset, now=pd.Timestamp(as_of), reason="soak")
    except ForecastError:
        soak.happened["nothing to roll back to"] += 1
    soak.retrain(dataset, as_of)


def tree_lost(soak: Soak, dataset: str, as_of: str) -> None:
    """Somebody deleted the work tree."""
    shutil.rmtree(ProjectPaths.of(soak.root).retraining(dataset) / "tree")
    soak.retrain(dataset, as_of)


FAULTS: dict[str, Callable[[Soak, str, str], None]] = {
    "nothing": quiet,
    "killed": killed,
    "twice": twice,
    "no database": unreachable,
    "database locked": locked,
    "champion damaged": damaged,
    "disk full": full,
    "rolled back": back,
    "work tree lost": tree_lost,
}
WEIGHTS = (6, 6, 1, 1, 1, 1, 1, 1, 1)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)


def write_project(
    root: Path,
    datasets: tuple[str, ...],
    models: tuple[str, ...] = MODELS,
    prepare: Callable[[Path], None] = lambda root: None,
) -> None:
    """A repository of this code and data, with the smallest real budget and a gate that is asked
    often.

    `prepare` changes what stands in the folder before it is committed.
    """
    ignored = shutil.ignore_patterns(
        "__pycache__", "*.pyc", ".tmp-*", "cache", "tmp", "config.local"
    )
    for name in (
        "forecast",
        "pipelines",
        "configs",
        ".dvc",
        "data/pointers",
        "data/snapshots/weather",
    ):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    (root / ".venv").symlink_to(sys.prefix)
    content = {
        "grid": "tiny",
        "grids": {"tiny": list(models)},
        "models": {name: {"family": name} for name in models},
    }
    _write(root / "configs" / "models.yaml", content)
    _write(root / "configs" / "tuning.yaml", BUDGET)
    _write(
        root / "configs" / "retraining.yaml",
        {"defaults": {"max_age_days": 10, "keep_snapshots": 3}},
    )
    table = yaml.safe_load((root / "configs" / "datasets.yaml").read_text())
    table["run"] = list(datasets)
    _write(root / "configs" / "datasets.yaml", table)
    prepare(root)
    with (root / ".gitignore").open("a") as file:
        file.write("/.venv\n")
    identity = ["-c", "user.name=soak", "-c", "user.email=soak@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "soak"]):
        subprocess.run(["git", *words], cwd=root, check=True)


def _write(path: Path, content: object) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def soak(
    root: Path, *, days: int, seed: int, datasets: tuple[str, ...], models: tuple[str, ...] = MODELS
) -> Soak:
    """Write the project and simulate `days` of operation; prints one line a day."""
    write_project(root, datasets, models)
    record = Soak(root, datasets, random.Random(seed))
    record.temporary.mkdir()
    sizes = []
    for number in range(days):
        record.day(number)
        sizes.append(record.size())
        print(
            f"day {number}: {sizes[-1] / 1e6:.1f} MB, {len(record.problems)} problems", flush=True
        )
    if len(sizes) > 20 and sizes[-1] > 1.5 * sizes[len(sizes) // 3]:
        record.problems.append(
            f"the disk fills: {sizes[len(sizes) // 3]} bytes after a third, {sizes[-1]} at the end"
        )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--datasets", default="weather,stocks")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        record = soak(
            root, days=options.days, seed=options.seed, datasets=tuple(options.datasets.split(","))
        )
    print(f"{options.days} days in {time.monotonic() - began:.0f} s: {dict(record.happened)}")
    for problem in record.problems:
        print(f"PROBLEM {problem}")
    raise SystemExit(1 if record.problems else 0)


if __name__ == "__main__":
    main()
