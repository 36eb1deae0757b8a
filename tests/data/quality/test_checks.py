"""Each trap that real series hold is found by a check, and clean series are left alone."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from forecast.config.datasets import Dataset
from forecast.data import quality
from forecast.data.quality import Violation, checks
from forecast.system.errors import InputError
from tests.support.example_data import dataset

HOURS = {"kind": "regular", "freq": "1h"}
NEW_YORK = {"kind": "sessions", "exchange": "XNYS"}


def weather(
    rows: int = 400, series: tuple[str, ...] = ("a",), start: str = "2024-01-01", **columns: Any
) -> pd.DataFrame:
    """Hourly temperature in °C and wind in m/s, different in every series."""
    times = pd.date_range(start, periods=rows, freq="h").as_unit("ns")
    parts = []
    for number, name in enumerate(series):
        chance = np.random.default_rng(number)
        values = {
            "temp": 10 + 8 * np.sin(np.arange(rows) * 2 * np.pi / 24) + chance.normal(0, 0.3, rows),
            "wind": 5 + chance.normal(0, 1, rows),
        }
        parts.append(pd.DataFrame({"unique_id": name, "ds": times, **values, **columns}))
    return pd.concat(parts, ignore_index=True)


def bars(rows: int = 60, series: tuple[str, ...] = ("S",)) -> pd.DataFrame:
    """Daily bars that break no rule."""
    from forecast.data.calendars import grid

    days = grid(dataset(calendar=NEW_YORK).calendar, "2010-01-04", "2011-12-30")[:rows]
    parts = []
    for number, name in enumerate(series):
        close = 50 * np.exp(np.cumsum(np.random.default_rng(number).normal(0, 0.01, rows)))
        columns = {"open": close * 1.001, "high": close * 1.01, "low": close * 0.99, "close": close}
        parts.append(pd.DataFrame({"unique_id": name, "ds": days, **columns}))
    return pd.concat(parts, ignore_index=True)


def settings(**changes: Any) -> Dataset:
    return dataset(
        **{
            "calendar": HOURS,
            "target": {"column": "temp", "unit": "°C"},
            "past_exogenous": [{"column": "wind", "unit": "m/s"}],
            **changes,
        }
    )


PRICE = {"column": "close", "transform": "log", "difference_inputs": True}


def shares(**changes: Any) -> Dataset:
    return dataset(**{"calendar": NEW_YORK, "target": PRICE, **changes})


def find_all(
    frame: pd.DataFrame, given: Dataset, as_of: pd.Timestamp | None = None
) -> list[Violation]:
    return quality.find_violations(
        frame, given, as_of=as_of or frame["ds"].max() + pd.Timedelta("1h")
    )


def only(frame: pd.DataFrame, given: Dataset, rule: str) -> Violation:
    (finding,) = find_all(frame, given)
    assert finding.rule == rule
    return finding


def test_clean_weather_and_clean_bars_are_left_alone():
    assert find_all(weather(series=("a", "b", "c")), settings()) == []
    assert find_all(bars(series=("A", "B", "C")), shares()) == []


def test_a_hurricane_in_one_hour_is_a_spike():
    frame = weather()
    frame.loc[200, "wind"] = 1048.0
    assert {f.rule for f in find_all(frame, settings())} == {"spikes"}
    assert "2024-01-09 08:00; the worst is 1048" in find_all(frame, settings())[0].sentence


def test_a_step_that_stays_is_no_spike():
    frame = weather()
    frame.loc[200:, "wind"] += 30
    assert "spikes" not in {f.rule for f in find_all(frame, settings())}


@pytest.mark.parametrize("every", [4, 50, 190])
@pytest.mark.parametrize("code", [-999.0, -99.0, 9999.0])
def test_a_number_that_stands_for_no_value_is_told_however_often_it_stands(code: float, every: int):
    frame = weather()
    frame.loc[::every, "wind"] = code
    count = len(frame.loc[::every])
    sentences = [f.sentence for f in find_all(frame, settings()) if f.rule == "spikes"]
    assert f"values of {code:g}, far from all others: {count}." in sentences[-1]


@pytest.mark.parametrize("value", [1e9, -1e9])
@pytest.mark.parametrize("row", [0, 399])
def test_a_first_or_last_value_far_from_all_others_is_a_spike(row: int, value: float):
    frame = weather()
    frame.loc[row, "wind"] = value
    (sentence,) = (f.sentence for f in find_all(frame, settings()) if f.rule == "spikes")
    assert f"values of {value:g}, far from all others: 1." in sentence


@pytest.mark.parametrize("code", [-999.0, -9999.0])
@pytest.mark.parametrize("rows", [[399], [0], range(0, 400, 50)])
def test_a_code_for_no_value_is_told_among_small_counts(code: float, rows):
    frame = weather()
    frame["wind"] = np.random.default_rng(0).poisson(3.0, len(frame)).astype(float)
    frame.loc[rows, "wind"] = code
    (sentence,) = (f.sentence for f in find_all(frame, settings()) if f.rule == "spikes")
    assert f"values of {code:g}, far from all others: {len(rows)}." in sentence
    frame["wind"] = code
    assert "spikes" not in {f.rule for f in find_all(frame, settings())}


def test_a_finding_of_one_value_needs_no_plural():
    frame = weather()
    frame.loc[50, "wind"] = 60.0
    frame.loc[100, "temp"] = 300.0
    frame.loc[150, "wind"] = np.nan
    frame.loc[200:220, "temp"] = 8.0
    sentence_by_rule = {f.rule: f.sentence for f in find_all(frame.drop(index=300), settings())}
    assert {"spikes", "missing_cells", "stale_repeats", "gaps"} <= set(sentence_by_rule)
    assert not [
        sentence for sentence in sentence_by_rule.values() if re.search(r"\b1 [a-z]+s\b", sentence)
    ]


def test_days_without_a_sale_two_prices_and_steps_of_a_few_values_stand_for_themselves():
    frame = weather()
    frame.loc[::7, "wind"] = 0.0
    frame.loc[frame.index % 7 > 0, "wind"] += 300
    frame["temp"] = np.where(frame.index % 20 < 3, 6.99, 9.99 + frame.index % 2)
    assert "spikes" not in {f.rule for f in find_all(frame, settings())}


def test_rain_is_no_spike():
    frame = weather()
    frame["wind"] = 0.0
    frame.loc[[50, 120, 300], "wind"] = [4.0, 30.0, 12.0]
    assert find_all(frame, settings(past_exogenous=[{"column": "wind", "unit": "mm"}])) == []


def test_single_empty_cells_are_named_with_their_times():
    frame = bars(series=("A", "B"))
    frame.loc[[10, 70], "open"] = np.nan
    assert [(f.rule, f.series, f.column) for f in find_all(frame, shares())] == [
        ("missing_cells", "A", "open"),
        ("missing_cells", "B", "open"),
    ]


def test_a_plan_has_no_empty_cells_behind_the_end_of_its_series():
    plan = settings(past_exogenous=[], future_exogenous=[{"column": "wind", "known_ahead": True}])
    frame = weather(series=("ended", "a")).drop(index=range(350, 400)).reset_index(drop=True)
    name = f"wind+{plan.horizon}"
    frame[name] = frame.pop("wind").groupby(frame["unique_id"]).shift(-plan.horizon)
    assert [f for f in find_all(frame, plan) if f.rule == "missing_cells"] == []
    frame.loc[[100, 349 - plan.horizon], name] = np.nan
    (finding,) = [f for f in find_all(frame, plan) if f.rule == "missing_cells"]
    assert (finding.series, finding.count) == ("ended", 2)


def test_a_session_that_only_other_series_have_is_named():
    frame = bars(70, series=("A", "B"))
    frame = frame[(frame["unique_id"] != "A") | (frame["ds"] != pd.Timestamp("2010-04-01"))]
    (finding,) = find_all(frame, shares())
    assert finding.rule == "gaps" and "other series have 2010-04-01" in finding.sentence


def test_missing_hours_are_a_gap():
    missing = only(weather().drop(index=[100, 101, 102]), settings(), "gaps")
    assert "steps without a row: 3, in gaps that begin at 2024-01-05 04:00" in missing.sentence


def test_the_list_of_gaps_does_not_claim_to_count_their_steps():
    gaps_of_two = [row + offset for row in range(100, 150, 10) for offset in (0, 1)]
    missing = only(weather().drop(index=gaps_of_two), settings(), "gaps")
    listed = missing.sentence.removeprefix("steps without a row: 10, in gaps that begin at ")
    assert listed.count("2024-01-") == 3 and listed.endswith(" and 2 more.")


def test_an_hour_missing_where_clocks_go_forward_betrays_local_times():
    frame = weather(start="2013-03-01")
    frame = frame[frame["ds"] != "2013-03-10 02:00"]
    finding = next(f for f in find_all(frame, settings()) if f.rule == "clock_change")
    assert "2013-03-10 02:00" in finding.sentence and "source.time_zone" in finding.sentence


@pytest.mark.parametrize("freq", ["15min", "30min"])
def test_quarters_missing_where_clocks_go_forward_betray_local_times_too(freq):
    times = pd.date_range("2025-02-15", "2025-06-15", freq=freq, tz="Europe/Berlin")
    frame = pd.DataFrame({"unique_id": "a", "ds": times.tz_localize(None), "y": 1.0})
    task = settings(calendar={"kind": "regular", "freq": freq})
    (violation,) = quality.checks.clock_change(frame, task, 0)
    assert "2025-03-30 02:00" in violation.sentence


@pytest.mark.parametrize("ratio", [2, 4, 10, 1 / 5])
def test_a_split_that_was_not_undone_is_named(ratio: float):
    frame = bars()
    frame.loc[30:, ["open", "high", "low", "close"]] /= ratio
    (sentence,) = (f.sentence for f in find_all(frame, shares()) if f.rule == "unadjusted_split")
    assert "jumps that look like splits not undone: 1" in sentence


@pytest.mark.parametrize("columns_kept", [["Open", "High", "Low", "Close"], ["Close"]])
def test_the_bars_of_a_file_are_checked_by_its_own_names(columns_kept: list[str]):
    given = shares(target={**PRICE, "column": "Close"})
    frame = bars().rename(columns=str.title).rename(columns={"Unique_Id": "unique_id", "Ds": "ds"})
    frame = frame[["unique_id", "ds", *columns_kept]]
    frame.loc[30:, columns_kept] /= 4
    assert "unadjusted_split" in {f.rule for f in find_all(frame, given)}


def test_a_demand_that_is_modelled_by_its_changes_has_no_splits():
    frame = weather().rename(columns={"temp": "gas"})
    frame["gas"] = np.where(np.arange(len(frame)) < 30, 100.0, 50.0)
    for name, has_splits in (("gas", False), ("gas_price", True)):
        given = settings(target={**PRICE, "column": name})
        rules = {f.rule for f in find_all(frame.rename(columns={"gas": name}), given)}
        assert ("unadjusted_split" in rules) is has_splits


def test_a_crash_is_no_split():
    frame = bars()
    frame.loc[30:, ["open", "high", "low", "close"]] *= 0.6
    assert "unadjusted_split" not in {f.rule for f in find_all(frame, shares())}


def test_a_price_that_does_not_move_is_stale():
    frame = bars()
    frame.loc[20:40, "close"] = frame.loc[20, "close"]
    frame.loc[20:40, ["open", "high", "low"]] = frame.loc[20, ["open", "high", "low"]].to_numpy(
        dtype=float
    )
    sentence = only(frame, shares(), "stale_repeats").sentence
    first, last = frame["ds"].iloc[[20, 40]].dt.strftime("%Y-%m-%d")
    assert (
        f"{frame.loc[20, 'close']:g} in 21 rows from {first} to {last}. They are fitted" in sentence
    )
    assert "empty the cells" in sentence


def test_where_no_run_can_be_too_long_no_table_of_runs_is_made(monkeypatch):
    monkeypatch.setattr(checks, "_find_equal_runs", lambda values: pytest.fail("made a table"))
    frame = weather()
    frame["temp"] = frame["temp"].round() + 5.0  # repeats, but no zero
    assert find_all(frame, settings()) == []


def test_of_many_runs_of_equal_values_the_longest_are_named_first():
    frame = weather()
    for start, n_rows in ((50, 14), (100, 20), (150, 16), (200, 15), (250, 13)):
        frame.loc[start : start + n_rows - 1, "temp"] = 8.0
    sentence = only(frame, settings(), "stale_repeats").sentence
    assert (
        re.findall(r"8 in (\d+) rows", sentence) == ["20", "16", "15"] and "2 runs more" in sentence
    )


def sales(rows: int = 400) -> pd.DataFrame:
    """Hourly sales of about 50, never zero."""
    frame = weather(rows)
    return frame.assign(temp=np.random.default_rng(4).poisson(50.0, rows).astype(float))


def test_hours_without_a_sale_in_a_shop_that_always_sells_are_named():
    frame = sales()
    frame.loc[200:207, "temp"] = 0.0
    frame.loc[300:301, "temp"] = 0.0  # two are no run
    finding = only(frame, settings(), "zero_runs")
    assert finding.count == 8
    first, last = frame["ds"].iloc[[200, 207]].dt.strftime("%Y-%m-%d %H:%M")
    assert f"0 in 8 rows from {first} to {last}. Where nothing" in finding.sentence


def test_an_outage_that_begins_in_the_quiet_of_the_night_is_named():
    frame = sales()
    is_night = frame["ds"].dt.hour < 6
    frame.loc[is_night, "temp"] = 9.0 + np.arange(is_night.sum()) % 3
    start = 240 + int(np.argmax(frame["ds"].dt.hour[240:] == 6))
    frame.loc[start : start + 14, "temp"] = 0.0
    assert only(frame, settings(season_length=24), "zero_runs").count == 15
    assert find_all(frame, settings(season_length=1)) == []


def test_beds_that_are_all_taken_again_and_again_are_no_stuck_sensor():
    frame = weather().assign(temp=np.arange(400) % 9 + 5.0)
    frame.loc[100:120, "temp"] = 20.0
    assert only(frame, settings(), "stale_repeats").count == 21
    frame.loc[200:201, "temp"] = 20.0
    assert find_all(frame, settings()) == []


def test_a_shop_that_has_sold_out_at_the_end_is_named():
    frame = sales()
    frame.loc[396:, "temp"] = 0.0
    assert only(frame, settings(), "zero_runs").count == 4


def test_a_last_value_far_below_all_before_it_may_be_of_a_step_that_was_not_over():
    frame = sales()
    assert find_all(frame, settings()) == []
    frame.loc[399, "temp"] = frame["temp"].min() // 4
    finding = only(frame, settings(), "partial_end")
    assert f"from {frame['ds'].iloc[-1]:%Y-%m-%d %H:%M} on" in finding.sentence
    assert "leave the row out" in finding.sentence
    frame.loc[200, "temp"] = frame.loc[399, "temp"]  # as low before
    assert "partial_end" not in {finding.rule for finding in find_all(frame, settings())}


@pytest.mark.parametrize("factor", [0.001, 1000.0])
@pytest.mark.parametrize("count", [2, 24, 300])
def test_newest_values_in_another_unit_are_named(factor, count):
    frame = sales()
    frame.loc[400 - count :, "temp"] *= factor
    (finding,) = (
        violation for violation in find_all(frame, settings()) if violation.rule == "partial_end"
    )
    assert finding.count == count
    assert f"from {frame['ds'].iloc[-count]:%Y-%m-%d %H:%M} on are far from" in finding.sentence
    frame.loc[10, "temp"] *= factor
    assert "partial_end" not in {finding.rule for finding in find_all(frame, settings())}


def test_sales_that_grow_tenfold_are_in_one_unit():
    frame = sales()
    frame["temp"] = (5 + frame["temp"]) * np.geomspace(1, 100, len(frame))
    assert find_all(frame, settings()) == []


def test_nights_a_calm_and_degrees_of_frost_are_no_rare_zeros():
    nights = sales()
    nights.loc[nights["ds"].dt.hour < 5, "temp"] = 0.0
    calm = sales()
    calm.loc[100:108, "temp"] = [20, 10, 3, 0, 0, 0, 4, 9, 19]
    frost = sales()
    frost["temp"] -= 49.0
    frost.loc[200:207, "temp"] = 0.0
    for frame in (nights, calm, frost):
        assert find_all(frame, settings()) == []


def test_old_data_are_named():
    frame = weather()
    assert find_all(frame, settings(), as_of=frame["ds"].max() + pd.Timedelta("3h")) == []
    assert [
        f.rule for f in find_all(frame, settings(), as_of=frame["ds"].max() + pd.Timedelta("6h"))
    ] == ["freshness"]


def test_a_weekend_does_not_make_sessions_old():
    frame = bars(rows=4)  # Thursday 2010-01-07
    assert find_all(frame, shares(), as_of=pd.Timestamp("2010-01-11 12:00")) == []


def test_a_rule_is_switched_off_or_made_to_refuse_by_one_word():
    frame = weather()
    frame.loc[200, "wind"] = 74.0
    assert find_all(frame, settings(quality={"spikes": "off"})) == []
    (finding,) = find_all(frame, settings(quality={"spikes": "refuse"}))
    assert finding.action == "refuse"
    assert find_all(frame, settings(quality={"spikes": {"limit": 1000}})) == []


def test_off_is_off_although_yaml_reads_it_as_false():
    given = yaml.safe_load("{spikes: off, freshness: {action: off}, gaps: refuse}")
    rules = settings(quality=given).quality
    assert (rules.spikes.action, rules.freshness.action, rules.gaps.action) == (
        "off",
        "off",
        "refuse",
    )
    with pytest.raises(InputError, match=r"quality\.spikes"):
        settings(quality={"spikes": "perhaps"})


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match=r"unknown key 'quality.spike'. Did you mean 'spikes'\?"):
        settings(quality={"spike": "off"})


@pytest.mark.parametrize(("n_rules", "last"), [(20, ""), (19, "1 line more"), (18, "2 lines more")])
def test_findings_that_are_left_are_counted_only_where_some_are(n_rules: int, last: str) -> None:
    violations = [Violation(f"rule {i % n_rules}", "a", "y", 1, f"sentence {i}") for i in range(20)]
    lines = quality.abridge_findings(violations, "mine")
    assert len(lines) == n_rules + bool(last)
    assert lines[-1].startswith(last or "warn (rule 19)")


@pytest.mark.parametrize("steps", [1, 5])
def test_an_input_that_is_a_later_target_is_told_of_each_series(steps: int) -> None:
    frame = weather(series=("a", "b"))
    frame["wind"] = frame.groupby("unique_id")["temp"].shift(-steps).round(1)
    leaks = [finding for finding in find_all(frame, settings()) if finding.rule == "leaks"]
    assert [(finding.series, finding.column) for finding in leaks] == [("a", "wind"), ("b", "wind")]
    assert all("take it out of `past_exogenous`" in finding.sentence for finding in leaks)
    assert "leaks" not in {finding.rule for finding in find_all(frame, settings(past_exogenous=[]))}


def test_an_input_that_is_an_earlier_or_the_same_target_is_no_leak() -> None:
    for steps in (0, 1):
        frame = weather()
        frame["wind"] = frame["temp"].shift(steps)
        assert "leaks" not in {finding.rule for finding in find_all(frame, settings())}
