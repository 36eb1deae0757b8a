"""Tasks over the cores: what fails is told apart, the others are kept, and the schedule changes
nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from unittest.mock import Mock

import psutil
import pytest

from forecast.operations import repro
from forecast.system import files, workers
from forecast.system.errors import DataError, ForecastError, InputError
from forecast.system.workers import WorkItem, WorkOutcome


def square(x):
    return x * x


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def refuse():
    raise InputError("the file is wrong")


def break_down():
    raise ZeroDivisionError("a bug")


def threads():
    from threadpoolctl import threadpool_info

    return sorted({pool["num_threads"] for pool in threadpool_info()})


def allowed_growth(_number):
    from joblib.externals.loky import process_executor

    return process_executor._MAX_MEMORY_LEAK_SIZE


TASKS = [
    WorkItem("two", square, (2,)),
    WorkItem("wrong", refuse, ()),
    WorkItem("bug", break_down, ()),
    WorkItem("three", square, (3,)),
]


def outcomes(jobs, tasks=TASKS):
    return {outcome.name: outcome for outcome in workers.run_items(tasks, jobs=jobs)}


def test_work_that_other_processes_lack_code_for_stays_in_this_one():
    tasks = [WorkItem(f"{n}", os.getpid, (), stays_here=n < 2) for n in range(4)]
    is_here = {name: done.value == os.getpid() for name, done in outcomes(2, tasks).items()}
    assert is_here == {"0": True, "1": True, "2": False, "3": False}


def test_a_cluster_that_is_left_without_work_is_not_asked(monkeypatch):
    monkeypatch.setenv("FORECAST_CLUSTER", "tcp://localhost:1")  # where nothing answers
    done = outcomes(2, [WorkItem("0", os.getpid, (), stays_here=True)])
    assert done["0"].value == os.getpid()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_folder_that_cannot_be_copied_is_one_sentence(code, tmp_path, monkeypatch):
    def fail(_source, target, **_options):
        raise OSError(code, os.strerror(code), str(target))

    def copy_folder():
        with files.atomic_directory(tmp_path / "copy") as target:
            shutil.copytree(tmp_path / "whole", target / "whole", copy_function=fail)

    files.write_text(tmp_path / "whole" / "a", "content")
    files.write_text(tmp_path / "whole" / "b", "content")
    outcome = outcomes(1, [WorkItem("copied", copy_folder, ())])["copied"]
    reason = "No space left while writing" if code == errno.ENOSPC else "Permission denied"
    assert outcome.exit_code == 1 and reason in outcome.error
    assert "('" not in outcome.error and "Traceback" not in outcome.error
    assert "forecast clean" in outcome.error and outcome.error.endswith("the same command again.")


def test_a_value_an_expected_error_and_a_bug_are_told_apart():
    by_name = outcomes(jobs=1)
    by_name = {name: replace(outcome, seconds=0.0) for name, outcome in by_name.items()}
    assert by_name["two"] == WorkOutcome("two", 4)
    assert by_name["wrong"] == WorkOutcome("wrong", error="the file is wrong", exit_code=2)
    bug = by_name["bug"]
    assert bug.exit_code == 1
    assert "Traceback" in bug.error and bug.error.endswith("ZeroDivisionError: a bug\n")


def test_a_failure_stops_none_of_the_others():
    assert {name: o.value for name, o in outcomes(jobs=1).items()} == {
        "two": 4,
        "wrong": None,
        "bug": None,
        "three": 9,
    }


def test_a_killed_worker_costs_what_was_unfinished_and_says_what_to_do():
    tasks = [WorkItem("first", square, (2,)), WorkItem("killed", be_killed, ())]
    later_items = [WorkItem(f"later {i}", square, (i,)) for i in range(4)]
    by_name = outcomes(jobs=2, tasks=[*tasks, *later_items])
    assert set(by_name) == {item.name for item in [*tasks, *later_items]}
    assert "--jobs 1" in by_name["killed"].error and by_name["killed"].exit_code == 1
    finished = [outcome for outcome in by_name.values() if not outcome.error]
    assert all(outcome.value is not None for outcome in finished)
    assert outcomes(jobs=2)["three"].value == 9, "the next tasks get workers again"


def test_one_process_and_two_give_the_same():
    alone, side_by_side = outcomes(jobs=1), outcomes(jobs=2)
    assert {n: (o.value, o.exit_code) for n, o in alone.items()} == {
        n: (o.value, o.exit_code) for n, o in side_by_side.items()
    }
    assert side_by_side["bug"].error.endswith("ZeroDivisionError: a bug\n")


def test_two_jobs_are_other_processes_with_one_thread_each(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")  # with 1 nothing would be left to limit
    pids = {
        o.value
        for o in workers.run_items([WorkItem(str(i), os.getpid, ()) for i in range(4)], jobs=2)
    }
    assert os.getpid() not in pids
    assert set(
        outcomes(2, [WorkItem("t", threads, ()), WorkItem("u", threads, ())])["t"].value
    ) <= {1}


def blas_of_scipy() -> list[int]:
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_a_task_that_loads_scipy_has_one_thread() -> None:
    code = """
from forecast.system import workers
from forecast.system.workers import WorkItem
from tests.system.test_workers import blas_of_scipy
tasks = [WorkItem("plain", abs, (-1,)), WorkItem("scipy", blas_of_scipy, ())]
_, scipy = workers.run_items(tasks, jobs=1)
assert set(scipy.value) == {1}, scipy
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("at_once", "order"),
    [(1, "a1 a2 a3 b1 c1 c2"), (2, "a1 b1 a2 a3 c1 c2"), (3, "a1 b1 c1 a2 c2 a3")],
)
def test_as_many_groups_as_workers_are_gone_through_in_turn(at_once, order):
    assert (
        workers.interleave_groups(
            ["a1", "a2", "b1", "a3", "c1", "c2"], lambda name: name[0], at_once
        )
        == order.split()
    )


def test_without_tasks_nothing_is_started():
    assert list(workers.run_items([], jobs=2)) == []


def test_outcomes_without_a_failure_raise_nothing():
    workers.raise_failures([WorkOutcome("two", 4)], what="train shops")


def test_all_failures_are_named_in_one_error_with_the_gravest_exit_code():
    failed = [
        WorkOutcome("two", 4),
        WorkOutcome("gru", error="no data", exit_code=DataError.exit_code),
        WorkOutcome("lstm", error="Traceback ...", exit_code=1),
    ]
    with pytest.raises(ForecastError) as error:
        workers.raise_failures(failed, what="train shops")
    assert (
        str(error.value)
        == "train shops: 2 of 3 failed; the others are kept.\n- gru: no data\n- lstm: Traceback ..."
    )
    assert error.value.exit_code == 3


def test_tasks_and_stages_that_fail_end_with_the_same_exit_code_in_any_order():
    for codes in ([1, 2, 3], [3, 2, 1], [2, 3], [75, 1], [3, 130], [0], [1]):
        outcomes = [WorkOutcome(str(code), error="no", exit_code=code) for code in codes]
        with pytest.raises(ForecastError) as of_tasks:
            workers.raise_failures(outcomes, what="train shops")
        of_stages = repro.explain_failures({f"train@{code}": (code, "no") for code in codes}, [])
        assert of_tasks.value.exit_code == of_stages.exit_code == max(1, *codes, 0), codes


@pytest.mark.parametrize(
    ("total", "growth"), [(2 * 10**9, 5 * 10**8), (10**12, workers.MAX_GROWTH)]
)
def test_all_workers_together_may_grow_by_half_of_the_memory(monkeypatch, total, growth):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Mock(total=total))
    workers.kill_pool()  # what a worker was told first stays
    items = [WorkItem(str(n), allowed_growth, (n,)) for n in range(2)]
    growths = [outcome.value for outcome in workers.run_items(items, jobs=2)]
    workers.kill_pool()
    assert growths == [growth, growth]
