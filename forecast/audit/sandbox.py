"""Runs the pipeline's stages for the audit: in a folder of their own, on changed data, with few
training steps, and recording what they use.

`run_stages` returns a `Sandbox` with the files of a run, the files that it opened, and the rows
that its fits used. `run_isolated` calls a function in a forked process, so that a run has nothing
of an earlier run in memory.
"""

from __future__ import annotations

import atexit
import importlib
import io
import multiprocessing
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import yaml

from forecast import models
from forecast.audit.changes import (
    NUDGE_SHARE,
    block_ends,
    nudge,
    restore_plans,
    shake,
    times_known,
)
from forecast.backtest.candidates import plan_candidates
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.models import load_models
from forecast.config.paths import ProjectPaths
from forecast.data import calendars, snapshots, vintages
from forecast.data.columns import joined_datasets, trim_to_observed
from forecast.data.results import Results
from forecast.models.problem import Purpose, record_with
from forecast.system import cluster, files
from forecast.system.code_closure import code_digest
from forecast.system.errors import ForecastError, InputError
from forecast.system.processes import die_with_parent
from forecast.system.workers import kill_pool, limit_to_one_thread

SMALL_BUDGET: dict[str, Any] = {
    "n_trials": 2,
    "trial_steps": 2,
    "final_steps": 3,
    "evaluate_every": 1,
    "seeds": [0, 1],
    "base_seed": 0,
}
REFIT_SHARE = 0.6
"""In the audit's runs a model with a refit schedule is fitted again after this share of the origins
of validation and calibration: rarely, but once before the test block, whose rows it must not use.
"""
STAGES = ("fetch", "prepare", "tune", "train", "compare")
Change = Callable[[pd.DataFrame, pd.Timestamp], pd.DataFrame]
RESULT_FOLDERS = ("data", ".forecast", "reports", "mlruns", "mlartifacts")
"""Folders of a project with data or results; reading its code and settings is no finding."""
P = ParamSpec("P")
T = TypeVar("T")
_listeners: list[tuple[Path, Path, list[str]]] = []


@dataclass(frozen=True)
class Project:
    """The audited project."""

    paths: ProjectPaths
    dataset: str
    settings: Dataset
    raw: dict[str, pd.DataFrame]
    """Dataset → its stored snapshot, for the audited dataset and those that it joins."""

    @classmethod
    def of(cls, root: Path, dataset: str) -> Project:
        """The project in `root`, with its snapshots."""
        paths = ProjectPaths.of(root)
        settings = load_dataset(dataset, paths.configs)
        names = [dataset, *joined_datasets(settings)]
        raw = {name: snapshots.read_pointed(root, name) for name in names}
        return cls(paths, dataset, settings, raw)

    @property
    def frame(self) -> pd.DataFrame:
        """The stored snapshot of the dataset."""
        return self.raw[self.dataset]


@dataclass(frozen=True)
class TargetRequest:
    """A request of a fit, a penalty or a validation loss for targets of one series."""

    stage: str
    purpose: str
    """`skip` or `training`."""
    rows: int
    """The length of the series."""
    last: int
    """The last row among the requested targets."""


@dataclass(frozen=True)
class FoldRequest:
    """The distances in one cross-validation between cutoffs that a fold learns from and cutoffs
    that it is scored on.
    """

    stage: str
    purpose: str
    """`skip` or `training`."""
    before: int
    """The fewest rows from an earlier learnt cutoff to a scored one."""
    after: int
    """The fewest rows from a scored cutoff to a learnt one that is later or the same."""

    @classmethod
    def of(
        cls,
        stage: str,
        purpose: str,
        rows: np.ndarray,
        is_learnt_by: np.ndarray,
        fold: np.ndarray,
    ) -> FoldRequest:
        """The request for the arguments of `Recorder.folds_given`; a distance without any pair of
        cutoffs is the largest integer.
        """
        far = np.iinfo(np.int64).max
        before = [far]
        after = [far]
        for number, is_learnt in enumerate(is_learnt_by):
            learnt = np.sort(rows[is_learnt])
            scored = rows[fold == number]
            next_learnt = np.searchsorted(learnt, scored)  # the first one that is not earlier
            has_earlier = next_learnt > 0
            has_later = next_learnt < len(learnt)
            before.extend(scored[has_earlier] - learnt[next_learnt[has_earlier] - 1])
            after.extend(learnt[next_learnt[has_later]] - scored[has_later])
        return cls(stage, purpose, int(min(before)), int(min(after)))


@dataclass
class Sandbox:
    """A run of the stages: its folder, and, as the run's `Recorder`, what it used.

    Worker processes record nothing.
    """

    paths: ProjectPaths
    dataset: str
    calibration_calls: list[dict[str, np.ndarray]] = field(default_factory=list)
    """The arguments of every conformal fit."""
    target_requests: list[TargetRequest] = field(default_factory=list)
    fold_requests: list[FoldRequest] = field(default_factory=list)
    opened_files: list[str] = field(default_factory=list)
    """Files of the project that the run opened outside of its folder."""
    libraries: list[str] = field(default_factory=list)
    """The modules of other packages that the run imported."""
    stage: str = ""
    """The running stage."""

    def __post_init__(self) -> None:
        """Add the folders that the stages fill."""
        self.results = Results(self.paths, self.dataset)
        self.prepared = self.paths.prepared(self.dataset)
        self.tuned = self.paths.tuned(self.dataset)
        self.trained = self.paths.trained(self.dataset)
        self.compared = self.paths.compared(self.dataset)

    def targets_given(self, purpose: Purpose, length: int, last: int) -> None:
        """Record targets that were given to a fit, a penalty or a validation loss."""
        self.target_requests.append(TargetRequest(self.stage, purpose, length, last))

    def folds_given(
        self, purpose: Purpose, rows: np.ndarray, is_learnt_by: np.ndarray, fold: np.ndarray
    ) -> None:
        """Record the folds of a cross-validation."""
        request = FoldRequest.of(self.stage, purpose, rows, is_learnt_by, fold)
        self.fold_requests.append(request)

    def calibration_given(self, y: np.ndarray, y_hat: np.ndarray) -> None:
        """Record the arguments of a conformal fit."""
        self.calibration_calls.append({"y": y, "y_hat": y_hat})


def import_stages(project: Project, folder: Path, only: tuple[str, ...] = ()) -> list[str]:
    """Imports the stages and reads their code, once for all runs; returns the project's files that
    were opened by it.
    """
    with record_file_access(project.paths.root, folder) as opened:
        for name in STAGES:
            importlib.import_module(f"pipelines.{name}")
        models.catalogue()
        grid, _ = plan_candidates(load_models(project.paths.configs), only, season_length=1)
        if any(candidate.spec.is_trained_by_gradient for candidate in grid):
            # imports TensorFlow with the settings of a worker: with oneDNN the last digits differ
            importlib.import_module("forecast.networks.layers")
        # parses all files now; the digests of the runs then use the cache
        found_by_name = {name for candidate in grid for name in candidate.spec.modules()}
        code_digest([*(f"pipelines.{name}" for name in STAGES), *found_by_name])
    return list(dict.fromkeys(opened))


def run_stages(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    *,
    after: pd.Timestamp | None = None,
    change: Change = shake,
    stages: tuple[str, ...] = STAGES,
    models: tuple[str, ...] = (),
    jobs: int = 1,
    tuned: Path | None = None,
) -> Sandbox:
    """Run `stages` on `frame` in the empty `folder`.

    after: all data that became known after this moment are changed; None: none. models: only these
    entries of the grid. jobs: the processes of `tune` and `train`, whose work is not recorded where
    there are several; `compare` always runs in this one. tuned: a folder of studies to use.
    """
    _write_project(project, frame, folder, after, change)
    sandbox = Sandbox(ProjectPaths.of(folder), project.dataset)
    if tuned is not None and tuned.exists():
        shutil.copytree(tuned, sandbox.tuned)
    state = "as they are" if after is None else f"changed after {after}"
    return continue_stages(project, sandbox, stages, models, jobs, state)


def continue_stages(
    project: Project,
    sandbox: Sandbox,
    stages: tuple[str, ...],
    models: tuple[str, ...],
    jobs: int,
    state: str,
) -> Sandbox:
    """Run `stages` in the sandbox's folder; state: the data's state, for the error message.

    Raises `InputError` where a stage fails.
    """
    modules_before = {*sys.modules}
    if jobs == 1:
        # not on a cluster: only this process records what it uses
        os.environ.pop(cluster.CLUSTER_VARIABLE, None)
    with record_file_access(project.paths.root, sandbox.paths.root) as opened, record_with(sandbox):
        for name in stages:
            sandbox.stage = name
            options: dict[str, Any] = {"root": str(sandbox.paths.root)}
            if name in ("tune", "train"):
                options |= {"state": str(sandbox.paths.state), "models": models, "jobs": jobs}
            # imported by name: the package must not depend on the stages
            stage = importlib.import_module(f"pipelines.{name}")
            try:
                stage.main(project.dataset, **options)
            except Exception as error:
                raise InputError(
                    f"The stage {name} of {project.dataset} failed on the data {state}:"
                    f" {type(error).__name__}: {error}. Nothing can be said about leaks; make the"
                    " stage run first."
                ) from error
    sandbox.opened_files += dict.fromkeys(opened)
    sandbox.libraries += [
        name
        for name in sys.modules
        if name not in modules_before and name.partition(".")[0] not in ("forecast", "pipelines")
    ]
    return sandbox


def import_libraries(run: Sandbox) -> None:
    """Import the libraries of `run`, so that processes forked later need not; it saves seconds."""
    for name in run.libraries:
        with suppress(ImportError):  # a module that is not in a file
            importlib.import_module(name)


def _write_project(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    after: pd.Timestamp | None,
    change: Change,
) -> None:
    """Write a project into `folder`: configurations with few training steps and rare refits, and
    snapshots of the dataset (`frame`) and of those that it joins.

    All data that became known after `after` are changed by `change`, also in joined datasets and
    vintages; plans that were known ahead stay. None: nothing is changed.
    """
    shutil.copytree(project.paths.configs, folder / "configs")
    files.write_text(folder / "configs" / "tuning.yaml", yaml.safe_dump(SMALL_BUDGET))
    _refit_seldom(folder / "configs" / "models.yaml", frame, project.settings)
    if project.paths.requirements.exists():
        shutil.copy(project.paths.requirements, folder)
    for name, stored in project.raw.items():
        changed_frame = frame if name == project.dataset else stored
        known_until = None
        if after is not None:
            known_until = _time_known(project, after)
            if name == project.dataset:
                changed = change(trim_to_observed(frame, project.settings), after)
                changed_frame = restore_plans(changed, frame, project.settings, after)
            else:
                changed_frame = change(stored, _last_row_known(project, name, known_until))
        as_of = pd.Timestamp(snapshots.read_pointer(project.paths.root, name).as_of)
        pointer = snapshots.write_snapshot(folder, name, changed_frame, as_of=as_of, provenance={})
        table = _change_vintages(project.paths.root, name, known_until, change)
        vintage_fields = vintages.write_vintages(folder, name, table, as_of=as_of)
        snapshots.move_pointer(folder, name, replace(pointer, **vintage_fields))


def _change_vintages(
    root: Path, name: str, after: pd.Timestamp | None, change: Change
) -> pd.DataFrame:
    """The provider's forecasts, with those issued after `after` changed: nudged for the change
    `nudge`, otherwise replaced by nonsense.
    """
    table = vintages.read_vintages(root, name)
    if after is not None and len(table):
        values = table.columns.drop(vintages.VINTAGE_KEYS)
        is_later = table["issued_at"] > after
        issued_values = table.loc[is_later, values]
        changed_values = 1000.0 - issued_values
        if change is nudge:
            changed_values = issued_values * (1 + NUDGE_SHARE)
        table.loc[is_later, values] = changed_values
    return table


def _refit_seldom(path: Path, frame: pd.DataFrame, dataset: Dataset) -> None:
    """Fit every model with a refit schedule again after each `REFIT_SHARE` of the origins from
    validation to calibration.
    """
    ends = block_ends(frame, dataset)
    times = frame["ds"].drop_duplicates()
    origins = 0
    for start, block in (("train", "validation"), ("validation", "calibration")):
        steps = int(((times > ends[start]) & (times <= ends[block])).sum())
        origins += steps // dataset.task.step_size_in(block)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for entry in (content, *content["models"].values()):
        if entry.get("refit", "never") != "never":
            entry["refit"] = max(2, int(REFIT_SHARE * origins))
    files.write_text(path, yaml.safe_dump(content, sort_keys=False))


def _time_known(project: Project, after: pd.Timestamp) -> pd.Timestamp:
    """The moment up to which the last row at or before `after` may use other datasets."""
    rows = project.frame["ds"][project.frame["ds"] <= after]
    last = rows.max() if len(rows) else after
    return pd.Timestamp(calendars.read_until(project.settings.calendar, [last])[0])


def _last_row_known(project: Project, other: str, known_until: pd.Timestamp) -> pd.Timestamp:
    """The time of the last row of a joined dataset that was known at `known_until`; where there
    was none, a time before all rows.
    """
    calendar = load_dataset(other, project.paths.configs).calendar
    times = project.raw[other]["ds"]
    known_times = times[np.asarray(times_known(calendar, times) <= known_until)]
    if known_times.empty:
        return times.min() - pd.Timedelta(1, "ns")
    return pd.Timestamp(known_times.max())


def run_isolated(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call `work(...)` in a forked process, and return its result or raise its error.

    So no run finds results of another in memory: a faulty cache could otherwise make two runs equal
    and hide a leak. Raises `ForecastError` where the process dies.
    """
    with _forked(partial(work, *arguments, **options), is_quiet=False) as receive_result:
        return receive_result()


@contextmanager
def run_beside(
    jobs: int, work: Callable[P, T], *arguments: P.args, **options: P.kwargs
) -> Iterator[Callable[[], T]]:
    """As `run_isolated`, but in parallel with the block and without printing progress: yields a
    function that waits for the result. With one job that function does the work, and it prints.
    """
    if jobs == 1:
        yield partial(run_isolated, work, *arguments, **options)
        return
    with _forked(partial(work, *arguments, **options), is_quiet=True) as receive_result:
        yield receive_result


@contextmanager
def _forked(work: Callable[[], T], *, is_quiet: bool) -> Iterator[Callable[[], T]]:
    """Do `work` in a forked process, which is killed at the end of the block; yields a function
    that waits for the result.

    No thread is used here, since a process with threads cannot be forked safely.
    """
    kill_pool()  # a forked pool of workers lacks its thread
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_outcome, args=(sender, work, is_quiet))
    # entered for its search for libraries with threads, which the forked process then need not do
    with limit_to_one_thread():
        process.start()
    sender.close()
    try:
        yield partial(_receive_result, receiver, process)
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send_outcome(sender: Connection, work: Callable[[], Any], is_quiet: bool) -> None:
    """Send (result, None) of `work`, or (None, error) with the traceback as a note."""
    die_with_parent()
    if is_quiet:
        sys.stderr = io.StringIO()
    try:
        sender.send((_end_workers_after(work), None))
    except Exception as error:  # noqa: BLE001  raised again by `_receive_result`
        error.add_note(traceback.format_exc())
        sender.send((None, error))


def _receive_result(receiver: Connection, process: BaseProcess) -> Any:
    """The result that `_send_outcome` sent; its error is raised."""
    try:
        result, error = receiver.recv()
        process.join()
    except EOFError:
        raise ForecastError(
            "A process of the audit died at its work: killed, as where memory is short, or ended by"
            " a library, whose words then stand above. Nothing can be said about leaks; run the"
            " same command again."
        ) from None
    if error is not None:
        raise error
    return result


def _end_workers_after(work: Callable[[], T]) -> T:
    """Call `work` in a forked process, and end joblib's workers before the process exits.

    Otherwise joblib would wait 300 s for idle workers. The parent's exit handlers are not run.
    """
    atexit._clear()
    try:
        # as in every task of a stage, so that fits are equal to the last digit
        with limit_to_one_thread():
            return work()
    finally:
        kill_pool()
        atexit._run_exitfuncs()


@contextmanager
def record_file_access(
    root: str | os.PathLike[str], except_below: str | os.PathLike[str]
) -> Iterator[list[str]]:
    """Yields a list of the project's files that are opened inside the block, as paths relative to
    `root`: data and results that are read, and all files that are written.

    except_below: files in this folder are left out. Only files that Python opens in this process
    are recorded, not those that compiled code opens itself.
    """
    _watch_files()
    opened_files: list[str] = []
    _listeners.append((_absolute(root), _absolute(except_below), opened_files))
    try:
        yield opened_files
    finally:
        _listeners.pop()


@cache
def _watch_files() -> None:
    """Let `_on_access` see all opened files, in this process and those forked from it. Python
    cannot remove it again; without a listener it does nothing.
    """
    sys.addaudithook(_on_access)


def _on_access(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's audit hook: add an opened file of the project to the list of every listener."""
    if not _listeners or event not in ("open", "os.listdir", "os.scandir"):
        return
    if not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = _absolute(arguments[0])
    for root, folder, opened_files in _listeners:
        if path.is_relative_to(folder) or not path.is_relative_to(root) or path == root:
            continue
        part = path.relative_to(root)
        if part.parts[0] in RESULT_FOLDERS or _is_project_write(event, arguments, path):
            opened_files.append(str(part))


def _absolute(path: str | bytes | os.PathLike[Any]) -> Path:
    # not resolved: that would open more files, which would be recorded
    return Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100


def _is_project_write(event: str, arguments: tuple[Any, ...], path: Path) -> bool:
    """Whether a file is opened for writing, except compiled code and files of the environment."""
    if event != "open" or "__pycache__" in path.parts or path.is_relative_to(sys.prefix):
        return False
    _, mode, flags = arguments
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return bool(flags & (os.O_WRONLY | os.O_RDWR))
