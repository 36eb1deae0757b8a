"""A project of the user's own, from what comes with the package: configs, stages, the embedded data."""

from __future__ import annotations

import difflib
import importlib.metadata
import sys
from pathlib import Path

from forecast.api.packaged import packaged
from forecast.system import files
from forecast.system.errors import InputError

OWN = (".gitignore", "configs/*.yaml", "data/pointers/weather.json", "data/snapshots/weather/*")
"""The user's from the first day: made once and never changed by an upgrade."""
OURS = ("pipelines/*.py", "dvc.yaml", ".dvcignore")
"""What an upgrade brings up to the installed version."""
LOCK = "requirements.lock"


def create(folder: Path) -> list[str]:
    """Fill an empty or absent folder; the names of the files. `InputError` for a folder that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: found something there, wanted an empty or new folder. Name another one, or bring a project up "
            f"to this version with `forecast new {folder} --upgrade`."
        )
    made = {**_template(OWN), **_template(OURS), **_template((".dvc/config",))}
    made[".dvc/config"] = made[".dvc/config"].replace(b"[core]\n", b"[core]\n    no_scm = true\n")
    made["configs/datasets.yaml"] = made["configs/datasets.yaml"].replace(b"run: [stocks, weather]", b"run: [weather]")
    made[LOCK] = _installed().encode()
    for name, content in made.items():
        files.write_bytes(folder / name, content)
    return sorted(made)


def upgrade(folder: Path) -> str:
    """Bring the stages of a project to the installed version; what changed, as a unified diff."""
    if not (folder / "dvc.yaml").exists() or not (folder / "configs" / "datasets.yaml").exists():
        raise InputError(f"{folder}: found no dvc.yaml with configs/datasets.yaml, wanted a project.")
    changes: list[str] = []
    for name, content in {**_template(OURS), LOCK: _installed().encode()}.items():
        path = folder / name
        old = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        new = content.decode().splitlines(keepends=True)
        changes += difflib.unified_diff(old, new, f"{name} (before)", f"{name} (now)")
        if old != new:
            files.write_bytes(path, content)
    return "".join(changes)


def _template(patterns: tuple[str, ...]) -> dict[str, bytes]:
    """Relative name → content of what comes with the package."""
    root = packaged()
    found = {path.relative_to(root).as_posix(): path.read_bytes() for p in patterns for path in sorted(root.glob(p))}
    found.pop("pipelines/demo.py", None)  # of a clone, whose Makefile starts it
    if "dvc.yaml" in found:
        pipeline = found["dvc.yaml"].decode()
        pipeline = pipeline.replace(
            "python: .venv/bin/python # the one place", f"python: {sys.executable} # the one place"
        )
        found["dvc.yaml"] = pipeline.replace("      - forecast\n", f"      - {LOCK}\n").encode()
    return found


def _installed() -> str:
    """Every installed package with its version: what the stages depend on, as `forecast` itself is one of them."""
    found = {str(one.metadata["Name"]).lower(): one.version for one in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))
