"""`make setup`: the environment `.venv` from the hashed locks, with nothing but a bare Python.

requirements.lock is what a run needs; `--dev` adds requirements-dev.lock: tests, lint, MLflow's
pages.

It runs before anything is installed, so it imports the standard library only. A stamp holding the
digest of what was installed is written last: an interrupted install has no stamp and is made anew,
a finished one is not touched until a lock changes.
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
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from forecast.system.errors import BusyError, ForecastError, InputError

PYTHON_VERSIONS = ((3, 11), (3, 12), (3, 13))
PYTHON = ".".join(map(str, sys.version_info[:2]))
LOCK, DEV_LOCK = "requirements.lock", "requirements-dev.lock"
STAMP = "forecast-setup.json"
STARTED = "forecast-setup.started"
DVC_COMMAND = """#!/bin/sh
# DVC's queue starts its worker as `dvc`, found by PATH: this environment need not be activated.
folder=$(cd "$(dirname "$0")" && pwd)
PATH="$folder:$PATH" exec "$folder/python" -P -m dvc "$@"
"""
RUN_LOCK = Path(".forecast") / "locks" / "run.lock"


def main(arguments: list[str] | None = None) -> int:
    """Makes or refreshes the environment; the exit code of the command."""
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
    """Installs into `root/.venv` unless its stamp says that these locks are already there."""
    if is_current(root, dev=dev):
        return
    require_python(sys.version_info[:2])
    with hold_run_lock(root):
        if not is_current(root, dev=dev):
            _install(root, dev=dev)


def is_current(root: Path, *, dev: bool = False) -> bool:
    """Whether the stamp in `root/.venv` is of these locks, this project and this folder."""
    return _expected_stamp(root, dev=dev).items() <= _read_stamp(root).items()


def require_python(version: tuple[int, ...]) -> None:
    """`InputError` in one line, naming the Debian package, unless a virtual environment can be
    made.
    """
    if tuple(version) not in PYTHON_VERSIONS:
        *older, newest = (".".join(map(str, each)) for each in PYTHON_VERSIONS)
        supported = f"{', '.join(older)} or {newest}"
        present = ".".join(map(str, version))
        raise InputError(f"Python {present} found, wanted {supported}. {_REPAIR}")
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"Python's module {missing[0]!r} is missing: no virtual environment can be made."
            f" {_REPAIR}"
        )


_REPAIR = (
    "On Debian or Ubuntu: `sudo apt-get install python3-venv`, then the same command again; or"
    " name another interpreter: `make PYTHON=/path/to/python3.12`."
)


@contextlib.contextmanager
def hold_run_lock(root: Path) -> Iterator[None]:
    """The lock of `forecast run`, held without its library; `BusyError` naming the PID when it is
    taken.
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


def _read_stamp(root: Path) -> dict[str, str]:
    """What the environment says of itself; empty when it is unfinished or its interpreter is
    gone.
    """
    try:
        stamp: dict[str, str] = json.loads((root / ".venv" / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if (root / ".venv" / "bin" / "python").exists() else {}


def _expected_stamp(root: Path, *, dev: bool) -> dict[str, str]:
    """What the stamp of a finished environment holds: digests of the locks and of the project's own
    table in pyproject.toml, and the folder.
    """
    names = {"lock": LOCK, "dev": DEV_LOCK} if dev else {"lock": LOCK}
    digests = {
        key: hashlib.sha256((root / name).read_bytes()).hexdigest() for key, name in names.items()
    }
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    # The commands and the version come from here; settings of tools do not concern the environment.
    project = json.dumps([settings.get("project"), settings.get("build-system")], sort_keys=True)
    digest = hashlib.sha256(project.encode()).hexdigest()
    return {**digests, "project": digest, "root": str(root.resolve())}


def _install(root: Path, *, dev: bool) -> None:
    """Make `.venv` hold what the locks say. It is made anew where an earlier set-up did not finish,
    or was of another Python, lock or folder; development packages that are there stay. The stamp is
    written last.
    """
    venv = root / ".venv"
    started = venv / STARTED
    earlier = _read_stamp(root)
    if started.exists():
        print("An earlier set-up did not finish; making a new .venv.", flush=True)
        shutil.rmtree(venv)
    elif earlier.get("python", PYTHON) != PYTHON:
        print(f"Making a new .venv: the present one is of Python {earlier['python']}.", flush=True)
        shutil.rmtree(venv)
        earlier = {}
    stamp = {**_expected_stamp(root, dev=dev), "python": PYTHON}
    (venv / STAMP).unlink(missing_ok=True)
    venv.mkdir(exist_ok=True)
    started.touch()
    if (earlier.get("lock"), earlier.get("root")) != (stamp["lock"], stamp["root"]):
        print("Making .venv", flush=True)
        _run([sys.executable, "-m", "venv", str(venv)], "make .venv")
        _install_lock(root, LOCK)
        earlier = {}
    if dev and earlier.get("dev") != stamp["dev"]:
        _install_lock(root, DEV_LOCK)
    elif "dev" in earlier:
        stamp["dev"] = earlier["dev"]
    _run(
        [*_pip(venv), "-q", "--no-deps", "--no-build-isolation", "-e", str(root)],
        "install the project itself",
    )
    _replace(venv / "bin" / "dvc", DVC_COMMAND, mode=0o755)
    _replace(venv / STAMP, json.dumps(stamp, indent=1, sort_keys=True), mode=0o644)
    started.unlink()


def _replace(path: Path, text: str, *, mode: int) -> None:
    """Write a file whole, or leave the one that is there."""
    new = path.with_suffix(".tmp")
    new.write_text(text, encoding="utf-8")
    new.chmod(mode)
    new.replace(path)


def _install_lock(root: Path, name: str) -> None:
    """pip with every hash checked and bytecode compiled: without it importing TensorFlow takes 11 s
    instead of 4.

    A lock names everything that is needed, so pip adds nothing: what others ask for and never
    import is left out on purpose (docs/decisions/0021-installing.md). `ForecastError` where it
    fails.
    """
    lock = root / name
    total = sum(
        "==" in line and not line.startswith((" ", "#"))
        for line in lock.read_text("utf-8").splitlines()
    )
    print(f"Installing the packages of {name}", flush=True)
    options = ["--compile", "--no-deps", "--require-hashes", "-r", str(lock)]
    command = [*_pip(root / ".venv"), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", bufsize=1
    ) as pip:
        assert pip.stdout is not None
        errors = _show_progress(pip.stdout, total)
    if pip.returncode:
        raise ForecastError(
            "\n".join(errors[-8:])
            + f"\npip could not install {name}. Check the network and the free disk space, then the"
            " same command again."
        )


def _show_progress(lines: Iterable[str], total: int) -> list[str]:
    """One counting line on a terminal, a plain line at every 40th package elsewhere; returns pip's
    errors.
    """
    terminal = sys.stdout.isatty()
    collected = 0
    errors: list[str] = []
    for line in lines:
        # from an index, or a file that pip was pointed to
        if line.startswith(("Collecting ", "Processing ")):
            collected += 1
            name = Path(line.split()[1]).name.split("==")[0]
            if terminal:
                print(f"\r\033[K  {collected} of {total}  {name}", end="", flush=True)
            elif collected % 40 == 0:
                print(f"  {collected} of {total} packages fetched", flush=True)
        elif line.startswith("Ignoring "):  # a package of other systems or Pythons
            total -= 1
        elif line.startswith("Installing collected"):
            print(
                ("\r\033[K" if terminal else "")
                + "  unpacking and compiling bytecode (about a minute)",
                flush=True,
            )
        elif line.startswith("ERROR") or (errors and line.startswith(" ")):
            errors.append(line.rstrip())
    return errors


def _pip(venv: Path) -> list[str]:
    """The beginning of a `pip install` by the interpreter of `venv`."""
    return [
        str(venv / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
    ]


def _run(command: list[str], purpose: str) -> None:
    """Run a command silently; `ForecastError` with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ForecastError(
            f"Could not {purpose}: {lines[-1] if lines else f'exit {done.returncode}'}. {_REPAIR}"
        )


if __name__ == "__main__":
    sys.exit(main())
