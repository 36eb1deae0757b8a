from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecast.config.datasets import load_dataset
from forecast.config.task import RegularCalendar
from forecast.data import snapshots
from forecast.data.columns import add_joined, adjust_prices, append_plan, derive_and_select
from forecast.data.preparation import take_snapshot
from forecast.system.errors import InputError
from tests.support.example_data import dataset, hourly, write_project

DAYS = RegularCalendar(kind="regular", freq="1D")


def series(
    close: list[float], split: list[float], dividend: list[float], name: str = "S"
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unique_id": name,
            "ds": pd.date_range("2024-01-01", periods=len(close)),
            "close": close,
            "volume": 100.0,
            "split": split,
            "dividend": dividend,
        }
    )


def test_prices_before_a_split_are_divided_and_volume_multiplied():
    adjusted = adjust_prices(series([80, 84, 21], [1, 1, 4], [0, 0, 0]), "splits")
    assert adjusted["close"].tolist() == [20, 21, 21] and adjusted["volume"].tolist() == [
        400,
        400,
        100,
    ]
    assert list(adjusted.columns) == ["unique_id", "ds", "close", "volume"]


def test_a_dividend_takes_its_share_of_the_close_before_from_all_earlier_prices():
    adjusted = adjust_prices(series([100, 90], [1, 1], [0, 10]), "splits_and_dividends")
    assert adjusted["close"].tolist() == [90, 90]


def test_a_dividend_on_the_day_of_a_split_is_per_share_after_it():
    adjusted = adjust_prices(series([100, 24], [1, 4], [0, 1]), "splits_and_dividends")
    assert adjusted["close"].tolist() == pytest.approx([24, 24])


def test_dividends_are_left_out_on_request():
    assert adjust_prices(series([100, 90], [1, 1], [0, 10]), "splits")["close"].tolist() == [
        100,
        90,
    ]


def test_series_do_not_touch_each_other():
    both = pd.concat(
        [series([80, 20], [1, 4], [0, 0], "A"), series([50, 51], [1, 1], [0, 0], "B")],
        ignore_index=True,
    )
    assert adjust_prices(both, "splits")["close"].tolist() == [20, 20, 50, 51]


def test_a_missing_close_before_the_dividend_is_read_from_the_day_before_it():
    adjusted = adjust_prices(
        series([100, np.nan, 90], [1, 1, 1], [0, 0, 10]), "splits_and_dividends"
    )
    assert adjusted["close"].iloc[0] == 90


def test_a_frame_without_actions_comes_back_as_it_is():
    frame = series([1, 2], [1, 1], [0, 0]).drop(columns=["split", "dividend"])
    assert adjust_prices(frame, "splits_and_dividends") is frame


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats(1, 1000), st.sampled_from([1.0, 1.0, 2.0, 0.1]), st.floats(0, 0.5)),
        min_size=3,
        max_size=30,
    )
)
@example([(80.0, 1.0, 0.0), (84.0, 1.0, 0.5), (21.0, 4.0, 0.5)])
def test_later_rows_change_the_scale_of_a_history_and_none_of_its_returns(
    rows: list[tuple[float, float, float]],
):
    frame = series(*(list(column) for column in zip(*rows, strict=True)))
    whole, earlier = (
        adjust_prices(part, "splits_and_dividends")["close"] for part in (frame, frame.iloc[:-1])
    )
    ratio = whole.iloc[: len(earlier)] / earlier
    assert np.allclose(ratio, ratio.iloc[0], rtol=1e-9)


def test_a_plan_of_a_hundred_steps_is_read_in_order_and_without_a_warning():
    steps = {f"promo+{step}": float(step) for step in range(1, 101)}
    raw = hourly(50).assign(unused="x", promo=0.0).join(pd.DataFrame(steps, index=range(50)))
    settings = dataset(horizon=100, future_exogenous=[{"column": "promo", "known_ahead": True}])
    selected = derive_and_select(raw, settings, where="mine.csv")
    assert list(selected) == ["unique_id", "ds", "temp", *steps]
    pd.testing.assert_frame_equal(selected[list(steps)], raw[list(steps)])


def test_a_neighbour_of_the_same_dataset_is_seen_in_its_row_and_never_before(tmp_path: Path):
    def add_neighbour(frame: pd.DataFrame, name: str = "north") -> pd.Series:
        near = {"column": "near", "max_missing": 0.5, "joined": {"series": name, "column": "temp"}}
        return add_joined(frame, dataset(past_exogenous=[near]), root=tmp_path, where="mine.csv")[
            "near"
        ]

    frame = hourly(50, series=("north", "south"))
    frame["temp"] += 100 * (frame["unique_id"] == "south")
    north, south = frame["unique_id"] == "north", frame["unique_id"] == "south"
    np.testing.assert_array_equal(add_neighbour(frame)[south], frame.loc[north, "temp"])
    changed = frame.copy()
    changed.loc[north & (changed["ds"] > changed["ds"][30]), "temp"] = -1.0
    np.testing.assert_array_equal(
        add_neighbour(changed) == add_neighbour(frame), frame["ds"] <= frame["ds"][30]
    )
    holes = frame.copy()
    holes.loc[north & (holes.index % 50 > 20), "temp"] = np.nan  # the last known value goes on
    assert add_neighbour(holes)[south].to_numpy()[25] == frame["temp"][20]
    with pytest.raises(
        InputError, match=r"the dataset itself has no series 'nort'\. Did you mean 'north'"
    ):
        add_neighbour(frame, "nort")


@pytest.mark.parametrize("freq", ["W-FRI", "ME", "BME", "QE"])
def test_a_period_named_by_its_end_is_joined_with_no_later_day(freq: str, tmp_path: Path):
    """Of a random walk any later day would be a forecast that nobody can make."""
    # few digits, which every pandas reads back from CSV to the last bit
    walk = np.cumsum(np.random.default_rng(5).normal(0, 0.01, 1000)).round(6)
    days = pd.DataFrame({"ds": pd.bdate_range("2022-01-03", periods=1000), "temp": walk})
    daily = {"calendar": {"kind": "weekdays"}, "season_length": 5}
    root = write_project(
        tmp_path, index={**daily, "source": {"kind": "file", "path": "data/index.csv"}}
    )
    days.to_csv(root / "data" / "index.csv", index=False)
    pointer = take_snapshot("index", load_dataset("index", root / "configs"), root=root)
    snapshots.move_pointer(root, "index", pointer)
    index = {"dataset": "index", "series": "index", "column": "temp", "max_age_days": 7}
    settings = dataset(
        calendar={"kind": "regular", "freq": freq},
        past_exogenous=[{"column": "index", "joined": index}],
    )
    closes = days.set_index("ds")["temp"].resample(freq).last()
    frame = pd.DataFrame({"unique_id": "share", "ds": closes.index.as_unit("ns"), "temp": 1.0})
    joined = add_joined(frame, settings, root=root, where="share.csv")["index"]
    # the last period may be unfinished, with no day of its own end
    np.testing.assert_array_equal(joined[:-1], closes[:-1])


def test_a_week_sees_that_of_its_neighbour_in_the_same_dataset():
    weeks = pd.date_range("2024-01-05", periods=9, freq="W-FRI").as_unit("ns")
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": weeks, "temp": np.arange(9.0)})
            for name in ("north", "south")
        ],
        ignore_index=True,
    )
    weekly = {"calendar": {"kind": "regular", "freq": "W-FRI"}}
    north = {"series": "north", "column": "temp"}
    near = {"column": "near", "max_missing": 0.5, "joined": north}
    settings = dataset(**weekly, past_exogenous=[near])
    joined = add_joined(frame, settings, root=Path(), where="mine.csv")["near"]
    np.testing.assert_array_equal(joined, frame["temp"])


def test_a_plan_without_a_later_row_changes_nothing_if_empty_and_is_refused_else():
    days = pd.date_range("2024-01-01", periods=3).as_unit("ns")
    history = pd.DataFrame({"unique_id": "a", "ds": days, "y": 1.0, "price": [1.0, 2.0, 3.0]})
    plan = history[["unique_id", "ds", "price"]].assign(price=9.0)
    for rows in (history, history.set_axis([0, 0, 1])):  # as by `pd.concat` of two frames
        joined = append_plan(rows, plan[:0], ["y"], 2, DAYS, where="plan.csv")
        pd.testing.assert_frame_equal(joined, history)
        refusal = r"plan.csv: found rows up to 2024-01-02, none after .*\(2024-01-03\); wanted the"
        with pytest.raises(InputError, match=refusal):
            append_plan(rows, plan[:2], ["y"], 2, DAYS, where="plan.csv")


@pytest.mark.parametrize(
    ("days_late", "span"),
    [(-366, "2023-01-02 to 2023-01-03"), (2, "2024-01-05 to 2024-01-06"), (366, "2025-01-03 to")],
)
def test_a_plan_of_one_series_outside_the_horizon_is_refused_where_the_data_hold_another(
    days_late: int, span: str
):
    days = pd.date_range("2024-01-01", periods=4).as_unit("ns")
    shops = [pd.DataFrame({"unique_id": name, "ds": days, "price": 1.0}) for name in "ab"]
    history = pd.concat(shops, ignore_index=True)
    history["y"] = history["price"].where(history["ds"] <= days[1])
    plan = history.loc[history["y"].isna(), ["unique_id", "ds", "price"]].assign(price=9.0)
    joined = append_plan(history, plan, ["y"], 2, DAYS, where="plan.csv")
    assert joined["price"].tolist() == 2 * [1.0, 1.0, 9.0, 9.0]
    is_wrong = plan["unique_id"] == "b"
    wrong = plan.assign(ds=plan["ds"] + pd.to_timedelta(is_wrong * days_late, "D"))
    refusal = f"^plan.csv, series 'b': found rows from {span}.*, wanted some from 2024-01-03 to"
    with pytest.raises(InputError, match=f"{refusal} 2024-01-04, which are forecast. Correct the"):
        append_plan(history, wrong, ["y"], 2, DAYS, where="plan.csv")
    # without the rows of the series, and without a plan in the data, nothing is passed over
    only_a = append_plan(history, plan[~is_wrong], ["y"], 2, DAYS, where="plan.csv")
    assert only_a["price"].tolist() == [1.0, 1.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0]
    observed = history.dropna()
    late = append_plan(observed, wrong, ["y"], 2, DAYS, where="plan.csv")
    assert late["price"].tolist()[:4] == [1.0, 1.0, 9.0, 9.0]
