"""A project in a git repository of its own, as an operator has it: real code and stages, one wave
that grows.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support import small_project

NAME = "wave"


def write_project(root: Path, *, models: Sequence[str] = ("naive",)) -> Path:
    """Committed, with data up to day 200; `models` is its grid."""
    small_project.write_real(root, models=())
    shutil.copy(small_project.ROOT / ".gitignore", root / ".gitignore")
    with (root / ".gitignore").open("a") as file:
        file.write(
            "/data/wave.csv\n/data/snapshots/\n/.dvc/cache\n/.dvc/tmp\n/.dvc/config.local\n/dvc.lock\n"
        )
    configure(root, models)
    hook = {"command": ["sh", "told.sh"], "on": ["failed"]}
    small_project.write_yaml(root / "configs" / "retraining.yaml", {"defaults": {"hooks": hook}})
    (root / "told.sh").write_text("cat >> .forecast/told.jsonl\n")
    git(root, "init", "-q")
    commit(root)
    return root


def configure(root: Path, models: Sequence[str]) -> None:
    entries = {name: {"family": name} for name in models}
    content = {"grid": "tiny", "grids": {"tiny": list(models)}, "models": entries}
    small_project.write_yaml(root / "configs" / "models.yaml", content)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "a state")


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def grow(root: Path, days: int, *, scale: float = 1.0) -> None:
    """Further days of the wave, the same whenever they are made."""
    path = root / "data" / "wave.csv"
    table = pd.read_csv(path)
    count = len(table)
    ds = pd.date_range("2024-01-01", periods=count + days, freq="D")[count:].strftime("%Y-%m-%d")
    noise = 0.2 * np.random.default_rng(count).standard_normal(days)
    new = pd.DataFrame({"ds": ds, "y": scale * (np.sin(np.arange(count, count + days)) + noise)})
    pd.concat([table, new]).to_csv(path, index=False)
