"""`forecast clean`: removes what can be made again, after showing it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from forecast.cli.shown import ROOT, require_project
from forecast.system.bootstrap import RUN_LOCK
from forecast.system.errors import InputError
from forecast.system.files import locked

CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache", "build")
OUTPUTS = (
    "data/raw",
    "data/prepared",
    "data/tuned",
    "data/trained",
    "data/compared",
    "narrowed",
    "reports/report.html",
)
WORK = (".forecast/memo", ".forecast/studies", ".forecast/cost", ".dvc/cache", ".dvc/tmp")
SKIPPED = (".venv", ".git", ".dvc")


def register(app: typer.Typer) -> None:
    app.command("clean")(clean)


def clean(
    root: Path = ROOT,
    work: bool = typer.Option(False, "--work", help="Also finished tuning and training: a run starts from nothing."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Remove what can be made again; asks first."""
    project = require_project(root)
    found = list(removable(project, work=work))
    if not found:
        print("Nothing to remove.")
        return
    for path in found:
        print(f"  {path.relative_to(project)}  ({_size(path) / 1e6:.1f} MB)")
    if not yes:
        _ask()
    with locked(project / RUN_LOCK, what="`make run`"):
        for path in found:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    print(f"Removed {len(found)} files and folders; `make run` makes them again.")


def removable(root: Path, *, work: bool) -> Iterator[Path]:
    """What can be made again: caches, stage outputs and, with `work`, finished studies, training and DVC's cache."""
    for name in (*CACHES, *OUTPUTS, *(WORK if work else ())):
        if (root / name).exists():
            yield root / name
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder.name not in SKIPPED and not folder.is_symlink():
            yield from sorted(p for p in folder.rglob("__pycache__") if p.is_dir())


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(file.stat().st_size for file in files)


def _ask() -> None:
    if not sys.stdin.isatty():
        raise InputError("Nothing was removed: there is no terminal to ask at. Add --yes to remove the list above.")
    if not typer.confirm("Remove all of this?"):
        raise typer.Exit
