"""Runs in processes of their own: none remembers an earlier one, and what is read beside its data is heard."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from forecast.system.workers import close_pool

KEPT = ("data", ".forecast", "reports", "mlruns", "mlartifacts")
"""Folders of a project that hold data or results; its code and settings may be read at any time."""
P = ParamSpec("P")
T = TypeVar("T")
_listeners: list[tuple[str, str, list[str]]] = []
_hooked: list[int] = []


def apart(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """`work(...)` in a forked process: whatever it or an earlier run keeps in memory ends with its own process.

    A cache that forgets what it was asked for would otherwise give a second run the numbers of the first, and two
    runs that agree for that reason would look clean.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_with_its_workers_ended, partial(work, *arguments, **options)).result()


def _with_its_workers_ended(work: Callable[[], T]) -> T:
    """A forked process ends without what joblib leaves to its exit: it would wait 300 s for idle workers to end, and
    warn of folders. What it inherits to be done at exit is its parent's to do."""
    atexit._clear()
    try:
        return work()
    finally:
        if "joblib" in sys.modules:  # else it started none, and need not import it for that
            close_pool()
        atexit._run_exitfuncs()


@contextmanager
def overheard(root: str | os.PathLike[str], own: str | os.PathLike[str]) -> Iterator[list[str]]:
    """Data and results of the project in `root` that are opened meanwhile, and files written there, save below `own`.

    Heard are files and folders opened by Python in this process, not those that compiled code opens by itself.
    """
    if os.getpid() not in _hooked:
        _hooked.append(os.getpid())
        sys.addaudithook(_heard)  # cannot be taken away again; without a listener it does nothing
    found: list[str] = []
    _listeners.append((_absolute(root), _absolute(own), found))
    try:
        yield found
    finally:
        _listeners.pop()


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listeners or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return
    full = _absolute(path)
    for root, own, found in _listeners:
        part = _below(full, root)
        if (
            part
            and _below(full, own) is None
            and (part.partition(os.sep)[0] in KEPT or _written(event, arguments, full))
        ):
            found.append(part)


def _absolute(path: str | bytes | os.PathLike[Any]) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100  (a resolved path would open more files, and be heard)


def _below(path: str, folder: str) -> str | None:
    """`path` relative to `folder`; None where it is not inside."""
    return path[len(folder) + 1 :] if path == folder or path.startswith(folder + os.sep) else None


def _written(event: str, arguments: tuple[Any, ...], path: str) -> bool:
    if event != "open" or "__pycache__" in path or _below(path, sys.prefix) is not None:
        return False
    mode, flags = arguments[1], arguments[2]
    return bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
