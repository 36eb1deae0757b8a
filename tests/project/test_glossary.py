"""The glossary and the code name the same things."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| term")
]


def defining_module(dotted: str) -> tuple[Path, str]:
    """The file of the longest module in `dotted`, and the symbol that is left of it."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.exists():
                return file, ".".join(parts[length:])
    raise AssertionError(f"{dotted}: no such module")


def symbols(tree: ast.Module) -> set[str]:
    """What a module defines or hands on at its top, and `Class.field` of its classes."""
    names: set[str] = set()
    for node in tree.body:
        names |= _names(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for part in node.body for name in _names(part)}
    return names


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_the_glossary_has_about_sixty_terms_each_once() -> None:
    terms = [term for row in ROWS for term in re.split(r", ", row[0])]
    assert 50 <= len(terms) <= 80
    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_term_has_one_sentence_and_is_defined_where_the_glossary_says(row: list[str]) -> None:
    _, meaning, _, place = row
    assert meaning.endswith(".") and len(meaning.split()) <= 30
    file, symbol = defining_module(place.strip("`"))
    if symbol:
        assert symbol in symbols(ast.parse(file.read_text(encoding="utf-8")))


def test_readme_and_report_link_to_the_glossary() -> None:
    assert "docs/glossary.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    templates = (ROOT / "forecast" / "report" / "templates").glob("*")
    assert any("glossary.md" in path.read_text(encoding="utf-8") for path in templates)
