"""What makes a stage stale: what it computes with, and nothing that is only shown or said."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_project, warm_interpreter

Files = dict[str, dict[str, Any]]
RETRAINING = {"tune.json", "train.json", "compare.json"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project.write(tmp_path_factory.mktemp("project") / "copy")
    small_project.copy_code(root)
    content = {
        "grid": "tiny",
        "grids": {"tiny": ["naive", "lstm"], "pair": ["naive", "lstm", "gru"]},
        "models": {
            "naive": {"family": "naive"},
            "lstm": {"family": "lstm"},
            "gru": {"family": "gru"},
        },
    }
    small_project.write_yaml(root / "configs" / "models.yaml", content)
    datasets = root / "configs" / "datasets.yaml"
    datasets.write_text(
        datasets.read_text().replace("column: y", "column: y\n      max_missing: 0.1")
    )
    return root


def write_settings(root: Path) -> Files:
    """What the stage writes, run by the code of `root` itself."""
    shutil.rmtree(root / "data" / "settings", ignore_errors=True)
    command = [sys.executable, "-m", "pipelines.settings"]
    env = {**small_project.environment(), "PYTHONPATH": str(root)}
    done = warm_interpreter.run(command, cwd=root, env=env)
    assert done.returncode == 0, done.stderr
    folder = root / "data" / "settings"
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())
        for path in folder.rglob("*.json")
    }


@pytest.fixture(scope="module")
def before(project: Path) -> Files:
    return write_settings(project)


@pytest.fixture
def changed(project: Path, before: Files) -> Callable[[str, Callable[[str], str]], set[str]]:
    """The names of the files that an edit of a file of the project changes; the edit is undone."""

    def by(name: str, edit: Callable[[str], str]) -> set[str]:
        path = project / name
        text_before = path.read_text(encoding="utf-8")
        edited = edit(text_before)
        assert edited != text_before
        path.write_text(edited, encoding="utf-8")
        try:
            after = write_settings(project)
        finally:
            path.write_text(text_before, encoding="utf-8")
        return {Path(file).name for file in before if before[file] != after.get(file)}

    return by


DATASETS = "configs/datasets.yaml"


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("title", lambda text: text.replace("title: A wave", "title: Another wave")),
        ("licence", lambda text: text.replace("name: none", "name: mine")),
        ("unit", lambda text: text.replace("column: y", "column: y\n      unit: metres")),
    ],
)
def test_what_is_only_shown_makes_the_report_alone_stale(changed, name: str, edit) -> None:
    assert changed(DATASETS, edit) == {"report.json"}


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("max_missing", lambda text: text.replace("max_missing: 0.1", "max_missing: 0.2")),
        (
            "quality",
            lambda text: text.replace(
                "title: A wave", "title: A wave\n    quality: {gaps: {limit: 7}}"
            ),
        ),
    ],
)
def test_a_threshold_of_the_data_checks_retrains_nothing(changed, name: str, edit) -> None:
    assert not changed(DATASETS, edit) & RETRAINING


def test_a_first_gap_allowed_gives_networks_a_mask_and_retrains(changed) -> None:
    assert (
        changed(DATASETS, lambda text: text.replace("max_missing: 0.1", "max_missing: 0.0"))
        >= RETRAINING
    )


def test_a_dataset_that_names_a_grid_is_tuned_and_trained_anew_and_not_prepared(changed) -> None:
    stale = changed(DATASETS, lambda text: text.replace("title:", "grid: pair\n    title:"))
    assert stale == {"tune.json", "train.json", "report.json"}


def test_a_comment_in_a_configuration_changes_nothing(changed) -> None:
    assert changed(DATASETS, lambda text: f"# a remark\n{text}") == set()


def test_a_docstring_or_comment_of_the_code_changes_nothing(changed) -> None:
    assert (
        changed(
            "forecast/data/windows.py",
            lambda text: text.replace('"""', '"""Other words. ', 1) + "# a remark\n",
        )
        == set()
    )


def test_an_entry_outside_of_the_grid_changes_nothing(changed) -> None:
    assert (
        changed("configs/models.yaml", lambda text: text.replace("family: gru", "family: rnn"))
        == set()
    )


def test_a_family_outside_of_the_grid_retrains_nothing(changed) -> None:
    edit = lambda text: f"{text}\nADDED = 1\n"  # noqa: E731
    assert not changed("forecast/models/families/gru.py", edit) & {"tune.json", "train.json"}
    assert {"tune.json", "train.json"} <= changed("forecast/models/families/lstm.py", edit)


def test_what_all_models_compute_with_makes_every_later_stage_stale(changed) -> None:
    stale = changed("forecast/data/splits.py", lambda text: f"{text}\nADDED = 1\n")
    assert {"prepare.json", "tune.json", "train.json", "compare.json"} <= stale


def test_the_horizon_makes_every_later_stage_stale(changed) -> None:
    stale = changed(DATASETS, lambda text: re.sub(r"horizon: 2", "horizon: 3", text))
    assert RETRAINING | {"prepare.json"} <= stale


def test_the_budget_of_the_final_training_leaves_the_studies_alone(changed) -> None:
    stale = changed(
        "configs/tuning.yaml", lambda text: re.sub(r"final_steps: \d+", "final_steps: 7", text)
    )
    assert "train.json" in stale and "tune.json" not in stale


def test_the_levels_of_the_intervals_concern_the_comparison_alone(changed) -> None:
    assert changed(
        "configs/evaluation.yaml", lambda text: text.replace("[80, 95]", "[50, 95]")
    ) == {"compare.json"}


def test_what_no_stage_runs_makes_no_stage_stale(changed) -> None:
    assert changed("forecast/operations/gate.py", lambda text: f"{text}\nADDED = 1\n") == set()
