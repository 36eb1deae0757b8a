"""Debian's PostgreSQL in a folder of its own: a private socket, no port, gone with the `with`
block.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forecast.system.processes import die_with_parent

MISSING = "PostgreSQL is needed: apt-get install postgresql"
SECONDS = 120


@contextmanager
def running() -> Iterator[Callable[..., str]]:
    """Makes a database of that name, empty or like `template`, and gives its address.

    Without PostgreSQL a skip, in CI a failure.
    """
    programs = found_programs()
    if programs is None:
        pytest.fail(MISSING) if os.environ.get("CI") == "true" else pytest.skip(MISSING)
    # a socket's path is at most 107 bytes: pytest's own are too long
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with started(programs, folder) as process:

            def create_database(name: str, template: str = "template1") -> str:
                sql(programs, folder, f"create database {name} template {template}")
                return f"postgresql://forecast@/{name}?host={folder}"

            yield create_database
        assert process.returncode == 0
    finally:
        shutil.rmtree(folder)


def found_programs() -> Path | None:
    """Debian keeps them beside each other in no place of PATH."""
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return known[-1].parent if known else Path(on_path).resolve().parent if on_path else None


@contextmanager
def started(programs: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    identity = other_than_root(folder)
    data, log = folder / "data", folder / "log"
    make = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "forecast",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-locale",
        "--no-sync",
    ]
    subprocess.run(make, check=True, capture_output=True, timeout=SECONDS, **identity)
    serve = [
        programs / "postgres",
        "-D",
        data,
        "-k",
        folder,
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            serve, stdout=output, stderr=output, preexec_fn=die_with_parent, **identity
        )
    try:
        until = time.monotonic() + SECONDS
        ready = [programs / "pg_isready", "-q", "-h", folder, "-U", "forecast", "-d", "postgres"]
        while subprocess.run(ready, check=False).returncode:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(2)  # a fast shutdown: clients are sent away
        try:
            process.wait(SECONDS)
        finally:
            process.kill()


def other_than_root(folder: Path) -> dict[str, object]:
    """PostgreSQL refuses to run as root: then as the user its package made, or nobody."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    shutil.chown(folder, user)
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": (), "cwd": folder}


def sql(programs: Path, folder: Path, command: str) -> None:
    ask = [programs / "psql", "-q", "-h", folder, "-U", "forecast", "-d", "postgres", "-c", command]
    subprocess.run(ask, check=True, capture_output=True, timeout=SECONDS)
