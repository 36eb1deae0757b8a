"""Keys: what a result depends on changes them, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forecast.backtest import cache_keys
from forecast.backtest.training import ENGINE
from forecast.backtest.tuning import grid
from forecast.config.paths import ProjectPaths
from forecast.models import catalogue
from forecast.models.base import NetworkSpec
from forecast.system.code_closure import closure, code_digest
from tests.support import problems

ROOT = Path(__file__).resolve().parents[2]
SPECS = {name: spec(family=name) for name, spec in catalogue().items()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "forecast", root / "forecast", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def digest_of(root, engine=ENGINE):
    """The code digest of every family, as `candidate_digest` takes it."""
    return {name: code_digest([engine, *spec.modules()], root) for name, spec in SPECS.items()}


def changed_by(file, root, engine=ENGINE):
    before = digest_of(root, engine)
    kept = file.read_text()
    file.write_text(kept + "\nADDED = 1\n")
    after = digest_of(root, engine)
    file.write_text(kept + "\n# only a remark\n")
    assert digest_of(root, engine) == before
    file.write_text(kept)
    return {name for name in SPECS if before[name] != after[name]}


@pytest.mark.parametrize("engine", [ENGINE, grid.ENGINE], ids=["train", "tune"])
@pytest.mark.parametrize("family", ["lstm", "naive", "theta", "narx"])
def test_an_edit_of_a_familys_file_changes_that_familys_key_alone(copy, family, engine):
    assert changed_by(copy / "forecast" / "models" / "families" / f"{family}.py", copy, engine) == {family}


def test_an_edit_of_a_cell_changes_the_families_made_of_it(copy):
    made_of = {n for n, s in SPECS.items() if "forecast.networks.cells.jordan" in s.modules()}
    assert "jordan" in made_of
    assert changed_by(copy / "forecast" / "networks" / "cells" / "jordan.py", copy) == made_of


def test_an_edit_of_a_statistical_model_changes_its_own_key_alone(copy):
    assert changed_by(copy / "forecast" / "models" / "statistical" / "theta.py", copy) == {"theta"}


@pytest.mark.parametrize(
    "file", ["models/skip.py", "data/windows.py", "training/gradient.py", "networks/layers/scan.py"]
)
def test_an_edit_of_what_all_models_run_changes_every_key(copy, file):
    assert changed_by(copy / "forecast" / file, copy) == set(SPECS)


@pytest.mark.parametrize("family", [name for name, spec in SPECS.items() if isinstance(spec, NetworkSpec)])
def test_the_code_of_every_layer_and_of_every_cell_it_names_is_in_a_networks_key(family):
    modules = SPECS[family].modules()
    seen = {path.as_posix() for module in (ENGINE, *modules) for path in closure(module, ROOT, found_by_name=False)}
    needed = {path.relative_to(ROOT).as_posix() for path in (ROOT / "forecast" / "networks" / "layers").glob("*.py")}
    assert needed <= seen
    assert {f"{module.replace('.', '/')}.py" for module in modules} <= seen


def test_the_key_of_a_candidate_is_the_digest_of_that_code():
    assert cache_keys.candidate_digest(SPECS["gru"], ENGINE) == digest_of(ROOT)["gru"]


def test_what_only_describes_a_dataset_is_in_no_key():
    plain = problems.dataset()
    described = problems.dataset(title="Other", licence={"name": "x", "attribution": "y"})
    assert cache_keys.dataset_digest(plain) == cache_keys.dataset_digest(described)
    for change in ({"horizon": 4}, {"lookback": 11}, {"season": 5}, {"stride": 3}, {"future": []}):
        assert cache_keys.dataset_digest(problems.dataset(**change)) != cache_keys.dataset_digest(plain)


def test_the_lock_is_in_the_key_where_there_is_one(tmp_path):
    assert cache_keys.lock_digest(ProjectPaths.of(tmp_path)) == ""
    (tmp_path / "requirements.lock").write_text("numpy==2.4.0\n")
    first = cache_keys.lock_digest(ProjectPaths.of(tmp_path))
    (tmp_path / "requirements.lock").write_text("numpy==2.4.1\n")
    assert "" != first != cache_keys.lock_digest(ProjectPaths.of(tmp_path))
