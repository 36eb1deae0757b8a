"""The train stage: everything once, a failed model is a result, a bug is named with the others
kept.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast import models
from forecast.backtest import backtest, training
from forecast.backtest.backtest import load_problem
from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.setup import Setup
from forecast.backtest.training import train
from forecast.config.models import Tuning, load_models
from forecast.config.paths import ProjectPaths
from forecast.data.records import StudyRecord, Trial
from forecast.data.scaling import Scaling
from forecast.data.splits import resolve_borders
from forecast.forecaster import Budget, Forecaster, fit, fitting
from forecast.models.families import auto_theta, drift, naive
from forecast.system import files
from forecast.system.errors import ForecastError, ModelError
from tests.support import problems

SEEDS = (3, 7)
TUNING = Tuning(
    n_trials=1, trial_steps=1, final_steps=4, evaluate_every=2, seeds=SEEDS, base_seed=0
)


def candidate(family, **options):
    return Candidate(
        family, models.spec({"family": family, **options}, where="test"), "baseline", None
    )


def network(skip="linear", **options):
    spec = models.spec({"family": "ffnn", "layers": 1, "units": 3, **options}, where="test")
    return Candidate("ffnn", spec, "shipped" if skip == "linear" else "architecture", skip)


NAIVE, DRIFT, RIDGE = candidate("naive"), candidate("drift"), candidate("ridge")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The two shops as the prepare stage leaves them."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "data" / "prepared" / "shops"
    long = problems.frame()
    files.write_frame(folder / "frame.parquet", long)
    borders = resolve_borders(problems.panel_of(long), problems.dataset().splits).to_json()
    files.write_json(folder / "borders.json", borders)
    files.write_json(folder / "task.json", problems.task().model_dump(mode="json"))
    return (
        PreparedData(
            ProjectPaths.of(root), "shops", "frame.parquet", files.sha256(folder / "frame.parquet")
        ),
        borders,
    )


@pytest.fixture
def run(prepared, tmp_path):
    place, borders = prepared
    place = replace(place, paths=ProjectPaths.of(place.paths.root, tmp_path / ".forecast"))
    return Setup(place, problems.task(), borders, load_models(), TUNING)


@pytest.fixture
def computed(monkeypatch):
    """The names of what is really computed."""
    names = []
    real = training.fit_and_forecast

    def count_fit(place, fitter, folder):
        names.append(fitter.candidate.name)
        return real(place, fitter, folder)

    monkeypatch.setattr(training, "fit_and_forecast", count_fit)
    return names


def trained(run, planned, target, tuned=None):
    train(run, planned, tuned or {}, target, jobs=1)
    return {path.name: files.read_json(path / "record.json") for path in sorted(target.iterdir())}


def study_of(trial: Trial, best: int | None) -> StudyRecord:
    return StudyRecord(
        model="ffnn",
        skip="linear",
        study="key",
        n_trials=1,
        gradient_steps=20,
        best=best,
        trials=(trial,),
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def broken(error):
    def forecast(self, windows, channels, *, horizon, season_length):
        raise error

    return forecast


def test_every_candidate_leaves_a_record_its_forecasts_and_a_forecaster_per_seed(run, tmp_path):
    records = trained(run, [NAIVE, RIDGE, network()], tmp_path / "trained")
    assert list(records) == ["ffnn.linear", "naive", "ridge"]
    net, naive_ = records["ffnn.linear"], records["naive"]
    assert (net["status"], net["kind"], net["skip"], net["skip_model"]) == (
        "ok",
        "network",
        "linear",
        "ridge",
    )
    assert (net["ranking"], net["cost"]["gradient_steps"], net["params"]["units"]) == (
        "shipped",
        8,
        3,
    )
    assert net["cost"]["gradient_steps_taken"] == 8 + sum(fit["best_step"] for fit in net["seeds"])
    spec, steps_taken = network().spec, net["cost"]["gradient_steps_taken"]
    learnt_from = net["cost"]["targets_learnt_from"]
    assert learnt_from == steps_taken * spec.batch_size * spec.chunk * problems.HORIZON * 2
    assert naive_["cost"]["targets_learnt_from"] == 0
    assert [fit["seed"] for fit in net["seeds"]] == list(SEEDS)
    assert [point[0] for point in net["seeds"][0]["curve"]] == [0, 2, 4]
    assert (naive_["kind"], naive_["skip"], naive_["n_params"]) == ("baseline", None, 0)
    assert naive_["cost"]["gradient_steps"] == 0
    blocks = problems.shops().blocks.values()
    rows = {"naive": sum(cut.train[1] for cut in blocks)}
    both = sum(cut.validation[1] for cut in blocks)
    assert {name: record["rows_seen"] for name, record in records.items()} == dict.fromkeys(
        records, both
    ) | rows
    assert records["ridge"]["n_params"] > 0 and net["n_params"] > 0
    for record in records.values():
        assert set(record["digests"]) == {"data", "config", "code", "key"}
        for text in ("description", "equation", "source"):
            assert record[text]
    assert sorted(p.name for p in (tmp_path / "trained" / "ffnn.linear").iterdir()) == [
        "chosen-3",
        "chosen-7",
        "forecasts.parquet",
        "record.json",
        "seed-3",
        "seed-7",
    ]
    assert (tmp_path / "trained" / "naive" / "seed-0" / "spec.json").exists()


def test_a_step_of_a_network_that_needs_whole_windows_has_one_target_window_a_sample():
    task = problems.task()
    direct, whole, one_step, lm = (
        models.spec(entry, where="test").targets_per_step(task)
        for entry in (
            {"family": "lstm", "batch_size": 4, "chunk": 6},
            {"family": "bidirectional", "batch_size": 4, "chunk": 6},
            {"family": "narx", "batch_size": 4, "chunk": 6},
            {"family": "narx", "trainer": "lm"},
        )
    )
    assert (direct, whole, one_step, lm) == (
        4 * 6 * problems.HORIZON * 2,
        4 * problems.HORIZON * 2,
        4 * 6 * 2,
        0,
    )


def test_steps_that_a_seed_did_not_take_are_not_in_the_record_as_taken(run, tmp_path):
    tuning = TUNING.model_copy(update={"final_steps": 40, "seeds": (3,)})
    hurried = replace(run, tuning=tuning)
    bound_to_rise = network(
        learning_rate=1.0, training={"rule": "sgd", "schedule": "constant", "patience": 1}
    )
    (record,) = trained(hurried, [bound_to_rise], tmp_path / "trained").values()
    last = record["seeds"][0]["curve"][-1][0]
    assert record["cost"]["gradient_steps"] == 40
    assert record["cost"]["gradient_steps_taken"] == last < 40


def test_a_head_leaves_what_it_says_of_every_seed_beside_the_forecasts(run, tmp_path):
    records = trained(run, [network(head="quantiles")], tmp_path / "trained")
    assert records["ffnn.linear"]["params"]["head"]["kind"] == "quantiles"
    folder = tmp_path / "trained" / "ffnn.linear"
    forecasts, distributions = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("forecasts", "distributions")
    )
    pd.testing.assert_frame_equal(
        distributions[["cutoff", "step", "seed", "y"]], forecasts[["cutoff", "step", "seed", "y"]]
    )
    np.testing.assert_allclose(distributions["q_0.5"], forecasts["y_hat"], rtol=1e-6)
    assert (folder / "seed-3" / "head.npz").exists()


def test_a_saved_forecaster_serves_what_the_backtest_forecast(run, prepared, tmp_path):
    trained(run, [network("last")], tmp_path / "trained")
    folder, problem = tmp_path / "trained" / "ffnn.last", load_problem(prepared[0])
    table = pd.read_parquet(folder / "forecasts.parquet")
    for seed in SEEDS:
        forecaster = Forecaster.load(folder / f"seed-{seed}")
        for uid, series in problem.panel.by_id.items():
            row = problem.rows(uid, "test")[-1]
            served = problems.latest(forecaster, problems.until(problem.panel, series.ds[row]))[uid]
            of_seed = table[
                (table["seed"] == seed)
                & (table["unique_id"] == uid)
                & (table["cutoff"] == series.ds[row])
            ]
            for output, column in enumerate(problem.panel.task.target):
                expected = of_seed[of_seed["output"] == column.name].sort_values("step")["y_hat"]
                np.testing.assert_allclose(served[:, output], expected, rtol=1e-5)


def test_the_second_call_computes_nothing_and_gives_the_same_bytes(
    run, tmp_path, computed, monkeypatch
):
    planned = [NAIVE, RIDGE, network()]
    trained(run, planned, tmp_path / "trained")
    # what is short fills the end
    assert computed == ["ffnn.linear", "ffnn.linear", "naive", "ridge"]
    first, names = tree(tmp_path / "trained"), []
    computed.clear()
    show_progress = lambda *_, **__: contextlib.nullcontext(lambda name, _: names.append(name))  # noqa: E731
    monkeypatch.setattr(training.workers, "show_progress", show_progress)
    train(run, planned, {}, tmp_path / "trained", jobs=1)
    assert computed == []
    assert names == ["naive", "ridge", "ffnn.linear seed 3", "ffnn.linear seed 7"]
    assert tree(tmp_path / "trained") == first


@pytest.mark.parametrize(
    ("workers", "seconds", "order"),
    [
        (1, {}, "a0 auto_theta monthly a1 b0 b1 c0 c1 naive"),
        (2, {}, "a0 b0 auto_theta monthly a1 b1 c0 c1 naive"),
        (2, {"a": 1.0, "c": 9.0}, "c0 a0 auto_theta monthly c1 a1 b0 b1 naive"),
        (4, {}, "a0 b0 c0 a1 auto_theta monthly b1 c1 naive"),
    ],
)
def test_seeds_of_as_many_candidates_as_workers_are_trained_in_turn(run, workers, seconds, order):
    """Each worker begins with a network, the longest first, and goes on with another seed of
    one it has traced; an automatic model and refits come early, the short ones last.
    """
    automatic = candidate("auto_theta")
    monthly = replace(candidate("ridge", refit="monthly"), model="monthly")
    networks = [replace(network(), model=name) for name in "abc"]
    planned = [NAIVE, automatic, monthly, *networks]
    jobs = [job for candidate in planned for job in training._plan_jobs(run, candidate, None)]
    ordered = training._order_jobs(jobs, workers, seconds)
    index = {seed: str(place) for place, seed in enumerate(SEEDS)}
    labels = [
        job.candidate.model + (index[job.seed] if job.candidate.spec.is_seeded else "")
        for job in ordered
    ]
    assert labels == order.split()


def test_what_is_computed_anew_is_the_same_bytes(run, tmp_path):
    planned = [RIDGE, network()]
    trained(run, planned, tmp_path / "trained")
    trained(
        replace(
            run,
            data=replace(
                run.data, paths=ProjectPaths.of(run.data.paths.root, tmp_path / "elsewhere")
            ),
        ),
        planned,
        tmp_path / "again",
    )
    assert tree(tmp_path / "again") == tree(tmp_path / "trained")


def test_an_option_changed_costs_that_model_alone(run, tmp_path, computed):
    trained(run, [NAIVE, RIDGE, network()], tmp_path / "trained")
    computed.clear()
    trained(run, [NAIVE, RIDGE, network(units=5)], tmp_path / "trained")
    assert computed == ["ffnn.linear", "ffnn.linear"]


def test_another_seed_costs_that_seed_alone(run, tmp_path, computed):
    trained(run, [NAIVE, network()], tmp_path / "trained")
    computed.clear()
    more_seeds = TUNING.model_copy(update={"seeds": (*SEEDS, 8)})
    trained(replace(run, tuning=more_seeds), [NAIVE, network()], tmp_path / "trained")
    assert computed == ["ffnn.linear"]


def test_two_names_for_one_configuration_are_computed_once(run, tmp_path, computed):
    records = trained(run, [NAIVE, replace(NAIVE, model="the_same")], tmp_path / "trained")
    assert len(computed) == 1
    assert [records[name]["model"] for name in ("naive", "the_same")] == ["naive", "the_same"]


def test_a_bug_in_one_candidate_leaves_the_others_kept_and_is_named(
    run, tmp_path, computed, monkeypatch
):
    target = tmp_path / "trained"
    with monkeypatch.context() as patch:
        patch.setattr(drift.Spec, "forecast", broken(ZeroDivisionError("a slip")))
        with pytest.raises(ForecastError) as failed:
            train(run, [NAIVE, DRIFT, RIDGE], {}, target, jobs=1)
    message = str(failed.value)
    assert message.startswith(
        "train shops: 1 of 3 failed; the others are kept.\n- drift: Traceback"
    )
    assert "ZeroDivisionError: a slip" in message and failed.value.exit_code == 1
    assert not target.exists()
    computed.clear()
    records = trained(run, [NAIVE, DRIFT, RIDGE], target)
    assert computed == ["drift"]
    assert {record["status"] for record in records.values()} == {"ok"}


def test_an_earlier_result_outlives_a_bug(run, tmp_path, monkeypatch):
    trained(run, [NAIVE], tmp_path / "trained")
    first = tree(tmp_path / "trained")
    monkeypatch.setattr(drift.Spec, "forecast", broken(ZeroDivisionError("a slip")))
    with pytest.raises(ForecastError):
        trained(run, [NAIVE, DRIFT], tmp_path / "trained")
    assert tree(tmp_path / "trained") == first


def test_a_model_that_cannot_be_fitted_is_a_record_that_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(drift.Spec, "forecast", broken(ModelError("no line through these points")))
    records = trained(run, [NAIVE, DRIFT], tmp_path / "trained")
    assert records["drift"]["status"] == "failed" and records["naive"]["status"] == "ok"
    assert records["drift"]["reason"] == "seed 0: no line through these points"
    assert [path.name for path in (tmp_path / "trained" / "drift").iterdir()] == ["record.json"]


def test_the_reasons_of_several_seeds_are_one_sentence(run, tmp_path, monkeypatch):
    def diverged(*_arguments):
        raise ModelError("It diverged. Lower `learning_rate`.")

    monkeypatch.setitem(fitting.FIT_PROCEDURES, "network", diverged)
    (record,) = trained(run, [network()], tmp_path / "trained").values()
    first, second = (f"seed {seed}: It diverged. Lower `learning_rate`" for seed in SEEDS)
    assert record["reason"] == f"{first}; {second}."


def test_forecasts_that_are_not_finite_are_a_model_that_diverged(run, tmp_path, monkeypatch):
    def diverged(self, windows, channels, *, horizon, season_length):
        return np.full((len(windows), horizon, channels.outputs), np.inf)

    monkeypatch.setattr(naive.Spec, "forecast", diverged)
    (record,) = trained(run, [NAIVE], tmp_path / "trained").values()
    assert record["status"] == "failed"
    reason = "forecasts of 2 of 2 series in the validation block are not finite"
    assert f"{reason}: the model diverged on 'north', 'south'" in record["reason"]


def test_tuned_values_are_used_and_recorded(run, tmp_path):
    curve = ((0, None, 2.0), (15, 1.0, 1.0))
    trial = Trial(number=0, value=1.0, params={"units": 5}, curve=curve)
    tuned = {"ffnn.linear": study_of(trial, best=0)}
    (record,) = trained(run, [network()], tmp_path / "trained", tuned).values()
    assert record["params"]["units"] == 5 and record["tuned"] == {"units": 5}
    assert record["trials"] == [trial.to_json()]
    cost, spec = record["cost"], network(units=5).spec
    assert cost["tuning_gradient_steps"] == 20
    steps = cost["gradient_steps_taken"] + 15
    assert cost["targets_learnt_from"] == steps * spec.targets_per_step(problems.task())
    saved = Forecaster.load(tmp_path / "trained" / "ffnn.linear" / "seed-3")
    assert saved.weights["dense_0/bias"].shape == (5,)


def test_when_every_trial_failed_nothing_is_trained_and_the_record_says_why(
    run, tmp_path, computed
):
    tuned = {"ffnn.linear": study_of(Trial(number=0, reason="it diverged"), best=None)}
    (record,) = trained(run, [network()], tmp_path / "trained", tuned).values()
    assert (record["status"], record["reason"]) == (
        "failed",
        "every tuning trial failed: it diverged",
    )
    assert computed == [] and record["seeds"] == []


def test_what_it_cost_is_kept_apart_from_the_results(run, tmp_path):
    trained(run, [NAIVE, network()], tmp_path / "trained")
    cost = files.read_json(run.data.paths.cost("shops") / "ffnn.linear.json")
    assert set(cost) == {"cpu_seconds", "wall_seconds", "tuning_cpu_seconds"}
    assert cost["cpu_seconds"] > 0
    assert not [name for name in tree(tmp_path / "trained") if "cost" in name]


def test_a_worker_is_told_where_shapes_are_shared_and_digests_no_code(prepared, monkeypatch):
    data = backtest.share_shapes(prepared[0])
    monkeypatch.delattr("forecast.system.code_closure.follow_imports")
    shared = load_problem(data).shapes
    assert shared == data.shapes and shared.parent == data.paths.shapes


def test_the_forecasts_of_every_block_stand_in_one_long_frame(prepared):
    problem = load_problem(prepared[0])
    forecaster = fit(problem, NAIVE.spec, skip=None, seed=0, budget=Budget(0, 1)).forecaster
    table = backtest.forecast_blocks(
        problems.single_fit(forecaster, problem.panel), problem, seed=0
    )
    names = [
        "unique_id",
        "cutoff",
        "step",
        "ds",
        "block",
        "seed",
        "output",
        "y",
        "y_hat",
        "volatility",
    ]
    assert list(table.columns) == names
    assert (table["ds"] - table["cutoff"] == pd.to_timedelta(table["step"], unit="h")).all()
    truth = problems.frame().set_index(["unique_id", "ds"])
    for output, rows in table.groupby("output"):
        known = (
            truth[output].reindex(pd.MultiIndex.from_frame(rows[["unique_id", "ds"]])).to_numpy()
        )
        np.testing.assert_array_equal(rows["y"].to_numpy(), known)
        first = rows[(rows["step"] == 1) & (rows["unique_id"] == "north")]
        last = truth[output]["north"].ffill().reindex(first["cutoff"]).to_numpy()
        np.testing.assert_allclose(first["y_hat"], last, rtol=1e-12)
    blocks = table.groupby(["unique_id", "ds"])["block"].nunique()
    assert (blocks == 1).all()  # no target is scored in two blocks


@pytest.mark.slow
def test_a_cluster_trains_the_same_to_the_byte(run, tmp_path, monkeypatch):
    trained(run, [NAIVE, RIDGE, network()], tmp_path / "here")
    monkeypatch.setenv("FORECAST_CLUSTER", "local:2")
    other = replace(run.data.paths, state=tmp_path / "other")
    trained(
        replace(run, data=replace(run.data, paths=other)),
        [NAIVE, RIDGE, network()],
        tmp_path / "there",
    )
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def test_series_fitted_alone_are_shared_out_and_joined_as_if_one_task_had_fitted_them(
    run, tmp_path, monkeypatch
):
    planned = [candidate("theta", refit=20), NAIVE]
    expected = trained(run, planned, tmp_path / "one")
    other_run = replace(
        run.data, paths=ProjectPaths.of(run.data.paths.root, tmp_path / "elsewhere")
    )
    monkeypatch.setattr(training, "SERIES_PER_TASK", 1)
    tasks = []
    real = training.workers.run_items
    monkeypatch.setattr(
        training.workers,
        "run_items",
        lambda given, **options: tasks.extend(given) or real(given, **options),
    )
    assert trained(replace(run, data=other_run, n_series=2), planned, tmp_path / "many") == expected
    assert sorted(task.name for task in tasks) == [
        "naive",
        "theta from series 0",
        "theta from series 1",
    ]
    first, second = tree(tmp_path / "one"), tree(tmp_path / "many")
    forecasts = [name for name in first if name.endswith("forecasts.parquet")]
    for name in forecasts:
        order = ["block", "seed", "unique_id", "cutoff", "step", "output"]
        alone, shared = (
            pd.read_parquet(tmp_path / side / name).sort_values(order, ignore_index=True)
            for side in ("one", "many")
        )
        pd.testing.assert_frame_equal(shared, alone)
        del first[name], second[name]
    assert second == first
    assert not [path.name for path in other_run.paths.memo.iterdir() if "-" in path.name]
    assert len(list(other_run.paths.cost("shops").glob("theta.json"))) == 1


def test_fifty_series_leave_no_worker_idle_while_a_slow_model_fits_them(run):
    (job,) = training._plan_jobs(run, candidate("auto_ets"), None)
    assert [part.part for part in job.split(50)] == [slice(0, 25), slice(25, 50)]
    assert [part.part for part in job.split(51)] == [slice(0, 25), slice(25, 51)]
    assert job.split(49) == [job]
    assert len(job.split(10_000)) == training.MAX_TASKS


def test_a_part_saves_the_scaling_of_its_own_series_alone(run, monkeypatch):
    monkeypatch.setattr(training, "SERIES_PER_TASK", 1)
    (job,) = training._plan_jobs(run, candidate("historical"), None)
    parts = job.split(2)
    for part in parts:
        backtest.fit_and_forecast(run.data, part, part.folder)
    scalings = [Forecaster.load(part.folder / "seed").scaling for part in parts]
    whole = load_problem(run.data).scaling.to_json()
    assert [list(scaling.centre) for scaling in scalings] == [["north"], ["south"]]
    assert Scaling.join(scalings).to_json() == whole


def test_a_series_that_cannot_be_fitted_in_a_task_of_its_own_fails_the_row_with_its_reason(
    run, tmp_path, monkeypatch
):
    real = auto_theta.Theta.fit
    fitted = []

    def second_fails(y, season, **options):
        fitted.append(y)
        if len(fitted) == 3:
            raise ModelError("the second shop has no season")
        return real(y, season, **options)

    monkeypatch.setattr(auto_theta.Theta, "fit", second_fails)
    monkeypatch.setattr(training, "SERIES_PER_TASK", 1)
    record = trained(run, [candidate("theta")], tmp_path / "trained")["theta"]
    assert (record["status"], record["reason"]) == (
        "failed",
        "seed 0: theta cannot be fitted to 60 train rows with season 4: the second shop has no"
        " season. Or take another model, such as 'naive' or 'historical_mean'.",
    )
