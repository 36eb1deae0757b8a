"""Signals of a process that has work to put away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from forecast.system.processes import is_alive
from forecast.system.stage import COMMAND_VARIABLE


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


def test_what_a_command_imported_is_looked_through_for_garbage_rarely_and_not_at_the_end():
    code = """
import atexit, gc
from forecast.cli import main
collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
atexit.register(lambda: print(len(collections), gc.get_freeze_count(), len(gc.get_objects())))
main(["models", "--format", "json"])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    n_collections, n_frozen, n_left = map(int, process.stdout.splitlines()[-1].split())
    assert n_frozen > 10_000 > n_left
    assert n_collections < 20


def test_a_worker_ends_without_taking_its_objects_apart():
    """TensorFlow's took up to a second, for which each command with workers waited."""
    code = """
from forecast.system.processes import prepare_worker
class Large:
    def __del__(self):
        print("taken apart", flush=True)
held = Large()
held.itself = held
prepare_worker()
print("done", flush=True)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (0, "done\n", "")


def test_what_arrow_frees_goes_back_to_the_system_in_a_command() -> None:
    code = (
        "from forecast.system.processes import use_system_memory; use_system_memory();"
        "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert output.stdout.strip() == "system"


def test_a_worker_of_a_killed_parent_ends_with_its_children_where_nothing_can_be_imported() -> None:
    worker = """
import os, subprocess, sys, time
from forecast.system.processes import end_with_parent
end_with_parent()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
time.sleep(1)
sys.path.clear()
sys.meta_path.clear()
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    command = [sys.executable, "-c", parent, worker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    try:
        until = time.monotonic() + 20
        while any(map(is_alive, pids)) and time.monotonic() < until:
            time.sleep(0.1)
        assert [is_alive(pid) for pid in pids] == [False, False]
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_a_stage_whose_command_was_killed_while_it_began_ends_by_itself() -> None:
    code = """
import time
from forecast.system.stage import run_stage
def main():
    time.sleep(60)
run_stage(main)
"""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    environment = {**os.environ, COMMAND_VARIABLE: ended.stdout.decode().strip()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30)
    assert done.returncode == 130
