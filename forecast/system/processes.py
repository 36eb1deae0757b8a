"""Signals, child processes, memory and garbage collection.

No worker outlives the command that started it, however that command ended: `stop_on_signals` makes
Ctrl-C and SIGTERM unwind a command, and `prepare_worker` and `end_with_parent` end the processes
that it started, also after a kill -9.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from forecast.system.errors import ForecastError, InputError

if TYPE_CHECKING:
    import psutil

POLL_SECONDS = 0.5
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""The signal that no process can ignore. Windows has only SIGTERM, by which psutil ends a process.
"""
COLLECT_AFTER = 100_000
"""New containers, such as lists, between two garbage collections; Python's 700 are reached hundreds
of times while pandas is imported.
"""
CLOCK_ERROR = 5.0  # seconds; psutil derives a process's start from a boot time in whole seconds


def require_unix(what: str) -> None:
    """Raises `InputError` on a system without Unix's processes and signals."""
    if os.name != "posix":
        raise InputError(
            f"{what} needs a Unix system, found {sys.platform}. On Windows run it in WSL, in a"
            " folder of WSL's own disk; `forecast.fit`, `compare`, `load`, `forecast identify` and"
            " the model files work without."
        )


def require_address_space(least_bytes: int) -> None:
    """Raises `ForecastError` where the limit of addresses (`ulimit -v`) is below `least_bytes`.

    Below it libraries in C abort the process without a message.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < least_bytes:
        raise ForecastError(
            f"Out of memory: this process may use {limit / 1e6:,.0f} MB of addresses (`ulimit -v`),"
            f" and its libraries need {least_bytes / 1e6:,.0f} MB. Raise the limit, then run the"
            " same command again."
        )


def run_git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The finished `git ...` in `folder`; its code is 127 where git or the folder is missing.

    The output is decoded as Python decodes file names, since much of it is names.
    """
    command = ["git", *words]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError:
        reason = "git is not installed" if folder.is_dir() else f"there is no folder {folder}"
        return subprocess.CompletedProcess(command, 127, "", reason)


def is_alive(pid: int, *, noted_at: float | None = None) -> bool:
    """Whether the process `pid` runs and is no zombie; True also for one that we may not inspect.

    noted_at: seconds since 1970 when the PID was written down; a process that started later got a
    reused PID and does not count.
    """
    import psutil  # late here, a tenth of `--help`

    try:
        process = psutil.Process(pid)
        if noted_at is not None and process.create_time() - CLOCK_ERROR > noted_at:
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@contextlib.contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """No garbage collection inside the block, for work that makes many lasting objects.

    Garbage collection takes a quarter of TensorFlow's import.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def collect_garbage_rarely() -> None:
    """Collect garbage less often in the rest of this process, and not at its end.

    A command's imports make many lasting objects; going through them took a third of the time of
    `predict` and `status`.
    """
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)


def use_system_memory() -> None:
    """Let Arrow use the system's memory pool in this process and its children, so that
    `return_memory` can give back what Arrow frees; to be called before Arrow is imported.

    With thousands of series Arrow's own pool would keep a quarter of a gigabyte.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def return_memory() -> None:
    """Give freed memory back to the system; glibc keeps that of thousands of small arrays."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # of other systems
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def prepare_worker() -> None:
    """The first call in a worker process: it ignores Ctrl-C and ends with its parent.

    A terminal sends SIGINT to the whole process group; a worker that handled it would print a
    traceback of its own. At exit the worker skips Python's clean-up: it holds no file or lock, and
    the command would wait up to a second for TensorFlow's objects.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit.register(os._exit, 0)  # registered first, so it runs after all other handlers
    end_with_parent()


def end_with_parent(grace_seconds: float = 0.0, *, command: int = 0) -> None:
    """Starts a thread that ends this process and its children soon after the parent has ended.

    Without it the workers of a parent that was killed with -9 would write into the next run.

    grace_seconds: time to unwind after a SIGTERM; 0 ends the process at once. command: PID of the
    process for which the parent works (0: none), whose end counts too; so a parent that was killed
    before this call is noticed.
    """
    arguments = (os.getppid(), command, grace_seconds)
    threading.Thread(
        target=_end_after_parent, args=arguments, name="end-with-parent", daemon=True
    ).start()


def _end_after_parent(parent: int, command: int, grace_seconds: float) -> None:
    """Wait until this process has another parent than `parent`, or the process `command` (0: none)
    has ended; then end this process and its children.
    """
    import psutil  # before the end of the parent, with which the files of a library may be gone

    this_process = psutil.Process()
    is_needed = True
    while is_needed:
        time.sleep(POLL_SECONDS)  # before the first check, so that signal handlers are installed
        is_needed = os.getppid() == parent and (not command or is_alive(command))
    if grace_seconds > 0:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
    send_signal(this_process.children(recursive=True), KILL)
    os._exit(1)


def end_children(grace_seconds: float = 1.0) -> None:
    """Terminates every descendant and kills those that still run after `grace_seconds` seconds."""
    import psutil

    children = psutil.Process().children(recursive=True)
    send_signal(children, signal.SIGTERM)
    _, running = psutil.wait_procs(children, timeout=grace_seconds)
    send_signal(running, KILL)
    psutil.wait_procs(running, timeout=2.0)


def send_signal(processes: Sequence[psutil.Process], number: int) -> None:
    """Sends a signal to each process that still exists."""
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def stop_on_signals() -> None:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt in this process, which releases locks and removes
    temporary files; later ones are ignored meanwhile.
    """
    default_hook = sys.unraisablehook

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def send_again(ignored: Any) -> None:
        """Send the signal again where Python ignored the exception, since it was raised in a
        destructor or a weak reference's callback.
        """
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            return default_hook(ignored)
        signal.signal(signal.SIGTERM, stop)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = send_again
    signal.signal(signal.SIGTERM, stop)
    # ignored by whoever started us, such as nohup: then it stays ignored
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def die_with_parent() -> None:
    """Called in a child process, as `preexec_fn` or first of all after a fork: it ignores Ctrl-C,
    which its parent handles, and the kernel sends it SIGTERM when the thread that started it ends
    (Linux only).

    A child that handled Ctrl-C itself would print a traceback while it still imports modules.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        set_pdeathsig = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_pdeathsig, signal.SIGTERM)


def exit_now(code: int) -> NoReturn:
    """Ends this process and its children at once, without `atexit` handlers, which may wait for
    dead workers.
    """
    end_children()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)
