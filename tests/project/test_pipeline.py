"""dvc.yaml against the code: a stage is stale exactly when something it runs has changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from forecast.backtest.stage_settings import stage_settings
from forecast.config.paths import ProjectPaths
from tests.operations.retraining import commit, git
from tests.support import small_project

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
    own = (
        "data/settings/report.json" if name == "report" else f"data/settings/${{item}}/{name}.json"
    )
    deps = STAGES[name]["deps"]
    assert own in deps
    assert not [dep for dep in deps if dep.startswith("data/settings") and dep != own]
    assert not [dep for dep in deps if dep.startswith(("configs", "forecast", "pipelines"))]
    assert "params" not in STAGES[name]


def test_every_stage_of_the_pipeline_has_settings() -> None:
    made = stage_settings(ProjectPaths.of(ROOT))
    assert {Path(name).stem for name in made} == set(COMPUTING)


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
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    dvc("init", "--no-scm", "--force", "--quiet")
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    dvc("repro", "--quiet")
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"")
    (tmp_path / "code" / ".tmp-a.py-x").write_text("")
    assert "up to date" in dvc("status")


@pytest.mark.slow
def test_a_run_in_a_fresh_clone_leaves_git_status_clean(tmp_path: Path) -> None:
    """What git tracks of a run, dvc.lock and the leaderboard, comes out to the byte, however long a
    run took.
    """
    own = small_project.write_real(tmp_path / "own", models=("elman",), rankings=("shipped",))
    for name in (".gitignore", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, own / name)
    ran = small_project.command(own, "run", "--jobs", "1", seconds=400)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    git(own, "init", "-q")
    commit(own)
    in_git = {"dvc.lock", "reports/leaderboard.csv", "reports/verdicts.json"}
    assert in_git <= set(git(own, "ls-files").splitlines())
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(own), str(clone))
    again = small_project.command(clone, "run", "--jobs", "2", seconds=400)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (clone / "data" / "trained" / "wave").is_dir() and git(
        clone, "status", "--porcelain"
    ) == ""
