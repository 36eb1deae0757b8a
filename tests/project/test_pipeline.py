"""dvc.yaml against the code: a stage is stale exactly when something it runs has changed."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from forecast.backtest.stage_settings import stage_settings
from forecast.config.paths import ProjectPaths
from tests.faults import processes
from tests.operations.retraining import commit, git
from tests.support import small_project, warm_interpreter

ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, dict] = {
    name: stage.get("do", stage)
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}


COMPUTING = [name for name in STAGES if name != "settings"]


def test_settings_are_made_anew_when_code_or_configs_are_edited() -> None:
    assert STAGES["settings"]["deps"] == ["configs", "forecast", "pipelines"]
    assert STAGES["settings"]["outs"] == ["data/settings"]


@pytest.mark.parametrize("name", COMPUTING)
def test_a_stage_depends_on_its_settings_and_on_data_never_on_yaml_or_source(name: str) -> None:
    settings_file = (
        "data/settings/report.json" if name == "report" else f"data/settings/${{item}}/{name}.json"
    )
    deps = STAGES[name]["deps"]
    assert settings_file in deps
    assert not [dep for dep in deps if dep.startswith("data/settings") and dep != settings_file]
    assert not [dep for dep in deps if dep.startswith(("configs", "forecast", "pipelines"))]
    assert "params" not in STAGES[name]


def test_every_stage_of_the_pipeline_has_settings() -> None:
    settings = stage_settings(ProjectPaths.of(ROOT))
    assert {Path(name).stem for name in settings} == set(COMPUTING)


@pytest.mark.parametrize("name", COMPUTING)
def test_every_stage_depends_on_the_lock_and_runs_the_one_interpreter(name: str) -> None:
    assert "requirements.lock" in STAGES[name]["deps"]
    assert STAGES[name]["cmd"].startswith("${python} -m ")


def test_tuning_sees_neither_later_rows_nor_what_judges_or_reports() -> None:
    deps = STAGES["tune"]["deps"]
    assert "data/prepared/${item}/tuning.parquet" in deps
    assert not [
        dep
        for dep in deps
        if dep.endswith(("frame.parquet", "evaluation", "comparison", "report", "metrics"))
    ]


def test_outs_are_never_kept_across_runs_or_frozen() -> None:
    for stage in STAGES.values():
        assert not {"frozen", "always_changed"} & set(stage)
        assert not [
            out
            for out in stage["outs"]
            if isinstance(out, dict) and any("persist" in v for v in out.values())
        ]


def test_what_importing_leaves_behind_is_no_change(tmp_path: Path) -> None:
    for name in (".dvcignore",):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("x = 1\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages: {s: {cmd: 'echo made > out', deps: [code], outs: [out]}}\n"
    )

    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        done = warm_interpreter.run(command, cwd=tmp_path, env=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc("init", "--no-scm", "--force", "--quiet")
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    dvc("repro", "--quiet")
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"")
    (tmp_path / "code" / ".tmp-a.py-x").write_text("")
    assert "up to date" in dvc("status")


COPYING_STAGE = """
import json, pathlib
number = json.loads(pathlib.Path("params.json").read_text())["number"]
pathlib.Path("metrics.json").write_text(json.dumps({"copied": number}))
"""


@pytest.fixture
def copying(tmp_path: Path) -> Path:
    """A repository whose one stage copies a parameter into a metric, by the real interpreter
    line.
    """
    root = tmp_path / "copying project"
    root.mkdir()
    (root / "copy_number.py").write_text(COPYING_STAGE)
    (root / "params.json").write_text('{"number": 1}')
    (root / ".gitignore").write_text(".venv\n")
    variables = yaml.safe_load((ROOT / "dvc.yaml").read_text())["vars"]
    stage = {
        "cmd": "${python} copy_number.py",
        "params": [{"params.json": ["number"]}],
        "metrics": [{"metrics.json": {"cache": False}}],
    }
    content = {"vars": variables[1:], "stages": {"copy": stage}}
    small_project.write_yaml(root / "dvc.yaml", content)
    (root / ".venv").symlink_to(sys.prefix)
    git(root, "init", "-q")
    dvc(root, "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    dvc(root, "repro", "-q")
    commit(root)
    return root


def dvc(root: Path, *words: str, path: str = "/usr/bin:/bin") -> str:
    """What DVC prints, where PATH is `path`."""
    done = processes.dvc(root, *words, PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers_by_experiment(root: Path) -> dict[str, int]:
    table = pd.read_csv(io.StringIO(dvc(root, "exp", "show", "--csv")))
    return dict(zip(table["Experiment"].fillna(table["rev"]), table["copied"], strict=True))


def test_an_experiment_runs_in_a_copy_without_environment_of_its_own(copying: Path) -> None:
    dvc(copying, "exp", "run", "--temp", "-n", "two", "-S", "params.json:number=2")
    numbers = numbers_by_experiment(copying)
    assert (numbers["workspace"], numbers["two"]) == (1, 2)


@pytest.mark.slow
def test_queued_experiments_run_from_an_activated_environment(copying: Path) -> None:
    activated = f"{sys.prefix}/bin:/usr/bin:/bin"  # DVC's worker starts `dvc` by its name
    for number in (2, 3):
        change = f"params.json:number={number}"
        dvc(copying, "exp", "run", "--queue", "-n", f"n{number}", "-S", change, path=activated)
    dvc(copying, "exp", "run", "--run-all", path=activated)
    numbers = numbers_by_experiment(copying)
    assert (numbers["workspace"], numbers["n2"], numbers["n3"]) == (1, 2, 3)


@pytest.mark.slow
def test_a_run_in_a_fresh_clone_leaves_git_status_clean(tmp_path: Path) -> None:
    """What git tracks of a run, dvc.lock and the leaderboard, comes out to the byte, however long a
    run took.
    """
    own_project = small_project.write_real(
        tmp_path / "own", models=("elman",), rankings=("shipped",)
    )
    for name in (".gitignore", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, own_project / name)
    ran = small_project.run_warm(own_project, "run", "--jobs", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    git(own_project, "init", "-q")
    commit(own_project)
    committed = ("leaderboard.csv", "metrics.json", "verdicts.json")
    in_git = {"dvc.lock", *(f"reports/{name}" for name in committed)}
    assert in_git <= set(git(own_project, "ls-files").splitlines())
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(own_project), str(clone))
    second_run = small_project.run_warm(clone, "run", "--jobs", "2")
    assert second_run.returncode == 0, second_run.stdout + second_run.stderr
    assert (clone / "data" / "trained" / "wave").is_dir() and git(
        clone, "status", "--porcelain"
    ) == ""


@pytest.mark.slow
def test_another_clone_gets_a_finished_run_from_a_remote_without_training(tmp_path: Path) -> None:
    first = small_project.write_real(tmp_path / "first", models=(), rankings=("shipped",))
    for name in (".gitignore", ".dvc/.gitignore", ".dvc/config"):
        shutil.copy(ROOT / name, first / name)
    git(first, "init", "-q")
    dvc(first, "remote", "add", "-d", "store", str(tmp_path / "store"))
    dvc(first, "repro", "-q")
    commit(first)
    dvc(first, "push", "-q")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(first), str(clone))
    output = dvc(clone, "repro", "--pull")
    assert "up to date" in output and "Running stage" not in output
    assert (clone / "data" / "trained" / "wave").is_dir() and not (clone / ".forecast").exists()
    assert git(clone, "status", "--porcelain") == ""
