"""The real stages, run in a folder of their own on data of the audit's making, with a budget of a
few steps.

Called through `run_isolated`, each run is a process of its own, so that none remembers an earlier
one. What it opens beside its data is noted.

`Project` is what is audited, `run_stages` gives a `Sandbox` of one run (its files, and what fits
asked for: `TargetRequest`, `FoldRequest`), `run_isolated` the process of its own. A stage that
fails is an `InputError`: nothing can be said about leaks then.
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
from functools import partial
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
"""Share of the origins of validation and calibration between two fits of a model with a refit
policy: seldom, but one fit is made before the test block, whose rows it may not see.
"""
STAGES = ("fetch", "prepare", "tune", "train", "compare")
Change = Callable[[pd.DataFrame, pd.Timestamp], pd.DataFrame]
RESULT_FOLDERS = ("data", ".forecast", "reports", "mlruns", "mlartifacts")
"""Folders of a project that hold data or results; its code and settings may be read at any time."""
P = ParamSpec("P")
T = TypeVar("T")
_listeners: list[tuple[str, str, list[str]]] = []
_hooked: list[int] = []


@dataclass(frozen=True)
class Project:
    """The project under audit: what its pointers name, read once.

    raw: the stored rows of the dataset and of those it joins, by name.
    """

    paths: ProjectPaths
    dataset: str
    settings: Dataset
    raw: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, root: Path, dataset: str) -> Project:
        """The project in `root`, with its dataset and those that it joins."""
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
    """Targets of rows up to `last` of a series known for `rows` rows, on behalf of a stage's skip
    or training.
    """

    stage: str
    purpose: str
    rows: int
    last: int


@dataclass(frozen=True)
class FoldRequest:
    """One cross-validation of a stage's skip or training over the cutoffs of a series.

    The fewest rows from a cutoff that a fold learns from to one that it is scored on, where the
    former is the earlier (`before`) and where it is the later or the same one (`after`).
    """

    stage: str
    purpose: str
    before: int
    after: int

    @classmethod
    def of(
        cls,
        stage: str,
        purpose: str,
        rows: np.ndarray,
        is_learnt_by: np.ndarray,
        fold: np.ndarray,
    ) -> FoldRequest:
        """A request from what `Recorder.folds_given` is told; a side without any pair counts as far
        away.
        """
        far = np.iinfo(np.int64).max
        before, after = [far], [far]
        for number, is_learnt in enumerate(is_learnt_by):
            learnt, scored = np.sort(rows[is_learnt]), rows[fold == number]
            place = np.searchsorted(learnt, scored)  # of the first one that is not earlier
            has_earlier = place > 0
            has_later = place < len(learnt)
            before.extend(scored[has_earlier] - learnt[place[has_earlier] - 1])
            after.extend(learnt[place[has_later]] - scored[has_later])
        return cls(stage, purpose, int(min(before)), int(min(after)))


@dataclass
class Sandbox:
    """One run: `paths` with configs and store, and what it did.

    It is the run's `Recorder`: `calibration_calls` is what every conformal fit was given,
    `target_requests` for which rows a fit, a penalty or a validation loss asked for targets,
    `fold_requests` how far the folds of each cross-validation keep from what they are scored on;
    processes beside this one tell nothing. `opened_files`: what the run read or wrote outside of
    its folder. `libraries`: the modules beside the project's that the run has imported. `stage`:
    the one that is running.
    """

    paths: ProjectPaths
    dataset: str
    calibration_calls: list[dict[str, np.ndarray]] = field(default_factory=list)
    target_requests: list[TargetRequest] = field(default_factory=list)
    fold_requests: list[FoldRequest] = field(default_factory=list)
    opened_files: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    stage: str = ""

    def __post_init__(self) -> None:
        """Name what the stages fill."""
        self.results = Results(self.paths, self.dataset)
        self.prepared = self.paths.prepared(self.dataset)
        self.tuned = self.paths.tuned(self.dataset)
        self.trained = self.paths.trained(self.dataset)
        self.compared = self.paths.compared(self.dataset)

    def targets_given(self, purpose: Purpose, length: int, last: int) -> None:
        """Note which targets were given to a fit, a penalty or a validation loss."""
        self.target_requests.append(TargetRequest(self.stage, purpose, length, last))

    def folds_given(
        self, purpose: Purpose, rows: np.ndarray, is_learnt_by: np.ndarray, fold: np.ndarray
    ) -> None:
        """Note how far the folds of a cross-validation keep from what they are scored on."""
        request = FoldRequest.of(self.stage, purpose, rows, is_learnt_by, fold)
        self.fold_requests.append(request)

    def calibration_given(self, y: np.ndarray, y_hat: np.ndarray) -> None:
        """Note what a conformal fit was given."""
        self.calibration_calls.append({"y": y, "y_hat": y_hat})


def import_stages(project: Project, folder: Path, only: tuple[str, ...] = ()) -> list[str]:
    """Imports the stages and reads their code, once for all runs; returns what that opened of the
    project.
    """
    with record_file_access(project.paths.root, folder) as opened:
        for name in STAGES:
            importlib.import_module(f"pipelines.{name}")
        models.catalogue()
        grid, _ = plan_candidates(load_models(project.paths.configs), only, season_length=1)
        if any(candidate.spec.is_network for candidate in grid):
            # TensorFlow, imported once for all runs as a worker has it: with oneDNN the last digits
            # differ
            importlib.import_module("forecast.networks.layers")
        # remembered by file, for the runs' own digests
        found_by_name = {name for candidate in grid for name in candidate.spec.modules()}
        code_digest([*(f"pipelines.{name}" for name in STAGES), *found_by_name])
    return list(dict.fromkeys(opened))


def run_stages(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    *,
    after: pd.Timestamp | None = None,
    change: Change | None = None,
    stages: tuple[str, ...] = STAGES,
    models: tuple[str, ...] = (),
    jobs: int = 1,
    tuned: Path | None = None,
) -> Sandbox:
    """Run `stages` on `frame` in the empty `folder`.

    `change` is made of all that became known after `after`; `tuned`: a folder of studies made
    before, which are taken over. `models` narrows the grid; with `jobs` above 1 the work beside
    this process is not recorded.
    """
    _write_project(project, frame, folder, after, change)
    sandbox = Sandbox(ProjectPaths.of(folder), project.dataset)
    if tuned is not None and tuned.exists():
        shutil.copytree(tuned, sandbox.tuned)
    state = "as they are" if change is None else f"changed after {after}"
    return continue_stages(project, sandbox, stages, models, jobs, state)


def continue_stages(
    project: Project,
    sandbox: Sandbox,
    stages: tuple[str, ...],
    models: tuple[str, ...],
    jobs: int,
    state: str,
) -> Sandbox:
    """Run `stages` in a folder that is laid out; `state`: of the data, in words for an error.

    Raises:
        InputError: a stage failed, so that nothing can be said about leaks.
    """
    known_modules = {*sys.modules}
    if jobs == 1:
        # one job is this forked process alone, which notes what it does
        os.environ.pop(cluster.CLUSTER_VARIABLE, None)
    with record_file_access(project.paths.root, sandbox.paths.root) as opened, record_with(sandbox):
        for name in stages:
            sandbox.stage = name
            options: dict[str, Any] = {"root": str(sandbox.paths.root)}
            if name in ("tune", "train"):
                options |= {"state": str(sandbox.paths.state), "models": models, "jobs": jobs}
            # found by name, as DVC does: the package must not depend on its stages
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
        if name not in known_modules and name.partition(".")[0] not in ("forecast", "pipelines")
    ]
    return sandbox


def import_libraries(run: Sandbox) -> None:
    """What `run` has imported, seconds of some models: the processes forked from now on find it."""
    for name in run.libraries:
        with suppress(ImportError):  # a name that stands for no file
            importlib.import_module(name)


def _write_project(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    after: pd.Timestamp | None,
    change: Change | None,
) -> None:
    """Lay out a project in `folder`: the configurations with a small budget and seldom refits, and
    a snapshot of the dataset (`frame`) and of each that it joins. With `change` what became known
    after `after` is changed in all of them, in their vintages too; plans that were known ahead
    stay.
    """
    shutil.copytree(project.paths.configs, folder / "configs")
    files.write_text(folder / "configs" / "tuning.yaml", yaml.safe_dump(SMALL_BUDGET))
    _refit_seldom(folder / "configs" / "models.yaml", frame, project.settings)
    if project.paths.requirements.exists():
        shutil.copy(project.paths.requirements, folder)
    for name, stored in project.raw.items():
        changed_frame = frame if name == project.dataset else stored
        known_until = None
        if change is not None and after is not None:
            known_until = _time_known(project, after)
            if name == project.dataset:
                # what was observed later is changed; what is known ahead of the horizon after it
                # stays as it is
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
    root: Path, name: str, after: pd.Timestamp | None, change: Change | None
) -> pd.DataFrame:
    """The provider's own forecasts; those issued after `after` are nonsense, or nudged where the
    rows are.
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
    """Models that are fitted again in a backtest: as seldom as shows what a later fit may see."""
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
    """Up to when the audited dataset's last row up to `after`, which need not be a step of its
    calendar, may have seen other data.
    """
    rows = project.frame["ds"][project.frame["ds"] <= after]
    last = rows.max() if len(rows) else after
    return pd.Timestamp(calendars.read_until(project.settings.calendar, [last])[0])


def _last_row_known(project: Project, other: str, known_until: pd.Timestamp) -> pd.Timestamp:
    """The last row of a joined dataset that was known at `known_until`."""
    calendar = load_dataset(other, project.paths.configs).calendar
    times = project.raw[other]["ds"]
    known_times = times[np.asarray(times_known(calendar, times) <= known_until)]
    if known_times.empty:
        return times.min() - pd.Timedelta(1, "ns")
    return pd.Timestamp(known_times.max())


def run_isolated(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """`work(...)` in a forked process: whatever it or an earlier run keeps in memory ends with its
    own process.

    A cache that forgets what it was asked for would otherwise give a second run the numbers of the
    first, and two runs that agree for that reason would look clean. Workers here end before:
    forked, their pool lacks its thread. `ForecastError` where the process dies.
    """
    with _forked(partial(work, *arguments, **options), is_quiet=False) as receive_result:
        return receive_result()


@contextmanager
def run_beside(
    jobs: int, work: Callable[P, T], *arguments: P.args, **options: P.kwargs
) -> Iterator[Callable[[], T]]:
    """`run_isolated`, of which the caller asks for the result later and does something else
    meanwhile; its progress is not shown. With one job the work begins when it is asked for.
    """
    if jobs == 1:
        yield partial(run_isolated, work, *arguments, **options)
        return
    with _forked(partial(work, *arguments, **options), is_quiet=True) as receive_result:
        yield receive_result


@contextmanager
def _forked(work: Callable[[], T], *, is_quiet: bool) -> Iterator[Callable[[], T]]:
    """A process that does `work`, until the context is left; what it yields waits for the result.

    No thread stands between: of a process with threads no other one could be forked safely.
    """
    kill_pool()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_outcome, args=(sender, work, is_quiet))
    # the libraries that have threads are looked for here, not in every process
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
    """The result of `work`, or its error with where that arose."""
    if is_quiet:
        sys.stderr = io.StringIO()
    try:
        sender.send((_end_workers_after(work), None))
    except Exception as error:  # noqa: BLE001  raised again where the result is asked for
        error.add_note(traceback.format_exc())
        sender.send((None, error))


def _receive_result(receiver: Connection, process: BaseProcess) -> Any:
    """What `_send_outcome` has sent, once the process has ended."""
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
    """A forked process ends without what joblib leaves to its exit: it would wait 300 s for idle
    workers to end, and warn of folders. What it inherits to be done at exit is its parent's to do.
    """
    atexit._clear()
    try:
        # as every task of a stage: what is fitted again alone must be the same to the last digit
        with limit_to_one_thread():
            return work()
    finally:
        kill_pool()
        atexit._run_exitfuncs()


@contextmanager
def record_file_access(
    root: str | os.PathLike[str], except_below: str | os.PathLike[str]
) -> Iterator[list[str]]:
    """Yields a list that fills with the paths, relative to `root`, of the project's data and
    results that are opened meanwhile, and of files written below `root`; none that lie in
    `except_below`.

    Noted are files and folders opened by Python in this process, not those that compiled code opens
    by itself.
    """
    if os.getpid() not in _hooked:
        _hooked.append(os.getpid())
        # cannot be taken away again; without a listener it does nothing
        sys.addaudithook(_on_access)
    opened_files: list[str] = []
    _listeners.append((_absolute(root), _absolute(except_below), opened_files))
    try:
        yield opened_files
    finally:
        _listeners.pop()


def _on_access(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's audit hook: tell every listener that is recording which project file was opened."""
    if not _listeners or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return
    absolute_path = _absolute(path)
    for root, folder, opened_files in _listeners:
        if _relative_to(absolute_path, folder) is not None:
            continue
        part = _relative_to(absolute_path, root)
        if part and (
            part.partition(os.sep)[0] in RESULT_FOLDERS
            or _is_project_write(event, arguments, absolute_path)
        ):
            opened_files.append(part)


def _absolute(path: str | bytes | os.PathLike[Any]) -> str:
    # a resolved path would open more files, and be noted
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100


def _relative_to(path: str, folder: str) -> str | None:
    """`path` relative to `folder`; None where it is not inside."""
    return path[len(folder) + 1 :] if path == folder or path.startswith(folder + os.sep) else None


def _is_project_write(event: str, arguments: tuple[Any, ...], path: str) -> bool:
    """Whether a file is opened to be written; no, of compiled code and Python's environment."""
    if event != "open" or "__pycache__" in path or _relative_to(path, sys.prefix) is not None:
        return False
    _, mode, flags = arguments
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return bool(flags & (os.O_WRONLY | os.O_RDWR))
