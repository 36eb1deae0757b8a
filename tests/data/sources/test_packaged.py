from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import load_dataset
from forecast.data import sources
from forecast.data.sources import packaged
from forecast.system.errors import DataError, InputError
from tests.support.example_data import dataset


@pytest.fixture(scope="module")
def indices() -> sources.RawFrame:
    return sources.read(sources.Request("stocks", load_dataset("stocks"), Path()))


def test_two_indices_of_5031_sessions_each(indices: sources.RawFrame):
    assert indices.frame.groupby("unique_id").size().to_dict() == {"nasdaq": 5031, "sp500": 5031}
    assert indices.as_of == pd.Timestamp("2018-12-31 21:00")


def test_oil_is_joined_by_session_and_its_holidays_stay_missing(indices: sources.RawFrame):
    oil = indices.frame.set_index(["unique_id", "ds"])["wti"]
    assert oil["sp500"].equals(oil["nasdaq"])
    assert oil["sp500"].isna().sum() == 19
    # the exchange was open, the oil market was not
    assert np.isnan(oil["sp500", pd.Timestamp("2018-12-24")])


def test_a_volume_of_zero_is_missing(indices: sources.RawFrame):
    assert not (indices.frame["volume"] == 0).any()
    assert indices.frame["volume"].isna().sum() == 2


def test_as_of_cuts_the_sessions_that_had_not_closed():
    raw = sources.read(
        sources.Request(
            "stocks", load_dataset("stocks"), Path(), as_of=pd.Timestamp("2018-11-23 17:59")
        )
    )
    assert raw.frame["ds"].max() == pd.Timestamp("2018-11-21")


def test_the_weather_that_ships_with_the_project_is_its_own_source():
    raw = sources.read(sources.Request("weather", load_dataset("weather"), Path()))
    assert len(raw.frame) == 21_888 and raw.as_of == pd.Timestamp("2026-07-01")


def test_the_stations_that_ship_with_the_project_keep_their_gaps_and_no_fault_of_the_record():
    raw = sources.read(sources.Request("stations", load_dataset("stations"), Path()))
    assert raw.frame.groupby("unique_id").size().to_dict() == {
        "EWR": 8703,
        "JFK": 8706,
        "LGA": 8706,
    }
    assert raw.as_of == pd.Timestamp("2013-12-31")
    assert raw.frame["wind"].max() < 20  # m/s; the file has one of 469
    rows = raw.frame.set_index(["unique_id", "ds"])
    of_imperial_units = rows.loc[("EWR", "2013-01-01 06:00")].tolist()
    assert of_imperial_units == pytest.approx([3.9, -3.3, 4.63, 1012.0])
    fault = rows.loc[("JFK", "2013-05-09 02:00")]
    assert fault[["temp", "dew_point"]].isna().all() and fault["wind"] == 3.6


def test_weather_that_is_gone_is_restored_from_git(tmp_path: Path):
    with pytest.raises(DataError, match="git checkout"):
        sources.read(sources.Request("weather", load_dataset("weather"), tmp_path))


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"'us_indexes'.*Did you mean 'us_indices'\?"):
        sources.read(
            sources.Request(
                "mine", dataset(source={"kind": "packaged", "name": "us_indexes"}), Path()
            )
        )


def test_a_table_that_is_not_installed_is_named_with_the_next_move() -> None:
    with pytest.raises(DataError, match=r"arch/data/sp501/sp501.csv.gz is installed.*make setup"):
        packaged._arch_table("sp501")


@pytest.mark.parametrize("name", ["sp500", "nasdaq", "wti"])
def test_a_table_read_from_its_file_is_the_one_the_package_loads(name: str) -> None:
    loaded = importlib.import_module(f"arch.data.{name}").load()
    pd.testing.assert_frame_equal(packaged._arch_table(name), loaded, check_exact=True)
