"""The command line `forecast`: `app` has the commands of the modules here, `main` runs one of them.

A command reads arguments, calls lower layers, and prints results to standard output, notices and
errors to standard error. Its docstring is its help text. It imports what it needs when it is
called, so that `--help` is quick. Exit codes are in `system.errors.EXIT_CODES`.
"""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import typer
from typer._click.exceptions import ClickException

import forecast
from forecast.cli import check, data, doctor, identify, operation, predict, run
from forecast.system.errors import InputError, explain, require_short, shorten_message
from forecast.system.processes import (
    collect_garbage_rarely,
    require_address_space,
    use_system_memory,
)

COMMAND_ADDRESS_SPACE = 600_000_000
"""Bytes of addresses that NumPy and pandas need; with fewer they abort the process."""

app = typer.Typer(
    name="forecast",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"forecast {forecast.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Train, compare, record and keep retraining forecasters on stock and weather series."""


for command in (
    run.run,
    run.sync,
    run.ui,
    predict.predict,
    predict.watch,
    operation.promote,
    operation.rollback,
    operation.status,
    operation.history,
    check.check,
    check.models,
    check.audit,
    run.compare,
    predict.export,
    data.add,
    data.fetch,
    data.data,
    doctor.doctor,
    doctor.clean,
    operation.retrain,
    run.new,
    identify.identify,
):
    app.command(command.__name__)(command)
app.add_typer(operation.schedule, name="schedule")


EXTRAS = {"flask": "ui", "psycopg": "postgres"}
"""Package → the extra that installs it, where that is not `pipeline`."""


def _make_streams_safe() -> None:
    """Let printing never fail: characters that the terminal's encoding lacks are replaced, and a
    standard stream that the caller closed becomes the null device.

    Otherwise the next file that is opened would get the closed stream's number, and the output of
    libraries with it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="replace")


def _name_unknown_user() -> None:
    """Set a user name and a home folder, which DVC and MLflow ask for, where the user id is unknown
    to the system, as in some containers.
    """
    try:
        getpass.getuser()
        Path.home()
    except (KeyError, ImportError, OSError, RuntimeError):  # differs by Python version and system
        os.environ.setdefault("LOGNAME", "unknown")
        os.environ.setdefault("HOME", tempfile.gettempdir())


def _remove_carriage_returns() -> None:
    """Remove the `\\r` that a file of variables with Windows line ends leaves at each value.

    Else `sqlite:///mlflow.db\\r` would be a second database, without the champions of the first.
    """
    for name, value in os.environ.items():
        if value.endswith("\r"):
            os.environ[name] = value.rstrip("\r")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; an expected failure prints one message and sets its exit code."""
    _make_streams_safe()
    _remove_carriage_returns()
    _name_unknown_user()
    use_system_memory()
    collect_garbage_rarely()
    # pydantic would read the entry points of every package for plugins, a tenth of `status`
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        require_short(words)
        require_address_space(COMMAND_ADDRESS_SPACE)
        code = app(args=words, prog_name="forecast", standalone_mode=False)
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if package in ("forecast", "pipelines"):
            raise
        extra = f"`pip install 'rolling-forecast[{EXTRAS.get(package, 'pipeline')}]'`"
        print(
            f"This command needs {package}, which is not installed. Install it: {extra}.",
            file=sys.stderr,
        )
        sys.exit(InputError.exit_code)
    except ClickException as error:
        error.message = shorten_message(error.message)
        error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit("Aborted.")
    except Exception as error:
        message, exit_code = explain(error)
        if not message:
            raise
        print(shorten_message(message), file=sys.stderr, flush=True)
        sys.exit(exit_code)
    sys.exit(code or 0)
