"""docs/python.md and the README's section followed line by line, on the newest weeks of the
example.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import forecast
from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## In Python") : README.index("## What comes out")]


def blocks(text: str) -> list[str]:
    """The indented blocks of Python, in their order; commands of a shell left out."""
    code_blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    code = [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() for block in code_blocks]
    return [
        block for block in code if not block.startswith(("pip ", "forecast export", "forecast new"))
    ]


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the code finds: pandas, the example cut short, two days that follow, a file mine.csv."""
    later_rows = forecast.example().tail(3548)
    newest = later_rows.head(3500)
    monkeypatch.setattr("forecast.example", lambda: newest, raising=False)
    monkeypatch.chdir(tmp_path)
    theirs = newest.rename(columns={"unique_id": "station", "ds": "Date", "y": "T2M"})
    theirs[["station", "Date", "T2M"]].to_csv("mine.csv", index=False)
    return {"pandas": pd, "later": later_rows}


# on some processors no step of a refit is better than ridge, which is worth a warning
@pytest.mark.filterwarnings("ignore:df. gru did not train")
@pytest.mark.slow
def test_the_page_runs_from_its_first_line_to_its_last(names: dict[str, Any]) -> None:
    code = blocks(PAGE)
    for block in code:
        exec(block, names)
        if "mine.csv" in block:
            assert list(names["model"].predict().columns) == ["station", "Date", "gru"]
            exec(code[0], names)
    assert {"report.html", "errors.png", "gru.py"} <= {path.name for path in Path().iterdir()}


@pytest.mark.slow
def test_the_section_of_the_readme_runs(names: dict[str, Any]) -> None:
    (code,) = blocks(SECTION)
    exec(code, names)
    assert set(names["board"].leaderboard["model"]) >= {"naive", "ridge", "lstm", "gru"}


def test_every_public_name_stands_on_the_page() -> None:
    offered = set(forecast.__all__) - {"__version__"}
    first = PAGE[PAGE.index("`import forecast` offers") : PAGE.index("## First forecast")]
    assert set(re.findall(r"`(\w+)`", first)) == offered
