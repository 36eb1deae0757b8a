"""docs/adding-a-model.md, followed to the letter in a project of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.support import small_project
from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The one block of code in `language` on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


ENTRY = yaml.safe_load(block("yaml"))
((NAME, FAMILY),) = ((name, entry["family"]) for name, entry in ENTRY.items())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with the file and the entry of the page."""
    root = small_project.write_real(tmp_path_factory.mktemp("project") / "copy", models=())
    shutil.copytree(ROOT / "tests", root / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (path,) = re.findall(r"`(forecast/models/families/\w+\.py)`; the file's name is the family's", PAGE)
    assert path == f"forecast/models/families/{FAMILY}.py" and not (root / path).exists()
    (root / path).write_text(block("python"))
    models = yaml.safe_load((root / "configs" / "models.yaml").read_text())
    models["models"] |= ENTRY
    models["grids"]["tiny"].append(NAME)
    small_project.write_yaml(root / "configs" / "models.yaml", models)
    budget = yaml.safe_load((root / "configs" / "tuning.yaml").read_text())
    small_project.write_yaml(root / "configs" / "tuning.yaml", budget | {"seeds": [0]})
    return root


def run(root: Path, *words: str) -> str:
    """What `python <words>` says, started in the project; it has to end well."""
    env = small_project.environment(FORECAST_JOBS="1")
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_one_file_of_at_most_60_lines() -> None:
    assert len(block("python").splitlines()) <= 60


def test_it_is_found_and_its_entry_accepted(project: Path) -> None:
    run(project, "-m", "forecast", "check")
    rows = json.loads(run(project, "-m", "forecast", "models", "--format", "json"))
    (row,) = (row for row in rows if row["model"] == NAME)
    assert row["family"] == FAMILY and row["kind"] == "network" and row["in_run"] == "yes"


def test_the_contract_holds(project: Path) -> None:
    said = run(project, "-m", "pytest", "-q", "tests/contract", "-k", FAMILY, "-p", "no:cacheprovider")
    passed = re.search(r"^(\d+) passed, \d+ deselected", said, re.MULTILINE)
    assert passed and int(passed[1]) > 40, said


def test_it_is_tuned_backtested_diagnosed_compared_and_reported(project: Path) -> None:
    for stage in ("fetch", "prepare", "tune", "train", "compare"):
        run(project, "-m", f"pipelines.{stage}", "wave")
    run(project, "-m", "pipelines.report")
    tuned = json.loads((project / "data" / "tuned" / "wave" / f"{NAME}.linear.json").read_text())
    assert {"units", "taps", "learning_rate", "dropout"} == set(tuned["best"]["params"])
    record = json.loads((project / "data" / "trained" / "wave" / f"{NAME}.linear" / "record.json").read_text())
    assert record["status"] == "ok" and record["source"] in block("python")
    assert set(record["diagnostics"]["numbers"]["layers"]) == {"lstm"}
    board = pd.read_csv(project / "reports" / "leaderboard.csv")
    assert set(board[board.model == NAME].ranking) == {"shipped", "architecture"}
    assert record["equation"].split(";")[-1].strip() in (project / "reports" / "report.html").read_text()
