"""Names of groups, and the sums of series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import Dataset
from forecast.data.hierarchy import add_sums, level_of, name_by_groups, summing_matrix
from forecast.system.errors import InputError
from tests.support.small_project import DATASET

GROUPED = {**DATASET, "hierarchy": ["region", "shop"]}
TASK = Dataset.model_validate(GROUPED).task


def long_frame(series: dict[str, list[float]], *, end: str = "2024-01-04") -> pd.DataFrame:
    parts = []
    for name, values in series.items():
        times = pd.date_range(end=end, periods=len(values), freq="D")
        parts.append(pd.DataFrame({"unique_id": name, "ds": times, "y": values}))
    return pd.concat(parts, ignore_index=True)


def test_series_are_named_by_their_groups_and_by_themselves_where_a_group_has_several() -> None:
    table = pd.DataFrame(
        {"region": ["N", "N", "S"], "shop": ["a", "b", "a"], "unique_id": ["1", "2", "3"]}
    )
    names = name_by_groups(table, ["region", "shop"], "unique_id", where="df")
    assert names["unique_id"].tolist() == ["N/a", "N/b", "S/a"]
    names = name_by_groups(table, ["region"], "unique_id", where="df")
    assert names["unique_id"].tolist() == ["N/1", "N/2", "S/3"]
    names = name_by_groups(table.drop(columns="unique_id"), ["shop"], "unique_id", where="df")
    assert names["unique_id"].tolist() == ["a", "b", "a"]
    levels = [level_of(name, TASK) for name in ("total", "N", "N/a", "N/a/1")]
    assert levels == ["total", "region", "shop", "series"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"region": ["N", None, "S"]}, "row 1: column 'region'"),
        ({"region": ["N", "N/b", "S"]}, "'N/b'; wanted a name"),
        ({"unique_id": ["1", "1", "3"]}, "series '1' is in more than one group"),
        ({"regoin": ["N", "N", "S"], "region": None}, "column 'region' is missing"),
    ],
)
def test_groups_that_name_no_series_are_refused(changes: dict[str, object], words: str) -> None:
    table = pd.DataFrame(
        {"region": ["N", "N", "S"], "shop": ["a", "b", "a"], "unique_id": ["1", "2", "3"]}
    ).assign(**changes)
    if changes.get("region", "") is None:
        table = table.drop(columns="region")
    with pytest.raises(InputError, match=words):
        name_by_groups(table, ["region", "shop"], "unique_id", where="df")


def test_a_sum_counts_a_series_from_its_first_row_and_misses_what_one_of_them_misses() -> None:
    frame = long_frame({"N/a": [1, 2, 3, 4], "N/b": [10, np.nan, 30], "S/c": [100, 200]})
    frame["price"] = 1.0
    frame.loc[frame["unique_id"] == "N/b", "price"] = 3.0
    sums = add_sums(frame, TASK).set_index(["unique_id", "ds"])
    assert sums.loc["N", "y"].tolist()[:2] == [1, 12]
    assert np.isnan(sums.loc["N", "y"].iloc[2])
    assert sums.loc["S", "y"].tolist() == [100, 200]
    assert sums.loc["total", "y"].iloc[-1] == 4 + 30 + 200
    assert sums.loc["N", "price"].tolist() == [1, 2, 2, 2], "inputs are averaged"


def test_series_that_do_not_end_together_are_named() -> None:
    frame = pd.concat([long_frame({"N/a": [1, 2]}), long_frame({"N/b": [1]}, end="2024-01-02")])
    with pytest.raises(
        InputError, match="Series 'N/b': the last row with an observation stands before"
    ):
        add_sums(frame, TASK)


def test_a_shop_that_moved_to_another_region_is_told_to_write_the_newest() -> None:
    table = pd.DataFrame({"region": ["N", "S", "S", "S"], "shop": ["a", "b", "a", "b"]})
    table["ds"] = pd.to_datetime(["2024-01-03", "2024-01-03", "2024-01-04", "2024-01-04"])
    names = name_by_groups(table.assign(y=1.0), ["region", "shop"], "unique_id", where="df")
    with pytest.raises(InputError, match=r"'N/a': .* the newest group in every row of one that"):
        add_sums(names[["unique_id", "ds", "y"]], TASK)


def test_the_summing_matrix_is_that_of_the_book() -> None:
    """Figure 11.1 and the matrix below equation 11.4 of Hyndman & Athanasopoulos, 3rd edition."""
    names = ["total", "A", "B", "A/A", "A/B", "A/C", "B/A", "B/B"]
    matrix, places = summing_matrix(names)
    top = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert matrix.tolist() == [*top, *np.eye(5).tolist()]
    assert places == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"column": "y", "maximum": 9}}, "bounds of a series are not those of a sum"),
        ({"target": [{"column": "y"}, {"column": "z"}]}, "one target of a source `file`"),
    ],
)
def test_an_entry_whose_sums_mean_nothing_is_refused(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Dataset.model_validate({**GROUPED, **changes})
