"""`forecast sync`: what the runs recorded, published to MLflow; as often as wanted, with the same result."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import typer

from forecast.cli.shown import ROOT, require_project


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)


def sync(root: Path = ROOT) -> None:
    """Publish the last run to MLflow, whatever is there."""
    typer.echo(published(require_project(root)))


def published(root: Path) -> str:
    """Publishes and says in one line what was done."""
    from forecast.tracking import sync as publish

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    done = publish(root, uri, now=time.time(), revision=revision(root), report=None)
    return f"MLflow: {len(done.made)} runs made, {done.unchanged} already there, {len(done.set_aside)} set aside."


def revision(root: Path) -> str:
    """The git commit of `root`, with `-dirty` when the working tree differs; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 else ""
