"""Public holidays as inputs: which day has which value, in every calendar and clock."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.config.task import Holidays
from forecast.data import panel, preparation
from forecast.data.columns import add_known_ahead, append_plan, holiday_columns
from forecast.data.sources.file import read_plan
from forecast.forecaster.ensemble import Ensemble
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.serving import Service
from forecast.models.problem import Problem
from forecast.operations.evidence import has_same_task
from forecast.system.errors import InputError
from tests.data.test_future_exogenous import ENTRY, fitted, prepared, problem_of
from tests.support import problems

DAILY = {
    **ENTRY,
    "calendar": {"kind": "regular", "freq": "1D"},
    "calendar_features": ["day_of_week"],
    "horizon": 3,
    "holidays": "DE",
}


def entry(**changes: Any) -> Dataset:
    return validate_config(Dataset, {**DAILY, **changes}, where="shop")


def values(rule: dict[str, Any] | str, start: str, end: str, **calendar: Any) -> pd.DataFrame:
    """The columns of a rule from `start` to `end`, by default of days."""
    settings = entry(holidays=rule, calendar={"kind": "regular", "freq": "1D", **calendar})
    freq = calendar.get("freq", "1D")
    return holiday_columns(
        validate_config(Holidays, settings.task.holidays.model_dump(), where="rule"),
        settings.calendar,
        pd.date_range(start, end, freq=freq),
    )


def test_one_line_gives_the_holidays_of_a_country() -> None:
    christmas = values("DE", "2024-12-24", "2024-12-27")
    assert christmas["holiday"].tolist() == [0, 1, 1, 0]
    assert values("NO", "2024-05-17", "2024-05-17")["holiday"].tolist() == [1]


def test_norway_is_no_switch() -> None:
    assert entry(holidays=False).holidays == Holidays(country="NO")


def test_of_several_states_it_is_the_share_that_has_the_day_off() -> None:
    epiphany = values({"country": "DE", "states": ["BY", "BE"]}, "2025-01-05", "2025-01-07")
    assert epiphany["holiday"].tolist() == [0, 0.5, 0]


def test_days_before_and_after_and_bridge_days_are_columns_of_their_own() -> None:
    rule = {"country": "DE", "days_before": 2, "days_after": 1, "bridge_days": True}
    # Ascension Day 2024 is Thursday, 9 May
    may = values(rule, "2024-05-07", "2024-05-11")
    assert list(may) == ["holiday", "holiday_in_1", "holiday_in_2", "holiday_1_ago", "bridge_day"]
    assert may["holiday"].tolist() == [0, 0, 1, 0, 0]
    assert may["holiday_in_1"].tolist() == [0, 1, 0, 0, 0]
    assert may["holiday_in_2"].tolist() == [1, 0, 0, 0, 0]
    assert may["holiday_1_ago"].tolist() == [0, 0, 0, 1, 0]
    assert may["bridge_day"].tolist() == [0, 0, 0, 1, 0]


def test_hours_have_the_day_of_the_clock_and_weeks_the_number_of_their_days() -> None:
    rule = {"country": "DE", "time_zone": "Europe/Berlin"}
    hours = values(rule, "2024-12-24 22:00", "2024-12-25 00:00", freq="1h")
    assert hours["holiday"].tolist() == [0, 1, 1]
    weeks = values("DE", "2024-12-16", "2024-12-30", freq="W-MON")
    assert weeks["holiday"].tolist() == [0, 2, 1]
    for months, start in (("MS", "2024-12-01"), ("ME", "2024-12-31")):
        assert values("DE", start, start, freq=months)["holiday"].tolist() == [2]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("GERMANY", "unknown country 'GERMANY'"),
        ({"country": "DE", "states": ["BA"]}, "unknown state 'BA' of DE.*'BB'"),
        ({"country": "DE", "days_before": 30}, "days_before"),
    ],
)
def test_a_place_without_holidays_is_refused_with_those_that_have_them(
    rule: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        entry(holidays=rule)


def test_a_column_of_that_name_and_rows_without_dates_are_refused() -> None:
    with pytest.raises(InputError, match="'holiday' is a column of the data too"):
        entry(future_exogenous=[{"column": "holiday", "known_ahead": True}])
    with pytest.raises(InputError, match="rows without dates have none"):
        entry(calendar={"kind": "index"}, calendar_features=[])


def test_a_champion_of_another_country_has_another_task(
    trained: tuple[Problem, Forecaster],
) -> None:
    champion = Ensemble((trained[1],))
    assert has_same_task(champion, entry().task)
    assert not has_same_task(champion, entry(holidays="FR").task)


def sales() -> pd.DataFrame:
    """Five years of days up to 23 December on which holidays cost 50 of about 100."""
    days = pd.date_range("2019-12-24", "2024-12-23").as_unit("ns")
    free = holiday_columns(Holidays(country="DE"), entry().calendar, days)["holiday"]
    rng = np.random.default_rng(0)
    y = 100 - 50 * free.to_numpy() + rng.normal(0, 1, len(days))
    return pd.DataFrame({"unique_id": "shop", "ds": days, "sales": y})


@pytest.fixture(scope="module")
def trained() -> tuple[Problem, Forecaster]:
    settings = entry()
    whole = add_known_ahead(sales(), settings)
    frame = preparation.prepare(whole, settings, where="data/shop.csv")[0]
    problem = problem_of(panel.from_frame(frame, "shop", settings.task), settings)
    return problem, fitted(problem, family="ridge")


def test_a_forecast_knows_the_holidays_behind_the_last_row(
    trained: tuple[Problem, Forecaster],
) -> None:
    problem, forecaster = trained
    last = len(problem.panel.series[0]) - 1
    y_hat = forecaster.predict(problem.panel, {"shop": np.array([last])})["shop"][0, :, 0]
    np.testing.assert_allclose(y_hat, [100, 50, 50], atol=10)


def test_a_served_model_computes_them_for_the_history_of_a_request(
    trained: tuple[Problem, Forecaster],
) -> None:
    answer = Service(Ensemble((trained[1],))).answer(sales().tail(40))
    np.testing.assert_allclose(answer["y_hat"], [100, 50, 50], atol=10)


def test_school_holidays_are_read_from_a_file_of_their_own(tmp_path: Path) -> None:
    """A column known ahead beside the public holidays, whose coming days one file may bring."""
    settings = entry(future_exogenous=[{"column": "school", "known_ahead": True}])
    raw = sales()
    is_summer = raw["ds"].dt.month.isin([7, 8])
    raw["school"] = is_summer.astype("float64")
    raw["sales"] -= 30 * raw["school"]
    forecaster = fitted(problem_of(prepared(raw, settings), settings), family="ridge")
    file = tmp_path / "school.csv"
    file.write_text("ds,school\n2024-12-24,1\n2024-12-25,1\n2024-12-26,0\n")
    plan = read_plan(file, settings, ["shop"])
    ahead = {"horizon": settings.horizon, "calendar": settings.calendar}
    join = partial(append_plan, raw, observed=["sales"], **ahead, where="plan")
    known = prepared(join(plan), settings)
    # of 100, no school costs 30 and Christmas 50
    y_hat = problems.latest(forecaster, known)["shop"][:, 0]
    np.testing.assert_allclose(y_hat, [70, 20, 50], atol=10)
    american = entry(
        future_exogenous=settings.future_exogenous,
        source={"kind": "file", "path": "sales.csv", "time_format": "%m/%d/%Y"},
    )
    assert read_plan(file, american, ["shop"]).equals(plan)  # also where the file writes otherwise
    file.write_text(file.read_text().replace("2024-12-", "12/").replace(",", "/2024,"))
    file.write_text(
        file.read_text().replace("ds/2024", "ds").replace(",1", ",yes").replace(",0", ",no")
    )
    assert read_plan(file, american, ["shop"]).equals(plan)
    file.write_text("ds,school\n2024-12-24,1\n")
    short = join(read_plan(file, settings, ["shop"]))
    with pytest.raises(InputError, match="'school' has no value at 2024-12-25"):
        problems.latest(forecaster, prepared(short, settings))
