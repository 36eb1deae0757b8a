"""The lint of names finds what it is for, and nothing else."""

from __future__ import annotations

import ast

import pytest

from tests.support.plain_names import vague_names


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "def fit(own): ...",
        "for one in rows: ...",
        "lambda told: told",
        "[kept for kept in rows]",
        "def held(rows): ...",
        "def _counted(): ...",
        "try: ...\nexcept ValueError as said: ...",
        "class Fit:\n    about: int",
    ],
)
def test_a_name_that_says_nothing_is_found(code: str) -> None:
    assert len(list(vague_names(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "missing_columns = 1",
        "def fit(rows): ...",
        "class Row:\n    @property\n    def written(self): ...",
        "def count_kept_rows(): ...",
        "print(found)",
    ],
)
def test_a_name_that_says_what_it_holds_is_left_alone(code: str) -> None:
    assert list(vague_names(ast.parse(code))) == []
