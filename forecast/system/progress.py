"""Shows the progress of work that has many pieces (`show_progress`), and how long the rest takes
(`Pace`): a bar on a terminal, plain lines elsewhere.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import TextIO

PLAIN_SECONDS = 5.0
SILENT_SECONDS = 30.0
"""After so many seconds without output a line says that the work goes on."""
START_SECONDS = 10.0  # no estimate of the remaining time is shown before


def show_nothing(_text: str) -> None:
    """Ignores the name of a finished piece, or a line of a log."""


@dataclass(frozen=True)
class Piece:
    """A piece of work, for the estimate of the remaining time."""

    kind: str = ""
    weight: float = 1.0
    """Its expected duration relative to other pieces of its kind."""


Show = Callable[[int, str, str], None]
"""Called with the number of finished pieces, the name of the last one, and the remaining time."""


class Pace:
    """Estimates the remaining time from the seconds per weight of the finished pieces."""

    def __init__(self, total: int, pieces: Mapping[str, Piece], clock: Callable[[], float]) -> None:
        """pieces: by name, those whose kind or weight differs; the others are `Piece()`."""
        self._clock = clock
        self._pieces = pieces
        self._n_left = Counter(pieces.values())
        self._n_left[Piece()] += total - len(pieces)
        self._n_done: Counter[str] = Counter()
        self._weight: dict[str, float] = defaultdict(float)
        self._seconds: dict[str, float] = defaultdict(float)
        self.started = clock()
        self._first_began = math.inf
        self.last = self.started
        """The time when the last piece was finished."""

    def finish(self, name: str, seconds: float | None) -> str:
        """Count a finished piece; returns `, about 3 min 05 s left`, at the end ` in 9 min 10 s`,
        and "" while too few are finished for an estimate.

        seconds: how long it took; None means the time since the last one, 0 that it was finished
        before.
        """
        piece = self._pieces.get(name, Piece())
        now = self._clock()
        took = now - self.last if seconds is None else seconds
        self.last = now
        self._n_left[piece] -= 1
        if took:
            self._n_done[piece.kind] += 1
            self._weight[piece.kind] += piece.weight
            self._seconds[piece.kind] += took
            self._first_began = min(self._first_began, now - took)
        n_left = (+self._n_left).total()  # + leaves out counts below 1
        elapsed = now - self.started
        if not n_left:
            return f" in {format_duration(elapsed)}"
        # before a tenth is done most of the time was imports and the first task of every worker
        if elapsed < START_SECONDS or not took or 9 * self._n_done.total() < n_left:
            return ""
        n_at_work = sum(self._seconds.values()) / (now - self._first_began)
        return f", about {format_duration(self._work_left() / n_at_work)} left"

    def _work_left(self) -> float:
        """The seconds that the unfinished pieces take one after another.

        A kind of which no piece is finished counts as the fastest kind so far, since slow kinds
        begin early.
        """
        shortest = min(self._seconds[kind] / n for kind, n in self._n_done.items())
        work = 0.0
        for piece, n in (+self._n_left).items():
            seconds = shortest
            if piece.kind in self._seconds:
                seconds = piece.weight * self._seconds[piece.kind] / self._weight[piece.kind]
            work += n * seconds
        return work


@contextmanager
def show_progress(
    total: int,
    label: str,
    pieces: Mapping[str, Piece] = MappingProxyType({}),
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[..., None]]:
    """Shows the progress of `total` pieces: `with show_progress(12, "tune weather") as advance: ...
    advance("lstm")`.

    pieces: by name, where some take longer than others. stream: standard error by default.
    """
    out = stream or sys.stderr
    pace = Pace(total, pieces, clock)
    numbers = count(1)
    progress = _terminal_progress if out.isatty() else _plain_progress
    with progress(total, label, out, pace) as show:

        def advance(name: str = "", seconds: float | None = None) -> None:
            """Count one more finished piece; `seconds` as in `Pace.finish`."""
            show(next(numbers), name, pace.finish(name, seconds))

        yield advance


@contextmanager
def _terminal_progress(total: int, label: str, out: TextIO, _pace: Pace) -> Iterator[Show]:
    """Progress as a bar on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[name]}{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(file=out)) as bar:
        task = bar.add_task(label, total=total, name="", left="")

        def show(done: int, name: str, left: str) -> None:
            """Move the bar."""
            bar.update(task, completed=done, name=name, left=left)

        yield show


@contextmanager
def _plain_progress(total: int, label: str, out: TextIO, pace: Pace) -> Iterator[Show]:
    """Progress as a line every few seconds, where there is no terminal."""
    last, n_finished = pace.started, 0
    is_over, has_news = threading.Event(), threading.Event()

    def tell_alive() -> None:
        """Print a line at the end of each span of `SILENT_SECONDS` that had none, so that the work
        does not seem to hang: after a silence of one span to nearly two.
        """
        while not is_over.wait(SILENT_SECONDS):
            if not has_news.is_set():
                print(f"{label}: at work, {n_finished} of {total} done", file=out, flush=True)
            has_news.clear()

    def show(done: int, name: str, left: str) -> None:
        """Print a line at the end, and before it at most every `PLAIN_SECONDS`."""
        nonlocal last, n_finished
        n_finished = done
        if done < total and pace.last - last < PLAIN_SECONDS:
            return
        last = pace.last
        has_news.set()
        finished = f" ({name})" if name else ""
        print(f"{label}: {done} of {total} done{left}{finished}", file=out, flush=True)

    threading.Thread(target=tell_alive, daemon=True).start()
    try:
        yield show
    finally:
        is_over.set()


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
