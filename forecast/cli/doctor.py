"""`forecast doctor | clean`: examines and repairs a project and its environment, and removes what
can be made again.

`clean` removes caches and stage outputs, with `--work` also finished tuning and training and DVC's
cache; never snapshots, champions, issued forecasts or mlflow.db.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import typer

from forecast.cli.common import (
    FORMAT,
    ROOT,
    Format,
    now,
    print_rows,
    require_project,
    tracking_uri,
)
from forecast.cli.run import FINISHED_WORK, FOLDERS_OF_A_RUN, remove_run_leftovers
from forecast.system import files, postgres
from forecast.system.addresses import hide_parts, public_address
from forecast.system.bootstrap import RUN_LOCK
from forecast.system.errors import (
    UNHEALTHY,
    BusyError,
    ForecastError,
    HealthCheck,
    InputError,
    plural,
)
from forecast.system.files import find_leftovers, hold_lock

CACHES = (
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
    "build",
)
STAGE_OUTPUTS = (
    "data/raw",
    "data/prepared",
    "data/tuned",
    "data/trained",
    "data/compared",
    "narrowed",
    "demo",
    "reports/*/",
    "reports/report.html",
)
FOLDERS_NOT_CLEANED = (".venv", ".git", ".dvc")
MIN_FREE_BYTES = 3e9  # the environment, and one run's DVC cache and MLflow artifacts
RESTORE = "restore it from git, or copy it from a folder that `forecast new` made"
LOCKED_VERSION = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(;[^\\\n]*)?", re.MULTILINE)
"""A line of requirements.lock: package, version, condition."""


def doctor(
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
    repair: bool = typer.Option(
        False,
        "--repair",
        help="Remove what killed runs left, correct MLflow's paths, repair damaged champions.",
    ),
) -> None:
    """Examine environment, disk, locks, DVC, MLflow and champions; exits 5 if something is
    wrong.
    """
    project = require_project(root).resolve()
    if repair:
        _remove_and_mend(project)
    checks = list(examine_project(project))
    rows = [
        {"what": check.what, "found": check.observation, "repair": check.repair} for check in checks
    ]
    print_rows(rows, output_format)
    if any(check.repair for check in checks):
        raise typer.Exit(UNHEALTHY)


def _remove_and_mend(project: Path) -> None:
    """Remove what killed runs left and repair what can be repaired; each repair is printed."""
    from forecast.operations import repair

    with hold_lock(project / RUN_LOCK, purpose="`forecast run`"):
        removed = remove_run_leftovers(project) + files.clear_scratch()
    for path in removed:
        print(f"Removed {path}", file=sys.stderr)
    for sentence in repair.repair_faults(project, tracking_uri(), now()):
        print(sentence, file=sys.stderr)


def examine_project(root: Path) -> Iterator[HealthCheck]:
    """Make every check, in the order in which they are printed; last those of
    `operations.repair`.
    """
    from forecast.operations import repair

    yield HealthCheck("interpreter", f"Python {sys.version.split()[0]}")
    for check in (check_environment, check_disk, check_runs, check_dvc, check_mlflow):
        try:
            yield check(root)
        except OSError as error:
            yield _unreadable(check.__name__.removeprefix("check_"), error)
    try:
        yield from repair.find_faults(root, tracking_uri())
    except OSError as error:
        yield _unreadable("operation", error)


def _unreadable(what: str, error: OSError) -> HealthCheck:
    """The failed check of something that could not be read."""
    reason = f"{error.strerror or error}: {error.filename or 'this project'}"
    return HealthCheck(what, reason, "make it readable and writable")


def check_environment(root: Path) -> HealthCheck:
    """Compare the installed versions with requirements.lock."""
    lock = root / "requirements.lock"
    if not lock.exists():
        return HealthCheck("environment", "no requirements.lock here", RESTORE)
    from packaging.markers import Marker

    differences = []
    for name, version, condition in LOCKED_VERSION.findall(lock.read_text(encoding="utf-8")):
        marker = condition.strip("; ")
        if marker and not Marker(marker).evaluate():
            continue
        present = _installed_version(name)
        if present != version:
            differences.append(f"{name} {present}, wanted {version}")
    if not differences:
        return HealthCheck("environment", "matches requirements.lock")
    return HealthCheck(
        "environment",
        f"{len(differences)} packages differ: {'; '.join(differences[:3])}",
        "`make setup`",
    )


def _installed_version(package: str) -> str:
    """The installed version of a package, or `missing`."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def check_disk(root: Path) -> HealthCheck:
    """Check the free space on the project's disk."""
    free = shutil.disk_usage(root).free
    return HealthCheck(
        "disk",
        f"{free / 1e9:.1f} GB free",
        "" if free >= MIN_FREE_BYTES else "free some space, or `forecast clean`",
    )


def check_runs(root: Path) -> HealthCheck:
    """Whether a run is going on; if none is, look for temporary files of killed runs."""
    paths: list[Path] = []
    try:
        with hold_lock(root / RUN_LOCK, purpose="`forecast run`"):
            for folder, besides in FOLDERS_OF_A_RUN.items():
                paths += find_leftovers(root / folder, besides=besides)
    except BusyError as busy:
        return HealthCheck("runs", str(busy))
    if not paths:
        return HealthCheck("runs", "none is running")
    return HealthCheck(
        "leftovers", plural(len(paths), "temporary file"), "`forecast doctor --repair`"
    )


def check_dvc(root: Path) -> HealthCheck:
    """Check that DVC is installed and set up."""
    for name in (".dvc/config", "dvc.yaml"):
        if not (root / name).exists():
            return HealthCheck("DVC", f"no {name} here", RESTORE)
    version = _installed_version("dvc")
    return HealthCheck("DVC", version, "`make setup`" if version == "missing" else "")


def check_mlflow(root: Path) -> HealthCheck:
    """Check that the tracking store answers; one that was not made yet is no fault."""
    uri = tracking_uri() or f"sqlite:///{root / 'mlflow.db'}"
    advice = "set what is wanted, start the server or repair the address; then `forecast sync`"
    if uri.startswith("sqlite:"):
        advice = "`forecast doctor --repair`; then `forecast sync`"
    try:
        return HealthCheck("MLflow", f"{public_address(uri)}: {_probe_store(root, uri)}")
    except (OSError, ForecastError) as error:
        return HealthCheck(
            "MLflow", f"{public_address(uri)}: {hide_parts(str(error), uri)}", advice
        )


def _probe_store(root: Path, uri: str) -> str:
    """The state of the tracking store in words; raises an error where it does not answer."""
    from forecast.operations.status import list_champion_datasets
    from forecast.tracking import database_file, hold_store_lock, mlflow_client, tracking_store

    store = tracking_store(root, uri)
    if store.database is not None:
        if not store.database.exists():
            if list_champion_datasets(root):
                raise ForecastError("no such file, although there are champions here")
            return "not made yet; the first run makes it"
        damage = database_file.find_damage(store)
        if damage:
            raise ForecastError(damage)
        return "answers"
    if uri.startswith(("http://", "https://")):
        # taken only for the InputError where nothing can keep locks for this store
        with (
            suppress(BusyError),
            hold_store_lock(store, "doctor", purpose="An examination", timeout=0.0),
        ):
            pass
        # asked once and not three times, for up to 20 s each
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
        mlflow_client.require_server(store)
        return "answers"
    if postgres.is_postgres(uri):
        with postgres.open_connection(uri, seconds=3):
            return "answers"
    return "not examined"


def clean(
    root: Path | None = ROOT,
    work: bool = typer.Option(False, "--work", help="Also remove finished tuning and training."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Remove what can be made again; asks first."""
    project = require_project(root)
    paths = list(removable_paths(project, with_work=work))
    if not paths:
        print("Nothing to remove.")
        return
    for path in paths:
        print(f"  {path.relative_to(project)}  ({_size_in_bytes(path) / 1e6:.1f} MB)")
    if not yes and not sys.stdin.isatty():
        raise InputError(
            "Nothing was removed: there is no terminal to ask at. Add --yes to remove the list"
            " above."
        )
    if not yes and not typer.confirm("Remove all of this?"):
        return
    with hold_lock(project / RUN_LOCK, purpose="`forecast run`"):
        left = [path for path in paths if not files.remove(path)]
    removed = f"Removed {len(paths) - len(left)} of {len(paths)} files and folders"
    if left:
        raise ForecastError(
            f"{removed}; {left[0].relative_to(project)} is still there. Make sure that you may"
            " delete what is in it and that no program uses it, then run `forecast clean` again."
        )
    print(f"{removed}; the next command that needs them makes them again.")


def _size_in_bytes(path: Path) -> int:
    """The size of a file, or of all files below a folder, without links."""
    files_below = [path, *path.rglob("*")]
    return sum(p.stat().st_size for p in files_below if p.is_file() and not p.is_symlink())


def removable_paths(root: Path, *, with_work: bool) -> Iterator[Path]:
    """The caches and stage outputs of a project; with_work: also finished tuning and training, and
    DVC's cache.
    """
    patterns = [*CACHES, *STAGE_OUTPUTS]
    if with_work:
        patterns += [*FINISHED_WORK, ".dvc/cache", ".dvc/tmp"]
    for pattern in patterns:
        yield from sorted(root.glob(pattern))
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and folder.name not in FOLDERS_NOT_CLEANED:
            yield from sorted(folder.rglob("__pycache__/"))
