"""Signals of a process that has work to put away."""

from __future__ import annotations

import signal
import subprocess
import sys


def test_a_ctrl_c_that_a_destructor_swallows_comes_once_more():
    code = """
import signal, sys, time
from forecast.system import processes
# ignored where the tests run in a shell's background
signal.signal(signal.SIGINT, signal.default_int_handler)
processes.stop_on_signals()

class Slow:
    def __del__(self):
        print("here", flush=True)
        ends = time.monotonic() + 1.0
        while time.monotonic() < ends:
            pass

try:
    Slow()
    time.sleep(30)
except KeyboardInterrupt:
    sys.exit(7)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 7
        finally:
            process.kill()
