"""Runs apart from each other, and what they read beside their data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from forecast.audit.origins import prepare_panel
from forecast.audit.sandbox import (
    Project,
    record_file_access,
    run_beside,
    run_isolated,
    run_stages,
)
from forecast.system import cluster, files, workers
from forecast.system.errors import ForecastError, InputError
from forecast.system.workers import WorkItem
from tests.faults.processes import eventually
from tests.support import small_project
from tests.support.small_project import ROOT

REMEMBERED: list[str] = []


def remember(word: str) -> list[str]:
    REMEMBERED.append(word)
    return REMEMBERED


def refuse() -> None:
    raise InputError("not this")


def test_what_one_run_remembers_no_other_one_knows() -> None:
    assert (
        run_isolated(remember, "one") == ["one"]
        and run_isolated(remember, "two") == ["two"]
        and not REMEMBERED
    )


def with_workers() -> list[int]:
    tasks = [WorkItem(str(number), abs, (-number,)) for number in range(3)]
    return sorted(outcome.value for outcome in workers.run_items(tasks, jobs=2))


def with_workers_twice() -> list[int]:
    # joblib makes a folder's name for each, and forgets the second's
    return with_workers() + with_workers()


def test_a_run_waits_neither_for_its_own_idle_workers_nor_for_those_of_its_parent() -> None:
    """A forked process has the pool of its parent, without the thread that serves it."""
    begun = time.monotonic()
    assert run_isolated(with_workers) == with_workers() == [0, 1, 2]
    assert run_isolated(with_workers) == with_workers() == [0, 1, 2]
    assert time.monotonic() - begun < 120  # joblib's idle workers go on for 300 s


def blas_threads() -> set[int]:
    return {
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    }


def test_a_fit_that_is_repeated_alone_sums_up_on_one_thread_as_every_task_does() -> None:
    """On several the last digits differ, and the audit takes that for a fit that saw later rows."""
    with threadpool_limits(2):
        assert run_isolated(blas_threads) == {1}


@pytest.mark.slow  # their end: above
def test_a_run_with_workers_leaves_no_folder_of_theirs_and_no_word_of_one(tmp_path: Path) -> None:
    code = "from tests.audit import test_sandbox as t; print(t.run_isolated(t.with_workers_twice))"
    settings = {**os.environ, "JOBLIB_TEMP_FOLDER": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=settings, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 0, 1, 2]\n", "")
    assert not list(tmp_path.iterdir())


def test_a_run_with_one_job_notes_what_it_does_whatever_cluster_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.of(small_project.write_real(tmp_path / "project", models=()), "wave")
    monkeypatch.setenv("FORECAST_CLUSTER", "tcp://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr(cluster, "WAIT_SECONDS", 1)
    monkeypatch.syspath_prepend(str(project.paths.root))
    alone = run_isolated(
        run_stages, project, project.frame, tmp_path / "alone", stages=("fetch", "prepare", "train")
    )
    assert "train" in {request.stage for request in alone.target_requests}
    with pytest.raises(InputError, match="No scheduler answers"):
        run_isolated(
            run_stages,
            project,
            project.frame,
            tmp_path / "there",
            stages=("fetch", "prepare", "train"),
            jobs=2,
        )


def test_a_stage_that_refuses_unchanged_rows_is_not_told_of_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.of(small_project.write_real(tmp_path / "project", models=()), "wave")
    monkeypatch.syspath_prepend(str(project.paths.root))
    with pytest.raises(InputError, match="prepare of wave failed on the data as they are"):
        run_isolated(prepare_panel, project, project.frame.head(3), tmp_path / "short", None)


def test_runs_with_and_without_workers_have_one_tensorflow(tmp_path: Path) -> None:
    """With oneDNN in one of them the last digits differ, which the audit takes for a leak."""
    root = small_project.write_real(tmp_path / "project", models=("elman",))
    code = (
        "from pathlib import Path; from forecast.audit.sandbox import Project, import_stages;"
        f" import_stages(Project.of(Path({str(root)!r}), 'wave'), Path({str(tmp_path)!r}))"
    )
    settings = {k: v for k, v in small_project.environment().items() if not k.startswith("TF_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    assert "oneDNN" not in done.stderr


def test_the_audit_of_a_network_without_gradient_steps_imports_no_tensorflow(
    tmp_path: Path,
) -> None:
    root = small_project.write_real(tmp_path / "project", models=())
    lm = {"trainer": "lm", "units": 2, "lm": {"restarts": 1, "iterations": 1}}
    grid = {"grid": "tiny", "grids": {"tiny": ["naive", "net"]}, "rankings": ["architecture"]}
    entries = {"naive": {"family": "naive"}, "net": {"family": "narx", **lm}}
    small_project.write_yaml(root / "configs" / "models.yaml", {**grid, "models": entries})
    code = f"""
import sys
from pathlib import Path
from forecast.audit import sandbox, stored
from forecast.audit.changes import block_ends
from forecast.forecaster import Budget
project = sandbox.Project.of(Path({str(root)!r}), "wave")
folder = Path({str(tmp_path)!r})
sandbox.import_stages(project, folder)
base = sandbox.run_stages(project, project.frame, folder / "run", stages=sandbox.STAGES[:-1])
end = block_ends(project.frame, project.settings)["validation"]
print(stored.refit_without_later_rows(base, end, Budget(3, 1), folder / "again"))
print("net.last" in base.results.records, "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    environment = small_project.environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\nTrue False\n")


def test_an_error_comes_back_as_it_was() -> None:
    with pytest.raises(InputError, match="not this"):
        run_isolated(refuse)


def test_a_process_that_dies_is_an_error_with_the_next_move() -> None:
    with pytest.raises(
        ForecastError, match=r"died at its work: killed.*run the same command again"
    ):
        run_isolated(os._exit, 3)


def test_reads_of_the_projects_data_and_writes_into_it_are_heard(tmp_path: Path) -> None:
    own_folder, snapshot_file = tmp_path / "data" / "own", tmp_path / "data" / "snapshot.csv"
    own_folder.mkdir(parents=True)
    (tmp_path / "configs.yaml").write_text("")
    snapshot_file.write_text("1")
    with record_file_access(tmp_path, own_folder) as opened:
        (own_folder / "mine").write_text("heard is what is not the run's own")
        (tmp_path / "configs.yaml").read_text()
        Path(__file__).read_text()
        assert opened == []
        snapshot_file.read_text()
        list(snapshot_file.parent.iterdir())
        (tmp_path / "cache.json").write_text("")
    snapshot_file.read_text()
    assert opened == ["data/snapshot.csv", "data", "cache.json"]


def write_process_and_wait(path: Path, seconds: float) -> str:
    files.write_text(path, str(os.getpid()))
    time.sleep(seconds)
    return path.name


def test_a_run_beside_another_goes_on_meanwhile_and_gives_its_result_when_asked(
    tmp_path: Path,
) -> None:
    with run_beside(2, write_process_and_wait, tmp_path / "two", 0.0) as receive_result:
        assert eventually((tmp_path / "two").exists)
        assert receive_result() == "two"
    with run_beside(1, write_process_and_wait, tmp_path / "one", 0.0) as receive_result:
        assert not (tmp_path / "one").exists()  # with one job nothing stands beside
        assert receive_result() == "one"


def test_a_run_beside_one_that_fails_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "process"
    with (
        pytest.raises(InputError, match="the other one"),
        run_beside(2, write_process_and_wait, path, 300.0),
    ):
        assert eventually(path.exists)
        raise InputError("the other one")
    assert not psutil.pid_exists(int(path.read_text()))
