"""`forecast add | fetch | data`: adds a dataset, takes new snapshots, summarises stored ones.

`fetch` also scores issued forecasts. Where a service fails it goes on with the next dataset and
exits 3 at the end, 5 if a stored file was damaged; with `--allow-stale` a stored snapshot is
accepted instead.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.common import (
    AS_OF,
    FORMAT,
    ONE_DATASET,
    ROOT,
    Format,
    complete_dataset,
    configured_datasets,
    keep_output_clean,
    now,
    parse_as_of,
    print_rows,
    require_project,
)
from forecast.config.paths import ProjectPaths
from forecast.system.errors import (
    UNHEALTHY,
    DataError,
    ForecastError,
    InputError,
    plural,
    require_known,
)

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config.datasets import Dataset
    from forecast.data.ingest import FetchResult

DATASETS = typer.Argument(
    None,
    help="Entries of configs/datasets.yaml, with those they join; default: those of `run`.",
    autocompletion=complete_dataset,
)


def fetch(
    datasets: list[str] = DATASETS,
    as_of: str = AS_OF,
    allow_stale: bool = typer.Option(
        False, "--allow-stale", help="If a service fails, use the stored snapshot."
    ),
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Fetch new data into snapshots that the pipeline then reads; exits 3 if a service fails."""
    from forecast.config.datasets import load_datasets
    from forecast.data import ingest
    from forecast.data.columns import with_joined_datasets

    project = require_project(root)
    moment = parse_as_of(as_of)
    configs = project / "configs"
    configured = load_datasets(configs)
    names = with_joined_datasets(datasets or configured.run, configs)
    faults: list[DataError] = []
    every = {name: configured.datasets[name] for name in names}
    for name, settings in every.items():
        try:
            with keep_output_clean(output_format):
                _fetch_one(name, project, moment, settings)
        except DataError as error:  # the other datasets are fetched all the same
            row, _ = ingest.summarize(name, settings, root=project, now=now())
            snapshot = f"snapshot of {row.last} ({row.age} old)"
            if row.rows and allow_stale:
                print(f"{error}\nGoing on with the {snapshot}.", file=sys.stderr)
                continue
            advice = ""
            if row.rows:
                advice = f" The {snapshot} is untouched and usable (--allow-stale)."
            elif allow_stale:
                advice = " There is no older snapshot to go on with."
            faults.append(type(error)(f"{error}{advice}"))
    if output_format is Format.json:
        summaries = [
            ingest.summarize(name, settings, root=project, now=now())[0]
            for name, settings in every.items()
        ]
        print_rows([asdict(summary) for summary in summaries], output_format)
    if faults:
        worst = max(faults, key=attrgetter("exit_code"))
        raise type(worst)("\n".join(map(str, faults)))


def add(
    file: Path = typer.Argument(  # noqa: B008
        help="A CSV or Parquet in this project, such as data/mine.csv."
    ),
    name: str = typer.Option("", "--name", help="Name of the entry; by default that of the file."),
    target: str = typer.Option("", "--target", help="The column to forecast; by default guessed."),
    horizon: int | None = typer.Option(
        None, "--horizon", min=1, help="Steps to forecast; by default guessed from the times."
    ),
    root: Path | None = ROOT,
) -> None:
    """Guess and write the entry of configs/datasets.yaml for your own file, and take its data."""
    import yaml

    from forecast.config.datasets import Datasets
    from forecast.config.reading import validate_config
    from forecast.data.entries import add_entry
    from forecast.data.guesses.entry import guess_entry
    from forecast.data.sources.file import path_in_project
    from forecast.system import files

    project = require_project(root).resolve()
    if file.exists() and not file.is_absolute():
        file = file.resolve()
    path = path_in_project(project, file)
    if not path.is_file():
        raise InputError(
            f"{file}: no such file. Name a CSV or Parquet inside the project, such as"
            " data/mine.csv."
        )
    stem = path.name.partition(".")[0]
    # without the characters that the name of an entry may not have
    entry = name or re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:64] or "mine"
    config = ProjectPaths.of(project).datasets_yaml
    for known in configured_datasets(project):
        # on the disks of macOS and Windows names that differ in case alone are one folder
        if str(known).lower() == entry.lower():
            raise InputError(
                f"{config}: has an entry {known!r} already. New rows of its file: `forecast fetch"
                f" {known}`. To guess it anew, take it out of `datasets` and `run` first. Another"
                " file: give it another name with --name."
            )
    print("Reading the file; a million rows take about 20 s.", file=sys.stderr, flush=True)
    block = guess_entry(
        path, path.relative_to(project).as_posix(), entry, target=target, horizon=horizon
    )
    new_text = add_entry(config.read_text(encoding="utf-8"), entry, block)
    settings = validate_config(Datasets, yaml.safe_load(new_text), where=str(config)).datasets[
        entry
    ]
    print(block, end="")
    _fetch_new(entry, project, settings)
    # written last, so that after a failure the same command can be repeated
    files.write_text(config, new_text)
    _print_next_steps(entry, project)


def _fetch_new(entry: str, project: Path, settings: Dataset) -> None:
    """Fetch the data of a new entry.

    The `InputError` of a file that does not continue the stored rows of an earlier entry with this
    name explains that.
    """
    try:
        _fetch_one(entry, project, None, settings)
    except InputError as error:
        if not ProjectPaths.of(project).pointer(entry).exists():
            raise
        raise InputError(
            f"{error} Rows of an earlier entry {entry!r} are stored: a file that does not go on"
            " from them takes another name with --name."
        ) from None


def _print_next_steps(name: str, project: Path) -> None:
    """Print where the new entry was written, and what to do next."""
    print(
        f"Written to configs/datasets.yaml. If it is right: `forecast run --dataset {name}`.\n"
        f"Else correct it there, then `forecast fetch {name}`."
    )
    if (project / ".git").exists():
        print(
            "Git is told to leave your files below data/ out; their content is kept in"
            " data/snapshots/. For `forecast retrain` commit the project: `git add -A`, `git commit"
            f" -m 'Add {name}'`."
        )


def _fetch_one(name: str, project: Path, moment: pd.Timestamp | None, settings: Dataset) -> None:
    """Fetch one dataset as a snapshot, new or restored, print a report, and score the forecasts
    that were issued.
    """
    from forecast.data import ingest
    from forecast.data.sources import Request
    from forecast.system.progress import show_nothing, show_progress

    series = settings.source.series
    bar = show_progress(len(series), f"fetch {name}") if series else nullcontext(show_nothing)
    with bar as advance:
        request = Request(
            name,
            settings,
            project,
            as_of=moment,
            environment=dict(os.environ),
            advance=advance,
        )
        fetched = ingest.fetch_snapshot(request, now=now())
    report_fetch(name, fetched, project, settings.calendar.kind)
    _score_issued(name, settings, project)


def data(
    dataset: str = ONE_DATASET,
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Summarise the stored snapshot of each dataset: rows, range, gaps, freshness, digest, last
    revision.
    """
    from forecast.config.datasets import load_datasets
    from forecast.data import ingest
    from forecast.data.quality import format_violations

    project = require_project(root)
    datasets = load_datasets(project / "configs").datasets
    if dataset:
        require_known(dataset, datasets, "Unknown dataset")
        datasets = {dataset: datasets[dataset]}
    summaries = [
        ingest.summarize(name, settings, root=project, now=now())
        for name, settings in datasets.items()
    ]
    rows = [asdict(row) for row, _ in summaries]
    findings = []
    if output_format is Format.table:
        rows = [{key: _short_time(value) for key, value in row.items()} for row in rows]
        if dataset:
            rows = [{"what": key.replace("_", " "), "value": rows[0][key]} for key in rows[0]]
            findings = format_violations(summaries[0][1])
    print_rows(rows, output_format)
    for line in findings:
        print(line)
    if any(summary.rows is None for summary, _ in summaries):  # a snapshot cannot be read
        raise typer.Exit(UNHEALTHY)


def _score_issued(dataset: str, settings: Dataset, root: Path) -> None:
    """Score the issued forecasts whose actuals are known now; a fault is only printed, since the
    fetch itself succeeded.
    """
    from forecast.data import preparation
    from forecast.operations import live_accuracy

    try:
        if live_accuracy.read_issues(root, dataset).empty:
            return
        frame, _ = preparation.check_data(dataset, settings, root=root)
        live_accuracy.update_live_scores(root, dataset, frame)
    except (ForecastError, OSError) as error:
        print(f"  issued forecasts were not scored: {error}", file=sys.stderr)


def report_fetch(dataset: str, fetched: FetchResult, root: Path, kind: str) -> None:
    """Print what was fetched and what is wrong with it; kind: the calendar's."""
    from forecast.config.task import format_time
    from forecast.data import snapshots
    from forecast.data.quality import abridge_findings, describe_left_out

    verb = "restored" if fetched.is_restored else "taken"
    if fetched.is_unchanged:
        verb = "nothing new in"
    snapshot = fetched.pointer.snapshot
    new_rows = fetched.rows - fetched.rows_before
    record = snapshots.read_provenance(root, dataset)
    last = _short_time(record["last"])
    clock = " UTC" if ":" in last else ""
    moments = f"last observation {last}{clock}; as of {fetched.pointer.as_of} UTC"
    if kind == "index":
        moments = f"as of {format_time(kind, record['last'])}"
    rows = f"{plural(fetched.rows, 'row')}, {new_rows:+d}"
    if fetched.new_observations != new_rows and not fetched.is_restored:
        rows += f", observations {fetched.new_observations:+d}"
    print(f"{dataset}: {verb} {snapshot} ({rows}; {moments})")
    counts = fetched.revised["kind"].value_counts()
    changes = counts.drop("unanswered", errors="ignore")
    if not changes.empty:
        kinds = ", ".join(f"{count} {kind}" for kind, count in changes.items())
        table = Path(snapshot).with_suffix(".revisions.csv")
        print(f"  revised history, values: {kinds}; listed in {table}")
        _report_changed_units(dataset, fetched)
    if "unanswered" in counts:
        print(f"  kept, though the source ends before: {plural(counts['unanswered'], 'value')}")
    for series, reason in fetched.failed.items():
        outcome = "kept as it was" if series in record.get("series", ()) else "left out"
        print(f"  {series} {outcome}: {reason}", file=sys.stderr)
    if left_out := describe_left_out(fetched.findings):
        print(f"{dataset}: {left_out}")
    for line in abridge_findings(fetched.findings, dataset):
        print(f"  {line}", file=sys.stderr)


def _report_changed_units(dataset: str, fetched: FetchResult) -> None:
    """Print each column of which most values changed by one large factor."""
    changed = fetched.revised[fetched.revised["kind"] == "changed"]
    changed = changed[changed["before"] != 0].dropna()  # zeros and gaps have no unit
    for column, rows in changed.groupby("column"):
        factor = (rows["after"] / rows["before"]).median()
        if 2 * len(rows) > fetched.rows_before and not 1 / 3 < factor < 3:
            print(
                f"  The median one of {column!r} is {factor:.4g} times what it was. After a change"
                " of the unit a champion forecasts wrongly: `forecast run`, then"
                f" `forecast promote {dataset}`."
            )


def _short_time(value: Any) -> Any:
    """`2024-06-03` or `2024-06-03 21:00` of a text in ISO 8601; other values are unchanged."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
        return value[:16].replace("T", " ").removesuffix(" 00:00")
    return value
