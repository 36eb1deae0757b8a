"""Scores with every number worked out by hand: two series in units of their own, two seeds, their
ensemble.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecast.comparison import metrics, scores
from forecast.comparison.metrics import METRICS, Metric
from forecast.comparison.scores import ForecastCube, Reference

TIMES = pd.to_datetime(["2024-01-01", "2024-01-02"])
Y = {"a": [[11.0, 12.0], [12.0, 13.0]], "b": [[90.0, 80.0], [80.0, 100.0]]}
LAST = {"a": pd.Series([10.0, 11.0], TIMES), "b": pd.Series([100.0, 90.0], TIMES)}
OFF = {"a": {3: 1.0, 7: -3.0}, "b": {3: 10.0, 7: 0.0}}  # by which seeds 3 and 7 err, everywhere
REFERENCE = Reference(
    scale={"a": 0.5, "b": 20.0},
    squared_scale={"a": 2.0, "b": 40.0},
    last=LAST,
    # |y - last|, mean over the origins
    naive_error_by_step={"a": np.array([1.0, 2.0]), "b": np.array([10.0, 15.0])},
    naive_error={"a": 1.5, "b": 12.5},
)


def long(series=("a", "b"), seeds=(3, 7)):
    rows = [
        (uid, TIMES[i], step + 1, seed, Y[uid][i][step], Y[uid][i][step] + OFF[uid][seed], i + 1.0)
        for uid in series
        for seed in seeds
        for i in range(2)
        for step in range(2)
    ]
    columns = ["unique_id", "cutoff", "step", "seed", "y", "y_hat", "volatility"]
    return pd.DataFrame(rows, columns=columns).assign(ds=TIMES[0])


def by_series(**options):
    return scores.series_scores(scores.series_forecasts(long(**options), LAST), REFERENCE)


def row(table, seed, **where):
    for column, value in {"seed": seed, **where}.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_last_value_at_a_cutoff_is_that_of_its_row_and_none_where_there_is_no_row():
    times = pd.date_range("2024-01-01", periods=50).delete([7, 20])
    last = pd.Series(np.arange(48.0), times)
    cutoffs = pd.date_range("2023-12-30", "2024-02-22").to_numpy()
    expected = last.reindex(cutoffs).to_numpy()
    np.testing.assert_array_equal(scores._find_known(last, cutoffs), expected)


def test_the_long_frame_becomes_arrays_whatever_its_order():
    shuffled = long().sample(frac=1, random_state=0)
    a, b = scores.series_forecasts(shuffled, LAST)
    assert (a.series, b.series) == ("a", "b") and a.seeds == b.seeds == (3, 7)
    assert a.y.tolist() == Y["a"] and b.last.tolist() == [100, 90]
    assert a.volatility.tolist() == b.volatility.tolist() == [1, 2]
    assert (a.y_hat[1] - a.y == -3).all() and (b.y_hat[0] - b.y == 10).all()


def test_each_series_is_scored_in_its_own_unit():
    table = by_series()
    a3, a7, b3 = (
        row(table, "3", series="a"),
        row(table, "7", series="a"),
        row(table, "3", series="b"),
    )
    assert (a3["mae"], a3["rmse"], a7["mae"], b3["mae"]) == (1, 1, 3, 10)
    assert (a3["mase"], a7["mase"], b3["mase"]) == (2, 6, 0.5)
    assert (a3["rmsse"], b3["rmsse"]) == (0.5, 0.25)
    assert a3["smape"] == pytest.approx(200 * np.mean([1 / 23, 1 / 25, 1 / 25, 1 / 27]))
    assert a3["skill"] == pytest.approx(1 - 1 / 1.5) and b3["skill"] == pytest.approx(1 - 10 / 12.5)
    assert (a3["direction"], a3["direction_base"]) == (1, 1)  # all rise, and all are said to
    assert a7["direction"] == 0  # all are said to fall
    assert (table["n_origins"] == 2).all()


def test_the_mean_is_that_of_the_forecasts_not_of_the_errors():
    table = by_series()
    a, b = row(table, "mean", series="a"), row(table, "mean", series="b")
    assert (a["mae"], b["mae"]) == (1, 5)  # a: off by (1 - 3) / 2, b: off by (10 + 0) / 2


def test_one_seed_is_its_own_mean_and_has_no_spread():
    table = by_series(seeds=(7,))
    assert table["seed"].tolist() == ["7", "7"]
    board = scores.add_mean_and_spread(scores.average_over_series(table, ["seed"]), [])
    assert board["seed"].tolist() == ["7", "mean"]


def test_over_several_series_ratios_are_averaged_and_units_are_not():
    board = scores.average_over_series(by_series(), ["seed"])
    assert board["seed"].tolist() == ["3", "7", "mean"]
    assert board["mase"].tolist() == [1.25, 3.0, 1.125]
    assert board["mae"].isna().all() and board["rmse"].isna().all()
    assert row(board, "3")["skill"] == pytest.approx(1 - 1.25 / ((1.5 / 0.5 + 12.5 / 20) / 2))


def test_a_series_without_a_scale_is_in_no_average_of_the_others():
    table = by_series()
    names = ["seed", "mase", "rmsse", "smape", "direction"]
    expected = scores.average_over_series(table, ["seed"])[names]
    constant = table[table["series"] == "a"].assign(
        series="c", mase=np.nan, naive_mase=np.nan, smape=0.0, direction=0
    )
    whole = pd.concat([table, constant])
    averaged = scores.average_over_series(whole, ["seed"])[names]
    pd.testing.assert_frame_equal(averaged, expected)


@settings(max_examples=40)
@given(arrays(float, (3, 4, 5, 2), elements=st.floats(0.1, 100)), arrays(bool, (4, 5, 2)))
def test_the_order_by_mase_and_the_sign_against_naive_agree_and_naive_is_zero(values, missing):
    times = pd.date_range("2024-01-01", periods=5)
    y = np.where(missing & (np.arange(5) > 0)[None, :, None], np.nan, values[0])
    names = ["a", "b", "c", "d"]
    cubes = {
        kind: [
            ForecastCube(
                n,
                y[k],
                forecast[k][None],
                values[0][k, :, 0],
                (0,),
                np.arange(len(y[k])),
                np.ones(len(y[k])),
                np.zeros(y[k].shape, dtype="datetime64[ns]"),
            )
            for k, n in enumerate(names)
        ]
        for kind, forecast in (("naive", values[1]), ("other", values[2]))
    }
    scale = {name: float(k + 1) for k, name in enumerate(names)}
    whole = {c.series: metrics.mae(c.y, c.y_hat[0]) for c in cubes["naive"]}
    assume(max(whole.values()) > 0.01)  # a naive without error has no skill
    steps = {c.series: np.array(metrics.errors_by_step(c.y, c.y_hat[0])[0]) for c in cubes["naive"]}
    reference = Reference(scale, scale, {n: pd.Series(1.0, times) for n in names}, steps, whole)
    naive, other = (
        scores.average_over_series(scores.series_scores(cube, reference), ["seed"]).iloc[0]
        for cube in cubes.values()
    )
    assert naive["skill"] == pytest.approx(0, abs=1e-12)
    assert abs(other["skill"]) < 1e-9 or (other["skill"] > 0) == (other["mase"] < naive["mase"])


def test_one_series_keeps_its_unit():
    board = scores.average_over_series(by_series(series=("a",)), ["seed"])
    assert board["mae"].tolist() == [1, 3, 1]
    assert "series" not in board


def test_the_mean_is_what_serves_and_the_spread_is_over_the_seeds_alone():
    board = scores.add_mean_and_spread(scores.average_over_series(by_series(), ["seed"]), [])
    assert board["seed"].tolist() == ["3", "7", "mean", "std"]
    assert row(board, "mean")["mase"] == 1.125
    assert row(board, "std")["mase"] == pytest.approx(1.75 / np.sqrt(2))  # n - 1
    assert (board["n_origins"] == 2).all()
    of_series = scores.add_mean_and_spread(
        scores.average_over_series(by_series(series=("a",)), ["seed"]), []
    )
    assert row(of_series, "mean")["mae"] == 1 and row(of_series, "std")["mae"] == pytest.approx(
        np.sqrt(2)
    )


def test_what_rounding_alone_tells_apart_has_no_spread():
    mean = row(by_series(series=("a",)), "mean")
    second = mean.copy()
    second["mase"] *= 1 + 1e-10
    second["mae"] += 0.5
    assert second["mase"] != mean["mase"]
    table = pd.DataFrame([mean, second, mean]).assign(seed=["3", "7", "mean"])
    board = table.drop(columns="series").infer_objects()
    spread = row(scores.add_mean_and_spread(board, []), "std")
    assert spread["mase"] == 0
    assert spread["mae"] == pytest.approx(0.5 / np.sqrt(2))


def test_steps_are_scored_against_naive_at_the_same_step():
    (a,) = scores.series_forecasts(long(series=("a",)), LAST)
    table = scores.step_scores([a], REFERENCE)
    assert row(table, "3", step=1)["skill"] == 0
    assert row(table, "3", step=2)["skill"] == 0.5
    assert row(table, "7", step=2)["mase"] == 6
    board = scores.add_mean_and_spread(
        scores.average_over_series(table, ["seed", "step"]), ["step"]
    )
    assert row(board, "mean", step=1)["mae"] == row(table, "mean", step=1)["mae"]
    assert row(board, "std", step=2)["skill"] == pytest.approx(np.std([0.5, -0.5], ddof=1))


@given(arrays(float, (7, 3), elements=st.floats(-100, 100)), arrays(bool, (7, 3)))
def test_errors_by_step_are_those_of_each_step_to_the_bit(y, missing):
    actual, forecast = np.where(missing, np.nan, y), y[::-1].copy()
    maes, rmses = metrics.errors_by_step(actual, forecast)
    for step, (mae, rmse) in enumerate(zip(maes, rmses, strict=True)):
        expected = [
            metric(actual[:, step], forecast[:, step]) for metric in (metrics.mae, metrics.rmse)
        ]
        np.testing.assert_array_equal([mae, rmse], expected)


def test_a_missing_actual_is_left_out():
    frame = long(series=("a",), seeds=(3,))
    frame.loc[0, ["y", "y_hat"]] = [np.nan, 1e9]
    (cube,) = scores.series_forecasts(frame, LAST)
    assert scores.series_scores([cube], REFERENCE)["mae"].tolist() == [1.0]


def test_several_targets_are_several_series():
    frame = pd.concat([long().assign(output="x"), long().assign(output="y")])
    last = {f"{uid}/{output}": LAST[uid] for uid in LAST for output in ("x", "y")}
    assert [c.series for c in scores.series_forecasts(frame, last)] == ["a/x", "a/y", "b/x", "b/y"]
    assert [c.series for c in scores.series_forecasts(long().assign(output="x"), LAST)] == [
        "a",
        "b",
    ]


def test_actuals_that_cross_zero_have_no_percentage():
    frame = long(series=("a",), seeds=(3,)).assign(y=[1.0, -1.0, 1.0, 1.0])
    (cube,) = scores.series_forecasts(frame, LAST)
    assert np.isnan(scores.series_scores([cube], REFERENCE)["smape"].iloc[0])


def test_a_metric_that_is_one_more_row_of_the_table_is_scored_by_series_by_step_and_over_the_series(
    monkeypatch,
):
    bias = Metric(
        "bias",
        lambda s: metrics.average(s.y_hat - s.y),
        "Bias",
        "Mean error",
        in_units=True,
        by_step=True,
    )
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, bias))
    table = by_series()
    assert row(table, "7", series="a")["bias"] == -3 and row(table, "mean", series="b")["bias"] == 5
    assert (
        row(scores.step_scores(scores.series_forecasts(long(), LAST)[:1], REFERENCE), "7", step=2)[
            "bias"
        ]
        == -3
    )
    # units are never averaged
    assert scores.average_over_series(table, ["seed"])["bias"].isna().all()
    of_series = scores.add_mean_and_spread(
        scores.average_over_series(by_series(series=("a",)), ["seed"]), []
    )
    assert row(of_series, "mean")["bias"] == -1


def test_the_number_of_frames_does_not_grow_with_the_series(monkeypatch):
    frames, init = [], pd.DataFrame.__init__
    monkeypatch.setattr(
        pd.DataFrame, "__init__", lambda self, *a, **k: (frames.append(1), init(self, *a, **k))[1]
    )
    counts = []
    for copies in (1, 30):
        names = [f"{name}{k:02}" for k in range(copies) for name in ("a", "b")]
        frame = pd.concat(
            [
                long().assign(unique_id=lambda f, k=k: f["unique_id"] + f"{k:02}")
                for k in range(copies)
            ]
        )
        facts = (
            REFERENCE.scale,
            REFERENCE.squared_scale,
            LAST,
            REFERENCE.naive_error_by_step,
            REFERENCE.naive_error,
        )
        reference = Reference(*({name: part[name[0]] for name in names} for part in facts))
        frames.clear()
        forecasts_of_series = scores.series_forecasts(frame, reference.last)
        counts.append(
            (
                len(scores.series_scores(forecasts_of_series, reference))
                // len(forecasts_of_series),
                len(scores.step_scores(forecasts_of_series, reference)) // len(forecasts_of_series),
                len(frames),
            )
        )
    assert counts[0] == counts[1]
