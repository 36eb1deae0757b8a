"""The real stages, killed, interrupted, short of space: the next run ends with the bytes of an
untouched one.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.processes import crowding, dvc, eventually, left_behind, processes_of, started
from tests.faults.test_files import small_disk as small_disk
from tests.support import small_project, warm_interpreter


@pytest.fixture(scope="module")
def untouched(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end with one worker."""
    root = tmp_path_factory.mktemp("resume") / "untouched"
    return Path(shutil.copytree(whole_run, root, symlinks=True))


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project for the run that the tests of this file strike one after the other: two workers
    tune and begin to train, one trains the rest.
    """
    root = small_project.write_real(tmp_path_factory.mktemp("resume") / "struck")
    yield root
    for process in processes_of(root):
        process.kill()


def finished(root: Path, kind: str) -> int:
    """How many whole results there are; those that are being written begin with a dot."""
    return len(list((root / ".forecast" / kind).glob("[!.]*")))


def test_a_stage_killed_in_the_middle_of_tuning_leaves_no_worker(struck: Path) -> None:
    run = started(struck, "run", "--jobs", "2")
    assert eventually(lambda: finished(struck, "studies"), 120)
    (stage,) = processes_of(struck, running=warm_interpreter.SERVER) or processes_of(
        struck, running="pipelines.tune"
    )
    stage.kill()
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "Failed: tune@wave: ended without a message" in output
    assert eventually(lambda: not processes_of(struck), 5)


@pytest.mark.slow  # test_runs.py has a Ctrl-C, and the test before this one a kill of real stages
def test_ctrl_c_in_training_ends_every_worker_within_five_seconds(struck: Path) -> None:
    run = started(struck, "run", "--jobs", "2")
    assert eventually(
        lambda: finished(struck, "memo") >= 2 and processes_of(struck, running="pipelines.train"),
        120,
    )
    before = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert time.monotonic() - before < 5 * crowding()
    assert run.returncode == 130 and "Traceback" not in output
    assert left_behind(struck) == []


def test_the_run_that_goes_on_from_there_gives_the_same_bytes(
    struck: Path, untouched: Path
) -> None:
    done = dvc(struck, "repro", FORECAST_JOBS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    name = "reports/leaderboard.csv"
    assert (struck / name).read_bytes() == (untouched / name).read_bytes()
    assert "elman" in (struck / name).read_text()


def test_nothing_is_left_to_do_after_a_run(untouched: Path) -> None:
    assert "up to date" in dvc(untouched, "status").stdout
    before = (untouched / "dvc.lock").read_bytes()
    assert dvc(untouched, "repro").returncode == 0
    assert (untouched / "dvc.lock").read_bytes() == before


def test_a_narrowed_run_uses_finished_work_and_leaves_the_whole_run_as_it_is(
    untouched: Path,
) -> None:
    before = finished(untouched, "memo"), finished(untouched, "studies")
    done = small_project.run_warm(
        untouched, "run", "--jobs", "1", "--dataset", "wave", "--model", "elman"
    )
    assert done.returncode == 0, done.stderr
    assert (finished(untouched, "memo"), finished(untouched, "studies")) == before
    compared = "data/compared/wave/leaderboard.csv"
    assert (untouched / "narrowed/wave-elman" / compared).read_bytes() == (
        untouched / compared
    ).read_bytes()
    assert "elman" in done.stdout
    _ends_with_its_report(done.stdout, untouched, "narrowed/wave-elman/reports")
    assert "up to date" in dvc(untouched, "status").stdout


@pytest.mark.slow  # the kind of the narrowed run before this one
def test_a_run_of_one_dataset_ends_with_its_own_report_and_leaves_that_of_all(
    untouched: Path,
) -> None:
    (untouched / "reports" / "report.html").write_text("of all")
    before = (untouched / "reports" / "leaderboard.csv").read_bytes()
    done = small_project.run_warm(untouched, "run", "--jobs", "1", "--dataset", "wave")
    assert done.returncode == 0, done.stderr
    _ends_with_its_report(done.stdout, untouched, "reports/wave")
    assert (untouched / "reports" / "report.html").read_text() == "of all"
    assert (untouched / "reports" / "leaderboard.csv").read_bytes() == before
    compared = small_project.command(untouched, "compare", "elman", "naive", "--dataset", "wave")
    assert "elman" in compared.stdout and compared.returncode == 0, compared.stderr


def _ends_with_its_report(output: str, root: Path, folder: str) -> None:
    last = output.strip().splitlines()[-1]
    assert last == f"Report: {folder}/report.html (and leaderboard.csv beside it)"
    assert "elman" in (root / folder / "report.html").read_text()
    assert "elman" in (root / folder / "leaderboard.csv").read_text()


@pytest.mark.parametrize(
    "stage",
    [
        "fetch",
        "train",
        *(pytest.param(stage, marks=pytest.mark.slow) for stage in ("prepare", "tune", "compare")),
    ],
)
def test_a_stage_on_a_full_disk_says_so_and_leaves_the_earlier_results(
    stage: str, untouched: Path, small_disk: Path
) -> None:
    root = small_disk / "project"
    shutil.copytree(untouched / "data", root / "data", ignore=shutil.ignore_patterns("trained"))
    (root / "data" / "trained").mkdir()
    for candidate in (untouched / "data" / "trained" / "wave").iterdir():
        target = root / "data" / "trained" / "wave" / candidate.name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(candidate)
    (root / "configs").symlink_to(untouched / "configs")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    fill(small_disk)
    done = warm_interpreter.run(
        [sys.executable, "-m", f"pipelines.{stage}", "wave", "--root", str(root)],
        cwd=untouched,
        env=small_project.environment(FORECAST_JOBS="1"),
    )
    assert done.returncode == 1, done.stderr
    assert "o space left" in done.stderr and "forecast clean" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


def fill(place: Path) -> None:
    """Leaves no byte free below `place`."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return
