"""`forecast check | models | audit`: checks configurations and data, lists models, looks for leaks.

`check` reads the files of configs/ but experiments.yaml, which `forecast identify` checks, and the
data of the datasets that run, and reports all faults as one error; nothing is fetched or written.
`forecast run` begins with nearly the same checks (`check_before_run`). `audit` runs
`forecast.audit` in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.common import (
    CLUSTER,
    DATASET,
    FORMAT,
    ONE_DATASET,
    ROOT,
    Cell,
    Format,
    keep_output_clean,
    print_rows,
    require_project,
    use_cluster,
)
from forecast.config.paths import ProjectPaths
from forecast.system import files
from forecast.system.errors import ForecastError, InputError, plural, require_known, with_minus
from forecast.system.processes import die_with_parent, end_children
from forecast.system.stage import default_jobs

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config.datasets import Dataset
    from forecast.config.models import Combination, Models
    from forecast.data.roles import ColumnRole
    from forecast.models.base import ModelSpec

MOST_NAMED = 5
"""How many names a line of `check` lists at most."""
OPERATION_FILES = ("schedule.yaml", "retraining.yaml")
"""Optional files of configs/ that `check` reads and a run does not."""
DESCRIPTIONS = ("kind", "summary", "equation", "source")
"""Attributes of a model family that `models` prints."""


def check(
    dataset: str = ONE_DATASET,
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Check all configs, names and data, and name every fault.

    With DATASET, also print the role of each of its columns and the reason for it.
    """
    with keep_output_clean(output_format):
        checks = list(check_project(require_project(root), dataset))
    rows: list[dict[str, Any]] = [
        {"what": check.subject, "found": check.finding} for check in checks
    ]
    roles = [asdict(role) for check in checks for role in check.roles] if dataset else []
    if roles and output_format is Format.json:
        rows[-1]["columns"] = roles
    print_rows(rows, output_format)
    if roles and output_format is not Format.json:
        print_rows([role | {"data": with_minus(role["data"])} for role in roles], output_format)
    raise_faults(checks)


@dataclass(frozen=True)
class Check:
    """The check of a configuration file or a dataset."""

    subject: str
    """The file or dataset."""
    finding: str
    """A summary of its content, or `wrong`."""
    fault: ForecastError | None = None
    roles: tuple[ColumnRole, ...] = ()
    """The roles of a dataset's columns."""


def check_before_run(root: Path, dataset: str) -> Iterator[Check]:
    """The checks before a run: as `check_project`, but faults of `OPERATION_FILES` are only
    printed, a data file that is gone or changed since its snapshot is a fault, and no rule of
    `quality` is applied, since stage `prepare` applies them. dataset: empty for all of `run`.
    """
    not_needed = [f"configs/{name}" for name in OPERATION_FILES]
    for check in check_project(root, dataset, files_may_differ=False):
        if check.subject not in not_needed:
            yield check
        elif check.fault:
            print(f"This run does not need it, but: {check.fault}", file=sys.stderr)


def check_project(
    root: Path, dataset: str = "", *, files_may_differ: bool = True
) -> Iterator[Check]:
    """Check every file of `config_readers`, then the data of all datasets under `run`, or of
    `dataset` alone.

    files_may_differ: as in `read_data`.
    """
    from forecast.data.roles import describe_roles

    datasets = None
    for name, read in config_readers(root).items():
        try:
            content = read(ProjectPaths.of(root).configs)
        except ForecastError as fault:
            yield Check(f"configs/{name}", "wrong", fault)
            continue
        finding = _list_names(content)
        if name == "datasets.yaml":
            datasets = content
            if n_others := len(content.datasets) - len(content.run):
                finding += f"; not in `run`, so their data are not checked: {n_others}"
        yield Check(f"configs/{name}", finding)
    if datasets is None:
        return
    names = datasets.run
    if dataset:
        require_known(dataset, datasets.datasets, "Unknown dataset")
        names = (dataset,)
    for name in names:
        settings = datasets.datasets[name]
        try:
            frame, n_not_scored = read_data(name, settings, root, files_may_differ=files_may_differ)
        except ForecastError as fault:
            yield Check(f"dataset {name}", "wrong", fault)
        else:
            finding = _describe_rows(frame, settings.calendar.kind, n_not_scored)
            roles = tuple(describe_roles(frame, settings))
            yield Check(f"dataset {name}", finding, roles=roles)


def raise_faults(checks: Sequence[Check]) -> None:
    """Raise one error with the messages of all faults, if there are any.

    It is of the class of the first fault, in the order of the checks: those of configurations and
    files, which the user can repair, come before those of the data.
    """
    faults = [check.fault for check in checks if check.fault is not None]
    if faults:
        raise type(faults[0])("\n".join(dict.fromkeys(map(str, faults))))


def _list_names(content: Any) -> str:
    """`right: stocks, weather`, `right: 64 entries` for more than `MOST_NAMED` names, or `right`
    for a file without names.
    """
    names = content if isinstance(content, dict) else getattr(content, "run", None)
    if not names:
        return "right"
    if len(names) > MOST_NAMED:
        return f"right: {len(names)} entries"
    return f"right: {', '.join(names)}"


def read_data(
    name: str, dataset: Dataset, root: Path, *, files_may_differ: bool
) -> tuple[pd.DataFrame, int]:
    """Check a dataset and print what was noticed; returns its prepared frame, and the number of
    series that a run does not score.

    files_may_differ: a source file that changed since its snapshot, such as one that grows every
    day, is only noted, but one that was fetched on this machine must exist. Otherwise a changed or
    missing file is a fault (`preparation.check_data`). Raises a `ForecastError` for a fault, also
    in the grid that the entry names.
    """
    import pandas as pd

    from forecast.config.models import load_models
    from forecast.data import preparation, quality, snapshots
    from forecast.data.scaling import check_transforms
    from forecast.data.splits import borders_of
    from forecast.operations.worktree import require_source_files

    if dataset.grid:
        folder = ProjectPaths.of(root).configs
        load_specs(load_models(folder, dataset.grid), folder)
    if files_may_differ and ProjectPaths.of(root).fetch_note(name).exists():
        require_source_files(root, dataset.source.files)
    as_of = None
    if files_may_differ:
        as_of = pd.Timestamp(snapshots.read_pointer(root, name).as_of)
    frame, findings = preparation.check_data(
        name, dataset, root=root, files_may_differ=files_may_differ, as_of=as_of
    )
    if changed := preparation.describe_changed_files(name, dataset, root):
        print(f"{name}: {changed} `forecast fetch {name}` takes the new one.", file=sys.stderr)
    findings += borders_of(frame, name, dataset)[1]
    if table := quality.describe_left_out(findings):
        print(f"{name}: {table}")
    findings += preparation.find_unplanned(frame, dataset)
    for line in quality.abridge_findings(findings, name):
        print(f"{name}: {line}")
    check_transforms(frame, dataset.task)
    return frame, len(
        {finding.series for finding in findings if finding.action in quality.CONSEQUENCES}
    )


def config_readers(root: Path) -> dict[str, Callable[[Path], Any]]:
    """File of configs/ → the function that reads and checks it, called with the folder; without
    experiments.yaml.

    Files of `OPERATION_FILES` are left out where they do not exist.
    """
    from forecast.cli.operation import load_jobs
    from forecast.config.datasets import load_datasets
    from forecast.config.models import load_evaluation, load_models, load_tuning
    from forecast.config.operation import check_retraining

    def read_models(folder: Path) -> dict[str, ModelSpec | Combination]:
        return load_specs(load_models(folder), folder)

    def read_retraining(folder: Path) -> None:
        check_retraining(load_datasets(folder).datasets, folder)

    readers: dict[str, Callable[[Path], Any]] = {
        "datasets.yaml": load_datasets,
        "models.yaml": read_models,
        "tuning.yaml": load_tuning,
        "evaluation.yaml": load_evaluation,
        "schedule.yaml": load_jobs,
        "retraining.yaml": read_retraining,
    }
    for name in OPERATION_FILES:
        if not (ProjectPaths.of(root).configs / name).exists():
            del readers[name]
    return readers


def load_specs(models: Models, folder: Path) -> dict[str, ModelSpec | Combination]:
    """Entry of configs/models.yaml → its family's spec, or the combination.

    Raises `InputError` for a wrong entry, and for a grid without the naive model, with which all
    scores are compared.
    """
    from forecast.config.models import NAIVE
    from forecast.models import spec

    path = folder / "models.yaml"
    if NAIVE not in models.entries_to_fit():
        names = ", ".join(models.entries_to_fit())
        raise InputError(
            f"{path}: grids.{models.grid}: found {names}; wanted `{NAIVE}` as well, which every"
            f" score is compared with. Add it to the list, and `{NAIVE}: {{family: naive}}` to"
            " `models`."
        )
    all_names = tuple(models.models)
    for name in all_names:
        if "/" in name or name in (".", ".."):
            raise InputError(
                f"{path}: model name {name!r}: wanted the name of a folder, one without `/`."
                " Rename it."
            )
    specs: dict[str, ModelSpec | Combination] = {}
    for name, entry in models.entries_to_fit(all_names).items():
        where = f"{path}: {name}"
        specs[name] = spec(entry, where=where, training=models.training, refit=models.refit)
    return {**specs, **models.combinations(all_names)}


def _describe_rows(frame: pd.DataFrame, kind: str, n_not_scored: int) -> str:
    """`right: 900 rows of 3 series, 2020-01-01 to 2022-06-18; 1 series not scored`.

    kind: the calendar's.
    """
    from forecast.config.task import format_time

    first = format_time(kind, frame["ds"].min().isoformat(), 10)
    last = format_time(kind, frame["ds"].max().isoformat(), 10)
    n_series = frame["unique_id"].nunique()
    text = f"right: {plural(len(frame), 'row')} of {n_series} series, {first} to {last}"
    return f"{text}; {n_not_scored} series not scored" if n_not_scored else text


def models(
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """List the models and what they are; `--format json` adds equation and source."""
    rows = model_rows(require_project(root))
    if output_format is Format.table:  # a terminal has no room for equation and source
        for row in rows:
            del row["equation"], row["source"]
    print_rows(rows, output_format)


def model_rows(root: Path) -> list[dict[str, Cell]]:
    """A row per entry of configs/models.yaml: first those that a run compares (`in_run` is `yes`),
    in their order, then the others.
    """
    from forecast.config.models import load_models

    folder = ProjectPaths.of(root).configs
    models = load_models(folder)
    specs = load_specs(models, folder)
    grid = [*models.entries_to_fit(), *models.combinations()]
    others = [name for name in specs if name not in grid]
    rows: list[dict[str, Cell]] = []
    for name in [*grid, *others]:
        family = type(specs[name])
        row = {"model": name, "in_run": "yes" if name in grid else "", "family": specs[name].family}
        descriptions = {key: getattr(family, key, "") for key in DESCRIPTIONS}
        rows.append({**row, **descriptions})
    return rows


def audit(
    dataset: str = DATASET,
    models: str = typer.Option("", "--model", help="Only these models, separated by commas."),
    jobs: int = typer.Option(
        0, "--jobs", min=0, max=1024, help="Worker processes.", show_default="as many as cores"
    ),
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
    cluster: str = CLUSTER,
) -> None:
    """Look for leaks in a pipeline. Exits 5 if one is found, or if the run is out of date."""
    use_cluster(cluster)
    project = require_project(root).resolve()
    command = [sys.executable, "-m", "forecast.audit", dataset, "--root", str(project)]
    command += ["--models", models, "--jobs", str(jobs or default_jobs(os.environ))]
    if output_format is Format.json:
        command += ["--json"]
    try:
        with subprocess.Popen(command, cwd=project, preexec_fn=die_with_parent) as process:
            raise typer.Exit(process.wait())
    except KeyboardInterrupt:
        end_children()
        raise
    finally:
        files.clear_scratch()  # the copies of an audit that was interrupted or killed
