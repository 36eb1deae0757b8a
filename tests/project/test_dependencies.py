"""docs/decisions/0022: every package of pyproject.toml with its licence, its keeper and its age."""

from __future__ import annotations

import re
import tomllib

from packaging.markers import Marker

from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "decisions" / "0022-dependencies.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\S+) \| ([^|]+) \| (\d{4})-(\d\d) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
OLDEST_MONTHS = 24
MOST_PACKAGES = 170
LOCKED = re.compile(r"^([a-z0-9.-]+)==\S+(?: ; (.+?))? \\$", re.MULTILINE)
LINUX = {
    "implementation_name": "cpython",
    "platform_machine": "x86_64",
    "python_full_version": "3.11.7",
    "sys_platform": "linux",
}


def named_packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0] for group in groups for line in group}
    return names - {project["name"]}


def test_every_package_has_its_row_and_no_row_is_of_another() -> None:
    assert {row[0] for row in ROW.findall(PAGE)} == named_packages()


def test_no_package_was_left_alone_for_two_years_when_it_was_looked_up() -> None:
    looked_up = re.search(r"Looked up on (\d{4})-(\d\d)-\d\d", PAGE)
    assert looked_up is not None
    now = 12 * int(looked_up[1]) + int(looked_up[2])
    ages = {
        name: now - 12 * int(year) - int(month) for name, _, year, month, *_ in ROW.findall(PAGE)
    }
    assert {name: age for name, age in ages.items() if not 0 <= age <= OLDEST_MONTHS} == {}


def locked_packages(name: str) -> set[str]:
    """What a lock installs on Linux with an x86-64 processor and Python 3.11."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {
        package
        for package, marker in LOCKED.findall(text)
        if not marker or Marker(marker).evaluate(LINUX)
    }


def test_a_run_installs_at_most_170_packages() -> None:
    our_packages = {"pip", "rolling-forecast"}
    assert 100 < len(locked_packages("requirements.lock") | our_packages) <= MOST_PACKAGES


def test_no_lock_has_what_nothing_imports() -> None:
    lines = (ROOT / "requirements-unneeded.txt").read_text(encoding="utf-8").splitlines()
    unneeded = {line.split()[0] for line in lines if not line.startswith("#")}
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-pretrained.lock"):
        assert unneeded and not unneeded & locked_packages(name), name


def test_zero_shot_models_come_with_what_they_are_compared_with() -> None:
    packages = locked_packages("requirements-pretrained.lock")
    assert {"torch", "chronos-forecasting"} <= packages
    assert locked_packages("requirements.lock") <= packages  # `forecast run` needs DVC and MLflow
