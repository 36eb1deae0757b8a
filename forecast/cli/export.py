"""`forecast export`: forecasts, observations or the leaderboard of the last run as a frame for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from forecast.cli.predict import shares_of
from forecast.cli.shown import ROOT, harmless, require_project
from forecast.system.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


File = Literal["parquet", "csv"]
FILE = typer.Option("csv", "--format", help="parquet needs a file or pipe behind it.")
OUTPUT = typer.Option(Path("-"), "--output", "-o", help="The file; - is standard output.")


def export(
    dataset: str = typer.Argument(help="An entry of configs/datasets.yaml that was run."),
    what: Literal["cross-validation", "observations", "leaderboard"] = typer.Option(
        "cross-validation", "--what", help="Which frame."
    ),
    form: File = FILE,
    models: str = typer.Option("", "--models", help="Only these, separated by commas."),
    levels: str = typer.Option("", "--levels", help="Intervals in percent, such as 80,95."),
    ranking: Literal["shipped", "architecture"] = typer.Option(
        "shipped", "--ranking", help="Networks with or without their linear part."
    ),
    output: Path = OUTPUT,
    root: Path = ROOT,
) -> None:
    """Write results as `unique_id, ds, cutoff, y, <model>, …`, as neuralforecast and utilsforecast have them."""
    from forecast.api import export as frames
    from forecast.config.datasets import load_dataset
    from forecast.config.paths import ProjectPaths
    from forecast.data.results import Results

    project = require_project(root)
    load_dataset(dataset, project / "configs")  # a misspelt name is told here, with the nearest right one
    results = Results(ProjectPaths.of(project), dataset)
    if what == "observations":
        _write(frames.observations(results), form, output)
    elif what == "leaderboard":
        _write(frames.leaderboard(results, ranking=ranking), form, output)
    else:
        wanted = tuple(name.strip() for name in models.split(",") if name.strip())
        found = frames.cross_validation(
            results, ranking=ranking, models=wanted, levels=[100 * share for share in shares_of(levels) or ()]
        )
        _write(found, form, output)


def _write(frame: pd.DataFrame, form: File, output: Path) -> None:
    from forecast.system import files

    if form == "parquet" and output == Path("-"):
        if sys.stdout.isatty():
            raise InputError("--format parquet writes bytes: name a file with --output, or send them into one.")
        frame.to_parquet(sys.stdout.buffer, index=False, compression="zstd")
    elif form == "parquet":
        files.write_frame(output, frame)
    elif output == Path("-"):
        print(harmless(frame).to_csv(index=False), end="")
    else:
        files.write_text(output, harmless(frame).to_csv(index=False))
