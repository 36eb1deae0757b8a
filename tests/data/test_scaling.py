"""Every transform has an exact inverse, and nothing after the train block is looked at."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecast import models
from forecast.config.datasets import Column
from forecast.config.task import TransformName
from forecast.config.transforms import TRANSFORMS
from forecast.data.columns import spread_over_horizon
from forecast.data.scaling import Scaling, check_transforms, invert_transform, transform_column
from forecast.forecaster import Budget, fit
from forecast.system.errors import InputError
from tests.support import problems

EVERY = pytest.mark.parametrize("name", TRANSFORMS)
POSITIVE = arrays(np.float64, st.integers(4, 30), elements=st.floats(1e-2, 1e4))


def column(name="none", **options):
    return Column(column="y", transform=name, **options).task


@EVERY
@given(values=POSITIVE)
def test_the_inverse_gives_the_raw_values_back(name, values):
    """`horizon` transformed values that follow row 0 are the forecast; with them the raw ones are
    met exactly.
    """
    values = values / (1 + values) if name == "logit" else values
    modelled = transform_column(values, column(name))
    back = invert_transform(modelled[None, 1:], column(name), values[:1])
    # sums of up to 1e4 cancel
    np.testing.assert_allclose(back[0], values[1:], rtol=1e-9, atol=1e-9)


@EVERY
def test_scaled_and_unscaled_is_the_same_value(name):
    target = {"column": "sales", "transform": name, "max_missing": 0.2}
    sales = problems.frame()
    if name == "logit":
        sales = sales.assign(sales=1 / (1 + sales["sales"]))
    shops = problems.panel_of(sales, target=target, past_exogenous=[], calendar_features=[])
    scaling = Scaling.fit(shops, problems.shops().blocks)
    for uid, series in shops.by_id.items():
        z = scaling.scale_series(series, shops.task)
        modelled = transform_column(series.values[:, 0], shops.task.target[0])
        np.testing.assert_allclose(
            scaling.unscale(z[:, 0], uid, 0), modelled, rtol=1e-12, atol=1e-12
        )


@EVERY
def test_a_missing_value_stays_missing_and_touches_only_the_changes_beside_it(name):
    values = np.array([0.1, 0.2, np.nan, 0.4, 0.5])
    lost = {2, 3, 0} if name in ("diff", "logdiff") else {2}
    assert set(np.flatnonzero(np.isnan(transform_column(values, column(name))))) == lost


def test_an_entry_may_name_every_transform():
    assert get_args(TransformName) == tuple(TRANSFORMS)


def test_known_answers_of_the_transforms():
    values = np.array([1.0, np.e, np.e**3])
    assert transform_column(values, column("log")).tolist() == pytest.approx([0, 1, 3], rel=1e-15)
    assert transform_column(values, column("logdiff")).tolist()[1:] == pytest.approx(
        [1, 2], rel=1e-15
    )
    assert transform_column(np.array([4.0, 7.0]), column("diff")).tolist()[1:] == [3]
    assert transform_column(np.array([0.0, np.e - 1]), column("log1p")).tolist() == pytest.approx(
        [0, 1], rel=1e-15
    )
    odds = np.array([0.5, 0.75])
    np.testing.assert_allclose(transform_column(odds, column("logit")), [0, np.log(3)])
    assert invert_transform(np.array([[3.0, -1.0]]), column("diff"), np.array([10.0])).tolist() == [
        [13, 12]
    ]


@pytest.mark.parametrize("name", ["log", "logdiff"])
def test_the_logarithm_of_what_has_none_is_refused_with_its_row(name):
    with pytest.raises(
        InputError,
        match=rf"'y' of series 'a' has -2 at row 1; `transform: {name}` needs values above",
    ):
        transform_column(np.array([1.0, -2.0, 3.0]), column(name), "a")


def test_log1p_reaches_down_to_minus_one():
    assert np.isfinite(transform_column(np.array([0.0, -0.99]), column("log1p"))).all()
    with pytest.raises(InputError, match="above -1"):
        transform_column(np.array([0.0, -1.0]), column("log1p"))


def test_a_fixed_column_has_mean_zero_and_deviation_one_on_the_train_rows():
    shops = problems.shops()
    for uid, blocks in shops.blocks.items():
        train = shops.scaled(uid)[: blocks.train[1], 0]
        assert np.nanmean(train) == pytest.approx(0, abs=1e-12)
        assert np.nanstd(train) == pytest.approx(1)


def test_a_drifting_column_changes_by_one_per_step():
    shops = problems.shops()
    for uid, blocks in shops.blocks.items():
        price = shops.scaled(uid)[: blocks.train[1], 1]
        assert np.std(np.diff(price[np.isfinite(price)])) == pytest.approx(1)


def test_a_constant_column_becomes_zeros():
    long = problems.frame(gaps=False).assign(rain=3.7)
    scaled = problems.problem_of(long).scaled("north")
    np.testing.assert_allclose(scaled[:, 3], 0, atol=1e-12)


def test_a_column_that_is_missing_throughout_the_train_block_stays_finite_later():
    long = problems.frame(gaps=False)
    long.loc[long["ds"] < long["ds"].max() - np.timedelta64(50, "h"), "wind"] = np.nan
    shops = problems.problem_of(long)
    assert np.isfinite(shops.scaling.scale["north"]).all()
    assert np.isfinite(shops.scaled("north")[-20:, 2]).all()


def test_rows_after_the_train_block_do_not_move_the_scale():
    long = problems.frame()
    shops = problems.problem_of(long)
    is_later = long["ds"] > shops.borders.train_end
    changed = long.assign(
        **{c: long[c].mask(is_later, long[c] * 1e6 + 1) for c in ("sales", "price", "wind", "rain")}
    )
    assert problems.problem_of(changed).scaling.to_json() == shops.scaling.to_json()


def test_scaling_survives_json():
    scaling = problems.shops().scaling
    assert Scaling.from_json(scaling.to_json()).to_json() == scaling.to_json()


def test_a_series_that_was_never_trained_on_is_named_with_those_that_were():
    scaling = problems.shops().scaling
    other = problems.panel_of(problems.frame({"east": 40}, gaps=False))
    with pytest.raises(
        InputError, match=r"'east' was not in the training data; known: \['north', 'south'\]"
    ):
        scaling.scale_series(other.by_id["east"], other.task)


def test_a_series_of_tiny_values_is_scaled_like_any_other():
    long = problems.frame(gaps=False)
    shops = problems.problem_of(long.assign(sales=1e-14 * long["sales"], price=long["price"]))
    np.testing.assert_allclose(
        shops.scaled("north")[:, 0], problems.problem_of(long).scaled("north")[:, 0]
    )


def test_forecasts_keep_to_the_bounds_of_the_target():
    share = column(minimum=0, maximum=100)
    assert invert_transform(np.array([[-3.0, 50.0, 120.0]]), share, np.array([1.0])).tolist() == [
        [0, 50, 100]
    ]


def test_data_outside_of_their_bounds_are_refused_with_their_row():
    task = problems.shops().panel.task
    bounded = task.model_copy(
        update={"target": (task.target[0].model_copy(update={"minimum": 0.0}),)}
    )
    frame = problems.frame()
    check_transforms(frame.assign(sales=frame["sales"].abs()), bounded)
    with pytest.raises(InputError, match=r"has -1 at 20.*, outside of its bounds 0 to inf"):
        check_transforms(frame.assign(sales=-1.0), bounded)


@pytest.mark.parametrize("wrong", [0.0, 1.0, 40.0])
def test_the_log_odds_of_what_is_no_share_are_refused(wrong):
    with pytest.raises(InputError, match="needs values above 0 and below 1"):
        transform_column(np.array([0.5, wrong]), column("logit"))


def with_sales(rows, value):
    """The frame of the shops whose `north` sold `value` times as much at `rows` from the end."""
    long = problems.frame(gaps=False)
    at = np.flatnonzero(long["unique_id"] == "north")[rows]
    long.loc[at, "sales"] *= value
    return long


def test_a_wild_value_is_as_good_as_missing_to_models():
    rows = [-1, -40, 30]  # the newest, one that is tested, one that is fitted
    wild, empty = (problems.problem_of(with_sales(rows, value)) for value in (100, np.nan))
    assert np.isfinite(wild.panel.by_id["north"].values[:, 0]).all()  # what is scored
    for uid in ("north", "south"):
        np.testing.assert_array_equal(wild.scaled(uid), empty.scaled(uid))


def test_a_level_that_has_moved_is_seen_from_its_second_row_on():
    moved = problems.problem_of(with_sales(slice(-20, None), 100))
    hidden = np.isnan(moved.scaled("north")[-20:, 0])
    assert hidden[0] and not hidden[1:].any()


def test_what_is_mostly_one_value_has_no_wild_ones():
    long = problems.frame(gaps=False)
    long.loc[np.arange(len(long)) % 5 > 0, "sales"] = 0.0
    long.loc[np.flatnonzero(long["unique_id"] == "north")[-1], "sales"] = 1e6
    assert np.isfinite(problems.problem_of(long).scaled("north")[:, 0]).all()


def test_a_row_with_a_wild_value_at_its_cutoff_is_forecast_as_without_it():
    wild, empty = (problems.problem_of(with_sales([-1], value)) for value in (100, np.nan))
    newest = {uid: np.array([len(series) - 1]) for uid, series in wild.panel.by_id.items()}
    forecasts = []
    for problem in (wild, empty):
        spec = models.spec({"family": "ridge"}, where="ridge")
        model = fit(problem, spec, skip="linear", seed=0, budget=Budget(1, 1)).forecaster
        forecasts.append(model.predict(problem.panel, newest)["north"])
    np.testing.assert_array_equal(*forecasts)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("rain", 100), ("rain", 1e6), ("wind", 10), ("wind", 100), ("wind", -10), ("wind", 1e6)],
)
def test_an_input_is_held_to_its_train_range_and_once_its_width_around_it(name, factor):
    """`rain` by its values, `wind`, of which models read changes, by those."""
    long = problems.frame(gaps=False)
    newest = long.groupby("unique_id").cumcount(ascending=False) < 3
    values = long[name].where(~newest | (name == "wind"), 1.0)
    far = problems.problem_of(long.assign(**{name: values.mask(newest, values * factor)}))
    place = far.panel.task.observed_names.index(name)
    column = far.panel.task.columns[place]
    for uid, series in far.panel.by_id.items():
        z = far.scaled(uid)[:, place]
        # the first of a run of wild values is as good as missing
        is_known = np.isfinite(z)
        assert is_known[-2:].all()
        low, high = far.scaling.ranges[uid][:, place]
        read = z[is_known] * far.scaling.scale[uid][place] + far.scaling.centre[uid][place]
        raw = transform_column(series.values[:, place], column)[is_known]
        if name == "wind":
            read, raw = np.diff(read), np.diff(raw)
        clipped = np.clip(raw, 2 * low - high, 2 * high - low)
        np.testing.assert_allclose(read, clipped, atol=1e-9)
        assert (clipped != raw).any()


def test_a_target_is_read_as_it_is_however_far_off():
    moved = problems.problem_of(with_sales(slice(-20, None), 100))
    place = moved.panel.task.observed_names.index("sales")
    raw = moved.panel.by_id["north"].values[-19:, place]
    centre, scale = moved.scaling.centre["north"][place], moved.scaling.scale["north"][place]
    np.testing.assert_array_equal(moved.scaled("north")[-19:, place], (raw - centre) / scale)


def test_what_never_changed_in_a_series_takes_the_range_of_the_others():
    long = problems.frame(gaps=False)
    long.loc[long["unique_id"] == "north", "wind"] = 0.0
    shops = problems.problem_of(long)
    place = shops.panel.task.observed_names.index("wind")
    low, high = shops.scaling.ranges["north"][:, place]
    others = shops.scaling.ranges["south"][:, place]
    assert (low, high) == (min(others[0], 0.0), max(others[1], 0.0))


def planned(factor, days):
    """A panel of one series whose plan is `factor` times too large on some of its coming `days`."""
    rng = np.random.default_rng(0)
    ds = pd.date_range("2024-01-01", periods=304, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": ds, "price": 5 + rng.random(304)})
    frame["y"] = np.where(np.arange(304) < 300, 20 - frame["price"], np.nan)
    frame.loc[299 + np.array(days, dtype=int), "price"] *= factor
    options = {"future_exogenous": [{"column": "price", "known_ahead": True}], "horizon": 4}
    options |= {"target": {"column": "y"}, "past_exogenous": []}
    calendar = problems.task(**options).calendar
    whole = spread_over_horizon(frame, ["price"], ["y"], 4, calendar)
    return problems.problem_of(whole, **options)


@pytest.mark.parametrize("days", [[1], [2], [4]])
def test_a_wild_value_of_a_plan_is_missing_in_every_row_that_knows_it(days):
    wild = planned(1e3, days)
    z = wild.scaled("a")
    for row in range(-4, 0):  # row -1 is the cutoff
        for step in range(1, 5):
            day = row + 1 + step
            assert np.isnan(z[row, step]) == (day in days), (row, step)


def test_of_a_plan_that_is_wild_throughout_the_first_is_missing_and_the_rest_is_held():
    wild = planned(1e3, [1, 2, 3, 4])
    z = wild.scaled("a")[-1, 1:]
    low, high = wild.scaling.ranges["a"][:, 1]
    assert np.isnan(z[0])
    top = (2 * high - low - wild.scaling.centre["a"][2:]) / wild.scaling.scale["a"][2:]
    np.testing.assert_array_equal(z[1:], top)
