"""reports/leaderboard.csv: all rows, stable order, digits untouched; and the leaderboard at the end
of a run.
"""

from __future__ import annotations

import csv
import io
import re

import pandas as pd
import pytest
from rich.console import Console

from forecast.comparison.metrics import leaderboard_columns
from forecast.config.models import INTERMITTENT_GRID
from forecast.config.paths import ProjectPaths
from forecast.data.comparison_records import Untrained
from forecast.data.results import Results
from forecast.report import text
from forecast.report.leaderboard import (
    as_csv,
    combine_leaderboards,
    leaderboard_lines,
    print_leaderboards,
    round_cell,
)
from forecast.report.score_tables import leaderboard_table
from forecast.system import files
from forecast.system.errors import InputError
from tests.support.artifacts import write_project

DATASETS = ("hourly", "daily")
COLUMNS = (
    "dataset model ranking skip seed status mae rmse mase rmsse smape qlike direction"
    " direction_base skill n_params n_origins validation_mase chosen"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"))


def test_every_row_of_every_dataset_is_there_in_the_configured_order(root):
    rows = combine_leaderboards(ProjectPaths.of(root), DATASETS)
    written = [
        len((root / f"data/compared/{d}/leaderboard.csv").read_text().splitlines()) - 1
        for d in DATASETS
    ]
    assert len(rows) == sum(written)
    assert list(dict.fromkeys(row["dataset"] for row in rows)) == list(DATASETS)


def test_rows_stand_by_ranking_then_model_then_seed_with_summaries_last(root):
    everything = combine_leaderboards(ProjectPaths.of(root), ["hourly"])
    rows = [row for row in everything if row["model"] == "lstm" and row["ranking"] == "shipped"]
    assert [row["seed"] for row in rows] == ["0", "1", "2", "mean", "std"]
    assert list(dict.fromkeys(row["ranking"] for row in everything)) == [
        "baseline",
        "shipped",
        "architecture",
    ]


def test_the_order_does_not_depend_on_the_order_in_the_files(root, tmp_path):
    other = write_project(tmp_path)
    path = other / "data/compared/hourly/leaderboard.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert as_csv(combine_leaderboards(ProjectPaths.of(other), DATASETS)) == as_csv(
        combine_leaderboards(ProjectPaths.of(root), DATASETS)
    )


def test_a_score_keeps_every_digit_that_was_written(root):
    source = (root / "data/compared/hourly/leaderboard.csv").read_text()
    maes = {
        row["mae"] for row in combine_leaderboards(ProjectPaths.of(root), ["hourly"]) if row["mae"]
    }
    assert maes <= set(re.split(r"[,\n]", source))
    assert max(len(m.replace(".", "").lstrip("0")) for m in maes) >= 10


@pytest.mark.parametrize(
    ("written", "cell"),
    [
        ("1.23649871234", "1.2365"),
        ("0.00012345678", "0.00012346"),
        ("-2.00000000001", "-2"),
        ("123456", "123456"),
        ("1234567.25", "1.2346e+06"),
        ("", ""),
        ("False", "False"),
        ("lstm", "lstm"),
        ("1e5", "1e5"),
        ("1_0", "1_0"),
        ("NaN", "NaN"),
    ],
)
def test_a_measured_value_is_committed_with_five_significant_digits_and_a_count_exactly(
    written, cell
):
    assert round_cell(written) == cell


def test_rounding_errors_of_another_processor_leave_the_committed_table_as_it_is(root):
    rows = combine_leaderboards(ProjectPaths.of(root), DATASETS)
    measured = float(rows[0]["mase"])
    other_rows = [{**rows[0], "mase": f"{measured * (1 + 1e-9):.12g}"}, *rows[1:]]
    assert other_rows[0]["mase"] != rows[0]["mase"]
    assert as_csv(other_rows) == as_csv(rows)


def test_the_table_has_the_agreed_columns_and_no_timing(root):
    head = next(
        csv.reader(io.StringIO(as_csv(combine_leaderboards(ProjectPaths.of(root), DATASETS))))
    )
    assert leaderboard_columns() == COLUMNS.split() and head == [
        *leaderboard_columns(),
        "crps",
        "scaled_crps",
        "winkler_80",
        "winkler_95",
    ]
    assert not [name for name in head if "second" in name or "time" in name]


def test_interval_score_and_crps_stand_beside_the_errors_of_the_mean_over_seeds(root):
    rows = combine_leaderboards(ProjectPaths.of(root), ["hourly"])
    written = pd.read_parquet(root / "data/compared/hourly/intervals.parquet")
    whole = written[(written["step"] == 0) & (written["level"] == 80)]
    scores = whole.set_index(["model", "ranking"])["winkler"].to_dict()
    means = [
        row for row in rows if row["seed"] == "mean" and (row["model"], row["ranking"]) in scores
    ]
    assert means and not [row for row in rows if row["seed"] != "mean" and "winkler_80" in row]
    for row in means:
        assert float(row["winkler_80"]) == pytest.approx(scores[row["model"], row["ranking"]])
    assert any(row.get("crps") for row in means)
    heads = [
        line.split()
        for line in printed(root, terminal=False, width=120).splitlines()
        if " model " in line
    ]
    assert heads[0][:4] == ["model", "MAE", "MASE", "80"]
    assert heads[0][4:9] == ["%", "interval", "score", "CRPS", "error"]


def test_a_missing_table_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(
        InputError, match=r"data/compared/hourly/leaderboard.csv: no such file; stage `compare`"
    ):
        combine_leaderboards(ProjectPaths.of(tmp_path), ["hourly"])


def printed(root, *, terminal, width=80):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_leaderboards(ProjectPaths.of(root), ["hourly", "daily"], console)
    return console.file.getvalue()


def test_a_pipe_gets_plain_lines_without_rules_or_escapes(root):
    assert not set(printed(root, terminal=False)) & set("─━│\x1b")


def test_rmsse_is_shown_where_the_absolute_error_rewards_zero(root, monkeypatch):
    assert "RMSSE" not in printed(root, terminal=False, width=120)
    usual = Results.dataset.func
    intermittent = property(
        lambda results: usual(results).model_copy(update={"grid": INTERMITTENT_GRID})
    )
    monkeypatch.setattr(Results, "dataset", intermittent)
    assert "RMSSE" in printed(root, terminal=False, width=120)


def test_both_rankings_of_every_dataset_are_shown_lowest_error_first(root):
    lines_shown = printed(root, terminal=False)
    titles = [
        line.strip()
        for line in lines_shown.splitlines()
        if line.startswith(("hourly, ", "daily, "))
    ]
    places = ("as shipped", "architecture alone")
    assert titles == [f"{dataset}, {place}" for dataset in ("hourly", "daily") for place in places]
    first = lines_shown[lines_shown.index("hourly, as shipped") :]
    assert (
        first.index("lstm")
        < first.index("ridge")
        < first.index("narx")
        < first.index("seasonal_naive")
    )


def test_the_chosen_row_is_marked_and_the_words_are_the_verdicts(root):
    rows = {
        line.split()[1]: line
        for line in printed(root, terminal=False).splitlines()
        if line.strip().startswith("*  ")
    }
    assert list(rows) == ["lstm"]
    line = next(
        line for line in printed(root, terminal=False).splitlines() if line.split()[:1] == ["gru"]
    )
    assert line.split()[-2:] == ["not", "distinguishable"]


def test_the_change_against_the_bar_has_the_sign_and_digits_of_the_page(root):
    results = Results(ProjectPaths.of(root), "hourly")
    lines = leaderboard_lines(results, "shipped").set_index("model")
    changes = {model: change.split(" %")[0] for model, change in lines["error vs bar"].items()}
    page = {
        row.model: str(row.cells[1].content).split(" %")[0]
        for row in leaderboard_table(results, "shipped").rows
    }
    assert changes == page and changes["lstm"].startswith("−") and changes["drift"].startswith("+")


def test_the_change_against_the_bar_is_the_figure_of_the_sentence_where_series_end_apart(root):
    """The skill averages series, the test origins: equal only where series are equally long."""
    results = Results(ProjectPaths.of(root), "hourly")
    vars(results)["leaderboard"] = results.leaderboard.assign(skill=0.5)
    lines = leaderboard_lines(results, "shipped").set_index("model")
    assert lines.loc["lstm", "error vs bar"] == "−44.0 % better"
    assert (
        "lstm" in results.verdicts.sentences[0] and "error -44.0 %" in results.verdicts.sentences[0]
    )


def test_a_network_that_repeats_the_ridge_has_its_change_against_the_bar_too(root):
    """Without a word: no test is made of it. The skill, another mean, is not shown beside it."""
    results = Results(ProjectPaths.of(root), "hourly")
    tests = [test for test in results.verdicts.tests if test.model != "lstm"]
    ridge = next(test for test in tests if (test.model, test.family) == ("ridge", "bar"))
    repeats = Untrained(model="lstm", ranking="shipped", same_as="ridge")
    vars(results)["verdicts"] = results.verdicts.model_copy(
        update={"tests": tuple(tests), "untrained": (repeats,)}
    )
    vars(results)["leaderboard"] = results.leaderboard.assign(skill=0.5)
    line = leaderboard_lines(results, "shipped").set_index("model").loc["lstm"]
    change = text.signed_percent(ridge.relative_difference)
    assert [*line[-2:]] == [change, "= ridge (did not train)"]
    page = next(row for row in leaderboard_table(results, "shipped").rows if row.model == "lstm")
    assert str(page.cells[1].content) == change


def test_the_verdict_on_the_chosen_row_stands_below_the_tables(root):
    verdict = (
        "hourly: As shipped: lstm, selected on validation, is better than repeating the last value"
        " (error −44.0 %)."
    )
    assert printed(root, terminal=False, width=200).splitlines().count(verdict) == 1


def test_warnings_stand_below_the_tables(tmp_path):
    root = write_project(tmp_path, datasets=("hourly",))
    path = root / "data" / "compared" / "hourly" / "verdicts.json"
    files.write_json(
        path, {**files.read_json(path), "warnings": ["Leak alarm: gru on x: too good."]}
    )
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_leaderboards(ProjectPaths.of(root), ["hourly"], console)
    assert "hourly: Leak alarm: gru on x: too good." in console.file.getvalue().splitlines()


def test_a_failed_model_stands_last_and_says_so(root):
    printed_board = printed(root, terminal=False)
    alone = printed_board[
        printed_board.index("hourly, architecture alone") : printed_board.index("hourly: ")
    ]
    assert alone.strip().splitlines()[-1].split() == ["narx", "–", "failed", "see", "below"]


def test_errors_of_several_series_have_no_column_in_units(root):
    printed_board = printed(root, terminal=False)
    heads = [line.split() for line in printed_board.splitlines() if line.split()[:1] == ["model"]]
    assert [("MAE" in head, "MASE" in head) for head in heads] == [(True, True)] * 2 + [
        (False, True)
    ] * 2


def test_nothing_is_cut_at_eighty_columns(root):
    assert "…" not in printed(root, terminal=True)


def test_baselines_alone_are_one_table_with_the_chosen_one_marked(tmp_path):
    root = write_project(tmp_path, datasets=("hourly",))
    keep_baselines(root / "data" / "compared" / "hourly")
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_leaderboards(ProjectPaths.of(root), ["hourly"], console)
    printed_board = console.file.getvalue()
    titles = [line.strip() for line in printed_board.splitlines() if line.startswith("hourly, ")]
    assert titles == ["hourly, baselines"]
    assert [
        line.split()[1]
        for line in printed_board.splitlines()
        if line.startswith(" *") or line.startswith("*  ")
    ] == ["ridge"]


def keep_baselines(compared):
    board = compared / "leaderboard.csv"
    lines = board.read_text().splitlines(keepends=True)
    files.write_text(board, "".join([lines[0], *(line for line in lines if ",baseline," in line)]))
    best = {"shipped": "ridge", "architecture": "ridge"}
    files.write_json(compared / "verdicts.json", {"chosen": best, "tests": [], "sentences": []})


def test_without_a_comparison_the_next_move_is_named(tmp_path):
    with pytest.raises(InputError, match="dvc repro"):
        print_leaderboards(ProjectPaths.of(tmp_path), ["hourly"])
