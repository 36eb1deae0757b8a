"""What a run shows: a record's words and numbers under the same names, nothing a chart cannot
draw.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from forecast.data.records import SeedFit, Trial
from forecast.system import files
from forecast.system.errors import DataError, InputError
from forecast.tracking import publishing, read_candidate_runs, runs, tracking_store
from forecast.tracking.runs import CandidateRun
from tests.support.records import CANDIDATES, write_records


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> dict[str, CandidateRun]:
    root = write_records(tmp_path_factory.mktemp("project"))
    return {record.candidate: record for record in read_candidate_runs(root, "weather")}


def values(points: list[runs.MetricPoint], name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in points if point.name == name]


def test_nested_parameters_are_flat_and_missing_ones_left_out():
    nested = {"lags": {"y": [1, 2], "x": {}}, "clip": None, "bias": True, "rule": "adam"}
    assert runs.parameter_texts(nested) == {"lags.y": "[1, 2]", "bias": "true", "rule": "adam"}


def test_names_tell_the_two_rankings_apart(records):
    assert [records[c].name for c in CANDIDATES] == ["naive", "lstm", "lstm (architecture alone)"]


def test_the_best_on_validation_is_published_last_so_that_it_stands_on_top(tmp_path):
    write_records(tmp_path, failed=("lstm.linear",))
    assert [r.candidate for r in read_candidate_runs(tmp_path, "weather")] == [
        "lstm.linear",
        "naive",
        "lstm.last",
    ]


def test_scores_are_those_of_the_leaderboard_by_step_and_over_seeds(records):
    points = runs.score_points(records["lstm.linear"])
    assert values(points, "test/mae") == [(0, 0.5)]
    assert dict(values(points, "test_by_step/mae")) == pytest.approx(
        {1: 0.5 * 5 / 6, 2: 0.5 * 7 / 6, 3: 0.75}
    )
    assert values(points, "test_std/mae") == [(0, 0.5)]
    assert values(points, "validation/mase") == [(0, 0.45)]
    assert values(points, "n_params") == [(0, 1234.0)]
    assert values(points, "cpu_seconds") == [(0, 2.0)] and values(points, "tuning_cpu_seconds") == [
        (0, 8.0)
    ]


def test_a_head_s_scores_are_numbers_by_series_where_there_are_several(records):
    def row(metric, value, series="^gspc", level=""):
        return {"series": series, "metric": metric, "level": level, "value": value}

    scores = (
        row("crps", "0.5"),
        row("pinball", "0.1", level="90.0"),
        row("log_score", ""),
    )
    lstm = records["lstm.linear"]
    points = runs.score_points(replace(lstm, tables={"distributions": scores}))
    assert values(points, "distribution/crps") == [(0, 0.5)]
    assert values(points, "distribution/pinball_90") == [(0, 0.1)] and not values(
        points, "distribution/log_score"
    )
    several = (*scores, row("crps", "9", series="ixic"))
    points = runs.score_points(replace(lstm, tables={"distributions": several}))
    assert values(points, "distribution/ixic/crps") == [(0, 9.0)]
    assert values(points, "distribution/_gspc/crps") == [(0, 0.5)]


def test_the_ledger_is_among_the_numbers(records):
    points = runs.score_points(records["lstm.linear"])
    assert [values(points, name) for name in ("n_trials", "n_seeds", "gradient_steps")] == [
        [(0, 2.0)],
        [(0, 2.0)],
        [(0, 600.0)],
    ]


def test_intervals_are_scored_over_all_steps_and_series_by_method_and_level(records):
    points = runs.score_points(records["lstm.linear"])
    assert values(points, "test_intervals/coverage_80") == [(0, pytest.approx(0.8))]
    assert values(points, "test_intervals/winkler_80") == [(0, 3.0)]


@pytest.mark.parametrize(("series", "name"), [(["a"], "crps"), (["a", "b"], "scaled_crps")])
def test_the_crps_of_served_intervals_is_a_number_as_in_the_leaderboard(records, series, name):
    rows = [{"series": each, "crps": "4.0", "scaled_crps": "0.5"} for each in series]
    points = runs.score_points(replace(records["lstm.linear"], tables={"crps": rows}))
    scores_of_run = {"crps": 4.0, "scaled_crps": 0.5}
    for each in scores_of_run:
        expected = [(0, scores_of_run[each])] if each == name else []
        assert values(points, f"test_intervals/{each}") == expected


def test_diagnostics_are_numbers_and_what_depends_on_the_lag_has_it_as_its_step(records):
    points = runs.diagnostic_points(records["lstm.linear"])
    assert values(points, "diagnostics_by_lag/gradient") == [(0, 0.5), (2, 0.125)]
    assert values(points, "diagnostics_free_run") == [(1, 1.0), (2, 30.0)]
    assert runs.diagnostic_points(records["naive"]) == []


def test_a_closed_loop_that_does_not_hold_is_named(records):
    record = records["lstm.linear"]
    assert runs.run_tags(record)["loop"] == "unstable"
    assert "**Closed loop unstable**" in runs.run_note(record)
    assert "loop" not in runs.run_tags(records["naive"])


def test_learning_curves_have_one_line_per_seed_over_gradient_steps(records):
    points = runs.curve_points(records["lstm.linear"].record)
    assert [step for step, _ in values(points, "train_loss/seed_0")] == [0, 10, 20, 30]
    assert values(points, "validation_loss/seed_1")[0] == (0, pytest.approx(0.4 + 1 + 0.02))


@pytest.mark.parametrize(
    ("curve", "drawn"),
    [
        ([[10, 0.5], [20, 0.25]], [(10, 0.5), (20, 0.25)]),
        ([[10, 0.9, 0.5], [20, 0.8, None]], [(10, 0.5)]),
    ],
)
def test_a_trials_curve_is_its_validation_loss_by_step(curve, drawn):
    assert (
        values(runs.trial_points(Trial(number=0, value=0.25, curve=curve)), "trial/validation_loss")
        == drawn
    )


def test_what_is_missing_or_infinite_is_not_drawn():
    numbers = (None, "", "x", math.nan, math.inf, 10**400, "0.5")
    points = [runs.MetricPoint("a", value) for value in numbers]
    assert runs.finite_points(points) == [runs.MetricPoint("a", 0.5)]


def test_the_note_says_what_the_model_is_and_how_it_compares(records):
    note = runs.run_note(records["lstm.last"])
    assert note.startswith("**Selected on validation in its ranking.**")
    assert "lstm against naive: better (-30.0 %, p 0.002" in note


def test_a_failed_model_says_why_first(tmp_path):
    write_records(tmp_path, failed=("lstm.last",))
    failed = next(run for run in read_candidate_runs(tmp_path, "weather") if run.record.has_failed)
    assert runs.run_note(failed).startswith("**Failed:** the loss became NaN at step 12")
    assert runs.run_tags(failed)["reason"] == "the loss became NaN at step 12"


def test_a_failed_seed_is_named(records):
    record = records["lstm.last"].record
    seeds = (record.seeds[0], SeedFit(seed=1, status="failed", reason="diverged"))
    tags = runs.run_tags(CandidateRun(record.model_copy(update={"seeds": seeds}), Path()))
    assert tags["failed_seeds"] == "seed 1: diverged"


def test_a_network_that_did_not_train_is_said_to_be_none(records):
    record = records["lstm.linear"].record
    seeds = tuple(fit.model_copy(update={"best_step": 0}) for fit in record.seeds)
    untrained = CandidateRun(record.model_copy(update={"seeds": seeds}), Path())
    assert runs.run_note(untrained).startswith("**Did not train:**")
    assert runs.run_tags(untrained)["did_not_train"] == "true"
    assert "did_not_train" not in runs.run_tags(records["lstm.linear"])


def test_what_others_decide_does_not_change_a_records_digest(tmp_path):
    write_records(tmp_path)
    before = {r.candidate: r.digest for r in read_candidate_runs(tmp_path, "weather")}
    board = tmp_path / "data" / "compared" / "weather" / "leaderboard.csv"
    files.write_text(board, board.read_text().replace(",True", ",False"))
    assert {r.candidate: r.digest for r in read_candidate_runs(tmp_path, "weather")} == before
    files.write_text(
        board,
        board.read_text().replace(
            "lstm,shipped,linear,mean,ok,0.5,", "lstm,shipped,linear,mean,ok,0.6,"
        ),
    )
    changed = {
        r.candidate
        for r in read_candidate_runs(tmp_path, "weather")
        if before[r.candidate] != r.digest
    }
    assert changed == {"lstm.linear"}


def test_a_torn_record_is_named(tmp_path):
    write_records(tmp_path)
    (tmp_path / "data" / "trained" / "weather" / "naive" / "record.json").write_text(
        '{"dataset": "wea'
    )
    with pytest.raises(
        DataError, match=r"naive/record\.json: no RunRecord of this version .* run `dvc repro`"
    ):
        read_candidate_runs(tmp_path, "weather")


def test_a_relative_address_is_taken_from_the_project(tmp_path):
    assert (
        tracking_store(tmp_path).uri
        == tracking_store(tmp_path, "sqlite:///mlflow.db").uri
        == f"sqlite:///{tmp_path}/mlflow.db"
    )
    assert tracking_store(tmp_path).artifact_root == tmp_path / "mlartifacts"
    assert (
        tracking_store(tmp_path).owned
        and not tracking_store(tmp_path, "sqlite:////elsewhere/mlflow.db").owned
    )


def test_a_server_keeps_the_artifacts_itself(tmp_path):
    assert tracking_store(tmp_path, "http://tracking:5000").artifact_root is None
    assert (
        tracking_store(tmp_path, "postgresql+psycopg://user@host/db").artifact_root
        == tmp_path / "mlartifacts"
    )


@pytest.mark.parametrize("uri", ["file:///somewhere/mlruns", "./mlruns", "ftp://host"])
def test_an_address_mlflow_cannot_write_to_is_refused(tmp_path, uri):
    with pytest.raises(InputError, match="wanted sqlite:///<file>"):
        tracking_store(tmp_path, uri)


def test_the_saved_leaderboard_is_sorted_by_an_error_that_runs_of_several_series_have_too():
    tags = publishing.experiment_tags([], 0)
    state = json.loads(json.loads(tags["mlflow.sharedViewState.leaderboard"])["state"])
    assert state["orderByKey"] == "metrics.`test/mase`"
    assert "metrics.`test/mase`" in state["selectedColumns"]


def test_the_saved_view_fits_into_a_tag():
    tags = publishing.experiment_tags(["The verdict."], 0)
    assert all(len(value) <= 5000 for value in tags.values())
    assert tags["mlflow.note.content"].startswith("The verdict.")
    assert publishing.leaderboard_page("7").startswith(
        "/#/experiments/7/runs?viewStateShareKey=leaderboard"
    )
