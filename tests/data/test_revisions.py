from __future__ import annotations

import numpy as np
import pandas as pd

from forecast.data.snapshots import content_sha256, merged, revisions
from tests.support.example_data import hourly

SINCE = {"a": pd.Timestamp("2024-01-01 06:00")}


def fresh(rows: int = 12) -> pd.DataFrame:
    return hourly(rows=rows).iloc[6:].reset_index(drop=True)


def test_an_unchanged_overlap_is_no_revision():
    assert revisions(hourly(rows=10), fresh(), since=SINCE).empty


def test_a_changed_value_is_shown_before_and_after():
    new = fresh()
    new.loc[1, "temp"] = 99.0
    (row,) = revisions(hourly(rows=10), new, since=SINCE).to_dict("records")
    assert row == {
        "unique_id": "a",
        "ds": pd.Timestamp("2024-01-01 07:00"),
        "column": "temp",
        "before": 17.0,
        "after": 99.0,
        "kind": "changed",
    }


def test_a_value_that_became_missing_is_a_change_and_rounding_is_none():
    new = fresh()
    new.loc[0, "temp"] = np.nan
    new.loc[1, "temp"] *= 1 + 1e-7
    assert revisions(hourly(rows=10), new, since=SINCE)["ds"].dt.hour.tolist() == [6]


def test_rows_that_vanished_or_appeared_are_named():
    found = revisions(hourly(rows=10).drop(index=8), fresh().drop(index=1), since=SINCE)
    assert found[["ds", "kind"]].values.tolist() == [
        [pd.Timestamp("2024-01-01 07:00"), "vanished"],
        [pd.Timestamp("2024-01-01 08:00"), "appeared"],
    ]


def test_what_was_provisional_is_called_so():
    new = fresh().assign(temp=0.0)
    found = revisions(hourly(rows=10), new, since=SINCE, provisional_from=pd.Timestamp("2024-01-01 08:00"))
    assert found["kind"].tolist() == ["changed", "changed", "provisional", "provisional"]


def test_history_is_continued_and_rounding_keeps_the_stored_digits():
    new = fresh()
    new["temp"] *= 1 + 1e-7
    result = merged(hourly(rows=10), new, since=SINCE, keep={"a"})
    assert len(result) == 12
    assert content_sha256(result.iloc[:10]) == content_sha256(hourly(rows=10))


def test_a_series_that_failed_is_kept_and_one_no_longer_wanted_goes():
    stored = hourly(rows=10, series=("a", "b", "c"))
    result = merged(stored, fresh(), since=SINCE, keep={"a", "b"})
    assert result.groupby("unique_id").size().to_dict() == {"a": 12, "b": 10}


def test_a_series_read_whole_replaces_all_it_was():
    result = merged(hourly(rows=10), fresh(), since={}, keep={"a"})
    assert result["ds"].min() == pd.Timestamp("2024-01-01 06:00")
