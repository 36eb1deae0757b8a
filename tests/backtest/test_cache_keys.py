"""Keys: what a result depends on changes them, and nothing else does."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from forecast.backtest import training, tuning
from forecast.backtest.candidates import Candidate, candidate_digest, lock_digest, task_digest
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.setup import Setup
from forecast.backtest.training import ENGINE
from forecast.config.models import Tuning, load_models
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task, TaskColumn
from forecast.models import catalogue
from forecast.models.base import NetworkSpec
from forecast.system.code_closure import code_digest
from tests.support import problems
from tests.support.module_files import module_files

ROOT = Path(__file__).resolve().parents[2]
SPECS = {name: spec(family=name) for name, spec in catalogue().items()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "forecast", root / "forecast", ignore=shutil.ignore_patterns(".tmp-*"))
    return root


def digest_of(root, engine=ENGINE, names=SPECS):
    """The code digest of every family, as `candidate_digest` takes it."""
    return {name: code_digest([engine, *SPECS[name].modules()], root) for name in names}


@cache
def digest_before(root, engine):
    """Before any edit: each is undone."""
    return digest_of(root, engine)


def changed_by(file, root, engine=ENGINE):
    before = digest_before(root, engine)
    text_before = file.read_text()
    file.write_text(text_before + "\nADDED = 1\n")
    after = digest_of(root, engine)
    changed = {name for name in SPECS if before[name] != after[name]}
    file.write_text(text_before + "\n# only a remark\n")
    # the keys that the file is in: no text of it changes another
    assert digest_of(root, engine, changed) == {name: before[name] for name in changed}
    file.write_text(text_before)
    return changed


@pytest.mark.parametrize(
    ("family", "engine"),
    [("naive", ENGINE), ("theta", ENGINE), ("lstm", tuning.ENGINE), ("narx", tuning.ENGINE)],
    ids=["naive-train", "theta-train", "lstm-tune", "narx-tune"],
)
def test_an_edit_of_a_familys_file_changes_that_familys_key_alone(copy, family, engine):
    assert changed_by(copy / "forecast" / "models" / "families" / f"{family}.py", copy, engine) == {
        family
    }


def test_an_edit_of_a_cell_changes_the_families_made_of_it(copy):
    made_of = {n for n, s in SPECS.items() if "forecast.networks.cells.context" in s.modules()}
    assert made_of == {"jordan", "layrecnet", "multi_level", "temporal_skip"}
    assert changed_by(copy / "forecast" / "networks" / "cells" / "context.py", copy) == made_of


def test_an_edit_of_a_statistical_model_changes_its_own_key_alone(copy):
    assert changed_by(copy / "forecast" / "models" / "families" / "mstl.py", copy) == {"mstl"}
    assert changed_by(copy / "forecast" / "models" / "families" / "auto_theta.py", copy) == {
        "theta",
        "auto_theta",
    }


@pytest.mark.parametrize(
    "file", ["models/skip.py", "data/windows.py", "training/gradient.py", "networks/layers/scan.py"]
)
def test_an_edit_of_what_all_models_run_changes_every_key(copy, file):
    assert changed_by(copy / "forecast" / file, copy) == set(SPECS)


@pytest.mark.parametrize(
    "family", [name for name, spec in SPECS.items() if isinstance(spec, NetworkSpec)]
)
def test_the_code_of_every_layer_and_of_every_cell_it_names_is_in_a_networks_key(family):
    modules = SPECS[family].modules()
    paths = {
        path.as_posix()
        for module in (ENGINE, *modules)
        for path in module_files(module, ROOT, found_by_name=False)
    }
    needed = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "forecast" / "networks" / "layers").glob("*.py")
    }
    assert needed <= paths
    assert {f"{module.replace('.', '/')}.py" for module in modules} <= paths


def test_the_key_of_a_candidate_is_the_digest_of_that_code():
    assert candidate_digest(SPECS["gru"], ENGINE) == digest_of(ROOT)["gru"]


DESCRIBES = {
    "title": {"title": "Other"},
    "licence": {"licence": {"name": "other", "attribution": "somebody", "note": "a note"}},
    "quality threshold": {"quality": {"spikes": {"action": "warn", "limit": 99}, "gaps": "refuse"}},
    "unit": {"target": [{**column, "unit": "EUR"} for column in problems.SHOPS["target"]]},
    "max_missing": {
        "target": [{**problems.SHOPS["target"][0], "max_missing": 0.3}, problems.SHOPS["target"][1]]
    },
    "source": {"source": {"kind": "file", "path": "data/moved.csv"}},
    "split dates": {"splits": {"train": 0.5, "validation": 0.2, "calibration": 0.1}},
    "a default written out": {"calibration_step_size": 2},
}


@pytest.mark.parametrize("part", DESCRIBES)
def test_an_edit_of_what_only_describes_a_dataset_changes_no_key(part, tmp_path):
    """Study, memo and diagnostics lie under keys of task, data, borders, spec, code and lock: the
    task is the only one that the entry reaches without changing the data.
    """
    plain, edited = problems.dataset(), problems.dataset(**DESCRIBES[part])
    assert edited != plain and edited.task == plain.task
    assert task_digest(edited.task) == task_digest(plain.task)
    assert study_and_memo(edited.task, tmp_path) == study_and_memo(plain.task, tmp_path)


CHANGES = {
    "target": {"target": problems.SHOPS["target"][:1]},
    "past_exogenous": {"past_exogenous": problems.SHOPS["past_exogenous"][:1]},
    "future_exogenous": {"future_exogenous": [{"column": "plan", "known_ahead": True}]},
    "calendar_features": {"calendar_features": ["hour_of_day", "day_of_week"]},
    "time_zone": {"source": {"kind": "file", "path": "a.csv", "time_zone": "Europe/Berlin"}},
    "calendar": {"calendar": {"kind": "regular", "freq": "30min"}},
    "horizon": {"horizon": 4},
    "lookback": {"lookback": 11},
    "season_length": {"season_length": 5},
    "step_size": {"step_size": 3, "calibration_step_size": 2},
    "calibration_step_size": {"calibration_step_size": 1},
    "holidays": {"holidays": "DE"},
    "static": {"static": [{"column": "size", "categories": ["large", "small"]}]},
    "hierarchy": {"hierarchy": ["region"], "target": problems.SHOPS["target"][:1]},
}
EDITED_BESIDE = {"holidays": {"future_exogenous"}, "hierarchy": {"target"}}
"""Fields that change with another: holidays are inputs known ahead, sums are of one target."""
COLUMN_CHANGES = {
    "name": {"column": "turnover"},
    "transform": {"transform": "log1p"},
    "difference_inputs": {"difference_inputs": True},
    "may_be_missing": {"max_missing": 0.0},
    "minimum": {"minimum": 0},
    "maximum": {"maximum": 1e9},
    "point": {"point": "mean"},
}
COLUMN_NEEDS = {"point": {"transform": "log1p"}}
"""What a column has before and after, where a field is not allowed without it."""


@pytest.mark.parametrize("field", Task.model_fields)
def test_every_field_of_a_task_is_in_every_key(field, tmp_path):
    plain, changed = problems.task(), problems.task(**CHANGES[field])
    edited = {name for name in Task.model_fields if getattr(plain, name) != getattr(changed, name)}
    assert edited == {field, *EDITED_BESIDE.get(field, ())}
    assert not set(study_and_memo(plain, tmp_path)) & set(study_and_memo(changed, tmp_path))


@pytest.mark.parametrize("field", TaskColumn.model_fields)
def test_every_field_of_a_column_is_in_every_key(field, tmp_path):
    first, *rest = problems.SHOPS["target"]
    first = {**first, **COLUMN_NEEDS.get(field, {})}
    plain = problems.task(target=[first, *rest])
    changed = problems.task(target=[{**first, **COLUMN_CHANGES[field]}, *rest])
    before, after = plain.target[0], changed.target[0]
    assert {
        name for name in TaskColumn.model_fields if getattr(before, name) != getattr(after, name)
    } == {field}
    assert not set(study_and_memo(plain, tmp_path)) & set(study_and_memo(changed, tmp_path))


def study_and_memo(task, folder):
    """The names under which a study and a trained network lie; the diagnostics lie beside the
    latter.
    """
    paths, spec = ProjectPaths.of(folder), SPECS["elman"]
    place = PreparedData(paths, "shops", "frame.parquet", "digest")
    candidate = Candidate("elman", spec, "shipped", "linear")
    borders = {"train_end": "2024-01-01", "validation_end": "2024-01-02"}
    budget = Tuning(
        n_trials=3, trial_steps=4, final_steps=4, evaluate_every=2, seeds=[0], base_seed=0
    )
    setup = Setup(place, task, borders, load_models(), budget)
    (job,) = training._plan_jobs(setup, candidate, None)
    return tuning.study_key(setup, candidate), job.folder.name


def test_an_edit_of_a_docstring_changes_no_key(copy):
    file = copy / "forecast" / "data" / "windows.py"
    before, text_before = digest_before(copy, ENGINE), file.read_text()
    file.write_text(
        text_before.replace('"""Windows of scaled', '"""Otherwise told: windows of scaled', 1)
    )
    assert file.read_text() != text_before and digest_of(copy) == before
    file.write_text(text_before)


def test_the_lock_is_in_the_key_where_there_is_one(tmp_path):
    assert lock_digest(ProjectPaths.of(tmp_path)) == ""
    (tmp_path / "requirements.lock").write_text("numpy==2.4.0\n")
    first = lock_digest(ProjectPaths.of(tmp_path))
    (tmp_path / "requirements.lock").write_text("numpy==2.4.1\n")
    assert "" != first != lock_digest(ProjectPaths.of(tmp_path))
