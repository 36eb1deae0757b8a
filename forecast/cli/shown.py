"""How commands show things: a table for people, JSON for programs; the same rows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.config.paths import ProjectPaths
from forecast.system import cluster
from forecast.system.errors import InputError, quoted

if TYPE_CHECKING:
    import pandas as pd

ROOT = typer.Option(Path(), "--root", help="The project's folder.", show_default="this one")
DATASET = typer.Argument(help="An entry of configs/datasets.yaml.")
AS_OF = typer.Option(
    "", "--as-of", help="Only what was known by then (UTC), such as 2024-06-30; else now."
)
CLUSTER = typer.Option(
    "", "--cluster", help="A Dask cluster: tcp://host:8786, or local:4 for four processes here."
)


def work_on(place: str) -> None:
    """Every stage of this command works on that cluster; empty: as FORECAST_CLUSTER says."""
    if place:
        os.environ[cluster.VARIABLE] = place
    cluster.address()


class Format(StrEnum):
    """What `--format` takes."""

    table = "table"
    json = "json"


FORMAT = typer.Option(Format.table, "--format", help="For people or for programs.")


def show(rows: Sequence[Mapping[str, Any]], form: Format, *, title: str = "") -> None:
    """`rows` of equal keys, the keys being the columns."""
    if form is Format.json:
        print(json.dumps([dict(row) for row in rows], indent=1, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:  # as Text: `[t-1]` of an equation is no markup
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    # A pipe or a file is no 80-column terminal: folding there would break `grep`.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def require_project(root: Path) -> Path:
    """`root` when it is a project's folder, else `InputError`."""
    if not ProjectPaths.of(root).datasets_yaml.exists():
        where = root.resolve()
        raise InputError(
            f"{where}: no configs/datasets.yaml here. Run the command in the project's folder or"
            " name it with --root."
        )
    return root


def tracking_uri() -> str:
    """What MLFLOW_TRACKING_URI says; empty: the project's own database."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def now() -> pd.Timestamp:
    """The clock, UTC without zone; below the commands time is an argument."""
    import pandas as pd

    return pd.Timestamp(datetime.now(UTC)).tz_localize(None)


def as_of_moment(text: str) -> pd.Timestamp:
    """What `--as-of` says, UTC without zone; of the future it is refused here, before hours of
    work.
    """
    import pandas as pd

    from forecast.data.schema import EARLIEST, LATEST

    try:
        moment = pd.Timestamp(text)
    except (ValueError, OverflowError):
        moment = LATEST
    if not EARLIEST <= moment.replace(tzinfo=None) < LATEST:
        wanted = "a date or time of the years 1678 to 2199, such as 2024-06-30 or 2024-06-30T21:00"
        raise InputError(f"--as-of: found {quoted(text)}, wanted {wanted}.")
    found = moment.tz_convert("UTC").tz_localize(None) if moment.tzinfo else moment
    if found > (clock := now()):
        raise InputError(
            f"--as-of: {found} lies in the future (now: {clock:%Y-%m-%d %H:%M} UTC). Name another."
        )
    return found


def harmless(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula begins with an apostrophe (OWASP, CSV
    injection).
    """
    table = table.copy(deep=False)
    for column in table.select_dtypes(["object", "string", "category"]):
        table[column] = table[column].astype(str).str.replace(r"^(?=[=+\-@\t\r])", "'", regex=True)
    return table
