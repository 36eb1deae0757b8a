"""`make docs`: what is made from code stands in the documents as it would be made now."""

from __future__ import annotations

import subprocess

import pandas as pd
import pytest

from docs import generate
from forecast.config.models import load_models
from forecast.data.comparison_records import Untrained, Verdicts
from forecast.models import catalogue
from forecast.system import errors
from tests.support.records import paired_test
from tests.support.small_project import ROOT

BOARD = pd.DataFrame(
    [
        {
            "dataset": "d",
            "model": m,
            "ranking": r,
            "seed": "mean",
            "status": "ok",
            "mae": e,
            "mase": e,
            "skill": 1 - e,
        }
        for m, r, e in [
            ("gru", "shipped", 0.5),
            ("lstm", "shipped", 0.55),
            ("mlp", "shipped", 0.7),
            ("gru", "architecture", 0.9),
            ("ridge", "baseline", 0.6),
            ("auto_ets", "baseline", 0.8),
            ("mstl", "baseline", 0.85),
            ("naive", "baseline", 1.0),
        ]
    ]
)
WORDS = [("bar", "gru", "better"), ("skip", "lstm", "equivalent"), ("bar", "lstm", "better")]
INTERVAL = {
    "mean_difference": -0.5,
    "relative_difference": -0.5,
    "ci_low": -0.6,
    "ci_high": -0.4,
}
TESTS = [paired_test(model, family, word) for family, model, word in WORDS]
VERDICT = Verdicts(
    chosen={"shipped": "lstm"},
    tests=(
        TESTS[0].model_copy(update=INTERVAL),
        TESTS[1],
        TESTS[2].model_copy(update={"relative_difference": -0.45}),
    ),
)


@pytest.mark.parametrize("name", generate.PARTS)
def test_a_generated_part_is_fresh(name: str) -> None:
    page, make = generate.PARTS[name]
    text = (ROOT / page).read_text(encoding="utf-8")
    assert generate.replaced(text, name, make(ROOT)) == text, (
        f"{page} is out of date; run `make docs`"
    )


def test_the_table_of_families_names_each_once_with_its_models_and_equation() -> None:
    rows = generate.families(ROOT).splitlines()[2:]
    models = load_models(ROOT / "configs")
    assert len(rows) == len(catalogue())
    for name, spec in catalogue().items():
        (row,) = (row for row in rows if row.startswith(f"| [{name}]"))
        entries = [
            entry for entry in models.grids["full"] if models.models[entry]["family"] == name
        ]
        assert f"`{spec.equation}`" in row and spec.source in row
        assert all(f"`{entry}`" in row for entry in entries)


def test_the_readme_shows_of_each_dataset_the_selected_row_and_the_best_network() -> None:
    sentence, table = generate.results(BOARD, {"d": VERDICT}).split("\n\n")
    assert table.splitlines() == [
        "| data | model | MASE | bar | change against the bar | 95 % interval |"
        " corrected verdict against the bar |",
        "|---|---|--:|---|--:|--:|---|",
        "| d | `gru` (best network) | 0.5000 | `naive` | −50.0 % | −60.0 % to −40.0 % | better |",
        "| d | `lstm` (selected) | 0.5500 | `naive` | −45.0 % | – | better |",
    ]
    assert (
        " ".join(sentence.split())
        == "**d**: no test finds the only network better than its linear model alone."
        " `lstm` (selected) has 8.3 % less error than `ridge`."
    )


def test_the_readme_says_where_nothing_is_better_than_the_bar_and_how_far_the_lowest_is() -> None:
    tests = tuple(paired_test(t.model, t.family, "not distinguishable") for t in TESTS)
    verdict = VERDICT.model_copy(update={"tests": tests, "bar": "auto_ets"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(generate.BAR_WORDS, "auto_ets", "the historical mean")
        (sentence, _) = generate.results(BOARD, {"d": verdict}).split("\n\n")
    assert " ".join(sentence.split()) == (
        "**d**: no model is shown to be better than the historical mean. The lowest error of the"
        " others, of `gru`, is 37.5 % below it."
    )


def test_a_network_that_did_not_train_is_not_the_best_network_of_the_readme() -> None:
    untrained = Untrained(model="gru", ranking="shipped", same_as="ridge")
    table = generate.results(BOARD, {"d": VERDICT.model_copy(update={"untrained": (untrained,)})})
    assert "`gru`" not in table and "`lstm` (selected)" in table
    assert "linear model alone; 1 more did not train (= `ridge`). `lstm`" in " ".join(table.split())


def test_a_part_without_markers_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="No markers of 'families'"):
        generate.replaced("no markers here", "families", "a table")


def test_make_docs_is_this_script() -> None:
    commands = subprocess.run(
        ["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "-m docs.generate" in commands


def test_every_exit_code_has_a_row() -> None:
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    of_errors = {
        c.exit_code
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, errors.ForecastError)
    }
    assert of_errors == {1, 2, 3, 4, 5, 75}
    assert all(f"\n| {code} | " in page for code in {0, 130, *of_errors})
