"""`forecast run` when stages fail, are killed or interrupted, or it runs already: nothing is lost,
nothing is left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from forecast.operations import repro
from forecast.operations.repro import require_idle_dvc
from forecast.system.errors import BusyError, ForecastError
from tests.faults.processes import crowding, dvc, eventually, left_behind, processes_of, started
from tests.support import small_project, warm_interpreter

ForecastRun = Callable[[Path], subprocess.CompletedProcess[str]]

STAGES = """
stages:
  train:
    foreach: [wave, tide]
    do:
      cmd: ${python} -m pipelines.train ${item}
      deps: ["input-${item}"]
      outs: ["data/trained/${item}.txt"]
  report:
    cmd: ${python} -m pipelines.report
    deps: [data/trained/wave.txt, data/trained/tide.txt]
    outs: [reports/report.html]
"""
TRAIN = """
import os, signal, sys, time
from pathlib import Path
from forecast.system import files
from forecast.system.errors import InputError
from forecast.system.processes import prepare_worker
from forecast.system.stage import run_stage

def work(number):
    prepare_worker()
    Path(f"worker-{os.getpid()}").touch()
    time.sleep(60)

def main(dataset, jobs=0):
    behaviour = Path(f"behaviour-{dataset}")
    match behaviour.read_text() if behaviour.exists() else "":
        case "bug":
            raise RuntimeError("a bug in the stage")
        case "wrong":
            raise InputError("input: found 1, wanted 2. Change it.")
        case "killed":
            with files.atomic_path(f"data/trained/{dataset}.txt") as temporary:
                temporary.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
        case "slow":
            import joblib
            with files.hold_lock(".forecast/locks/study.lock", purpose="the study"):
                joblib.Parallel(n_jobs=2)(joblib.delayed(work)(n) for n in range(2))
    files.write_text(f"data/trained/{dataset}.txt", Path(f"input-{dataset}").read_text())

if __name__ == "__main__":
    run_stage(main)
"""
REPORT = """
from pathlib import Path
from forecast.system import files
from forecast.system.stage import run_stage

def main():
    trained = sorted(Path("data/trained").glob("*.txt"))
    files.write_text("reports/report.html", "".join(p.read_text() for p in trained))

if __name__ == "__main__":
    run_stage(main)
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    root = write_project(tmp_path / "project")
    yield root
    for process in processes_of(root):
        process.kill()


@pytest.fixture(scope="module")
def forecast_run() -> ForecastRun:
    """`forecast run` in a project, in a process of its own."""
    command = small_project.arguments("run")
    return lambda root: warm_interpreter.run(command, cwd=root, env=small_project.environment())


@pytest.fixture
def warm_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run_dvc` called in this process starts its programs of DVC forked, as `forecast_run` does:
    three of them for a run that fails.
    """
    command = [warm_interpreter.warm_python(), "-m", "dvc"]
    monkeypatch.setattr(repro, "dvc_command", lambda: command)


@pytest.fixture(scope="module")
def finished(forecast_run: ForecastRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project after all of its stages; read only."""
    root = write_project(tmp_path_factory.mktemp("finished") / "project")
    forecast_run(root)
    assert (root / "reports/report.html").read_text() == "tide 1\nwave 1\n"
    return root


def write_project(root: Path) -> Path:
    small_project.write(root, stages=STAGES, datasets=("wave", "tide"))
    (root / "pipelines" / "train.py").write_text(TRAIN)
    (root / "pipelines" / "report.py").write_text(REPORT)
    for name in ("wave", "tide"):
        (root / f"input-{name}").write_text(f"{name} 1\n")
    return root


def behave(root: Path, name: str, how: str) -> None:
    (root / f"behaviour-{name}").write_text(how)


def workers_are_busy(root: Path) -> bool:
    return len(list(root.glob("worker-*"))) == 2


def test_a_bug_in_one_stage_is_named_and_the_rest_is_finished(
    project: Path, forecast_run: ForecastRun
) -> None:
    behave(project, "wave", "bug")
    done = forecast_run(project)
    assert done.returncode == 1
    assert "Failed: train@wave: train: RuntimeError: a bug in the stage" in done.stderr
    assert "Not made because of that: report." in done.stderr
    assert (project / "data/trained/tide.txt").read_text() == "tide 1\n"


@pytest.mark.usefixtures("warm_dvc")
def test_a_stage_is_told_of_while_the_next_one_runs_with_its_outs_in_place(project: Path) -> None:
    waits = "    while not Path('go').exists(): time.sleep(0.05)\n"
    report = REPORT.replace("def main():\n", f"def main():\n{waits}")
    (project / "pipelines" / "report.py").write_text(f"import time\n{report}")
    states: dict[str, str] = {}

    def note(stage: str) -> None:
        name = stage.partition("@")[2]
        states[stage] = (project / f"data/trained/{name}.txt").read_text()
        if len(states) == 2:
            (project / "go").touch()

    repro.run_dvc(project, (), small_project.environment(), on_stored=note)
    assert states == {"train@wave": "wave 1\n", "train@tide": "tide 1\n"}


@pytest.mark.usefixtures("warm_dvc")
def test_a_stage_that_failed_is_not_among_the_stored_ones(project: Path) -> None:
    behave(project, "wave", "bug")
    stages: list[str] = []
    with pytest.raises(ForecastError):
        repro.run_dvc(project, (), small_project.environment(), on_stored=stages.append)
    assert "train@wave" not in stages


def test_wrong_input_of_a_stage_keeps_its_exit_code_and_shows_no_traceback(
    project: Path, forecast_run: ForecastRun
) -> None:
    behave(project, "tide", "wrong")
    done = forecast_run(project)
    assert done.returncode == 2
    assert "train: input: found 1, wanted 2. Change it." in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_stage_killed_in_the_middle_is_named_and_the_next_run_resumes(
    project: Path, forecast_run: ForecastRun
) -> None:
    behave(project, "wave", "killed")
    done = forecast_run(project)
    assert done.returncode == 1
    assert "Failed: train@wave: ended without a message" in done.stderr
    behave(project, "wave", "")
    assert dvc(project, "repro").returncode == 0
    repeated = forecast_run(project)
    assert "Removed data/trained/.tmp-wave.txt" in repeated.stdout
    assert (project / "reports/report.html").read_text() == "tide 1\nwave 1\n"
    assert left_behind(project) == []


@pytest.mark.usefixtures("warm_dvc")
@pytest.mark.parametrize(
    ("behaviour", "message"),
    [("wrong", "train: input: found 1"), ("killed", "ended without a message")],
)
def test_a_stage_that_every_dataset_waits_for_is_blamed_alone(
    project: Path, behaviour: str, message: str
) -> None:
    settings = """
  settings:
    cmd: ${python} -m pipelines.train settings
    deps: [input-settings]
    outs: [data/trained/settings.txt]
"""
    pipeline = (project / "dvc.yaml").read_text()
    needed = 'deps: ["data/trained/settings.txt", "input-'
    (project / "dvc.yaml").write_text(pipeline.replace('deps: ["input-', needed) + settings)
    (project / "input-settings").write_text("settings 1\n")
    behave(project, "settings", behaviour)
    with pytest.raises(ForecastError) as error:
        repro.run_dvc(project, (), small_project.environment())
    failed, waiting, _ = str(error.value).splitlines()
    assert failed.startswith(f"Failed: settings: {message}")
    assert waiting == "Not made because of that: report, train@tide, train@wave."


def test_an_earlier_result_of_a_stage_that_fails_is_put_back(
    project: Path, forecast_run: ForecastRun
) -> None:
    assert dvc(project, "repro").returncode == 0
    (project / "input-wave").write_text("wave 2\n")
    behave(project, "wave", "bug")
    assert forecast_run(project).returncode == 1
    assert (project / "data/trained/wave.txt").read_text() == "wave 1\n"
    assert "train@wave" in dvc(project, "status").stdout
    behave(project, "wave", "")
    dvc(project, "repro")
    assert (project / "reports/report.html").read_text() == "tide 1\nwave 2\n"


def test_ctrl_c_ends_every_worker_within_five_seconds(project: Path) -> None:
    behave(project, "wave", "slow")
    behave(project, "tide", "slow")
    run = started(project, "run")
    assert eventually(lambda: workers_are_busy(project))
    before = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=30)
    assert time.monotonic() - before < 5 * crowding()
    assert run.returncode == 130
    assert "Interrupted. Finished work is kept" in output and "Traceback" not in output
    assert left_behind(project) == []


@pytest.mark.slow  # the kind of the Ctrl-C before it: two tests below end their runs so, too
def test_a_terminated_run_ends_its_workers_as_well(project: Path) -> None:
    behave(project, "wave", "slow")
    behave(project, "tide", "slow")
    run = started(project, "run")
    assert eventually(lambda: workers_are_busy(project))
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    assert run.returncode == 130
    assert left_behind(project) == []


def test_a_killed_run_leaves_no_worker_and_the_next_one_goes_on(
    project: Path, forecast_run: ForecastRun
) -> None:
    behave(project, "wave", "slow")
    behave(project, "tide", "slow")
    run = started(project, "run")
    assert eventually(lambda: workers_are_busy(project))
    run.kill()
    run.communicate()
    assert eventually(lambda: not processes_of(project), 10)
    for name in ("wave", "tide"):
        behave(project, name, "")
    assert "already running" not in forecast_run(project).stderr
    assert (project / "reports/report.html").read_text() == "tide 1\nwave 1\n"


def test_a_lock_of_dvc_whose_process_is_a_zombie_or_another_one_holds_nothing(
    project: Path,
) -> None:
    rwlock = project / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(parents=True, exist_ok=True)
    zombie = subprocess.Popen(["true"])  # never waited for, as under an init that does not reap
    assert eventually(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)
    for pid, age in ((zombie.pid, 0), (os.getpid(), 86_400)):
        rwlock.write_text(
            json.dumps({"write": {str(project / "reports"): {"pid": pid, "cmd": "dvc repro"}}})
        )
        os.utime(rwlock, (time.time() - age,) * 2)
        require_idle_dvc(project)
        assert not rwlock.exists()
    rwlock.write_text(
        json.dumps({"write": {str(project / "reports"): {"pid": os.getpid(), "cmd": "dvc repro"}}})
    )
    with pytest.raises(BusyError, match=f"PID {os.getpid()}"):
        require_idle_dvc(project)
    zombie.wait()


@pytest.mark.parametrize("half", ["", '{"write": {"reports', '{"write": []}'])
def test_a_lock_of_dvc_that_a_kill_left_half_written_is_removed(project: Path, half: str) -> None:
    rwlock = project / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(parents=True, exist_ok=True)
    rwlock.write_text(half)
    require_idle_dvc(project)
    assert not rwlock.exists()


@pytest.mark.parametrize(
    "last",
    [
        "",
        "size: ",
        *(pytest.param(last, marks=pytest.mark.slow) for last in ("outs:\n", "- path: ")),
    ],
)
def test_a_record_of_finished_stages_that_a_kill_left_half_written_does_not_stop_the_next_run(
    finished: Path, forecast_run: ForecastRun, tmp_path: Path, last: str
) -> None:
    project = Path(shutil.copytree(finished, tmp_path / "project"))
    record = project / "dvc.lock"
    whole = record.read_text()
    # shares of its length would cut elsewhere in a folder with another name
    record.write_text(whole[: whole.index(last) + len(last)])
    forecast_run(project)
    assert record.read_text() == whole


def test_a_second_run_exits_75_and_names_the_first(
    project: Path, forecast_run: ForecastRun
) -> None:
    behave(project, "wave", "slow")
    behave(project, "tide", "slow")
    run = started(project, "run")
    assert eventually(lambda: workers_are_busy(project))
    second = forecast_run(project)
    assert second.returncode == 75
    assert f"PID {run.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)


def test_a_run_beside_a_bare_dvc_repro_exits_75_and_names_it(
    project: Path, forecast_run: ForecastRun
) -> None:
    behave(project, "wave", "slow")
    behave(project, "tide", "slow")
    repro = started(project, "repro", program="dvc")
    assert eventually(lambda: workers_are_busy(project))
    second = forecast_run(project)
    assert second.returncode == 75
    assert f"PID {repro.pid}" in second.stderr
    os.killpg(repro.pid, signal.SIGINT)
    repro.communicate(timeout=30)
    assert eventually(lambda: not processes_of(project), 5)
