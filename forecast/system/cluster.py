"""Runs the tasks of `forecast.system.workers` on a Dask cluster instead of this machine's cores.

    FORECAST_CLUSTER=tcp://host:8786     a running scheduler (tls:// with certificates)
    FORECAST_CLUSTER=local:4             four worker processes here, for the duration of a stage

A task is a whole study, training or fit. Workers read and write the files of this machine. A worker
that does not see these files is refused, and so is one with other code or packages, whose numbers
could differ.

A task whose worker dies is run again on another worker. Dask gives a task up when its fourth worker
dies (`allowed-failures`); we then run it once more, and after that it has failed.

`workers` calls `run_on_cluster`.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, chdir, contextmanager, suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.system import files
from forecast.system.addresses import public_address
from forecast.system.errors import BusyError, ForecastError, InputError, plural

if TYPE_CHECKING:
    from distributed import Client, Future

    from forecast.system.workers import WorkItem

CLUSTER_VARIABLE = "FORECAST_CLUSTER"
WAIT_SECONDS = 10
"""How long to wait for a scheduler to answer."""
WORKER_SECONDS = 60
"""How long to wait for the first worker; long, because workers restart after a Ctrl-C. Later also
the time between two looks for a worker, so that the loss of all is told after up to twice as long.
"""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "lightgbm",
    "scikit-learn",
    "statsforecast",
    "numba",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "optuna",
)
"""The packages that compute: another version of one of them may give other numbers."""
ALL_DIED = (
    "every worker process that ran it died, most likely for lack of memory. Give the workers more "
    "(`dask worker --memory-limit`), or fewer of them a machine; the other tasks are finished."
)
OTHER_VERSION_ADVICE = (
    "Its numbers would not be those of this machine: install the same version there and start it"
    " again."
)


def cluster_address() -> str:
    """The address in the environment variable FORECAST_CLUSTER; empty means this machine's cores.

    Raises `InputError` for a malformed address.
    """
    address = os.environ.get(CLUSTER_VARIABLE, "").strip()
    match = re.fullmatch(
        r"(?:tcp|tls)://(?:[^\s/:]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})|local:[1-9]\d{0,3}",
        address,
    )
    if address and (not match or (match["port"] and not 0 < int(match["port"]) < 65536)):
        raise InputError(
            f"{CLUSTER_VARIABLE} (or --cluster): {public_address(address)!r} is no address of a"
            " cluster. Wanted tcp://host:port, tls://host:port or local:<worker processes>."
        )
    return address


def run_on_cluster(
    function: Callable[[WorkItem], Any], items: Sequence[WorkItem], address: str
) -> Iterator[tuple[WorkItem, Any]]:
    """Yields each task with what `function` returned for it, or with the `ForecastError` that ended
    it, as soon as it is ready.

    Raises `BusyError` (exit code 75) when no scheduler or worker answers or the scheduler goes
    away; finished tasks are kept and the command can be repeated. Raises `InputError` without Dask,
    and for a worker that does not see the files or has other code or packages.
    """
    from asyncio import CancelledError  # late: `predict` imports this module and needs no loop

    advice = "What is finished is kept: run the same command again."
    with _connect(address) as client:
        submitted: dict[Future, WorkItem] = {}
        try:
            with _folder_seen_by_workers(client, items) as shared_folder:
                submit = partial(_submit, client, function, shared_folder)
                yield from _as_completed(client, submit, items, submitted)
        except (OSError, CancelledError) as error:
            if isinstance(error, ConnectionError) or client.status != "running":
                raise BusyError(
                    f"The scheduler at {address} went away. Start it again. {advice}"
                ) from None
            if isinstance(error, TimeoutError):
                raise BusyError(
                    f"{address} has no worker after {WORKER_SECONDS} s. Start one"
                    f" (docs/cluster.md). {advice}"
                ) from None
            raise
        finally:
            _cancel(client, [future for future in submitted if not future.done()])


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`, or of worker processes started here for `local:N`.

    Raises `InputError` without Dask, `BusyError` when no scheduler answers.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError(
            f"{CLUSTER_VARIABLE} is {address!r}, and Dask is not installed. Install the extra"
            " `cluster`."
        ) from None
    with (
        ExitStack() as stack,
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}),
    ):
        if address.startswith("local:"):
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="forecast-cluster-"))
            local_cluster = LocalCluster(
                n_workers=int(address.removeprefix("local:")),
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                local_directory=scratch,
                silence_logs=50,
                preload=__name__,
            )
            cluster = stack.enter_context(local_cluster)
            client = stack.enter_context(Client(cluster, set_as_default=False))
        else:
            _require_scheduler(address)
            client = stack.enter_context(
                Client(address, timeout=WAIT_SECONDS, set_as_default=False)
            )
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        print(
            f"cluster {address}: {plural(workers, 'worker')}, dashboard {client.dashboard_link}",
            file=sys.stderr,
        )
        yield client


def _require_scheduler(address: str) -> None:
    """Raises `BusyError` when no Dask scheduler answers at `address`.

    Dask's own client would take half a minute to give up, and print a traceback.
    """
    import asyncio

    from distributed.core import rpc
    from distributed.security import Security

    async def ask_role() -> str:
        connection = Security().get_connection_args("client")
        async with rpc(address, timeout=WAIT_SECONDS, connection_args=connection) as server:
            return str((await server.identity())["type"])

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook already runs a loop in its thread
            role = thread.submit(asyncio.run, asyncio.wait_for(ask_role(), WAIT_SECONDS)).result()
    except (OSError, MemoryError, TypeError) as error:
        # MemoryError: another kind of server, whose first bytes Dask takes for a length;
        # TypeError: no certificates are configured
        role = str(error) or type(error).__name__
    if role != "Scheduler":
        raise BusyError(
            f"No scheduler answers at {address} within {WAIT_SECONDS} s ({role}). Start one (`dask"
            " scheduler`; for tls://, name certificates in Dask's settings), or leave out"
            " --cluster to work on this machine."
        )


@cache
def code_identity() -> dict[str, str]:
    """Digests of this process's code and packages; two processes whose digests are equal compute
    the same numbers.
    """
    from forecast.system.code_closure import PROJECT

    code = {
        path.relative_to(PROJECT).as_posix(): files.sha256(path)
        for path in (PROJECT / "forecast").rglob("*.py")
    }
    packages = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            packages.append(f"{name}=={version(name)}")
    return {
        "code": files.sha256_of(code)[:12],
        "packages": files.sha256_of(packages)[:12],
    }


@contextmanager
def _folder_seen_by_workers(client: Client, items: Sequence[WorkItem]) -> Iterator[Path]:
    """Makes an empty folder on the disk of the first task's files (all tasks use one disk), and
    checks that every worker sees it.

    Raises `InputError` for a worker that does not see it or has other code or packages.
    """
    path = (items[0].writes or Path.cwd() / "any").absolute()
    disk = next(folder for folder in path.parents if folder.is_dir())
    with tempfile.TemporaryDirectory(
        prefix=f"{files.TEMPORARY}seen-", dir=disk, ignore_cleanup_errors=True
    ) as shared_folder:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
        answers = client.run(
            _describe_unfit, code_identity(), Path(shared_folder), on_error="return"
        )
        for worker, fault in answers.items():
            if isinstance(fault, Exception):
                fault = f"cannot say which code it has ({fault}). {OTHER_VERSION_ADVICE}"
            if fault:
                raise InputError(f"Worker {worker} {fault}")
        yield Path(shared_folder)


def _describe_unfit(identity: dict[str, str], shared_folder: Path) -> str:
    """Why this worker may not run tasks, and what to do about it; empty where it may."""
    own_identity = code_identity()
    differences = [
        f"has other {what} (digest {own_identity[what]}, here {digest})"
        for what, digest in identity.items()
        if own_identity[what] != digest
    ]
    if differences:
        return f"{' and '.join(differences)}. {OTHER_VERSION_ADVICE}"
    if not shared_folder.is_dir():
        return (
            f"does not see {shared_folder.parent}. Put the project into a folder that all workers"
            " share."
        )
    return ""


def _submit(
    client: Client,
    function: Callable[[WorkItem], Any],
    shared_folder: Path,
    items: Sequence[WorkItem],
) -> list[Future]:
    """Submits tasks and returns their futures in the same order.

    The result of a future is that of `_run_if_suited`. shared_folder: made by
    `_folder_seen_by_workers`.
    """
    return client.map(
        _run_if_suited,
        items,
        function=function,
        identity=code_identity(),
        shared_folder=shared_folder,
        folder=Path.cwd(),
        pure=False,
        retries=2,  # for faults around a task: `workers` returns the errors of the task itself
        key=[f"{item.name}-{uuid.uuid4().hex}" for item in items],
    )


def _run_if_suited(
    item: WorkItem,
    *,
    function: Callable[[WorkItem], Any],
    identity: dict[str, str],
    shared_folder: Path,
    folder: Path,
) -> tuple[str, Any]:
    """Runs a task on this worker: ("", result), or (why the worker is unfit, None).

    A worker that joined late was not checked by `_folder_seen_by_workers`. Relative paths are
    resolved from `folder`.
    """
    fault = _describe_unfit(identity, shared_folder)
    if fault:
        return fault, None
    with chdir(folder):  # a worker runs one task at a time
        return "", function(item)


def _as_completed(
    client: Client,
    submit: Callable[..., list[Future]],
    items: Sequence[WorkItem],
    submitted: dict[Future, WorkItem],
) -> Iterator[tuple[WorkItem, Any]]:
    """Yields each task with its result, as `run_on_cluster` does.

    submitted: is kept up to date with the tasks that the scheduler holds. Raises `InputError` for a
    worker that joined late and is unfit.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    submitted.update(zip(submit(items), items, strict=True))
    waiting = as_completed(list(submitted), loop=client.loop, raise_errors=False)
    resubmitted = set[str]()
    while submitted:
        batch = _wait_for_next(client, waiting)
        finished = [future for future in batch if future.status == "finished"]
        try:
            results = client.gather(finished) if finished else []  # one request for all of them
        except KilledWorker:  # a result was lost with its worker, and computing it again failed
            waiting.update(batch)
            continue
        for future, (fault, result) in zip(finished, results, strict=True):
            if fault:
                raise InputError(f"A worker that joined late {fault}")
            yield submitted.pop(future), result
        for future in set(batch).difference(finished):
            if future.status in ("pending", "lost") and client.status == "running":
                # the result was lost with its worker and is being computed again
                waiting.add(future)
                continue
            _require_killed(future)
            item = submitted.pop(future)
            if item.name in resubmitted:
                yield item, ForecastError(f"{item.name}: {ALL_DIED}")
            else:
                # Dask also blames tasks that only waited on a dying worker: so each is tried once
                # more, after those that were submitted before
                resubmitted.add(item.name)
                (future,) = submit([item])
                submitted[future] = item
                waiting.add(future)


def _wait_for_next(client: Client, waiting: Any) -> list[Future]:
    """Waits until at least one future is done; returns all that are.

    Looks for a worker every `WORKER_SECONDS`; `TimeoutError` where none comes for as long again.
    """
    last_check = time.monotonic()
    while not waiting.has_ready():
        with waiting.thread_condition:
            waiting.thread_condition.wait(0.1)
        if time.monotonic() - last_check > WORKER_SECONDS and client.status == "running":
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
            last_check = time.monotonic()
    return list(waiting.next_batch())


def _require_killed(future: Future) -> None:
    """Raises the error of a task that ended by anything but the death of its workers, and
    `ConnectionError` for one that was cancelled or lost.
    """
    from distributed.scheduler import KilledWorker

    if future.status != "error":
        raise ConnectionError(f"{future.key} is {future.status}")
    error = future.exception()
    if not isinstance(error, KilledWorker):
        raise error


def _cancel(client: Client, unfinished: list[Future]) -> None:
    """Cancels the unfinished tasks and restarts the workers that run one of them: a thread cannot
    be stopped, its process can.
    """
    if not unfinished or client.status != "running":
        return
    our_keys = {future.key for future in unfinished}
    busy = [worker for worker, keys in client.processing().items() if our_keys & set(keys)]
    client.cancel(unfinished, force=True)
    with suppress(Exception):  # a worker without a nanny cannot be restarted and ends its task
        client.restart_workers(busy, timeout=WAIT_SECONDS, raise_for_error=False)


def dask_setup(worker: Any) -> None:
    """Prepares a worker (`dask worker --preload forecast.system.cluster`): one thread per task.

    Raises `SystemExit` for a worker with several threads.
    """
    code_identity()
    for name in THREADS:
        os.environ.setdefault(name, "1")
    # glibc's own largest thresholds; Dask makes glibc give back every page at once, which is slow
    with suppress(AttributeError, OSError):
        for threshold, megabytes in ((-1, 64), (-3, 32)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(threshold, megabytes << 20)
    if (threads := getattr(getattr(worker, "state", None), "nthreads", 1)) != 1:
        raise SystemExit(
            f"This worker has {threads} threads; TensorFlow and BLAS want --nthreads 1 here."
        )
