"""How `dvc repro` is run, watched and explained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from forecast.operations import repro
from forecast.system.processes import is_alive


def test_the_code_of_the_command_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "import sys; sys.stderr.write('why'); sys.exit(7)"]
    assert repro.run_watched(command, tmp_path, dict(os.environ)) == 7
    assert capfd.readouterr().err == "why"


def test_a_command_that_ends_at_once_with_ctrl_c_leaves_no_traceback_of_its_own(
    tmp_path: Path,
) -> None:
    """In a terminal both get it; Python's own wait for the command then reaps it."""
    script = (
        "import os; from pathlib import Path; from forecast.operations.repro import run_watched;"
        "from forecast.system.processes import stop_on_signals; stop_on_signals();"
        f"run_watched(['sh', '-c', 'kill -TERM $PPID'], Path({str(tmp_path)!r}), dict(os.environ))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.endswith("KeyboardInterrupt\n") and "NoSuchProcess" not in done.stderr


def test_a_bug_in_work_beside_a_command_ends_the_command(tmp_path: Path) -> None:
    script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"

    def fail() -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise ZeroDivisionError

    command = [sys.executable, "-c", script]
    with pytest.raises(ZeroDivisionError):
        repro.run_watched(command, tmp_path, dict(os.environ), meanwhile=fail)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_stage_of_the_users_own_is_named_behind_those_of_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = (
        '{"upload": [], "compare@wave": [], "data/mine.csv.dvc": [], "train@wave": [],'
        ' "report": []}'
    )
    done = subprocess.CompletedProcess([], 0, stdout=f"a warning\n{output}")
    monkeypatch.setattr(repro.subprocess, "run", lambda *_, **__: done)
    assert repro.unfinished_stages(tmp_path, ()) == [
        "report",
        "upload",
        "data/mine.csv.dvc",
        "train@wave",
        "compare@wave",
    ]


def test_a_stage_that_ends_while_dvc_is_stopped_leaves_nothing_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"]) as process:
        dvc = psutil.Process(process.pid)
        while len(children := dvc.children()) < 2:
            pass

        def ended(stage: psutil.Process) -> str:
            raise psutil.NoSuchProcess(stage.pid)

        monkeypatch.setattr(psutil.Process, "name", ended)
        repro.stop_dvc(dvc, grace_seconds=5)
        try:
            assert process.wait(timeout=5) < 0
        finally:
            process.kill()
    assert not any(is_alive(child.pid) for child in children)
