"""`forecast audit`: does anything in a dataset's pipeline know what it could not have known?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import typer

from forecast.cli.shown import FORMAT, ROOT, Format, require_project
from forecast.system.stage import default_jobs


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(
    dataset: str = typer.Argument(help="The data set whose pipeline is examined."),
    models: str = typer.Option("", "--model", help="Only these models, separated by commas."),
    jobs: int = typer.Option(0, "--jobs", help="Worker processes.", show_default="as many as cores"),
    root: Path = ROOT,
    form: Format = FORMAT,
) -> None:
    """Look for leaks in a pipeline. Exits 1 when one is found."""
    project = require_project(root).resolve()
    command = [sys.executable, "-m", "forecast.audit", dataset, "--root", str(project), "--models", models]

    command += ["--jobs", str(jobs or default_jobs(os.environ))]
    command += ["--json", "--quiet"] if form is Format.json else []
    raise typer.Exit(subprocess.run(command, cwd=project, check=False).returncode)
