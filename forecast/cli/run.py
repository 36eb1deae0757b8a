"""`forecast run | sync | ui`: check, `dvc repro`, publish, leaderboard; what `make run` and `make
ui` call. Before it `forecast new`, a project of one's own that needs no clone, and its upgrade to
the installed version; after it `forecast compare A B`, two models of the last run in words, with
the tests that were made.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.check import all_of, checked
from forecast.cli.shown import CLUSTER, FORMAT, ROOT, Format, require_project, tracking_uri, work_on
from forecast.config.paths import ProjectPaths
from forecast.operations import repro
from forecast.system import files
from forecast.system.bootstrap import RUN_LOCK
from forecast.system.errors import InputError, closest, quote_names
from forecast.system.files import locked, remove_leftovers
from forecast.system.processes import stop_on_signals
from forecast.system.stage import INTERRUPTED, JOBS_VARIABLE, default_jobs, duration

if TYPE_CHECKING:
    from forecast.data.comparison_records import PairedTest
    from forecast.data.results import Results, Row

WRITTEN = ("data", "reports", "narrowed", ".forecast/memo", ".forecast/studies", ".forecast/cost")
"""What a run writes. Champions, issues and retrainings beside it are written by other processes, at
any time.
"""


def run(
    root: Path = ROOT,
    jobs: int = typer.Option(
        0, "--jobs", min=0, max=1024, help="Worker processes; 0 is one for each core."
    ),
    dataset: str = typer.Option(
        "", "--dataset", help="Only this data set (an entry of configs/datasets.yaml)."
    ),
    model: str = typer.Option(
        "", "--model", help="Only these models, separated by commas; beside the pipeline."
    ),
    place: str = CLUSTER,
) -> None:
    """Make what is out of date, publish it, show the leaderboard."""
    from forecast.report import page
    from forecast.report.leaderboard import show

    stop_on_signals()
    work_on(place)
    project = require_project(root).resolve()
    started = time.monotonic()
    made: list[tuple[ProjectPaths, Sequence[str], Path]] = []
    with locked(project / RUN_LOCK, what="`forecast run`"):
        try:
            _prepared(project, dataset)
            datasets, models = chosen(project, dataset, model)
            environment = {**os.environ, JOBS_VARIABLE: str(jobs or default_jobs(os.environ))}
            if models:
                for name in datasets:
                    paths = ProjectPaths.of(repro.run_narrowed(project, name, models, environment))
                    made.append((paths, [name], page.write(paths, [name])))
            else:
                paths = ProjectPaths.of(project)
                repro.run_dvc(
                    project, [f"compare@{name}" for name in datasets if dataset], environment
                )
                report = paths.report
                # DVC gives back what a stage made before, but not the page, which is none of its
                # outs.
                if dataset or not report.exists():
                    report = page.write(paths, datasets, paths.reports / dataset)
                made.append((paths, datasets, report))
                print(published(project))
        except KeyboardInterrupt:
            _remove_leftovers(project)
            print(
                "\nInterrupted. What was finished is kept; the same command goes on from there.",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None
    for paths, names, _ in made:
        show(paths, names)
    print(f"Took {duration(time.monotonic() - started)}")
    for *_, report in made:
        print(f"Report: {report.relative_to(project)} (and leaderboard.csv beside it)")


def chosen(root: Path, dataset: str, model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(datasets, models) that the two options name; `InputError` with the nearest name for an
    unknown one, and for a data set without stages of its own.
    """
    from forecast.config.datasets import load_dataset, load_datasets
    from forecast.config.experiment import load_models

    models = tuple(name.strip() for name in model.split(",") if name.strip())
    folder = ProjectPaths.of(root).configs
    load_models(folder).fitted_entries(models)
    datasets = load_datasets(folder).run
    if not dataset:
        return datasets, models
    load_dataset(dataset, folder)
    if dataset not in datasets and not models:
        wanted = ", ".join((*datasets, dataset))
        raise InputError(
            f"configs/datasets.yaml: only entries in `run` have stages. Write `run: [{wanted}]`."
        )
    return (dataset,), models


def _prepared(root: Path, dataset: str) -> None:
    from forecast.api import packaged

    print(
        "\n".join(filter(None, (packaged.outdated(root), "Checking configs and data"))), flush=True
    )
    faults = [error for *_, error in checked(root, dataset) if error is not None]
    if faults:
        raise all_of(faults)
    for path in _remove_leftovers(root):
        print(f"Removed {path.relative_to(root)}, left by an interrupted run", flush=True)
    files.clear_scratch()


def _remove_leftovers(root: Path) -> list[Path]:
    return [path for folder in WRITTEN for path in remove_leftovers(root / folder)]


def sync(root: Path = ROOT) -> None:
    """Publish the last run to MLflow, whatever is there."""
    typer.echo(published(require_project(root)))


def ui(
    root: Path = ROOT,
    port: int = typer.Option(
        5000, "--port", min=1, max=65_535, help="Of this machine, which alone sees it."
    ),
) -> None:
    """Open MLflow's pages on 127.0.0.1."""
    from forecast.tracking.tracking_store import hide_password, tracking_store

    store = tracking_store(require_project(root), tracking_uri()).uri
    if store.startswith("http"):
        print(f"MLflow runs at {hide_password(store)} (MLFLOW_TRACKING_URI).")
        return
    server = f"mlflow ui --workers 1 --host 127.0.0.1 --port {port} --backend-store-uri".split()
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *server, store], {**os.environ, **quiet})  # noqa: S606


def published(root: Path) -> str:
    """Publishes; says what was done and where the leaderboards are in MLflow's pages."""
    from forecast import tracking
    from forecast.tracking.tracking_store import hide_password

    done = tracking.sync(root, tracking_uri(), now=time.time(), revision=revision(root))
    counts = (
        f"MLflow: {len(done.made)} runs made, {done.unchanged} already there, {len(done.set_aside)}"
        " set aside."
    )
    server = hide_password(tracking.tracking_store(root, tracking_uri()).uri)
    head, at = "After `forecast ui` the leaderboards are at", "http://127.0.0.1:5000"
    if server.startswith("http"):
        head, at = "The leaderboards are at", server.rstrip("/")
    pages = [f"  {name}: {at}{page}" for name, page in sorted(done.pages.items())]
    return "\n".join([counts, *([head, *pages] if pages else [])])


def revision(root: Path) -> str:
    """The git commit of `root`, with `-dirty` when the working tree differs; empty outside a
    repository.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


PIPELINE = ("dvc", "mlflow", "tensorflow")
"""What a run imports and the core of the package does without."""


def new(
    directory: Path = typer.Argument(help="An empty or new folder."),  # noqa: B008  (how typer wants it)
    upgrade: bool = typer.Option(
        False, "--upgrade", help="Bring the stages of a project to the installed version."
    ),
) -> None:
    """Make a project with configs, stages and the embedded data, on which `dvc repro` runs at
    once.
    """
    from forecast.api import packaged

    if upgrade:
        changed = packaged.upgrade_project(directory)
        print(
            changed or f"{directory} has the stages of the installed version already.",
            end="" if changed else "\n",
        )
        return
    made = packaged.create_project(directory)
    print(
        f"{directory}: {len(made)} files. The datasets and models stand in configs/, the stages in"
        " dvc.yaml."
    )
    missing = [name for name in PIPELINE if importlib.util.find_spec(name) is None]
    if missing:
        print(f"A run needs {' and '.join(missing)}: `pip install 'rolling-forecast[pipeline]'`.")
    # how this command was started, so that the next one can be typed
    started = (
        "forecast" if sys.argv[0] == shutil.which("forecast") else f"{sys.executable} -m forecast"
    )
    print(
        f"Next:\n  cd {directory}\n  {started} run      # data, tuning, training, comparison,"
        " report"
    )
    print(
        f"Your own data: `{started} add data/mine.csv` writes its entry into configs/datasets.yaml;"
        " then the same."
    )


FAMILIES = {
    "naive": "all against naive",
    "skip": "each against its skip",
    "best": "all against the best",
}


def compare(
    a: str = typer.Argument(help="A model of the leaderboard."),
    b: str = typer.Argument(help="Another one."),
    dataset: str = typer.Option("", "--dataset", help="Only on this data set."),
    root: Path = ROOT,
    form: Format = FORMAT,
) -> None:
    """Compare two models of the last run, in words."""
    found = comparisons(require_project(root), a, b, dataset)
    if form is Format.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for one in found:
        print(f"{one['dataset']}, {titles()[one['ranking']]}: {headline(one)}")
        for sentence in one["sentences"]:
            print(f"  {sentence}")


def comparisons(root: Path, a: str, b: str, dataset: str = "") -> list[dict[str, Any]]:
    """Every dataset and ranking in which both models stand; `InputError` when there is none.

    `difference`: (error of a - error of b) / error of b; below 0, a is better; None where b makes
    no error. `metric` is mae, or mase where a dataset has several series, whose units must not be
    pooled. `sentences`: what was tested.
    """
    from forecast.data.results import Results, read_leaderboard

    paths = ProjectPaths.of(root)
    rows = read_leaderboard(paths, dataset)
    _require(a, {row["model"] for row in rows}, "model")
    _require(b, {row["model"] for row in rows}, "model")
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    if dataset:
        _require(dataset, set(datasets), "dataset")
        datasets = [dataset]
    of = {name: [row for row in rows if row["dataset"] == name] for name in datasets}
    found = [one for name, own in of.items() for one in _on(Results(paths, name), a, b, own)]
    if not found:
        raise InputError(
            f"{a!r} and {b!r} stand in no ranking together with a result. See reports/report.html."
        )
    return found


def headline(one: dict[str, Any]) -> str:
    """`lstm 1.291 against naive 2.160 in test MAE: 40.2 % lower.`"""
    a, b = (f"{one[name]} {one[f'error_{name}']:.4g}" for name in ("a", "b"))
    share = "" if one["difference"] is None else f"{abs(one['difference']):.1%} ".replace("%", " %")
    word = f"{share}{'lower' if one['error_a'] < one['error_b'] else 'higher'}"
    return (
        f"{a} against {b} in test {one['metric'].upper()}:"
        f" {'equal' if one['error_a'] == one['error_b'] else word}."
    )


def titles() -> dict[str, str]:
    """The rankings as a reader knows them."""
    from forecast.data.results import BASELINE, RANKING_TITLES

    return {**RANKING_TITLES, BASELINE: "baselines"}


def _on(results: Results, a: str, b: str, rows: list[Row]) -> list[dict[str, Any]]:
    tests = results.verdicts.tests if results.compared else ()
    found = []
    for ranking in titles():
        row_a, row_b = _row(rows, a, ranking), _row(rows, b, ranking)
        # Baselines stand in both rankings: two of them are compared once.
        if row_a is None or row_b is None or (row_a["ranking"] == row_b["ranking"] != ranking):
            continue
        metric = "mae" if row_a["mae"] and row_b["mae"] else "mase"
        errors = {"error_a": float(row_a[metric]), "error_b": float(row_b[metric])}
        share = errors["error_a"] / errors["error_b"] - 1 if errors["error_b"] else None
        said = {"difference": share, "sentences": _sentences(tests, a, b, ranking)}
        found.append(
            {
                "dataset": results.name,
                "ranking": ranking,
                "a": a,
                "b": b,
                "metric": metric,
                **errors,
                **said,
            }
        )
    return found


def _row(rows: list[Row], model: str, ranking: str) -> Row | None:
    own = [row for row in rows if row["model"] == model and row["ranking"] in (ranking, "baseline")]
    known = [row for row in own if row["status"] == "ok" and (row["mae"] or row.get("mase"))]
    return next((row for seed in ("mean", "0") for row in known if row["seed"] == seed), None)


def _sentences(tests: Sequence[PairedTest], a: str, b: str, ranking: str) -> list[str]:
    """The tests of one pair in words."""
    sentences = []
    for test in tests:
        if {test.model, test.against} != {a, b} or test.ranking not in (ranking, "baseline"):
            continue
        numbers = []
        if test.relative_difference is not None:
            numbers.append(f"{test.relative_difference:+.1%}")
        if test.p_holm is not None:
            numbers.append(f"p {test.p_holm:.3g} after Holm among {FAMILIES[test.family]}")
        size = f" ({', '.join(numbers)})" if numbers else ""
        sentences.append(f"{test.model} against {test.against}: {test.word}{size}.")
    return sentences or ["This pair was not tested: a difference of the means alone says little."]


def _require(name: str, known: set[str], what: str) -> None:
    if name not in known:
        raise InputError(
            f"Unknown {what} {name!r}.{closest(name, known)} In the leaderboard:"
            f" {quote_names(known)}."
        )
