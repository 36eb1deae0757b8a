"""`forecast sync`: what the runs recorded, published to MLflow; as often as wanted, with the same result."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import typer

from forecast.cli.shown import ROOT, require_project, tracking_uri


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)


def sync(root: Path = ROOT) -> None:
    """Publish the last run to MLflow, whatever is there."""
    typer.echo(published(require_project(root)))


def published(root: Path) -> str:
    """Publishes; says what was done and where the leaderboards are in MLflow's pages."""
    from forecast.tracking import sync as publish

    done = publish(root, tracking_uri(), now=time.time(), revision=revision(root), report=None)
    counts = f"MLflow: {len(done.made)} runs made, {done.unchanged} already there, {len(done.set_aside)} set aside."
    pages = [f"  {name}: http://127.0.0.1:5000{page}" for name, page in sorted(done.pages.items())]
    return "\n".join([counts, *(["After `make ui` the leaderboards are at", *pages] if pages else [])])


def revision(root: Path) -> str:
    """The git commit of `root`, with `-dirty` when the working tree differs; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 else ""
