"""Temporary folders of the machine that bear the number of the process they belong to."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecast.system import processes


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for what is copied on or thrown away; gone at the end of the block, or with `clear` after a kill -9."""
    with tempfile.TemporaryDirectory(prefix=f"{_prefix()}{os.getpid()}-") as name:
        yield Path(name)


def clear() -> list[Path]:
    """Removes the folders of this machine's processes that are gone; returns them."""
    prefix = _prefix()
    left = []
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = path.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not processes.alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
            left.append(path)
    return left


def _prefix() -> str:
    """With the host's name: containers may share a folder and not their process numbers."""
    return f"forecast-{socket.gethostname()}-"
