"""What every pipeline stage shares: its arguments, one message instead of a traceback, the exit code by error."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from forecast.errors import ForecastError

INTERRUPTED = 130


def run_stage(function: Callable[..., Any], arguments: Sequence[str] | None = None) -> NoReturn:
    """Call `function` with the command line and exit: 0, the `ForecastError`'s code, or 130 after Ctrl-C.

    Its parameters without default are positional, the others options: `main(dataset, root=".")` is
    `python -m pipelines.fetch weather --root .`. A bug keeps its traceback and exits 1.
    """
    module = function.__module__ if function.__module__ != "__main__" else Path(sys.argv[0]).stem
    stage = module.rpartition(".")[2]
    options = vars(_parser(function, stage).parse_args(arguments))
    try:
        function(**options)
    except ForecastError as error:
        _exit(f"{stage}: {error}", error.exit_code)
    except KeyboardInterrupt:
        _exit(f"{stage}: interrupted; nothing half-written is left. Run the same command again.", INTERRUPTED)
    except OSError as error:
        _exit(f"{stage}: {error}. Check the file, its permissions and the free space, then run it again.", 1)
    sys.exit(0)


def _parser(function: Callable[..., Any], stage: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{stage}", description=inspect.getdoc(function))
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            parser.add_argument(name)
        else:
            kind = str if parameter.default is None else type(parameter.default)
            parser.add_argument(f"--{name.replace('_', '-')}", default=parameter.default, type=kind)
    return parser


def _exit(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)
