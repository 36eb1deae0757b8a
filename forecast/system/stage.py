"""Runs a pipeline stage (`run_stage`).

Every `pipelines/<stage>.py` ends with `run_stage(main)`. An expected failure prints one message and
sets its exit code; a bug prints its traceback and exits 1; Ctrl-C and SIGTERM end every worker and
exit 130.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

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
