"""The tune stage: one study per network and ranking, keyed by what it can depend on."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from forecast import models
from forecast.backtest import backtest, tuning
from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.setup import Setup
from forecast.backtest.tuning import study_key, tune
from forecast.config.models import Tuning, load_models
from forecast.config.paths import ProjectPaths
from forecast.data.records import StudyRecord, Trial
from forecast.system import files
from forecast.system.errors import ForecastError
from tests.support import problems

BORDERS = {
    "train_end": "2024-01-04",
    "validation_end": "2024-01-05",
    "calibration_end": "2024-01-06",
    "test_end": "2024-01-07",
}


def candidate(family, skip="linear", **options):
    return Candidate(
        family, models.spec({"family": family, **options}, where="test"), "shipped", skip
    )


NET, OTHER, NAIVE = candidate("gru"), candidate("lstm"), candidate("naive", skip=None)

TUNING = Tuning(n_trials=3, trial_steps=10, final_steps=1, evaluate_every=5, seeds=[0], base_seed=0)


def with_tuning(plan, **changes):
    return replace(plan, tuning=plan.tuning.model_copy(update=changes))


@pytest.fixture
def plan(tmp_path):
    place = PreparedData(
        ProjectPaths.of(tmp_path),
        "shops",
        "tuning.parquet",
        "digest of the rows up to the validation end",
    )
    return Setup(place, problems.task(), BORDERS, load_models(), TUNING)


def test_later_rows_and_where_later_blocks_end_are_not_in_a_studys_key(plan):
    moved = replace(
        plan, borders={**BORDERS, "calibration_end": "2025-01-06", "test_end": "2025-02-07"}
    )
    assert study_key(moved, NET) == study_key(plan, NET)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, borders={**BORDERS, "validation_end": "2024-01-04T12"}),
        lambda plan: replace(plan, borders={**BORDERS, "train_end": "2024-01-03"}),
        lambda plan: replace(plan, data=replace(plan.data, digest="other rows")),
        lambda plan: replace(plan, task=problems.task(lookback=9)),
        lambda plan: with_tuning(plan, trial_steps=11),
        lambda plan: with_tuning(plan, evaluate_every=4),
        lambda plan: with_tuning(plan, n_trials=4),
        lambda plan: with_tuning(plan, base_seed=1),
    ],
    ids=["validation end", "train end", "rows", "task", "steps", "looks", "trials", "seed"],
)
def test_what_a_study_depends_on_is_in_its_key(plan, change):
    assert study_key(change(plan), NET) != study_key(plan, NET)


def test_the_study_of_a_frame_digests_no_code_since_no_other_run_finds_it(plan, monkeypatch):
    monkeypatch.delattr("forecast.system.code_closure.follow_imports")
    in_memory = replace(plan, data=replace(plan.data, digest=""))
    assert study_key(in_memory, NET) != study_key(in_memory, OTHER)


def test_candidates_have_keys_of_their_own(plan):
    different = [
        NET,
        OTHER,
        candidate("gru", skip="last"),
        candidate("gru", units=7),
        candidate("gru", batch_size=8),
    ]
    assert len({study_key(plan, c) for c in different}) == len(different)


def fake_study(plan, candidate):
    trials = (
        Trial(number=0, value=0.5, params={"units": 16}),
        Trial(number=1, value=0.25, params={"units": 32}),
    )
    if candidate.model == "lstm":
        raise ZeroDivisionError("a bug in this one")
    record = StudyRecord(
        model=candidate.model,
        skip=candidate.skip,
        study="key",
        n_trials=2,
        gradient_steps=plan.tuning.trial_steps,
        best=1,
        trials=trials,
    )
    return record, 0.0


@pytest.fixture(autouse=True)
def no_engine(monkeypatch):
    """No study here trains, and another test of the process may have begun TensorFlow with threads
    of its own.
    """
    monkeypatch.setattr(backtest, "load_tensorflow", lambda: None)


def test_every_network_gets_a_file_and_what_has_nothing_to_tune_none(plan, monkeypatch):
    monkeypatch.setattr(tuning, "run_candidate_study", fake_study)
    done = []
    show_progress = lambda *_, **__: contextlib.nullcontext(lambda name, _: done.append(name))  # noqa: E731
    monkeypatch.setattr(tuning.workers, "show_progress", show_progress)
    target = plan.data.paths.root / "tuned"
    tune(plan, [NAIVE, NET, candidate("gru", skip="last")], target, jobs=1)
    assert sorted(path.name for path in target.iterdir()) == ["gru.last.json", "gru.linear.json"]
    assert done == ["gru.linear", "gru.last"]
    content = files.read_json(target / "gru.linear.json")
    assert content["best"] == 1
    assert content["trials"][1]["value"] == 0.25
    assert content["trials"][1]["params"] == {"units": 32}
    assert (content["model"], content["skip"], content["gradient_steps"]) == ("gru", "linear", 10)


def test_an_entry_that_sets_every_searched_value_is_not_tuned(plan, monkeypatch):
    monkeypatch.setattr(tuning, "run_candidate_study", fake_study)
    space = NET.spec.search_space()
    fixed = replace(plan, models_with_fixed_values=["gru"])
    whole = candidate("gru", **{name: getattr(NET.spec, name) for name in space})
    assert not tuning.trial_space(fixed, whole) and tuning.trial_space(plan, whole)
    target = plan.data.paths.root / "tuned"
    tune(fixed, [whole], target, jobs=1)
    assert [path.name for path in target.iterdir()] == ["nothing-to-tune.txt"]


def test_the_folder_of_a_grid_without_anything_to_tune_is_not_empty_for_dvc(plan, monkeypatch):
    monkeypatch.setattr(tuning, "run_candidate_study", fake_study)
    target = plan.data.paths.root / "tuned"
    tune(plan, [NAIVE], target, jobs=1)
    assert [path.name for path in target.iterdir()] == ["nothing-to-tune.txt"]
    tune(plan, [NAIVE, NET], target, jobs=1)
    assert [path.name for path in target.iterdir()] == [f"{NET.name}.json"]


@pytest.mark.parametrize(("n_workers", "place"), [(1, 4), (2, 2), (4, 4)])
def test_every_worker_begins_with_a_network_and_ends_with_two_where_there_are_enough(
    n_workers, place
):
    networks = [
        candidate(name, skip=skip)
        for name in ("elman", "gru", "lstm")
        for skip in ("linear", "last")
    ]
    grid = [candidate("ridge", skip=None), *networks]
    ordered = tuning._order_studies(grid, n_workers)
    assert [c.model for c in ordered].index("ridge") == place
    assert sorted(c.name for c in ordered) == sorted(c.name for c in grid)


def test_a_study_with_a_bug_is_named_after_the_others_are_done(plan, monkeypatch):
    monkeypatch.setattr(tuning, "run_candidate_study", fake_study)
    done = []
    show_progress = lambda *_, **__: contextlib.nullcontext(lambda name, _: done.append(name))  # noqa: E731
    monkeypatch.setattr(tuning.workers, "show_progress", show_progress)
    target = plan.data.paths.root / "tuned"
    with pytest.raises(ForecastError) as failed:
        tune(plan, [OTHER, NET], target, jobs=1)
    assert "tune shops: 1 of 2 failed" in str(failed.value) and "- lstm.linear: " in str(
        failed.value
    )
    assert "ZeroDivisionError: a bug in this one" in str(failed.value)
    assert done == ["lstm.linear", "gru.linear"]
    assert not target.exists()


def test_a_finished_study_is_read_back_and_two_names_for_one_configuration_are_studied_once(
    plan, monkeypatch
):
    calls = []

    def count_study(plan, candidate):
        calls.append(candidate.name)
        return fake_study(plan, candidate)

    monkeypatch.setattr(tuning, "run_candidate_study", count_study)
    twin = replace(NET, model="gru_again")
    for _ in range(2):
        tune(plan, [NET, twin], plan.data.paths.root / "tuned", jobs=1)
    assert calls == ["gru.linear"]
    assert (
        files.read_json(plan.data.paths.root / "tuned" / "gru_again.linear.json")["model"]
        == "gru_again"
    )
