"""The champion's forecast: what was backtested, what Keras gives, at the calendar's dates, or a
clear refusal.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli import app
from forecast.comparison.low_medians import describe_low_medians
from forecast.config import datasets
from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data import ingest
from forecast.data.results import Results
from forecast.data.sources import Request
from forecast.forecaster.ensemble import (
    Ensemble,
    calibrate_intervals,
    forecast_latest,
    judge_levels,
)
from forecast.forecaster.intervals import Difficulty, SplitConformal
from forecast.forecaster.serving import Service
from forecast.operations import champion, live_accuracy, predicting, registry
from forecast.operations.records import read_live_scores
from forecast.operations.status import read_status
from forecast.operations.worktree import newest_data_root
from forecast.report.answer import advise
from forecast.system.errors import InputError, with_minus
from tests.contract import families
from tests.operations import projects
from tests.operations.projects import NAME, NOW
from tests.support import problems, small_project

HEAVY = {"tensorflow", "keras", "mlflow", "optuna", "statsforecast", "numba", "matplotlib"}
HEAVY |= {"lightgbm", "sklearn", "scipy.linalg", "scipy.special", "scipy.stats"}


def forecast(root, **options):
    return predicting.forecast_champion(root, NAME, now=NOW, usual_levels=(80, 95), **options)


def test_it_follows_the_last_row_and_equals_the_trained_model(moved):
    forecasted = forecast(moved)
    assert forecasted.champion.version == 2 and forecasted.table["cutoff"].max() == pd.Timestamp(
        "2024-07-18"
    )
    assert [f"{ds:%m-%d}" for ds in forecasted.table["ds"]] == ["07-19", "07-20"]
    expected = problems.latest(forecasted.champion.ensemble.forecasters[0], forecasted.panel)[
        "wave"
    ][:, 0]
    np.testing.assert_array_equal(forecasted.table["y_hat"], expected)
    assert (forecasted.table["lo_95"] < forecasted.table["lo_80"]).all() and (
        forecasted.table["hi_80"] < forecasted.table["hi_95"]
    ).all()


def fetch(root: Path) -> list[str]:
    """The sentences of what the data checks of a fetch find."""
    request = Request(NAME, load_dataset(NAME, root / "configs"), root)
    return [finding.sentence for finding in ingest.fetch_snapshot(request, now=NOW).findings]


def promote_with_plan(root: Path, rows: pd.DataFrame) -> None:
    """A ridge on `rows` (ds, plan, y), whose plan is known ahead, in service."""
    rows.to_csv(root / "data" / "wave.csv", index=False)
    entry = {**small_project.DATASET, "future_exogenous": [{"column": "plan", "known_ahead": True}]}
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: entry}}
    )
    fetch(root)
    projects.gone_through(root, ("naive", "ridge"))
    registry.promote(root, NAME, projects.register(root, "ridge"), now=NOW)


def test_a_hole_of_a_plan_is_told_by_fetch_and_status_before_a_forecast_is_refused(tmp_path):
    root = small_project.write(tmp_path)
    days = pd.date_range("2024-01-01", periods=small_project.DAYS + 2)
    wave = pd.read_csv(root / "data" / "wave.csv", parse_dates=["ds"])
    plan = np.random.default_rng(1).integers(0, 2, len(days)).astype(float)
    both = pd.DataFrame({"ds": days, "plan": plan}).merge(wave, how="left")
    promote_with_plan(root, both)
    assert read_status(root, NAME, now=NOW).state == "good"
    both.iloc[:-1].to_csv(root / "data" / "wave.csv", index=False)
    with_a_hole = "'plan' has no value at 2024-07-20T00:00, 2 steps after the last observation"
    assert any(with_a_hole in sentence for sentence in fetch(root))
    assert with_a_hole in read_status(root, NAME, now=NOW).state
    with pytest.raises(InputError, match="2024-07-20T00:00"):
        forecast(root)
    both.iloc[:-2].to_csv(root / "data" / "wave.csv", index=False)
    assert not fetch(root), "a plan may come with each forecast"
    assert read_status(root, NAME, now=NOW).state == "good"


def compared_with_median(folder: Path, demand: np.ndarray) -> Path:
    """A project without a season whose `demand` (DAYS,) the historical median forecasts too."""
    root = small_project.write(folder)
    rows = pd.read_csv(root / "data" / "wave.csv").assign(y=demand)
    rows.to_csv(root / "data" / "wave.csv", index=False)
    entry = {**small_project.DATASET, "season_length": 1}
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: entry}}
    )
    fetch(root)
    projects.gone_through(root, median={"family": "historical", "average": "median"})
    return root


def test_page_terminal_and_forecast_say_that_the_median_of_rare_demand_is_zero(tmp_path):
    demand = np.where(np.random.default_rng(2).random(small_project.DAYS) < 0.35, 4.0, 0.0)
    root = compared_with_median(tmp_path, demand)
    zero = "forecasts zero at every step, or nearly so: at least half of the values are zero"
    compared = Results(ProjectPaths.of(root), NAME)
    assert compared.verdicts.chosen["shipped"] == "median"
    for sentences in (compared.verdicts.warnings[:1], advise(compared)):
        assert any(sentence.startswith(f"median {zero}") for sentence in sentences)
    ridge = describe_low_medians(compared, "ridge", compared.dataset.task)
    assert not ridge, "it forecasts something like the mean"
    registry.promote(root, NAME, projects.register(root, "median"), now=NOW)
    (notice,) = [notice for notice in forecast(root).notices if zero in notice]
    assert notice.endswith(
        "set `transform: log1p` and `point: mean` (in configs/datasets.yaml under `target`, in"
        " Python options)."
    )


def test_page_and_terminal_say_that_medians_of_skewed_demand_add_up_to_less(tmp_path):
    demand = np.random.default_rng(2).lognormal(2.0, 0.8, small_project.DAYS)
    root = compared_with_median(tmp_path, demand)
    compared = Results(ProjectPaths.of(root), NAME)
    low = describe_low_medians(compared, "median", compared.dataset.task)
    test = compared.forecasts(compared.candidate("median", "shipped"), "test").dropna(subset="y")
    missing = 1 - test["y_hat"].sum() / test["y"].sum()
    assert f"forecasts of median add up to {100 * missing:.0f} % less than what came" in low
    assert not describe_low_medians(compared, "ridge", compared.dataset.task)


def test_what_is_low_in_the_test_block_alone_is_no_matter_of_medians(tmp_path):
    """Demand that rises in the last weeks: a mean would follow it too late as well."""
    demand = np.random.default_rng(2).normal(20.0, 4.0, small_project.DAYS)
    demand[-30:] += np.linspace(0, 5, 30)
    root = compared_with_median(tmp_path, demand)
    compared = Results(ProjectPaths.of(root), NAME)
    test = compared.forecasts(compared.candidate("median", "shipped"), "test").dropna(subset="y")
    assert test["y_hat"].sum() < 0.95 * test["y"].sum()
    assert not describe_low_medians(compared, "median", compared.dataset.task)


def test_a_champion_that_reads_a_plan_forecasts_what_follows_the_last_observation(tmp_path):
    root = small_project.write(tmp_path)
    days = pd.date_range("2024-01-01", periods=small_project.DAYS + 5)
    wave = pd.read_csv(root / "data" / "wave.csv", parse_dates=["ds"])
    plan = pd.DataFrame(
        {"ds": days, "plan": np.random.default_rng(1).random(len(days)) < 0.3}
    ).astype({"plan": float})
    plan.loc[[small_project.DAYS, small_project.DAYS + 1], "plan"] = [1.0, 0.0]
    both = plan.merge(wave, how="left").assign(y=lambda rows: rows["y"] + 4 * rows["plan"])
    promote_with_plan(root, both)
    table = forecast(root).table
    assert table["ds"].tolist() == [pd.Timestamp("2024-07-19"), pd.Timestamp("2024-07-20")]
    np.testing.assert_allclose(
        table["y_hat"] - 4 * plan["plan"][small_project.DAYS :][:2].to_numpy(), 0, atol=1.5
    )
    assert (
        read_status(root, NAME, now=datetime(2024, 7, 20, tzinfo=UTC)).last_observation_age_h == 24
    )
    # another plan at forecast time, written as people write it
    (tmp_path / "plan.csv").write_text("ds;plan\n19.07.2024;0\n20.07.2024;1\n")
    with_other_plan = forecast(root, plan=tmp_path / "plan.csv").table
    np.testing.assert_allclose(with_other_plan["y_hat"] - [0, 4], table["y_hat"] - [4, 0], atol=0.5)
    (tmp_path / "plan.csv").write_text("ds,plan\n2024-07-19,0\n2024-07-21,1\n")
    with pytest.raises(InputError, match="'plan' has no value at 2024-07-20T00:00, 2 steps after"):
        forecast(root, plan=tmp_path / "plan.csv")
    (tmp_path / "plan.csv").write_text("ds,plan\n2024-07-19 12:00,0\n2024-07-20 12:00,1\n")
    with pytest.raises(InputError, match=r"plan.csv, row 0 .*2024-07-19 12:00\): this time is off"):
        forecast(root, plan=tmp_path / "plan.csv")
    # the row before the first one of the plan stands in the data
    (tmp_path / "plan.csv").write_text("ds,plan\n2024-07-20,1\n")
    with_later_plan = forecast(root, plan=tmp_path / "plan.csv").table
    np.testing.assert_allclose(with_later_plan["y_hat"] - [4, 4], table["y_hat"] - [4, 0], atol=0.5)
    (tmp_path / "plan.csv").write_text("ds,plan\n2024-07-19,100\n2024-07-20,1\n")
    wild = forecast(root, plan=tmp_path / "plan.csv")
    (notice_of_plan,) = (notice for notice in wild.notices if "fit has seen" in notice)
    assert "'plan' of 'wave' is 100 at 2024-07-19 (in training 0 to 1)" in notice_of_plan
    assert wild.table["y_hat"].iloc[0] < table["y_hat"].iloc[0] + 6
    for ends in ("2023-07-20", "2024-07-18"):  # the year is mistyped; all is observed
        (tmp_path / "plan.csv").write_text(f"ds,plan\n{ends},1\n")
        refusal = (
            rf"plan.csv: found rows up to {ends}, none after .*\(2024-07-18\).*Correct the dates"
        )
        with pytest.raises(InputError, match=refusal):
            forecast(root, plan=tmp_path / "plan.csv")
    (tmp_path / "plan.csv").write_text("ds,promo\n2024-07-19,0\n")
    with pytest.raises(InputError, match=r"plan\.csv: .*'plan' is missing.*Wanted 'ds', 'plan'"):
        forecast(root, plan=tmp_path / "plan.csv")
    # a served model is asked with the history and the plan behind it
    history = both.assign(unique_id="wave").tail(60 + len(days) - len(wave))
    service = Service(champion.load(root, NAME).ensemble)
    answer = service.answer(history[history["ds"] <= table["ds"].max()])
    np.testing.assert_allclose(answer["y_hat"], table["y_hat"], rtol=1e-9)
    with pytest.raises(InputError, match="'plan' has no value at 2024-07-19T00:00, 1 step"):
        service.answer(history[history["y"].notna()])
    with pytest.raises(InputError, match=r"request: column 'plan' is missing\..* Give it, or"):
        service.answer(history.drop(columns="plan"))


def test_a_model_whose_plan_comes_with_each_forecast_can_be_promoted(tmp_path):
    """The file ends with the last observation: `promote` tries the copy where the plan is known."""
    root = small_project.write(tmp_path)
    wave = pd.read_csv(root / "data" / "wave.csv", parse_dates=["ds"])
    plan = (np.random.default_rng(1).random(len(wave)) < 0.3).astype(float)
    with_plan = wave.assign(plan=plan, y=wave["y"] + 4 * plan)
    promote_with_plan(root, with_plan)
    with pytest.raises(InputError, match="'plan' has no value at 2024-07-19T00:00, 1 step"):
        forecast(root)
    (tmp_path / "plan.csv").write_text("ds,plan\n2024-07-19,1\n2024-07-20,0\n")
    with_other_plan = forecast(root, plan=tmp_path / "plan.csv").table
    np.testing.assert_allclose(with_other_plan["y_hat"] - [4, 0], 0, atol=1.5)


def test_a_row_appended_to_the_file_is_said_and_the_forecast_follows_the_snapshot(moved):
    before = forecast(moved)
    path = moved / "data" / "wave.csv"
    original = path.read_text()
    path.write_text(original + "2024-07-19,1.0\n")
    try:
        forecasted = forecast(moved)
    finally:
        path.write_text(original)
    assert forecasted.table.equals(before.table)
    assert any("changed since its snapshot" in notice for notice in forecasted.notices)


def test_a_row_appended_after_a_retraining_is_said_too_although_that_has_a_copy_of_the_file(moved):
    tree = ProjectPaths.of(moved).retraining(NAME) / "tree"
    shutil.copytree(moved, tree, ignore=shutil.ignore_patterns(".forecast", "ml*"))
    fetch(tree)
    assert newest_data_root(moved, NAME) == tree
    assert not any("changed since its snapshot" in notice for notice in forecast(moved).notices)
    with (moved / "data" / "wave.csv").open("a") as file:
        file.write("2024-07-19,1.0\n")
    assert any("changed since its snapshot" in notice for notice in forecast(moved).notices)


def test_a_forecast_from_rows_that_the_model_was_fitted_on_is_not_kept_for_scoring(moved):
    fitted_to = champion.load(moved, NAME).card.training_cutoff[:10]
    path = moved / "data" / "wave.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row for row in rows if row[:10] < fitted_to)]) + "\n")
    fetch(moved)
    (sentence,) = [each for each in forecast(moved).notices if "rows are lost" in each]
    assert f"before {fitted_to}" in sentence and f"`forecast fetch {NAME}`" in sentence
    assert live_accuracy.read_issues(moved, NAME).empty


@pytest.mark.parametrize("command", ["predict", "watch", "data"])
def test_a_command_checks_the_file_of_datasets_once(command, moved, monkeypatch):
    checked = []
    load = datasets.load_datasets

    def note_check(folder):
        checked.append(folder)
        return load(folder)

    monkeypatch.setattr(datasets, "load_datasets", note_check)
    done = CliRunner().invoke(app, [command, NAME, "--root", str(moved)])
    assert done.exit_code == 0, done.output
    assert len(checked) == 1


def test_a_plan_for_a_champion_that_reads_none_is_refused(moved):
    with pytest.raises(InputError, match="reads no column known ahead"):
        forecast(moved, plan=moved / "plan.csv")


@pytest.mark.parametrize("late", [0, 3])
def test_a_forecast_without_the_newest_issue_of_its_inputs_says_that_older_values_stand_in(
    tmp_path, late
):
    root = small_project.write(tmp_path)
    wave = pd.read_csv(root / "data" / "wave.csv", parse_dates=["ds"])
    days = pd.date_range(wave["ds"].iloc[0], periods=len(wave) + 2)
    parts = [
        pd.DataFrame({"ds": days[n + 1 : n + 3], "issued_at": days[n], "sun": 1.0 + n % 3})
        for n in range(len(wave))
    ]
    pd.concat(parts[: len(parts) - late]).to_csv(root / "data" / "issued.csv", index=False)
    source = {
        "kind": "file",
        "path": "data/wave.csv",
        "issued_path": "data/issued.csv",
        "issued_columns": ["sun"],
    }
    ahead = {"future_exogenous": [{"column": "sun", "issued": True, "max_missing": 0.05}]}
    entry = {**small_project.DATASET, "source": source, **ahead}
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: entry}}
    )
    ingest.fetch_snapshot(Request(NAME, load_dataset(NAME, root / "configs"), root), now=NOW)
    projects.gone_through(root, ("naive", "ridge"))
    registry.promote(root, NAME, projects.register(root, "ridge"), now=NOW)
    notices_of_inputs = [
        notice for notice in forecast(root).notices if "uses an older value" in notice
    ]
    assert len(notices_of_inputs) == (late > 0)
    assert not late or notices_of_inputs[0].startswith(
        "Missing in the last row: 2 values, such as 'sun+1' of 'wave'."
    )


@pytest.mark.parametrize(("options", "times"), [({}, 1), ({"levels": ()}, 2), ({"horizon": 1}, 2)])
def test_the_usual_issue_is_kept_and_computed_again_only_where_another_was_asked_for(
    moved, monkeypatch, options, times
):
    computed = []
    monkeypatch.setattr(
        predicting,
        "forecast_latest",
        lambda *given, **options: computed.append(options) or forecast_latest(*given, **options),
    )
    assert not forecast(moved, **options).notices and len(computed) == times
    issues = live_accuracy.read_issues(moved, NAME)
    assert issues["step"].tolist()[-2:] == [1, 2] and issues[["lo_80", "hi_95"]].iloc[
        -2:
    ].notna().all(axis=None)


def test_it_is_what_was_backtested_at_the_same_cutoff(moved):
    backtest = pd.read_parquet(moved / "data" / "trained" / NAME / "arx" / "forecasts.parquet")
    cutoff = backtest["cutoff"].max()
    ensemble = champion.load(moved, NAME).ensemble
    panel = problems.until(problems_panel(moved, ensemble), cutoff)
    table = pd.DataFrame(forecast_latest(ensemble, panel, horizon=2, levels=()))
    np.testing.assert_allclose(
        table["y_hat"], backtest[backtest["cutoff"] == cutoff]["y_hat"], rtol=1e-5
    )


def problems_panel(root, ensemble):
    from forecast.data.panel import from_frame

    return from_frame(projects.prepared(root), NAME, ensemble.task)


@pytest.mark.parametrize("family", ["gru", "narx"])
def test_a_saved_network_forecasts_as_keras_does(family, tmp_path, monkeypatch):
    """One direct network and one closed loop, through the files of the champion store."""
    from forecast.networks import inference
    from forecast.networks.layers.assemble import assemble, set_weights

    problem = problems.shops()
    keras_network = families.fit_family(problem, family, "linear")
    Ensemble((keras_network,)).save(tmp_path / "saved")
    saved = Ensemble.load(tmp_path / "saved")
    ours = forecast_latest(saved, problem.panel, horizon=problems.HORIZON, levels=())["y_hat"]
    if family == "gru":
        model = assemble(keras_network.network, seed=0)
        set_weights(model, dict(keras_network.weights))

        def by_keras(network, weights, past, future=None):
            given = {"past": past} | ({"future": future} if future is not None else {})
            return model(given, training=False).numpy()[:, -1]

        monkeypatch.setattr(inference, "forecast_last", by_keras)
    else:
        model = assemble(keras_network.network, seed=0)
        set_weights(model, dict(keras_network.weights))
        monkeypatch.setattr(inference, "step", stepping(model))
        monkeypatch.setattr(inference, "final_states", lambda net, w, past, future: (past, future))
    keras = forecast_latest(
        Ensemble((keras_network,)), problem.panel, horizon=problems.HORIZON, levels=()
    )["y_hat"]
    np.testing.assert_allclose(ours, keras, rtol=1e-5)


def stepping(model):
    """One step of the closed loop by running Keras over all rows seen so far."""

    def step(network, weights, state, row, ahead):
        past = np.concatenate([state[0], row[:, None]], axis=1)
        future = np.concatenate([state[1], ahead], axis=1)
        output = model({"past": past, "future": future}, training=False).numpy()
        return output[:, -1], (past, future)

    return step


def test_a_closed_loop_goes_on_beyond_its_horizon_and_a_direct_model_refuses(moved):
    longer = forecast(moved, horizon=9)
    assert longer.table["step"].tolist() == list(range(1, 10))
    np.testing.assert_allclose(longer.table["y_hat"][:2], forecast(moved).table["y_hat"])
    margins = (longer.table["y_hat"] - longer.table["lo_80"]).to_numpy()
    # beside the factors of the hours
    np.testing.assert_allclose(margins[2:] / margins[1], np.sqrt(np.arange(3, 10) / 2), rtol=0.1)
    assert "calibrated for 2 steps; beyond, margins grow" in longer.notices[0]
    with pytest.raises(InputError, match="at most 20 steps"):
        forecast(moved, horizon=21)
    champion.write_aliases(moved, NAME, {"champion": 1})
    with pytest.raises(InputError, match="Horizon 3: the model forecasts 2 steps at once"):
        forecast(moved, horizon=3)
    assert len(forecast(moved, horizon=1).table) == 1


def test_a_level_that_calibration_cannot_support_is_refused_when_asked_and_left_out_when_usual(
    moved,
):
    for levels_asked, possible in [((99,), "80,95"), ((99, 80), "80")]:
        with pytest.raises(InputError, match=r"interval of 99 % takes at least 99") as caught:
            forecast(moved, levels=levels_asked)
        assert re.match(rf"{NAME}: Series '\w+': \d+ calibration errors", str(caught.value))
        assert str(caught.value).endswith(
            f"or ask for a lower level. Possible: `--levels {possible}`."
        )
    forecasted = predicting.forecast_champion(moved, NAME, now=NOW, usual_levels=(80, 99))
    assert (
        "lo_80" in forecasted.table
        and "lo_99" not in forecasted.table
        and "takes at least 99" in forecasted.notices[0]
    )


def test_the_interval_of_a_modelled_ratio_is_a_ratio():
    rows = {"unique_id": "a", "output": "price", "block": "calibration", "step": 1, "seed": 0}
    table = pd.DataFrame(
        {
            **rows,
            "cutoff": range(9),
            "y_hat": 100.0,
            "y": 100 * 1.1 ** np.arange(-4, 5),
            "volatility": 0.2,
            "ds": np.datetime64("2024-01-01", "ns"),
        }
    )
    task = problems.task(target={"column": "price", "transform": "log"})
    low, high = calibrate_intervals(table, task)["a"].bounds(
        [[100.0]], Difficulty(np.array([0.2])), 0.8
    )
    np.testing.assert_allclose([low, high], [[[100 * 1.1**-4]], [[100 * 1.1**4]]])


@pytest.mark.parametrize(
    ("live", "on_test", "growth"), [(6.0, 2.0, 3.0), (1.0, 2.0, 1.0), (5.0, 0.0, 1.0)]
)
def test_more_error_is_expected_where_the_last_value_errs_more_than_on_test(live, on_test, growth):
    assert live_accuracy.naive_growth(live, on_test) == growth


def test_a_season_in_which_every_forecast_errs_more_is_no_fault_of_the_champion(moved):
    card = champion.load(moved, NAME).card
    card = card.model_copy(update={"expected": {"wave": [1.0]}, "naive": {"wave": [4.0]}})
    rows = pd.DataFrame({"series": "wave", "step": 1, "y": [12.0, -12.0], "y_hat": 9.0, "last": 0})
    rows["y_hat"] *= np.sign(rows["y"])
    assert live_accuracy.error_over_expected(rows, card) == pytest.approx(1.0)
    worse = rows.assign(y_hat=0.5 * rows["y"])
    assert live_accuracy.error_over_expected(worse, card) == pytest.approx(2.0)


def test_a_damaged_champion_forecasts_with_the_previous_one_and_says_so(moved):
    (champion.version_folder(moved, NAME, 2) / "forecaster-0" / "weights.npz").write_bytes(b"")
    forecasted = forecast(moved)
    assert forecasted.champion.version == 1 and forecasted.notices[0].startswith(
        "Version 2 cannot be used"
    )


def test_a_series_that_hardly_moved_is_not_the_live_skill_of_all(moved):
    card = champion.load(moved, NAME).card.model_copy(update={"naive": {"a": [2.0], "b": [2.0]}})
    hours = pd.date_range("2024-01-01", periods=10, freq="h")
    quiet = pd.DataFrame({"series": "a", "ds": hours, "y": 5.0, "y_hat": 6.0, "last": 5.0})
    quiet.loc[0, "last"] = 4.9
    moving = quiet.assign(series="b", last=1.0)
    skill = live_accuracy._skill(pd.concat([quiet, moving]), card)
    assert skill == pytest.approx(1 - (1.0 + 1.0) / (0.01 + 4.0))


def test_each_cutoff_is_issued_once_and_scored_when_its_actuals_arrive(moved):
    frame = projects.prepared(moved)
    ensemble = champion.load(moved, NAME).ensemble
    panel = problems_panel(moved, ensemble)
    for row in (190, 191, 190):
        known_panel = problems.until(panel, panel.series[0].ds[row])
        table = pd.DataFrame(forecast_latest(ensemble, known_panel, horizon=2, levels=(80,)))
        live_accuracy.store_issue(
            moved, champion.load(moved, NAME), table, predicting.last_values(known_panel), now=NOW
        )
    (live,) = live_accuracy.update_live_scores(moved, NAME, frame).live
    assert (live.version, live.issues, live.scored) == (2, 2, 2)
    rows = live_accuracy.join_actuals(live_accuracy.read_issues(moved, NAME), frame)
    np.testing.assert_array_equal(rows["y"], frame["y"].to_numpy()[[191, 192, 192, 193]])
    error = (rows["y"] - rows["y_hat"]).abs()
    card = champion.load(moved, NAME).card
    naive = (rows["y"] - rows["last"]).abs().sum()
    growth = live_accuracy.naive_growth(naive, 2 * sum(card.naive["wave"]))
    assert live.error == pytest.approx(error.sum() / (2 * sum(card.expected["wave"])) / growth)
    assert live.skill == pytest.approx(1 - error.sum() / (rows["y"] - rows["last"]).abs().sum())
    assert read_live_scores(moved, NAME).live == (live,)
    is_inside = rows["y"].between(rows["lo_80"], rows["hi_80"])
    assert live.coverage == {"80": pytest.approx(is_inside.mean())}


def test_forecasts_of_another_version_of_this_number_are_not_scored_as_those_of_this_one(moved):
    """This clone had made its own version 2, earlier or later than that of the server it joined."""
    frame = projects.prepared(moved)
    current = champion.load(moved, NAME)
    panel = problems_panel(moved, current.ensemble)
    for row, created_at in (
        (189, "2024-07-18"),
        (190, "2024-07-20"),
        (190, current.card.created_at),
    ):
        known_panel = problems.until(panel, panel.series[0].ds[row])
        table = pd.DataFrame(
            forecast_latest(current.ensemble, known_panel, horizon=2, levels=(80,))
        )
        card = current.card.model_copy(update={"created_at": created_at})
        issuer = replace(current, card=card)
        live_accuracy.store_issue(
            moved, issuer, table, predicting.last_values(known_panel), now=NOW + pd.Timedelta("9D")
        )
    (live,) = live_accuracy.update_live_scores(moved, NAME, frame).live
    assert (live.version, live.issues, live.scored) == (2, 1, 1)
    assert len(live_accuracy.read_issues(moved, NAME)) == 3 * 2


def test_forecasts_of_a_target_that_was_renamed_since_are_kept_and_not_scored(moved):
    forecast(moved)
    frame = projects.prepared(moved).rename(columns={"y": "wind"})
    (live,) = live_accuracy.update_live_scores(moved, NAME, frame).live
    assert (live.issues, live.scored, live.error, live.coverage) == (1, 0, None, {})


def test_a_forecast_survives_an_issue_that_cannot_be_kept(moved):
    forecast(moved)
    (moved / ".forecast" / "issued" / "wave.parquet").write_bytes(b"not parquet")
    assert "was not kept for scoring" in forecast(moved).notices[0]


def test_without_mlflow_s_database_it_forecasts_all_the_same(moved):
    (moved / "mlflow.db").unlink()
    assert len(forecast(moved).table) == 2


@pytest.fixture(scope="module")
def predicted(running, tmp_path_factory):
    """`forecast predict` in a process of its own: output, what it imported, CPU seconds."""
    root = tmp_path_factory.mktemp("told") / "project"
    shutil.copytree(running, root)
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "forecast",
        "predict",
        NAME,
        "--format",
        "json",
    ]
    done, used = small_project.run_measured(root, command)
    assert done.returncode == 0, done.stderr
    loaded = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    return root, json.loads(done.stdout), loaded, used.ru_utime


def test_the_command_loads_neither_tensorflow_nor_mlflow_and_is_quick(predicted):
    root, _, loaded, seconds = predicted
    assert not loaded & HEAVY
    # in imports of pandas, since a core that others share takes twice the seconds for both
    _, pandas = small_project.run_measured(root, [sys.executable, "-c", "import pandas"])
    assert seconds < 4 * pandas.ru_utime


def test_the_command_says_which_model_how_old_and_how_good(predicted):
    root, answer, _, _ = predicted
    assert (answer["version"], answer["model"], answer["cutoff"]) == (
        2,
        "arx",
        "2024-07-18T00:00:00",
    )
    assert (
        answer["test"]["skill"] == champion.read_card(root, NAME, 2).metrics["skill"]
        and answer["age_days"] > 0
    )
    assert [row["ds"] for row in answer["forecast"]] == [
        "2024-07-19T00:00:00",
        "2024-07-20T00:00:00",
    ]


def test_every_format_holds_the_same_numbers(predicted):
    root, answer, _, _ = predicted
    expected = [row["y_hat"] for row in answer["forecast"]]
    csv = small_project.command(root, "predict", NAME, "--format", "csv", "--levels", "80")
    table = pd.read_csv(io.StringIO(csv.stdout))
    np.testing.assert_allclose(table["y_hat"], expected)
    assert list(table.columns[-2:]) == ["lo_80", "hi_80"]
    # bytes, which `command` would decode
    command = small_project.arguments("predict", NAME, "--format", "parquet")
    done = subprocess.run(command, cwd=root, env=small_project.environment(), capture_output=True)
    np.testing.assert_array_equal(pd.read_parquet(io.BytesIO(done.stdout))["y_hat"], expected)
    printed = small_project.command(root, "predict", NAME).stdout
    assert (
        "2024-07-19" in printed
        and with_minus(f"{expected[0]:.6g}") in printed
        and "Version 2 (arx)" in printed
    )


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (("wavee",), "Did you mean 'wave'?"),
        ((NAME, "--levels", "80;95"), "wanted percent from 1 to below 100, separated by commas"),
        ((NAME, "--levels", "0.8,120"), "wanted percent from 1 to below 100"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_2(predicted, words, pattern):
    done = small_project.command(predicted[0], "predict", *words)
    assert done.returncode == 2 and pattern in done.stderr and "Traceback" not in done.stderr


def test_a_new_version_is_tried_on_the_rows_that_predict_reads(moved):
    """What `register` sends through the served model is what `forecast predict` says."""
    forecasted = forecast(moved, levels=())
    sample = registry._sample_request(moved, NAME, forecasted.champion.ensemble)
    served = Service(forecasted.champion.ensemble).answer(sample)
    np.testing.assert_array_equal(served["y_hat"], forecasted.table["y_hat"])
    assert served["ds"].tolist() == forecasted.table["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S").tolist()


def test_without_any_calibration_error_one_sentence_says_so_and_what_can_be_done(moved):
    forecasted = forecast(moved)
    bare = replace(forecasted.champion.ensemble, calibrated={})
    judged = judge_levels(bare, forecasted.panel, (80, 95))
    assert judged.supported == judged.incomplete == ()
    (notice,) = judged.unsupported
    assert notice.startswith(f"No interval of '{NAME}': there are no calibration errors.")
    assert "wait for more rows, or begin anew with a shorter horizon" in notice
    assert "Lengthen" not in notice


def test_a_series_of_few_errors_takes_no_level_from_the_others():
    """The south has seven calibration errors, enough for 80 %; the north twenty, for 95 %."""
    shops, horizon = problems.shops(), problems.HORIZON
    calibrated = {
        f"{shop}/{target}": SplitConformal.calibrate(np.ones((n, horizon)), np.zeros((n, horizon)))
        for shop, n in {"north": 20, "south": 7}.items()
        for target in shops.panel.task.targets
    }
    ensemble = Ensemble((families.fit_family(shops, "naive", None),), calibrated=calibrated)
    judged = judge_levels(ensemble, shops.panel, (80, 95, 99))
    assert judged.supported == (80, 95) and "takes at least 99" in judged.unsupported[0]
    (sentence,) = judged.incomplete
    assert sentence.startswith("No interval of 95 % for 2 of 4 series. Series 'south/sales': 7 ")
    table = pd.DataFrame(
        forecast_latest(ensemble, shops.panel, horizon=horizon, levels=(80, 95))
    ).set_index("unique_id")
    assert table[["lo_80", "hi_80"]].notna().all(axis=None)
    assert table.loc["north", ["lo_95", "hi_95"]].notna().all(axis=None)
    assert table.loc["south", ["lo_95", "hi_95"]].isna().all(axis=None)
    with pytest.raises(InputError, match="takes at least 99"):
        forecast_latest(ensemble, shops.panel, horizon=horizon, levels=(99,))


def test_a_series_of_which_the_data_have_no_row_any_more_is_named():
    shops = problems.shops()
    ensemble = Ensemble((families.fit_family(shops, "naive", None),))
    assert predicting._describe_lost_series(ensemble, shops.panel) == ""
    without = replace(shops.panel, series=shops.panel.series[:1])
    sentence = predicting._describe_lost_series(ensemble, without)
    assert sentence == "No forecast of series 'south' (without usable rows in the newest data)."
