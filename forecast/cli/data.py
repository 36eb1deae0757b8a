"""`forecast fetch` and `forecast data`: take new data, and summarise the stored snapshots."""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.shown import AS_OF, FORMAT, ROOT, Format, as_of_moment, now, require_project, show
from forecast.system.errors import DataError, InputError, counted

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config.datasets import Dataset
    from forecast.data.ingest import Fetched


DATASETS = typer.Argument(
    None, help="Entries of configs/datasets.yaml, and what they join; else those of `run`."
)


def fetch(
    datasets: list[str] = DATASETS,
    as_of: str = AS_OF,
    allow_stale: bool = typer.Option(
        False, "--allow-stale", help="If a service fails, take the stored snapshot."
    ),
    root: Path = ROOT,
) -> None:
    """Take new snapshots and point the pipeline at them; exits 3 when a service is at fault."""
    from forecast.config.datasets import load_dataset, load_datasets
    from forecast.data import ingest
    from forecast.data.columns import with_joined

    place = require_project(root)
    known = load_datasets(place / "configs")
    moment = as_of_moment(as_of) if as_of else None
    failed = []
    for name in with_joined(datasets or known.run, place / "configs"):
        settings = load_dataset(name, place / "configs")
        try:
            _fetch_one(name, place, moment, settings)
        except DataError as error:  # one service's fault keeps no other dataset from being fetched
            row, _ = ingest.summary(name, settings, root=place, now=now())
            stored = f"{row['last']} ({row['age']} old)" if row["rows"] else None
            if not allow_stale or stored is None:
                usable = (
                    f" The snapshot of {stored} is untouched and usable (--allow-stale)."
                    if stored
                    else ""
                )
                failed.append(f"{error}{usable}")
            else:
                print(f"{error}\nGoing on with the snapshot of {stored}.", file=sys.stderr)
    if failed:
        raise DataError("\n".join(failed))


def add(
    file: Path = typer.Argument(help="A CSV or Parquet in this project, such as data/mine.csv."),  # noqa: B008
    name: str = typer.Option("", "--name", help="Of the entry; else the file's own."),
    target: str = typer.Option(
        "", "--target", help="The column to forecast; else the first of numbers."
    ),
    root: Path = ROOT,
) -> None:
    """Write the entry of configs/datasets.yaml for a file of your own, guessed from it, and take
    its data.
    """
    import yaml

    from forecast.config.datasets import Datasets
    from forecast.config.paths import ProjectPaths
    from forecast.config.reading import read_yaml, validate_config
    from forecast.data import guesses
    from forecast.data.sources.file import inside
    from forecast.system import files

    place = require_project(root).resolve()
    path = inside(place, file if file.is_absolute() or not file.exists() else file.resolve())
    if not path.is_file():
        raise InputError(
            f"{file}: no such file. Name a CSV or Parquet inside the project, such as"
            " data/mine.csv."
        )
    entry = (
        name or re.sub(r"[^A-Za-z0-9_-]+", "_", path.name.partition(".")[0]).strip("_-") or "mine"
    )
    configs = ProjectPaths.of(place).datasets_yaml
    if entry in ((read_yaml(configs) or {}).get("datasets") or {}):
        raise InputError(
            f"{configs}: has an entry {entry!r} already. Give this one another name with --name."
        )
    block = guesses.entry_for(path, path.relative_to(place).as_posix(), entry, target=target)
    after = guesses.added(configs.read_text(encoding="utf-8"), entry, block)
    settings = validate_config(Datasets, yaml.safe_load(after), where=str(configs)).datasets[entry]
    print(block, end="")
    _fetch_one(entry, place, None, settings)
    # last: whatever ends this command before, the same command does it again
    files.write_text(configs, after)
    print(f"Written to configs/datasets.yaml. If it is right: `forecast run --dataset {entry}`.")
    print(f"Else correct it there, then `forecast fetch {entry}`.")


def _fetch_one(name: str, place: Path, moment: pd.Timestamp | None, settings: Dataset) -> None:
    from forecast.data import ingest
    from forecast.system.stage import progress

    asked = settings.source.series
    with (
        progress(len(asked), f"fetch {name}") if asked else nullcontext(lambda name: None)
    ) as advance:
        found = ingest.fetch_new(
            name,
            settings,
            root=place,
            now=now(),
            as_of=moment,
            environment=dict(os.environ),
            advance=advance,
        )
    _report(name, found, place, settings.calendar.kind)
    _score_issued(name, settings, place, found.pointer.as_of)


def data(
    dataset: str = typer.Argument("", help="Only this one."),
    plot: bool = typer.Option(False, "--plot", help="Write a picture of it."),
    root: Path = ROOT,
    form: Format = FORMAT,
) -> None:
    """Summarise the stored snapshot of each data set: rows, range, gaps, freshness, digest, last
    revision.
    """
    from forecast.config.datasets import load_dataset, load_datasets
    from forecast.data import ingest
    from forecast.data.quality import sentences

    place = require_project(root)
    if plot and not dataset:
        raise InputError(
            "--plot needs the name of a data set, such as `forecast data weather --plot`."
        )
    if plot:
        path = place / ".forecast" / "plots" / f"{dataset}.png"
        print(ingest.plot(dataset, load_dataset(dataset, place / "configs"), root=place, path=path))
        return
    configs = place / "configs"
    chosen = (
        {dataset: load_dataset(dataset, configs)} if dataset else load_datasets(configs).datasets
    )
    known = [
        ingest.summary(name, settings, root=place, now=now()) for name, settings in chosen.items()
    ]
    rows = [row for row, _ in known]
    if form is Format.table:
        rows = [{key: _short(value) for key, value in row.items()} for row in rows]
    if dataset and form is Format.table:
        show(
            [{"what": key.replace("_", " "), "value": value} for key, value in rows[0].items()],
            form,
        )
        for line in sentences(known[0][1]):
            print(line)
    else:
        show(rows, form)


def _score_issued(dataset: str, settings: Any, root: Path, as_of: str) -> None:
    """Forecasts issued earlier meet their actuals; a fault there must not fail a fetch that
    succeeded.
    """
    from forecast.data import preparation
    from forecast.operations import live_accuracy
    from forecast.system.errors import ForecastError

    try:
        if live_accuracy.read_issues(root, dataset).empty:
            return
        live_accuracy.update_live_accuracy(
            root, dataset, preparation.check_data(dataset, settings, root=root), as_of=as_of
        )
    except (ForecastError, OSError) as error:
        print(f"  issued forecasts were not scored: {error}", file=sys.stderr)


def _report(dataset: str, found: Fetched, root: Path, kind: str) -> None:
    from forecast.config.task import format_time
    from forecast.data import snapshots
    from forecast.data.quality import sentences

    verb = "restored" if found.restored else "taken"
    new = found.rows - found.rows_before
    record = snapshots.provenance(root, dataset)
    reach = format_time(kind, record["last"]) if kind == "index" else f"{found.pointer.as_of} UTC"
    print(
        f"{dataset}: {verb} {found.pointer.snapshot} ({counted(found.rows, 'row')}, {new:+d}; as of"
        f" {reach})"
    )
    if not found.revised.empty:
        kinds = ", ".join(
            f"{count} {kind}" for kind, count in found.revised["kind"].value_counts().items()
        )
        table = Path(found.pointer.snapshot).with_suffix(".revisions.csv")
        print(f"  revised history: {kinds} values, listed in {table}")
    for series, reason in found.failed.items():
        done = "kept as it was" if series in record.get("series", ()) else "left out"
        print(f"  {series} {done}: {reason}", file=sys.stderr)
    for line in sentences(found.findings):
        print(f"  {line}", file=sys.stderr)


def _short(value: Any) -> Any:
    """Times as people write them: `2024-06-03`, `2024-06-03 21:00`."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
        return value
    return value[:10] if value.endswith("T00:00:00") else value[:16].replace("T", " ")
