"""`forecast run | sync | ui | new | compare`: makes a project, runs its pipeline, publishes results
to MLflow, and compares two models in words.

`run` checks the project, calls `dvc repro`, publishes, and prints the leaderboard; only one run of
a project at a time. `run --model` runs a few models beside the pipeline and publishes nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forecast.cli.check import check_before_run, raise_faults
from forecast.cli.common import (
    CLUSTER,
    FORMAT,
    ROOT,
    Cell,
    Format,
    complete_dataset,
    keep_output_clean,
    print_rows,
    require_project,
    tracking_uri,
    use_cluster,
)
from forecast.config.paths import ProjectPaths
from forecast.config.usual_names import require_model
from forecast.system import files
from forecast.system.addresses import hide_parts, public_address
from forecast.system.bootstrap import RUN_LOCK
from forecast.system.errors import InputError, require_known, with_minus
from forecast.system.files import hold_lock, remove_leftovers
from forecast.system.processes import require_unix, return_memory, run_git
from forecast.system.progress import format_duration
from forecast.system.stage import JOBS_VARIABLE, default_jobs, split_names

if TYPE_CHECKING:
    import pandas as pd

    from forecast.data.results import Results
    from forecast.tracking import SyncResult

FINISHED_WORK = (".forecast/memo", ".forecast/studies", ".forecast/shapes", ".forecast/cost")
"""Caches of finished work, which later runs use."""
FOLDERS_OF_A_RUN: Mapping[str, tuple[str, ...]] = {
    "data": ("snapshots", "pointers", "identified"),
    **dict.fromkeys(("reports", "narrowed", *FINISHED_WORK), ()),
}
"""The folders that a run writes to, each with those in it that others write to meanwhile (`forecast
fetch`, `forecast identify`), which remove what was left there themselves. `forecast promote` alone
also writes into one of the others: shapes, during its fit on all data, a small file in an instant.
"""

UI_PORT = 5000
"""The port of `forecast ui`, unless it is called with another."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: where its results are, its datasets, and its report."""

    paths: ProjectPaths
    datasets: Sequence[str]
    report: Path


ONLY_DATASET = typer.Option(
    "",
    "--dataset",
    help="Only this dataset (an entry of configs/datasets.yaml).",
    autocompletion=complete_dataset,
)


def run(
    root: Path | None = ROOT,
    jobs: int = typer.Option(
        0, "--jobs", min=0, max=1024, help="Worker processes; 0 is one for each core."
    ),
    dataset: str = ONLY_DATASET,
    model: str = typer.Option(
        "", "--model", help="Only these models, separated by commas; whole runs keep their results."
    ),
    cluster: str = CLUSTER,
    output_format: Format = FORMAT,
) -> None:
    """Run the stages that are out of date, publish, and show the leaderboard."""
    from forecast.data.results import read_leaderboard
    from forecast.report.leaderboard import print_leaderboards

    require_unix("`forecast run`")
    use_cluster(cluster)
    project = require_project(root).resolve()
    started = time.monotonic()
    lock = hold_lock(project / RUN_LOCK, purpose="`forecast run`")
    with lock, keep_output_clean(output_format):
        try:
            _check_and_clean(project, dataset)
            models = split_names(model)
            datasets = select_datasets(project, dataset, models)
            environment = {**os.environ, JOBS_VARIABLE: str(jobs or default_jobs(os.environ))}
            if models:
                runs = _run_narrowed(project, datasets, models, environment)
            else:
                publication = Publication.of(project)
                runs = [_run_whole(publication, datasets, environment, only=dataset)]
                print(publication.finish())
        except KeyboardInterrupt:
            remove_run_leftovers(project)
            print(
                "\nInterrupted. Finished work is kept; the same command continues from there.",
                file=sys.stderr,
            )
            raise
    if output_format is Format.json:
        rows: list[dict[str, Cell]] = []
        for finished in runs:
            for name in finished.datasets:
                rows += json.loads(read_leaderboard(finished.paths, name).to_json(orient="records"))
        print_rows(rows, output_format)
        return
    for finished in runs:
        print_leaderboards(finished.paths, finished.datasets)
    print(f"Took {format_duration(time.monotonic() - started)}")
    for finished in runs:
        report = finished.report.relative_to(project)
        print(f"Report: {report} (and leaderboard.csv beside it)")


def _run_narrowed(
    project: Path, datasets: Sequence[str], models: tuple[str, ...], environment: dict[str, str]
) -> list[FinishedRun]:
    """Run only `models`, each dataset in a folder beside the pipeline's."""
    from forecast.operations.repro import run_narrowed
    from forecast.report import page

    runs = []
    for name in datasets:
        paths = ProjectPaths.of(run_narrowed(project, name, models, environment))
        runs.append(FinishedRun(paths, [name], page.write(paths, [name])))
    return runs


def _run_whole(
    publication: Publication, datasets: Sequence[str], environment: dict[str, str], *, only: str
) -> FinishedRun:
    """Bring every stage up to date, or those of the dataset `only`; datasets are published as soon
    as their results are stored.
    """
    from forecast.operations.repro import run_dvc
    from forecast.report import page

    paths = ProjectPaths.of(publication.root)
    targets = [f"compare@{only}"] if only else []
    run_dvc(paths.root, targets, environment, on_stored=publication.publish_stored)
    report = paths.report
    # DVC may restore the stage `report` from its cache, but not the page, which is no out of it
    if only or not report.exists():
        report = page.write(paths, datasets, paths.reports / only)
    return FinishedRun(paths, datasets, report)


def select_datasets(root: Path, dataset: str, models: tuple[str, ...]) -> tuple[str, ...]:
    """The datasets to run: `dataset`, or those under `run` in configs/datasets.yaml.

    Raises `InputError` for an unknown model, and for a whole run of a dataset not under `run`.
    """
    from forecast.config.datasets import load_datasets
    from forecast.config.models import load_models

    folder = ProjectPaths.of(root).configs
    load_models(folder).entries_to_fit(models)
    datasets = load_datasets(folder).run
    if not dataset:
        return datasets
    if dataset not in datasets and not models:
        names = ", ".join((*datasets, dataset))
        raise InputError(
            f"configs/datasets.yaml: only entries in `run` have stages. Write `run: [{names}]`."
        )
    return (dataset,)


def _check_and_clean(root: Path, dataset: str) -> None:
    """Check configurations and data, and remove what interrupted runs left."""
    from forecast.api import installation

    if advice := installation.describe_outdated(root):
        print(advice)
    print("Checking configs and data", flush=True)
    raise_faults(list(check_before_run(root, dataset)))
    return_memory()  # for the stages; with thousands of series the checked data take half a GB
    for path in remove_run_leftovers(root):
        print(f"Removed {path.relative_to(root)}, left by an interrupted run", flush=True)
    files.clear_scratch()


def remove_run_leftovers(root: Path) -> list[Path]:
    """Remove the temporary files and folders that killed or interrupted runs left; returns the
    removed paths. An old folder whose successor is missing is put back. The caller holds RUN_LOCK.
    """
    removed = []
    for folder, besides in FOLDERS_OF_A_RUN.items():
        removed += remove_leftovers(root / folder, besides=besides)
    return removed


def sync(root: Path | None = ROOT) -> None:
    """Publish to MLflow what the last run has finished."""
    typer.echo(Publication.of(require_project(root)).finish())


def ui(
    root: Path | None = ROOT,
    port: int = typer.Option(
        UI_PORT, "--port", min=1, max=65_535, help="The port, open to this machine only."
    ),
) -> None:
    """Open MLflow's pages on 127.0.0.1."""
    from forecast.tracking.stores import tracking_store

    store = tracking_store(require_project(root), tracking_uri()).uri
    if store.startswith("http"):
        print(f"MLflow runs at {public_address(store)} (MLFLOW_TRACKING_URI).")
        return
    if importlib.util.find_spec("flask") is None:
        raise InputError(
            "MLflow's pages need the whole of MLflow, which a run leaves out. In a clone `make ui`"
            " installs it and opens them; elsewhere `pip install 'rolling-forecast[ui]'` first."
        )
    server = f"mlflow ui --workers 1 --host 127.0.0.1 --port {port}".split()
    command = [sys.executable, "-m", *server]
    sys.stdout.flush()
    os.execve(  # noqa: S606
        sys.executable,
        command,
        {
            **os.environ,
            # `ps` shows the words of a command, and the address may contain a password
            "MLFLOW_BACKEND_STORE_URI": store,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
    )


@dataclass
class Publication:
    """Publishes the results of one run to MLflow.

    A dataset is published as soon as its stage `compare` is stored, while later stages run; the
    others, and all after a failure, at the end.
    """

    root: Path
    revision: str
    """The git commit when the run began."""
    result: SyncResult
    """What was published so far."""
    has_failed: bool = False

    @classmethod
    def of(cls, root: Path) -> Publication:
        """A publication that has published nothing yet."""
        from forecast import tracking

        return cls(root, read_revision(root), tracking.SyncResult())

    def publish_stored(self, stage: str) -> None:
        """Publish the dataset of a stored stage, if that is `compare`."""
        name, _, dataset = stage.partition("@")
        if name != "compare" or self.has_failed:
            return
        try:
            self._publish([dataset])
        except Exception as fault:  # noqa: BLE001  the stages run on; `finish` tries again
            self.has_failed = True
            reason = hide_parts(str(fault), tracking_uri())
            print(
                f"Publishing {dataset!r} failed ({type(fault).__name__}: {reason}). It is tried"
                " again after the last stage.",
                file=sys.stderr,
            )

    def finish(self) -> str:
        """Publish the other datasets; returns what was published, and the leaderboards' addresses
        in words.
        """
        from forecast import tracking

        self._publish([n for n in tracking.list_datasets(self.root) if n not in self.result.pages])
        result = self.result
        lines = [
            f"MLflow: {len(result.published)} runs made, {result.unchanged} already there,"
            f" {len(result.set_aside)} set aside."
        ]
        server = public_address(tracking.tracking_store(self.root, tracking_uri()).uri)
        if server.startswith("http"):
            head = "The leaderboards are at"
            address = server.rstrip("/")
        else:
            head = "After `forecast ui` the leaderboards are at"
            address = f"http://127.0.0.1:{UI_PORT}"
        if result.pages:
            lines.append(head)
        lines += [f"  {name}: {address}{page}" for name, page in sorted(result.pages.items())]
        return "\n".join(lines)

    def _publish(self, datasets: Sequence[str]) -> None:
        """Publish `datasets` to MLflow and add the outcome to `result`."""
        from forecast import tracking

        if datasets:
            print(f"Publishing {', '.join(datasets)} to MLflow", flush=True)
        now = time.time()
        self.result.add(
            tracking.sync(self.root, tracking_uri(), datasets, now=now, revision=self.revision)
        )


def read_revision(root: Path) -> str:
    """The git commit of `root`, with `-dirty` after it for uncommitted edits; "" without one."""
    git = run_git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return git.stdout.strip() if git.returncode == 0 else ""


PIPELINE_PACKAGES = ("dvc", "mlflow", "tensorflow")
"""Packages that a run needs and that are not installed with the package's core."""


def new(
    directory: Path = typer.Argument(help="An empty or new folder."),  # noqa: B008
) -> None:
    """Make a project with configs, stages and packaged data, ready for `forecast run`."""
    from forecast.api import installation

    created = installation.create_project(directory)
    print(
        f"{directory}: {len(created)} files. The datasets and models stand in configs/, the stages"
        " in dvc.yaml."
    )
    missing = [name for name in PIPELINE_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(f"A run needs {' and '.join(missing)}: `pip install 'rolling-forecast[pipeline]'`.")
    # printed as this command was started, so that it can be copied
    command = f"{sys.executable} -m forecast"
    if sys.argv[0] == shutil.which("forecast"):
        command = "forecast"
    print(
        f"Next:\n  cd {directory}\n  {command} run      # data, tuning, training, comparison,"
        " report"
    )
    print(
        f"Your own data: `{command} add data/mine.csv` writes its entry into configs/datasets.yaml;"
        " then the same."
    )


@dataclass(frozen=True)
class PairComparison:
    """The comparison of two models in one dataset and ranking."""

    dataset: str
    ranking: str
    a: str
    b: str
    metric: str
    """mae, or mase where a dataset has several series, whose units must not be averaged."""
    error_a: float
    error_b: float
    difference: float | None
    """error_a / error_b - 1, below 0 where a is better; None where b makes no error."""
    sentences: list[str]
    """The outcomes of the tests."""

    @property
    def headline(self) -> str:
        """`lstm 1.291 against naive 2.160 in test MAE: 40.2 % lower.`"""
        words = "lower" if self.error_a < self.error_b else "higher"
        if self.error_a == self.error_b:
            words = "equal"
        elif self.difference is not None:
            words = f"{100 * abs(self.difference):.1f} % {words}"
        return (
            f"{self.a} {self.error_a:.4g} against {self.b} {self.error_b:.4g} in test"
            f" {self.metric.upper()}: {words}."
        )


def compare(
    a: str = typer.Argument(help="A model of the leaderboard."),
    b: str = typer.Argument(help="Another one."),
    dataset: str = ONLY_DATASET,
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Compare two models of the last run, in words."""
    comparisons = compare_models(require_project(root), a, b, dataset)
    if output_format is Format.json:
        rows = [asdict(comparison) for comparison in comparisons]
        print_rows(rows, output_format)
        return
    titles = ranking_titles()
    for comparison in comparisons:
        print(f"{comparison.dataset}, {titles[comparison.ranking]}: {comparison.headline}")
        for sentence in comparison.sentences:
            print(f"  {with_minus(sentence)}")


def compare_models(root: Path, a: str, b: str, dataset: str = "") -> list[PairComparison]:
    """Compare two models in every dataset and ranking that has both.

    Raises `InputError` where no ranking has both, and for an unknown name.
    """
    from forecast.data.results import Results, read_leaderboard

    paths = ProjectPaths.of(root)
    board = read_leaderboard(paths, dataset)
    for model in (a, b):
        require_model(model, set(board["model"]))
    if dataset:
        require_known(dataset, set(board["dataset"]), "Unknown dataset")
        board = board[board["dataset"] == dataset]
    comparisons = []
    for name, rows in board.groupby("dataset", sort=False):
        comparisons += _compare_in_rankings(Results(paths, str(name)), a, b, rows)
    if not comparisons:
        raise InputError(
            f"{a!r} and {b!r} stand in no ranking together with a result. See reports/report.html."
        )
    return comparisons


def ranking_titles() -> dict[str, str]:
    """Ranking → its title, the baselines last."""
    from forecast.data.results import BASELINE, RANKING_TITLES

    return {**RANKING_TITLES, BASELINE: "baselines"}


def _compare_in_rankings(
    results: Results, a: str, b: str, rows: pd.DataFrame
) -> list[PairComparison]:
    """Compare the two models in each ranking of one dataset; rows: the dataset's leaderboard."""
    from forecast.comparison.sentences import describe_pair
    from forecast.data.results import MEAN, in_ranking

    means = rows[(rows["seed"] == MEAN) & rows[["mae", "mase"]].notna().any(axis=1)]
    tests = results.verdicts.tests if results.is_compared else ()
    comparisons = []
    for ranking in ranking_titles():
        board = in_ranking(means, ranking).set_index("model")
        # baselines are in every ranking, but two baselines are compared only once
        if not {a, b} <= {*board.index} or ranking not in {*board.loc[[a, b], "ranking"]}:
            continue
        errors = board.loc[[a, b], ["mae", "mase"]].dropna(axis="columns").iloc[:, 0]
        error_a, error_b = errors.tolist()
        comparisons.append(
            PairComparison(
                dataset=results.name,
                ranking=ranking,
                a=a,
                b=b,
                metric=str(errors.name),
                error_a=error_a,
                error_b=error_b,
                difference=error_a / error_b - 1 if error_b else None,
                sentences=describe_pair(tests, a, b, ranking),
            )
        )
    return comparisons
