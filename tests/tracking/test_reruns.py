"""However often the pipeline runs, and whatever is lost in between, MLflow shows each model
once.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.processes import dvc
from tests.support import small_project

CANDIDATES = {"naive", "seasonal_naive", "ridge", "arx", "elman.linear", "elman.last"}


@pytest.fixture(scope="module")
def project(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after one whole run, published."""
    root = tmp_path_factory.mktemp("reruns") / "project"
    shutil.copytree(whole_run, root, symlinks=True)
    succeeded(small_project.run_warm(root, "run", "--jobs", "1"))
    return root


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def current_parents(root: Path) -> Counter[str]:
    """Candidate → how many parent runs say that they are the current one."""
    query = """
        select named.value from runs
        join tags as named on named.run_uuid = runs.run_uuid and named.key = 'candidate'
        join tags as current on current.run_uuid = runs.run_uuid
          and current.key = 'current' and current.value = 'true'
        where runs.lifecycle_stage = 'active'
          and runs.run_uuid not in (select run_uuid from tags where key = 'mlflow.parentRunId')
    """
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return Counter(name for (name,) in database.execute(query))


def test_one_run_of_the_pipeline_publishes_each_candidate_once(project: Path) -> None:
    assert current_parents(project) == dict.fromkeys(CANDIDATES, 1)


@pytest.mark.slow
def test_a_forced_repro_makes_no_second_run(project: Path) -> None:
    succeeded(dvc(project, "repro", "--force", FORECAST_JOBS="1"))
    succeeded(small_project.command(project, "sync"))
    assert current_parents(project) == dict.fromkeys(CANDIDATES, 1)


def test_outs_restored_from_the_run_cache_make_no_second_run(project: Path) -> None:
    for name in ("tuned", "trained", "compared"):
        shutil.rmtree(project / "data" / name)
    (project / "dvc.lock").unlink()
    output = succeeded(dvc(project, "repro", FORECAST_JOBS="1"))
    assert "Stage 'train@wave' is cached" in output
    succeeded(small_project.command(project, "sync"))
    assert current_parents(project) == dict.fromkeys(CANDIDATES, 1)


@pytest.mark.slow  # by hand-made records: test_publishing.py
def test_a_deleted_database_is_filled_again_by_sync(project: Path) -> None:
    for path in project.glob("mlflow.db*"):
        path.unlink()
    assert "0 already there" in succeeded(small_project.run_warm(project, "sync"))
    assert current_parents(project) == dict.fromkeys(CANDIDATES, 1)
