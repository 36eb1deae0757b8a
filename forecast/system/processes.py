"""Processes that end together: no worker outlives the command that started it, whatever ended that
command.

`stop_on_signals` makes Ctrl-C and SIGTERM unwind a command; `prepare_worker` and `end_with_parent`
end what it started, also after a kill -9; `is_alive` tells whether a noted process still runs.
Also what a process asks of its system: git (`run_git`), memory, and when garbage is collected.
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
from typing import Any

import psutil

from forecast.system.errors import ForecastError, InputError

POLL_SECONDS = 0.5
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""What no process can refuse; Windows has one signal, and psutil ends a process by it."""
COLLECT_AFTER = 100_000
"""New containers, such as lists and dictionaries, after which the newest ones are looked through;
Python's own 700 are met hundreds of times while pandas is imported.
"""
CLOCK_ERROR = 5.0  # seconds; psutil knows a process's start from a boot time rounded to seconds


def require_unix(what: str) -> None:
    """`InputError` on a system without Unix's processes and signals."""
    if os.name != "posix":
        raise InputError(
            f"{what} needs a Unix system, found {sys.platform}. On Windows run it in WSL, in a"
            " folder of WSL's own disk; `forecast.fit`, `compare`, `load`, `forecast identify` and"
            " the model files work without."
        )


def require_address_space(least_bytes: int) -> None:
    """`ForecastError` under a limit (`ulimit -v`) below which libraries in C end the process."""
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
    """What `git ...` answers in `folder`; code 127, as a shell's, where git is not installed
    or there is no such folder.
    """
    command = ["git", *words]
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", check=False
        )
    except FileNotFoundError:
        reason = "git is not installed" if folder.is_dir() else f"there is no folder {folder}"
        return subprocess.CompletedProcess(command, 127, "", reason)


def is_alive(pid: int, *, noted_at: float | None = None) -> bool:
    """Whether a process of this number runs, also one that nobody may look at: no zombie and, with
    `noted_at`, none that began after that moment.

    noted_at: seconds since 1970 at which the number was noted; a later bearer of it is another
    process.
    """
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
    """For work whose objects all stay, such as imports: a quarter of TensorFlow's start-up goes
    into looking through them for garbage, again and again.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def collect_garbage_rarely() -> None:
    """For the rest of this process. What a command imports stays, and Python looks through it for
    garbage again and again, last at the end: a third of what `predict` and `status` took.
    """
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)


def use_system_memory() -> None:
    """For this process and those that it starts, before Arrow is loaded: what Arrow frees
    `return_memory` gives back too. Its own pool keeps it, of thousands of series a quarter of a
    gigabyte.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def return_memory() -> None:
    """Give what is freed back to the system: glibc keeps what thousands of small arrays leave."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # of other systems
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def prepare_worker() -> None:
    """First call inside a worker process: Ctrl-C is left to the parent, and the worker ends when
    the parent does.

    A terminal sends SIGINT to the whole process group; a worker that answered it would print a
    traceback of its own. At its end nothing is taken apart: a worker then holds no file or lock,
    and TensorFlow's objects would take up to a second, for which the command waits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit.register(os._exit, 0)  # of all handlers the last, as it is the first to be registered
    end_with_parent()


def end_with_parent(grace: float = 0.0, *, command: int = 0) -> None:
    """Watches the parent from a thread and ends this process, and its children, soon after the
    parent is gone, or `command`: the process, if any, for which the parent works. What was killed
    while this one began has left it another parent already.

    A parent killed with -9 cannot say goodbye; without this its workers would go on writing into
    the next run. With `grace` the process gets SIGTERM first and that many seconds to unwind.
    """
    arguments = (os.getppid(), command, grace)
    threading.Thread(
        target=_end_after_parent, args=arguments, name="end-with-parent", daemon=True
    ).start()


def _end_after_parent(parent: int, command: int, grace: float) -> None:
    """Wait until this process has another parent than `parent`, or `command` (0: none) is gone,
    then end it and its children.
    """
    is_needed = True
    while is_needed:
        time.sleep(POLL_SECONDS)  # first, for what begins to get where a signal is answered
        is_needed = os.getppid() == parent and (not command or is_alive(command))
    if grace > 0:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
    end_children(grace=0.0)
    os._exit(1)


def end_children(grace: float = 1.0) -> None:
    """Terminates every descendant, kills what is left after `grace` seconds."""
    children = psutil.Process().children(recursive=True)
    left = children
    if grace > 0:
        send_signal(children, signal.SIGTERM)
        _, left = psutil.wait_procs(children, timeout=grace)
    send_signal(left, KILL)
    psutil.wait_procs(left, timeout=2.0)


def current_executor() -> Any:
    """The executor in which joblib keeps workers for the next call; None where there is none.
    Asking joblib for it by its public name would make a new one.
    """
    executors = sys.modules.get("joblib.externals.loky.reusable_executor")
    return getattr(executors, "_executor", None)


def close_workers() -> None:
    """Shuts joblib's idle workers down now, so that their memory and CPU time are counted with this
    process.
    """
    executor = current_executor()
    if executor is not None:
        executor.shutdown(wait=True)  # killing them would leave semaphores behind, and a warning


def send_signal(processes: Sequence[psutil.Process], number: int) -> None:
    """A signal to each that is still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def stop_on_signals() -> None:
    """SIGTERM and Ctrl-C unwind alike and once: locks are released, temporary files removed, a
    second is ignored.
    """
    default_hook = sys.unraisablehook

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def send_again(lost: Any) -> None:
        """Python swallows what is raised in a destructor or a weak reference's callback: a little
        later once more.
        """
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            return default_hook(lost)
        signal.signal(signal.SIGTERM, stop)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = send_again
    signal.signal(signal.SIGTERM, stop)
    # as under nohup: then Ctrl-C is not meant for us
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel ends the child when its parent dies, however that happens (Linux
    only).
    """
    if sys.platform == "linux":
        import ctypes

        set_pdeathsig = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_pdeathsig, signal.SIGTERM)


def exit_now(code: int) -> None:
    """Ends this process now: `atexit` handlers of executors wait for workers that are already
    gone.
    """
    end_children()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)
