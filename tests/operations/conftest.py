"""Projects that the tests of one process share; what a test changes it changes in a copy."""

import shutil
from pathlib import Path

import pytest

from forecast.operations import registry
from tests.operations import projects


@pytest.fixture(scope="session")
def repro(tmp_path_factory) -> Path:
    """After `dvc repro`, without a champion; read only."""
    return projects.write_repro(tmp_path_factory.mktemp("repro") / "project")


@pytest.fixture(scope="session")
def running(repro, tmp_path_factory) -> Path:
    """Version 1 (ridge) is the previous champion, version 2 (arx) the champion; read only."""
    root = tmp_path_factory.mktemp("running") / "project"
    shutil.copytree(repro, root)
    for candidate in ("ridge", "arx"):
        version = projects.register(root, candidate)
        registry.promote(root, projects.NAME, version, now=projects.NOW, reason="a test")
    return root


@pytest.fixture
def project(repro, tmp_path) -> Path:
    shutil.copytree(repro, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def moved(running, tmp_path) -> Path:
    """A copy of the running project: MLflow's absolute paths still lead to where it came from."""
    shutil.copytree(running, tmp_path / "moved")
    return tmp_path / "moved"
