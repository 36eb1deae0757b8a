"""setuptools, but in a clone a wheel or an sdist is made of what HEAD has, and of nothing else.

setuptools takes files by pattern from the folder that it is called in: edited configs, own datasets
and leftovers of builds would go into the package. So a clone's commit is laid out in an empty
folder first. Without a repository (an unpacked sdist) the folder itself is built; an editable
installation is of the folder by its nature.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


@contextmanager
def committed_tree() -> Iterator[None]:
    """Work in a folder that has the files of HEAD alone; in the current one outside of a clone."""
    clone = Path.cwd()
    if not (clone / ".git").exists():
        yield
        return
    archive = subprocess.run(["git", "archive", "HEAD"], capture_output=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(clone)


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, str] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """The wheel of HEAD in `wheel_directory`; its file name."""
    target = str(Path(wheel_directory).resolve())
    with committed_tree():
        return build_meta.build_wheel(target, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: dict[str, str] | None = None) -> str:
    """The source archive of HEAD in `sdist_directory`; its file name."""
    target = str(Path(sdist_directory).resolve())
    with committed_tree():
        return build_meta.build_sdist(target, config_settings)
