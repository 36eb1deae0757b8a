"""Ctrl-C and SIGTERM at any moment of a command."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SIGNAL_AT_IMPORT = """
import os, runpy, signal, sys
number, module = int(sys.argv.pop(1)), sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it

class Finder:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder())
runpy.run_module("forecast", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["forecast.cli", "forecast.cli.check", "rich.table"])
def test_a_signal_ends_a_command_with_130_and_no_traceback(
    number: signal.Signals, module: str
) -> None:
    """While the command is imported, while its own modules are, and while it works."""
    command = [sys.executable, "-c", SIGNAL_AT_IMPORT, str(int(number)), module, "models"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
