"""Split conformal intervals around the seed mean: margins from calibration, scores on test,
refusals in words.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast.comparison.intervals import (
    BAND_COLUMNS,
    EVEN_LEVELS,
    INTERVAL_COLUMNS,
    RELIABILITY_LEVELS,
    CandidateBlocks,
    bands,
    crps_by_series,
    group_unsupported,
    interval_scores,
    target_of,
)
from forecast.comparison.metrics import crps_quantiles
from forecast.comparison.scores import ForecastCube
from forecast.data.comparison_records import CandidateLabel
from forecast.forecaster import intervals
from forecast.forecaster.ensemble import calibrate_intervals
from forecast.forecaster.intervals import Difficulty, widths
from tests.support import problems
from tests.support.example_data import dataset
from tests.support.records import run_record

HOURS = pd.date_range("2024-01-01", periods=1000, freq="h").to_numpy()


def cube(y, *, y_hat=0.0, series="a", volatility=1.0):
    """Actuals (n, H) and two seeds whose mean is `y_hat` everywhere."""
    actual = np.asarray(y, dtype=float)
    seeds = np.stack([np.full_like(actual, y_hat - 1), np.full_like(actual, y_hat + 1)])
    return ForecastCube(
        series,
        actual,
        seeds,
        np.zeros(len(actual)),
        (0, 1),
        HOURS[: len(actual)],
        np.full(len(actual), volatility),
        np.full(actual.shape, HOURS[0]),  # the same hour of the day
    )


def split(calibration, test, levels, **options):
    """Scores and unsupported levels."""
    return interval_scores(blocks(calibration, test, **options), levels)


@pytest.fixture(autouse=True)
def margins_of_the_calibration_block_alone(monkeypatch):
    """Learnt anew after so many errors as no test block here has."""
    monkeypatch.setattr(intervals, "RENEWALS", 1)


def blocks(calibration, test, *, model="net", transform="none"):
    target = {"column": "temp", "transform": transform}
    task = dataset(horizon=2, step_size=1, lookback=24, target=target).task
    return CandidateBlocks(
        run_record(f"{model}.linear", ranking="shipped"), calibration, test, task
    )


# errors of the ensemble: 1..9 at step 1, ten times as large at step 2; the signs do not matter
CALIBRATION = cube(np.outer([1, -2, 3, -4, 5, -6, 7, -8, 9], [1, 10]))
TEST = cube([[8, 0], [-8, 80], [8.5, -81], [0, 100]])


def test_the_margin_is_the_eighth_of_nine_errors_at_80_percent_for_each_step_on_its_own():
    table, unsupported = split([CALIBRATION], [TEST], [80])
    assert (tuple(table.columns), unsupported) == (INTERVAL_COLUMNS, [])
    assert table["step"].tolist() == [0, 1, 2]
    assert table["width"].tolist() == [88, 16, 160]  # ranks ceil(10 * 0.8) = 8: margins 8 and 80
    assert table["coverage"].tolist() == [5 / 8, 3 / 4, 2 / 4]
    assert table["n"].tolist() == [8, 4, 4]
    assert table["n_calibration"].tolist() == [9, 9, 9]


def test_the_winkler_score_is_the_width_plus_ten_times_what_was_missed_at_80_percent():
    table, _ = split([CALIBRATION], [TEST], [80])
    expected = [16 + 10 * 0.5 / 4, 160 + 10 * (1 + 20) / 4]
    assert table["winkler"].tolist() == pytest.approx([np.mean(expected), *expected])


def test_pooled_coverage_and_that_of_a_step_have_the_binomial_band_of_their_values():
    table, _ = split([CALIBRATION], [TEST], [80])
    pooled, first, _ = table.to_dict("records")
    assert (pooled["low"], pooled["high"]) == pytest.approx((0.8 - 1.96 * np.sqrt(0.16 / 8), 1.0))
    assert (first["low"], first["high"]) == pytest.approx((0.8 - 1.96 * 0.2, 1.0))
    assert (pooled["inside"], first["inside"]) == (True, True)


def test_the_crps_of_intervals_is_that_of_their_ends_and_the_forecast_as_quantiles():
    rng = np.random.default_rng(0)
    candidate = blocks([cube(rng.normal(size=(60, 3)))], [cube(rng.normal(1, 2, size=(40, 3)))])
    pooled = interval_scores(candidate, RELIABILITY_LEVELS)[0].query("step == 0")
    table = crps_by_series(candidate, pooled, {"a": 4.0})

    ends = bands(candidate, EVEN_LEVELS).sort_values(["cutoff", "step", "level"])
    shape = (40, 3, len(EVEN_LEVELS))
    low = ends["lower"].to_numpy().reshape(shape)
    high = ends["upper"].to_numpy().reshape(shape)
    middle = candidate.test[0].seed_mean[..., None]
    quantiles = np.concatenate([low[..., ::-1], middle, high], axis=-1)
    expected = crps_quantiles(candidate.test[0].y, quantiles, np.arange(1, 20) / 20)
    assert table["crps"].tolist() == pytest.approx([expected])
    assert table["scaled_crps"].tolist() == pytest.approx([expected / 4])


def test_a_series_that_supports_no_90_percent_has_no_crps():
    few = blocks([cube(np.ones((8, 1)))], [cube(np.ones((5, 1)))])
    pooled = interval_scores(few, RELIABILITY_LEVELS)[0].query("step == 0")
    assert crps_by_series(few, pooled, {"a": 1.0}).empty


def test_a_level_the_calibration_block_cannot_support_is_refused_and_not_invented():
    table, unsupported = split([CALIBRATION], [TEST], [80, 95])
    assert set(table["level"]) == {80}
    assert [(r.series, r.level) for r in unsupported] == [("a", 95)]
    assert (
        "9 calibration errors found for a step; an interval of 95 % takes at least 19."
        in unsupported[0].reason
    )


def test_without_calibration_origins_there_is_no_interval():
    table, unsupported = split([], [TEST], [80])
    assert table.empty
    assert tuple(table.columns) == INTERVAL_COLUMNS
    assert "0 calibration errors" in unsupported[0].reason


def test_every_series_has_its_own_margin():
    other = cube(100 * CALIBRATION.y, series="b")
    table, _ = split([other, CALIBRATION], [TEST, cube(TEST.y, series="b")], [80])
    assert table[table["step"] == 1].set_index("series")["width"].to_dict() == {"a": 16, "b": 1600}


def test_a_missing_actual_counts_in_neither_block():
    calibration_y, test_y = CALIBRATION.y.copy(), TEST.y.copy()
    calibration_y[0, 0] = test_y[2, 0] = np.nan
    table, _ = split([cube(calibration_y)], [cube(test_y)], [80])
    first = table.set_index("step").loc[1]
    assert (first["n_calibration"], first["n"], first["coverage"]) == (8, 3, 1.0)
    # ceil(9 * 0.8) = 8 of the errors 2..9, and the third of all over their means 5.5 and 50, 1.6
    assert first["width"] == pytest.approx(2 * 9**0.7 * (1.6 * 5.5) ** 0.3)
    assert table["n_calibration"].tolist() == [8, 8, 9]


def test_nothing_of_the_test_block_moves_a_margin_before_it_is_known(monkeypatch):
    monkeypatch.setattr(intervals, "RENEWALS", 40)
    changed_y = TEST.y.copy()
    changed_y[2:] += 1000
    usual, other = (
        bands(blocks([CALIBRATION], [cube(y)]), [80]).set_index("cutoff")["upper"]
        for y in (TEST.y, changed_y)
    )
    assert usual.loc[: HOURS[2]].tolist() == other.loc[: HOURS[2]].tolist()
    assert usual.loc[HOURS[3]].tolist() != other.loc[HOURS[3]].tolist()
    first = TEST.y.copy()
    first[0] += 1000
    moved = bands(blocks([CALIBRATION], [cube(first)]), [80]).set_index("cutoff")["upper"]
    is_moved = (usual != moved).groupby(level=0).any()
    assert is_moved.tolist() == [False, True, True, True]


def test_a_forecast_that_is_not_finite_is_refused():
    broken = ForecastCube(
        "a",
        CALIBRATION.y,
        np.full((1, 9, 2), np.nan),
        np.zeros(9),
        (0,),
        HOURS[:9],
        np.ones(9),
        CALIBRATION.ds,
    )
    table, unsupported = split([broken], [TEST], [80])
    assert table.empty
    assert "not finite" in unsupported[0].reason


def test_the_same_unsupported_level_is_said_once_with_those_it_holds_for():
    unsupported = [
        (CandidateLabel(model=model, ranking="baseline"), level)
        for model in ("net", "naive")
        for level in split([CALIBRATION], [TEST], [95], model=model)[1]
    ]
    (entry,) = group_unsupported(unsupported)
    assert (entry.series, entry.level) == ("a", 95)
    assert [candidate.model for candidate in entry.candidates] == ["net", "naive"]


def drifting(n, *, seed, spread):
    """Actuals (n, 1) around a forecast of zero, their spread growing from the first to the last."""
    noise = np.random.default_rng(seed).normal(0, 1, (n, 1))
    size = np.linspace(*spread, n)
    return replace(cube(noise * size[:, None]), volatility=size)


def test_errors_of_a_price_are_ratios():
    calibration = cube(100 * np.exp(CALIBRATION.y[:, :1] / 100), y_hat=100)
    test = cube([[1000.0]], y_hat=1000)
    table, _ = split([calibration], [test], [80], transform="log")
    assert table["width"].tolist() == pytest.approx([1000 * (np.exp(0.08) - np.exp(-0.08))] * 2)


def test_an_origin_after_a_lookback_twice_as_volatile_has_intervals_as_much_wider():
    usual, _ = split([CALIBRATION], [TEST], [80])
    wide, _ = split([CALIBRATION], [cube(TEST.y, volatility=2.0)], [80])
    assert wide["width"].to_numpy() == pytest.approx(
        usual["width"].to_numpy() * float(widths(2.0, 1.0, 24))
    )


def test_the_bands_are_the_ends_that_the_scores_are_of():
    table = bands(blocks([CALIBRATION], [TEST]), [80, 95])
    assert tuple(table.columns) == BAND_COLUMNS and len(table) == 8
    assert table["cutoff"].tolist() == [
        moment for moment in pd.DatetimeIndex(HOURS[:4]) for _ in range(2)
    ]
    assert table.groupby("step")["upper"].first().to_dict() == {1: 8, 2: 80}
    assert bands(blocks([], [TEST]), [80]).empty


def test_the_intervals_scored_are_those_a_served_ensemble_has(monkeypatch):
    monkeypatch.setattr(intervals, "RENEWALS", 40)
    before = drifting(25, seed=4, spread=(2, 2))
    calibration, test = drifting(40, seed=5, spread=(1, 1)), drifting(30, seed=6, spread=(1, 2))
    rows = [
        {
            "unique_id": "a",
            "output": "temp",
            "seed": seed,
            "cutoff": origin,
            "step": 1,
            "block": block,
            "y": of_block.y[origin, 0],
            "y_hat": of_block.y_hat[seed, origin, 0],
            "volatility": of_block.volatility[origin],
            "ds": of_block.ds[origin, 0],
        }
        for seed in (0, 1)
        for block, of_block in (
            ("validation", before),
            ("calibration", calibration),
            ("test", test),
        )
        for origin in range(len(of_block.y))
    ]
    task = dataset().task
    (served,) = calibrate_intervals(pd.DataFrame(rows), task).values()
    scored = bands(replace(blocks([calibration], [test]), task=task, validation=[before]), [80])
    centre = test.y_hat.mean(axis=0)
    difficulty = Difficulty(test.volatility, np.zeros(test.y.shape, dtype=np.int64))
    ends = served.bounds_in_turn(centre, difficulty, [0.8])
    np.testing.assert_allclose(
        scored[["lower", "upper"]].T, np.concatenate(ends, axis=-1)[0].T, rtol=1e-12
    )
    # what serves has the errors of the whole test block
    assert np.array_equal(served.newest.scores[-30:], served.test_scores)
    assert (served.newest.bounds(centre, difficulty, 0.8).high > ends.high).any()


def many(count, *, n, seed):
    """Series of two steps, of three lengths and some without an actual here and there."""
    noise = np.random.default_rng(seed)
    cubes = [cube(noise.normal(0, 1 + k % 5, (n + k % 3, 2)), series=f"s{k}") for k in range(count)]
    for k in range(0, count, 4):
        cubes[k].y[k % n, k % 2] = np.nan
    return cubes


def test_many_series_side_by_side_have_the_rows_that_each_has_alone():
    calibration, test = many(12, n=39, seed=7), many(12, n=9, seed=8)
    calibration[0].y[-20:, 0] = np.nan
    together, unsupported = interval_scores(blocks(calibration, test), [80, 95])
    alone = [
        interval_scores(blocks([h], [s]), [80, 95]) for h, s in zip(calibration, test, strict=True)
    ]
    pd.testing.assert_frame_equal(
        together, pd.concat([table for table, _ in alone], ignore_index=True)
    )
    assert unsupported == [refusal for _, refusals in alone for refusal in refusals]
    # 18 of the 39 errors are known at its first step
    assert {r.series for r in unsupported} == {"s0"}


def coverages(calibration, test):
    """By series and level the pooled coverage, and what is unsupported."""
    table, unsupported = interval_scores(blocks(calibration, test), [80, 95])
    pooled = table[table["step"] == 0]
    return pooled.set_index(["series", "level"])["coverage"], {
        (refusal.series, refusal.level) for refusal in unsupported
    }


def test_ten_short_series_have_95_percent_together_and_nine_have_not():
    calibration, test = many(10, n=5, seed=7), many(10, n=30, seed=8)
    covered, unsupported = coverages(calibration[1:], test[1:])
    assert {level for _, level in unsupported} == {95}
    covered, unsupported = coverages(calibration, test)
    assert ("s1", 95) in covered.index
    assert 0.85 < covered.xs(95, level="level").mean() <= 1


def test_a_long_series_beside_short_ones_ranks_its_own_errors():
    long, test_cubes = cube(np.ones((40, 2)), series="long"), many(10, n=9, seed=8)
    long.y[:23, 0] = np.nan  # 17 errors at the first step are too few for 95 %
    short = many(10, n=5, seed=7)
    test = [*test_cubes, cube(np.ones((9, 2)), series="long")]
    _, unsupported = coverages([*short, long], test)
    assert ("long", 95) in unsupported and ("s1", 95) not in unsupported
    long.y[:3, 0] = 1
    few = [replace(each, **first_origin(each)) for each in short]  # ten errors together
    _, unsupported = coverages([*few, long], test)
    assert ("long", 95) not in unsupported and ("s1", 95) in unsupported


def first_origin(each):
    whole = ("y", "last", "cutoffs", "volatility", "ds")
    return {name: getattr(each, name)[:1] for name in whole} | {"y_hat": each.y_hat[:, :1]}


def test_a_short_series_that_never_erred_has_no_interval_of_no_width():
    calibration, test = many(10, n=5, seed=7), many(10, n=9, seed=8)
    exact = cube(np.zeros((5, 2)), series="exact")
    _, unsupported = coverages(
        [*calibration, exact], [*test, cube(np.zeros((9, 2)), series="exact")]
    )
    assert ("exact", 95) in unsupported and ("s1", 95) not in unsupported


def test_the_number_of_frames_does_not_grow_with_the_series(monkeypatch):
    frames, init = [], pd.DataFrame.__init__
    monkeypatch.setattr(
        pd.DataFrame, "__init__", lambda self, *a, **k: (frames.append(1), init(self, *a, **k))[1]
    )
    counts = []
    for count in (10, 200):
        frames.clear()
        interval_scores(blocks(many(count, n=20, seed=7), many(count, n=9, seed=8)), [80, 95])
        counts.append(len(frames))
    assert counts[0] == counts[1] > 0


def test_intervals_of_a_target_with_a_slash_have_its_own_transform_and_bounds():
    log = {"column": "flow m/s", "transform": "log", "minimum": 0}
    task = problems.task(target=[{"column": "sales"}, log])
    assert target_of("north/flow m/s", task) is task.target[1]
    assert target_of("north/sales", task) is task.target[0]
