"""Projects that all tests share; what a test changes it changes in a copy."""

import shutil
from pathlib import Path

import pytest

from forecast.operations import registry
from tests.operations import projects
from tests.support.shared_projects import make_once


@pytest.fixture(scope="session")
def repro(tmp_path_factory) -> Path:
    """After `dvc repro`, without a champion; read only."""
    return make_once(tmp_path_factory, "repro", projects.write_repro)


@pytest.fixture(scope="session")
def running(repro, tmp_path_factory) -> Path:
    """Version 1 (ridge) is the previous champion, version 2 (arx) the champion; read only."""

    def promote_two(root: Path) -> None:
        shutil.copytree(repro, root)
        for candidate in ("ridge", "arx"):
            version = projects.register(root, candidate)
            registry.promote(root, projects.NAME, version, now=projects.NOW, reason="a test")

    return make_once(tmp_path_factory, "running", promote_two)


@pytest.fixture
def project(repro, tmp_path) -> Path:
    shutil.copytree(repro, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def moved(running, tmp_path) -> Path:
    """A copy of the running project: MLflow's absolute paths still lead to where it came from."""
    shutil.copytree(running, tmp_path / "moved")
    return tmp_path / "moved"
