"""The files that come with the package beside its code: the catalogue of models, tuning budgets and
example data; and `forecast new`, which makes a project from them (`create_project`).

A clone has these files at its root, an installed wheel below `share/forecast/` of its environment
(`installation_folder`).
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
"""A file by which the installation's folder is recognised."""


@cache
def installation_folder() -> Path:
    """The folder with `configs/` and `data/`: the clone, or what the wheel installed.

    Raises `InputError` where neither has them.
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
    """Raises `InputError`, with the command to type, where `what` needs `package` and it is not
    installed.
    """
    with contextlib.suppress(ModuleNotFoundError):
        if importlib.util.find_spec(package) is not None:
            return
    raise InputError(
        f"{what} needs {package}. Install it: `pip install 'rolling-forecast[train]'`."
    )


def example() -> pd.DataFrame:
    """An example frame: Dublin's hourly weather of 2024 to 2026, `unique_id, ds` (UTC), `y`
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
"""Files of a new project that belong to the user."""
STAGE_FILES = (".dvc/plots/*.json", "pipelines/*.py", "dvc.yaml", ".dvcignore")
"""Files of a new project that belong to the installed version."""
LOCK = "requirements.lock"


def create_project(folder: Path) -> list[str]:
    """Make a project in an empty or new folder; returns the names of its files.

    Where git is installed, the folder is in a repository afterwards, which DVC's experiments and
    `forecast retrain` need. Raises `InputError` for a folder that is not empty.
    """
    if folder.exists() and (
        not folder.is_dir() or any(path.name != ".git" for path in folder.iterdir())
    ):
        raise InputError(
            f"{folder}: found something there, wanted an empty or new folder. Name another one."
        )
    contents = _installed_files()
    if not _put_under_git(folder):
        contents[".dvc/config"] = contents[".dvc/config"].replace(
            b"[core]\n", b"[core]\n    no_scm = true\n"
        )
    # without the dataset `stocks`: its data come with the package arch and may not be passed on
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
    """Make a git repository in `folder`, unless it lies in one that does not ignore it; False where
    that fails, as without git.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # 1: it lies in a repository; 0: that repository ignores it; 128: there is no repository
    if run_git(folder, "check-ignore", "-q", ".").returncode == 1:
        return True
    return run_git(folder, "-c", "init.defaultBranch=main", "init", "-q").returncode == 0


def describe_outdated(folder: Path) -> str:
    """A sentence with what to do where a project's stages are of another version than the installed
    one; else "".
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


def _installed_files() -> dict[str, bytes]:
    """Relative name → content of the installed files, adapted for a project."""
    root = installation_folder()
    contents: dict[str, bytes] = {}
    for pattern in (*USER_FILES, *STAGE_FILES, ".dvc/config"):
        for path in sorted(root.glob(pattern)):
            contents[path.relative_to(root).as_posix()] = path.read_bytes()
    contents.pop("pipelines/demo.py", None)  # only a clone's Makefile starts it
    # stages depend on the installed versions in place of the package's code
    code_line, versions_line = b"      - forecast\n", f"      - {LOCK}\n".encode()
    contents["dvc.yaml"] = contents["dvc.yaml"].replace(code_line, versions_line)
    return contents


def _installed_versions() -> str:
    """All installed packages with their versions, one a line, as the file that stages depend on."""
    packages = [package.metadata for package in importlib.metadata.distributions()]
    versions = {str(package["Name"]).lower(): package["Version"] for package in packages}
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
