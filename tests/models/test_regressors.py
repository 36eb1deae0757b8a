"""Regressors of scikit-learn as arrays: their forecasts are its own; names, options and missing
values.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits

from forecast.data.columns import add_known_ahead
from forecast.forecaster import Budget, Forecaster, fit
from forecast.models import spec
from forecast.models.families import sklearn as regressors
from forecast.models.families.sklearn import TREE_REGRESSORS, Spec
from forecast.system.errors import InputError, ModelError
from tests.models.test_skip import planned, turning
from tests.support import problems

RNG = np.random.default_rng(1)
# trees of scikit-learn compare in float32
X = RNG.normal(size=(600, 5)).astype(np.float32).astype(np.float64)
Y = np.where(X[:, 0] > 0, np.sin(2 * X[:, 1]), X[:, 2]) + 0.1 * RNG.normal(size=600)
BUDGET = Budget(0, 1)
NEIGHBOURS = "KNeighborsRegressor"


def fit_regressor(problem, **entry):
    return fit(problem, Spec(**entry), skip=None, seed=0, budget=BUDGET).forecaster


@pytest.mark.parametrize("name", regressors.REGRESSORS)
def test_the_arrays_forecast_what_scikit_learn_forecasts(name):
    module, arrays_of = regressors.REGRESSORS[name]
    with threadpool_limits(1):
        model = getattr(importlib.import_module(module), name)().fit(X[:400], Y[:400])
    np.testing.assert_allclose(
        regressors.predict(arrays_of(model), X), model.predict(X), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("n_points", [2, 25, 50])
def test_of_fewer_points_than_neighbours_all_are_the_nearest(n_points):
    model = KNeighborsRegressor(n_neighbors=50).fit(X[:n_points], Y[:n_points])
    y_hat = regressors.predict(regressors.neighbour_arrays(model), X)
    np.testing.assert_allclose(y_hat, Y[:n_points].mean())


def test_a_backtest_by_neighbours_holds_a_few_rows_of_their_distances_at_a_time():
    points, queries = RNG.normal(size=(20_000, 5)), RNG.normal(size=(2_000, 5))
    arrays = {
        "points": points,
        "answers": points[:, 0],
        "count": np.array(50),
    }
    tracemalloc.start()
    try:
        regressors.predict(arrays, queries)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    of_all_at_once = 8 * len(points) * len(queries)  # the distances alone; there are copies of them
    assert most < of_all_at_once / 3


def boosted(**arguments):
    return Spec(options={"n_estimators": 20, **arguments})._regressor(len(Y))


def test_the_first_trees_are_the_regressor_as_it_was_after_them():
    model = boosted().fit(X, Y)
    first = regressors._first_trees(model, 7, 0.5)
    np.testing.assert_allclose(
        regressors.predict(first, X), 0.5 + model.predict(X, num_iteration=7)
    )
    np.testing.assert_array_equal(
        regressors.predict(regressors._first_trees(model, 0, 0.5), X), np.full(len(X), 0.5)
    )


@pytest.mark.parametrize("name", regressors.REGRESSORS)
def test_every_regressor_is_fitted_to_data_with_gaps_and_saved_without_pickle(name, tmp_path):
    problem = problems.shops()
    quick = {"options": {"n_estimators": 20}} if name in TREE_REGRESSORS else {}
    model = fit_regressor(problem, regressor=name, rows=300, **quick)
    rows = {"north": problem.rows("north", "test")}
    before = model.predict(problem.panel, rows)["north"]
    model.save(tmp_path)
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(
        Forecaster.load(tmp_path).predict(problem.panel, rows)["north"], before
    )
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fib" for name in arrays.files)


@pytest.mark.parametrize(
    ("law", "fewest"), [(lambda x: np.sin(3 * x[:, 0]) * x[:, 1], 5), (lambda x: 0 * x[:, 0], 0)]
)
def test_trees_are_as_many_as_validation_asks_for_and_a_later_fit_has_as_many(law, fewest):
    rng = np.random.default_rng(2)
    later_inputs = rng.normal(size=(400, 5))
    y, known = law(X) + 0.1 * rng.normal(size=600), law(later_inputs) + 0.1 * rng.normal(size=400)
    arrays, lowest = regressors._grow_trees(boosted(), X, y, later_inputs, known)
    n_trees = len(arrays["roots"])
    errors = []
    for count in range(21):
        first = regressors._fit_trees(boosted(), X, y, count)
        errors.append(np.abs(known - regressors.predict(first, later_inputs)).mean())
    assert n_trees == np.argmin(errors) >= fewest
    assert lowest == pytest.approx(min(errors))
    refitted = regressors._fit_trees(boosted(), X, y, n_trees)
    for name, values in arrays.items():
        np.testing.assert_array_equal(refitted[name], values)


def test_boosting_learns_from_a_few_steps_of_many_cutoffs_and_others_from_whole_horizons():
    problem = problems.shops()
    boosting = Spec(rows=200)._draw_pairs(problem, "train")
    neighbours = Spec(regressor=NEIGHBOURS, rows=200)._draw_pairs(problem, "train")
    assert all(pairs.steps.all() for pairs in neighbours.values())
    n_cutoffs = [
        sum(len(each.cutoffs) for each in pairs.values()) for pairs in (boosting, neighbours)
    ]
    n_pairs = sum(int(each.steps.sum()) for each in boosting.values())
    assert n_cutoffs[0] >= n_cutoffs[1] and 150 < n_pairs < 250
    whole = Spec(rows=10**6)._draw_pairs(problem, "train")
    for uid, each in whole.items():
        np.testing.assert_array_equal(each.cutoffs, problem.rows(uid, "train"))
        assert each.steps.all()


def test_every_few_cutoffs_are_counted_on_from_series_to_series():
    shop = problems.frame({"north": 40}, gaps=False)
    frame = pd.concat([shop.assign(unique_id=f"shop {number:02}") for number in range(60)])
    problem = problems.problem_of(frame)
    spec = Spec(regressor=NEIGHBOURS, rows=100)
    pairs = spec._draw_pairs(problem, "train")
    n_cutoffs = sum(len(problem.rows(uid, "train")) for uid in pairs)
    every = -(-n_cutoffs * problems.HORIZON // spec.rows)
    assert every > n_cutoffs / len(pairs), "more than one series has"
    drawn = [len(each.cutoffs) for each in pairs.values()]
    assert sum(drawn) == -(-n_cutoffs // every) and max(drawn) == 1
    assert len(
        fit_regressor(problem, regressor=NEIGHBOURS, rows=100).weights["0/points"]
    ) == 3 * sum(drawn)


@pytest.mark.parametrize(
    ("entry", "error", "sentence"),
    [
        (
            {"options": {"n_estimators": -3}, "regressor": "RandomForestRegressor"},
            ModelError,
            "RandomForestRegressor cannot be fitted with options {'n_estimators': -3}",
        ),
        ({"options": {"num_leaves": 1}}, ModelError, "LGBMRegressor cannot be fitted with options"),
        (
            {"options": {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}},
            InputError,
            "boosting_type 'rf' is not supported; wanted 'gbdt' or 'goss'",
        ),
    ],
)
def test_options_that_the_library_or_the_arrays_refuse_are_a_sentence(entry, error, sentence):
    with pytest.raises(error, match=sentence):
        fit_regressor(problems.shops(), **entry)


def test_boosted_trees_take_out_what_a_plain_line_leaves_of_a_law_that_turns():
    problem = turning(0.9)
    windows = problem.examples("test", problems.HORIZON)
    last = problem.skip("last", problems.HORIZON)
    model = fit_regressor(problem, base="last")
    error = np.mean([np.abs(y - model.spec.scaled_forecast(model, w)).mean() for w, y in windows()])
    misses = [np.abs(y - last.forecast(w, problem.channels)).mean() for w, y in windows()]
    assert error < 0.8 * np.mean(misses)


def usual(count):
    return 50 + np.cumsum(np.random.default_rng(9).normal(size=count))


def chaotic(count):
    """The logistic map: a value, and not its change, tells the next one."""
    values = [0.3]
    for _ in range(count - 1):
        values.append(3.8 * values[-1] * (1 - values[-1]))
    return 100 * np.array(values)


def tank(count):
    """A level that falls by about one, and is raised by 20 when it is below 20."""
    draw, level, levels = np.random.default_rng(7), 100.0, []
    for _ in range(count):
        level -= draw.uniform(0.5, 1.5)
        level += 20 * (level < 20)
        levels.append(level)
    return np.array(levels)


def seen_as(law):
    frame = problems.frame({"north": 1200}, gaps=False)
    sales = {"column": "sales"}
    frame = frame.assign(sales=law(len(frame)))
    return problems.problem_of(frame, target=sales, past_exogenous=[])


@pytest.mark.parametrize(("law", "form"), [(usual, 0), (tank, 1), (chaotic, 2)])
def test_trees_take_the_form_that_validation_clearly_asks_for_and_keep_it(law, form, tmp_path):
    problem, spec = seen_as(law), Spec(base="last")
    first = fit(problem, spec, skip=None, seed=0, budget=BUDGET).forecaster
    assert int(first.weights.get("0/form", 0)) == form
    refitted = spec.refit_chosen(problem.joined, first, seed=0).arrays
    assert int(refitted.get("0/form", 0)) == form
    rows = {"north": problem.rows("north", "test")}
    forecast = first.predict(problem.panel, rows)["north"]
    first.save(tmp_path)
    loaded = Forecaster.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(problem.panel, rows)["north"], forecast)
    known = np.stack([problem.panel.by_id["north"].values[rows["north"] + k, 0] for k in (1, 2, 3)])
    assert np.abs(forecast[:, :, 0] - known.T).mean() < 12


def test_a_law_of_thresholds_is_forecast_by_all_of_them(monkeypatch):
    problem = seen_as(chaotic)
    windows = problem.examples("test", problems.HORIZON)

    def error():
        model = fit_regressor(problem, base="last")
        forecasts = [(y, model.spec.scaled_forecast(model, w)) for w, y in windows()]
        return np.mean([np.abs(y - y_hat).mean() for y, y_hat in forecasts])

    chosen = error()
    assert len(fit_regressor(problem, base="last").weights["0/roots"]) > regressors.N_TREES
    monkeypatch.setattr(regressors, "TREE_FORMS", regressors.TREE_FORMS[:1])
    assert chosen < 0.7 * error()


def river():
    """A flow that answers to the rain of the last five steps, which is known ahead."""
    rain = np.random.default_rng(0).exponential(1, 1500) ** 2
    return planned(rain, np.sqrt(np.convolve(rain, np.ones(5))[: len(rain)]))


def test_trees_read_a_plan_on_the_way_where_validation_asks_for_it_and_keep_it(
    tmp_path, monkeypatch
):
    problem, spec = river(), Spec(base="last")
    first = fit(problem, spec, skip=None, seed=0, budget=BUDGET).forecaster
    form = int(first.weights["0/form"])
    assert regressors.TREE_FORMS[form].reads_earlier_steps
    assert int(spec.refit_chosen(problem.joined, first, seed=0).arrays["0/form"]) == form
    rows = {"one": problem.rows("one", "test")}
    first.save(tmp_path)
    forecast = first.predict(problem.panel, rows)["one"]
    np.testing.assert_array_equal(
        Forecaster.load(tmp_path).predict(problem.panel, rows)["one"], forecast
    )
    monkeypatch.setattr(regressors, "TREE_FORMS", regressors.TREE_FORMS[:3])
    usual = fit_regressor(problem, base="last").predict(problem.panel, rows)["one"]
    steps = rows["one"][:, None] + np.arange(1, problems.HORIZON + 1)
    known = problem.panel.by_id["one"].values[steps, 0]
    assert np.abs(forecast[:, :, 0] - known).mean() < 0.7 * np.abs(usual[:, :, 0] - known).mean()


@pytest.mark.parametrize(
    "changes", [{"lookback": regressors.EARLIER_STEPS}, {"future_exogenous": []}]
)
def test_without_a_plan_or_rows_to_read_it_from_no_tree_reads_one_on_the_way(changes):
    plans = [{"column": "rain", "known_ahead": True}]
    rows = problems.frame({"north": 300}, gaps=False)
    frame = add_known_ahead(rows, problems.dataset(past_exogenous=[], future_exogenous=plans))
    sales = {"column": "sales"}
    settings = {"target": [sales], "past_exogenous": [], "future_exogenous": plans}
    problem = problems.problem_of(frame, **(settings | changes))
    assert Spec(base="last")._other_forms(problem) == [1, 2]


def test_a_step_reads_the_plan_before_it_and_of_no_later_one():
    plan = np.random.default_rng(0).normal(size=(1, 12, 1))
    horizon, newest = 4, 7  # rows 8 to 11 are ahead
    columns = np.concatenate(regressors._earlier_plan_values(plan, horizon), axis=2)[0]
    for step in range(1, horizon + 1):
        values = plan[0, : newest + step + 1, 0]
        expected = [plan[0, newest, 0], *values[-2:-5:-1], values[newest + 1 :].mean()]
        for span in regressors.DECAY_SPANS:
            ewm = pd.Series(values).ewm(span=span, adjust=False).mean()
            expected.append(ewm.iloc[-1])
        np.testing.assert_allclose(columns[step - 1], expected)


def test_boosting_keeps_the_trees_that_validation_asks_for():
    noise = problems.problem_of(
        problems.frame().assign(sales=lambda f: np.random.default_rng(5).normal(size=len(f))),
        past_exogenous=[],
    )
    roots = fit_regressor(noise, base="ridge", leaf_rows=1).weights["0/roots"]
    assert len(roots) < 200


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(
        InputError, match=r"unknown regressor 'RandomForest'.*Did you mean 'RandomForestRegressor'"
    ):
        spec(
            {"family": "sklearn", "regressor": "RandomForest"},
            where="configs/models.yaml: models.forest",
        )
    with pytest.raises(InputError, match=r"has no option 'n_neighbrs'. Did you mean 'n_neighbors'"):
        spec(
            {"family": "sklearn", "regressor": NEIGHBOURS, "options": {"n_neighbrs": 1}}, where="x"
        )
    with pytest.raises(InputError, match="has no option 'kwargs'"):
        spec({"family": "sklearn", "options": {"kwargs": 1}}, where="x")


def test_the_spec_of_a_fitted_regressor_is_read_without_scikit_learn():
    code = "import sys; from forecast.models import spec; "
    code += "from forecast.models.base import OF_SAVED_MODEL; "
    code += (
        "found = spec({'family': 'sklearn', 'options': {'n_estimators': 20}}, where='x',"
        " context=OF_SAVED_MODEL); "
    )
    code += "print(found.options, 'sklearn' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split("\n")[0] == "{'n_estimators': 20} False"


def test_an_option_of_trees_is_refused_where_there_are_none():
    with pytest.raises(InputError, match="leaves has no effect on KNeighborsRegressor"):
        spec({"family": "sklearn", "regressor": NEIGHBOURS, "leaves": 7}, where="models.knn")


def test_a_loss_that_is_no_middle_is_refused_as_that_of_a_network_is():
    for name in ("quantile", "poisson", "binary"):
        with pytest.raises(InputError, match=f"unknown loss '{name}'. Known: 'fair', 'huber', 'l1"):
            spec({"family": "sklearn", "options": {"objective": name}}, where="models.boosting")
    with pytest.raises(InputError, match=r"unknown loss 'quantile'\. Known: 'huber', 'mae'"):
        spec({"family": "gru", "loss": "quantile"}, where="models.gru")


@pytest.mark.parametrize("objective", regressors.POINT_OBJECTIVES)
def test_boosting_takes_every_loss_of_a_point(objective):
    problem, few = problems.shops(), {"n_estimators": 5}
    model = fit_regressor(problem, base="last", rows=200, options={"objective": objective, **few})
    series = problem.panel.series[0]
    y_hat = model.predict(problem.panel, {series.unique_id: np.array([len(series) - 1])})
    assert np.isfinite(y_hat[series.unique_id]).all()


def test_a_loss_is_taken_by_each_of_its_names_in_lightgbm():
    for name in ("l1", "mean_absolute_error", "l2", "regression_l2", "root_mean_squared_error"):
        entry = spec({"family": "sklearn", "options": {"objective": name}}, where="models.boosting")
        assert entry.options == {"objective": name}
    Spec(options={"objective": None})  # as in its signature


def test_what_is_tuned_has_an_effect():
    assert set(Spec(regressor=NEIGHBOURS).space()) == {"base"}
    assert all(
        {"leaves", "leaf_rows"} <= set(Spec(regressor=name).space()) for name in TREE_REGRESSORS
    )


def test_tuning_keeps_a_base_that_the_entry_names():
    assert "base" in Spec().search_space()
    for base in ("ridge", "last"):
        assert set(Spec(base=base).search_space()) == {"leaves", "leaf_rows"}
        assert not Spec(regressor=NEIGHBOURS, base=base).search_space()


def test_tuning_cannot_make_the_two_boosted_members_of_the_mean_equal():
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text())["models"]
    for name in ("boosting", "boosting_last"):
        assert "base" not in spec(catalogue[name], where=name).search_space()


def test_a_trial_on_the_last_value_has_a_validation_error_of_its_own():
    options = {"regressor": "KNeighborsRegressor", "rows": 500}
    tried = [Spec(**options, base=base) for base in ("ridge", "last")]
    errors = [
        fit(turning(1.0), entry, skip=None, seed=0, budget=BUDGET).validation_loss
        for entry in tried
    ]
    assert np.isfinite(errors).all() and errors[0] != errors[1]
