"""docs/when-recurrent.md, its three figures and the answer of docs/research/when-recurrent.md, from
bench/results/when-recurrent.csv alone.

`python -m docs.generate` writes them. A cell that was not run is shown as missing. An interval is
of 95 % and not corrected; `holm` over all networks of the file says which gains survive.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.study import (
    ARCHITECTURES,
    BASE,
    FEW,
    FILE,
    STEPS,
    UNITS,
    Setting,
    base_setting,
    planned_cells,
    read_results,
)
from bench.study_systems import SYSTEMS
from forecast.comparison.verdicts import holm
from forecast.report import charts, text

PAGE = "docs/when-recurrent.md"
DESIGN = "docs/research/when-recurrent.md"
FIGURES = "docs/figures/when-recurrent-{}.svg"
SIMULATED = tuple(name for name in BASE if SYSTEMS[name].file is None)
REAL = tuple(name for name in BASE if SYSTEMS[name].file is not None)
SHOWN = ("ffnn", "mlp", "tdnn", "rnn", "lstm", "gru")
"""Of the table of answers and the two figures of base cells."""
COMPARED = ("ridge", "skip", "boosting")
"""A network pays where it is better than each: the ridge, its own linear part, boosted trees."""
NOT_RUN = "–"
SETTING = ["system", "lookback", "series", "months"]
STYLE = (
    "svg{background:#fff;font:12px sans-serif}path{fill:none}text{fill:#1b1c1e}"
    ".tick,.axis{fill:#5d6167}.rule{stroke:#e8e8e8}.base,.zero{stroke:#5d6167}"
    ".span{stroke:#5d6167;stroke-width:2}.point{fill:#5d6167}"
    ".span.w-better{stroke:#006c9e}.point.w-better,.tick.w-better{fill:#006c9e}"
    ".span.w-worse{stroke:#b94e00}.point.w-worse,.tick.w-worse{fill:#b94e00}"
    ".hit{fill:none}.line{stroke-width:2}.line.chosen{stroke:#d55e00}"
    ".line.skip{stroke:#0072b2;stroke-dasharray:7 3}.line.network{stroke:#a24a80;"
    "stroke-dasharray:12 3}.line.seasonal{stroke:#00825f;stroke-dasharray:8 3 2 3}"
    ".dot.chosen{fill:#d55e00}.dot.skip{fill:#0072b2}.dot.network{fill:#a24a80}"
    ".dot.seasonal{fill:#00825f}.name.chosen{fill:#d55e00}.name.skip{fill:#0072b2}.name.network{fill:#a24a80}"
    ".name.seasonal{fill:#00825f}"
)
ROLES = {"gru": "chosen", "lstm": "network", "rnn": "seasonal", "tdnn": "skip"}
DECIDES = {
    "linear": "linear dynamics",
    "threshold": "a threshold in the newest row",
    "fading 5": "a slow state, memory of 5 rows",
    "fading 40": "a slow state, memory of 40 rows",
    "fading 150": "a slow state, memory of 150 rows",
    "delay 40": "the row 40 rows before",
    "volatility": "not known: daily range of two indices, 5 sessions ahead",
    "load": "not known: electricity of Victoria by the hour, a day ahead",
    "stations": "not known: temperature of Beijing by the hour, a day ahead",
    "counts": "not known: hired bicycles by the hour, a day ahead",
}
"""Of each system what its next value depends on."""
FACTORS = {"lookback": (24, 168, 672), "series": (1, 4, 12), "months": (6, 12, 36)}


def results(root: Path) -> pd.DataFrame:
    """The measured cells, with the word of each network against the ridge, and whether it pays.

    The p of "pays", before Holm's correction, is the highest of its three tests, and 1 where its
    error is not the lower one in each (intersection-union, Berger 1982).
    """
    cells = read_results(root / FILE.relative_to(FILE.parents[2]))
    is_network = cells["skip"] != ""
    cells["did_train"] = cells["best_steps"].str.contains("[1-9]")
    cells["is_better"] = (cells["ridge_high"] < 0) & cells["did_train"]
    cells["is_worse"] = (cells["ridge_low"] > 0) & cells["did_train"]
    highs, changes, pvalues = (
        cells[[column.format(other) for other in COMPARED]]
        for column in ("{}_high", "versus_{}", "{}_p")
    )
    cells["pays"] = (highs < 0).all(axis=1) & cells["did_train"]
    highest_p = pvalues.max(axis=1).where((changes < 0).all(axis=1), 1.0)
    cells["holm_p"] = np.nan
    cells.loc[is_network, "holm_p"] = holm(highest_p[is_network].tolist())
    return cells


def is_in_setting(cells: pd.DataFrame, setting: Setting) -> pd.Series:
    """By cell, column by column: to compare rows of a frame takes ten times as long."""
    is_asked = pd.Series(True, cells.index)
    for name in SETTING:
        is_asked &= cells[name] == getattr(setting, name)
    return is_asked


def select(cells: pd.DataFrame, setting: Setting, architecture: str, skip: str) -> pd.Series | None:
    """The row of one cell; None where it was not run."""
    is_asked = is_in_setting(cells, setting)
    is_asked &= (cells["architecture"] == architecture) & (cells["skip"] == skip)
    return cells.iloc[is_asked.argmax()] if is_asked.any() else None


def change(row: pd.Series | None, reference: str = "ridge") -> str:
    """`−9.7 % [−12.2, −7.3]` of the error of the ridge, or of the network's `skip`."""
    if row is None:
        return "missing"
    if row["skip"] and not row["did_train"]:
        return "did not train"
    ends = ", ".join(text.signed_percent(row[f"{reference}_{end}"]) for end in ("low", "high"))
    return f"{text.signed_percent(row[f'versus_{reference}'])} [{ends}]"


def gap_share(cells: pd.DataFrame, setting: Setting, row: pd.Series) -> float:
    """How much of the way from the ridge to the best possible forecast a network goes; NaN where
    no such forecast is known.
    """
    bound = select(cells, setting, "bound", "")
    return math.nan if bound is None else float(row["versus_ridge"] / bound["versus_ridge"])


def gap_closed(cells: pd.DataFrame, setting: Setting, row: pd.Series) -> str:
    """The same in words."""
    share = gap_share(cells, setting, row)
    if math.isnan(share):
        return "missing"
    return text.percent(share, decimals=0) if row["did_train"] else "did not train"


def sentences(cells: pd.DataFrame) -> list[str]:
    """Five, with intervals: how often, where nothing can pay, memory, curvature, real series."""
    return [
        how_often(cells),
        without_anything_to_find(cells),
        on_memory(cells),
        on_curvature_and_delay(cells),
        on_real_series(cells),
    ]


def how_often(cells: pd.DataFrame) -> str:
    on_ridge = cells[cells["skip"] == "linear"]
    trained = on_ridge[on_ridge["did_train"]]
    parts = []
    for kind, names in (("real series", REAL), ("simulated systems", SIMULATED)):
        n_paying, n_cells, survivors = count_paying(trained, names)
        parts.append(
            f"{n_paying} of {n_cells} cells of {kind}, {survivors} after Holm's correction"
        )
    return (
        f"A network on the ridge pays in {'; and in '.join(parts)}."
        f" {int(trained['is_worse'].sum())} of all are worse than the ridge, and"
        f" {len(on_ridge) - len(trained)} more did not train."
    )


def count_paying(cells: pd.DataFrame, systems: Sequence[str]) -> tuple[int, int, int]:
    """Of the cells of `systems`: how many pay, how many there are, how many pay after Holm."""
    rows = cells[cells["system"].isin(systems)]
    return int(rows["pays"].sum()), len(rows), int((rows["pays"] & (rows["holm_p"] < 0.05)).sum())


def answer(root: Path) -> str:
    """The answer on top of the design: what is gained on fading memory, and on real series."""
    cells = results(root)
    fading = [name for name in DECIDES if name.startswith("fading")]
    recurrent = span_of_gaps(cells, fading, ("lstm", "gru"))
    by_memory = [
        f"{span_of_gaps(cells, [name], ('mlp', 'tdnn'))} with a memory of {name.split()[-1]} rows"
        for name in fading
    ]
    on_ridge = cells[(cells["skip"] == "linear") & cells["did_train"]]
    n_paying, n_cells, survivors = count_paying(on_ridge, REAL)
    paragraph = (
        "**Answer.** If the series depends on a slow state with fading memory, an LSTM or a GRU"
        f" closes {recurrent} of the gap between the ridge and the best possible forecast (base"
        f" cells); a network over the whole window closes {', '.join(by_memory)}. If it depends on"
        " a threshold in the newest row, a network without memory is as good. If it depends on one"
        " row long before, a network over the window is good enough, with an l1 penalty. On the"
        " real systems a network added to the ridge is better than all references in"
        f" {n_paying} of {n_cells} cells, after Holm's correction in {survivors}."
        " [The page of results](../when-recurrent.md) has every cell."
    )
    return textwrap.fill(paragraph, 120, break_on_hyphens=False)


def span_of_gaps(cells: pd.DataFrame, systems: Sequence[str], architectures: Sequence[str]) -> str:
    """`88 to 97 %`: the lowest and highest share of the gap that these close on the ridge."""
    shares = []
    for name, architecture in itertools.product(systems, architectures):
        row = select(cells, base_setting(name), architecture, "linear")
        share = math.nan if row is None else gap_share(cells, base_setting(name), row)
        shares.append(share)
    if not all(map(math.isfinite, shares)):
        return "missing"
    return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %"


def without_anything_to_find(cells: pd.DataFrame) -> str:
    rows = cells[is_in_setting(cells, base_setting("linear"))]
    spans = []
    for skip, words in (("linear", "on the ridge"), ("last", "on the last value")):
        changes = rows.loc[rows["skip"] == skip, "versus_ridge"]
        if len(changes):
            ends = " to ".join(text.signed_percent(end) for end in (changes.min(), changes.max()))
            spans.append(f"{ends} {words}")
    return (
        "On a purely linear system a network added to the ridge costs little; one added to the"
        f" last value may cost much: {', '.join(spans) or 'missing'}."
    )


def on_memory(cells: pd.DataFrame) -> str:
    setting = base_setting("fading 40")
    shares = []
    for architecture in ("lstm", "gru", "tdnn", "mlp", "rnn", "ffnn"):
        row = select(cells, setting, architecture, "linear")
        share = "missing" if row is None else gap_closed(cells, setting, row)
        shares.append(f"{architecture} {share}")
    return (
        "On a slow state with a memory of 40 rows, gated recurrence gained most. Of the possible"
        f" gain over the ridge, these shares were reached: {', '.join(shares)}."
    )


def on_curvature_and_delay(cells: pd.DataFrame) -> str:
    bend, delay = (
        [
            f"{architecture} {change(select(cells, base_setting(name), architecture, 'linear'))}"
            for architecture in architectures
        ]
        for name, architectures in (
            ("threshold", ("ffnn", "gru")),
            ("delay 40", ("mlp", "segment_gru", "gru")),
        )
    )
    return (
        "On a threshold in the newest row, a network without memory is enough"
        f" ({', '.join(bend)}). On one row long before, a network that reads the whole window is"
        " enough; a recurrent network gains only if it reads segments instead of rows"
        f" ({', '.join(delay)})."
    )


def on_real_series(cells: pd.DataFrame) -> str:
    parts = []
    for name in REAL:
        rows = cells[is_in_setting(cells, base_setting(name))]
        rows = rows[(rows["skip"] == "linear") & rows["did_train"] & rows["versus_skip"].notna()]
        if len(rows):
            lowest = rows.loc[rows["versus_skip"].idxmin()]
            parts.append(f"{name} {change(lowest, 'skip')} by {lowest['architecture']}")
    return (
        "On each real series, the network with the lowest error, chosen after the results were"
        f" known, against its own linear part: {'; '.join(parts) or 'missing'}."
    )


def answers(cells: pd.DataFrame) -> list[str]:
    """A row per system: change against the ridge of few architectures, with its interval."""
    lines = [
        f"| system | what the next value depends on | {' | '.join(SHOWN)} | arx | boosted trees"
        " | best possible |",
        f"|---|---|{'--:|' * (len(SHOWN) + 3)}",
    ]
    for name, what in DECIDES.items():
        setting = base_setting(name)
        rows = [(select(cells, setting, each, "linear"), each) for each in SHOWN]
        rows += [(select(cells, setting, each, ""), each) for each in ("arx", "boosting", "bound")]
        changes = [shown_change(row, name, architecture) for row, architecture in rows]
        lines.append(f"| {name} | {what} | {' | '.join(changes)} |")
    return lines


def table(cells: pd.DataFrame) -> list[str]:
    """Per architecture and skip the change against the ridge in every base cell."""
    lines = [
        f"| on | architecture | {' | '.join(BASE)} | parameters | step kept | CPU s |",
        f"|---|---|{'--:|' * (len(BASE) + 3)}",
    ]
    references = [("", name) for name in ("bound", "arx", "boosting", "naive")]
    in_base = pd.concat([cells[is_in_setting(cells, base_setting(name))] for name in BASE])
    run = set(in_base[["skip", "architecture"]].itertuples(index=False, name=None))
    planned = list(itertools.product(("linear", "last"), ARCHITECTURES))
    words = {"": "reference", "linear": "the ridge", "last": "the last value"}
    for skip, architecture in [*references, *(row for row in planned if row in run)]:
        rows = [select(cells, base_setting(name), architecture, skip) for name in BASE]
        changes = [
            shown_change(row, name, architecture) for row, name in zip(rows, BASE, strict=True)
        ]
        known = pd.DataFrame([row for row in rows if row is not None])
        table_row = [words[skip], architecture, *changes, *costs(known)]
        lines.append(f"| {' | '.join(table_row)} |")
    not_run = [f"{name} on {words[skip]}" for skip, name in planned if (skip, name) not in run]
    return [*lines, "", f"Not run at all: {', '.join(not_run)}."] if not_run else lines


def shown_change(row: pd.Series | None, system: str, architecture: str) -> str:
    if row is None:
        return "not known" if architecture == "bound" and system in REAL else NOT_RUN
    percent = text.signed_percent(row["versus_ridge"])
    if row["skip"] and not row["did_train"]:
        return "="
    if row["pays"]:
        return f"**{percent}**{'†' if row['holm_p'] < 0.05 else ''}"
    return percent


def costs(rows: pd.DataFrame) -> list[str]:
    """The range of the parameters, and the medians of the step kept and of the CPU seconds."""
    if rows.empty or not rows["skip"].iloc[0]:
        return ["", "", ""]
    steps = [int(step) for steps_text in rows["best_steps"] for step in str(steps_text).split()]
    low, high = int(rows["parameters"].min()), int(rows["parameters"].max())
    parameters = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return [parameters, f"{np.median(steps):.0f}", f"{rows['seconds'].median():.1f}"]


def part(root: Path) -> str:
    """What stands between the markers of the page."""
    cells = results(root)
    planned = set(planned_cells())
    measured = len(cells)
    figures = [
        ("known", "Simulated systems: change of the error against the ridge, with 95 % intervals"),
        ("real", "Real systems: the same"),
        ("factors", "The system with a memory of 40: lookback, series, months of history"),
    ]
    numbered = [f"{place}. {words}" for place, words in enumerate(sentences(cells), 1)]
    commits = ", ".join(sorted(set(cells["commit"])))
    return "\n".join(
        [
            *answers(cells),
            "",
            ANSWERS_LEGEND,
            "",
            *numbered,
            "",
            *(
                line
                for name, words in figures
                for line in (
                    f"![{words}](figures/when-recurrent-{name}.svg)",
                    "",
                    f"*{words}.*",
                    "",
                )
            ),
            "## Every architecture",
            "",
            f"{measured} of {len(planned)} planned cells were run. States of the code:"
            f" {commits}; every change is against references from the same state.",
            "",
            *table(cells),
            "",
            TABLE_LEGEND,
            "",
            "## What is not known",
            "",
            *unknown(cells),
        ]
    )


ANSWERS_LEGEND = (
    "The table shows the change of the mean absolute error against the ridge, to which each network"
    " is added. `arx` is a one-step ridge that is fed with its own forecasts. **Bold**: the network"
    " pays, that is, the 95 % intervals of its change against the ridge, against its own linear"
    " part and against boosted trees lie below zero. †: it also pays after Holm's correction of"
    " the highest of the three p over all networks. =: it did not train (best step 0 in all"
    f" seeds). {NOT_RUN}: not run."
)
TABLE_LEGEND = (
    "`bound` is the best possible forecast. Steps and seconds are medians; the seconds include all"
    " learning rates and seeds. narx and jordan are added to `arx`."
)


def unknown(cells: pd.DataFrame) -> list[str]:
    """What the cells do not answer."""
    settings = {tuple(row) for row in cells.loc[cells["skip"] != "", SETTING].to_numpy().tolist()}
    absent = [name for name in BASE if tuple(vars(base_setting(name)).values()) not in settings]
    lines = [f"- {', '.join(absent)}: no network was run."] if absent else []
    return [
        *lines,
        f"- Other budgets: each network has {UNITS} units and {STEPS} gradient steps; only its"
        " learning rate and `l1` are tuned, with two values each.",
        "- Inputs other than the series and its calendar; thousands of series; other years.",
        "- Other draws of noise: each simulated system is scored on one, with an interval over its"
        " test block.",
        "- Systems driven by measured inputs, where architectures differ more:"
        " [identification](identification.md), [cascaded tanks](results.md#published-tables).",
    ]


def figures(root: Path) -> dict[str, str]:
    """Path below the root to SVG."""
    cells = results(root)
    known = base_chart(cells, SIMULATED, "Simulated systems")
    real = base_chart(cells, REAL, "Real systems")
    drawn = {"known": known, "real": real, "factors": factor_chart(cells)}
    return {FIGURES.format(name): standalone(svg) for name, svg in drawn.items()}


def base_chart(cells: pd.DataFrame, systems: Sequence[str], label: str) -> str:
    rows = []
    for name in systems:
        for architecture in ("bound", *SHOWN):
            skip = "" if architecture == "bound" else "linear"
            row = select(cells, base_setting(name), architecture, skip)
            if row is not None:
                word = "better" if row["is_better"] else "worse" if row["is_worse"] else ""
                if skip and not row["did_train"]:
                    word = "did not train"
                ends = row["ridge_low"], row["ridge_high"]
                rows.append(
                    charts.Interval(
                        f"{name}: {architecture}", row["versus_ridge"], *ends, word, "", ""
                    )
                )
    if not rows:
        words = '<text x="4" y="20" class="tick">not run</text>'
        return f'<svg viewBox="0 0 {charts.WIDTH:.0f} 30">{words}</svg>'
    return charts.interval_chart(
        rows, label=label, x_title="change against ridge", show=text.signed_percent
    )


def factor_chart(cells: pd.DataFrame) -> str:
    """Three panels side by side in one figure, a line per architecture."""
    base = base_setting("fading 40")
    panels = []
    for factor, levels in FACTORS.items():
        lines = []
        for architecture in FEW:
            changes = []
            for level in levels:
                setting = Setting(**{**{n: getattr(base, n) for n in SETTING}, factor: level})
                row = select(cells, setting, architecture, "linear")
                changes.append(float("nan") if row is None else row["versus_ridge"])
            places = np.arange(float(len(levels)))
            role = ROLES[architecture]
            known = np.array(changes)
            base_place = levels.index(getattr(base, factor))
            dot = base_place if np.isfinite(known[base_place]) else None
            lines.append(charts.Line(architecture, places, known, role, dot=dot))
        ticks = [(float(place), str(level)) for place, level in enumerate(levels)]
        axes = charts.Axes(
            factor, factor, "change against ridge", ticks, base_y=0.0, show=text.signed_percent
        )
        panels.append(charts.line_chart(lines, axes))
    width, height = charts.WIDTH, charts.HEIGHT
    nested = "".join(
        f'<g transform="translate({place * (width + 20):.0f},0)">{panel}</g>'.replace(
            "<svg ", f'<svg width="{width:.0f}" height="{height:.0f}" '
        )
        for place, panel in enumerate(panels)
    )
    box = f"0 0 {len(panels) * (width + 20):.0f} {height:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="Factors">{nested}</svg>'


def standalone(svg: str) -> str:
    """With its namespace and colours, so that it is a file of its own."""
    with_namespace = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return with_namespace.replace(">", f"><style>{STYLE}</style>", 1) + "\n"
