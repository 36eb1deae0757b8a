"""Starting commands as a terminal does, and watching what they leave."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support import small_project, warm_interpreter


def started(
    root: Path, *words: str, program: str = "forecast", **extra: str
) -> subprocess.Popen[str]:
    """A command in a process group of its own, as a terminal starts it.

    Ctrl-C reaches it even where the tests themselves run in the background, which hands "ignore
    SIGINT" down.
    """
    return subprocess.Popen(
        [sys.executable, "-m", program, *words],
        cwd=root,
        env=small_project.environment(**extra),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def dvc(root: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *words]
    return warm_interpreter.run(command, cwd=root, env=small_project.environment(**extra))


def processes_of(root: Path, *, running: str = "") -> list[psutil.Process]:
    """The living processes whose folder is `root` and whose command line has the word `running`."""
    matching = []
    for process in psutil.process_iter():
        try:
            ours = process.cwd() == str(root) and process.status() != psutil.STATUS_ZOMBIE
            if ours and (not running or running in process.cmdline()):
                matching.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return matching


def crowding() -> float:
    """How many seconds a second of computing takes now: 1 on a machine with a free core.

    What is promised within seconds is asserted within that many times as many, so that other work
    fails nothing.
    """
    began, computed = time.monotonic(), time.process_time()
    while time.process_time() - computed < 0.1:
        pass
    return max(1.0, (time.monotonic() - began) / 0.1)


def eventually(what: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether `what()` comes true within `seconds` of a machine with a free core."""
    began = time.monotonic()
    while not what():
        waited = time.monotonic() - began
        if waited > seconds and waited > seconds * crowding():
            return False
        time.sleep(0.05)
    return True


def left_behind(root: Path) -> list[str]:
    """Processes, temporary files and held locks of a run; empty after every orderly end."""
    remains = [" ".join(process.cmdline()) for process in processes_of(root)]
    remains += [str(path) for path in root.rglob(".tmp-*") if ".dvc" not in path.parts]
    remains += [str(path) for path in (root / ".forecast" / "locks").glob("*.pid")]
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    return remains + (["rwlock"] if rwlock.exists() and "pid" in rwlock.read_text() else [])
