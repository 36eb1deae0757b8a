"""What the intervals of every network hold: coverage, every step, and their score against the references'."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from forecast.report import text
from forecast.report.evidence import RANKING_TITLES, RANKINGS, Evidence
from forecast.report.figures import fitted_skip
from forecast.report.panels import MOST_SERIES
from forecast.report.tables import EMPTY, Cell, Row, Table

FEW = 3
NAIVE_ONES = ("seasonal_naive", "naive")


@dataclass(frozen=True)
class Held:
    """One network, series and level. `worse_than`: reference to the share its interval score lies above it."""

    model: str
    ranking: str
    series: str
    level: float
    coverage: float
    inside: bool
    steps: int
    steps_outside: int
    worse_than: dict[str, float]

    @property
    def all_of_it(self) -> bool:
        return self.inside and not self.steps_outside and all(worse <= 0 for worse in self.worse_than.values())


def held(evidence: Evidence) -> list[Held]:
    """Every network's intervals of the shown method, as shipped and alone, the series that the page shows."""
    networks = {record["model"] for record in evidence.records.values() if record["kind"] == "network"}
    table = evidence.intervals
    references = [next((m for m in NAIVE_ONES if m in set(table["model"])), None), fitted_skip(evidence)]
    wanted = table[table["model"].isin(networks) & table["series"].isin(evidence.series[:MOST_SERIES])]
    keys = ["ranking", "level", "series", "model"]
    found = [
        _of(rows, table, [name for name in references if name])
        for _, rows in sorted(wanted.groupby(keys, sort=True), key=lambda part: _order(part[0]))
    ]
    return [one for one in found if one]


def _order(key: tuple[object, ...]) -> tuple[object, ...]:
    return (RANKINGS.index(str(key[0])) if key[0] in RANKINGS else len(RANKINGS), *key[1:])


def _of(rows: pd.DataFrame, table: pd.DataFrame, references: list[str]) -> Held | None:
    pooled, steps = rows[rows["step"] == 0], rows[rows["step"] > 0].dropna(subset=["coverage"])
    if pooled.empty:
        return None
    one = pooled.iloc[0]
    same = table[(table["series"] == one["series"]) & (table["level"] == one["level"]) & (table["step"] == 0)]
    scores = {str(row["model"]): float(row["winkler"]) for _, row in same[same["ranking"] == "baseline"].iterrows()}
    return Held(
        model=str(one["model"]),
        ranking=str(one["ranking"]),
        series=str(one["series"]),
        level=float(one["level"]),
        coverage=float(one["coverage"]),
        inside=bool(one["inside"]),
        steps=len(steps),
        steps_outside=int((~steps["inside"].astype(bool)).sum()),
        worse_than={name: float(one["winkler"]) / scores[name] - 1 for name in references if scores.get(name)},
    )


def counts(found: list[Held], *, several: bool) -> Table | None:
    """Per ranking, level and series how many networks hold each of what is asked, and which do not hold all of it."""
    if not found:
        return None
    references = list(found[0].worse_than)
    columns = [
        ("Intervals", ""),
        ("Within 3 points", "Networks whose coverage, all steps pooled, is within 3 points of the level"),
        ("Every step", "Networks with no step outside the binomial band, at least 6 points either way"),
        *((f"No worse than {text.name(name)}", "Networks whose Winkler score is no higher") for name in references),
        ("All of it", "Networks for which all of this holds"),
        ("Not so", ""),
    ]
    rows = []
    for key in dict.fromkeys((one.ranking, one.level, one.series) for one in found):
        own = [one for one in found if (one.ranking, one.level, one.series) == key]
        held = [[one.inside for one in own], [not one.steps_outside for one in own]]
        held += [[one.worse_than.get(name, 0.0) <= 0 for one in own] for name in references]
        held += [[one.all_of_it for one in own]]
        missed = [text.name(one.model) for one in own if not one.all_of_it]
        named = (
            text.listing(missed) if len(missed) <= FEW else text.listing([*missed[:FEW], f"{len(missed) - FEW} more"])
        )
        about = f"{RANKING_TITLES.get(key[0], key[0])}, {100 * key[1]:g} %{f', {key[2]}' if several else ''}"
        cells = [Cell(f"{sum(h)} of {len(h)}", sum(h), "", "" if all(h) else "w-worse") for h in held]
        rows.append(Row(about, [*cells, Cell(named or text.NOTHING, named, "", "reason")]))
    return Table(columns, rows)


def table(found: list[Held], *, several: bool) -> Table | None:
    """One row per network, ranking, level and series."""
    if not found:
        return None
    references = list(dict.fromkeys(name for one in found for name in one.worse_than))
    columns = [
        ("Model", ""),
        ("Ranking", ""),
        *([("Series", "")] if several else []),
        ("Level", ""),
        ("Coverage", "All steps pooled; the level, 3 points up or down, is allowed"),
        ("Steps outside", "Steps whose coverage lies outside the binomial band, at least 6 points either way"),
        *(
            (f"Winkler vs {text.name(name)}", "Change of the interval score; below zero is better")
            for name in references
        ),
    ]
    return Table(columns, [_row(one, references, several=several) for one in found])


def _row(one: Held, references: list[str], *, several: bool) -> Row:
    against = [one.worse_than.get(name) for name in references]
    cells = [
        Cell(RANKING_TITLES.get(one.ranking, one.ranking), one.ranking),
        *([Cell(one.series, one.series)] if several else []),
        Cell(f"{100 * one.level:g} %", one.level),
        Cell(text.percent(one.coverage), one.coverage, "", "" if one.inside else "w-worse"),
        Cell(f"{one.steps_outside} of {one.steps}", one.steps_outside, "", "w-worse" if one.steps_outside else ""),
        *(EMPTY if w is None else Cell(text.signed_percent(w), w, "", "w-worse" if w > 0 else "") for w in against),
    ]
    return Row(one.model, cells)
