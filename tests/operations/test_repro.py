"""How `dvc repro` is run, watched and explained."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forecast.operations import repro
from tests.faults.processes import eventually


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


def test_a_bug_in_what_is_done_meanwhile_ends_the_command(tmp_path: Path) -> None:
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


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of kernels that were never compiled, and a compiler that leaves its number and
    works until it is ended.
    """
    pytest.importorskip("forecast.networks.native")
    folder = tmp_path / "native"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr("forecast.networks.native.__file__", str(folder / "__init__.py"))
    script = "import os, time; open('begun', 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(repro, "COMPILER", script)
    return folder


def test_a_compiler_works_beside_the_block_and_ends_with_it(kernels: Path) -> None:
    with repro.compile_ahead(kernels):
        assert eventually(lambda: (kernels / "begun").exists() and (kernels / "begun").read_text())
        os.kill(pid := int((kernels / "begun").read_text()), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_kernels_that_are_newer_than_their_code_are_not_compiled(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = kernels / "__pycache__" / "recurrence.nbi"
    stored.touch()
    os.utime(stored, (time.time() + 10,) * 2)
    monkeypatch.setattr(repro.subprocess, "Popen", lambda *_, **__: pytest.fail("it compiles"))
    with repro.compile_ahead(kernels):
        pass


def test_nothing_is_compiled_where_kernels_are_switched_off(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("forecast.networks.native")
    monkeypatch.setitem(sys.modules, "forecast.networks.native", None)
    monkeypatch.setattr(repro.subprocess, "Popen", lambda *_, **__: pytest.fail("it compiles"))
    with repro.compile_ahead(kernels):
        pass
