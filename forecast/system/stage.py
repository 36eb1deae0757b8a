"""Runs a pipeline stage (`run_stage`) and shows its progress (`show_progress`).

Every `pipelines/<stage>.py` ends with `run_stage(main)`. An expected failure prints one message and
sets its exit code; a bug prints its traceback and exits 1; Ctrl-C and SIGTERM end every worker and
exit 130. Progress is a bar on a terminal and plain lines elsewhere.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TextIO

from forecast.system.errors import INTERRUPTED, explain
from forecast.system.processes import (
    collect_garbage_rarely,
    end_with_parent,
    exit_now,
    stop_on_signals,
    use_system_memory,
)

LOG_VARIABLE = "FORECAST_STAGE_LOG"
JOBS_VARIABLE = "FORECAST_JOBS"
COMMAND_VARIABLE = "FORECAST_COMMAND"
"""Holds the PID of the command for which stages run; they end when it ends."""


def run_stage(function: Callable[..., Any], arguments: Sequence[str] | None = None) -> NoReturn:
    """Call `function` with the arguments of the command line, then exit with 0, the code of its
    `ForecastError`, 2 for a missing file, 130 after Ctrl-C or SIGTERM, or 1 for a bug.

    Its parameters without a default are positional, the others options: `main(dataset, root=".",
    models=())` is `python -m pipelines.tune weather --root . --models lstm,gru`. A parameter `jobs`
    that is 0 becomes `default_jobs`.
    """
    began = time.time()
    module = function.__module__ if function.__module__ != "__main__" else Path(sys.argv[0]).stem
    stage = module.rpartition(".")[2]
    options = vars(_parser(function, stage).parse_args(arguments))
    if options.get("jobs") == 0:
        options["jobs"] = default_jobs(os.environ)
    use_system_memory()
    collect_garbage_rarely()
    stop_on_signals()
    end_with_parent(grace_seconds=2.0, command=int(os.environ.get(COMMAND_VARIABLE, 0)))
    _write_log_line(began=began)
    code, message = _run_and_explain(function, options, stage)
    _write_log_line(began=began, code=code, message=message, ended=time.time())
    if code == INTERRUPTED:
        exit_now(code)
    sys.exit(code)


def default_jobs(environment: Mapping[str, str]) -> int:
    """The number in `FORECAST_JOBS`, or else of the cores that this process may use."""
    jobs = environment.get(JOBS_VARIABLE, "")
    if jobs.isdigit() and int(jobs):
        return int(jobs)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parser(function: Callable[..., Any], stage: str) -> argparse.ArgumentParser:
    """The argument parser of a stage, from the signature and docstring of its `main`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m pipelines.{stage}", description=inspect.getdoc(function)
    )
    for name, parameter in inspect.signature(function).parameters.items():
        default = parameter.default
        if default is inspect.Parameter.empty:
            parser.add_argument(name)
        else:
            kind = split_names if isinstance(default, tuple) else type(default)
            parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=kind)
    return parser


def split_names(text: str) -> tuple[str, ...]:
    """The names in a text that separates them by commas."""
    names = [name.strip() for name in text.split(",")]
    return tuple(name for name in names if name)


def _run_and_explain(
    function: Callable[..., Any], options: dict[str, Any], stage: str
) -> tuple[int, str]:
    """Run the stage; returns its exit code and the error message that was printed, or ""."""
    try:
        function(**options)
    except KeyboardInterrupt:
        return _print_error(
            f"{stage}: interrupted; nothing half-written is left. Run the same command again.",
            INTERRUPTED,
        )
    except FileNotFoundError as error:
        advice = "`dvc repro` makes what stages make; restore anything else from git."
        return _print_error(f"{stage}: {error.filename or error}: no such file. {advice}", 2)
    except Exception as error:  # noqa: BLE001
        message, code = explain(error)
        if message:
            return _print_error(f"{stage}: {message}", code)
        # a bug: its traceback is printed
        import traceback

        traceback.print_exception(error)
        return code, f"{stage}: {type(error).__name__}: {error}"
    return 0, ""


def _print_error(message: str, code: int) -> tuple[int, str]:
    print(message, file=sys.stderr, flush=True)
    return code, message


def _write_log_line(**content: float | str) -> None:
    """Append a line to the file that FORECAST_STAGE_LOG names, if it is set.

    `forecast run` reads there when a stage began and ended, and its exit code, which DVC hides.
    """
    log = os.environ.get(LOG_VARIABLE)
    if not log:
        return
    line = {"stage": os.environ.get("DVC_STAGE", Path(sys.argv[0]).stem), **content}
    try:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:  # a full disk must not hide the stage's own message
        print(f"({log} could not be written: {error})", file=sys.stderr)


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
