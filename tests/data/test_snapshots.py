from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.config.paths import ProjectPaths
from forecast.data import snapshots
from forecast.data.snapshots import content_sha256, find_revisions, merge_history
from forecast.system.errors import DataError, InputError
from tests.support.example_data import hourly

AS_OF = pd.Timestamp("2024-02-01")
SINCE = {"a": pd.Timestamp("2024-01-01 06:00")}


@pytest.fixture
def pointer(tmp_path: Path) -> snapshots.Pointer:
    snapshot = snapshots.write_snapshot(
        tmp_path, "mine", hourly(), as_of=AS_OF, provenance={"source": "test"}
    )
    snapshots.move_pointer(tmp_path, "mine", snapshot)
    return snapshot


def test_what_was_written_is_read_back(tmp_path: Path, pointer: snapshots.Pointer):
    pd.testing.assert_frame_equal(snapshots.read_pointed(tmp_path, "mine"), hourly())
    assert snapshots.read_pointer(tmp_path, "mine") == pointer
    assert pointer.snapshot == f"data/snapshots/mine/2024-02-01-{pointer.sha256[:8]}.parquet"


def test_of_snapshots_with_the_same_rows_that_of_the_pointer_is_found(tmp_path: Path):
    wide = hourly().assign(other=1.0)
    for days, frame in enumerate((hourly(), wide)):
        as_of = AS_OF + pd.Timedelta(days, "D")
        latest = snapshots.write_snapshot(tmp_path, "mine", frame, as_of=as_of, provenance={})
        snapshots.move_pointer(tmp_path, "mine", latest)
    assert snapshots.find_pointer(tmp_path, "mine", wide) == latest


def test_provenance_tells_rows_range_and_digest(tmp_path: Path, pointer: snapshots.Pointer):
    record = snapshots.read_provenance(tmp_path, "mine")
    assert (
        record["rows"] == 100
        and record["last"] == "2024-01-05T03:00:00"
        and record["sha256"] == pointer.sha256
    )


def test_an_equal_snapshot_is_not_written_again(tmp_path: Path, pointer: snapshots.Pointer):
    path = tmp_path / pointer.snapshot
    before = path.stat().st_mtime_ns
    snapshots.write_snapshot(tmp_path, "mine", hourly(), as_of=AS_OF, provenance={})
    assert (
        path.stat().st_mtime_ns == before and len(snapshots.list_snapshots(tmp_path, "mine")) == 1
    )


def test_other_data_are_another_snapshot_and_the_old_one_stays(
    tmp_path: Path, pointer: snapshots.Pointer
):
    snapshot = snapshots.write_snapshot(
        tmp_path, "mine", hourly(rows=101), as_of=AS_OF, provenance={}
    )
    assert snapshot.sha256 != pointer.sha256
    assert snapshots.read_pointer(tmp_path, "mine") == pointer
    assert len(snapshots.read_pointed(tmp_path, "mine")) == 100


def test_a_time_within_a_day_is_part_of_the_name(tmp_path: Path):
    snapshot = snapshots.write_snapshot(
        tmp_path, "mine", hourly(), as_of=pd.Timestamp("2024-02-01 21:00"), provenance={}
    )
    assert "2024-02-01T210000Z-" in snapshot.snapshot


def test_a_changed_snapshot_is_refused(tmp_path: Path, pointer: snapshots.Pointer):
    hourly(rows=99).to_parquet(tmp_path / pointer.snapshot)
    with pytest.raises(DataError, match=r"found content sha256 .* wanted"):
        snapshots.read_pointed(tmp_path, "mine")


def test_half_a_snapshot_is_refused(tmp_path: Path, pointer: snapshots.Pointer):
    path = tmp_path / pointer.snapshot
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        snapshots.read_pointed(tmp_path, "mine")


def test_an_absent_snapshot_names_the_next_move(tmp_path: Path, pointer: snapshots.Pointer):
    (tmp_path / pointer.snapshot).unlink()
    with pytest.raises(DataError, match="Restore it from git, or run `forecast fetch mine`"):
        snapshots.read_pointed(tmp_path, "mine")


def test_a_dataset_without_pointer_was_never_fetched(tmp_path: Path):
    with pytest.raises(InputError, match=r"never fetched. Run `forecast fetch mine`"):
        snapshots.read_pointer(tmp_path, "mine")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"as_of": "2024"}'])
def test_a_broken_pointer_is_refused(tmp_path: Path, text: str):
    path = ProjectPaths.of(tmp_path).pointer("mine")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(InputError, match="not a pointer"):
        snapshots.read_pointer(tmp_path, "mine")


@pytest.mark.parametrize("leads_to", ["../../etc/passwd", "/etc/passwd", "data/raw/mine.parquet"])
def test_a_pointer_that_leaves_the_store_is_refused(tmp_path: Path, leads_to: str):
    path = ProjectPaths.of(tmp_path).pointer("mine")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"as_of": "2024-01-01", "sha256": "0" * 64, "snapshot": leads_to}))
    with pytest.raises(InputError, match="wanted a file below data/snapshots"):
        snapshots.read_pointed(tmp_path, "mine")


def test_the_digest_is_known():
    """Written out, so that a change of library or machine that changes it is noticed."""
    assert snapshots.content_sha256(hourly(rows=3)).startswith("90bd9d3a1eb6")


@given(st.integers(0, 9), st.floats(-1e6, 1e6))
def test_any_changed_value_changes_the_digest(row: int, value: float):
    frame = hourly(rows=10)
    changed = frame.copy()
    changed.loc[row, "temp"] = value
    same = frame["temp"].iloc[row] == value
    assert (snapshots.content_sha256(frame) == snapshots.content_sha256(changed)) == same


def test_every_nan_is_the_same_and_types_of_text_do_not_matter():
    frame = hourly(rows=3)
    frame.loc[1, "temp"] = np.nan
    other = frame.copy()
    other.loc[1, "temp"] = -np.nan
    other["unique_id"] = other["unique_id"].astype(object)
    assert snapshots.content_sha256(frame) == snapshots.content_sha256(other)


def test_a_column_of_booleans_or_of_times_with_a_zone_counts_by_its_text():
    moments = pd.Series(pd.to_datetime(["2024-01-01", "2024-06-01"]).tz_localize("Europe/Berlin"))
    for values in (pd.Series([True, False]), moments):
        as_text = values.map(str).astype("str")
        assert content_sha256(pd.DataFrame({"x": values})) == content_sha256(
            pd.DataFrame({"x": as_text})
        )
    assert content_sha256(pd.DataFrame({"x": [True]})) != content_sha256(pd.DataFrame({"x": [1]}))


def test_names_cannot_be_shifted_into_each_other():
    digests = {
        snapshots.content_sha256(pd.DataFrame({"unique_id": names}))
        for names in (["ab", "c"], ["a", "bc"])
    }
    assert len(digests) == 2


def later_frame(rows: int = 12) -> pd.DataFrame:
    return hourly(rows=rows).iloc[6:].reset_index(drop=True)


def test_an_unchanged_overlap_is_no_revision():
    assert find_revisions(hourly(rows=10), later_frame(), since=SINCE).empty


def test_a_changed_value_is_shown_before_and_after():
    new = later_frame()
    new.loc[1, "temp"] = 99.0
    (row,) = find_revisions(hourly(rows=10), new, since=SINCE).to_dict("records")
    assert row == {
        "unique_id": "a",
        "ds": pd.Timestamp("2024-01-01 07:00"),
        "column": "temp",
        "before": 17.0,
        "after": 99.0,
        "kind": "changed",
    }


def test_a_value_that_became_missing_is_a_change_and_rounding_is_none():
    new = later_frame()
    new.loc[0, "temp"] = np.nan
    new.loc[1, "temp"] *= 1 + 1e-7
    assert find_revisions(hourly(rows=10), new, since=SINCE)["ds"].dt.hour.tolist() == [6]


def test_rows_that_vanished_or_appeared_are_named():
    revisions = find_revisions(
        hourly(rows=10).drop(index=8), later_frame().drop(index=1), since=SINCE
    )
    assert revisions[["ds", "kind"]].values.tolist() == [
        [pd.Timestamp("2024-01-01 07:00"), "vanished"],
        [pd.Timestamp("2024-01-01 08:00"), "appeared"],
    ]


def test_rows_behind_the_end_of_an_answer_are_kept_and_named_but_not_where_it_is_whole():
    short = later_frame().iloc[:2]
    revisions = find_revisions(hourly(rows=10), short, since=SINCE)
    assert revisions["ds"].dt.hour.tolist() == [8, 9] and set(revisions["kind"]) == {"unanswered"}
    assert len(merge_history(hourly(rows=10), short, since=SINCE, keep={"a"})) == 10
    whole = hourly(rows=8)
    assert set(find_revisions(hourly(rows=10), whole, since={})["kind"]) == {"vanished"}
    assert len(merge_history(hourly(rows=10), whole, since={}, keep={"a"})) == 8


def test_what_was_provisional_is_called_so():
    new = later_frame().assign(temp=0.0)
    revisions = find_revisions(
        hourly(rows=10), new, since=SINCE, provisional_from=pd.Timestamp("2024-01-01 08:00")
    )
    assert revisions["kind"].tolist() == ["changed", "changed", "provisional", "provisional"]


def test_history_is_continued_and_rounding_keeps_the_stored_digits():
    new = later_frame()
    new["temp"] *= 1 + 1e-7
    result = merge_history(hourly(rows=10), new, since=SINCE, keep={"a"})
    assert len(result) == 12
    assert content_sha256(result.iloc[:10]) == content_sha256(hourly(rows=10))


def test_a_series_that_failed_is_kept_and_one_no_longer_wanted_goes():
    stored = hourly(rows=10, series=("a", "b", "c"))
    result = merge_history(stored, later_frame(), since=SINCE, keep={"a", "b"})
    assert result.groupby("unique_id").size().to_dict() == {"a": 12, "b": 10}


def test_a_series_read_whole_replaces_all_it_was():
    result = merge_history(hourly(rows=10), later_frame(), since={}, keep={"a"})
    assert result["ds"].min() == pd.Timestamp("2024-01-01 06:00")
