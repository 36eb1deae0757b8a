"""docs/models.md against the catalogue: every family has its row, and what a row names is there."""

from __future__ import annotations

import re

import pytest

from forecast.config.models import load_models
from forecast.models import catalogue
from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
OWN = PAGE[PAGE.index("<!-- end of families -->") :]  # before it stands what `make docs` makes
ROWS = {
    match[1]: line
    for line in OWN.splitlines()
    if (match := re.match(r"\| \[(\w+)\]\(\.\./forecast/models/families/", line))
}
COLUMNS = ("family", "good", "bad", "test")


def cells(family: str) -> dict[str, str]:
    parts = [part.strip() for part in ROWS[family].strip("|").split("|")]
    return dict(zip(COLUMNS, parts, strict=True))


def test_every_family_has_one_row_and_no_row_is_of_another() -> None:
    assert set(ROWS) == set(catalogue())


@pytest.mark.parametrize("family", ROWS)
def test_a_row_says_what_the_family_is_good_and_bad_at(family: str) -> None:
    row = cells(family)
    assert all(len(row[name].split()) > 3 for name in ("good", "bad"))


@pytest.mark.parametrize("family", ROWS)
def test_the_linked_file_and_the_linked_test_exist(family: str) -> None:
    row = cells(family)
    assert row["family"] == f"[{family}](../forecast/models/families/{family}.py)"
    assert_names_a_test(row["test"])


def assert_names_a_test(cell: str) -> None:
    link = re.fullmatch(r"\[([^]]+)\]\(\.\./(tests/[\w/]+\.py)#(test_\w+)\)", cell)
    assert link, cell
    assert f"def {link[3]}(" in (ROOT / link[2]).read_text(encoding="utf-8")
    assert link[1] == "test"


def test_every_role_names_configurations_that_are_there_and_a_test() -> None:
    section = PAGE[PAGE.index("## Roles") : PAGE.index("## Loops")]
    rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in section.splitlines()
        if "](../" in line
    ]
    assert len(rows) == 5
    known = {*load_models(ROOT / "configs").models, *catalogue()}
    for role in rows:
        assert set(re.findall(r"`(\w+)`", role[1])) <= known
        assert_names_a_test(role[2])


def test_every_family_is_drawn() -> None:
    figures = "\n".join(re.findall(r"^    .+$", PAGE, re.MULTILINE))
    assert not [family for family in catalogue() if not re.search(rf"\b{family}\b", figures)]
