"""`forecast new`: a project of one's own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from forecast.api import installation
from forecast.config.datasets import load_datasets
from forecast.config.models import load_evaluation, load_models, load_tuning
from forecast.system.errors import InputError
from tests.support import warm_interpreter
from tests.support.small_project import command


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("new") / "created"
    installation.create_project(root)
    return root


@pytest.fixture
def new_project(created: Path, tmp_path: Path) -> Path:
    return shutil.copytree(created, tmp_path / "own")


def test_a_new_project_is_read_and_checked_at_once(new_project: Path) -> None:
    assert load_datasets(new_project / "configs").run == ("weather",)
    # which the README says to copy
    assert "cities" in load_datasets(new_project / "configs" / "examples").datasets
    for read in (load_models, load_tuning, load_evaluation):
        read(new_project / "configs")
    done = command(new_project, "check")
    assert done.returncode == 0, done.stderr


def test_the_schedule_of_a_new_project_has_jobs_of_what_it_runs_alone(new_project: Path) -> None:
    jobs = yaml.safe_load((new_project / "configs" / "schedule.yaml").read_text())["jobs"]
    runs = load_datasets(new_project / "configs").run
    assert {job["run"].split()[1] for job in jobs.values()} == {*runs}
    clone = yaml.safe_load((installation.CLONE / "configs" / "schedule.yaml").read_text())["jobs"]
    assert jobs == {name: job for name, job in clone.items() if job["run"].split()[1] in runs}


def test_git_is_told_to_leave_out_data_and_results_and_to_keep_pointers_and_snapshots(
    new_project: Path,
) -> None:
    left_out = [
        "data/mine.csv",
        "data/raw/weather.parquet",
        "data/identified/x.json",
        "reports/report.html",
        ".venv/x",
        ".dvc/cache/files/md5/x",
    ]
    tracked = [
        "data/pointers/mine.json",
        "data/snapshots/mine/x.parquet",
        "reports/leaderboard.csv",
        "reports/verdicts.json",
        "reports/metrics.json",
        "dvc.lock",
    ]
    result = subprocess.run(
        ["git", "check-ignore", *left_out, *tracked],
        cwd=new_project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines() == left_out


def test_its_pipeline_depends_on_the_installed_version_instead_of_a_source_folder(
    new_project: Path,
) -> None:
    stages = yaml.safe_load((new_project / "dvc.yaml").read_text())["stages"]
    assert stages["settings"]["deps"] == ["configs", "requirements.lock", "pipelines"]
    assert "\nrolling-forecast==" in (new_project / "requirements.lock").read_text()


REPRO, TEMPORARY, NAMED = ("repro",), ("exp", "run", "--temp"), ("exp", "run", "--name", "first")


@pytest.mark.parametrize(
    ("is_activated", "verb"),
    [
        (True, REPRO),
        (False, TEMPORARY),
        (True, NAMED),
        # every verb and both environments stand above
        pytest.param(False, REPRO, marks=pytest.mark.slow),
        pytest.param(True, TEMPORARY, marks=pytest.mark.slow),
        pytest.param(False, NAMED, marks=pytest.mark.slow),
    ],
)
def test_a_colleagues_clone_of_it_runs_in_an_activated_environment_and_with_its_own_venv(
    is_activated: bool, verb: tuple[str, ...], new_project: Path, tmp_path: Path
) -> None:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "add", "-A"], cwd=new_project, check=True)
    subprocess.run(["git", *author, "commit", "-qm", "new"], cwd=new_project, check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", new_project, clone], check=True)
    path = "/usr/bin:/bin"
    if is_activated:
        path = f"{sys.prefix}/bin:{path}"
    else:
        (clone / ".venv").symlink_to(sys.prefix)
    dvc = [sys.executable, "-m", "dvc", *verb, "settings"]
    names = {"GIT_COMMITTER_NAME": "B", "GIT_COMMITTER_EMAIL": "b@example.org"}
    environment = {"PATH": path, "HOME": str(tmp_path), **names}
    done = warm_interpreter.run(dvc, cwd=clone, env=environment)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in (clone / "dvc.yaml").read_text()
    assert sys.prefix not in (clone / "dvc.yaml").read_text()


@pytest.mark.parametrize("has_git", [True, False])
def test_a_new_project_is_a_repository_where_git_is_installed_and_one_dvc_reads_where_not(
    has_git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_git:
        monkeypatch.setenv("PATH", str(tmp_path))
    installation.create_project(tmp_path / "next")
    assert (tmp_path / "next" / ".git").exists() == has_git
    config = (tmp_path / "next" / ".dvc" / "config").read_text()
    assert ("no_scm" not in config) == has_git


def test_the_branch_of_a_new_project_is_main_whatever_git_is_told_to_call_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[init]\n  defaultBranch = trunk\n")
    installation.create_project(tmp_path / "next")
    assert (tmp_path / "next/.git/HEAD").read_text() == "ref: refs/heads/main\n"


def test_a_new_project_lies_in_a_repository_that_keeps_it_and_gets_one_where_it_is_ignored(
    tmp_path: Path,
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("/ignored/\n")
    for name in ("kept", "ignored"):
        installation.create_project(tmp_path / name)
        assert "no_scm" not in (tmp_path / name / ".dvc" / "config").read_text()
    assert not (tmp_path / "kept" / ".git").exists()
    assert (tmp_path / "ignored" / ".git").exists()


def test_an_empty_repository_is_filled(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert "dvc.yaml" in installation.create_project(tmp_path)


def test_a_folder_that_holds_something_is_left_alone(new_project: Path) -> None:
    before = {path: path.read_bytes() for path in new_project.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"wanted an empty or new folder"):
        installation.create_project(new_project)
    assert {path: path.read_bytes() for path in new_project.rglob("*") if path.is_file()} == before


def test_the_command_says_what_to_type_next(tmp_path: Path) -> None:
    done = command(tmp_path, "new", "own")
    assert done.returncode == 0 and "cd own" in done.stdout and " run " in done.stdout


def test_stages_of_another_version_are_told_with_the_next_move(tmp_path):
    assert installation.describe_outdated(tmp_path) == ""
    installation.create_project(tmp_path / "project")
    assert installation.describe_outdated(tmp_path / "project") == ""
    lock = tmp_path / "project" / "requirements.lock"
    lock.write_text(re.sub(r"(?m)^(rolling-forecast)==.*$", r"\1==0.1.0", lock.read_text()))
    assert "of version 0.1.0" in installation.describe_outdated(tmp_path / "project")
