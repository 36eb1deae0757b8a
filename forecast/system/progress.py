"""What is running, how many are done, how long is left: a bar on a terminal or in a notebook, plain lines elsewhere.

Times are shown and forgotten; nothing of them reaches a result.
"""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

PLAIN_SECONDS = 5.0


class Advance:
    """Called with the name of each finished piece; `started` names what is being worked on now."""

    def __init__(self, show: Callable[[int, str], None]) -> None:
        self._show = show
        self._running: list[str] = []
        self.done = 0

    def __call__(self, name: str = "") -> None:
        self.done += 1
        if name in self._running:
            self._running.remove(name)
        self._show(self.done, ", ".join(self._running) or name)

    def started(self, name: str) -> None:
        self._running.append(name)
        self._show(self.done, ", ".join(self._running))


@contextmanager
def progress(
    total: int, label: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Advance]:
    """`with progress(12, "tune weather") as advance: ... advance("lstm")`; goes to standard error by default."""
    out = stream or sys.stderr
    if stream is None and _in_notebook():
        shown = _cell(total, label, clock)
    else:
        shown = _bar(total, label, out) if out.isatty() else _lines(total, label, out, clock)
    with shown as advance:
        yield advance


@contextmanager
def _bar(total: int, label: str, out: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    left, name = TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.fields[name]}")
    begin = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*begin, left, name, console=Console(file=out)) as bar:
        task = bar.add_task(label, total=total, name="")
        yield Advance(lambda done, name: bar.update(task, completed=done, name=name))


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process; IPython is never imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def _cell(total: int, label: str, clock: Callable[[], float]) -> Iterator[Advance]:
    """A bar in the output of the running cell, by HTML alone: it needs no widgets and stays as text when saved."""
    display = importlib.import_module("IPython.display")
    started = clock()

    def bar(done: int, name: str) -> object:
        said = html.escape(f"{label}: {done} of {total}{_remaining(done, total, clock() - started)} {name}")
        return display.HTML(f'<progress value="{done}" max="{total}"></progress> {said}')

    handle = display.display(bar(0, ""), display_id=True)
    yield Advance(lambda done, name: handle.update(bar(done, "" if done >= total else name)))


@contextmanager
def _lines(total: int, label: str, out: TextIO, clock: Callable[[], float]) -> Iterator[Advance]:
    started = clock()
    last = started

    def show(done: int, name: str) -> None:
        nonlocal last
        now = clock()
        if done < total and now - last < PLAIN_SECONDS:
            return
        last = now
        named = f" ({name})" if name else ""
        print(f"{label}: {done} of {total} done{_remaining(done, total, now - started)}{named}", file=out, flush=True)

    yield Advance(show)


def _remaining(done: int, total: int, elapsed: float) -> str:
    if done >= total:
        return f" in {duration(elapsed)}"
    return f", about {duration(elapsed / done * (total - done))} left" if done else ""


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
