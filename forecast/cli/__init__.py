"""The command `forecast`.

A command imports what it needs when it is called, so `--help` is quick.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

import typer
from typer._click.exceptions import ClickException

import forecast
from forecast.cli import check, data, doctor, identify, operation, predict, run
from forecast.system.errors import (
    ForecastError,
    InputError,
    out_of_memory,
    require_short,
    shortened,
)

app = typer.Typer(
    name="forecast",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"forecast {forecast.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    """Train, compare, record and keep retraining forecasters on stock and weather series."""


for command in (
    run.run,
    run.sync,
    run.ui,
    predict.predict,
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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process; an expected failure is one message on standard error
    and its code.
    """
    for stream in (sys.stdout, sys.stderr):
        # an ASCII or Latin-1 terminal: no result is lost to a degree sign
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        require_short(words)
        code = app(args=words, prog_name="forecast", standalone_mode=False)
    except ForecastError as error:
        print(shortened(str(error)), file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as missing:
        if (package := str(missing.name).partition(".")[0]) in ("forecast", "pipelines"):
            raise
        extra = "`pip install 'rolling-forecast[pipeline]'`"
        print(
            f"This command needs {package}, which is not installed. Install it: {extra}.",
            file=sys.stderr,
        )
        sys.exit(InputError.exit_code)
    except ClickException as error:
        error.message = shortened(error.message)
        error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit("Aborted.")
    except (MemoryError, OSError) as error:
        memory = out_of_memory(error)
        advice = (
            "Check the file, its permissions and the free space (`forecast clean`), then the same"
            " command again."
        )
        print(shortened(memory or f"{error}. {advice}"), file=sys.stderr, flush=True)
        sys.exit(2 if getattr(error, "errno", None) == errno.ENAMETOOLONG else 1)
    sys.exit(code or 0)
