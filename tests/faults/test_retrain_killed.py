"""`forecast retrain` killed at every step: a champion is always loadable, and the next run finishes
what was begun.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.soak import STEPS, killed_at
from forecast.config.paths import ProjectPaths
from forecast.operations import champion
from forecast.operations.records import Decision, JobRun, read_decisions
from forecast.system import files
from forecast.system.errors import ForecastError
from tests.faults.processes import eventually, left_behind, processes_of
from tests.operations import projects, retraining
from tests.operations.retraining import NAME
from tests.support import small_project, warm_interpreter

Retrain = Callable[..., subprocess.CompletedProcess[str]]
READ_ONLY = ("check", "drift")
TOKEN = "tOkEn-7f3c9a"
HOOKS = {"command": ["sh", "told.sh"], "on": ["promoted", "kept", "not_due", "failed"]}
ONE_WORKER = {"FORECAST_JOBS": "1"}
"""The challengers are naive and ridge: two workers would take longer to start than both take to
fit.
"""


@pytest.fixture(scope="module")
def retrain() -> Retrain:
    """`forecast retrain wave <words>` in a project."""

    def run(root: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        command = small_project.arguments("retrain", NAME, *words)
        return warm_interpreter.run(
            command, cwd=root, env=small_project.environment(**ONE_WORKER, **extra)
        )

    return run


@pytest.fixture(scope="module")
def operated(retrain: Retrain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Champion naive, then ridge configured and 30 days more; read only: `project` is a copy."""
    root = retraining.write_project(tmp_path_factory.mktemp("operated") / "project")
    small_project.write_yaml(root / "configs" / "retraining.yaml", {"defaults": {"hooks": HOOKS}})
    done = retrain(root, FORECAST_WEBHOOK=f"http://127.0.0.1:9/{TOKEN}")
    assert done.returncode == 0, done.stderr
    assert ": ClientConnectorError" in done.stderr and TOKEN not in done.stdout + done.stderr
    assert "first" not in done.stderr and champion.load(root, NAME).card.candidate == "naive"
    retraining.configure(root, ("naive", "ridge"))
    retraining.commit(root)
    retraining.grow(root, 30)
    return root


@pytest.fixture
def project(operated: Path, tmp_path: Path) -> Path:
    """A project like `operated`, for one test alone."""
    return Path(shutil.copytree(operated, tmp_path / "project", symlinks=True))


def test_the_token_of_a_webhook_is_in_no_file_log_or_run(operated: Path) -> None:
    """Of a whole retraining, MLflow's database and artifacts too."""
    notices = [
        json.loads(line)
        for line in (operated / ".forecast" / "told.jsonl").read_text().splitlines()
    ]
    assert notices[0]["event"] == "promoted"
    files_ = [path for path in operated.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name == "mlflow.db" for path in files_)
    assert [str(path) for path in files_ if TOKEN.encode() in path.read_bytes()] == []


@pytest.fixture(scope="module")
def outlived(
    operated: Path,
    retrain: Retrain,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Like `operated`, after retrainings that were killed at every step and one that was not; read
    only.
    """
    root = tmp_path_factory.mktemp("outlived") / "project"
    shutil.copytree(operated, root, symlinks=True)
    words, reached = small_project.arguments("retrain", NAME), []
    steps = [step for step in STEPS if step not in READ_ONLY]
    env = small_project.environment(**ONE_WORKER)
    for step in steps:
        if killed_at(step, words, root, env, run=warm_interpreter.run):
            reached.append(step)
        state = champion.load(root, NAME)
        assert not state.notice and state.card.candidate in ("naive", "ridge")
        assert eventually(lambda: not processes_of(ProjectPaths.of(root).retraining(NAME) / "tree"))
    assert reached == steps and len(steps) == 10
    done = retrain(root)
    assert done.returncode == 0, done.stderr
    return root


def test_killed_at_every_step_the_champion_stays_loadable_and_the_end_is_the_same(
    operated: Path, outlived: Path
) -> None:
    state = champion.load(outlived, NAME)
    assert state.card.candidate == "ridge" and state.card.refit_of == state.version - 1
    assert state.card.last_target_used.startswith("2024-08-17")  # all 230 days
    assert projects.registry_aliases(outlived, NAME) == champion.read_aliases(outlived, NAME)
    assert [d.word for d in read_decisions(outlived, NAME)] == ["first", "better"]
    status = [retraining.git(root, "status", "--porcelain") for root in (operated, outlived)]
    assert status[0] == status[1] and pointer(operated) == pointer(outlived)
    assert left_behind(outlived) == []
    assert not (ProjectPaths.of(outlived).retraining(NAME) / "pending").exists()


def pointer(root: Path) -> bytes:
    return (root / "data" / "pointers" / f"{NAME}.json").read_bytes()


def test_afterwards_the_same_again_is_nothing_to_do_and_an_equal_recipe_is_refused(
    outlived: Path, retrain: Retrain, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(outlived, tmp_path / "project", symlinks=True))
    repeated = retrain(project)
    assert repeated.returncode == 0 and "nothing to do" in repeated.stdout
    decision = repeated.stdout.rpartition("decision ")[2].partition(";")[0]
    folder = ProjectPaths.of(project).retraining(NAME)
    assert (folder / "decisions" / f"{decision}.json").exists()
    assert Decision.read(folder / "not-due.json").key == decision
    retraining.grow(project, 2)
    full = on_a_full_disk(project)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert champion.load(project, NAME).card.candidate == "ridge"
    (project / "configs" / "evaluation.yaml").write_text("alpha: 0.1\n")
    rehearsed = retrain(project, "--dry-run", "--format", "json")
    assert rehearsed.returncode == 4 and len(read_decisions(project, NAME)) == 2
    (decision,) = json.loads(rehearsed.stdout)
    assert decision["word"] == "kept" and decision["reason"] in rehearsed.stderr
    done = retrain(project)
    retraining.git(project, "checkout", "configs")
    assert done.returncode == 4, done.stderr
    assert "the champion stays" in done.stderr and "the recipe that serves" in done.stderr
    assert "Not used, because it is not committed: configs/evaluation.yaml" in done.stderr
    assert champion.load(project, NAME).card.candidate == "ridge"


def on_a_full_disk(root: Path) -> subprocess.CompletedProcess[str]:
    """No file may become larger than 4 KiB: git, DVC or our own writes fail, whichever is first."""
    words = ["bash", "-c", 'ulimit -f 4; exec "$0" "$@"', *small_project.arguments("retrain", NAME)]
    env = small_project.environment(**ONE_WORKER)
    return subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, timeout=300)


def test_two_at_once_and_a_wrong_name_have_exit_codes_of_their_own(
    project: Path, retrain: Retrain
) -> None:
    (project / ".forecast" / "told.jsonl").write_text("")
    with files.hold_lock(
        project / ".forecast" / "locks" / f"retrain-{NAME}.lock", purpose="a test"
    ):
        assert retrain(project).returncode == 75
    done = small_project.run_warm(project, "retrain", "weave")
    assert done.returncode == 2 and "Did you mean 'wave'?" in done.stderr
    # Hooks of `defaults` are told of every failure.
    notices = [
        json.loads(line)
        for line in (project / ".forecast" / "told.jsonl").read_text().splitlines()
        if line
    ]
    assert [event["exit_code"] for event in notices] == [75, 2]
    assert not ProjectPaths.of(project).retraining("weave").exists()


def test_without_its_data_file_the_champion_stays_and_says_so(
    project: Path, retrain: Retrain
) -> None:
    moved = project / "data" / "elsewhere.csv"
    shutil.move(project / "data" / "wave.csv", moved)
    done = retrain(project)
    shutil.move(moved, project / "data" / "wave.csv")
    assert done.returncode == 2 and "wave.csv" in done.stderr
    with pytest.raises(ForecastError):
        champion.load(project, "weave")
    assert champion.load(project, NAME).card.candidate == "naive"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_retraining_outlives_the_scheduler_that_was_killed_and_a_second_one_exits_75(
    retrain: Retrain, tmp_path: Path
) -> None:
    root = retraining.write_project(tmp_path / "project", models=("naive", "ridge"))
    jobs = {"a": {"run": f"retrain {NAME}", "at": ["05:30"]}}
    small_project.write_yaml(root / "configs" / "schedule.yaml", {"jobs": jobs})
    folder = ProjectPaths.of(root).schedule
    JobRun(started="2026-01-01T00:00:00+00:00").write(folder / "a.json")  # so one was missed
    log = folder / "a.log"
    with subprocess.Popen(
        small_project.arguments("schedule", "run"),
        cwd=root,
        env=small_project.environment(**ONE_WORKER),
        stderr=subprocess.DEVNULL,
    ) as scheduler:
        assert eventually(lambda: log.exists() and "work tree" in log.read_text(), 120)
        scheduler.kill()
    overlapping = retrain(root)
    assert overlapping.returncode == 75, overlapping.stderr
    assert "is already running (PID" in overlapping.stderr
    assert eventually(lambda: not processes_of(root, running="retrain"), 300)
    repeated = retrain(root)
    assert repeated.returncode == 0 and "nothing to do" in repeated.stdout, repeated.stderr
    assert champion.load(root, NAME).card.candidate in ("naive", "ridge")
    assert [d.word for d in read_decisions(root, NAME)] == ["first"]
    ended = [str(ProjectPaths.of(root).lock("schedule").with_suffix(".pid"))]
    assert left_behind(root) in ([], ended)  # that of the killed scheduler holds nothing


@pytest.mark.slow
def test_killed_ten_times_at_random_moments_the_champion_stays_loadable_and_the_next_one_is_made(
    project: Path, retrain: Retrain
) -> None:
    dice, words = random.Random(11), small_project.arguments("retrain", NAME)
    before = champion.load(project, NAME).version
    retraining.grow(project, 40)
    rehearsal = time.monotonic()
    assert retrain(project, "--dry-run").returncode in (0, 4)
    usual, killed = time.monotonic() - rehearsal, 0
    for number in range(10):
        # one that was not killed in time leaves the next nothing to do
        retraining.grow(project, 40 + number)
        process = subprocess.Popen(
            words,
            cwd=project,
            env=small_project.environment(**ONE_WORKER),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=dice.uniform(0, usual))
        except subprocess.TimeoutExpired:
            killed += 1
        finally:
            process.kill()
            process.wait(timeout=60)
        assert eventually(
            lambda: not processes_of(ProjectPaths.of(project).retraining(NAME) / "tree")
        )
        assert not champion.load(project, NAME).notice
    assert killed >= 5
    done = retrain(project)
    assert done.returncode in (0, 4), done.stderr
    assert champion.load(project, NAME).version >= before and left_behind(project) == []
    assert projects.registry_aliases(project, NAME) == champion.read_aliases(project, NAME)
