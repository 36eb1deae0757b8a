from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from forecast.config.datasets import load_dataset
from forecast.data import preparation, snapshots
from forecast.system import files
from forecast.system.errors import DamagedError, InputError
from pipelines import fetch, prepare
from tests.support.example_data import hourly, write_project

DATES = {
    "train_end": "2024-01-03",
    "validation_end": "2024-01-05",
    "calibration_end": "2024-01-07",
    "test_end": "2024-01-20",
}


def take(root: Path, rows: int, splits: dict | None = None) -> None:
    write_project(root, mine={"splits": splits} if splits else {})
    hourly(rows=rows).to_csv(root / "data" / "mine.csv", index=False)
    pointer = preparation.take_snapshot("mine", load_dataset("mine", root / "configs"), root=root)
    snapshots.move_pointer(root, "mine", pointer)
    fetch.main("mine", root=str(root))
    prepare.main("mine", root=str(root))


def digests(root: Path) -> dict[str, str]:
    folder = root / "data" / "prepared" / "mine"
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_the_stages_leave_the_files_that_later_stages_read(tmp_path: Path):
    take(tmp_path, rows=240)
    assert (
        " ".join(digests(tmp_path))
        == "borders.json frame.parquet issued.parquet quality.json task.json tuning.parquet"
    )
    frame = pd.read_parquet(tmp_path / "data" / "prepared" / "mine" / "frame.parquet")
    pd.testing.assert_frame_equal(frame, hourly(rows=240))


def test_the_same_data_are_the_same_bytes(tmp_path: Path):
    take(tmp_path / "one", rows=240)
    take(tmp_path / "two", rows=240)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_later_data_leave_the_tuning_slice_as_it_is(tmp_path: Path):
    take(tmp_path, rows=240, splits=DATES)
    before = digests(tmp_path)
    take(tmp_path, rows=300, splits=DATES)
    after = digests(tmp_path)
    assert (
        before["tuning.parquet"] == after["tuning.parquet"]
        and before["borders.json"] == after["borders.json"]
    )
    assert before["frame.parquet"] != after["frame.parquet"]


def test_the_tuning_slice_ends_with_validation(tmp_path: Path):
    take(tmp_path, rows=240, splits=DATES)
    tuning = pd.read_parquet(tmp_path / "data" / "prepared" / "mine" / "tuning.parquet")
    assert tuning["ds"].max() == pd.Timestamp("2024-01-05 23:00")


def test_quality_names_the_gaps(tmp_path: Path):
    write_project(tmp_path, mine={"target": {"column": "temp", "max_missing": 0.1}})
    hourly(rows=240).drop(index=[50, 51]).to_csv(tmp_path / "data" / "mine.csv", index=False)
    settings = load_dataset("mine", tmp_path / "configs")
    snapshots.move_pointer(
        tmp_path, "mine", preparation.take_snapshot("mine", settings, root=tmp_path)
    )
    fetch.main("mine", root=str(tmp_path))
    prepare.main("mine", root=str(tmp_path))
    quality = files.read_json(tmp_path / "data" / "prepared" / "mine" / "quality.json")
    assert quality["gaps"] == 1 and "2024-01-03 02:00" in str(quality["findings"])
    assert quality["series"]["a"]["columns"]["temp"]["missing"] == 2


def test_a_series_too_short_for_its_blocks_is_told_before_anything_is_tuned(tmp_path: Path):
    with pytest.raises(InputError, match="for lookback=4 and horizon=2"):
        take(tmp_path, rows=8)
    assert not (tmp_path / "data" / "prepared").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, InputError), (b"half a file", DamagedError)],
    ids=["absent", "damaged"],
)
def test_a_raw_file_that_cannot_be_read_is_named_with_the_next_move(
    content: bytes | None, error: type[Exception], tmp_path: Path
):
    write_project(tmp_path, mine={})
    if content is not None:
        files.write_bytes(tmp_path / "data" / "raw" / "mine.parquet", content)
    with pytest.raises(error, match=r"data/raw/mine\.parquet: .* `dvc repro`"):
        prepare.main("mine", root=str(tmp_path))
