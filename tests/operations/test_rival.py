"""What a gate compares a challenger with, and on which rows: on none that either model has seen."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.operations import challenger, champion, evidence, retrain
from forecast.operations.challenger import RetrainingJob
from forecast.operations.registry import make_card
from forecast.operations.worktree import WorkTree
from tests.operations.projects import NAME, NOW


@pytest.fixture
def judged(moved, monkeypatch):
    """(job, tree, settings, the challenger's card, calls of the refit)."""
    calls = []

    def refit(project, dataset, record, target, *, on, environment):
        calls.append(on)
        shutil.copytree(moved / "data" / "trained" / NAME / "arx", target, dirs_exist_ok=True)

    monkeypatch.setattr(challenger, "run_refit", refit)
    job = RetrainingJob(root=moved, dataset=NAME, now=NOW, environment={})
    job.folder.mkdir(parents=True)
    settings = load_dataset(NAME, moved / "configs")
    folder = moved / "data" / "trained" / NAME / "ridge"
    card = make_card(Results(ProjectPaths.of(moved), NAME), folder.name, now=NOW, revision="abc")
    return job, WorkTree(moved, "", ()), settings, card, calls


def test_a_champion_that_has_seen_no_fresh_row_is_compared_as_it_serves(judged, moved):
    job, tree, settings, card, calls = judged
    current = champion.load(moved, NAME)
    rival, seen_until = retrain._rival_model(job, tree, current, settings, card, {NAME})
    assert rival is current.ensemble and not calls
    assert seen_until == [pd.Timestamp(card.last_target_used)] * 2


def test_a_champion_fitted_on_all_data_is_represented_by_its_recipe_at_the_challenger_s_cutoff(
    judged, moved
):
    job, tree, settings, card, calls = judged
    current = champion.load(moved, NAME)
    data = evidence.GateData.read(moved, NAME)
    newest = data.panel.series[0].ds[-1]
    seen_all = current.card.model_copy(update={"last_target_used": str(newest), "refit_of": 1})
    rival, seen_until = retrain._rival_model(
        job, tree, replace(current, card=seen_all), settings, card, {NAME}
    )
    assert calls == ["gate"] and rival is not current.ensemble
    border = pd.Timestamp(card.last_target_used)
    assert seen_until == [border]
    (series,) = data.panel.series
    rows = data.fresh_rows(seen_until)[NAME]
    assert len(rows) and (series.ds[rows + 1] > np.datetime64(border)).all()
    assert not len(data.fresh_rows([border, pd.Timestamp(newest)])[NAME])


def test_a_champion_that_does_not_know_a_series_is_represented_by_its_recipe(judged, moved):
    job, tree, settings, card, calls = judged
    current = champion.load(moved, NAME)
    series = {NAME, "a new shop"}
    rival, _ = retrain._rival_model(job, tree, current, settings, card, series)
    assert calls == ["gate"] and rival is not current.ensemble
