from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.columns import add_joined, adjust_prices, derive_and_select
from forecast.system.errors import InputError
from tests.support.example_data import dataset, hourly


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
    found = adjust_prices(series([80, 84, 21], [1, 1, 4], [0, 0, 0]), "splits")
    assert found["close"].tolist() == [20, 21, 21] and found["volume"].tolist() == [400, 400, 100]
    assert list(found.columns) == ["unique_id", "ds", "close", "volume"]


def test_a_dividend_takes_its_share_of_the_close_before_from_all_earlier_prices():
    found = adjust_prices(series([100, 90], [1, 1], [0, 10]), "splits_and_dividends")
    assert found["close"].tolist() == [90, 90]


def test_a_dividend_on_the_day_of_a_split_is_per_share_after_it():
    found = adjust_prices(series([100, 24], [1, 4], [0, 1]), "splits_and_dividends")
    assert found["close"].tolist() == pytest.approx([24, 24])


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
    found = adjust_prices(series([100, np.nan, 90], [1, 1, 1], [0, 0, 10]), "splits_and_dividends")
    assert found["close"].iloc[0] == 90


def test_a_frame_without_actions_comes_back_as_it_is():
    frame = series([1, 2], [1, 1], [0, 0]).drop(columns=["split", "dividend"])
    assert adjust_prices(frame, "splits_and_dividends") is frame


@given(
    st.lists(
        st.tuples(st.floats(1, 1000), st.sampled_from([1.0, 1.0, 2.0, 0.1]), st.floats(0, 0.5)),
        min_size=3,
        max_size=30,
    )
)
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
    def beside(frame: pd.DataFrame, name: str = "north") -> pd.Series:
        near = {"column": "near", "max_missing": 0.5, "joined": {"series": name, "column": "temp"}}
        return add_joined(frame, dataset(past_exogenous=[near]), root=tmp_path, where="mine.csv")[
            "near"
        ]

    frame = hourly(50, series=("north", "south"))
    frame["temp"] += 100 * (frame["unique_id"] == "south")
    north, south = frame["unique_id"] == "north", frame["unique_id"] == "south"
    np.testing.assert_array_equal(beside(frame)[south], frame.loc[north, "temp"])
    changed = frame.copy()
    changed.loc[north & (changed["ds"] > changed["ds"][30]), "temp"] = -1.0
    np.testing.assert_array_equal(beside(changed) == beside(frame), frame["ds"] <= frame["ds"][30])
    holes = frame.copy()
    holes.loc[north & (holes.index % 50 > 20), "temp"] = np.nan  # the last known value goes on
    assert beside(holes)[south].to_numpy()[25] == frame["temp"][20]
    with pytest.raises(
        InputError, match=r"the dataset itself has no series 'nort'\. Did you mean 'north'"
    ):
        beside(frame, "nort")
