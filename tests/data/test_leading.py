import numpy as np
import pandas as pd
import pytest
import yaml

from forecast.data import guesses


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


def written(tmp_path, frame, **settings):
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    text = guesses.guess_entry(path, "data/rows.csv", "rows", target="level", **settings)
    return yaml.safe_load(text)["rows"], text


def test_a_number_that_leads_the_target_is_an_input_and_the_others_are_offered(tmp_path):
    entry, text = written(tmp_path, creek(), horizon=6)
    assert entry["past_exogenous"] == [{"column": "rain", "max_missing": 0.05}]
    assert "# past_exogenous: [{column: rain" in text and "column: other" in text


@pytest.mark.parametrize("frame", [creek(rains=False), creek(hours=400)])
def test_a_number_that_does_not_lead_or_is_not_known_to_is_no_input(tmp_path, frame):
    entry, text = written(tmp_path, frame, horizon=6)
    assert "past_exogenous" not in entry
    assert "# past_exogenous: [{column: rain" in text


def test_what_stands_in_test_rows_makes_no_number_an_input(tmp_path):
    frame, still = creek(), creek(rains=False)
    newest = frame.index >= 0.75 * len(frame)
    frame["level"] = frame["level"].where(newest, still["level"])
    assert "past_exogenous" not in written(tmp_path, frame, horizon=6)[0]
