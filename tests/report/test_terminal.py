"""The leaderboard at the end of a run."""

import io

import pytest
from rich.console import Console

from forecast.report.terminal import show
from forecast.system import files
from forecast.system.errors import InputError
from tests.support.artifacts import write_project


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"))


def printed(root, *, terminal):
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
    show(root, ["hourly", "daily"], console)
    return console.file.getvalue()


def test_a_pipe_gets_plain_lines_without_rules_or_escapes(root):
    assert not set(printed(root, terminal=False)) & set("─━│\x1b")


def test_both_rankings_of_every_dataset_are_shown_lowest_error_first(root):
    shown = printed(root, terminal=False)
    titles = [line.strip() for line in shown.splitlines() if line.startswith(("hourly, ", "daily, "))]
    places = ("as shipped", "architecture alone")
    assert titles == [f"{dataset}, {place}" for dataset in ("hourly", "daily") for place in places]
    first = shown[shown.index("hourly, as shipped") :]
    assert first.index("lstm") < first.index("ridge") < first.index("narx") < first.index("seasonal_naive")


def test_the_chosen_row_is_marked_and_the_words_are_the_verdicts(root):
    rows = {
        line.split()[1]: line for line in printed(root, terminal=False).splitlines() if line.strip().startswith("*  ")
    }
    assert list(rows) == ["lstm"]
    line = next(line for line in printed(root, terminal=False).splitlines() if line.split()[:1] == ["gru"])
    assert line.split()[-2:] == ["not", "distinguishable"]


def test_a_failed_model_stands_last_and_says_so(root):
    shown = printed(root, terminal=False)
    alone = shown[shown.index("hourly, architecture alone") : shown.index("daily, as shipped")]
    assert alone.strip().splitlines()[-1].split() == ["narx", "–", "failed", "see", "the", "report"]


def test_errors_of_several_series_have_no_column_in_units(root):
    shown = printed(root, terminal=False)
    heads = [line.split() for line in shown.splitlines() if line.split()[:1] == ["model"]]
    assert [("MAE" in head, "MASE" in head) for head in heads] == [(True, True)] * 2 + [(False, True)] * 2


def test_nothing_is_cut_at_eighty_columns(root):
    assert "…" not in printed(root, terminal=True)


def test_baselines_alone_are_one_table_with_the_chosen_one_marked(tmp_path):
    root = write_project(tmp_path, datasets=("hourly",))
    keep_baselines(root / "data" / "compared" / "hourly")
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show(root, ["hourly"], console)
    shown = console.file.getvalue()
    titles = [line.strip() for line in shown.splitlines() if line.startswith("hourly, ")]
    assert titles == ["hourly, baselines"]
    assert [line.split()[1] for line in shown.splitlines() if line.startswith(" *") or line.startswith("*  ")] == [
        "ridge"
    ]


def keep_baselines(compared):
    board = compared / "leaderboard.csv"
    lines = board.read_text().splitlines(keepends=True)
    files.write_text(board, "".join([lines[0], *(line for line in lines if ",baseline," in line)]))
    best = {"shipped": "ridge", "architecture": "ridge"}
    files.write_json(compared / "verdicts.json", {"chosen": best, "tests": [], "sentences": []})


def test_without_a_comparison_the_next_move_is_named(tmp_path):
    with pytest.raises(InputError, match="dvc repro"):
        show(tmp_path, ["hourly"])
