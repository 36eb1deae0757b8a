"""Projects that one test process makes for all; what a test changes it changes in a copy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, in the first process that asks; the others wait for it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes of this session
    root, done_file = folder / name / "project", folder / f"{name}.made"
    with FileLock(folder / f"{name}.lock"):
        if not done_file.exists():
            make(root)
            done_file.touch()
    return root
