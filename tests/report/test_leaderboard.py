"""reports/leaderboard.csv: all rows, stable order, digits untouched."""

import csv
import io
import re

import pytest

from forecast.report.evidence import LEADERBOARD_COLUMNS
from forecast.report.leaderboard import as_csv, combined
from forecast.system.errors import InputError
from tests.support.artifacts import write_project

DATASETS = ("hourly", "daily")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"))


def test_every_row_of_every_dataset_is_there_in_the_configured_order(root):
    rows = combined(root, DATASETS)
    written = [len((root / f"data/compared/{d}/leaderboard.csv").read_text().splitlines()) - 1 for d in DATASETS]
    assert len(rows) == sum(written)
    assert list(dict.fromkeys(row["dataset"] for row in rows)) == list(DATASETS)


def test_rows_stand_by_ranking_then_model_then_seed_with_summaries_last(root):
    rows = [row for row in combined(root, ["hourly"]) if row["model"] == "lstm" and row["ranking"] == "shipped"]
    assert [row["seed"] for row in rows] == ["0", "1", "2", "mean", "std", "ensemble"]
    assert list(dict.fromkeys(row["ranking"] for row in combined(root, ["hourly"]))) == [
        "baseline",
        "shipped",
        "architecture",
    ]


def test_the_order_does_not_depend_on_the_order_in_the_files(root, tmp_path):
    other = write_project(tmp_path)
    path = other / "data/compared/hourly/leaderboard.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert as_csv(combined(other, DATASETS)) == as_csv(combined(root, DATASETS))


def test_a_score_keeps_every_digit_that_was_written(root):
    source = (root / "data/compared/hourly/leaderboard.csv").read_text()
    maes = {row["mae"] for row in combined(root, ["hourly"]) if row["mae"]}
    assert maes <= set(re.split(r"[,\n]", source))
    assert max(len(m.replace(".", "").lstrip("0")) for m in maes) >= 10


def test_the_table_has_the_agreed_columns_and_no_timing(root):
    head = next(csv.reader(io.StringIO(as_csv(combined(root, DATASETS)))))
    assert tuple(head) == LEADERBOARD_COLUMNS
    assert not [name for name in head if "second" in name or "time" in name]


def test_a_missing_table_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"data/compared/hourly/leaderboard.csv: no such file; stage `compare`"):
        combined(tmp_path, ["hourly"])


def test_a_table_that_lacks_a_column_is_refused_by_name(tmp_path):
    folder = tmp_path / "data/compared/hourly"
    folder.mkdir(parents=True)
    (folder / "leaderboard.csv").write_text("dataset,model\n")
    with pytest.raises(InputError, match="'mase'"):
        combined(tmp_path, ["hourly"])
