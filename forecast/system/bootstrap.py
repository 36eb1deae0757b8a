"""`make setup`: the environment `.venv` from the hashed lock, with nothing but a bare Python 3.11.

It runs before anything is installed, so it imports the standard library only. A stamp holding the
digest of what was installed is written last: an interrupted install has no stamp and is made anew,
a finished one is not touched until the lock changes.
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

PYTHON_VERSION = (3, 11)
STAMP = "forecast-setup.json"
STARTED = "forecast-setup.started"
RUN_LOCK = Path(".forecast") / "locks" / "run.lock"


def main(arguments: list[str] | None = None) -> int:
    """Makes or refreshes the environment; the exit code of the command."""
    parser = argparse.ArgumentParser(prog="make setup", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the project's root")
    try:
        setup(parser.parse_args(arguments).root)
    except ForecastError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted; the next `make setup` starts the environment anew.", file=sys.stderr)
        return 130
    return 0


def setup(root: Path) -> None:
    """Installs into `root/.venv` unless its stamp says that this lock is already there."""
    if is_current(root):
        return
    require_python(sys.version_info[:2])
    with hold_run_lock(root):
        if not is_current(root):
            _install(root)


def is_current(root: Path) -> bool:
    """Whether the stamp in `root/.venv` is of this lock, this project and this folder."""
    return _stamp(root) == _wanted_stamp(root)


def require_python(version: tuple[int, ...]) -> None:
    """`InputError` in one line, naming the Debian package, unless a virtual environment can be
    made.
    """
    if tuple(version) != PYTHON_VERSION:
        raise InputError(f"Python {'.'.join(map(str, version))} found, wanted 3.11. {_REPAIR}")
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"Python's module {missing[0]!r} is missing: no virtual environment can be made."
            f" {_REPAIR}"
        )


_REPAIR = (
    "On Debian or Ubuntu: `sudo apt-get install python3.11-venv`, then the same command again."
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
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = holder.read_text().strip() if holder.exists() else "unknown"
            raise BusyError(
                f"A set-up or run is already at work here (PID {pid}, lock {path}). Wait for it, or"
                " stop that process."
            ) from None
        holder.write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def _stamp(root: Path) -> dict[str, str]:
    """What the environment says of itself; empty when it is unfinished or its interpreter is
    gone.
    """
    try:
        stamp: dict[str, str] = json.loads((root / ".venv" / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if (root / ".venv" / "bin" / "python").exists() else {}


def _wanted_stamp(root: Path) -> dict[str, str]:
    lock = hashlib.sha256((root / "requirements.lock").read_bytes()).hexdigest()
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    # The commands and the version come from here; settings of tools do not concern the environment.
    project = json.dumps([settings.get("project"), settings.get("build-system")], sort_keys=True)
    digest = hashlib.sha256(project.encode()).hexdigest()
    return {"lock": lock, "project": digest, "root": str(root.resolve())}


def _install(root: Path) -> None:
    venv = root / ".venv"
    started = venv / STARTED
    if started.exists():
        print("An earlier set-up did not finish; making .venv anew.", flush=True)
        shutil.rmtree(venv)
    earlier, wanted_stamp = _stamp(root), _wanted_stamp(root)
    (venv / STAMP).unlink(missing_ok=True)
    venv.mkdir(exist_ok=True)
    started.touch()
    if (earlier.get("lock"), earlier.get("root")) != (wanted_stamp["lock"], wanted_stamp["root"]):
        print("Making .venv", flush=True)
        _run([sys.executable, "-m", "venv", str(venv)], "make .venv")
        _install_lock(root, venv / "bin" / "python")
    _run(
        [*_pip(venv), "-q", "--no-deps", "--no-build-isolation", "-e", str(root)],
        "install the project itself",
    )
    stamp = venv / f"{STAMP}.tmp"
    stamp.write_text(json.dumps(wanted_stamp, indent=1, sort_keys=True), encoding="utf-8")
    stamp.replace(venv / STAMP)
    started.unlink()


def _install_lock(root: Path, python: Path) -> None:
    """pip with every hash checked and bytecode compiled: without it importing TensorFlow takes 11 s
    instead of 4.
    """
    lock = root / "requirements.lock"
    total = sum(
        "==" in line and not line.startswith((" ", "#"))
        for line in lock.read_text("utf-8").splitlines()
    )
    print(f"Installing {total} packages from requirements.lock", flush=True)
    command = [*_pip(python.parent.parent), "--compile", "--require-hashes", "-r", str(lock)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as pip:
        assert pip.stdout is not None
        errors = _show_progress(pip.stdout, total)
    if pip.returncode:
        raise ForecastError(
            "\n".join(errors[-8:])
            + "\npip could not install requirements.lock. Check the network and the free disk"
            " space, "
            "then the same command again."
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
    return [
        str(venv / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
    ]


def _run(command: list[str], purpose: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ForecastError(
            f"Could not {purpose}: {lines[-1] if lines else f'exit {done.returncode}'}. {_REPAIR}"
        )


if __name__ == "__main__":
    sys.exit(main())
