"""A combination in operation: promoted, served and refitted like any row; a member that is gone is
refused by name.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from forecast.backtest.candidates import REFERENCE_MODELS, plan_candidates
from forecast.config.datasets import load_dataset
from forecast.config.models import load_models
from forecast.data.panel import Panel, from_frame
from forecast.data.records import RunRecord
from forecast.forecaster.ensemble import MANIFEST, Ensemble, load_trained_ensemble
from forecast.forecaster.serving import Service
from forecast.operations import challenger, champion, predicting, refit, registry, worktree
from forecast.operations.challenger import champion_recipe
from forecast.system import files
from forecast.system.errors import DataError
from pipelines import compare, train
from tests.operations import projects
from tests.operations.projects import NAME, NOW
from tests.support import small_project

SHARES = {"ridge": 0.75, "arx": 0.25}
EVEN = {"family": "combination", "members": ["ridge", "arx"]}
MIX = {"family": "combination", "weights": SHARES}


@pytest.fixture(scope="module")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return projects.write_repro(tmp_path_factory.mktemp("project"), mix=MIX, even=EVEN)


@pytest.fixture
def project(finished_project: Path, tmp_path: Path) -> Path:
    root = tmp_path / "project"
    shutil.copytree(finished_project, root)
    return root


def folder(root: Path, candidate: str) -> Path:
    return root / "data" / "trained" / NAME / candidate


def test_it_is_a_row_with_scores_intervals_and_tests(finished_project: Path) -> None:
    compared = finished_project / "data" / "compared" / NAME
    board = pd.read_csv(compared / "leaderboard.csv", dtype=str).set_index("model")
    assert set(board.loc[["mix", "even"], "status"]) == {"ok"} and board.loc[
        "mix", "ranking"
    ].unique().tolist() == ["shipped"]
    assert {"mix", "even"} <= set(pd.read_parquet(compared / "intervals.parquet")["model"])
    tests = files.read_json(compared / "verdicts.json")["tests"]
    assert {"bar", "best"} <= {test["family"] for test in tests if test["model"] in ("mix", "even")}


def test_what_is_served_is_the_weighted_mean_of_its_members(project: Path) -> None:
    registry.promote(project, NAME, projects.register(project, "mix"), now=NOW)
    forecast = predicting.forecast_champion(project, NAME, now=NOW, usual_levels=(80,))
    assert forecast.champion.ensemble.weights == SHARES and forecast.champion.card.model == "mix"
    single = {name: load_trained_ensemble(folder(project, name)) for name in SHARES}
    panel = from_frame(projects.prepared(project), NAME, forecast.champion.ensemble.task)
    rows = {NAME: np.array([len(panel.series[0]) - 1])}
    expected = sum(
        share * single[name].predict(panel, rows)[NAME] for name, share in SHARES.items()
    )
    np.testing.assert_allclose(forecast.table["y_hat"], np.ravel(expected))
    assert {"lo_80", "hi_80"} <= set(forecast.table)
    service = Service.load(champion.version_folder(project, NAME, forecast.champion.version))
    np.testing.assert_allclose(
        service.answer(projects.prepared(project).tail(30))["y_hat"], np.ravel(expected)
    )


def test_a_served_forecast_is_that_of_the_backtest(finished_project: Path) -> None:
    ensemble = load_trained_ensemble(folder(finished_project, "mix"))
    table = pd.read_parquet(folder(finished_project, "mix") / "forecasts.parquet").query(
        "block == 'test'"
    )
    panel = from_frame(projects.prepared(finished_project), NAME, ensemble.task)
    rows = np.searchsorted(panel.series[0].ds, table["cutoff"].unique())
    np.testing.assert_allclose(ensemble.predict(panel, {NAME: rows})[NAME].ravel(), table["y_hat"])


def test_weights_for_a_member_that_is_gone_are_refused_by_name_and_the_equal_row_still_serves(
    project: Path,
) -> None:
    shutil.rmtree(folder(project, "mix") / "members" / "arx")
    with pytest.raises(DataError, match="weights for 'arx'"):
        projects.register(project, "mix")
    registry.promote(project, NAME, projects.register(project, "even"), now=NOW)
    assert np.isfinite(
        predicting.forecast_champion(project, NAME, now=NOW, usual_levels=()).table["y_hat"]
    ).all()


def test_a_saved_version_that_names_a_member_it_does_not_hold_is_refused_by_name(
    finished_project: Path, tmp_path: Path
) -> None:
    load_trained_ensemble(folder(finished_project, "mix")).save(tmp_path / "saved")
    manifest = files.read_json(tmp_path / "saved" / MANIFEST)
    files.write_json(
        tmp_path / "saved" / MANIFEST, {**manifest, "weights": {**SHARES, "gone": 0.1}}
    )
    with pytest.raises(DataError, match="weights for 'gone'"):
        Ensemble.load(tmp_path / "saved")


def test_a_members_seeds_share_its_weight() -> None:
    first, second, third = (
        SimpleNamespace(
            predict=lambda panel, rows, v=v: {"a": np.array([v])},
            weights={},
            join_twin=lambda other: None,
        )
        for v in (1.0, 3.0, 9.0)
    )
    ensemble = Ensemble(
        (first, second, third), {}, ("net", "net", "line"), {"net": 0.5, "line": 0.5}
    )  # type: ignore[arg-type]
    panel = Panel("x", None, ())  # type: ignore[arg-type]
    assert ensemble.predict(panel, {"a": np.array([0])}) == {"a": [5.5]}  # type: ignore[arg-type]


def test_its_recipe_is_fitted_again_for_the_gate_and_on_all_data(project: Path) -> None:
    ensemble = load_trained_ensemble(folder(project, "mix"))
    recipe = champion_recipe(
        SimpleNamespace(ensemble=ensemble, card=SimpleNamespace(candidate="mix", model="mix"))
    )  # type: ignore[arg-type]
    refit.refit_at_gate(project, NAME, recipe, project / "rival", jobs=1)
    refitted = pd.read_parquet(project / "rival" / "forecasts.parquet")
    pd.testing.assert_frame_equal(
        refitted, pd.read_parquet(folder(project, "mix") / "forecasts.parquet")
    )
    assert load_trained_ensemble(project / "rival").weights == SHARES
    refit.refit_on_all_data(project, NAME, folder(project, "mix"), project / "all", jobs=1)
    panel = from_frame(projects.prepared(project), NAME, ensemble.task)
    rows = {NAME: np.array([len(panel.series[0]) - 1])}
    newest, before = (
        e.predict(panel, rows)[NAME] for e in (load_trained_ensemble(project / "all"), ensemble)
    )
    assert np.isfinite(newest).all() and not np.allclose(newest, before)


def test_a_champion_whose_weights_are_learnt_again_is_asked_by_its_rule_at_a_gate(
    finished_project: Path, tmp_path: Path
) -> None:
    rule = {"family": "combination", "members": ["ridge", "arx"], "weights": "stacked", "refit": 3}
    root = projects.write_repro(tmp_path / "project", again=rule)
    ensemble = load_trained_ensemble(folder(root, "again"))
    ensemble.save(tmp_path / "saved")
    ensemble = Ensemble.load(tmp_path / "saved")
    recipe = champion_recipe(
        SimpleNamespace(ensemble=ensemble, card=SimpleNamespace(candidate="again", model="again"))
    )  # type: ignore[arg-type]
    # weights that saw the rows of the gate are not what it is scored with
    swayed = tuple(member.model_copy(update={"weight": 0.5}) for member in recipe.members)
    recipe = recipe.model_copy(update={"members": swayed})
    refit.refit_at_gate(root, NAME, recipe, tmp_path / "rival", jobs=1)
    weights_again, first = (
        RunRecord.read(path / "record.json").weights
        for path in (tmp_path / "rival", folder(root, "again"))
    )
    assert len(first) > 2
    for weight, other in zip(weights_again, first, strict=True):
        assert weight.learnt_until == other.learnt_until
        assert weight.weights == pytest.approx(other.weights)
    table = pd.read_parquet(folder(root, "again") / "forecasts.parquet")
    start = table.loc[table["block"] == "test", "cutoff"].min()
    known = [dated.weights for dated in first if dated.learnt_until <= start]
    # weights that saw no target of the test block
    assert ensemble.weights == known[-1] and len(known) < len(first)


def test_a_champion_that_is_no_combination_is_fitted_again_at_a_gate(
    project: Path, tmp_path: Path
) -> None:
    ensemble = load_trained_ensemble(folder(project, "ridge"))
    meta = SimpleNamespace(candidate="ridge", model="ridge")
    recipe = champion_recipe(SimpleNamespace(ensemble=ensemble, card=meta))  # type: ignore[arg-type]
    refit.refit_at_gate(project, NAME, recipe, tmp_path / "rival", jobs=1)
    places = (tmp_path / "rival", folder(project, "ridge"))
    forecasts_again, first = (pd.read_parquet(path / "forecasts.parquet") for path in places)
    pd.testing.assert_frame_equal(forecasts_again, first)


def test_a_retraining_keeps_the_combinations_of_the_grid(project: Path) -> None:
    tree = worktree.WorkTree(project, "", ())
    (project / "dvc.yaml").write_text("stages: {tune: {}, train: {}}\n")
    challenger.write_configuration(tree, NAME, {"train_end": "2024-05-01"})
    assert list(load_models(project / "configs").combinations()) == ["mix", "even"]


def test_a_retraining_without_what_is_never_selected_selects_the_same(tmp_path: Path) -> None:
    learnt = {"family": "combination", "members": ["ridge", "arx"], "weights": "stacked"}
    root = projects.write_repro(
        tmp_path / "project",
        learnt=learnt,
        theta={"family": "theta"},
        nlinear={"family": "window_linear"},
    )
    whole, card = registry.selected_candidate(root, NAME, now=NOW, revision="abc")
    tree = worktree.WorkTree(root, "", ())
    (root / "dvc.yaml").write_text("stages: {tune: {}, train: {}}\n")
    splits = load_dataset(NAME, root / "configs").splits.model_dump(mode="json")
    first = RunRecord.read(whole / "record.json")
    challenger.write_configuration(tree, NAME, splits)
    train.main(NAME, root=str(root), state=str(root / ".forecast"), jobs=1)
    compare.main(NAME, root=str(root))
    narrowed, selected_again = registry.selected_candidate(root, NAME, now=NOW, revision="abc")
    trained = {path.name for path in narrowed.parent.iterdir()}
    assert trained == {"naive", "seasonal_naive", "ridge", "arx", "learnt"}
    assert narrowed.name == whole.name == "learnt"
    assert selected_again.expected[NAME] == pytest.approx(card.expected[NAME])
    for weight, other in zip(
        RunRecord.read(narrowed / "record.json").weights, first.weights, strict=True
    ):
        assert weight.weights == pytest.approx(other.weights)


@pytest.mark.parametrize("kind", [None, "networks", "all", "by name", "equal"])
def test_only_what_the_selection_depends_on_is_selectable(kind: str | None) -> None:
    config = load_models(small_project.ROOT / "configs")
    grid = config.grids["default"]
    names = ("theta", "lstm")
    members = {"networks": ("networks", "ridge"), "all": "all", "by name": names, "equal": names}
    entries = {name: entry for name, entry in config.models.items() if name != "stacked"}
    if kind is not None:
        weights = "equal" if kind == "equal" else "stacked"
        rule = {"family": "combination", "members": members[kind], "weights": weights}
        entries["stacked"] = rule
    else:
        grid = tuple(name for name in grid if name != "stacked")
    changed = config.model_copy(update={"models": entries, "grids": {"default": grid}})
    chosen = challenger.selectable_models(changed)
    if kind in (None, "all", "equal"):
        assert chosen == grid
        return
    planned = plan_candidates(changed, season_length=24).candidates
    networks = {each.model for each in planned if each.spec.is_network}
    expected = {*names} if kind == "by name" else {*networks, "ridge"}
    assert len(networks) > 5
    assert {*chosen} == ({*REFERENCE_MODELS, *expected, "stacked"} & {*grid})
