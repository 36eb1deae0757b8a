"""What is refused when configs/datasets.yaml is read, before any data are touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forecast.config.datasets import load_dataset, load_datasets
from forecast.config.reading import read_yaml
from forecast.system.errors import InputError
from tests.support.example_data import dataset, write_project

YAHOO = {"kind": "yahoo", "tickers": ["MSFT"], "start": "2020-01-01"}
CITY = {
    "kind": "open_meteo",
    "places": {"rome": {"latitude": 41.9, "longitude": 12.5}},
    "variables": {"temp": "temperature_2m"},
    "start": "2020-01-01",
}


def refused(**changes: Any) -> str:
    with pytest.raises(InputError) as fault:
        dataset(**changes)
    return str(fault.value)


def test_the_project_s_own_datasets_are_right():
    for name in load_datasets("configs").run:
        assert Path("data/pointers", f"{name}.json").exists(), name


def test_an_unknown_dataset_is_answered_with_the_nearest(tmp_path: Path):
    write_project(tmp_path, mine={})
    with pytest.raises(InputError, match=r"Unknown dataset 'mien'. Did you mean 'mine'\?"):
        load_dataset("mien", tmp_path / "configs")


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "x" * 65, "a b"])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path: Path, name: str):
    write_project(tmp_path, **{name: {}})
    with pytest.raises(InputError, match="wanted letters, digits"):
        load_datasets(tmp_path / "configs")


def test_names_that_some_disks_take_for_one_are_refused(tmp_path: Path):
    write_project(tmp_path, mine={}, Mine={})
    with pytest.raises(InputError, match="names 'Mine' and 'mine' differ only in case"):
        load_datasets(tmp_path / "configs")


def test_a_column_joined_from_an_unknown_dataset_is_refused(tmp_path: Path):
    joined = {"dataset": "wether", "series": "a", "column": "temp"}
    write_project(
        tmp_path, mine={"past_exogenous": [{"column": "warmth", "joined": joined}]}, weather={}
    )
    with pytest.raises(
        InputError, match=r"joined from unknown dataset 'wether'. Did you mean 'weather'\?"
    ):
        load_datasets(tmp_path / "configs")


@pytest.mark.parametrize("ticker", ["msft", "MSFT;rm", "../etc", "A" * 21, "", "MSFT/..", "a b"])
def test_a_ticker_that_is_none_is_refused(ticker: str):
    assert "wanted capitals, digits" in refused(source={**YAHOO, "tickers": [ticker]})


@pytest.mark.parametrize("ticker", ["MSFT", "^VIX", "BRK-B", "OCDO.L", "EURUSD=X", "0P000071W8.TO"])
def test_tickers_as_yahoo_writes_them_are_taken(ticker: str):
    assert dataset(source={**YAHOO, "tickers": [ticker]}).source.kind == "yahoo"


def test_a_ticker_that_stands_twice_is_refused():
    assert "stands twice" in refused(source={**YAHOO, "tickers": ["MSFT", "MSFT"]})


def test_a_place_off_the_globe_is_refused():
    assert "latitude" in refused(
        source={**CITY, "places": {"rome": {"latitude": 141.9, "longitude": 12.5}}}
    )


@pytest.mark.parametrize("variable", ["temp&apikey=x", "a,b", "", "1x"])
def test_a_variable_that_could_change_the_question_is_refused(variable: str):
    assert "such as temperature_2m" in refused(source={**CITY, "variables": {"temp": variable}})


def test_an_environment_variable_is_named_and_not_the_key_itself():
    assert "api_key_env" in refused(source={**CITY, "api_key_env": "sk-123abc"})


def test_a_misspelt_key_of_a_source_is_answered_with_the_nearest():
    assert "Did you mean 'tickers'?" in refused(
        source={"kind": "yahoo", "ticker": ["MSFT"], "start": "2020-01-01"}
    )


def test_splits_whose_dates_do_not_rise_are_refused():
    days = {"train_end": "2020-01-01", "validation_end": "2019-01-01"}
    assert "key 'splits': the dates must rise: train_end < validation_end" in refused(
        splits={**days, "calibration_end": "2021-01-01", "test_end": "2022-01-01"}
    )


def test_a_fault_names_the_key_as_it_stands_in_the_file():
    assert refused(calendar={"kind": "sessions", "exchange": "XNYSE"}).startswith(
        "example: key 'calendar.exchange': "
    )
    assert refused(source={**CITY, "start": None}).startswith("example: key 'source.start': ")
    assert "key 'source.tickers' is missing" in refused(
        source={"kind": "yahoo", "start": "2020-01-01"}
    )
    for shares in ({"trian": 0.5, "validation": 0.1}, {"trian": 0.5}):
        message = refused(splits=shares)
        assert "unknown key 'splits.trian'. Did you mean 'train'?" in message


def test_a_wrong_item_of_a_list_is_one_fault_and_an_empty_list_another():
    wrong = refused(target=[{"column": "temp", "minimum": "none"}])
    assert "key 'target.0.minimum': " in wrong and "at least" not in wrong
    not_a_number = refused(target=[{"column": "temp", "minimum": float("nan")}])
    assert "found minimum nan and maximum inf" in not_a_number
    assert "key 'target': wanted at least 1" in refused(target=[])


def test_a_value_of_another_kind_is_told_in_words_of_the_file():
    assert "key 'target': found 'sales', wanted {column: sales}" in refused(target="sales")
    assert "key 'past_exogenous': wanted a list (found 'wind')" in refused(past_exogenous="wind")
    assert "key 'title': wanted text (found 7)" in refused(title=7)
    assert "key 'horizon': wanted a whole number (found 'five')" in refused(horizon="five")
    assert "key 'horizon': wanted a whole number (found 2.5)" in refused(horizon=2.5)
    misspelt = refused(calendar_features=["day_of_yaer"])
    assert "Did you mean 'day_of_year'? (found 'day_of_yaer')" in misspelt


def test_a_fault_of_yaml_names_its_line_and_no_string(tmp_path):
    path = tmp_path / "datasets.yaml"
    path.write_text("run: [sales\n")
    with pytest.raises(InputError, match=r"datasets\.yaml: not valid YAML.* in line 2"):
        read_yaml(path)


def test_only_keys_that_belong_into_a_file_are_offered():
    message = refused(past_exogenous=[{"column": "wind", "known_ahead": True}])
    assert "unknown key 'past_exogenous.0.known_ahead'. Known here: 'column'," in message
    assert "'ahead'" not in message and "'lead'" not in message


def test_columns_of_forecasts_that_the_source_has_are_named_where_another_is_asked_for():
    source_of_file = {
        "kind": "file",
        "path": "data/a.csv",
        "issued_path": "data/b.csv",
        "issued_columns": ["tmp"],
    }
    message = refused(source=source_of_file, future_exogenous=[{"column": "temp", "issued": True}])
    assert "no forecasts of 'temp' are kept. Kept are 'tmp';" in message


def test_shares_that_leave_no_test_are_refused():
    assert "leaves nothing to test on" in refused(
        splits={"train": 0.8, "validation": 0.1, "calibration": 0.1}
    )
