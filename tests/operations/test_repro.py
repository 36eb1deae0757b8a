"""DVC's output passes through; what it advises to do next does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forecast.operations import repro

SAID = """Running stage 'compare@wave':
> python -m pipelines.compare wave
a line of the stage

another
To track the changes with git, run:

\tgit add dvc.lock

To enable auto staging, run:

\tdvc config core.autostage true
Use `dvc push` to send your updates to remote storage.
"""


def test_advice_of_dvc_is_left_out_and_all_else_passes_in_order(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", f"print({SAID!r}, end='')"]
    assert repro.run_watched(command, tmp_path, dict(os.environ), without=repro.ADVICE) == 0
    assert capfd.readouterr().out == SAID[: SAID.index("To track")]


def test_the_code_of_the_command_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "import sys; sys.stderr.write('why'); sys.exit(7)"]
    assert repro.run_watched(command, tmp_path, dict(os.environ), without=repro.ADVICE) == 7
    assert capfd.readouterr().err == "why"


def test_a_process_that_outlives_the_command_does_not_hold_up_its_end(tmp_path: Path) -> None:
    left = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time;"
        " time.sleep(8)'])"
    )
    assert (
        repro.run_watched(
            [sys.executable, "-c", left], tmp_path, dict(os.environ), without=repro.ADVICE
        )
        == 0
    )


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


def test_a_stage_of_the_users_own_is_named_behind_those_of_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        '{"upload": [], "compare@wave": [], "data/mine.csv.dvc": [], "train@wave": [],'
        ' "report": []}'
    )
    done = subprocess.CompletedProcess([], 0, stdout=f"a warning\n{said}")
    monkeypatch.setattr(repro.subprocess, "run", lambda *_, **__: done)
    assert repro.unfinished_stages(tmp_path, ()) == [
        "report",
        "upload",
        "data/mine.csv.dvc",
        "train@wave",
        "compare@wave",
    ]
