import numpy as np
import pandas as pd
import pytest
import yaml

from forecast.data.guesses.entry import guess_entry
from forecast.data.guesses.spans import Spans
from forecast.data.leading import find_leading_columns


def creek(*, delay=3, hours=3000, rains=True):
    """Runoff that rain raises some hours later, and a number that tells nothing."""
    draw = np.random.default_rng(0)
    rain = (draw.random(hours) < 0.05) * draw.exponential(3, hours)
    flow = np.zeros(hours)
    for hour in range(1, hours):
        fallen = rain[hour - delay] if rains and hour >= delay else 0.0
        flow[hour] = 0.9 * flow[hour - 1] + fallen + draw.normal(0, 0.2)
    times = pd.date_range("2024-01-01", periods=hours, freq="h")
    return pd.DataFrame(
        {"ds": times, "level": 50 + flow, "rain": rain, "other": draw.random(hours)}
    )


def test_a_column_leads_in_a_panel_of_more_series_than_are_looked_at():
    """So many rows that only every 60th would be a cutoff: one in the train rows of a series."""
    n_series, n_rows = 3000, 100
    draw = np.random.default_rng(0)
    lead = draw.normal(size=(n_series, n_rows))
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{number:04d}" for number in range(n_series)], n_rows),
            "ds": np.tile(pd.date_range("2024-01-01", periods=n_rows), n_series),
            "y": np.roll(lead, 1, axis=1).ravel() + draw.normal(0, 0.1, lead.size),
            "lead": lead.ravel(),
            "noise": draw.normal(size=lead.size),
        }
    )
    spans = Spans(season=7, horizon=1, lookback=14)
    columns = ["lead", "noise"]
    assert find_leading_columns(frame, "y", columns, spans, lambda values: values) == ["lead"]


def write_entry(tmp_path, frame, **settings):
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    text = guess_entry(path, "data/rows.csv", "rows", target="level", **settings)
    return yaml.safe_load(text)["rows"], text


def test_a_number_that_leads_the_target_is_an_input_and_the_others_are_offered(tmp_path):
    entry, text = write_entry(tmp_path, creek(), horizon=6)
    assert entry["past_exogenous"] == [{"column": "rain", "max_missing": 0.05}]
    assert "# past_exogenous: [{column: rain" in text and "column: other" in text


@pytest.mark.parametrize("frame", [creek(rains=False), creek(hours=400)])
def test_a_number_that_does_not_lead_or_is_not_known_to_is_no_input(tmp_path, frame):
    entry, text = write_entry(tmp_path, frame, horizon=6)
    assert "past_exogenous" not in entry
    assert "# past_exogenous: [{column: rain" in text


def test_what_stands_in_test_rows_makes_no_number_an_input(tmp_path):
    frame, still = creek(), creek(rains=False)
    newest = frame.index >= 0.75 * len(frame)
    frame["level"] = frame["level"].where(newest, still["level"])
    assert "past_exogenous" not in write_entry(tmp_path, frame, horizon=6)[0]


COLUMNS_FROM_LATER_ROWS = {
    "shifted": lambda sales: sales.shift(-1),
    "shifted a week": lambda sales: 1000 - 2 * sales.shift(-7),
    "centred mean": lambda sales: sales.rolling(3, center=True).mean().round(2),
    "sum to come": lambda sales: sales[::-1].rolling(5).sum()[::-1],
}


@pytest.fixture
def shop():
    """Daily sales that wander, and by name a column that has them on a later row."""
    draw = np.random.default_rng(1)
    sales = pd.Series(200 + np.cumsum(draw.normal(0, 2, 900))).round(2)
    days = pd.date_range("2022-01-01", periods=900)
    return pd.DataFrame({"ds": days, "level": sales, "orders": sales.shift(-1)})


@pytest.mark.parametrize(
    "make_column", COLUMNS_FROM_LATER_ROWS.values(), ids=COLUMNS_FROM_LATER_ROWS
)
@pytest.mark.parametrize("horizon", [1, 7])
def test_a_column_made_of_later_values_is_no_input_and_told_as_a_leak(
    tmp_path, shop, make_column, horizon
):
    shop["orders"] = make_column(shop["level"])
    entry, text = write_entry(tmp_path, shop, horizon=horizon)
    assert "past_exogenous" not in text.replace("`past_exogenous`", "")
    assert "no input: orders (looks like a leak" in text and entry["target"]["column"] == "level"


def test_orders_that_tell_a_later_value_with_an_error_are_an_input_and_no_leak(tmp_path, shop):
    draw = np.random.default_rng(2)
    shop["orders"] += draw.normal(0, 1, len(shop))  # half of the deviation of a day's change
    entry, text = write_entry(tmp_path, shop, horizon=1)
    assert [column["column"] for column in entry["past_exogenous"]] == ["orders"]
    assert "leak" not in text


@pytest.mark.parametrize("make_column", [lambda sales: 2.5 * sales, lambda sales: sales.shift(1)])
def test_what_holds_present_or_past_values_is_no_leak(tmp_path, shop, make_column):
    shop["orders"] = make_column(shop["level"])
    assert "leak" not in write_entry(tmp_path, shop, horizon=7)[1]
