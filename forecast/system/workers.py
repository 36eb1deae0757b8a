"""Runs independent tasks in parallel: `jobs` processes at most, with one thread each.

Results do not depend on the order of tasks or on the worker. A task that fails stops no other: its
outcome has the error, and `run_with_progress` raises one error for all failures at the end. With
FORECAST_CLUSTER the tasks go to a Dask cluster (`forecast.system.cluster`).
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO, TypeVar

from forecast.system import cluster
from forecast.system.errors import ForecastError, combine_exit_codes, explain
from forecast.system.processes import prepare_worker
from forecast.system.progress import Piece, show_progress

T = TypeVar("T")
MAX_GROWTH = int(1.5e9)
"""Bytes by which a worker may grow before joblib replaces it, or less where the memory is small.

joblib's own 300 MB are less than traced networks and the data of a dataset take, and a new worker
spends ten CPU seconds on imports and traces.
"""
KILLED_WORKER = (
    "a worker process was killed from outside, most likely by the kernel for want of memory. Take"
    " fewer processes at once (`--jobs 1`), fewer series or a shorter `lookback`; then run the same"
    " command again, which goes on with what is finished."
)
"""The error of every task that was unfinished when a worker was killed."""


@dataclass(frozen=True)
class WorkItem:
    """A task: a module-level function, its arguments, and a name for messages."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    prepare: Callable[[], None] | None = None
    """Called before the function; should do its work, such as a long import, once per process."""
    writes: Path | None = None
    """The folder that it writes to; workers of a cluster must see it."""
    stays_here: bool = False
    """Whether it runs in this process, before the others: other processes lack code of it."""


@dataclass(frozen=True)
class WorkOutcome:
    """What a task returned, or why it failed."""

    name: str
    value: Any = None
    error: str = ""
    """The message (`explain`), or the traceback of a bug; empty where it succeeded."""
    exit_code: int = 0
    seconds: float = 0.0
    """How long the function took, without `prepare`."""


def run_with_progress(
    items: Sequence[WorkItem],
    label: str,
    pieces: Mapping[str, Piece] = MappingProxyType({}),
    *,
    jobs: int,
    finished: Sequence[str] = (),
    stream: TextIO | None = None,
) -> Iterator[WorkOutcome]:
    """`run_items` with progress; at the end it raises one error that names every failed task.

    label, pieces, stream: as in `show_progress`. finished: names of pieces that an earlier run
    finished, which are counted as done.
    """
    outcomes = []
    with show_progress(len(finished) + len(items), label, pieces, stream=stream) as advance:
        for name in finished:
            advance(name, 0)
        for outcome in run_items(items, jobs=jobs):
            outcomes.append(outcome)
            yield outcome
            advance(outcome.name, outcome.seconds)
    raise_failures(outcomes, what=label)


def run_items(items: Sequence[WorkItem], *, jobs: int) -> Iterator[WorkOutcome]:
    """Run every item, on this machine or on the cluster; yields outcomes as they are ready.

    A failing task does not stop the others; Ctrl-C stops all. The environment variables
    `cluster.THREADS` that are not set become 1, and stay so.
    """
    if not items:
        return
    for name in cluster.THREADS:
        os.environ.setdefault(name, "1")
    yield from map(_run_item, [item for item in items if item.stays_here])
    items = [item for item in items if not item.stays_here]
    address = cluster.cluster_address()
    if not address or not items:
        yield from _run_locally(items, jobs)
        return
    for item, result in cluster.run_on_cluster(_run_item, items, address):
        if isinstance(result, WorkOutcome):
            yield result
        else:  # the error of the cluster, which could not run the task
            yield WorkOutcome(item.name, error=str(result), exit_code=1)


def _run_locally(items: Sequence[WorkItem], jobs: int) -> Iterator[WorkOutcome]:
    """Run the items in worker processes of this machine, or with one job in this process.

    A worker that is killed, mostly by the kernel for lack of memory, makes joblib end all busy
    workers: their tasks fail, the finished ones are kept.
    """
    n_jobs = min(jobs, len(items))
    if n_jobs <= 1:
        for item in items:
            yield _run_item(item)
        return
    import joblib
    import psutil
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    unfinished = [item.name for item in items]
    parallel = joblib.Parallel(
        n_jobs=n_jobs, batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered"
    )
    with warnings.catch_warnings():
        # joblib warns when it replaces a worker that has grown too much; nothing is lost by it
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        growth = min(MAX_GROWTH, psutil.virtual_memory().total // (2 * n_jobs))
        tasks = [joblib.delayed(_run_in_worker)(item, growth) for item in items]
        try:
            for outcome in parallel(tasks):
                unfinished.remove(outcome.name)
                yield outcome
        except TerminatedWorkerError:
            for name in unfinished:
                yield WorkOutcome(name, error=KILLED_WORKER, exit_code=ForecastError.exit_code)


def interleave_groups(items: Sequence[T], group: Callable[[T], str], n_workers: int) -> list[T]:
    """The items in an order in which a worker mostly gets items of one group, whose data or traces
    it then has in memory.

    The order is: the first item of each of the first `n_workers` groups, then the second item of
    each, and so on; then the next `n_workers` groups.
    """
    items_by_group: dict[str, list[T]] = {}
    for item in items:
        items_by_group.setdefault(group(item), []).append(item)
    groups = list(items_by_group.values())
    ordered: list[T] = []
    for first in range(0, len(groups), n_workers):
        for items_of_round in zip_longest(*groups[first : first + n_workers]):
            ordered += [item for item in items_of_round if item is not None]
    return ordered


def kill_pool() -> None:
    """End the idle workers that joblib keeps for the next call."""
    # joblib's public function would start a new executor
    executors = sys.modules.get("joblib.externals.loky.reusable_executor")
    executor = getattr(executors, "_executor", None)
    if executor is not None:
        executor.terminate(kill_workers=True)


def raise_failures(outcomes: Sequence[WorkOutcome], *, what: str) -> None:
    """Raises one `ForecastError` that names every failed task, where there is any."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    message = f"{what}: {len(failed)} of {len(outcomes)} failed; the others are kept.\n"
    message += "\n".join(f"- {outcome.name}: {outcome.error}" for outcome in failed)
    combined = ForecastError(message)
    combined.exit_code = combine_exit_codes(outcome.exit_code for outcome in failed)
    raise combined


_prepare_once = cache(prepare_worker)


def _run_in_worker(item: WorkItem, growth: int) -> WorkOutcome:
    """Run an item in a worker process; the first call prepares that process.

    growth: bytes by which the process may grow before joblib replaces it.
    """
    from joblib.externals.loky import process_executor

    _prepare_once()
    process_executor._MAX_MEMORY_LEAK_SIZE = growth  # joblib has no public name for it
    return _run_item(item)


@lru_cache(1)
def _thread_controller(n_modules: int) -> Any:
    """The controller of the numeric libraries' threads.

    It is made again only when the number of imported modules has changed, since the search for
    libraries takes longer than a short task.
    """
    # imported now: a BLAS that is loaded inside a task would not be limited
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def limit_to_one_thread() -> Any:
    """A context in which numeric libraries use one thread: several threads sum in another order,
    which gives other last digits.
    """
    return _thread_controller(len(sys.modules)).limit(limits=1)


def _run_item(item: WorkItem) -> WorkOutcome:
    """Run one item on one thread, after its `prepare`.

    An exception becomes the outcome's error: the message for one that a user can mend, the
    traceback of a bug.
    """
    try:
        if item.prepare is not None:
            item.prepare()
        began = time.perf_counter()
        with limit_to_one_thread():
            value = item.function(*item.arguments)
        seconds = time.perf_counter() - began
        return WorkOutcome(item.name, value, seconds=seconds)
    except Exception as error:  # noqa: BLE001
        # a bug in one task must not lose the results of the others
        message, code = explain(error)
        return WorkOutcome(item.name, error=message or traceback.format_exc(), exit_code=code)
