"""`make setup`: installs the environment `.venv` from the hashed lock files.

requirements.lock has what a run needs; `--dev` adds requirements-dev.lock (tests, lint, MLflow's
pages). This module runs before anything is installed, so it imports the standard library
and `forecast.system.errors` only.

A stamp file with the digests of the lock files and of pyproject.toml is written last. An
interrupted install has no finished stamp and is made again; a finished one is left alone until one
of these files, or the place of the folder, changes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from forecast.system.errors import BusyError, ForecastError, InputError

PYTHON_VERSIONS = ("3.11", "3.12", "3.13")
PYTHON = ".".join(map(str, sys.version_info[:2]))
LOCK, DEV_LOCK = "requirements.lock", "requirements-dev.lock"
STAMP = "forecast-setup.json"
DVC_COMMAND = """#!/bin/sh
# DVC's queue starts its worker as `dvc`, found by PATH: this environment need not be activated.
folder=$(cd "$(dirname "$0")" && pwd)
PATH="$folder:$PATH" exec "$folder/python" -P -m dvc "$@"
"""
RUN_LOCK = Path(".forecast") / "locks" / "run.lock"


def main(arguments: list[str] | None = None) -> int:
    """Makes or updates the environment; returns the exit code of the command."""
    parser = argparse.ArgumentParser(prog="make setup", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the project's root")
    parser.add_argument("--dev", action="store_true", help="with tests, lint and MLflow's pages")
    options = parser.parse_args(arguments)
    try:
        setup(options.root, dev=options.dev)
    except ForecastError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted; the next `make setup` begins again.", file=sys.stderr)
        return 130
    return 0


def setup(root: Path, *, dev: bool = False) -> None:
    """Installs into `root/.venv` what the lock files name, unless it `is_current`.

    Raises `InputError` where this Python cannot make it, `BusyError` where the lock is taken,
    `ForecastError` where an install fails.
    """
    if not is_current(root, dev=dev):
        require_python(PYTHON)
        with hold_run_lock(root):
            _install(root, dev=dev)


def is_current(root: Path, *, dev: bool = False) -> bool:
    """Whether `root/.venv` has an interpreter and a finished stamp with the present digests
    (`_expected_stamp`); the version of Python is not compared.
    """
    expected = _expected_stamp(root, dev=dev)
    return expected.items() <= _read_stamp(root).items() and _interpreter(root).exists()


def require_python(version: str) -> None:
    """Raises `InputError` with the next move where `version` is not supported, or this Python can
    make no virtual environment.
    """
    if version not in PYTHON_VERSIONS:
        supported = f"{', '.join(PYTHON_VERSIONS[:-1])} or {PYTHON_VERSIONS[-1]}"
        raise InputError(f"Python {version} found, wanted {supported}. {_OTHER_PYTHON}")
    for name in ("venv", "ensurepip"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"Python's module {name!r} is missing: no virtual environment can be made."
                f" {_REPAIR}"
            )


_OTHER_PYTHON = "Name another interpreter: `make PYTHON=/path/to/python3.12`."
_REPAIR = (
    "On Debian or Ubuntu: `sudo apt-get install python3-venv`, then the same command again."
    f" {_OTHER_PYTHON}"
)


@contextlib.contextmanager
def hold_run_lock(root: Path) -> Iterator[None]:
    """Holds the lock of `forecast run`, without the library filelock.

    Raises `BusyError` naming the holder's PID when the lock is taken.
    """
    import fcntl

    path = root / RUN_LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_suffix(".pid")
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = holder.read_text(encoding="utf-8").strip() if holder.exists() else "unknown"
            raise BusyError(
                f"A set-up or run is already at work here (PID {pid}, lock {path}). Wait for it, or"
                " stop that process."
            ) from None
        holder.write_text(f"{os.getpid()}\n", encoding="utf-8")
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def _interpreter(root: Path) -> Path:
    return root / ".venv" / "bin" / "python"


def _read_stamp(root: Path) -> dict[str, str]:
    """The stamp of the environment; it has the key `python` only when the install was finished.

    Empty for an environment that this program did not make.
    """
    try:
        stamp: dict[str, str] = json.loads((root / ".venv" / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp


def _expected_stamp(root: Path, *, dev: bool) -> dict[str, str]:
    """The stamp of a finished environment, without `python`: the digests of the lock files and of
    the tables `project` and `build-system` of pyproject.toml, and the resolved root.
    """
    names = {"lock": LOCK, "dev": DEV_LOCK} if dev else {"lock": LOCK}
    digests = {
        key: hashlib.sha256((root / name).read_bytes()).hexdigest() for key, name in names.items()
    }
    import tomllib

    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    # The commands and the version come from here; settings of tools do not concern the environment.
    project = json.dumps([settings.get("project"), settings.get("build-system")], sort_keys=True)
    digest = hashlib.sha256(project.encode()).hexdigest()
    return {**digests, "project": digest, "root": str(root.resolve())}


def _install(root: Path, *, dev: bool) -> None:
    """Installs what the lock files name into `.venv`, and finishes the stamp last.

    `.venv` is made again where an earlier install did not finish or used another Python.
    Development packages that are installed already stay.
    """
    venv = root / ".venv"
    earlier = _read_stamp(root)
    is_usable = earlier.get("python") == PYTHON and _interpreter(root).exists()
    if earlier and not is_usable:
        print("Making a new .venv: the present one is unfinished or of another Python.", flush=True)
        shutil.rmtree(venv)
        earlier = {}
    stamp = _expected_stamp(root, dev=dev)
    venv.mkdir(exist_ok=True)
    _write_stamp(venv, {"root": "unfinished"})  # names no lock: made anew if killed
    if (earlier.get("lock"), earlier.get("root")) != (stamp["lock"], stamp["root"]):
        print("Making .venv", flush=True)
        # not `sys.executable`: where `.venv` is activated, that is the one removed above
        base_python = f"{sys.base_prefix}/bin/python{PYTHON}"
        _run([base_python, "-m", "venv", str(venv)], "make .venv")
        _install_lock(root, LOCK)
        earlier = {}
    if dev and earlier.get("dev") != stamp["dev"]:
        _install_lock(root, DEV_LOCK)
    elif "dev" in earlier:
        stamp["dev"] = earlier["dev"]
    options = ["-q", "--no-deps", "--no-build-isolation", "-e", str(root)]
    _run([*_pip(root), *options], "install the project itself")
    command = venv / "bin" / "dvc"
    command.unlink(missing_ok=True)
    command.write_text(DVC_COMMAND, encoding="utf-8")
    command.chmod(0o755)
    _write_stamp(venv, {**stamp, "python": PYTHON})


def _write_stamp(venv: Path, stamp: dict[str, str]) -> None:
    (venv / STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True), encoding="utf-8")


def _install_lock(root: Path, name: str) -> None:
    """Installs the packages of a lock file with pip, checking every hash.

    Bytecode is compiled at once: without it importing TensorFlow takes 11 s instead of 4. pip adds
    no dependencies: the lock file names all that is needed, and leaves out on purpose what packages
    require but never import (docs/decisions/0021-installing.md). Raises `ForecastError` with pip's
    last lines on failure.
    """
    print(f"Installing the packages of {name}", flush=True)
    options = ["--compile", "--no-deps", "--require-hashes", "-r", str(root / name)]
    with subprocess.Popen(
        [*_pip(root), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        last_lines = _show_progress(pip.stdout)
    if pip.returncode:
        raise ForecastError(
            "".join(last_lines)
            + f"pip could not install {name}. Check the network and the free disk space, then the"
            " same command again."
        )


def _show_progress(lines: Iterable[str]) -> Iterable[str]:
    """Prints a line at every 40th package instead of pip's output; returns pip's last lines."""
    collected = 0
    last_lines = deque[str](maxlen=8)
    for line in lines:
        last_lines.append(line)
        # from an index, or a file that pip was pointed to
        if line.startswith(("Collecting ", "Processing ")):
            collected += 1
            if collected % 40 == 0:
                print(f"  {collected} packages fetched", flush=True)
        elif line.startswith("Installing collected"):
            print("  unpacking and compiling bytecode (about a minute)", flush=True)
    return last_lines


def _pip(root: Path) -> list[str]:
    """The first words of a `pip install` command for the environment."""
    python = str(_interpreter(root))
    return [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]


def _run(command: list[str], purpose: str) -> None:
    """Runs a command silently; raises `ForecastError` with its last line of output on failure."""
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ForecastError(
            f"Could not {purpose}: {lines[-1] if lines else f'exit {done.returncode}'}. {_REPAIR}"
        )


if __name__ == "__main__":
    sys.exit(main())
