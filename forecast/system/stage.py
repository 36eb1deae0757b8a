"""The door through which a pipeline stage is entered, and what it shows on its way.

Every `pipelines/<stage>.py` ends with `run_stage(main)`; `main` reads, calls and writes. An
expected failure is one message and its exit code; a bug keeps its traceback and exits 1; Ctrl-C and
SIGTERM end every worker and exit 130. `show_progress` shows what was done last, how many are done,
how long is left: a bar on a terminal, plain lines elsewhere. Its times are shown
and forgotten; nothing of them reaches a result.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TextIO

from forecast.system.errors import (
    INTERRUPTED,
    ForecastError,
    InputError,
    explain_encoding,
    explain_machine_fault,
)
from forecast.system.processes import (
    close_workers,
    collect_garbage_rarely,
    end_with_parent,
    exit_now,
    stop_on_signals,
)

LOG_VARIABLE = "FORECAST_STAGE_LOG"
JOBS_VARIABLE = "FORECAST_JOBS"


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
    collect_garbage_rarely()
    stop_on_signals()
    end_with_parent(grace=2.0)
    code, message = _run_and_explain(function, options, stage)
    if code == INTERRUPTED:
        _write_log_line(code, message, began)
        exit_now(code)
    close_workers()
    _write_log_line(code, message, began)
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
    except ForecastError as error:
        return _print_error(f"{stage}: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _print_error(
            f"{stage}: interrupted; nothing half-written is left. Run the same command again.",
            INTERRUPTED,
        )
    except FileNotFoundError as error:
        advice = "`dvc repro` makes what stages make; restore anything else from git."
        return _print_error(f"{stage}: {error.filename or error}: no such file. {advice}", 2)
    except UnicodeEncodeError as error:
        return _print_error(f"{stage}: {explain_encoding(error)}", InputError.exit_code)
    except (MemoryError, ImportError, OSError) as error:
        message = explain_machine_fault(error)
        if message:
            return _print_error(f"{stage}: {message}", 1)
        return _print_traceback(stage, error)
    except Exception as error:  # noqa: BLE001
        # the boundary: a bug is shown whole, recorded, and exits 1
        return _print_traceback(stage, error)
    return 0, ""


def _print_traceback(stage: str, error: Exception) -> tuple[int, str]:
    """Show a bug whole; the exit code and the message for the log."""
    import traceback

    traceback.print_exception(error)
    return 1, f"{stage}: {type(error).__name__}: {error}"


def _print_error(message: str, code: int) -> tuple[int, str]:
    print(message, file=sys.stderr, flush=True)
    return code, message


def _write_log_line(code: int, message: str, began: float) -> None:
    """One line for `forecast run`, which cannot see exit codes through DVC, in the file that
    FORECAST_STAGE_LOG names; none without it.
    """
    log = os.environ.get(LOG_VARIABLE)
    if not log:
        return
    line = {
        "stage": os.environ.get("DVC_STAGE", Path(sys.argv[0]).stem),
        "code": code,
        "message": message,
        "began": began,
        "ended": time.time(),
    }
    try:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:  # a full disk must not hide the stage's own message
        print(f"({log} could not be written: {error})", file=sys.stderr)


PLAIN_SECONDS = 5.0
START_SECONDS = 10.0  # before them nothing is said of the time left


def show_nothing(_text: str) -> None:
    """Takes the name of a finished piece, or a line of a log, where nobody looks at it."""


class Advance:
    """Called with the name of each finished piece."""

    def __init__(self, pace: Pace, show: Callable[[int, str, str], None]) -> None:
        """`show` is called with the number of finished pieces, the name of the last one, and what
        `pace` says of the time.
        """
        self._pace = pace
        self._show = show
        self.done = 0

    def __call__(self, name: str = "") -> None:
        """Count one more finished piece."""
        self.done += 1
        self._show(self.done, name, self._pace.finish(name))


class Pace:
    """How long pieces of each kind took, one after another, and how many of them are left."""

    def __init__(self, total: int, kinds: Mapping[str, str], clock: Callable[[], float]) -> None:
        """kinds: of pieces that are known by name; the others are of one kind."""
        self._clock = clock
        self._kinds = kinds
        self._n_left = Counter(kinds.values())
        self._n_left[""] += total - len(kinds)
        self._n_done: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)
        self.started = clock()
        self.last = self.started
        """When the newest piece was finished."""

    def finish(self, name: str) -> str:
        """After one more piece `, about 3 min 05 s left`, or how long all took; nothing while too
        little is done to tell, or pieces are left of a kind of which none is finished.
        """
        kind = self._kinds.get(name, "")
        now = self._clock()
        self._n_left[kind] -= 1
        self._n_done[kind] += 1
        # of pieces side by side the sum of these is what they took together
        self._seconds[kind] += now - self.last
        self.last = now
        n_left = +self._n_left
        elapsed = now - self.started
        if not n_left:
            return f" in {format_duration(elapsed)}"
        # so far it is imports, and the first task of every worker
        if elapsed < START_SECONDS or 9 * self._n_done.total() < n_left.total():
            return ""
        if not n_left.keys() <= self._n_done.keys():
            return ""
        seconds = sum(n * self._seconds[kind] / self._n_done[kind] for kind, n in n_left.items())
        return f", about {format_duration(seconds)} left"


def show_progress(
    total: int,
    label: str,
    kinds: Mapping[str, str] = MappingProxyType({}),
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AbstractContextManager[Advance]:
    """`with show_progress(12, "tune weather") as advance: ... advance("lstm")`; goes to standard
    error by default.

    kinds: of pieces by name, where some take longer than others.
    """
    out = stream or sys.stderr
    pace = Pace(total, kinds, clock)
    if out.isatty():
        return _terminal_progress(total, label, out, pace)
    return _plain_progress(total, label, out, pace)


@contextmanager
def _terminal_progress(total: int, label: str, out: TextIO, pace: Pace) -> Iterator[Advance]:
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
            bar.update(task, completed=done, name=name, left=left)

        yield Advance(pace, show)


@contextmanager
def _plain_progress(total: int, label: str, out: TextIO, pace: Pace) -> Iterator[Advance]:
    """A line every few seconds where there is no terminal."""
    last = pace.started

    def show(done: int, name: str, left: str) -> None:
        nonlocal last
        if done < total and pace.last - last < PLAIN_SECONDS:
            return
        last = pace.last
        finished = f" ({name})" if name else ""
        print(f"{label}: {done} of {total} done{left}{finished}", file=out, flush=True)

    yield Advance(pace, show)


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
