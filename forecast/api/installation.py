"""What comes with the package beside its code: the catalogue of models, the budgets, the data of
Dublin (`example`); and `forecast new`, a project of the user's own made of it.

A clone has these files at its root, an installed wheel below `share/forecast/` of its environment
(`installation_folder` finds them). `create_project` fills an empty folder with configs, stages and
the embedded data; `describe_outdated` names one of another version. `require_installed` says what
to install where an extra is missing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from functools import cache
from pathlib import Path

import pandas as pd

from forecast.data import snapshots
from forecast.system import files
from forecast.system.errors import InputError
from forecast.system.processes import run_git

CLONE = Path(__file__).resolve().parents[2]
LANDMARK = "configs/models.yaml"
"""A file by which that folder is recognised."""


@cache
def installation_folder() -> Path:
    """The folder with `configs/` and `data/`: the clone, or what the wheel installed; `InputError`
    where neither has them.
    """
    if (CLONE / LANDMARK).exists() and (CLONE / "pyproject.toml").exists():
        return CLONE
    for file in importlib.metadata.files("rolling-forecast") or ():
        if file.as_posix().endswith(f"share/forecast/{LANDMARK}"):
            return Path(str(file.locate())).resolve().parents[1]
    raise InputError(
        "The installed rolling-forecast lacks its share/forecast/configs. Install the wheel again."
    )


def require_installed(package: str, what: str) -> None:
    """`InputError` with what to type where `what` needs a package that only an extra brings."""
    with contextlib.suppress(ModuleNotFoundError):
        if importlib.util.find_spec(package) is not None:
            return
    raise InputError(
        f"{what} needs {package}. Install it: `pip install 'rolling-forecast[train]'`."
    )


def example() -> pd.DataFrame:
    """A frame to begin with: Dublin's hourly weather of 2024 to 2026, `unique_id, ds` (UTC), `y`
    (temperature in °C), `precip` (mm in the hour before) and `wind` (km/h).

    Weather data by Open-Meteo.com (CC BY 4.0); contains modified Copernicus data.

    >>> df = forecast.example().tail(2000)
    """
    return snapshots.read_pointed(installation_folder(), "weather").rename(columns={"temp": "y"})


USER_FILES = (
    ".gitignore",
    "configs/*.yaml",
    "configs/examples/*",
    "data/pointers/stations.json",
    "data/pointers/weather.json",
    "data/snapshots/stations/*",
    "data/snapshots/weather/*",
)
"""The user's from the first day."""
STAGE_FILES = (".dvc/plots/*.json", "pipelines/*.py", "dvc.yaml", ".dvcignore")
"""What belongs to the installed version."""
LOCK = "requirements.lock"


def create_project(folder: Path) -> list[str]:
    """Fill an empty or absent folder; the names of the files. Where git is installed, the folder is
    in a repository afterwards: DVC's experiments and `forecast retrain` need one.

    `InputError` for a folder that holds something.
    """
    if folder.exists() and (
        not folder.is_dir() or any(path.name != ".git" for path in folder.iterdir())
    ):
        raise InputError(
            f"{folder}: found something there, wanted an empty or new folder. Name another one."
        )
    contents = _installed_files((*USER_FILES, *STAGE_FILES, ".dvc/config"))
    if not _put_under_git(folder):
        contents[".dvc/config"] = contents[".dvc/config"].replace(
            b"[core]\n", b"[core]\n    no_scm = true\n"
        )
    # the indices come with the package arch and may not be passed on: the data of a new project are
    # Dublin's
    for name, pattern, text in (
        ("configs/datasets.yaml", rb"(?m)^run: \[.*?\]", b"run: [weather]"),
        ("configs/schedule.yaml", rb"(?m)^  stocks.*:\n(?:    .*\n)+", b""),
    ):
        contents[name] = re.sub(pattern, text, contents[name])
    contents[LOCK] = _installed_versions().encode()
    for name, content in contents.items():
        files.write_bytes(folder / name, content)
    return sorted(contents)


def _put_under_git(folder: Path) -> bool:
    """Make a repository in `folder`, unless one around it keeps it; False without git."""
    folder.mkdir(parents=True, exist_ok=True)
    # 1: a repository around it keeps it; 0: it is ignored there; 128: there is none
    if run_git(folder, "check-ignore", "-q", ".").returncode == 1:
        return True
    return run_git(folder, "-c", "init.defaultBranch=main", "init", "-q").returncode == 0


def describe_outdated(folder: Path) -> str:
    """What to do where the stages of a project follow another version than the installed one; else
    nothing.
    """
    path = folder / LOCK
    installed = importlib.metadata.version("rolling-forecast")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    locked = re.search(r"^rolling-forecast==(\S+)$", text, re.MULTILINE)
    if locked is None or locked[1] == installed:
        return ""
    return (
        f"{LOCK}: of version {locked[1]}, installed is {installed}. Make a new project with"
        " `forecast new` and copy your configs/ and data/ into it."
    )


def _installed_files(patterns: tuple[str, ...]) -> dict[str, bytes]:
    """Relative name → content of what comes with the package, as a project needs it."""
    root = installation_folder()
    contents: dict[str, bytes] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            contents[path.relative_to(root).as_posix()] = path.read_bytes()
    contents.pop("pipelines/demo.py", None)  # of a clone, whose Makefile starts it
    if "dvc.yaml" in contents:
        code, version = b"      - forecast\n", f"      - {LOCK}\n".encode()
        contents["dvc.yaml"] = contents["dvc.yaml"].replace(code, version)
    return contents


def _installed_versions() -> str:
    """Every installed package with its version, a line each: the stages depend on them, and
    `forecast` itself is one of them.
    """
    packages = [package.metadata for package in importlib.metadata.distributions()]
    versions = {str(package["Name"]).lower(): package["Version"] for package in packages}
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
