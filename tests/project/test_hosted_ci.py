"""The hosted workflows are valid by GitHub's own schema, and call the commands that a developer
calls.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from forecast.system.bootstrap import PYTHON_VERSIONS
from tests.support.small_project import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
RETRAINING = ROOT / "docs" / "templates" / "retrain.yml"


def judged(path: Path) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says of a workflow, by the schema that it carries; nothing is
    fetched.
    """
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def commands(job: str) -> list[str]:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"][job]["steps"]
    return [step["run"] for step in steps if "run" in step]


@pytest.mark.parametrize("path", [WORKFLOW, RETRAINING], ids=lambda path: path.name)
def test_a_workflow_is_valid_by_the_schema_of_github(path: Path) -> None:
    faults = judged(path)
    assert faults.returncode == 0, faults.stdout + faults.stderr


@pytest.mark.parametrize(
    "change", [("runs-on:", "runs-at:"), ("- run:", "- runs:"), ("push:", "pushed:")]
)
def test_a_wrong_key_is_found(change: tuple[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "ci.yml"
    broken.write_text(WORKFLOW.read_text().replace(*change, 1))
    assert judged(broken).returncode == 1


def test_a_change_is_checked_by_the_command_of_a_developer() -> None:
    triggers = yaml.safe_load(WORKFLOW.read_text())[True]  # YAML 1.1 reads the key `on` so
    assert {"push", "pull_request", "schedule"} <= set(triggers)
    assert commands("check") == ["bash .ci/run"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_git_works_where_the_checkout_belongs_to_another_user(tmp_path: Path) -> None:
    project, programs = tmp_path / "project", tmp_path / "programs"
    (project / ".ci").mkdir(parents=True)
    programs.mkdir()
    shutil.copy(ROOT / ".ci" / "run", project / ".ci" / "run")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for name in ("make", "chromium", "chromedriver", "apt-get"):
        (programs / name).write_text(
            "#!/bin/sh\n" + ("exec git ls-files -o\n" if name == "make" else "")
        )
        (programs / name).chmod(0o755)
    for path in (project, *project.rglob("*")):
        os.chown(path, 12345, 12345)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", ".ci/run"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ".ci/run\n.ci/run\n"), done.stderr


def test_every_python_of_make_is_checked_and_every_night_the_oldest_versions() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    versions = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    match = re.search(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert match is not None
    assert [f"python{version}" for version in reversed(versions)] == match[1].split()
    assert list(versions) == list(PYTHON_VERSIONS)
    assert commands("floors") == ["bash .ci/run test-floors"]


def test_the_site_is_built_by_the_command_of_a_developer() -> None:
    assert commands("site") == ["bash .ci/run site"]
    assert re.search(r"^site: setup-dev", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_test_is_run_at_night() -> None:
    assert commands("nightly") == ["bash .ci/run test-slow"]
    assert re.search(
        r'^make lint\nmake "\$\{1:-test\}"$', (ROOT / ".ci" / "run").read_text(), re.MULTILINE
    )
    assert re.search(r"^test-slow: setup-dev", (ROOT / "Makefile").read_text(), re.MULTILINE)


def stages_of_the_dockerfile() -> dict[str, list[str]]:
    """Name of each stage → its instructions, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stages: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("FROM "):
            stages[line.split(" AS ")[1]] = []
        else:
            stages[list(stages)[-1]].append(line)
    return stages


def test_the_images_install_the_hashed_lock_and_do_not_run_as_root() -> None:
    stages = stages_of_the_dockerfile()
    lock = [line for line in stages["environment"] if "-r requirements.lock" in line]
    assert len(lock) == 1 and "--require-hashes" in lock[0] and "--no-deps" in lock[0]
    for name in ("pipeline", "served"):
        (user,) = [line for line in stages[name] if line.startswith("USER ")]
        assert int(user.split()[1]) > 0
        assert [line for line in stages[name] if line.startswith("CMD ")]
