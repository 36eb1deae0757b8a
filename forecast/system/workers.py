"""`run_items`: independent tasks (`WorkItem`) over the cores, one process per core, one thread
each; results do not depend on which is run when and where.

A task that fails is an outcome (`WorkOutcome`) with its error and stops no other;
`raise_failures` then makes one error of all, as `run_with_progress` does, which shows what is done.

With FORECAST_CLUSTER the same tasks go to a Dask cluster (`forecast.system.cluster`).
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO, TypeVar

import psutil

from forecast.system import cluster
from forecast.system.errors import ForecastError, combine_exit_codes
from forecast.system.processes import current_executor, prepare_worker
from forecast.system.stage import Piece, show_progress

T = TypeVar("T")
MAX_GROWTH = int(1.5e9)
"""Bytes by which a worker may grow before another one takes its place, where half of the memory is
enough for all. joblib's 300 MB are fewer than traced networks and the data of one dataset take, and
a new worker spends ten CPU seconds on imports, traces and choices that the old one had made.
"""
KILLED_WORKER = (
    "a worker process was killed from outside, most likely by the kernel for want of memory. Take"
    " fewer processes at once (`--jobs 1`), fewer series or a shorter `lookback`; then run the same"
    " command again, which goes on with what is finished."
)
"""Of every task that was not finished then."""


@dataclass(frozen=True)
class WorkItem:
    """A module-level function and its arguments under a name for people."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    prepare: Callable[[], None] | None = None
    """Runs before the function; should do its work, such as a long import, once per process."""
    writes: Path | None = None
    """The folder that it fills, which workers of a cluster must see."""


@dataclass(frozen=True)
class WorkOutcome:
    """What a task returned, or why it did not."""

    name: str
    value: Any = None
    error: str = ""
    """The message of a `ForecastError`, or the traceback of a bug; empty where it succeeded."""
    exit_code: int = 0
    seconds: float = 0.0
    """Of work, without what prepared the process."""


def run_with_progress(
    items: Sequence[WorkItem],
    label: str,
    pieces: Mapping[str, Piece] = MappingProxyType({}),
    *,
    jobs: int,
    finished: Sequence[str] = (),
    stream: TextIO | None = None,
) -> Iterator[WorkOutcome]:
    """`run_items`, and its progress; at the end one error naming every task that failed.

    label, pieces, stream: as in `show_progress`. finished: names of what was there already.
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
    """Run every item, here or on the cluster; outcomes as they are ready.

    A failing task never stops the others; Ctrl-C stops all at once. Left in the environment: one
    thread for each library of `cluster.THREADS`, where nothing else is set.
    """
    if not items:
        return
    for name in cluster.THREADS:
        os.environ.setdefault(name, "1")
    address = cluster.cluster_address()
    if not address:
        yield from _run_locally(items, jobs)
        return
    for item, result in cluster.run_on_cluster(_run_item, items, address):
        if isinstance(result, WorkOutcome):
            yield result
        else:  # what the cluster itself could not run
            yield WorkOutcome(item.name, error=str(result), exit_code=1)


def _run_locally(items: Sequence[WorkItem], jobs: int) -> Iterator[WorkOutcome]:
    """The outcomes of worker processes of this machine; with one job, of this process.

    Whoever kills a worker, mostly the kernel for want of memory, takes the results of all workers
    that are busy then; what was finished before is kept.
    """
    n_jobs = min(jobs, len(items))
    if n_jobs == 1:  # no process to prepare: Ctrl-C stays with this one
        for item in items:
            yield _run_item(item)
        return
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    unfinished = [item.name for item in items]
    parallel = joblib.Parallel(
        n_jobs=n_jobs, batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered"
    )
    with warnings.catch_warnings():
        # loky replaces a worker that has grown by so much; that bounds memory, loses nothing
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
    """The items in an order in which most workers stay with one group, whose data or traces they
    have in memory.

    Of `n_workers` groups the first item of each, then the second of each, ...; then the next
    `n_workers` groups. So two items of a group mostly stand `n_workers` apart.
    """
    items_by_group: dict[str, list[T]] = {}
    for item in items:
        items_by_group.setdefault(group(item), []).append(item)
    groups = list(items_by_group.values())
    ordered: list[T] = []
    for first in range(0, len(groups), n_workers):
        for row in zip_longest(*groups[first : first + n_workers]):
            ordered += [item for item in row if item is not None]
    return ordered


def kill_pool() -> None:
    """End the idle workers that joblib keeps for the next call, and remove its folders."""
    executor = current_executor()
    if executor is not None:
        executor.terminate(kill_workers=True)


def raise_failures(outcomes: Sequence[WorkOutcome], *, what: str) -> None:
    """One error naming every task that failed, after all the others have finished."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    message = f"{what}: {len(failed)} of {len(outcomes)} failed; the others are kept.\n"
    message += "\n".join(f"- {outcome.name}: {outcome.error}" for outcome in failed)
    combined = ForecastError(message)
    combined.exit_code = combine_exit_codes(outcome.exit_code for outcome in failed)
    raise combined


_prepared = False


def _run_in_worker(item: WorkItem, growth: int) -> WorkOutcome:
    """An item in a worker process; the first one prepares that process, which may grow by `growth`
    bytes.
    """
    global _prepared
    if not _prepared:
        prepare_worker()
        from joblib.externals.loky import process_executor

        process_executor._MAX_MEMORY_LEAK_SIZE = growth  # joblib has no public name for it
        _prepared = True
    return _run_item(item)


@lru_cache(1)
def _thread_controller(modules: int) -> Any:
    """The numeric libraries that have threads; searched again when the number of modules changed,
    since a search takes longer than a trivial task.
    """
    # loaded inside a task, its BLAS would have all threads, and be told by some
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def limit_to_one_thread() -> Any:
    """The context of every task: the numeric libraries on one thread, for several sum up in another
    order.
    """
    return _thread_controller(len(sys.modules)).limit(limits=1)


def _run_item(item: WorkItem) -> WorkOutcome:
    """One item, on one thread, after its `prepare`. Whatever goes wrong stands in the outcome: the
    message of a `ForecastError`, the traceback of a bug.
    """
    try:
        if item.prepare is not None:
            item.prepare()
        began = time.perf_counter()
        with limit_to_one_thread():
            value = item.function(*item.arguments)
        seconds = time.perf_counter() - began
        return WorkOutcome(item.name, value, seconds=seconds)
    except ForecastError as error:
        return WorkOutcome(item.name, error=str(error), exit_code=error.exit_code)
    except Exception:  # noqa: BLE001
        # the boundary of a task: a bug is reported with the others' results kept
        return WorkOutcome(item.name, error=traceback.format_exc(), exit_code=1)
