"""dvc.yaml against the code: a stage is stale exactly when something it runs has changed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from forecast.system.code_closure import closure

ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, dict] = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}


def code(stage: dict) -> list[str]:
    """The deps that are files or folders of the project's code."""
    return [dep for dep in stage["deps"] if dep.startswith(("forecast/", "pipelines/"))]


def module(stage: dict) -> str:
    found = re.search(r"-m (pipelines\.\w+)", stage["cmd"])
    assert found, stage["cmd"]
    return found[1]


@pytest.mark.parametrize("name", STAGES)
def test_the_deps_of_a_stage_cover_every_file_it_imports(name: str) -> None:
    deps = code(STAGES[name])
    needed = [path.as_posix() for path in closure(module(STAGES[name]), ROOT)]
    missing = [file for file in needed if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)]
    assert not missing, f"add to the deps of stage {name!r} in dvc.yaml: {missing}"


@pytest.mark.parametrize("name", STAGES)
def test_no_dep_of_a_stage_is_code_it_never_runs(name: str) -> None:
    needed = [path.as_posix() for path in closure(module(STAGES[name]), ROOT)]
    idle = [dep for dep in code(STAGES[name]) if not any(f == dep or f.startswith(f"{dep}/") for f in needed)]
    assert not idle, f"remove from the deps of stage {name!r} in dvc.yaml: {idle}"


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_depends_on_the_lock_and_runs_the_one_interpreter(name: str) -> None:
    assert "requirements.lock" in STAGES[name]["deps"]
    assert STAGES[name]["cmd"].startswith("${python} -m ")


def test_tuning_sees_neither_later_rows_nor_what_judges_or_reports() -> None:
    deps = STAGES["tune"]["deps"]
    assert "data/prepared/${item}/tuning.parquet" in deps
    assert not [
        dep for dep in deps if dep.endswith(("frame.parquet", "evaluation", "comparison", "report", "metrics"))
    ]


def test_outs_are_never_kept_across_runs_or_frozen() -> None:
    for stage in STAGES.values():
        assert not {"frozen", "always_changed"} & set(stage)
        assert not [
            out for out in stage["outs"] if isinstance(out, dict) and any("persist" in v for v in out.values())
        ]


def test_what_importing_leaves_behind_is_no_change(tmp_path: Path) -> None:
    for name in (".dvcignore",):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("x = 1\n")
    (tmp_path / "dvc.yaml").write_text("stages: {s: {cmd: 'echo made > out', deps: [code], outs: [out]}}\n")

    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    dvc("init", "--no-scm", "--force", "--quiet")
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    dvc("repro", "--quiet")
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"")
    (tmp_path / "code" / ".tmp-a.py-x").write_text("")
    assert "up to date" in dvc("status")
