"""The tasks of `forecast.system.workers` on a Dask cluster instead of this machine's cores.

    FORECAST_CLUSTER=tcp://host:8786     a scheduler that somebody runs (tls:// with certificates)
    FORECAST_CLUSTER=local:4             four worker processes here, for the time of a stage

Only whole tasks travel: a study, a training, a fit. Where a worker sees this machine's files it
reads and writes them; where one does not, every worker is sent what a task reads, by content and
once, and its files come back as bytes, written here by the one process that asked. A worker with
other code or other packages would give other numbers and is refused. A task whose worker dies is
run again on another; one that takes three workers with it has failed.

`run_on_cluster` is what `workers` calls; `cluster_address` refuses a malformed address. Without a
scheduler, or when it goes away, it is a `BusyError`: what is finished is kept.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.system import files
from forecast.system.addresses import show_address
from forecast.system.errors import BusyError, ForecastError, InputError, plural

if TYPE_CHECKING:
    from distributed import Client, Future

    from forecast.system.workers import WorkItem

VARIABLE = "FORECAST_CLUSTER"
WAIT_SECONDS, START_SECONDS = 10, 60
"""For a scheduler to answer; for the first of its workers, which after a Ctrl-C are just being
started again.
"""
TENSORFLOW_BYTES, LIBRARY_BYTES = 700_000_000, 300_000_000
"""Memory of a worker before it has any data, with TensorFlow and without."""
BYTES_PER_VALUE = 260
"""Memory that a task needs for each value of the prepared table."""
MAX_SUBMITTED = 512
"""Tasks that the scheduler knows of at most; when half are done, as many follow in one message, the
cheapest way.
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
    "tensorflow-cpu",
    "optuna",
)
"""Those that compute: other versions of them may give other numbers."""
ALL_DIED = (
    "every worker process that ran it died, most likely for lack of memory. Give the workers more "
    "(`dask worker --memory-limit`), or fewer of them a machine; the other tasks are finished."
)
OTHER_VERSION_ADVICE = (
    "Its numbers would not be those of this machine: install the same version there and start it"
    " again."
)
Blob = dict[str, bytes]


def cluster_address() -> str:
    """Of the cluster that this command was given; empty: this machine's cores.

    `InputError` for a malformed one.
    """
    address = os.environ.get(VARIABLE, "").strip()
    match = re.fullmatch(
        r"(?:tcp|tls)://(?:[^\s/:]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})|local:[1-9]\d{0,3}", address
    )
    if address and (not match or not 0 < int(match[1] or 1) < 65536):
        raise InputError(
            f"{VARIABLE} (or --cluster): {show_address(address)!r} is no address of a cluster."
            " Wanted tcp://host:port, tls://host:port or local:<worker processes>."
        )
    return address


def run_on_cluster(
    function: Callable[[WorkItem], Any], items: Sequence[WorkItem], address: str
) -> Iterator[tuple[WorkItem, Any]]:
    """Each task with what `function` returned of it, or with the `ForecastError` that ended it, as
    they are ready.

    `BusyError` (75) when no scheduler answers or it goes away: what is finished is kept, the
    command can be repeated.
    """
    advice = "What is finished is kept; start one and run the same command again."
    with _connect(address) as client:
        submitted: dict[Future, WorkItem] = {}
        try:
            sees_files = _check_workers(client, items)
            submit = partial(_submit, client, function, None if sees_files else {})
            yield from _as_completed(client, submit, items, submitted, sees_files)
        except (OSError, CancelledError) as error:
            if isinstance(error, ConnectionError) or client.status != "running":
                raise BusyError(f"The scheduler at {address} went away. {advice}") from None
            if isinstance(error, TimeoutError):
                raise BusyError(
                    f"{address} has no worker after {START_SECONDS} s. {advice} (docs/cluster.md)"
                ) from None
            raise
        finally:
            _cancel(client, [future for future in submitted if not future.done()])


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`, or of worker processes started here for `local:N`;
    `InputError` without Dask, `BusyError` when no scheduler answers.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError(
            f"{VARIABLE} is {address!r}, and Dask is not installed. Install the extra `cluster`."
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
    """Asked before Dask's client is, which takes half a minute and a traceback to give up;
    `BusyError` where none answers.
    """
    from distributed.core import rpc
    from distributed.security import Security

    async def ask_role() -> str:
        connection = Security().get_connection_args("client")
        async with rpc(address, timeout=WAIT_SECONDS, connection_args=connection) as server:
            return str((await server.identity())["type"])

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own
            role = thread.submit(asyncio.run, asyncio.wait_for(ask_role(), WAIT_SECONDS)).result()
    except (OSError, MemoryError, TypeError) as error:
        # no Dask, whose first bytes are no length; no certificates
        role = str(error) or type(error).__name__
    if role != "Scheduler":
        raise BusyError(
            f"No scheduler answers at {address} within {WAIT_SECONDS} s ({role}). Start one (`dask"
            " scheduler`; for tls://, name certificates in Dask's settings), or leave out"
            " --cluster to work on this machine."
        )


@cache
def code_identity() -> dict[str, str]:
    """Digests of what must be the same where numbers shall be: the code and the packages as this
    process began.
    """
    from forecast.system.code_closure import PROJECT

    code = hashlib.sha256()
    for path in sorted((PROJECT / "forecast").rglob("*.py")):
        code.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes())
    packages = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            packages.append(f"{name}=={version(name)}")
    return {
        "code": code.hexdigest()[:12],
        "packages": hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12],
    }


def _check_workers(client: Client, tasks: Sequence[WorkItem]) -> bool:
    """Whether every worker sees this machine's files; `InputError` for one that computes otherwise
    or lacks memory.
    """
    needed, name = max(
        (_estimate_memory(task.reads, task.prepare is not None), task.name) for task in tasks
    )
    path = next(
        (path for path in (*tasks[0].reads, tasks[0].writes) if path), Path.cwd() / "any"
    ).absolute()
    # that of the tasks, which may be none of cwd's
    disk = next(folder for folder in path.parents if folder.is_dir())
    with tempfile.TemporaryDirectory(
        prefix=f"{files.TEMPORARY}seen-", dir=disk, ignore_cleanup_errors=True
    ) as token:
        client.wait_for_workers(1, timeout=START_SECONDS)
        for worker, there in client.run(code_identity, on_error="return").items():
            if isinstance(there, Exception):
                refused = f"cannot say which code it has ({there})"
            else:
                refused = _describe_difference(there, code_identity())
            if refused:
                raise InputError(f"Worker {worker} {refused}. {OTHER_VERSION_ADVICE}")
        for worker, worker_info in client.scheduler_info(n_workers=-1)["workers"].items():
            if 0 < worker_info["memory_limit"] < needed:
                limit = worker_info["memory_limit"] / 1e9
                raise InputError(
                    f"Worker {worker} may use {limit:.1f} GB; {name} needs"
                    f" about {needed / 1e9:.1f} GB. Give it more (`dask worker --memory-limit`), or"
                    " start fewer workers."
                )
        return os.environ.get("FORECAST_CLUSTER_DISK") != "separate" and all(
            client.run(os.path.isdir, token).values()
        )


def _describe_difference(worker_identity: dict[str, str], local_identity: dict[str, str]) -> str:
    """What differs between two identities; empty where nothing does."""
    return " and ".join(
        f"has other {what} (digest {worker_identity[what]}, here {local_identity[what]})"
        for what in local_identity
        if worker_identity[what] != local_identity[what]
    )


@cache
def _estimate_memory(reads: tuple[Path, ...], engine: bool) -> int:
    """Bytes of a task, about: of the largest table that it reads, and of TensorFlow where the task
    has an `engine` to prepare.
    """
    import pyarrow.parquet

    tables: list[Path] = []
    for path in reads:
        tables += [path] if path.is_file() else path.rglob("*.parquet")
    n_cells = 0
    for table in tables:
        if table.suffix == ".parquet":
            metadata = pyarrow.parquet.read_metadata(table)
            n_cells = max(n_cells, int(metadata.num_rows) * (int(metadata.num_columns) - 2))
    libraries = TENSORFLOW_BYTES if engine else LIBRARY_BYTES
    return BYTES_PER_VALUE * n_cells + libraries if n_cells else 0


def _submit(
    client: Client,
    function: Callable[[WorkItem], Any],
    sent: dict[Path, Future] | None,
    numbered_items: list[tuple[int, WorkItem]],
) -> list[Future]:
    """`sent`: what the workers were given by now; None where they see this machine's files."""
    tasks = [_change_paths(task, Path.absolute) for _, task in numbered_items]
    options: dict[str, Any] = {
        "pure": False,
        "retries": 2,
        "priority": -numbered_items[0][0],
        "identity": code_identity(),
    }
    options["key"] = [f"{task.name}-{uuid.uuid4().hex}" for task in tasks]
    if sent is None:
        return client.map(_run_if_same, tasks, function=function, **options)
    for path in {path for task in tasks for path in task.reads}.difference(sent):
        if path.exists():  # a task, since the only copy of scattered data dies with its worker
            sent[path] = client.submit(tuple, _read_files(path), priority=1)
    inputs = [[sent[path] for path in task.reads if path in sent] for task in tasks]
    return client.map(
        _run_if_same, tasks, inputs, function=partial(_run_without_disk, function), **options
    )


def _run_if_same(
    *arguments: Any, function: Callable[..., Any], identity: dict[str, str]
) -> tuple[str, Any]:
    """(why not, what the function returned): this worker may have come after the others were asked
    what they are.
    """
    refused = _describe_difference(code_identity(), identity)
    return refused, None if refused else function(*arguments)


def _as_completed(
    client: Client,
    submit: Callable[..., list[Future]],
    tasks: Sequence[WorkItem],
    out: dict[Future, WorkItem],
    shared: bool,
) -> Iterator[tuple[WorkItem, Any]]:
    """`out` always has what is with the scheduler. `InputError` for a worker that came later and
    computes otherwise.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    left = deque(enumerate(tasks))
    suspected = set[str]()
    waiting = as_completed(loop=client.loop, raise_errors=False)
    while left or out:
        if left and len(out) <= MAX_SUBMITTED // 2:
            some = [left.popleft() for _ in range(min(MAX_SUBMITTED - len(out), len(left)))]
            futures = submit(some)
            out.update(zip(futures, (task for _, task in some), strict=True))
            waiting.update(futures)
        batch = _next_ready(client, waiting)
        finished = [future for future in batch if future.status == "finished"]
        try:
            results = client.gather(finished) if finished else []  # one question for all of them
        except KilledWorker:  # a result that died with its worker was made again in vain
            waiting.update(batch)
            continue
        for future, (refused, result) in zip(finished, results, strict=True):
            if refused:
                raise InputError(f"A worker that came later {refused}. {OTHER_VERSION_ADVICE}")
            task = out.pop(future)
            yield task, result if shared else _write_files(task, *result)
        for future in set(batch).difference(finished):
            if future.status in ("pending", "lost") and client.status == "running":
                # its result died with the worker that held it, and is being made again
                waiting.add(future)
                continue
            _require_killed(future)
            task = out.pop(future)
            if task.name in suspected:
                yield task, ForecastError(f"{task.name}: {ALL_DIED}")
            else:  # Dask blames what waited on a worker too: once more, after all the others
                suspected.add(task.name)
                left.append((len(tasks), task))


def _next_ready(client: Client, waiting: Any) -> list[Future]:
    """Waits for the next ones. `TimeoutError` when every worker went and none came back."""
    looked = time.monotonic()
    while not waiting.has_ready():
        with waiting.thread_condition:
            waiting.thread_condition.wait(0.1)
        if time.monotonic() - looked > START_SECONDS and client.status == "running":
            client.wait_for_workers(1, timeout=START_SECONDS)
            looked = time.monotonic()
    return list(waiting.next_batch())


def _require_killed(future: Future) -> None:
    """Raises what else ended a task that is not finished; `ConnectionError` where nobody works on
    it any more.
    """
    from distributed.scheduler import KilledWorker

    if future.status != "error":
        raise ConnectionError(f"{future.key} is {future.status}")
    error = future.exception()
    if not isinstance(error, KilledWorker):
        raise error


def _cancel(client: Client, left: list[Future]) -> None:
    """Ends what still waits, and the workers that run one of ours: a thread cannot be stopped, its
    process can.
    """
    if not left or client.status != "running":
        return
    ours = {future.key for future in left}
    busy = [worker for worker, keys in client.processing().items() if ours & set(keys)]
    client.cancel(left, force=True)
    with suppress(Exception):  # a worker without a nanny ends its task by itself
        client.restart_workers(busy, timeout=WAIT_SECONDS, raise_for_error=False)


def _run_without_disk(
    function: Callable[[WorkItem], Any], task: WorkItem, sent: list[tuple[str, Blob]]
) -> tuple[Any, Blob]:
    """On a worker without this machine's disk: its copy of the files, the function, and what it
    wrote.
    """
    from distributed import get_worker

    there = Path(get_worker().local_directory) / "files"
    for root, blob in sent:
        for name, content in blob.items():
            path = there / Path(root).relative_to("/") / name
            if not path.exists() or path.read_bytes() != content:
                files.write_bytes(path, content)
    task = _change_paths(task, lambda path: there / path.relative_to("/"))
    value = function(task)
    blob = Blob()
    if task.writes is not None and task.writes.exists():
        blob = _read_files(task.writes)[1]
        shutil.rmtree(task.writes, ignore_errors=True)
    return value, blob


def _write_files(task: WorkItem, value: Any, blob: Blob) -> Any:
    """Write what a worker without this disk sent back for `task`; returns the task's value."""
    if task.writes is not None and blob:
        with files.atomic_directory(task.writes) as temporary:
            for name, content in blob.items():
                files.write_bytes(temporary / name, content)
    return value


def _read_files(path: Path) -> tuple[str, Blob]:
    """A file, or every file below a folder, by its name relative to `path`."""
    files_below = (
        [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    )
    return str(path), {file.relative_to(path).as_posix(): file.read_bytes() for file in files_below}


def _change_paths(value: Any, change: Callable[[Path], Path]) -> Any:
    """`value` with every path in it changed: in tuples and in dataclasses, however deep."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, tuple):
        parts = tuple(_change_paths(part, change) for part in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        changed = {
            name: new
            for name, part in values.items()
            if (new := _change_paths(part, change)) is not part
        }
        return replace(value, **changed) if changed else value
    return value


def dask_setup(worker: Any) -> None:
    """For `dask worker --preload forecast.system.cluster`: one thread per task, in BLAS as in
    Dask.
    """
    code_identity()
    for name in THREADS:
        os.environ.setdefault(name, "1")
    # as glibc adapts itself; Dask has it give back every page at once
    with suppress(AttributeError, OSError):
        for threshold, megabytes in ((-1, 64), (-3, 32)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(threshold, megabytes << 20)
    if (threads := getattr(getattr(worker, "state", None), "nthreads", 1)) != 1:
        raise SystemExit(
            f"This worker has {threads} threads; TensorFlow and BLAS want --nthreads 1 here."
        )
