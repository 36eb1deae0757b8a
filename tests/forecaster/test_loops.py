"""Fitted and saved forecasters in open and closed loop, told their inputs or not, and the mixed
strategy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from forecast.data.scaling import invert_transform
from forecast.forecaster import Forecaster
from forecast.forecaster.fitting import fit_correction
from forecast.models.base import LinearSpec, NetworkSpec
from forecast.system.errors import InputError
from tests.contract.families import FAMILIES, fit_family, forecaster, in_scaled_units, over_horizon
from tests.support import problems

H = problems.HORIZON
RECURSIVE = [
    name
    for name, spec in FAMILIES.items()
    if issubclass(spec, NetworkSpec | LinearSpec) and spec.is_recursive
]
recursive = pytest.mark.parametrize("family", RECURSIVE)
AT = {"north": np.array([110, 120])}


def skip_of(family):
    return None if family == "arx" else "linear"


@cache
def fixed_levels():
    """Two shops without gaps, changes or calendar: what a window holds does not depend on where it
    begins.
    """
    return problems.problem_of(
        problems.frame(gaps=False),
        target=[{"column": "sales"}, {"column": "price"}],
        past_exogenous=[{"column": "wind"}, {"column": "rain"}],
        calendar_features=[],
    )


@dataclass(frozen=True)
class Told:
    """In place of what carries the past-only inputs of a skip: the inputs given."""

    inputs: np.ndarray

    def forecast_inputs(self, past, horizon):
        return np.repeat(self.inputs[None, :horizon], len(past), axis=0)


def simulate(model, panel, rows, *, horizon):
    """The closed loop from one row, told the past-only inputs that were measured after it."""
    ((uid, (row,)),) = rows.items()
    z = model.scaling.scale_series(panel.by_id[uid], model.task)[
        row + 1 :, model.channels.outputs :
    ]
    return over_horizon(
        replace(model, skip=replace(model.skip, carry=Told(z))), panel, rows, horizon=horizon
    )


@recursive
def test_a_horizon_as_trained_is_the_forecast_served(family):
    panel, model = problems.shops().panel, forecaster(family, skip_of(family))
    y_hat = over_horizon(model, panel, AT, horizon=H)["north"]
    np.testing.assert_array_equal(y_hat, model.predict(panel, AT)["north"])


@recursive
def test_a_horizon_longer_than_trained_begins_with_the_trained_one(family):
    problem = fixed_levels()
    model = fit_family(problem, family, skip_of(family))
    long = over_horizon(model, problem.panel, AT, horizon=4 * H)["north"]
    assert long.shape == (2, 4 * H, 2) and np.isfinite(long).all()
    np.testing.assert_array_equal(
        long[:, :H], over_horizon(model, problem.panel, AT, horizon=H)["north"]
    )


@recursive
def test_the_closed_loop_fed_with_true_values_equals_the_open_loop(family):
    """Rows after the origin are made to be what the loop says they are: then both loops see the
    same.
    """
    problem = fixed_levels()
    panel, model = problems.copied(problem.panel), fit_family(problem, family, skip_of(family))
    if family == "jordan":
        # its context outlives any window
        model = replace(model, spec=model.spec.with_values({"alpha": 0.0}))
    free = simulate(model, panel, {"north": np.array([110])}, horizon=6)["north"][0]
    panel.by_id["north"].values[111:117, :2] = free
    rows = np.arange(110, 116)
    measured = over_horizon(model, panel, {"north": rows}, horizon=1)["north"][:, 0]
    open_loop, closed_loop = (
        in_scaled_units(model, "north", values) for values in (measured, free)
    )
    np.testing.assert_allclose(open_loop, closed_loop, atol=1e-6)


@recursive
@pytest.mark.parametrize("garbage", [np.nan, 1e30])
def test_past_only_inputs_changed_after_the_cutoff_change_no_forecast_in_closed_loop(
    family, garbage
):
    panel, model = problems.copied(problems.shops().panel), forecaster(family, skip_of(family))
    row = {"north": np.array([110])}
    before = over_horizon(model, panel, row, horizon=8)["north"]
    panel.by_id["north"].values[111:, 2:] = garbage
    np.testing.assert_array_equal(over_horizon(model, panel, row, horizon=8)["north"], before)


@recursive
def test_simulation_reads_the_inputs_after_the_cutoff_and_the_forecast_carries_them(family):
    problem = fixed_levels()
    panel, model = problems.copied(problem.panel), fit_family(problem, family, skip_of(family))
    row = {"north": np.array([110])}
    series = panel.by_id["north"]
    before = simulate(model, panel, row, horizon=8)["north"]
    series.values[111:, :2] = 1e9  # targets are no input of it
    np.testing.assert_array_equal(simulate(model, panel, row, horizon=8)["north"], before)
    series.values[113:, 3] += 1.0
    changed = (simulate(model, panel, row, horizon=8)["north"] != before).any(axis=2)[0]
    assert changed.tolist() == [False] * 3 + [True] * 5
    z = model.scaling.scale_series(series, model.task)
    carried = model.skip.carry.forecast_inputs(z[None, 111 - model.task.lookback : 111, 2:], 8)[0]
    for i, column in enumerate(model.task.past_exogenous, start=2):
        units = model.scaling.unscale(carried[:, i - 2], "north", i)[None]
        series.values[111:119, i] = invert_transform(units, column, series.values[110:111, i])[0]
    np.testing.assert_allclose(
        simulate(model, panel, row, horizon=8)["north"],
        over_horizon(model, panel, row, horizon=8)["north"],
        rtol=1e-6,
    )


def test_simulated_inputs_with_gaps_and_changes_are_those_a_window_would_hold():
    """One step of a simulation after another, each from rows built anew; no window begins in a gap
    or at a change.
    """
    panel, model = problems.shops().panel, forecaster("narx", "none")
    model = replace(model, spec=model.spec.with_values({"target_lags": 3, "input_lags": 3}))
    model = replace(model, weights=_some_weights(model))
    y_hat = simulate(model, panel, {"north": np.array([110])}, horizon=6)["north"][0]
    continued = problems.copied(panel)
    for k in range(6):
        step = over_horizon(model, continued, {"north": np.array([110 + k])}, horizon=1)["north"][
            0, 0
        ]
        np.testing.assert_allclose(y_hat[k], step, rtol=1e-5)
        continued.by_id["north"].values[111 + k, :2] = step


def _some_weights(model: Forecaster):
    from tests.contract.families import random_weights

    return random_weights(model.network)


def test_a_saved_forecaster_runs_on_in_closed_loop(tmp_path):
    panel, model = problems.shops().panel, forecaster("narx", "linear")
    model.save(tmp_path)
    np.testing.assert_array_equal(
        over_horizon(Forecaster.load(tmp_path), panel, AT, horizon=7)["north"],
        over_horizon(model, panel, AT, horizon=7)["north"],
    )


BAD = {
    "beyond what is known": ({"north": np.array([140])}, 40, r"known-future inputs up to row 180"),
    "too short a past": (
        {"north": np.array([4])},
        2,
        "has 5 rows of history; lookback=10 are needed",
    ),
    "unknown series": ({"west": np.array([40])}, 2, "No series 'west'"),
}


@pytest.mark.parametrize(("rows", "horizon", "message"), BAD.values(), ids=BAD)
def test_rows_and_horizons_that_cannot_be_run_are_refused(rows, horizon, message):
    with pytest.raises(InputError, match=message):
        over_horizon(forecaster("narx", "linear"), problems.shops().panel, rows, horizon=horizon)


def test_no_rows_give_no_forecasts():
    y_hats = over_horizon(
        forecaster("arx", None), problems.shops().panel, {"north": np.array([], int)}, horizon=5
    )
    assert y_hats["north"].shape == (0, 5, 2)


def mixed_setting():
    """A season of eight that two lags of a one-step law cannot carry over the horizon."""
    problem = fixed_levels()
    model = fit_family(problem, "arx", None)
    half = replace(model.skip, coefficients=0.4 * model.skip.coefficients)
    return problem, replace(model, skip=half)


def error(problem, predicted):
    series = problem.panel.by_id["north"]
    rows = problem.rows("north", "test")
    truth = series.values[rows[:, None] + np.arange(1, H + 1), :2]
    return float(np.abs(predicted["north"] - truth)[..., 0].mean())


def test_the_mixed_strategy_takes_the_bias_out_of_a_recursion(tmp_path):
    problem, biased = mixed_setting()
    rows = {"north": problem.rows("north", "test")}
    mixed = fit_correction(problem, biased)
    direct = fit_family(problem, "ridge", None)
    recursive_error = error(problem, over_horizon(biased, problem.panel, rows, horizon=H))
    mixed_error = error(problem, mixed.predict(problem.panel, rows))
    assert mixed_error < 0.8 * recursive_error
    assert mixed_error < 1.05 * error(problem, direct.predict(problem.panel, rows))
    mixed.save(tmp_path)
    loaded = Forecaster.load(tmp_path).predict(problem.panel, rows)
    np.testing.assert_array_equal(loaded["north"], mixed.predict(problem.panel, rows)["north"])


def test_a_correction_of_nothing_leaves_the_recursion_alone():
    problem, model = mixed_setting()
    rows = {"north": problem.rows("north", "test")}
    ridge = problem.skip("linear", H)
    uncorrected = replace(
        model, correction=replace(ridge, coefficients=np.zeros_like(ridge.coefficients))
    )
    np.testing.assert_allclose(
        uncorrected.predict(problem.panel, rows)["north"],
        over_horizon(model, problem.panel, rows, horizon=H)["north"],
    )


def test_the_family_rectify_is_arx_with_a_correction():
    problem = fixed_levels()
    mixed, rows = fit_family(problem, "rectify", None), {"north": problem.rows("north", "test")}
    by_hand = fit_correction(problem, fit_family(problem, "arx", None))
    np.testing.assert_array_equal(
        mixed.predict(problem.panel, rows)["north"], by_hand.predict(problem.panel, rows)["north"]
    )
    assert mixed.n_params == mixed.skip.coefficients.size + mixed.correction.coefficients.size


def test_a_corrected_network_is_a_mixed_forecast_too():
    problem = fixed_levels()
    rows = {"north": problem.rows("north", "test")}
    net = fit_family(problem, "narx", "none")
    mixed = fit_correction(problem, net)
    assert error(problem, mixed.predict(problem.panel, rows)) < error(
        problem, net.predict(problem.panel, rows)
    )
