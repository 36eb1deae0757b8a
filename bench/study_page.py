"""docs/when-recurrent.md and its three figures, from bench/results/when-recurrent.csv alone.

`python -m docs.generate` writes them. A cell that was not run is shown as missing. An interval is
of 95 % and not corrected; `holm` over all networks of the file says which differences survive.
"""

from __future__ import annotations

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
FIGURES = "docs/figures/when-recurrent-{}.svg"
SIMULATED = tuple(name for name in BASE if SYSTEMS[name].file is None)
REAL = tuple(name for name in BASE if SYSTEMS[name].file is not None)
SHOWN = ("ffnn", "mlp", "tdnn", "rnn", "lstm", "gru")
"""Of the two figures of base cells."""
SHORT_STEPS = 150
"""Of the first rounds, whose rows stay beside those of more steps."""
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
FACTORS = {"lookback": (24, 168, 672), "series": (1, 4, 12), "months": (6, 12, 36)}


def results(root: Path) -> pd.DataFrame:
    """The measured cells, with the word of each network against the ridge."""
    cells = read_results(root / FILE.relative_to(FILE.parents[2]))
    is_network = cells["skip"] != ""
    cells["did_train"] = cells["best_steps"].str.contains("[1-9]")
    cells["is_better"] = (cells["ridge_high"] < 0) & cells["did_train"]
    cells["is_worse"] = (cells["ridge_low"] > 0) & cells["did_train"]
    cells["pays"] = cells["is_better"] & (cells[["skip_high", "boosting_high"]] < 0).all(axis=1)
    cells["holm_p"] = np.nan
    cells.loc[is_network, "holm_p"] = holm(cells.loc[is_network, "ridge_p"].tolist())
    return cells


def longest(cells: pd.DataFrame) -> pd.DataFrame:
    """Of each network the row of the most steps."""
    ordered = cells.sort_values("steps", kind="stable")
    return ordered.drop_duplicates([*SETTING, "architecture", "skip"], keep="last")


def in_setting(cells: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    values = [setting.system, setting.lookback, setting.series, setting.months]
    return cells[(cells[SETTING] == values).all(axis=1)]


def select(cells: pd.DataFrame, setting: Setting, architecture: str, skip: str) -> pd.Series | None:
    """The row of one cell, of the most steps; None where it was not run."""
    rows = longest(in_setting(cells, setting))
    rows = rows[(rows["architecture"] == architecture) & (rows["skip"] == skip)]
    return None if rows.empty else rows.iloc[0]


def change(row: pd.Series | None) -> str:
    """`−9.7 % [−12.2, −7.3]` of the ridge's error."""
    if row is None:
        return "missing"
    if row["skip"] and not row["did_train"]:
        return "did not train"
    ends = ", ".join(text.signed_percent(row[name]) for name in ("ridge_low", "ridge_high"))
    return f"{text.signed_percent(row['versus_ridge'])} [{ends}]"


def share_of_gap(cells: pd.DataFrame, setting: Setting, row: pd.Series) -> float:
    """How much of the way from the ridge to the best possible forecast a network goes."""
    bound = select(cells, setting, "bound", "")
    return float("nan") if bound is None else row["versus_ridge"] / bound["versus_ridge"]


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
    parts = []
    for kind, names in (("real", REAL), ("simulated", SIMULATED)):
        known = longest(cells)
        on_ridge = known[known["system"].isin(names) & (known["skip"] == "linear")]
        rows = on_ridge[on_ridge["did_train"]]
        half_tested = rows[rows["skip_p"].isna()]
        n_open = int((half_tested["is_better"] & (half_tested["boosting_high"] < 0)).sum())
        survivors = int((rows["pays"] & (rows["holm_p"] < 0.05)).sum())
        parts.append(
            f"on {kind} systems in {int(rows['pays'].sum())} of {len(rows)} cells (after Holm's"
            f" correction {survivors}), {n_open} more beat ridge and trees and were not tested"
            f" against their linear part, {int(rows['is_worse'].sum())} are worse than the ridge,"
            f" and {len(on_ridge) - len(rows)} more did not train"
        )
    counts = "; ".join(parts)
    return f"A network on a ridge beats the ridge, its own linear part and boosted trees {counts}."


def without_anything_to_find(cells: pd.DataFrame) -> str:
    rows = longest(in_setting(cells, base_setting("linear")))
    spans = []
    for skip, words in (("linear", "on the ridge"), ("last", "on the last value alone")):
        changes = rows.loc[rows["skip"] == skip, "versus_ridge"]
        if len(changes):
            ends = " to ".join(text.signed_percent(end) for end in (changes.min(), changes.max()))
            spans.append(f"{words} {ends}")
    return (
        "Where the law is linear there is nothing to find, and the price of trying, against the"
        f" ridge, is {'; '.join(spans) or 'missing'}."
    )


def on_memory(cells: pd.DataFrame) -> str:
    parts = []
    for name in ("fading 5", "fading 40", "fading 150"):
        setting = base_setting(name)
        by_architecture = []
        for architecture in ("gru", "lstm", "rnn", "mlp", "tdnn", "ffnn"):
            row = select(cells, setting, architecture, "linear")
            if row is not None:
                share = ""
                if row["did_train"]:
                    share = f" ({text.percent(share_of_gap(cells, setting, row), decimals=0)})"
                by_architecture.append(f"{architecture} {change(row)}{share}")
        memory = name.split()[1]
        parts.append(f"over {memory} rows {', '.join(by_architecture) or 'missing'}")
    return (
        "Where a slow state decides, the change against the ridge (in brackets the share of what"
        f" can be gained) is: {'; '.join(parts)}."
    )


def on_curvature_and_delay(cells: pd.DataFrame) -> str:
    parts = []
    for name, words in (
        ("threshold", "A bend in the last row alone"),
        ("delay 40", "one exact row 40 before"),
    ):
        listed = [
            f"{architecture} {change(select(cells, base_setting(name), architecture, 'linear'))}"
            for architecture in ("ffnn", "mlp", "tdnn", "narx", "gru")
        ]
        parts.append(f"{words}: {', '.join(listed)}")
    return "; ".join(parts) + "."


def on_real_series(cells: pd.DataFrame) -> str:
    parts = []
    for name in REAL:
        setting = base_setting(name)
        rows = {
            each: select(cells, setting, each, "linear") for each in ("gru", "lstm", "mlp", "narx")
        }
        trees = select(cells, setting, "boosting", "")
        known = [row for row in rows.values() if row is not None]
        if trees is not None and known:
            listed = [f"{architecture} {change(row)}" for architecture, row in rows.items()]
            seen = text.percent(max(row["ridge_detectable"] for row in known))
            parts.append(
                f"{name} {', '.join(listed)}, boosted trees {change(trees)} (±{seen} would be"
                " found of each)"
            )
    return f"On real series the change against the ridge is: {'; '.join(parts) or 'missing'}."


def table(cells: pd.DataFrame) -> list[str]:
    """Per architecture and skip the change against the ridge in every base cell."""
    lines = [
        f"| on | architecture | {' | '.join(BASE)} | parameters | step kept | CPU s |",
        f"|---|---|{'--:|' * (len(BASE) + 3)}",
    ]
    references = [("", 0, name) for name in ("bound", "arx", "boosting", "naive")]
    budgets = [("linear", STEPS), ("linear", SHORT_STEPS), ("last", STEPS), ("last", SHORT_STEPS)]
    run = set(cells[["skip", "steps", "architecture"]].itertuples(index=False, name=None))
    networks = [
        (*budget, name)
        for budget in budgets
        for name in ARCHITECTURES
        if budget[1] == STEPS or (*budget, name) in run
    ]
    words = {"": "reference", "linear": "the ridge", "last": "the last value"}
    for skip, steps, architecture in [*references, *networks]:
        of_steps = cells[cells["steps"] == steps]
        rows = [select(of_steps, base_setting(name), architecture, skip) for name in BASE]
        shown = [
            shown_change(row, name, architecture) for row, name in zip(rows, BASE, strict=True)
        ]
        known = pd.DataFrame([row for row in rows if row is not None])
        lines.append(
            f"| {words[skip]}{f', {steps} steps' if steps else ''} | {architecture} |"
            f" {' | '.join(shown)} | {' | '.join(costs(known))} |"
        )
    return lines


def shown_change(row: pd.Series | None, system: str, architecture: str) -> str:
    if row is None:
        return "" if architecture == "bound" and system in REAL else "missing"
    shown = text.signed_percent(row["versus_ridge"])
    if row["skip"] and not row["did_train"]:
        return "="
    if row["pays"]:
        return f"**{shown}**{'†' if row['holm_p'] < 0.05 else ''}"
    return shown


def costs(rows: pd.DataFrame) -> list[str]:
    """The range of the parameters, and the medians of the step kept and of the CPU seconds."""
    if rows.empty or not rows["skip"].iloc[0]:
        return ["", "", ""]
    steps = [int(step) for kept in rows["best_steps"] for step in str(kept).split()]
    low, high = int(rows["parameters"].min()), int(rows["parameters"].max())
    parameters = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return [parameters, f"{np.median(steps):.0f}", f"{rows['seconds'].median():.1f}"]


def part(root: Path) -> str:
    """What stands between the markers of the page."""
    cells = results(root)
    planned = set(planned_cells())
    measured = len(longest(cells))
    n_short = int((longest(cells)["steps"] == SHORT_STEPS).sum())
    figures = [
        ("known", "Simulated systems: change of the error against the ridge, with 95 % intervals"),
        ("real", "Real systems: the same"),
        ("factors", "The system with a memory of 40: lookback, series, months of history"),
    ]
    numbered = [f"{place}. {words}" for place, words in enumerate(sentences(cells), 1)]
    commits = ", ".join(sorted(set(cells["commit"])))
    return "\n".join(
        [
            f"{measured} of {len(planned)} planned cells were run, {n_short} of them with"
            f" {SHORT_STEPS} steps only; the others are missing. States of the code: {commits}; a"
            " change is against references of the same state.",
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
            *table(cells),
            "",
            *LEGEND,
            "",
            "## What is not known",
            "",
            *unknown(cells),
        ]
    )


LEGEND = (
    "Bold: the 95 % intervals of the change against the ridge, against the network's linear part",
    "and against boosted trees lie below zero; † survives Holm's correction over all networks.",
    "`bound` is the best forecast there is; = is a network that did not train: its best step is 0",
    "in all seeds. Steps and seconds are medians, the seconds of all learning rates and seeds.",
    "narx and jordan are added to `arx`, a ridge of one step that is fed with its own forecasts.",
)


def unknown(cells: pd.DataFrame) -> list[str]:
    """What the cells do not answer."""
    settings = {tuple(row) for row in cells.loc[cells["skip"] != "", SETTING].to_numpy().tolist()}
    absent = [name for name in BASE if tuple(vars(base_setting(name)).values()) not in settings]
    lines = [f"- {', '.join(absent)}: no network was run."] if absent else []
    return [
        *lines,
        f"- Other budgets: a network has {UNITS} units and {STEPS} gradient steps, and of its"
        f" options learning rate and `l1` alone are chosen, of two values each; with {SHORT_STEPS}"
        " steps `l1` is 0.",
        "- Inputs other than the series and its calendar; thousands of series; other years.",
        "- Of a simulated system one draw of noise is scored; an interval is over its test block.",
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
            factor, factor, "change against ridge", ticks, level=0.0, show=text.signed_percent
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
    named = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return named.replace(">", f"><style>{STYLE}</style>", 1) + "\n"
