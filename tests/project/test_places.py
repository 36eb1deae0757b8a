"""The docstrings name modules, functions and fields of the package that are there."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_project import ROOT

PACKAGE = ROOT / "forecast"
MODULES = sorted(PACKAGE.rglob("*.py"))
PLACE = re.compile(r"`(?:forecast\.)?([a-z_]+(?:\.[A-Za-z_]+)+)`")
FILE_ENDINGS = ("json", "parquet")
"""`report.json` is a file and no field of `report`."""


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements inside of `node`, at any depth; a walk over expressions would be slow."""
    for part in (*getattr(node, "body", ()), *getattr(node, "orelse", ())):
        if isinstance(part, ast.stmt):
            yield part
            yield from statements(part)


def docstrings(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Every text that stands alone, with the parameters of the function that it describes."""
    for node in (tree, *statements(tree)):
        parameters = set()
        if isinstance(node, ast.FunctionDef):
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            parameters = {parameter.arg for parameter in every}
        for statement in getattr(node, "body", ()):
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value, parameters


@functools.cache
def names(path: Path) -> frozenset[str]:
    """All that a module defines, assigns or imports."""
    found_names: set[str] = set()
    for node in statements(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found_names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found_names |= {alias.asname or alias.name for alias in node.names}
        else:
            for target in (*getattr(node, "targets", ()), getattr(node, "target", None)):
                found_names |= {getattr(target, "id", ""), getattr(target, "attr", "")}
    return frozenset(found_names)


def modules_of(place: list[str], speaker: Path) -> Iterator[tuple[Path, list[str]]]:
    """The modules that `place` may begin with, below each folder above `speaker`, and the names
    that are left of it; none where the first name is no module.
    """
    for folder in speaker.relative_to(ROOT).parents[:-1]:
        path = ROOT / folder
        left = list(place)
        while left and (path / left[0] / "__init__.py").exists():
            path /= left.pop(0)
        if left and (path / f"{left[0]}.py").exists():
            yield path / f"{left[0]}.py", left[1:]
        elif left != place:
            yield path / "__init__.py", left


def missing_places(speaker: Path, tree: ast.Module) -> list[str]:
    """The places named in docstrings of `speaker` that the package does not have."""
    missing = []
    for text, parameters in docstrings(tree):
        for dotted in PLACE.findall(text):
            place = dotted.split(".")
            modules = [*modules_of(place, speaker)]
            if not modules or place[0] in parameters or place[-1] in FILE_ENDINGS:
                continue
            if not any({*left} <= names(path) for path, left in modules):
                missing.append(dotted)
    return missing


def test_every_place_that_a_docstring_names_is_there() -> None:
    missing = {
        path.relative_to(PACKAGE).as_posix(): missing_places(path, parse(path)) for path in MODULES
    }
    assert {path: places for path, places in missing.items() if places} == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("See `comparison.losses.select_models`.", []),
        ("See `losses.select_models`.", []),
        ("See `comparison.losses.select_winner`.", ["comparison.losses.select_winner"]),
        ("See `losses.select_winner`.", ["losses.select_winner"]),
        ("See `tracking.wrting`.", ["tracking.wrting"]),
        ("See `series.values` and `scores.json`.", []),
    ],
)
def test_a_place_that_is_not_there_is_found(text: str, missing: list[str]) -> None:
    tree = ast.parse(f'"""{text}"""')
    assert missing_places(PACKAGE / "comparison" / "verdicts.py", tree) == missing


def test_a_parameter_that_is_named_like_a_module_is_no_module() -> None:
    tree = ast.parse('def notify(hooks):\n    """If `hooks.on` has it; `hooks.off` is none."""')
    assert missing_places(PACKAGE / "operations" / "hooks.py", tree) == []
