"""`forecast run | sync | ui`: check, `dvc repro`, publish, leaderboard; what `make run` and `make ui` call. And
`forecast new`: a project of one's own that needs no clone, and its upgrade to the installed version.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import typer

from forecast.cli.check import all_of, checked
from forecast.cli.shown import CLUSTER, ROOT, require_project, tracking_uri, work_on
from forecast.config.paths import ProjectPaths
from forecast.operations import repro
from forecast.system import files
from forecast.system.bootstrap import RUN_LOCK
from forecast.system.files import locked, remove_leftovers
from forecast.system.processes import stop_on_signals
from forecast.system.stage import INTERRUPTED, JOBS_VARIABLE, default_jobs, duration

WRITTEN = ("data", "reports", "narrowed", ".forecast/memo", ".forecast/studies", ".forecast/cost")
"""What a run writes. Champions, issues and retrainings beside it are written by other processes, at any time."""


def run(
    root: Path = ROOT,
    jobs: int = typer.Option(0, "--jobs", min=0, max=1024, help="Worker processes; 0 is one for each core."),
    dataset: str = typer.Option("", "--dataset", help="Only this data set (an entry of configs/datasets.yaml)."),
    model: str = typer.Option("", "--model", help="Only these models, separated by commas; beside the pipeline."),
    place: str = CLUSTER,
) -> None:
    """Make what is out of date, publish it, show the leaderboard."""
    from forecast.report import page

    stop_on_signals()
    work_on(place)
    project = require_project(root).resolve()
    started, said = time.monotonic(), ""
    with locked(project / RUN_LOCK, what="`forecast run`"):
        try:
            _prepared(project)
            datasets, models = chosen(project, dataset, model)
            environment = {**os.environ, JOBS_VARIABLE: str(jobs or default_jobs(os.environ))}
            if models:
                places = [repro.narrowed(project, name, models, environment) for name in datasets]
            else:
                repro.repro(project, [f"compare@{name}" for name in datasets if dataset], environment)
                if not dataset and not ProjectPaths.of(project).report.exists():
                    # DVC gives back what a stage made before, but not the page, which is none of its outs.
                    page.write(ProjectPaths.of(project), datasets)
                said = published(project)
                places = [project]
        except KeyboardInterrupt:
            _remove_leftovers(project)
            print("\nInterrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
    _shown(places, datasets, whole=not dataset and not models, took=time.monotonic() - started)
    if said:
        print(said)


def chosen(root: Path, dataset: str, model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(datasets, models) that the two options name; `InputError` with the nearest name for an unknown one."""
    from forecast.config.datasets import load_dataset, load_datasets
    from forecast.config.experiment import load_models

    models = tuple(name.strip() for name in model.split(",") if name.strip())
    folder = ProjectPaths.of(root).configs
    load_models(folder).selected(models)
    if dataset:
        load_dataset(dataset, folder)
        return (dataset,), models
    return load_datasets(folder).run, models


def _prepared(root: Path) -> None:
    print("Checking configs and data", flush=True)
    faults = [error for *_, error in checked(root) if error is not None]
    if faults:
        raise all_of(faults)
    for path in _remove_leftovers(root):
        print(f"Removed {path.relative_to(root)}, left by an interrupted run", flush=True)
    files.clear_scratch()


def _remove_leftovers(root: Path) -> list[Path]:
    return [path for folder in WRITTEN for path in remove_leftovers(root / folder)]


def _shown(places: list[Path], datasets: tuple[str, ...], *, whole: bool, took: float) -> None:
    from forecast.report.leaderboard import show

    for place in places:
        show(ProjectPaths.of(place), datasets if len(places) == 1 else (place.name.partition("-")[0],))
    print(f"Took {duration(took)}")
    if whole:
        print("Report: reports/report.html (and reports/leaderboard.csv)")


def sync(root: Path = ROOT) -> None:
    """Publish the last run to MLflow, whatever is there."""
    typer.echo(published(require_project(root)))


def ui(
    root: Path = ROOT,
    port: int = typer.Option(5000, "--port", min=1, max=65_535, help="Of this machine, which alone sees it."),
) -> None:
    """Open MLflow's pages on 127.0.0.1."""
    from forecast.tracking import place

    store = place(require_project(root), tracking_uri()).uri
    if store.startswith("http"):
        print(f"MLflow runs at {store} (MLFLOW_TRACKING_URI).")
        return
    server = f"mlflow ui --workers 1 --host 127.0.0.1 --port {port} --backend-store-uri".split()
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *server, store], {**os.environ, **quiet})  # noqa: S606


def published(root: Path) -> str:
    """Publishes; says what was done and where the leaderboards are in MLflow's pages."""
    from forecast.tracking import sync as publish

    done = publish(root, tracking_uri(), now=time.time(), revision=revision(root))
    counts = f"MLflow: {len(done.made)} runs made, {done.unchanged} already there, {len(done.set_aside)} set aside."
    pages = [f"  {name}: http://127.0.0.1:5000{page}" for name, page in sorted(done.pages.items())]
    return "\n".join([counts, *(["After `forecast ui` the leaderboards are at", *pages] if pages else [])])


def revision(root: Path) -> str:
    """The git commit of `root`, with `-dirty` when the working tree differs; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


PIPELINE = ("dvc", "mlflow", "tensorflow")
"""What a run imports and the core of the package does without."""


def new(
    directory: Path = typer.Argument(help="An empty or new folder."),  # noqa: B008  (how typer wants it)
    upgrade: bool = typer.Option(False, "--upgrade", help="Bring the stages of a project to the installed version."),
) -> None:
    """Make a project with configs, stages and the embedded data, on which `dvc repro` runs at once."""
    from forecast.api import new_project

    if upgrade:
        changed = new_project.upgrade(directory)
        print(changed or f"{directory} has the stages of the installed version already.", end="" if changed else "\n")
        return
    made = new_project.create(directory)
    print(f"{directory}: {len(made)} files. The datasets and models stand in configs/, the stages in dvc.yaml.")
    missing = [name for name in PIPELINE if importlib.util.find_spec(name) is None]
    if missing:
        print(f"A run needs {' and '.join(missing)}: `pip install 'rolling-forecast[pipeline]'`.")
    # how this command was started, so that the next one can be typed
    started = "forecast" if Path(sys.argv[0]).name == "forecast" else f"{sys.executable} -m forecast"
    print(f"Next:\n  cd {directory}\n  {started} run      # data, tuning, training, comparison, report")
    print("Your own data: an entry in configs/datasets.yaml, then `forecast fetch`, then the same command.")
