"""Records and forecasts on disk become a leaderboard and losses; unequal budgets stop the
comparison, by name.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from forecast.comparison import comparing, metrics, scores, sentences
from forecast.comparison.comparing import check_same_budget
from forecast.comparison.losses import LOSS_COLUMNS
from forecast.comparison.sentences import describe_short_budget
from forecast.config.models import JUDGED_STEPS, Evaluation, Tuning, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.errors import InputError
from tests.support import example_data
from tests.support.records import run_record
from tests.support.small_project import ROOT

HOURS = pd.date_range("2024-01-01", periods=12, freq="h").as_unit("ns")
BORDERS = Borders(HOURS[3], HOURS[6], HOURS[8], HOURS[11])
TASK = example_data.dataset(season_length=1, horizon=2).task
FRAME = pd.DataFrame(
    {"unique_id": "a", "ds": HOURS, "temp": [1.0, 2, 4, 7, 7, 8, 8, 9, 9, 10, 12, 14]}
)
CUTOFFS = {"validation": HOURS[3:5], "calibration": HOURS[6:7], "test": HOURS[8:10]}
COLUMNS = (
    "dataset model ranking skip seed status mae rmse mase rmsse smape qlike direction"
    " direction_base skill n_params n_origins validation_mase chosen"
)


def forecasts(error, seeds=(0,)):
    """What errs by `error` times its seed's number + 1, everywhere; None: naive."""
    y = FRAME.set_index("ds")["temp"]
    rows = []
    for block, cutoffs in CUTOFFS.items():
        for cutoff in cutoffs:
            for step in (1, 2):
                ds = cutoff + pd.Timedelta(hours=step)
                for seed in seeds:
                    y_hat = y[cutoff] if error is None else y[ds] + error * (seed + 1)
                    rows.append(("a", cutoff, step, ds, block, seed, "temp", y[ds], y_hat, 1.0))
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
    return pd.DataFrame(rows, columns=names)


def write(results, candidate, content, *, status="ok", **record):
    folder = results.paths.trained(results.name)
    model, _, skip = candidate.partition(".")
    ranking = {"linear": "shipped", "last": "architecture"}.get(skip, "baseline")
    skip_row = {"linear": "ridge", "last": "naive"}.get(skip)
    entry = {
        "candidate": candidate,
        "model": model,
        "ranking": ranking,
        "skip": skip or None,
        "skip_model": skip_row,
    }
    entry |= {
        "family": model,
        "kind": "network" if skip else "baseline",
        "params": {},
        "trials": [{"number": 0}, {"number": 1}],
    }
    entry |= {
        "dataset": results.name,
        "cost": {"tuning_gradient_steps": 20, "gradient_steps": 60},
        "seeds": [{"seed": 0}, {"seed": 1}],
    }
    files.write_json(
        folder / candidate / "record.json", {**entry, "status": status, "n_params": 5, **record}
    )
    if content is not None:
        files.write_frame(folder / candidate / "forecasts.parquet", content)


@pytest.fixture
def results(tmp_path):
    return Results(ProjectPaths.of(tmp_path), "example")


@pytest.fixture
def trained(results):
    write(results, "naive", forecasts(None), n_params=0)
    write(results, "ridge", forecasts(1.0))
    write(results, "net.linear", forecasts(0.5, seeds=(0, 1)))
    write(results, "net.last", None, status="failed", n_params=0)
    return results


def score_candidates(results):
    return scores.score_candidates(results, FRAME, TASK, BORDERS)[0]


def test_scales_come_from_the_train_rows_and_naive_from_the_scored_ones():
    reference = scores.reference_of_block(FRAME, forecasts(None), TASK, BORDERS, "test")
    assert reference.scale["a"] == 2  # (1 + 2 + 3) / 3
    assert reference.squared_scale["a"] == pytest.approx(np.sqrt(14 / 3))
    assert reference.naive_error_by_step["a"].tolist() == [
        1.5,
        3.5,
    ]  # |10-9|, |12-10| and |12-9|, |14-10|
    assert scores.reference_of_block(
        FRAME, forecasts(None), TASK, BORDERS, "validation"
    ).naive_error_by_step["a"].tolist() == [0.5, 1]


def test_the_leaderboard_has_one_row_per_seed_of_their_mean_and_their_spread(trained):
    board = comparing.build_leaderboard(
        score_candidates(trained), {"shipped": "net", "architecture": "naive"}, "example"
    )
    assert list(board.columns) == COLUMNS.split()
    rows = board.groupby(["model", "ranking"], sort=False)["seed"].agg(list).to_dict()
    assert rows == {
        ("naive", "baseline"): ["0", "mean"],
        ("net", "architecture"): ["mean"],
        ("net", "shipped"): ["0", "1", "mean", "std"],
        ("ridge", "baseline"): ["0", "mean"],
    }
    net = board[board["ranking"] == "shipped"].set_index("seed")
    assert net["mae"].to_dict() == {
        "0": 0.5,
        "1": 1.0,
        "mean": 0.75,
        "std": pytest.approx(0.25 * np.sqrt(2)),
    }
    assert net.loc["mean", ["mase", "validation_mase", "n_params", "n_origins"]].tolist() == [
        0.375,
        0.375,
        5,
        2,
    ]
    assert net.loc["mean", "skill"] == pytest.approx(1 - 0.75 / 2.5)
    assert board[board["model"] == "naive"]["skill"].tolist() == [0, 0]


def test_a_metric_that_is_one_more_row_of_the_table_is_a_column_of_the_leaderboard(
    trained, monkeypatch
):
    bias = metrics.Metric("bias", lambda s: metrics.average(s.y_hat - s.y), "Bias", "Mean error")
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, bias))
    board = comparing.build_leaderboard(score_candidates(trained), {}, "example")
    assert list(board.columns) == COLUMNS.replace("skill", "skill bias").split()
    assert (
        board.query("model == 'net' and seed == 'mean' and status == 'ok'")["bias"].item() == 0.75
    )


def test_only_a_row_whose_error_is_near_the_naive_ones_is_called_a_copy(results, monkeypatch):
    errors = {"naive": None, "near": 2.4, "better": 1.0, "worse": 9.0}
    for model, error in errors.items():
        write(results, model, forecasts(error))
    monkeypatch.setattr(comparing, "describe_copy", lambda *forecast, **spacing: "moves little")
    evaluation = Evaluation(alpha=0.05, levels=(50,))
    comparison = comparing.compare_candidates(results, FRAME, TASK, BORDERS, evaluation, BUDGET)
    assert [copy.model for copy in comparison.verdicts.copies] == ["near"]


def test_models_that_forecast_the_same_are_named_as_one(results):
    for model, error in {"naive": None, "theta": 1.0, "auto_theta": 1.0, "ridge": 1.5}.items():
        write(results, model, forecasts(error))
    evaluation = Evaluation(alpha=0.05, levels=(50,))
    comparison = comparing.compare_candidates(results, FRAME, TASK, BORDERS, evaluation, BUDGET)
    (twins,) = [s for s in comparison.verdicts.warnings if "forecast the same" in s]
    assert twins in (
        "theta and auto_theta forecast the same; count them as one model.",
        "auto_theta and theta forecast the same; count them as one model.",
    )


@pytest.mark.parametrize(
    ("weights", "members"),
    [
        ({"ridge": 0.5, "theta": 0.5}, ["ridge", "theta"]),
        (
            {"ridge": 1 / 3, "boosting": 1 / 3, "gru.linear": 1 / 6, "lstm.linear": 1 / 6},
            ["ridge", "boosting", "the mean of the networks"],
        ),
        ({"ridge": 1.0}, None),
        ({"gru.linear": 1.0}, None),
        ({"ridge": 0.6, "theta": 0.4}, None),
    ],
    ids=["equal", "networks as one", "one is left", "one network is left", "learnt"],
)
@pytest.mark.parametrize("is_learnt_later", [False, True])
def test_weights_that_nothing_was_learnt_for_are_known(weights, members, is_learnt_later):
    params = {"members": ["networks", "all"], "weights": "stacked"}
    history = [SimpleNamespace(weights=weights), SimpleNamespace(weights=weights)]
    if is_learnt_later:
        history.append(SimpleNamespace(weights={"ridge": 1.0, "theta": 0.0}))
    stacked = SimpleNamespace(
        candidate="stacked", model="stacked", is_network=False, params=params, weights=history
    )
    runs = [SimpleNamespace(candidate=name, is_network="." in name, weights=()) for name in weights]
    unlearnt = comparing._find_unlearnt([*runs, stacked])
    if members is None:
        assert unlearnt == {}
        return
    assert unlearnt == {"stacked": (members, is_learnt_later)}
    (sentence,) = sentences.describe_unlearnt({"shipped": "stacked"}, unlearnt)
    assert ("stacked, at first the plain mean of ridge" in sentence) == is_learnt_later
    assert sentence.endswith("learnt from later errors.") == is_learnt_later


def test_a_failed_candidate_is_one_row_that_says_so(trained):
    board = comparing.build_leaderboard(score_candidates(trained), {}, "example")
    (failed,) = board[board["status"] == "failed"].to_dict("records")
    assert (failed["model"], failed["skip"], failed["n_origins"]) == ("net", "last", 0)
    assert np.isnan(failed["mae"]) and not failed["chosen"]


def test_the_choice_is_marked_on_the_mean_alone(trained):
    board = comparing.build_leaderboard(
        score_candidates(trained), {"shipped": "net", "architecture": "naive"}, "example"
    )
    marked = board[board["chosen"]]
    assert marked[["model", "seed"]].apply(tuple, axis=1).tolist() == [
        ("naive", "mean"),
        ("net", "mean"),
    ]


def test_the_choice_sees_validation_and_no_test_score(trained):
    """The same on test, worse on validation: the validation column says so."""
    worse = forecasts(0.5, seeds=(0, 1))
    worse.loc[worse["block"] == "validation", "y_hat"] += 10
    write(trained, "other.linear", worse)
    board = comparing.build_leaderboard(score_candidates(trained), {}, "example").query(
        "seed == 'mean' and ranking == 'shipped'"
    )
    net, other = (board[board["model"] == name].iloc[0] for name in ("net", "other"))
    assert net["mase"] == other["mase"] and other["validation_mase"] > net["validation_mase"] + 4


def test_a_loss_is_the_scaled_error_averaged_over_the_horizon(trained):
    everything = score_candidates(trained)
    scale = scores.reference_of_block(FRAME, forecasts(None), TASK, BORDERS, "test").scale
    losses = comparing.block_losses(everything, scale, "test")
    assert list(losses.columns) == LOSS_COLUMNS
    assert set(losses["model"]) == {"naive", "ridge", "net"}
    naive = losses[losses["model"] == "naive"].sort_values("cutoff")
    assert naive["loss"].tolist() == [1.0, 1.5]  # (1 + 3) / 2 and (2 + 4) / 2, over the scale 2
    net = losses[losses["model"] == "net"]
    assert net["loss"].mean() == 0.375  # of the mean forecast of two seeds
    assert set(net["skip"]) == {"ridge"} and naive["skip"].isna().all()
    assert (losses.groupby("model").size() == 2).all()


def test_a_missing_actual_leaves_the_rest_of_its_origin(trained):
    content = forecasts(1.0)
    content.loc[(content["block"] == "test") & (content["step"] == 2), "y"] = np.nan
    write(trained, "ridge", content)
    everything = score_candidates(trained)
    scale = scores.reference_of_block(FRAME, forecasts(None), TASK, BORDERS, "test").scale
    losses = comparing.block_losses(everything, scale, "test")
    assert losses[losses["model"] == "ridge"]["loss"].tolist() == [0.5, 0.5]


def test_the_mean_of_the_origins_losses_is_the_error_of_the_leaderboard_where_actuals_are_missing(
    trained,
):
    """Else a sentence says -67.5 % where its table says -67.6 %."""
    tables = {
        "naive": forecasts(None),
        "ridge": forecasts(1.0),
        "net.linear": forecasts(0.5, seeds=(0, 1)),
    }
    for name, content in tables.items():
        content.loc[
            (content["cutoff"] == content["cutoff"].max()) & (content["step"] == 2), "y"
        ] = np.nan
        write(trained, name, content)
    everything = score_candidates(trained)
    scale = scores.reference_of_block(FRAME, tables["naive"], TASK, BORDERS, "test").scale
    mean = comparing.block_losses(everything, scale, "test").groupby("model")["loss"].mean()
    board = (
        comparing.build_leaderboard(everything, {}, "example")
        .query("seed in ('0', 'mean')")
        .groupby("model")
        .last()
    )
    np.testing.assert_allclose(board["mase"], mean[board.index])
    np.testing.assert_allclose(board["skill"], 1 - mean[board.index] / mean["naive"])
    assert (
        np.ptp(comparing.block_losses(everything, scale, "test").query("model == 'ridge'")["loss"])
        > 0
    )


def test_nothing_that_is_written_depends_on_how_long_it_took(trained):
    """Timings would change dvc.lock and the leaderboard in git with every run."""
    evaluation = Evaluation(alpha=0.05, levels=(80,))
    comparisons = []
    for seconds in (1.0, 100.0):
        for candidate in ("naive", "net.linear"):
            files.write_json(
                trained.paths.cost("example") / f"{candidate}.json", {"cpu_seconds": seconds}
            )
        comparisons.append(
            comparing.compare_candidates(trained, FRAME, TASK, BORDERS, evaluation, BUDGET)
        )
    tables = [
        {name: table.to_csv(index=False) for name, table in comparison.tables.items()}
        for comparison in comparisons
    ]
    assert tables[0] == tables[1] and comparisons[0].verdicts == comparisons[1].verdicts
    written = " ".join(tables[0].values()) + str(comparisons[0].verdicts)
    assert not [word for word in ("second", "cpu", "wall", "duration") if word in written]
    # header, naive, net twice, ridge
    assert len(tables[0]["leaderboard"].splitlines()) == 1 + 2 + 4 + 1 + 2


def test_without_naive_there_is_nothing_to_score_against(results):
    write(results, "ridge", forecasts(1.0))
    with pytest.raises(InputError, match=r"no forecasts of 'naive'.*Put `naive` into the grid"):
        score_candidates(results)


BUDGET = Tuning(n_trials=2, trial_steps=10, final_steps=30, seeds=(0, 1), base_seed=0)


def budget_record(candidate="gru.linear", **changed):
    fair = {
        "ranking": "shipped",
        "kind": "network",
        "params": {"trainer": "gradient"},
        "trials": [{"number": 0}, {"number": 1}],
        "cost": steps(),
        "seeds": [{"seed": 0}, {"seed": 1}],
    }
    return run_record(candidate, **{**fair, **changed})


def steps(tuning_gradient_steps=20, gradient_steps=60):
    return {"tuning_gradient_steps": tuning_gradient_steps, "gradient_steps": gradient_steps}


def test_networks_with_the_configured_budget_pass_without_exemption():
    assert check_same_budget([budget_record(), budget_record("lstm.last")], BUDGET) == []


def test_of_few_steps_the_budget_is_said_and_what_to_repeat():
    sentence = describe_short_budget(BUDGET, [budget_record()])
    assert sentence.startswith("Networks had 2 trials of 10 steps and 30 steps for each of 2 seeds")
    steps = f"repeat with `final_steps: {JUDGED_STEPS}`"
    assert f'{steps} (in configs/tuning.yaml; in Python `tuning="full"`)' in sentence
    assert not describe_short_budget(BUDGET, [budget_record("naive", kind="baseline")])


@pytest.mark.parametrize(("folder", "is_short"), [("configs", False), ("configs/demo", True)])
def test_the_full_budget_alone_is_none_to_repeat(folder, is_short):
    sentence = describe_short_budget(load_tuning(ROOT / folder), [budget_record()])
    assert bool(sentence) == is_short


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        ({"trials": [{"number": k} for k in range(3)]}, "3 tuning trials, wanted 2"),
        ({"cost": steps(tuning_gradient_steps=40)}, "40 gradient steps in tuning, wanted 20"),
        ({"cost": steps(gradient_steps=90)}, "90 gradient steps in training, wanted 60"),
        ({"seeds": [{"seed": 0}, {"seed": 7}]}, r"seeds \[0, 7\], wanted \[0, 1\]"),
    ],
)
def test_another_budget_is_refused_by_name(changed, pattern):
    with pytest.raises(InputError, match=rf"nothing is compared: lstm\.last has {pattern}"):
        check_same_budget([budget_record(), budget_record("lstm.last", **changed)], BUDGET)


def test_every_odd_network_is_named_at_once():
    odd = [
        budget_record("a.linear", cost=steps(gradient_steps=1)),
        budget_record("b.linear", trials=[]),
    ]
    with pytest.raises(InputError, match=r"a\.linear has .*; b\.linear has 0 tuning trials"):
        check_same_budget(odd, BUDGET)


def test_baselines_and_failed_models_have_no_budget_to_keep():
    naive = budget_record(
        "naive", kind="baseline", trials=[], cost=steps(20, 0), seeds=[{"seed": 0}]
    )
    assert check_same_budget([naive, budget_record(status="failed", seeds=[])], BUDGET) == []


def test_levenberg_marquardt_is_exempt_from_gradient_steps_openly_and_not_from_the_seeds():
    record = {
        "params": {"trainer": "lm"},
        "trials": [],
        "cost": steps(0, 0),
    }
    (finding,) = check_same_budget([budget_record("narx_lm.linear", **record)], BUDGET)
    assert finding.model == "narx_lm" and "no gradient steps" in finding.why
    with pytest.raises(InputError, match=r"narx_lm\.linear has seeds"):
        check_same_budget([budget_record("narx_lm.linear", **record, seeds=[{"seed": 0}])], BUDGET)


def test_the_comparison_makes_no_frame_for_each_series_model_and_level(results, monkeypatch):
    """Thousands of small frames were most of the time and memory of a comparison of thousands of
    series.
    """
    evaluation = Evaluation(alpha=0.05, levels=(50, 60))
    frames_made, real = [], pd.DataFrame.__init__
    counts = {}
    for number in (12, 36):
        names = [f"s{k:02d}" for k in range(number)]
        for candidate, error in (("naive", None), ("ridge", 1.0), ("theta", 0.5)):
            parts = [forecasts(error).assign(unique_id=name) for name in names]
            write(results, candidate, pd.concat(parts, ignore_index=True))
        frame = pd.concat([FRAME.assign(unique_id=name) for name in names], ignore_index=True)
        frames_made.clear()
        with monkeypatch.context() as patch:
            patch.setattr(
                pd.DataFrame,
                "__init__",
                lambda self, *a, **k: frames_made.append(1) or real(self, *a, **k),
            )
            result = comparing.compare_candidates(results, frame, TASK, BORDERS, evaluation, BUDGET)
        assert set(result.tables["by_series"]["series"]) == set(names)
        counts[number] = len(frames_made)
    # one for each of 24 more series, 3 models and 2 levels would be 144
    assert counts[36] < counts[12] + 24
