"""The page's diagnostics: what goes on inside the networks, and what the errors still contain.

Of each network that stage `train` looked into (`ExaminedNetwork`): memory, saturation and stability
as one table and as curves over lag, row and step of a closed loop. Of the shown models: one-step
residuals with Ljung-Box's test, their bias and their autocorrelations. All is read from the
records, nothing is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from forecast.data.comparison_records import ResidualDiagnosis
from forecast.data.records import Diagnostics
from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.report import text
from forecast.report.charts import Axes, Floats, Line, floats, line_chart, stem_chart
from forecast.report.figures import (
    LINEAR,
    Panel,
    has_several_series,
    role_of,
    step_unit,
    title_of_series,
)
from forecast.report.text import (
    EMPTY,
    MOST_SERIES,
    Cell,
    Row,
    Table,
    chosen_class,
    number,
    share,
    whole,
    without_column,
    worse_class,
)

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
    (
        "Looks back",
        "Rows back to where the forecast's gradient stays below 1 % of its greatest value",
    ),
    (
        "Memory",
        "Rows until 1 % of a disturbance of the state is left; of the layer that keeps it longest",
    ),
    (
        "Spectral radius",
        (
            "Of W in simple cells, of the state's Jacobian in the others; above 1 disturbances may"
            " grow"
        ),
    ),
    (
        "Lyapunov exponent",
        "Growth of a disturbance per row, as a power of e; above 0 gradients explode",
    ),
    (
        "Saturated",
        (
            "Share of squashed values where the slope is below 5 % of its maximum; near 1 it hardly"
            " learns"
        ),
    ),
    ("Closed loop", "Recursive models on their own forecasts, 96 steps on"),
    ("Loop's reach", "Farthest from the last value, in scaled units"),
]


@dataclass(frozen=True)
class ExaminedNetwork:
    """The diagnostics of one candidate's first seed."""

    model: str
    ranking: str
    diagnostics: Diagnostics


def examined_networks(results: Results) -> list[ExaminedNetwork]:
    """Every candidate that was looked into, rankings one after another, by name."""
    networks: list[ExaminedNetwork] = []
    by_name = sorted(results.records.values(), key=attrgetter("model"))
    for ranking in RANKINGS:
        networks += [
            ExaminedNetwork(record.model, ranking, record.diagnostics)
            for record in by_name
            if record.ranking == ranking and record.diagnostics is not None
        ]
    return networks


def network_table(results: Results) -> Table | None:
    """One row per examined network; None without any."""
    rows = [_network_row(network) for network in examined_networks(results)]
    return Table(COLUMNS, rows) if rows else None


def _network_row(network: ExaminedNetwork) -> Row:
    """Its numbers in the order of `COLUMNS`."""
    numbers = network.diagnostics.numbers
    verdict = network.diagnostics.loop_verdict
    loop = EMPTY
    if verdict:
        loop = Cell(verdict, verdict, LOOPS[verdict], text.worse_class(verdict not in SAFE))
    memory = whole(numbers.memory)
    if memory is EMPTY and numbers.layers:
        memory = Cell("beyond the window", 1e9)
    cells = [
        Cell(RANKING_TITLES[network.ranking], network.ranking),
        whole(looks_back(network)),
        memory,
        number(numbers.spectral_radius),
        number(numbers.lyapunov),
        share(numbers.saturated),
        loop,
        number(numbers.loop.reach if numbers.loop else None),
    ]
    return Row(network.model, cells)


def looks_back(network: ExaminedNetwork) -> int | None:
    """The last of the lags whose gradient is at least 1 % of the greatest; None without any
    gradient.
    """
    arrays = network.diagnostics.arrays
    gradient = floats(arrays.gradient)
    greatest = np.nanmax(gradient, initial=0.0)
    if not greatest > 0:
        return None
    return int(np.asarray(arrays.lags)[gradient >= SEEN * greatest].max())


def describe_unstable_loops(results: Results) -> list[str]:
    """The closed loops that do not hold, one sentence each."""
    sentences = []
    for network in examined_networks(results):
        word = network.diagnostics.loop_verdict
        if word and word not in SAFE:
            title = RANKING_TITLES[network.ranking]
            sentences.append(
                f"{text.name(network.model)} ({title}): its closed loop is {word}: it"
                f" {LOOPS[word]}."
            )
    return sentences


def network_panels(results: Results) -> list[Panel]:
    """Gradient by lag of every network, decay of the state of the recurrent ones, closed loops;
    each per ranking.
    """
    panels = []
    curves = ((_gradients, looks_back), (_decays, _memory), (_loops, _no_row))
    for draw_curves, row_of in curves:
        for ranking in RANKINGS:
            mine = [network for network in examined_networks(results) if network.ranking == ranking]
            lines, axes = draw_curves(results, mine)
            if not lines:
                continue
            # where each line falls below 1 %, for a reader who cannot touch them
            reached = []
            for network in mine:
                row = row_of(network)
                if row is not None:
                    reached.append((row, text.name(network.model)))
            note = ""
            if reached:
                listed = ", ".join(f"{name} {row}" for row, name in sorted(reached))
                note = f"1 % is reached after: {listed} rows"
            title = f"{RANKING_TITLES[ranking].capitalize()}: {axes.label}"
            panels.append(Panel(title, line_chart(lines, replace(axes, label=title)), note))
    return panels


def _memory(network: ExaminedNetwork) -> int | None:
    """Rows until 1 % of a disturbance of the state is left; None where it is not known."""
    return network.diagnostics.numbers.memory


def _no_row(network: ExaminedNetwork) -> None:
    """A closed loop has no row of that kind."""


def _line(results: Results, network: ExaminedNetwork, x: Floats, y: Floats) -> Line:
    """The curve of one network; one without a part of its own shows its name on touch."""
    role = role_of(results, network.ranking, network.model)
    name = text.name(network.model)
    tip = name if role == "other" else ""
    return Line(name, x, y, role, network.model, tip=tip)


def _gradients(results: Results, mine: list[ExaminedNetwork]) -> tuple[list[Line], Axes]:
    """The forecast's gradient with respect to past rows, as a share of its greatest."""
    lines = []
    lags: Sequence[int] = ()
    for network in mine:
        gradient = floats(network.diagnostics.arrays.gradient)
        if np.nanmax(gradient, initial=0.0) > 0:
            lags = network.diagnostics.arrays.lags
            shares = _powers(gradient / np.nanmax(gradient))
            lines.append(_line(results, network, np.log1p(lags), shares))
    label = "how far back the forecast looks"
    return lines, _axes(label, "gradient, of its greatest", "rows before the origin", lags)


def _decays(results: Results, mine: list[ExaminedNetwork]) -> tuple[list[Line], Axes]:
    """Of the layer that keeps a disturbance longest, at the lags of the gradient."""
    lines: list[Line] = []
    lags: list[int] = []
    for network in mine:
        layers = [floats(decay) for decay in network.diagnostics.arrays.decay.values()]
        if layers:
            slowest = max(layers, key=lambda decay: float(np.nansum(np.clip(decay, 0, 1))))
            lags = [lag for lag in network.diagnostics.arrays.lags if lag < len(slowest)]
            lines.append(_line(results, network, np.log1p(floats(lags)), _powers(slowest[lags])))
    label = "what is left of a disturbance of the state"
    return lines, _axes(label, "share left", "rows later", lags)


def _loops(results: Results, mine: list[ExaminedNetwork]) -> tuple[list[Line], Axes]:
    """The distance of each closed loop from its last value; there are few, so all are named."""
    lines = []
    for network in mine:
        path = floats(network.diagnostics.arrays.free_run)
        if np.isfinite(path).any():
            steps = np.arange(1.0, len(path) + 1)
            line = _line(results, network, steps, np.minimum(path, BOUND))
            if line.role == "other":
                line = replace(line, role="network", tip="")
            lines.append(line)
    ticks = [(float(step), str(step)) for step in (1, 24, 48, 72, 96)]
    axes = Axes(
        "recursive models on their own forecasts",
        "steps of the closed loop",
        "distance from the last value, scaled units",
        ticks,
    )
    return lines, axes


def _axes(label: str, y_title: str, x_title: str, lags: Sequence[int]) -> Axes:
    """Both axes logarithmic, as `np.log1p` of the rising `lags` and powers of ten of a share; ticks
    at the lags nearest to `TICKS`.
    """
    x_ticks = []
    if lags:
        nearest = np.abs(np.subtract.outer(TICKS, lags)).argmin(axis=1)
        shown_lags = dict.fromkeys(lags[place] for place in nearest)
        x_ticks = [
            (float(np.log1p(lag)), str(lag))
            for lag in shown_lags
            if lag == lags[-1] or 1.4 * lag < lags[-1]
        ]
    return Axes(
        label=label,
        x_title=x_title,
        y_title=y_title,
        x_ticks=x_ticks,
        y_range=(FLOOR, 0.4),
        moments=[f"{lag} {x_title}" for lag in lags],
        show=_percent_of_power,
    )


def _percent_of_power(power: float) -> str:
    """-1 as `10 %`."""
    return f"{100 * 10**power:.3g} %"


def _powers(values: Floats) -> Floats:
    """Of ten, not below `FLOOR`."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(np.abs(values)), FLOOR)


RANKING = "shipped"
"""What residuals are shown of."""
LEVEL = 0.05


def shown_models(results: Results) -> list[str]:
    """The selected model, the best network, the ridge, naive and seasonal naive, as far as there
    are residuals of them.
    """
    candidates = [
        results.selected_model(RANKING),
        results.best_network(RANKING),
        LINEAR,
        "naive",
    ]
    if results.dataset.season_length > 1:
        candidates.append("seasonal_naive")
    diagnosed = {diagnosis.model for diagnosis in _select_shipped(results)}
    return [model for model in dict.fromkeys(candidates) if model and model in diagnosed]


def _select_shipped(results: Results) -> list[ResidualDiagnosis]:
    """Those of the ranking `RANKING`, baselines included."""
    return [d for d in results.residuals if d.ranking in (RANKING, "baseline")]


def residual_table(results: Results) -> Table | None:
    """One row per series and shown model; None without any residuals."""
    diagnoses = _diagnoses_of(results, shown_models(results))
    if not diagnoses:
        return None
    columns = [
        ("Model", ""),
        ("Series", ""),
        ("Residuals", "One-step errors of the test block, first seed"),
        ("Mean", "In the units the target was modelled in, ± two standard errors: is it biased?"),
        ("Lags", "How many autocorrelations were looked at together"),
        (
            "Ljung-Box p",
            "Small: the errors are not independent of each other; assumes a constant variance",
        ),
        (
            "p, any variance",
            "The same question without assuming a constant variance; on prices, read this one",
        ),
        ("Largest autocorrelation", "Of those lags, and the lag it is at"),
    ]
    chosen = results.selected_model(RANKING)
    rows = []
    for diagnosis in diagnoses:
        cls = chosen_class(diagnosis.model == chosen)
        rows.append(Row(diagnosis.model, _residual_cells(diagnosis), cls=cls))
    table = Table(columns, rows)
    return table if has_several_series(results) else without_column(table, "Series")


def _diagnoses_of(results: Results, models: list[str]) -> list[ResidualDiagnosis]:
    """Those of `models` as shipped, series after series."""
    by_key = {
        (diagnosis.series, diagnosis.model): diagnosis for diagnosis in _select_shipped(results)
    }
    diagnoses = []
    for series in results.series[:MOST_SERIES]:
        diagnoses += [by_key[series, model] for model in models if (series, model) in by_key]
    return diagnoses


def _residual_cells(diagnosis: ResidualDiagnosis) -> list[Cell]:
    """Its series and statistics in the order of the table's columns."""
    correlations = floats(diagnosis.autocorrelation)
    lag = int(np.argmax(np.abs(correlations)))
    largest = float(correlations[lag])
    mean = diagnosis.mean or 0.0
    two_errors = 2 * (diagnosis.mean_error or 0.0)
    shown_mean = f"{text.figure(mean, 3)} ± {text.figure(two_errors, 2)}"
    return [
        Cell(diagnosis.series, diagnosis.series),
        whole(diagnosis.n),
        Cell(shown_mean, mean, "", worse_class(abs(mean) > two_errors)),
        whole(diagnosis.lags),
        _p_cell(diagnosis.p),
        _p_cell(diagnosis.p_robust),
        Cell(f"{text.figure(largest, 2)} at lag {lag + 1}", abs(largest)),
    ]


def _p_cell(value: float | None) -> Cell:
    """A p-value without `p =`; one below `LEVEL` is marked."""
    if value is None:
        return EMPTY
    p_text = text.p_value(value).removeprefix("p = ").removeprefix("p ")
    return Cell(p_text, value, "", worse_class(value < LEVEL))


def residual_panels(results: Results) -> list[Panel]:
    """The autocorrelations of the first shown model's residuals, per series."""
    diagnoses = _diagnoses_of(results, shown_models(results)[:1])
    return [_residual_panel(results, diagnosis) for diagnosis in diagnoses]


def _residual_panel(results: Results, diagnosis: ResidualDiagnosis) -> Panel:
    """Its autocorrelations as stems inside the band of chance, which are counted below."""
    title = title_of_series(results, text.name(diagnosis.model), diagnosis.series)
    values = floats(diagnosis.autocorrelation)
    band = floats(diagnosis.band)
    outside = int((np.abs(values) > band).sum())
    x_title = f"lag, {step_unit(results.dataset)}"
    if results.dataset.step_size > 1:
        x_title = f"lag, in steps of {results.dataset.step_size} {step_unit(results.dataset)}"
    label = f"Autocorrelation of one-step errors, {title}"
    svg = stem_chart(values, band, label=label, x_title=x_title)
    by_chance = text.figure(LEVEL * len(values), 2)
    note = (
        f"{outside} of {len(values)} outside the band; {by_chance} of {len(values)} would be by"
        " chance"
    )
    return Panel(title, svg, note, diagnosis.model)
