"""Inside the networks: memory, saturation and stability as one table and as curves over lag, row and step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.report import text
from forecast.report.charts import Axes, Line, line_chart
from forecast.report.figures import Panel, role_of
from forecast.report.svg import Floats
from forecast.report.text import EMPTY, Cell, Row, Table, number, whole

SAFE = ("stable", "marginal")
LOOPS = {
    "stable": "forgets a disturbance and stays within bounds",
    "marginal": "keeps a disturbance as it is, like a random walk",
    "sensitive": "amplifies a disturbance within bounds, as chaos does",
    "drifting": "leaves the range of the train data without amplifying, like a straight line",
    "unstable": "leaves the range of the train data and amplifies",
}
FLOOR = -3.5  # powers of ten below which a curve is on the ground
SEEN = 0.01
TICKS = (0, 1, 3, 9, 25, 65, 1000)
BOUND = 30.0
"""A little above where a loop counts as having left: what explodes is cut there."""
COLUMNS = [
    ("Model", ""),
    ("Ranking", "Which skip connection it was trained with"),
    ("Looks back", "Rows back to where the forecast's gradient stays below 1 % of its greatest value"),
    ("Memory", "Rows until 1 % of a disturbance of the state is left; of the layer that keeps it longest"),
    (
        "Spectral radius",
        "Of W in the simple cells, of the state's Jacobian in the others; above 1 disturbances may grow",
    ),
    ("Lyapunov exponent", "Growth of a disturbance per row, as a power of e; above 0 gradients explode"),
    ("Saturated", "Share of squashed values where the slope is below 5 % of its maximum; near 1 it hardly learns"),
    ("Closed loop", "Recursive models on their own forecasts, 96 steps on"),
    ("Loop's reach", "Farthest from the last value, in scaled units"),
]
Record = dict[str, Any]


@dataclass(frozen=True)
class Inside:
    """The diagnostics of one candidate's first seed."""

    record: Record
    numbers: dict[str, Any]
    arrays: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.record["model"])

    @property
    def ranking(self) -> str:
        return str(self.record["ranking"])

    @property
    def loop(self) -> dict[str, Any]:
        return dict(self.numbers.get("loop") or {})

    @property
    def recurrent(self) -> bool:
        return bool(self.numbers.get("layers"))


def examined(results: Results) -> list[Inside]:
    """Every candidate that was looked into, rankings one after another, by name."""
    found = []
    for record in results.records.values():
        parts = record.get("diagnostics") or {}
        if parts:
            found.append(Inside(record, parts["numbers"], parts["arrays"]))
    return sorted(found, key=lambda inside: (RANKINGS.index(inside.ranking), inside.model))


def table(results: Results) -> Table | None:
    rows = [_row(inside) for inside in examined(results)]
    return Table(COLUMNS, rows) if rows else None


def _row(inside: Inside) -> Row:
    numbers, verdict = inside.numbers, str(inside.loop.get("verdict", ""))
    mark = "" if verdict in SAFE else "w-worse"
    memory = EMPTY if not inside.recurrent else Cell("beyond the window", float("1e9"))
    if numbers.get("memory") is not None:
        memory = whole(numbers["memory"])
    saturated = numbers.get("saturated")
    cells = [
        Cell(RANKING_TITLES[inside.ranking], inside.ranking),
        whole(looks_back(inside)),
        memory,
        number(numbers.get("spectral_radius")),
        number(numbers.get("lyapunov")),
        EMPTY if saturated is None else Cell(text.percent(saturated), float(saturated)),
        Cell(verdict, verdict, LOOPS[verdict], mark) if verdict else EMPTY,
        number(inside.loop.get("reach")),
    ]
    return Row(inside.model, cells)


def looks_back(inside: Inside) -> int | None:
    """The last of the lags whose gradient is at least 1 % of the greatest; None without any gradient."""
    arrays = inside.arrays
    gradient = _floats(arrays.get("gradient"))
    greatest = np.nanmax(gradient, initial=0.0)
    if not greatest > 0:
        return None
    return int(np.asarray(arrays["lags"])[gradient >= SEEN * greatest].max())


def alarms(results: Results) -> list[str]:
    """The closed loops that do not hold, one sentence each."""
    said = []
    for inside in examined(results):
        verdict = str(inside.loop.get("verdict", "stable"))
        if verdict not in SAFE:
            name = f"{text.name(inside.model)} ({RANKING_TITLES[inside.ranking]})"
            said.append(f"{name}: its closed loop is {verdict}: it {LOOPS[verdict]}.")
    return said


def panels(results: Results) -> list[Panel]:
    """Gradient by lag of every network, decay of the state of the recurrent ones, closed loops; each per ranking."""
    found = []
    for drawn, noted in ((_gradients, looks_back), (_decays, _memory), (_loops, None)):
        for ranking in RANKINGS:
            mine = [inside for inside in examined(results) if inside.ranking == ranking]
            lines, axes = drawn(results, mine)
            if lines:
                name = f"{RANKING_TITLES[ranking].capitalize()}: {axes.label}"
                note = _note(mine, noted) if noted else ""
                found.append(Panel(name, line_chart(lines, replace(axes, label=name)), note))
    return found


def _note(mine: list[Inside], rows: Callable[[Inside], int | None]) -> str:
    """Where each line falls below 1 %, for a reader who cannot touch them."""
    known = sorted((value, text.name(inside.model)) for inside in mine if (value := rows(inside)) is not None)
    return f"1 % is reached after: {', '.join(f'{name} {value}' for value, name in known)} rows" if known else ""


def _memory(inside: Inside) -> int | None:
    found = inside.numbers.get("memory")
    return None if found is None else int(found)


def _line(results: Results, inside: Inside, x: Floats, y: Floats) -> Line:
    role, name = role_of(results, inside.ranking, inside.model), text.name(inside.model)
    return Line(name, x, y, role, inside.model, tip=name if role == "other" else "")


def _gradients(results: Results, mine: list[Inside]) -> tuple[list[Line], Axes]:
    lines = []
    for inside in mine:
        gradient, lags = _floats(inside.arrays.get("gradient")), _floats(inside.arrays.get("lags"))
        if np.nanmax(gradient, initial=0.0) > 0:
            lines.append(_line(results, inside, np.log1p(lags), _powers(gradient / np.nanmax(gradient))))
    lags = mine[0].arrays.get("lags", []) if mine else []
    axes = _axes("how far back the forecast looks", "gradient, of its greatest", "rows before the origin", lags)
    return lines, axes


def _decays(results: Results, mine: list[Inside]) -> tuple[list[Line], Axes]:
    """Of the layer that keeps a disturbance longest, at the lags of the gradient."""
    lines: list[Line] = []
    lags: list[int] = []
    for inside in mine:
        layers = [_floats(decay) for decay in inside.arrays.get("decay", {}).values()]
        if layers:
            slowest = max(layers, key=lambda decay: float(np.nansum(np.clip(decay, 0, 1))))
            lags = [lag for lag in inside.arrays["lags"] if lag < len(slowest)]
            lines.append(_line(results, inside, np.log1p(_floats(lags)), _powers(slowest[lags])))
    return lines, _axes("what is left of a disturbance of the state", "share left", "rows later", lags)


def _loops(results: Results, mine: list[Inside]) -> tuple[list[Line], Axes]:
    lines = []
    for inside in mine:
        path = _floats(inside.arrays.get("free_run"))
        if len(path) and np.isfinite(path).any():
            lines.append(_line(results, inside, np.arange(1.0, len(path) + 1), np.minimum(path, BOUND)))
    lines = [replace(line, role="network" if line.role == "other" else line.role, tip="") for line in lines]
    steps = [1, 24, 48, 72, 96]
    axes = Axes(
        label="recursive models on their own forecasts",
        x_title="steps of the closed loop",
        y_title="distance from the last value, scaled units",
        x_ticks=[(float(step), str(step)) for step in steps],
    )
    return lines, axes


def _axes(label: str, y_title: str, x_title: str, lags: list[int]) -> Axes:
    shown = dict.fromkeys(min(lags, key=lambda lag: abs(lag - wanted)) for wanted in TICKS if lags)
    return Axes(
        label=label,
        x_title=x_title,
        y_title=y_title,
        x_ticks=[(float(np.log1p(lag)), str(lag)) for lag in shown if lag >= lags[-1] or 1.4 * lag < lags[-1]],
        y_range=(FLOOR, 0.4),
        moments=[f"{lag} {x_title}" for lag in lags],
        show=_share,
    )


def _share(power: float) -> str:
    """10^power as a share: `1 %`, `0.1 %`."""
    return f"{100 * 10**power:.3g} %"


def _powers(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(np.abs(values)), FLOOR)


def _floats(values: Any) -> Floats:
    """None becomes NaN."""
    return np.array(values if values is not None else [], dtype=float)
