"""`make docs`: what is made from code stands in the documents as it would be made now."""

from __future__ import annotations

import subprocess

import pandas as pd
import pytest

from docs import generate
from forecast.config.experiment import load_models
from forecast.data.comparison_records import Verdicts
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
WORDS = [("naive", "gru", "better"), ("skip", "lstm", "equivalent"), ("naive", "lstm", "better")]
VERDICT = Verdicts(
    chosen={"shipped": "lstm"},
    tied={"shipped": ("lstm", "gru", "mlp")},
    tests=tuple(paired_test(model, family, word) for family, model, word in WORDS),
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


def test_a_readme_table_keeps_the_best_the_chosen_and_the_references_and_names_ties() -> None:
    sentence, shipped, architecture = generate.results(BOARD, {"d": VERDICT}).split("\n\n")
    assert shipped.splitlines() == [
        "    d, as shipped",
        "        model        MAE    MASE  error vs naive  vs own skip",
        "        gru       0.5000  0.5000  −50.0 % better",
        "     *  lstm      0.5500  0.5500  −45.0 % better  equivalent",
        "        ridge     0.6000  0.6000  −40.0 %",
        "        auto_ets  0.8000  0.8000  −20.0 %",
        "        naive      1.000   1.000  0.00 %",
        "        tied with the chosen one: gru, mlp",
    ]
    assert architecture.splitlines()[2].split()[0] == "ridge" and "tied" not in architecture
    assert (
        " ".join(sentence.split())
        == "**d**: none of 1 networks is better than the linear model that it stands on. The row"
        " chosen on validation, `lstm`, has an error 45.0 % below that of repeating the last"
        " value, and 8.3 % below that of `ridge`."
    )


def test_a_part_without_markers_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="No markers of 'families'"):
        generate.replaced("no markers here", "families", "a table")


def test_make_docs_is_this_script() -> None:
    shown = subprocess.run(
        ["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "-m docs.generate" in shown


def test_every_exit_code_has_a_row() -> None:
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    own = {
        c.exit_code
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, errors.ForecastError)
    }
    assert own == {1, 2, 3, 4, 5, 75}
    assert all(f"\n| {code} | " in page for code in {0, 130, *own})
