"""The door through which a pipeline stage is entered, and what it shows on its way.

Every `pipelines/<stage>.py` ends with `run_stage(main)`; `main` reads, calls and writes. An
expected failure is one message and its exit code; a bug keeps its traceback and exits 1; Ctrl-C and
SIGTERM end every worker and exit 130. `show_progress` shows what was done last, how many are done,
how long is left: a bar on a terminal, plain lines elsewhere. Its times are shown
and forgotten; nothing of them reaches a result.

The next stage is a file in pipelines/ that ends like the others, with its entry in dvc.yaml.
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

from forecast.system.errors import (
    INTERRUPTED,
    explain,
)
from forecast.system.processes import (
    close_workers,
    collect_garbage_rarely,
    end_with_parent,
    exit_now,
    stop_on_signals,
    use_system_memory,
)

LOG_VARIABLE = "FORECAST_STAGE_LOG"
JOBS_VARIABLE = "FORECAST_JOBS"
COMMAND_VARIABLE = "FORECAST_COMMAND"
"""The process for which stages run, and with which they end."""


def run_stage(function: Callable[..., Any], arguments: Sequence[str] | None = None) -> NoReturn:
    """Call `function` with the command line and exit: 0, the `ForecastError`'s code, 130 after
    Ctrl-C, 1 for a bug.

    Its parameters without default are positional, the others options: `main(dataset, root=".",
    models=())` is `python -m pipelines.tune weather --root . --models lstm,gru`. A parameter `jobs`
    is filled from `FORECAST_JOBS`, else with the number of cores, unless it is given.
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
    end_with_parent(grace=2.0, command=int(os.environ.get(COMMAND_VARIABLE, 0)))
    _write_log_line(began=began)
    code, message = _run_and_explain(function, options, stage)
    if code != INTERRUPTED:
        close_workers()
    _write_log_line(began=began, code=code, message=message, ended=time.time())
    if code == INTERRUPTED:
        exit_now(code)
    sys.exit(code)


def default_jobs(environment: Mapping[str, str]) -> int:
    """`FORECAST_JOBS`, or the cores this process may use."""
    jobs = environment.get(JOBS_VARIABLE, "")
    if jobs.isdigit() and int(jobs):
        return int(jobs)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parser(function: Callable[..., Any], stage: str) -> argparse.ArgumentParser:
    """The command line of a stage, from the signature and docstring of its `main`."""
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
    """The names in a list separated by commas."""
    names = [name.strip() for name in text.split(",")]
    return tuple(name for name in names if name)


def _run_and_explain(
    function: Callable[..., Any], options: dict[str, Any], stage: str
) -> tuple[int, str]:
    """Run the stage; its exit code, and the message that was printed on standard error, empty where
    it succeeded.
    """
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
        # the boundary: a bug is shown whole, recorded, and exits 1
        import traceback

        traceback.print_exception(error)
        return code, f"{stage}: {type(error).__name__}: {error}"
    return 0, ""


def _print_error(message: str, code: int) -> tuple[int, str]:
    print(message, file=sys.stderr, flush=True)
    return code, message


def _write_log_line(**content: float | str) -> None:
    """One line at the begin and one at the end of a stage for `forecast run`, which sees neither
    these nor exit codes through DVC, in the file that FORECAST_STAGE_LOG names; none without it.
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
"""How often it is said that the work goes on, whether or not something was finished."""
START_SECONDS = 10.0  # before them nothing is said of the time left


def show_nothing(_text: str) -> None:
    """Takes the name of a finished piece, or a line of a log, where nobody looks at it."""


@dataclass(frozen=True)
class Piece:
    """A piece of work, beside the others whose time is to be told."""

    kind: str = ""
    weight: float = 1.0
    """How long it takes beside others of its kind."""


Show = Callable[[int, str, str], None]
"""Called with the number of finished pieces, the name of the last one, and how long is left."""


class Pace:
    """How long pieces of each kind took for their weight, and how many of them are left."""

    def __init__(self, total: int, pieces: Mapping[str, Piece], clock: Callable[[], float]) -> None:
        """pieces: those that are known by name; the others are alike."""
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
        """When the newest piece was finished."""

    def finish(self, name: str, seconds: float | None) -> str:
        """After one more piece `, about 3 min 05 s left`, or how long all took; nothing while too
        little is done to tell. seconds: of its work; None: all since the one before, 0: it was
        there already.
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
        n_left = (+self._n_left).total()
        elapsed = now - self.started
        if not n_left:
            return f" in {format_duration(elapsed)}"
        # so far it is imports, and the first task of every worker
        if elapsed < START_SECONDS or not took or 9 * self._n_done.total() < n_left:
            return ""
        n_at_work = sum(self._seconds.values()) / (now - self._first_began)
        return f", about {format_duration(self._work_left() / n_at_work)} left"

    def _work_left(self) -> float:
        """The seconds of the pieces that are left, one after another. Of a kind of which none is
        finished each takes as long as the shortest kind so far: what takes long comes early.
        """
        shortest = min(self._seconds[kind] / n for kind, n in self._n_done.items())
        work = 0.0
        for piece, n in (+self._n_left).items():
            each = shortest
            if piece.kind in self._seconds:
                each = piece.weight * self._seconds[piece.kind] / self._weight[piece.kind]
            work += n * each
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
    """`with show_progress(12, "tune weather") as advance: ... advance("lstm")`; goes to standard
    error by default.

    pieces: by name, where some take longer than others.
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
    """A bar on a terminal."""
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
    """A line every few seconds where there is no terminal."""
    last, n_finished = pace.started, 0
    is_over, has_news = threading.Event(), threading.Event()

    def tell_alive() -> None:
        """Print a line after `SILENT_SECONDS` without another, so that nobody thinks it hangs."""
        while not is_over.wait(SILENT_SECONDS):
            if not has_news.is_set():
                print(f"{label}: at work, {n_finished} of {total} done", file=out, flush=True)
            has_news.clear()

    def show(done: int, name: str, left: str) -> None:
        """Print a line at the end; before it, no sooner than `PLAIN_SECONDS` after the last."""
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
