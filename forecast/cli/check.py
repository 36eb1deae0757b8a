"""`forecast check | models | audit`: the configurations, what they train, and leaks in what they
make.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer

from forecast.cli.shown import CLUSTER, FORMAT, ROOT, Format, require_project, show, work_on
from forecast.config.paths import ProjectPaths
from forecast.system.errors import ForecastError, InputError, counted
from forecast.system.stage import default_jobs


def check(
    dataset: str = typer.Argument(
        "", help="Only the data of this entry of configs/datasets.yaml, in `run` or not."
    ),
    root: Path = ROOT,
    form: Format = FORMAT,
) -> None:
    """Check all configs, names and data, and name every fault."""
    findings = list(checked(require_project(root), dataset))
    show([{"what": name, "found": found} for name, found, _ in findings], form)
    faults = [error for *_, error in findings if error is not None]
    if faults:
        raise all_of(faults)


def checked(root: Path, dataset: str = "") -> Iterator[tuple[str, str, ForecastError | None]]:
    """(what, finding, error or None) for each thing that can be wrong; of the data, those that run
    or of `dataset`.
    """
    from forecast.config.datasets import load_dataset

    datasets = None
    for name, read in configs(root).items():
        found, error = _tried(read)
        if name == "datasets.yaml":
            datasets = found
        names = found if isinstance(found, dict) else getattr(found, "run", None)
        right = f"right: {', '.join(names)}" if names else "right"
        yield f"configs/{name}", "wrong" if error else right, error
    if datasets is None:
        return
    if dataset:
        # an unknown name is answered with the nearest one
        load_dataset(dataset, ProjectPaths.of(root).configs)
    for name in (dataset,) if dataset else datasets.run:
        frame, error = _tried(partial(_data, name, datasets.datasets[name], root))
        kind = datasets.datasets[name].calendar.kind
        yield f"dataset {name}", "wrong" if error else _span(frame, kind), error


def _data(name: str, dataset: Any, root: Path) -> Any:
    """The prepared frame, whose series are long enough for their blocks and fit their
    transforms.
    """
    from forecast.data import preparation
    from forecast.data.scaling import check_transforms
    from forecast.data.splits import borders_of

    frame = preparation.check_data(name, dataset, root=root)
    borders_of(frame, name, dataset)
    check_transforms(frame, dataset.task)
    return frame


def configs(root: Path) -> dict[str, Callable[[], Any]]:
    """File name → what reads it, for every file below configs/; those only operations read may be
    absent.
    """
    from forecast.config.datasets import load_datasets
    from forecast.config.experiment import load_evaluation, load_models, load_tuning
    from forecast.config.operation import check_retraining, load_schedule

    folder = ProjectPaths.of(root).configs
    optional: dict[str, Callable[[], Any]] = {
        "schedule.yaml": lambda: load_schedule(folder),
        "retraining.yaml": lambda: check_retraining(load_datasets(folder).datasets, folder),
    }
    return {
        "datasets.yaml": lambda: load_datasets(folder),
        "models.yaml": lambda: load_specs(load_models(folder), folder),
        "tuning.yaml": lambda: load_tuning(folder),
        "evaluation.yaml": lambda: load_evaluation(folder),
        **{name: read for name, read in optional.items() if (folder / name).exists()},
    }


def load_specs(models: Any, folder: Path) -> dict[str, Any]:
    """Every entry of configs/models.yaml as its family's spec; the grid must have the reference of
    all scores.
    """
    from forecast.config.experiment import NAIVE
    from forecast.models import spec

    place = folder / "models.yaml"
    if NAIVE not in models.fitted_entries():
        found = ", ".join(models.fitted_entries())
        raise InputError(
            f"{place}: grids.{models.grid}: found {found}; wanted `{NAIVE}` as well, which every"
            f" score is taken against. Add it to the list, and `{NAIVE}: {{family: naive}}` to"
            " `models`."
        )
    every = tuple(models.models)
    if odd := [name for name in every if "/" in name or name in (".", "..")]:
        raise InputError(
            f"{place}: model name {odd[0]!r}: wanted the name of a folder, one without `/`."
            " Rename it."
        )
    fitted = models.fitted_entries(every).items()
    shared = {"training": models.training, "refit": models.refit}
    specs: dict[str, Any] = {
        name: spec(entry, where=f"{place}: {name}", **shared) for name, entry in fitted
    }
    return {**specs, **models.combinations(every)}


def _tried(read: Callable[[], Any]) -> tuple[Any, ForecastError | None]:
    try:
        return read(), None
    except ForecastError as error:
        return None, error


def _span(frame: Any, kind: str) -> str:
    from forecast.config.task import format_time

    first, last = (
        format_time(kind, moment.isoformat(), 10)
        for moment in (frame["ds"].min(), frame["ds"].max())
    )
    return (
        f"right: {counted(len(frame), 'row')} of {frame['unique_id'].nunique()} series, {first} to"
        f" {last}"
    )


def all_of(faults: list[ForecastError]) -> ForecastError:
    """One error with every message; the exit code of the first, for what the user can repair stands
    first.
    """
    return type(faults[0])("\n".join(map(str, faults)))


def models(
    root: Path = ROOT,
    form: Format = FORMAT,
    every: bool = typer.Option(
        False, "--all", help="Families as well that configs/models.yaml does not use."
    ),
) -> None:
    """List the models and what they are; `--format json` adds equation and source."""
    rows = catalogue(require_project(root))
    if every:
        from forecast.models import catalogue as families

        used = {row["family"] for row in rows}
        rows += [
            _row("", family, name, False) for name, family in families().items() if name not in used
        ]
    if form is Format.table:  # equation and source would leave a terminal no room
        rows = [
            {key: row[key] for key in ("model", "in_run", "family", "kind", "summary")}
            for row in rows
        ]
    show(rows, form)


def catalogue(root: Path) -> list[dict[str, str]]:
    """One row per entry of configs/models.yaml: first those of the grid that a run compares, in its
    order.
    """
    from forecast.config.experiment import load_models

    folder = ProjectPaths.of(root).configs
    models = load_models(folder)
    specs = load_specs(models, folder)
    grid = [*models.fitted_entries(), *models.combinations()]
    order = [*grid, *(name for name in specs if name not in grid)]
    return [_row(name, type(specs[name]), specs[name].family, name in grid) for name in order]


def _row(name: str, family: type, family_name: str, in_run: bool) -> dict[str, str]:
    described = {key: getattr(family, key, "") for key in ("kind", "summary", "equation", "source")}
    return {"model": name, "in_run": "yes" if in_run else "", "family": family_name, **described}


def audit(
    dataset: str = typer.Argument(help="The data set whose pipeline is examined."),
    models: str = typer.Option("", "--model", help="Only these models, separated by commas."),
    jobs: int = typer.Option(
        0, "--jobs", min=0, max=1024, help="Worker processes.", show_default="as many as cores"
    ),
    root: Path = ROOT,
    form: Format = FORMAT,
    place: str = CLUSTER,
) -> None:
    """Look for leaks in a pipeline. Exits 1 when one is found."""
    work_on(place)
    project = require_project(root).resolve()
    command = [
        sys.executable,
        "-m",
        "forecast.audit",
        dataset,
        "--root",
        str(project),
        "--models",
        models,
    ]
    command += ["--jobs", str(jobs or default_jobs(os.environ))]
    command += ["--json", "--quiet"] if form is Format.json else []
    raise typer.Exit(subprocess.run(command, cwd=project, check=False).returncode)
