"""Values that no user means: every command answers with one short sentence and exit code 2, and
changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from forecast import cli
from forecast.system.errors import shorten_message
from tests.support import small_project

HOSTILE = {
    "long": "x" * 1000,
    "endless": "x" * 10_000,
    "control": "wa\x1b[31mve",
    "nul": "wave\0",
    "newline": "wave\nwave",
    "up": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "formula": "=cmd|'/c calc'!A1",
    "at": "@SUM(1)",
    "empty": " ",
}
TAKES_A_NAME = {
    "run --dataset": ("run", "--dataset", "{}"),
    "run --model": ("run", "--dataset", "wave", "--model", "{}"),
    "check": ("check", "{}"),
    "data": ("data", "{}"),
    "fetch": ("fetch", "{}"),
    "fetch --as-of": ("fetch", "wave", "--as-of", "{}"),
    "add": ("add", "{}"),
    "add --name": ("add", "data/wave.csv", "--name", "{}"),
    "add --target": ("add", "data/wave.csv", "--name", "other", "--target", "{}"),
    "retrain": ("retrain", "{}"),
    "retrain --as-of": ("retrain", "wave", "--as-of", "{}"),
    "predict": ("predict", "{}"),
    "predict --levels": ("predict", "wave", "--levels", "{}"),
    "predict --format": ("predict", "wave", "--format", "{}"),
    "promote": ("promote", "{}"),
    "rollback": ("rollback", "{}"),
    "status": ("status", "{}"),
    "history": ("history", "{}"),
    "compare": ("compare", "{}", "naive"),
    "export": ("export", "{}"),
    "export --what": ("export", "wave", "--what", "{}"),
    "identify": ("identify", "{}"),
    "models --root": ("models", "--root", "{}"),
    "an option": ("models", "--{}"),
    "a command": ("{}",),
}
NAME_A_DATASET = (
    "check",
    "compare",
    "data",
    "export",
    "history",
    "predict",
    "promote",
    "retrain",
    "rollback",
    "run --dataset",
    "status",
)
"""What looks a dataset up as `fetch` does: of the usual tests two values are for them."""
NUMBERS = {
    "run --jobs": ("run", "--jobs", "{}"),
    "predict --horizon": ("predict", "wave", "--horizon", "{}"),
    "promote --version": ("promote", "wave", "--version", "{}"),
    "ui --port": ("ui", "--port", "{}"),
    "audit --jobs": ("audit", "wave", "--jobs", "{}"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_project.write(tmp_path_factory.mktemp("hostile") / "project")


def answered(
    words: Sequence[str],
    value: str,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, str]:
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as end:
        cli.main([word.replace("{}", value) for word in words])
    output = capsys.readouterr()
    return int(end.value.code or 0), output.err + output.out


def everything(root: Path) -> dict[str, bytes]:
    kept_files = (
        path for path in root.rglob("*") if path.is_file() and path.suffix not in (".lock", ".pid")
    )
    return {str(path): path.read_bytes() for path in kept_files}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        pytest.param(
            words,
            value,
            marks=pytest.mark.slow
            if command in NAME_A_DATASET and kind not in ("control", "up")
            else (),
            id=f"{command}, {kind}",
        )
        for command, words in TAKES_A_NAME.items()
        for kind, value in HOSTILE.items()
    ],
)
def test_a_hostile_value_is_one_short_sentence(words, value, project, capsys, monkeypatch):
    if value == " " and "--model" in words:
        return  # no name at all: the whole grid
    before = everything(project)
    code, message = answered(words, value, project, capsys, monkeypatch)
    assert code == 2, message
    assert "Traceback" not in message and len(message) < 1500
    assert (
        all(len(word) <= 500 for word in message.split())
        and "\x1b" not in message
        and "\0" not in message
    )
    assert everything(project) == before


@pytest.mark.parametrize("words", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize(
    "value", ["-1", "1" + "0" * 30, "1e3", "nan", "0x10", "1.5", "", "x" * 1000]
)
def test_a_number_out_of_range_is_one_short_sentence(words, value, project, capsys, monkeypatch):
    code, message = answered(words, value, project, capsys, monkeypatch)
    assert code == 2 and "Traceback" not in message and len(message) < 1500


@pytest.mark.parametrize(
    "value", ["1600-01-01", "2262-05-01", "9999-12-31", "NaT", "nan", "1e400", "2024-13-01"]
)
def test_a_moment_that_cannot_be_held_is_refused(value, project, capsys, monkeypatch):
    code, message = answered(
        ("fetch", "wave", "--as-of", "{}"), value, project, capsys, monkeypatch
    )
    assert code == 2 and value in message and "1678 to 2199" in message


def test_a_long_value_is_quoted_by_its_two_ends():
    assert len(shorten_message(f"unknown {'x' * 61!r}. Did you mean 'wave'?")) < 100
    assert shorten_message(f"unknown {'x' * 60!r}") == f"unknown {'x' * 60!r}"


def test_a_file_of_variables_with_windows_line_ends_names_the_same_store(project, monkeypatch):
    opened = []

    def note_store(_program, _words, environment):
        opened.append(environment["MLFLOW_BACKEND_STORE_URI"])
        raise SystemExit

    monkeypatch.setattr(os, "execve", note_store)
    for ending in ("", "\r"):
        small_project.command(project, "ui", MLFLOW_TRACKING_URI=f"sqlite:///mlflow.db{ending}")
    assert opened == [f"sqlite:///{project}/mlflow.db"] * 2
