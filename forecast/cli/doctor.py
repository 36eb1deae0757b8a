"""`forecast doctor | clean`: is this machine fit to run, and what can be removed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forecast.cli.run import WRITTEN
from forecast.cli.shown import FORMAT, ROOT, Format, require_project, show, tracking_uri
from forecast.system import files, postgres
from forecast.system.bootstrap import RUN_LOCK, WANTED
from forecast.system.errors import BusyError, ForecastError, InputError
from forecast.system.files import TEMPORARY, locked, remove_leftovers

if TYPE_CHECKING:
    from forecast.operations.status import Finding as Check

CACHES = (
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
    "build",
)
STAGES_WROTE = tuple(
    f"data/{folder}" for folder in ("raw", "prepared", "tuned", "trained", "compared")
)
OUTPUTS = (*STAGES_WROTE, "narrowed", "demo", "reports/*/", "reports/report.html")
WORK = (".forecast/memo", ".forecast/studies", ".forecast/cost", ".dvc/cache", ".dvc/tmp")
SKIPPED = (".venv", ".git", ".dvc")
LEAST_FREE = 3e9  # bytes: environment, DVC's cache and MLflow's artifacts of one run


def doctor(
    root: Path = ROOT,
    form: Format = FORMAT,
    repair: bool = typer.Option(
        False,
        "--repair",
        help="Remove what killed runs left, correct MLflow's paths, mend damaged champions.",
    ),
) -> None:
    """Examine environment, disk, locks, DVC, MLflow and champions."""
    from forecast.operations import status

    project = require_project(root).resolve()
    if repair:
        with locked(project / RUN_LOCK, what="`forecast run`"):
            gone = [
                path for folder in _WRITTEN for path in remove_leftovers(project / folder)
            ] + files.clear_scratch()
        for path in gone:
            print(
                f"Removed {path.relative_to(project) if path.is_relative_to(project) else path}",
                file=sys.stderr,
            )
        for sentence in status.repair_faults(project, tracking_uri()):
            print(sentence, file=sys.stderr)
    rows = [
        {"what": what, "found": found, "repair": advice}
        for what, found, advice in findings(project)
    ]
    show(rows, form)
    if any(row["repair"] for row in rows):
        raise typer.Exit(1)


def findings(root: Path) -> Iterator[Check]:
    """Every check, in the order they are shown."""
    for examine in (
        interpreter,
        home,
        environment,
        disk,
        running,
        leftovers,
        dvc,
        mlflow,
        operation,
    ):
        try:
            yield from examine(root) if examine is operation else [examine(root)]  # type: ignore[misc]
        except OSError as error:
            # what could not be looked at is a finding: the rest is wanted all the more
            said = f"{error.strerror or error}: {error.filename or 'this project'}"
            yield examine.__name__, said, "make it readable and writable"


def operation(root: Path) -> Iterator[Check]:
    from forecast.operations import status

    return status.find_faults(root, tracking_uri())


def interpreter(root: Path) -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    wrong = sys.version_info[:2] != WANTED
    return (
        "interpreter",
        f"Python {found}",
        "python3.11 is wanted: `make setup PYTHON=python3.11`" if wrong else "",
    )


def home(root: Path) -> Check:
    """The scripts of a virtual environment name its interpreter by an absolute path: a copy's start
    the original's.
    """
    script = root / ".venv" / "bin" / "forecast"
    if not script.exists():
        return "scripts", "no .venv/bin/forecast here", ""
    text = script.read_text(encoding="utf-8", errors="replace")
    named = re.search(r"(/[^'\"\n]*)/python[\d.]*", text)  # a long path stands in the second line
    wrong = named is not None and Path(named[1]).resolve() != script.parent.resolve()
    shown = (
        f"name an interpreter in {named[1]}, of another folder"
        if named and wrong
        else "name this folder's own"
    )
    return "scripts", shown, "remove .venv, then `make setup`" if wrong else ""


def environment(root: Path) -> Check:
    """Versions installed against requirements.lock."""
    if not (root / "requirements.lock").exists():
        return "environment", "no requirements.lock here", "restore it from git"
    from packaging.markers import Marker
    from packaging.utils import canonicalize_name

    text = (root / "requirements.lock").read_text(encoding="utf-8")
    installed = {
        canonicalize_name(d.name): d.version for d in importlib.metadata.distributions() if d.name
    }
    wrong = []
    for name, version, condition in re.findall(
        r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(;[^\\\n]*)?", text, re.MULTILINE
    ):
        here, marker = installed.get(canonicalize_name(name), ""), condition.strip("; ")
        if here != version and (not marker or Marker(marker).evaluate()):
            wrong.append(f"{name} {here or 'missing'}, wanted {version}")
    shown = (
        f"{len(wrong)} packages differ: {'; '.join(wrong[:3])}"
        if wrong
        else "matches requirements.lock"
    )
    return "environment", shown, "`make setup`" if wrong else ""


def disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free
    return (
        "disk",
        f"{free / 1e9:.1f} GB free",
        "" if free >= LEAST_FREE else "free some space, or `forecast clean`",
    )


def running(root: Path) -> Check:
    try:
        with locked(root / RUN_LOCK, what="`forecast run`"):
            return "runs", "none is running", ""
    except BusyError:
        pid = (root / RUN_LOCK).with_suffix(".pid")
        return (
            "runs",
            f"PID {pid.read_text().strip() if pid.exists() else 'unknown'} is running",
            "",
        )


def leftovers(root: Path) -> Check:
    found = [path for folder in _WRITTEN for path in (root / folder).rglob(f"{TEMPORARY}*")]
    return (
        "leftovers",
        *(
            (f"{len(found)} temporary files", "`forecast doctor --repair`")
            if found
            else ("none", "")
        ),
    )


def dvc(root: Path) -> Check:
    if not (root / ".dvc" / "config").exists():
        return "DVC", "no .dvc here", "restore .dvc from git, or `.venv/bin/dvc init`"
    present = importlib.util.find_spec("dvc") is not None and (root / "dvc.yaml").exists()
    return (
        "DVC",
        importlib.metadata.version("dvc") if present else "missing",
        "" if present else "`make setup`",
    )


def mlflow(root: Path) -> Check:
    """The tracking store answers; a store that was not made yet is well too."""
    from forecast.tracking.tracking_store import hide_password

    uri = tracking_uri() or f"sqlite:///{root / 'mlflow.db'}"
    try:
        return "MLflow", f"{hide_password(uri)}: {_answer(uri)}", ""
    except (OSError, sqlite3.Error, ForecastError) as error:
        return (
            "MLflow",
            f"{hide_password(uri)}: {error}",
            "start the server or repair the address; then `forecast sync`",
        )


def _answer(uri: str) -> str:
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        if not path.exists():
            return "not made yet; the first run makes it"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as store:
            store.execute("pragma schema_version").fetchone()
            return "answers"
    if uri.startswith(("http://", "https://")):
        import httpx

        try:
            return f"answers {httpx.get(uri.rstrip('/') + '/health', timeout=3).status_code}"
        except httpx.HTTPError as error:
            raise ForecastError(f"no answer ({error})") from None
    if postgres.is_postgres(uri):
        with postgres.connection(uri, seconds=3):
            return "answers"
    return "not examined"


_WRITTEN = (*WRITTEN, ".forecast/champions", ".forecast/issued")


def clean(
    root: Path = ROOT,
    work: bool = typer.Option(
        False, "--work", help="Also finished tuning and training: a run starts from nothing."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Remove what can be made again; asks first."""
    project = require_project(root)
    found = list(removable(project, work=work))
    if not found:
        print("Nothing to remove.")
        return
    for path in found:
        inside = (
            [path]
            if path.is_file()
            else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
        )
        print(
            f"  {path.relative_to(project)}  ({sum(p.stat().st_size for p in inside) / 1e6:.1f} MB)"
        )
    if not yes and not sys.stdin.isatty():
        raise InputError(
            "Nothing was removed: there is no terminal to ask at. Add --yes to remove the list"
            " above."
        )
    if not yes and not typer.confirm("Remove all of this?"):
        return
    with locked(project / RUN_LOCK, what="`forecast run`"):
        for path in found:
            (
                shutil.rmtree(path, ignore_errors=True)
                if path.is_dir()
                else path.unlink(missing_ok=True)
            )
    print(f"Removed {len(found)} files and folders; `forecast run` makes them again.")


def removable(root: Path, *, work: bool) -> Iterator[Path]:
    """What can be made again: caches, stage outputs and, with `work`, finished studies, training
    and DVC's cache.
    """
    for name in (*CACHES, *OUTPUTS, *(WORK if work else ())):
        yield from sorted(root.glob(name))
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder.name not in SKIPPED and not folder.is_symlink():
            yield from sorted(p for p in folder.rglob("__pycache__") if p.is_dir())
