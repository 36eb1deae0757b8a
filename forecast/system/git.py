"""git's answers, also on a machine that has none."""

from __future__ import annotations

import subprocess
from pathlib import Path

NOT_FOUND = 127
"""The code by which a shell says that there is no such command."""


def run_git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What `git ...` answers in `folder`; code 127 where git is not installed."""
    command = ["git", *words]
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", check=False
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, NOT_FOUND, "", "git is not installed")
