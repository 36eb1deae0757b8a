"""`forecast new`: a project of one's own that needs no clone, and its upgrade to the installed version."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import typer

PIPELINE = ("dvc", "mlflow", "tensorflow")
"""What a run imports and the core of the package does without."""


def new(
    directory: Path = typer.Argument(help="An empty or new folder."),  # noqa: B008  (how typer wants it)
    upgrade: bool = typer.Option(False, "--upgrade", help="Bring the stages of a project to the installed version."),
) -> None:
    """Make a project with configs, stages and the embedded data, on which `dvc repro` runs at once."""
    from forecast.api import new_project

    if upgrade:
        changed = new_project.upgrade(directory)
        print(changed or f"{directory} has the stages of the installed version already.", end="" if changed else "\n")
        return
    made = new_project.create(directory)
    print(f"{directory}: {len(made)} files. The datasets and models stand in configs/, the stages in dvc.yaml.")
    _next(directory)


def _next(directory: Path) -> None:
    """What to type, and what is missing for it."""
    missing = [name for name in PIPELINE if importlib.util.find_spec(name) is None]
    if missing:
        print(f"A run needs {' and '.join(missing)}: `pip install 'rolling-forecast[pipeline]'`.")
    print(f"Next:\n  cd {directory}\n  {_command()} run      # data, tuning, training, comparison, report")
    print("Your own data: an entry in configs/datasets.yaml, then `forecast fetch`, then the same command.")


def _command() -> str:
    """How the command was started, so that the next one can be typed."""
    started = Path(sys.argv[0])
    return "forecast" if started.name == "forecast" else f"{sys.executable} -m forecast"
