"""Files that somebody else made: what they say twice, or hold besides numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.data.own_files import FileFormat, read_table
from forecast.system.errors import DataError, InputError
from forecast.system.files import read_arrays


@pytest.mark.parametrize("header", ["ds,y,y", "ds,y, y", "y,ds,y"])
def test_a_file_that_names_two_columns_alike_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(f"{header}\n2024-01-01,1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.csv: the header names 'y' more than once"):
        read_table(file, "mine.csv", FileFormat())


def test_columns_without_a_name_are_no_repetition(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("ds,y,,\n2024-01-01,1,,\n", encoding="utf-8")
    assert read_table(file, "mine.csv", FileFormat())["y"].tolist() == [1]


def test_objects_among_the_arrays_of_a_model_are_refused_in_a_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", kernel=np.ones(3), state=np.array([{"a": 1}, None]))
    with pytest.raises(
        DataError, match=r"weights\.npz: cannot be read \(Object arrays cannot be loaded"
    ):
        read_arrays(tmp_path / "weights.npz")


def test_arrays_of_numbers_are_read_as_they_were_written(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", kernel=np.arange(3.0))
    assert read_arrays(tmp_path / "weights.npz")["kernel"].tolist() == [0.0, 1.0, 2.0]


def test_a_parquet_file_without_repetition_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.parquet"
    pd.DataFrame({"ds": ["2024-01-01"], "y": [1.0]}).to_parquet(file)
    assert list(read_table(file, "mine.parquet", FileFormat()).columns) == ["ds", "y"]
