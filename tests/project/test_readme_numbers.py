"""Every figure of the README's results is the one in reports/leaderboard.csv."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pandas as pd

from docs.generate import read_verdicts
from forecast.config.paths import ProjectPaths
from forecast.report import text
from tests.support.small_project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


class TableRow(NamedTuple):
    """One row of the README's table, as text."""

    dataset: str
    model: str
    role: str
    mase: str
    bar: str
    change: str


def table_rows() -> list[TableRow]:
    row = r"^\| (\w+) \| `(\w+)` \(([a-z ]+)\) \| ([\d.]+) \| `(\w+)` \| ([+−]?[\d.]+ %) \|"
    return [TableRow(*match.groups()) for match in re.finditer(row, README, re.MULTILINE)]


def shipped_rows(dataset: str) -> pd.DataFrame:
    """The mean rows of one dataset in the ranking as shipped, baselines among them."""
    board = pd.read_csv(ROOT / "reports" / "leaderboard.csv", dtype={"seed": str})
    is_shipped = board["ranking"].isin(["shipped", "baseline"]) & (board["seed"] == "mean")
    return board[is_shipped & (board["dataset"] == dataset)]


def row_of(dataset: str, model: str) -> dict[str, Any]:
    rows = shipped_rows(dataset)
    (row,) = rows[rows["model"] == model].to_dict("records")
    return row


def test_the_table_of_the_readme_has_the_figures_of_the_committed_results() -> None:
    verdicts = read_verdicts(ProjectPaths.of(ROOT))
    for row in table_rows():
        assert row.mase == text.figure(row_of(row.dataset, row.model)["mase"]), row
        assert row.bar == verdicts[row.dataset].bar
        (change,) = {
            text.signed_percent(test.relative_difference)
            for test in verdicts[row.dataset].tests
            if (test.model, test.against) == (row.model, row.bar)
            and test.ranking in ("shipped", "baseline")
            and test.family == "bar"
        }
        assert row.change == change, row


def test_each_dataset_has_its_selected_row_and_its_best_network_in_a_table_of_ten_rows() -> None:
    rows = table_rows()
    assert {row.dataset for row in rows} == set(shown_datasets())
    assert len(rows) <= 10
    for dataset in shown_datasets():
        roles = {row.role: row.model for row in rows if row.dataset == dataset}
        selected = shipped_rows(dataset).query("chosen")["model"].tolist()
        assert roles["selected"] in selected
        assert roles.keys() == {"selected", "best network"}


def shown_datasets() -> list[str]:
    """The datasets of the committed leaderboard: those of `make run`."""
    board = pd.read_csv(ROOT / "reports" / "leaderboard.csv")
    return sorted(board["dataset"].unique())


def test_the_sentences_before_the_table_give_the_shares_of_the_leaderboard() -> None:
    words = " ".join(README.split())
    nobody = (
        r"\*\*(\w+)\*\*: no model is shown to be better than [^`]*`(\w+)`, is ([\d.]+) %"
        r" (below|above) it"
    )
    lowest = list(re.finditer(nobody, words))
    verdicts = read_verdicts(ProjectPaths.of(ROOT))
    for match in lowest:
        bar = row_of(match[1], verdicts[match[1]].bar)["mase"]
        share = float(match[3]) * (1 if match[4] == "above" else -1)
        assert percent(row_of(match[1], match[2])["mase"] / bar - 1) == share
    selects = (
        r"\*\*(\w+)\*\*: [^.]* of \d+ networks better [^.]*\. `(\w+)` \(selected\) has"
        r" ([\d.]+) % (less|more) error than `ridge`(?:, which the corrected test finds | \()"
        r"(better|worse|equivalent|not distinguishable)\)?\."
    )
    selected = list(re.finditer(selects, words))
    for match in selected:
        row, ridge = row_of(match[1], match[2]), row_of(match[1], "ridge")
        share = float(match[3]) * (1 if match[4] == "less" else -1)
        assert percent(1 - row["mase"] / ridge["mase"]) == share
        tests = verdicts[match[1]].tests
        assert match[5] in {
            test.word
            for test in tests
            if (test.ranking, test.model, test.against) == ("shipped", "ridge", match[2])
        }
    assert {match[1] for match in (*lowest, *selected)} == set(shown_datasets())


def test_what_the_readme_says_in_words_of_the_results_holds() -> None:
    words = " ".join(README.split())
    assert (
        "the median past change" in words and "has a lower error than the selected model" in words
    )
    selected = shipped_rows("stocks").query("chosen")["mase"].min()
    assert row_of("stocks", "historical_median")["mase"] < selected
    assert "ridge regression alone comes within 2 % of the lowest error there" in words
    assert "selected one is better than the mean of 64 days (`lookback_mean`)" in words
    verdicts = read_verdicts(ProjectPaths.of(ROOT))
    assert verdicts["volatility"].bar == "lookback_mean"
    bar_words = {
        dataset: {test.word for test in verdict.tests if test.family == "bar"}
        for dataset, verdict in verdicts.items()
    }
    assert {name for name in bar_words if "better" not in bar_words[name]} == {"stocks"}
    assert {
        test.word
        for test in verdicts["volatility"].tests
        if (test.family, test.ranking) == ("bar", "shipped")
        and test.model == verdicts["volatility"].chosen["shipped"]
    } == {"better"}
    for dataset in ("weather", "stations"):
        assert row_of(dataset, "ridge")["mase"] <= 1.02 * shipped_rows(dataset)["mase"].min()
    tests = [test for verdict in verdicts.values() for test in verdict.tests]
    shipped = [test for test in tests if test.ranking == "shipped" and test.family == "skip"]
    assert "no test finds one better" in words
    assert shipped and not any(test.word == "better" for test in shipped)


def test_the_readme_beside_code_and_table_has_at_most_700_words() -> None:
    lines = README.splitlines()
    prose = [line for line in lines if not line.startswith(("    ", "|", "[!["))]
    assert len(" ".join(prose).split()) <= 700


def percent(share: float) -> float:
    return round(100 * share, 1)
