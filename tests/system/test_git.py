"""git's answers, and what stands for them on a machine without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forecast.cli.run import read_revision
from forecast.operations.worktree import require_committed
from forecast.system.errors import InputError
from forecast.system.processes import run_git


def test_the_commit_of_a_run_is_empty_and_no_error_where_git_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_git(tmp_path, "init", "-q").returncode == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_git(tmp_path, "status").returncode == 127
    assert read_revision(tmp_path) == ""


def test_a_retraining_asks_for_git_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        require_committed(tmp_path, "weather")


def test_a_repository_of_another_user_is_told_in_git_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_git(tmp_path, "init", "-q").returncode == 0
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(InputError, match=r"git config --global --add safe\.directory") as refusal:
        require_committed(tmp_path, "weather")
    assert "do what git says" in str(refusal.value)


def test_a_folder_whose_name_is_no_utf_8_is_told_by_git_as_python_names_it(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"K\xf6ln")
    folder.mkdir()
    assert run_git(folder, "init", "-q").returncode == 0
    assert run_git(folder, "rev-parse", "--show-toplevel").stdout.strip() == str(folder)


def test_a_folder_that_is_not_there_is_told_apart_from_a_missing_git(tmp_path: Path) -> None:
    answer = run_git(tmp_path / "gone", "status")
    assert answer.returncode == 127 and "there is no folder" in answer.stderr


@pytest.mark.parametrize("committed", [b"# K\xf6ln\n", b"datasets: [\n"])
def test_a_commit_whose_datasets_cannot_be_read_lacks_the_entry(
    tmp_path: Path, committed: bytes
) -> None:
    assert run_git(tmp_path, "init", "-q").returncode == 0
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "datasets.yaml").write_bytes(committed)
    run_git(tmp_path, "add", "-A")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    assert run_git(tmp_path, *author, "commit", "-qm", "Add the datasets").returncode == 0
    with pytest.raises(InputError, match=r"^configs/datasets\.yaml: the entry 'weather' is not"):
        require_committed(tmp_path, "weather")


def test_a_project_whose_stages_are_not_committed_is_told_the_commit_that_has_them(
    tmp_path: Path,
) -> None:
    assert run_git(tmp_path, "init", "-q").returncode == 0
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "datasets.yaml").write_text("datasets: {weather: {}}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    run_git(tmp_path, "add", "configs")
    assert run_git(tmp_path, *author, "commit", "-qm", "Add weather").returncode == 0
    with pytest.raises(InputError, match=r"^dvc\.yaml is not committed.*`git add -A`"):
        require_committed(tmp_path, "weather")
    run_git(tmp_path, "add", "-A")
    assert run_git(tmp_path, *author, "commit", "-qm", "Add stages").returncode == 0
    require_committed(tmp_path, "weather")
