"""What several commands share: options, the clock, checks of arguments, and printing rows as a
table or as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forecast.config.paths import ProjectPaths
from forecast.system.errors import InputError, quote, require_known, with_minus

if TYPE_CHECKING:
    import pandas as pd


ROOT = typer.Option(None, "--root", help="The project's folder.", show_default="this one")


def complete_dataset(incomplete: str) -> list[str]:
    """Shell completion of dataset names, from the project in this folder or above."""
    try:
        names = configured_datasets(require_project(None))
    except InputError:
        return []
    return [name for name in names if str(name).startswith(incomplete)]


DATASET = typer.Argument(help="An entry of configs/datasets.yaml.", autocompletion=complete_dataset)
ONE_DATASET = typer.Argument(
    "", help="Only this entry of configs/datasets.yaml.", autocompletion=complete_dataset
)
AS_OF = typer.Option(
    "", "--as-of", help="Use only data known by this time (UTC), such as 2024-06-30; default: now."
)
CLUSTER = typer.Option(
    "", "--cluster", help="A Dask cluster: tcp://host:8786, or local:4 for four processes here."
)


def use_cluster(address: str) -> None:
    """Let every stage of this command run on the cluster at `address`; "" leaves FORECAST_CLUSTER.

    Raises `InputError` for a malformed address.
    """
    from forecast.system import cluster

    if address:
        os.environ[cluster.CLUSTER_VARIABLE] = address
    cluster.cluster_address()  # for its InputError


class Format(StrEnum):
    """The choices of `--format`."""

    table = "table"
    json = "json"


FORMAT = typer.Option(Format.table, "--format", help="A table for people, or JSON for programs.")


Cell = str | int | float | bool | None
"""A value of a table."""


def print_rows(rows: Sequence[Mapping[str, Cell]], output_format: Format) -> None:
    """Print rows with equal keys as a table, whose columns are the keys, or as a JSON list."""
    if output_format is Format.json:
        print(json.dumps([dict(row) for row in rows], indent=1, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = list(rows[0]) if rows else []
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:  # as Text, since rich would take `[t-1]` in an equation for markup
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    # 200 columns for a pipe or a file, where folded lines break `grep`
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@contextmanager
def keep_output_clean(output_format: Format) -> Iterator[None]:
    """Unless the format is a table, send what is printed inside the block to standard error, also
    by child processes: programs read standard output.
    """
    if output_format is Format.table:
        yield
        return
    sys.stdout.flush()
    standard_output = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(standard_output, 1)
        os.close(standard_output)


def require_project(root: Path | None, file: str = "datasets.yaml") -> Path:
    """`root`, or where none is named the nearest project folder among this one and its parents;
    `InputError` where there is no project.

    file: what makes a folder a project, in its folder configs.
    """
    if root is None:
        folders = [Path(), *Path.cwd().parents]
    else:
        folders = [Path.cwd() if root == Path() else root]  # named, so it is written whole
    for folder in folders:
        if (ProjectPaths.of(folder).configs / file).exists():
            return folder
    raise InputError(
        f"{folders[0].resolve()}: no configs/{file} here. Run the command in the project's folder"
        " or below it, or name it with --root."
    )


def require_dataset(root: Path | None, dataset: str) -> Path:
    """`require_project`, and `InputError` with the nearest name where it has no such dataset."""
    project = require_project(root)
    require_known(dataset, configured_datasets(project), "Unknown dataset")
    return project


def configured_datasets(project: Path) -> Mapping[str, object]:
    """The entries of configs/datasets.yaml, unchecked; empty where it has no mapping of them,
    `InputError` where it is no YAML.
    """
    from forecast.config.reading import read_yaml

    content = read_yaml(ProjectPaths.of(project).datasets_yaml)
    datasets = content.get("datasets") if isinstance(content, dict) else None
    return datasets if isinstance(datasets, dict) else {}


def tracking_uri() -> str:
    """The value of MLFLOW_TRACKING_URI; empty means the project's own database."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def now() -> pd.Timestamp:
    """The current time in UTC, without time zone; below the commands the time is an argument."""
    import pandas as pd

    return pd.Timestamp(datetime.now(UTC)).tz_localize(None)


def parse_as_of(text: str) -> pd.Timestamp | None:
    """The time in `--as-of` in UTC, without time zone; None where it is not given.

    Raises `InputError` for a text that is no time, and for a time in the future.
    """
    if not text:
        return None
    import pandas as pd

    from forecast.data.schema import EARLIEST_TIME, LATEST_TIME

    try:
        moment = pd.Timestamp(text)
    except (ValueError, OverflowError):
        moment = LATEST_TIME
    if not EARLIEST_TIME <= moment.replace(tzinfo=None) < LATEST_TIME:
        raise InputError(
            f"--as-of: found {quote(text)}, wanted a date or time of the years 1678 to 2199, such"
            " as 2024-06-30 or 2024-06-30T21:00."
        )
    if moment.tzinfo:
        moment = moment.tz_convert("UTC").tz_localize(None)
    clock = now()
    if moment > clock:
        raise InputError(
            f"--as-of: {moment} lies in the future (now: {clock:%Y-%m-%d %H:%M} UTC). Name another."
        )
    return moment


def signed_percent(share: float | None) -> str:
    """`+12.3 %` of 0.123; "" for None. It shows the skills of a champion; a change of error is
    written by `comparison.sentences.signed_percent`, on the page by `report.text.signed_percent`,
    both of which keep a decimal more where it would be zero.
    """
    return "" if share is None else with_minus(f"{100 * share:+.1f} %")


def escape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before each text that a spreadsheet would execute as a formula
    (OWASP, CSV injection).
    """
    table = table.copy(deep=False)
    for column in table.select_dtypes(["object", "string", "category"]):
        table[column] = table[column].astype(str).str.replace(r"^(?=[=+\-@\t\r])", "'", regex=True)
    return table
