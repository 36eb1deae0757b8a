"""A piece of parallel work and what came of it.

`workers` runs it on this machine's cores, `cluster` on those of a Dask cluster; both know only
these two records, so that neither needs the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class WorkItem:
    """A module-level function and its arguments under a name for people."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    prepare: Callable[[], None] | None = None
    """Runs before the function and counts as start-up; should do its work, such as a long import,
    once per process."""
    reads: tuple[Path, ...] = ()
    """The files and folders that it needs, for workers without this disk."""
    writes: Path | None = None
    """The folder that it fills."""


@dataclass(frozen=True)
class WorkOutcome:
    """What a task returned, or why it did not."""

    name: str
    value: Any = None
    error: str = ""
    """The message of a `ForecastError`, or the traceback of a bug; empty where it succeeded."""
    exit_code: int = 0
    startup: float = 0.0
    """CPU seconds that its process spent on imports before it."""
    kind: str = ""
    """`machine_kind` where it ran."""
