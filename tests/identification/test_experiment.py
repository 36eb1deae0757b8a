"""Experiments, and what they show before any net is trained: bounds, dead times, memory of the
inputs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter

from forecast.identification import multisine, read_record
from forecast.identification.delays import find_held_back_rows
from forecast.identification.experiment import (
    Experiment,
    Standardization,
    delay_inputs,
    describe_cautions,
    saturation,
)
from forecast.system.errors import InputError
from tests.identification.systems import tank


def test_a_part_of_an_experiment_keeps_its_weights_and_may_have_no_observed_row() -> None:
    whole = Experiment(np.arange(4.0), [np.nan, np.nan, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0])
    assert whole.part(slice(2)).error_weights.tolist() == [[0.0], [0.0]]
    assert whole.part(slice(1, 3)).error_weights.tolist() == [[0.0], [3.0]]


def test_a_record_without_rows_is_refused_as_such() -> None:
    with pytest.raises(InputError, match="y has no rows"):
        Experiment([], [])


def test_a_record_without_outputs_and_a_part_without_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"no columns, its shape is \(4, 0\)"):
        Experiment(np.arange(4.0), np.zeros((4, 0)))
    with pytest.raises(InputError, match=r"slice\(3, 1, None\) chooses none of the rows 0 to 3"):
        Experiment(None, np.arange(4.0)).part(slice(3, 1))


def test_a_matrix_of_numpy_is_a_table_like_any_other() -> None:
    with pytest.warns(PendingDeprecationWarning, match="matrix subclass"):
        matrix = np.matrix("1; 2; 3")
    table = Experiment(matrix, np.arange(3.0)).u
    assert type(table) is np.ndarray and table.tolist() == [[1.0], [2.0], [3.0]]


def test_tables_of_pandas_with_unlike_indices_are_refused() -> None:
    import pandas as pd

    u = pd.Series(np.arange(4.0))
    assert Experiment(u, pd.DataFrame({"level": u}), u.to_numpy()).y.tolist() == [
        [0],
        [1],
        [2],
        [3],
    ]
    for y in (u[::-1], u.set_axis([1, 2, 3, 4])):
        with pytest.raises(InputError, match="The index of u is not that of y"):
            Experiment(u, y)
        with pytest.raises(InputError, match="The index of u is not that of y"):
            Experiment(u, u, weight=y)


def test_rows_that_do_not_follow_each_other_are_no_part() -> None:
    whole = Experiment(np.arange(6.0), np.arange(6.0), np.arange(6.0))
    for rows in (slice(None, None, -1), slice(0, 6, 2), slice(4, 2), slice(6, 9), [1, 2], 5):
        with pytest.raises(InputError, match="chooses none of the rows 0 to 5, or not one after"):
            whole.part(rows)


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_index_that_leaves_out_rows_or_goes_back_is_refused(zone: str | None) -> None:
    import pandas as pd

    months = pd.date_range("2020", periods=8, freq="MS", tz=zone)
    months_apart = pd.Series(np.arange(8.0), months)
    assert len(Experiment(months_apart, months_apart)) == 8
    without_july = months_apart.drop(months[6])
    counted = without_july.set_axis([0, 1, 2, 3, 4, 5, 7])
    for rows in (without_july, months_apart[::-1], counted, pd.concat([counted[:3]] * 2)):
        with pytest.raises(InputError, match="rows must follow each other in time"):
            Experiment(rows, rows)
        follows = rows.reset_index(drop=True)
        assert len(Experiment(follows, follows)) == len(rows)


RNG = np.random.default_rng(0)
UNEVEN = {
    "exponential steps": np.cumsum(RNG.exponential(size=200)),
    "log-spaced": np.geomspace(1.0, 1_000.0, 200),
    "another step": np.concatenate([np.arange(100.0), 100 + 1.4 * np.arange(100)]),
    "jitter": np.arange(200.0) + RNG.normal(scale=0.1, size=200),
    "a late row": np.where(np.arange(200) == 50, 50.2, np.arange(200.0)),
}


@pytest.mark.parametrize("times", UNEVEN.values(), ids=UNEVEN)
def test_times_in_uneven_steps_are_refused(times: np.ndarray) -> None:
    import pandas as pd

    rows = pd.Series(RNG.normal(size=200), times)
    with pytest.raises(InputError, match="rows must follow each other in time in even steps"):
        Experiment(rows, rows)


def test_the_step_that_is_off_the_others_is_named() -> None:
    import pandas as pd

    rows = pd.Series(np.arange(200.0), UNEVEN["a late row"])
    with pytest.raises(InputError, match=r"Rows 49 and 50 are those of 49.0 and 50.2, .* 2 of 199"):
        Experiment(rows, rows)


def test_times_of_a_logger_that_jitters_little_and_of_working_hours_are_taken() -> None:
    import pandas as pd

    little = np.arange(200.0) + RNG.uniform(-0.04, 0.04, 200)
    hours = (24.0 * np.arange(20)[:, None] + np.arange(8)).ravel()
    for times in (little, hours):
        rows = pd.Series(np.arange(float(len(times))), times)
        assert len(Experiment(rows, rows)) == len(times)


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M"])
def test_times_of_european_files_are_read_and_those_left_out_refused(tmp_path, form: str) -> None:
    import pandas as pd

    hours = pd.date_range("2020-01-31 20:00", periods=9, freq="h")
    frame = pd.DataFrame({"u": np.arange(9.0), "t": hours.strftime(form), "y": np.arange(9.0)})
    path = tmp_path / "hours.csv"
    frame.to_csv(path, index=False, sep=";", decimal=",")
    (record,) = read_record(path, ["y"], ["u"], time="t")
    assert len(record) == 9
    frame.drop(index=4).to_csv(path, index=False, sep=";", decimal=",")
    with pytest.raises(InputError, match="Rows 3 and 4 are those of 2020-01-31 23:00"):
        read_record(path, ["y"], ["u"], time="t")


@pytest.mark.parametrize("time", ["day", None])
def test_days_as_whole_numbers_are_dates_and_years_are_numbers(tmp_path, time) -> None:
    import pandas as pd

    days = pd.date_range("2020-01-28", periods=40).strftime("%Y%m%d").astype(int)
    frame = pd.DataFrame({"day": days, "level": np.arange(40.0)})
    frame.to_csv(tmp_path / "days.csv", index=False)
    assert len(read_record(tmp_path / "days.csv", ["level"], time=time)[0]) == 40
    frame.drop(index=9).to_csv(tmp_path / "gone.csv", index=False)
    with pytest.raises(InputError, match=r"Rows 8 and 9 are those of 2020-02-05 .* 2020-02-07"):
        read_record(tmp_path / "gone.csv", ["level"], time=time)
    frame["day"] = np.delete(np.arange(1960, 2001), 9)
    frame.to_csv(tmp_path / "years.csv", index=False)
    with pytest.raises(InputError, match=r"Rows 8 and 9 are those of 1968 and 1970"):
        read_record(tmp_path / "years.csv", ["level"], time=time)


def test_a_csv_whose_dates_leave_out_rows_is_refused(tmp_path) -> None:
    import pandas as pd

    days = pd.date_range("2020", periods=6).delete(3)
    frame = pd.DataFrame({"day": days, "run": [1, 2, 1, 1, 2], "level": np.arange(5.0)})
    frame.to_csv(tmp_path / "gone.csv", index=False)
    with pytest.raises(InputError, match="Rows 2 and 3 are those of 2020-01-03"):
        read_record(tmp_path / "gone.csv", ["level"])
    frame.drop(columns="day").to_csv(tmp_path / "runs.csv", index=False)
    runs = read_record(tmp_path / "runs.csv", ["level"], experiment="run")
    assert [len(run) for run in runs] == [3, 2]


@pytest.mark.parametrize(
    ("first", "is_refused"),
    [
        (np.delete(0.5 * np.arange(41.0), 20), True),
        (np.insert(0.5 * np.arange(39.0), 20, 9.5), True),
        (0.5 * np.arange(40.0), False),
        (np.full(40, 7.0), False),
        (np.cumsum(RNG.uniform(1, 3, 40)), False),
    ],
    ids=["a row left out", "a row twice", "even", "a constant", "no clock"],
)
def test_seconds_in_the_first_column_that_leave_out_rows_are_refused(
    first: np.ndarray, is_refused: bool, tmp_path: Path
) -> None:
    rows = np.column_stack([first, RNG.normal(size=40)])
    np.savetxt(tmp_path / "log.csv", rows, delimiter=",", header="t,level", comments="")
    if not is_refused:
        assert len(read_record(tmp_path / "log.csv", ["level"])[0]) == 40
        return
    with pytest.raises(InputError, match=r"Rows 19 and 20 are those of 9\.5 and"):
        read_record(tmp_path / "log.csv", ["level"])


@pytest.mark.parametrize(
    ("name", "is_time"), [("angle", False), ("rate", False), ("t", True), ("Time [s]", True)]
)
def test_numbers_that_begin_again_are_a_clock_only_by_their_name(tmp_path, name, is_time) -> None:
    rows = np.column_stack([np.arange(120.0) % 40, RNG.normal(size=120)])
    np.savetxt(tmp_path / "log.csv", rows, delimiter=",", header=f"{name},level", comments="")
    if not is_time:
        assert len(read_record(tmp_path / "log.csv", ["level"])[0]) == 120
        return
    with pytest.raises(InputError, match=r"Rows 39 and 40 are those of 39\.0 and 0\.0"):
        read_record(tmp_path / "log.csv", ["level"])


@pytest.mark.parametrize("first", [np.arange(60.0)[::-1], np.delete(np.arange(61.0), 20)])
def test_an_index_that_runs_back_or_leaves_out_rows_is_refused_unnamed(tmp_path, first) -> None:
    rows = np.column_stack([first, RNG.normal(size=60)])
    np.savetxt(tmp_path / "log.csv", rows, delimiter=",", header="sample,level", comments="")
    with pytest.raises(InputError, match="rows must follow each other in time"):
        read_record(tmp_path / "log.csv", ["level"])


@pytest.mark.parametrize(("levels", "is_said"), [(1, False), (2, True), (5, True), (6, False)])
def test_an_input_of_few_levels_is_noted(levels: int, is_said: bool) -> None:
    e = Experiment(np.repeat(np.arange(levels), 20), np.sin(np.arange(20 * levels)))
    note = f"Input 0 has {levels} levels in the rows that train: y between them is a guess."
    assert (note in describe_cautions([e], 9)) == is_said


def test_a_standardized_experiment_has_mean_0_and_deviation_1_and_stays_finite() -> None:
    u, y = (
        np.column_stack([np.arange(5.0), np.full(5, 7.0)]),
        np.array([1.0, np.nan, 3.0, 5.0, 7.0]),
    )
    experiment = Experiment(u, y)
    scaling = Standardization.fit([experiment])
    scaled = scaling.scale(experiment)
    np.testing.assert_allclose(scaled.u.mean(0), 0.0, atol=1e-15)
    np.testing.assert_allclose(scaled.u.std(0), [1.0, 0.0])
    np.testing.assert_allclose(np.nanstd(scaled.y), 1.0)
    np.testing.assert_allclose(scaling.unscale_y(scaled.y)[:, 0], y)


def test_an_output_that_sits_on_its_extreme_is_bounded_there_and_others_far_outside() -> None:
    _, y = tank(400, 0, full=0.6)
    low, high = saturation([Experiment(y, y)])
    assert high[0] == pytest.approx(600, rel=1e-3)
    assert low[0] < y.min() - 0.9 * np.ptp(y)


@pytest.mark.parametrize(("stay", "is_bound"), [(3, False), (11, False), (12, True)])
def test_the_first_and_last_row_of_a_stay_make_no_bound(stay: int, is_bound: bool) -> None:
    y = np.random.default_rng(0).uniform(0.0, 0.9, size=1000)
    y[500 : 500 + stay] = 1.0
    _, high = saturation([Experiment(None, y)])
    assert (high[0] < 1.0) == is_bound


def test_a_stay_at_an_extreme_does_not_reach_from_one_experiment_into_the_next() -> None:
    rng = np.random.default_rng(0)
    ends = [rng.uniform(0.0, 0.9, size=20) for _ in range(50)]
    for y in ends:
        y[0] = y[-2:] = 1.0
    _, high = saturation([Experiment(None, y) for y in ends])
    assert high[0] > 1.9


def test_a_dead_time_is_found_and_taken_out() -> None:
    u, y = tank(400, 0, dead=9)
    experiment = Experiment(u, y)
    scaling = Standardization.fit([experiment])
    dead_times = find_held_back_rows([scaling.scale(experiment)], 40)
    assert dead_times[0][0] in (8, 9)
    assert delay_inputs(np.arange(5.0)[:, None], [2])[:, 0].tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("seed", [4, 5, 15, 17, 21])
def test_a_swinging_system_under_a_smooth_input_has_no_dead_time(seed: int) -> None:
    """Of such arms some were given four rows, and `identify` lost to ARX by them."""
    rng = np.random.default_rng(seed)
    u = multisine(512, -1.0, 1.0, band=(0.0, 0.2))
    y = np.zeros(len(u))
    for _ in range(2):
        angle, radius = rng.uniform(0.15, 1.2), rng.uniform(0.97, 0.99)
        denominator = [1.0, -2.0 * radius * np.cos(angle), radius**2]
        y += lfilter([0.0, *(rng.normal(size=2) * (1.0 - radius))], denominator, u)
    experiment = Experiment(u, y / y.std() + 0.002 * rng.normal(size=len(y)))
    scaled = Standardization.fit([experiment]).scale(experiment)
    assert find_held_back_rows([scaled], 100) == ((0,),)
