"""A table of the page: cells carry what is shown and what a sort goes by."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from forecast.report import text


@dataclass(frozen=True)
class Cell:
    """What is shown, the value it is sorted by (None sorts last), a hint on touch, a CSS class."""

    shown: str | Markup
    value: float | str | None = None
    tip: str = ""
    cls: str = ""


@dataclass(frozen=True)
class Row:
    """One row; `model` is what the page's filter knows it by, `note` stands small beside the name."""

    model: str
    cells: list[Cell]
    marks: list[str] = field(default_factory=list)
    cls: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """`columns` are (title, explanation); the first column names the row."""

    columns: list[tuple[str, str]]
    rows: list[Row]


EMPTY = Cell(text.NOTHING)


def number(value: object) -> Cell:
    """Four significant digits, sorted by the exact value."""
    return EMPTY if text.missing(value) else Cell(text.figure(value), float(value))  # type: ignore[arg-type]


def whole(value: object) -> Cell:
    return EMPTY if text.missing(value) else Cell(text.count(value), float(value))  # type: ignore[arg-type]
