"""`make setup` before anything is installed: what it refuses, what it repeats, what it takes for
complete.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forecast.system import bootstrap, files
from forecast.system.errors import BusyError, ForecastError, InputError
from tests.support.small_project import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text(
        "a==1 \\\n    --hash=sha256:0\nb==2 \\\n    --hash=sha256:0\n"
    )
    (tmp_path / "requirements-dev.lock").write_text("pytest==1 \\\n    --hash=sha256:0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be run, instead of running it: making .venv gives a python, pip installs
    nothing.
    """
    commands_run: list[str] = []

    def make(command: list[str], purpose: str) -> None:
        commands_run.append(purpose)
        if purpose == "make .venv":
            (Path(command[-1]) / "bin").mkdir(parents=True, exist_ok=True)
            (Path(command[-1]) / "bin" / "python").touch()

    monkeypatch.setattr(bootstrap, "_run", make)
    monkeypatch.setattr(bootstrap, "_install_lock", lambda root, name: commands_run.append(name))
    return commands_run


def test_a_second_setup_does_nothing_until_the_lock_changes(
    root: Path, commands: list[str]
) -> None:
    bootstrap.setup(root)
    assert commands == ["make .venv", "requirements.lock", "install the project itself"]
    bootstrap.setup(root)
    assert len(commands) == 3
    (root / "requirements.lock").write_text("a==2\n")
    assert not bootstrap.is_current(root)
    bootstrap.setup(root)
    assert len(commands) == 6


def test_a_change_of_the_project_file_installs_the_project_alone_and_of_tools_nothing(
    root: Path, commands: list[str]
) -> None:
    bootstrap.setup(root)
    (root / "pyproject.toml").write_text("[project]\n\n[tool.ruff]\nline-length = 119\n")
    bootstrap.setup(root)
    assert len(commands) == 3
    (root / "pyproject.toml").write_text('[project]\nversion = "2"\n')
    bootstrap.setup(root)
    assert commands[3:] == ["install the project itself"]


def test_tests_and_lint_are_added_when_they_are_asked_for_and_stay(
    root: Path, commands: list[str]
) -> None:
    bootstrap.setup(root)
    assert not bootstrap.is_current(root, dev=True)
    bootstrap.setup(root, dev=True)
    assert commands[3:] == ["requirements-dev.lock", "install the project itself"]
    bootstrap.setup(root)
    bootstrap.setup(root, dev=True)
    assert len(commands) == 5
    (root / "pyproject.toml").write_text('[project]\nversion = "2"\n')
    bootstrap.setup(root)
    assert bootstrap.is_current(root, dev=True)
    (root / "requirements.lock").write_text("a==2\n")
    bootstrap.setup(root)
    assert not bootstrap.is_current(root, dev=True)


def test_an_environment_of_another_python_is_made_anew(
    root: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.setup(root)
    (root / ".venv" / "of-the-other").touch()
    (root / "requirements.lock").write_text("a==2\n")
    monkeypatch.setattr(bootstrap, "PYTHON", "3.99")
    monkeypatch.setattr(bootstrap, "PYTHON_VERSIONS", ("3.98", "3.99"))
    bootstrap.setup(root)
    assert not (root / ".venv" / "of-the-other").exists() and len(commands) == 6


def test_an_interrupted_install_is_not_taken_for_complete(
    root: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path, name: str) -> None:
        (root / ".venv" / "half-installed").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_install_lock", interrupted)
        assert bootstrap.main(["--root", str(root)]) == 130
    assert not bootstrap.is_current(root)
    bootstrap.setup(root)
    assert bootstrap.is_current(root)
    assert not (root / ".venv" / "half-installed").exists()


def test_an_activated_environment_is_made_anew_by_the_python_that_it_was_made_by(
    root: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.setup(root)
    (root / ".venv" / bootstrap.STAMP).write_text('{"root": "unfinished"}')
    monkeypatch.setattr(sys, "executable", str(root / ".venv" / "bin" / "python"))
    pythons: list[Path] = []
    run = bootstrap._run

    def note(command: list[str], purpose: str) -> None:
        pythons.append(Path(command[0]))
        run(command, purpose)

    monkeypatch.setattr(bootstrap, "_run", note)
    bootstrap.setup(root)
    assert pythons[0].exists() and not pythons[0].is_relative_to(root)


def test_an_environment_that_is_not_ours_is_added_to_and_not_removed(
    root: Path, commands: list[str]
) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / "mine").touch()
    bootstrap.setup(root)
    assert (root / ".venv" / "mine").exists()


def test_a_moved_folder_is_set_up_again(root: Path, commands: list[str]) -> None:
    bootstrap.setup(root)
    moved = root.with_name("moved")
    shutil.move(root, moved)
    assert not bootstrap.is_current(moved)


@pytest.mark.parametrize(
    ("version", "absent", "sentence"),
    [
        ("3.10", "", "Python 3.10 found, wanted 3.11, 3.12 or 3.13. Name another interpreter"),
        ("3.14", "", "Python 3.14 found, wanted 3.11, 3.12 or 3.13. Name another interpreter"),
        ("3.11", "ensurepip", "module 'ensurepip' is missing"),
    ],
)
def test_what_is_missing_gives_one_line_with_the_next_move(
    monkeypatch: pytest.MonkeyPatch, version: str, absent: str, sentence: str
) -> None:
    find: Callable[[str], object] = lambda name: None if name == absent else object()  # noqa: E731
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", find)
    with pytest.raises(InputError) as error:
        bootstrap.require_python(version)
    assert sentence in str(error.value) and "make PYTHON=" in str(error.value)
    # Debian's package is of the same version, so it is no help for another
    assert ("apt-get install python3-venv" in str(error.value)) == bool(absent)
    assert "\n" not in str(error.value) and error.value.exit_code == 2


def test_two_setups_at_once_and_a_run_share_one_lock(root: Path, commands: list[str]) -> None:
    with (
        files.hold_lock(root / bootstrap.RUN_LOCK, purpose="the run"),
        pytest.raises(BusyError, match=f"PID {os.getpid()}"),
    ):
        bootstrap.setup(root)
    with bootstrap.hold_run_lock(root), pytest.raises(BusyError, match=f"PID {os.getpid()}"):
        files.hold_lock(root / bootstrap.RUN_LOCK, purpose="the run").__enter__()
    assert commands == []


def test_pips_own_error_is_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "print('Collecting a==1'); print('ERROR: hashes do not match'); print('    a==1'); raise"
        " SystemExit(1)"
    )
    monkeypatch.setattr(bootstrap, "_pip", lambda root: [sys.executable, "-c", script])
    with pytest.raises(ForecastError, match="hashes do not match\n    a==1\npip could not install"):
        bootstrap._install_lock(root, "requirements.lock")


def test_words_of_an_installer_that_are_no_utf_8_are_shown(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; sys.stdout.buffer.write(b'no folder K\\xf6ln'); sys.exit(1)"
    command = [sys.executable, "-c", script]
    monkeypatch.setattr(bootstrap, "_pip", lambda root: command)
    with pytest.raises(ForecastError, match="no folder K\N{REPLACEMENT CHARACTER}ln"):
        bootstrap._install_lock(root, "requirements.lock")
    with pytest.raises(ForecastError, match="no folder K\N{REPLACEMENT CHARACTER}ln"):
        bootstrap._run(command, "make .venv")


def test_packages_are_counted_instead_of_listed(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap._show_progress(["Looking in indexes\n", *["Collecting rich==14.0\n"] * 40])
    assert capsys.readouterr().out == "  40 packages fetched\n"


def test_it_runs_on_a_bare_interpreter_without_site_packages() -> None:
    command = [sys.executable, "-S", "-E", "-m", "forecast.system.bootstrap", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_without_python_says_one_line(root: Path) -> None:
    command = ["make", "-f", str(ROOT / "Makefile"), "setup", "PYTHON=python-of-no-version"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "python-of-no-version not found. On Debian or Ubuntu: sudo apt-get install"
    )


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    rules = [
        line.partition(":")[0]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if "##" in line
    ]
    assert all(f"make {name} " in done.stdout for name in rules if name.isalpha())
    assert {"setup", "run", "test", "lint", "bench", "lock", "ui", "clean"} <= set(rules)


def test_the_stamp_names_the_lock_it_belongs_to(root: Path, commands: list[str]) -> None:
    bootstrap.setup(root)
    stamp = json.loads((root / ".venv" / bootstrap.STAMP).read_text())
    assert stamp["lock"] == files.sha256(root / "requirements.lock")


def test_dvc_of_the_environment_finds_itself_by_name_where_nothing_is_activated(
    root: Path, commands: list[str]
) -> None:
    """DVC's queue starts its worker as `dvc`; without it `dvc exp run --run-all` waits for ever."""
    bootstrap.setup(root)
    folder = root / ".venv" / "bin"
    (folder / "python").write_text('#!/bin/sh\necho "$*"\ncommand -v dvc\n')
    (folder / "python").chmod(0o755)
    done = subprocess.run(
        [".venv/bin/dvc", "queue", "start"],
        cwd=root,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["-P -m dvc queue start", str(folder / "dvc")]
