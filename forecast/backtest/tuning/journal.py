"""Optuna's journal file, made to survive a kill: one line per operation, appended and flushed to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def open_journal(path: Path) -> BaseStorage:
    """The journal at `path`, mended first. The caller holds the study's lock, so nobody else writes to it."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    mend(path)
    return JournalStorage(JournalFileBackend(str(path)))


def mend(path: Path) -> None:
    """Remove what a killed writer left: Optuna's own lock (it would wait 30 s for it) and a torn last line.

    Optuna would append to the torn line and could never read the file again. Everything from the first unreadable
    line on is dropped: a study is deterministic, so the trials lost with it are repeated to the same result.
    """
    for leftover in path.parent.glob(f"{path.name}.lock*"):
        leftover.unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    intact = intact_length(content)
    if intact < len(content):
        with path.open("r+b") as file:
            file.truncate(intact)


def intact_length(content: bytes) -> int:
    """The bytes up to the end of the last line before the first one that is not a complete JSON object."""
    length = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or not _is_json(line):
            break
        length += len(line)
    return length


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
