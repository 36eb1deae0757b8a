"""How numbers, dates and names are shown to people, in the report and the terminal; the tables of
the page (`Table`, `Row`, `TableCell`); and the templates (`render`).

A missing value (None, an empty text, a number that is not finite) is shown as an en dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup, escape

# the page and the sentences of the comparison list names alike
from forecast.comparison.sentences import listing as listing
from forecast.comparison.sentences import p_text
from forecast.data.comparison_records import PairedTest
from forecast.data.results import as_reported
from forecast.system.errors import MINUS, plural, with_minus
from forecast.system.progress import format_duration

MOST_SERIES = 4
"""Most series of a dataset with charts (the largest) and columns (the first) of their own."""
MOST_LISTED = 10
"""Most series in a list."""
TEMPLATES = Path(__file__).parent / "templates"
NOTHING = "–"
BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|s|min|h|°C)(?!\w))")
"""The blank between a number and its unit."""
WORD_MARKS = {
    "better": "▲",
    "worse": "▼",
    "equivalent": "=",
    "not distinguishable": "≈",
    "undecided": "?",
}


def is_missing(value: Any) -> bool:
    """Whether there is nothing to show: None, an empty text, or a number that is not finite."""
    return value is None or value == "" or (isinstance(value, float) and not math.isfinite(value))


def figure(value: Any, digits: int = 4) -> str:
    """`digits` significant digits, thousands separated: 0.01234, 1.288, 12,340."""
    if is_missing(value):
        return NOTHING
    number = float(value)
    if abs(number) < 5e-11:  # of which ten decimals show nothing
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{min(decimals, 10)}f}".replace("-", MINUS)


def plus_minus(mean: float, spread: float) -> str:
    """Mean and spread with equal decimals: `1.211 ± 0.006`."""
    mean_text = figure(mean)
    decimals = len(mean_text.partition(".")[2])
    return f"{mean_text} ± {spread:,.{decimals}f}"


def abridge(items: Sequence[str], separator: str = ", ") -> str:
    """The first `MOST_LISTED` items, and the number of others, unless only one is left."""
    if len(items) > MOST_LISTED + 1:
        items = [*items[:MOST_LISTED], f"and {len(items) - MOST_LISTED} more"]
    return separator.join(items)


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    return NOTHING if is_missing(value) else f"{int(value):,}"


def percent(share: Any, *, decimals: int = 1) -> str:
    """0.123 as `12.3 %`."""
    if is_missing(share):
        return NOTHING
    return f"{100 * float(share):.{decimals}f} %".replace("-", MINUS)


def level(percent: float) -> str:
    """The level of an interval: 95 as `95 %`."""
    return f"{float(percent):.4g} %"


def signed_percent(share: Any) -> str:
    """0.123 as `+12.3 %`; below 1 % with two decimals, so that small differences are not zero. The
    sentences of the comparison have a form of their own (`comparison.sentences.signed_percent`).
    """
    if is_missing(share):
        return NOTHING
    value = 100 * as_reported(float(share))
    decimals = 1 if abs(value) >= 1 else 2
    if round(value, decimals) == 0:
        return "0.00 %"
    return f"{value:+.{decimals}f} %".replace("-", MINUS)


def duration(value: Any) -> str:
    """Seconds as `0.4 s`, from ten seconds on as `format_duration` has them."""
    if is_missing(value):
        return NOTHING
    return f"{value:.1f} s" if value < 10 else format_duration(value)


def moment(value: datetime, *, hours: bool) -> str:
    """`2 Jul 2025 06:00` or, for daily data, `2 Jul 2025`."""
    day = f"{value.day} {value:%b %Y}"
    return f"{day} {value:%H:%M}" if hours else day


def name(model: str) -> str:
    """The name of a model for people: `seasonal_naive` is `seasonal naive`."""
    return model.replace("_", " ")


def in_brackets(unit: str) -> str:
    """A unit as it stands after a heading: ` [°C]`; empty without a unit."""
    return f" [{unit}]" if unit else ""


def describe_numbers(test: PairedTest) -> str:
    """The numbers of a test, as far as it has them: the limits of the relative difference, the
    corrected p, and the difference that it finds in four of five samples. `, 95 % interval −15.0 %
    to −9.6 %, Holm p = 0.012, +3.1 % would be found`.
    """
    words = ""
    if test.relative_limits is not None:
        low, high = map(signed_percent, test.relative_limits)
        words += f", 95 % interval {low} to {high}"
    if test.p_holm is not None:
        words += f", Holm {p_text(test.p_holm)}"
        if test.detectable is not None:
            # with the sign of the observed difference
            difference = math.copysign(test.detectable, test.relative_difference or 0.0)
            words += f", {signed_percent(difference)} would be found"
    return words


def word_class(word: str) -> str:
    """The CSS class of the word of a test."""
    return "w-" + word.replace(" ", "-")


@dataclass(frozen=True)
class TableCell:
    """A cell: its text, the value it is sorted by (None is last), a tooltip, a CSS class."""

    content: str | Markup
    value: float | str | None = None
    tip: str = ""
    cls: str = ""


@dataclass(frozen=True)
class Row:
    """A row: the model for the filter of the page, its cells and marks; a failed one has a note."""

    model: str
    cells: list[TableCell]
    marks: list[str] = field(default_factory=list)
    cls: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table. `columns` are (title, explanation): first that of `Row.model`, then those of
    `Row.cells`.
    """

    columns: list[tuple[str, str]]
    rows: list[Row]


def columns(table: str, **words: str | int) -> list[tuple[str, str]]:
    """The columns of `table` in templates/columns.yaml; `words` replace the names in braces."""
    texts = _column_texts()[table].items()
    return [(title.format(**words), tip.format(**words)) for title, tip in texts]


@cache
def _column_texts() -> Mapping[str, Mapping[str, str]]:
    """The content of columns.yaml: headings and their explanations by table."""
    content: Mapping[str, Mapping[str, str]] = yaml.safe_load(
        (TEMPLATES / "columns.yaml").read_text(encoding="utf-8")
    )
    return content


def drop_lone_series(table: Table, series: Sequence[str]) -> Table:
    """The table; if there is only one series, without its second column, that of the series."""
    if len(series) > 1:
        return table
    rows = [replace(row, cells=row.cells[1:]) for row in table.rows]
    return Table([table.columns[0], *table.columns[2:]], rows)


EMPTY = TableCell(NOTHING)


def cell(value: Any, write: Callable[[Any], str]) -> TableCell:
    """The cell of a number, shown by `write` and sorted by its exact value."""
    return EMPTY if is_missing(value) else TableCell(write(value), float(value))


def number(value: Any) -> TableCell:
    """The cell of a number with four significant digits."""
    return cell(value, figure)


def whole(value: Any) -> TableCell:
    """The cell of a whole number with thousands separators."""
    return cell(value, count)


def share(value: Any) -> TableCell:
    """The cell of a share as a percentage with one decimal."""
    return cell(value, percent)


def short(value: float) -> str:
    """A coordinate with one decimal at most: 12, 3.4."""
    return f"{value:.1f}".removesuffix(".0").replace("-0.0", "0")


def as_markup(written_text: str) -> Markup:
    """Text as markup: only for text of this package, in which all foreign text is escaped."""
    return Markup(written_text)  # noqa: S704


def mark_code(sentence: str) -> Markup:
    """The sentence as escaped markup, with text in backticks as code."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(with_minus(sentence))))
    return as_markup(marked)


def render(template: str, **content: Any) -> Markup:
    """The template filled with `content`, which is escaped; no line breaks between a number and its
    unit.
    """
    filled = _environment().get_template(template).render(content)
    return as_markup(BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", filled))


@cache
def _environment() -> Any:
    """The Jinja environment with the templates and filters of the page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        name=name,
        count=count,
        listing=listing,
        code=mark_code,
        plural=plural,
        px=short,
        signed_percent=signed_percent,
        word_class=word_class,
    )
    environment.tests["finite"] = math.isfinite
    return environment
