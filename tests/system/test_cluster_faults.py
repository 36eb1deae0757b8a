"""Faults of a cluster met by whole commands: slow tests with nannies and real worker processes, two
of one thread.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from forecast import models
from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.setup import Setup
from forecast.backtest.training import train
from forecast.backtest.tuning import tune
from forecast.config.models import Tuning, load_models
from forecast.config.paths import ProjectPaths
from forecast.data.splits import resolve_borders
from forecast.system import cluster, files, workers
from forecast.system.workers import WorkItem
from tests.faults.processes import eventually
from tests.support import problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LONG = 30.0
"""Seconds of the task that a Ctrl-C meets; a look that long after it must find that it did not end.
"""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from distributed import LocalCluster

    options = {
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": 50,
    }
    with LocalCluster(
        n_workers=2, processes=True, local_directory=str(tmp_path / "dask"), **options
    ) as local:
        monkeypatch.setenv(cluster.CLUSTER_VARIABLE, local.scheduler_address)
        yield local.scheduler_address


def quick(value: int) -> int:
    return value


def slow(marker: Path, seconds: float) -> float:
    marker.with_suffix(".begun").touch()
    time.sleep(seconds)
    marker.touch()
    return seconds


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    assert eventually(condition, seconds), "it did not come"


def test_a_straggler_holds_up_nobody(address: str, tmp_path: Path) -> None:
    tasks = [
        WorkItem("straggler", slow, (tmp_path / "late", 10.0)),
        *(WorkItem(f"{n}", quick, (n,)) for n in range(40)),
    ]
    began, ended = time.monotonic(), {}
    for outcome in workers.run_items(tasks, jobs=2):
        assert outcome.error == ""
        ended[outcome.name] = time.monotonic() - began
    assert len(ended) == 41 and list(ended)[-1] == "straggler"
    assert ended["39"] < ended["straggler"] - 2.0, "the others waited for the slow one"


ASKS = """
import sys
from pathlib import Path
from forecast.system import processes, workers
from forecast.system.workers import WorkItem
from tests.system.test_cluster_faults import slow
processes.stop_on_signals()
folder = Path(sys.argv[1])
tasks = [WorkItem(f"{n}", slow, (folder / f"{n}", float(sys.argv[2]))) for n in range(6)]
list(workers.run_items(tasks, jobs=2))
"""


def test_ctrl_c_leaves_no_task_behind(address: str, tmp_path: Path) -> None:
    from distributed import Client

    command = [sys.executable, "-c", ASKS, str(tmp_path), str(LONG)]
    asks = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(lambda: len(list(tmp_path.glob("*.begun"))) == 2, 120)
        os.kill(asks.pid, signal.SIGINT)
        asks.wait(60)
        stopped = time.monotonic()
        with Client(address, set_as_default=False, timeout=30) as client:
            wait_for(lambda: not any(client.processing().values()), 10)
            time.sleep(max(0.0, stopped + LONG + 5.0 - time.monotonic()))
            assert not any(client.processing().values())
    finally:
        asks.kill()
        asks.wait(30)
    begun, ended = (
        list(tmp_path.glob("*.begun")),
        [path for path in tmp_path.glob("?") if path.is_file()],
    )
    assert (len(begun), ended) == (2, []), "a task went on, or another began"


@contextmanager
def killed(address: str, begun: Callable[[], bool]) -> Iterator[list[int]]:
    """SIGKILL for the worker process that runs a task, once `begun`; the list gets its PID."""
    from distributed import Client

    process_ids: list[int] = []
    done = threading.Event()
    with Client(address, set_as_default=False, timeout=60) as idle:
        pids = idle.run(os.getpid)  # a worker that trains beside others answers when it has ended

    def kill() -> None:
        with suppress(Exception), Client(address, set_as_default=False, timeout=30) as client:
            while not done.wait(0.02) and not process_ids:
                busy = [worker for worker, keys in client.processing().items() if keys]
                if busy and begun():
                    psutil.Process(pids[busy[0]]).kill()
                    process_ids.append(pids[busy[0]])

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield process_ids
    finally:
        done.set()
        thread.join(60)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, dict[str, str]]:
    root = tmp_path_factory.mktemp("project")
    (root / "requirements.lock").write_text("numpy==2.4.0\n")
    folder = root / "data" / "prepared" / "shops"
    long = problems.frame()
    files.write_frame(folder / "frame.parquet", long)
    borders = resolve_borders(problems.panel_of(long), problems.dataset().splits).to_json()
    files.write_json(folder / "borders.json", borders)
    files.write_json(folder / "task.json", problems.task().model_dump(mode="json"))
    digest = files.sha256(folder / "frame.parquet")
    return PreparedData(ProjectPaths.of(root), "shops", "frame.parquet", digest), borders


NET = Candidate(
    "ffnn",
    models.spec({"family": "ffnn", "layers": 1, "units": 3}, where="test"),
    "shipped",
    "linear",
)


def kept_apart(place: PreparedData, state: Path) -> PreparedData:
    return replace(place, paths=ProjectPaths.of(place.paths.root, state))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def setup_of(place: PreparedData, borders: dict[str, str]) -> Setup:
    tuning = Tuning(
        n_trials=5,
        trial_steps=300,
        final_steps=600,
        evaluate_every=100,
        seeds=(3, 7, 11),
        base_seed=0,
    )
    return Setup(place, problems.task(), borders, load_models(), tuning)


def test_a_training_whose_worker_is_killed_ends_equal(
    prepared: tuple[PreparedData, dict[str, str]],
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, borders = prepared

    def trained(state: Path, target: Path) -> dict[str, bytes]:
        train(setup_of(kept_apart(place, state), borders), [NET], {}, target, jobs=2)
        return tree(target)

    # of three trainings on two workers one is left to kill, though the first two end together
    memo = tmp_path / "there" / "memo"
    with killed(address, lambda: memo.exists() and any(memo.iterdir())) as pids:
        there = trained(tmp_path / "there", tmp_path / "trained there")
    assert len(pids) == 1 and eventually(lambda: not psutil.pid_exists(pids[0]))
    monkeypatch.delenv(cluster.CLUSTER_VARIABLE)
    assert there == trained(tmp_path / "here", tmp_path / "trained here")


def test_a_study_whose_worker_is_killed_ends_equal_and_keeps_its_finished_trials(
    prepared: tuple[PreparedData, dict[str, str]],
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, borders = prepared

    def tuned(state: Path, target: Path) -> dict[str, bytes]:
        tune(setup_of(kept_apart(place, state), borders), [NET], target, jobs=2)
        return tree(target)

    studies = tmp_path / "there" / "studies"

    def has_begun() -> bool:
        return any(b'"outcome"' in path.read_bytes() for path in studies.glob("*.journal"))

    with killed(address, has_begun) as pids:
        there = tuned(tmp_path / "there", tmp_path / "tuned there")
    assert len(pids) == 1 and eventually(lambda: not psutil.pid_exists(pids[0]))
    monkeypatch.delenv(cluster.CLUSTER_VARIABLE)
    assert there == tuned(tmp_path / "here", tmp_path / "tuned here")
    costs = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("*.tuning.json"))]
    assert len(costs) == 2 and all(cost["cpu_seconds"] > 0 for cost in costs)
