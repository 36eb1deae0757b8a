"""docs/results.md from bench/results/*.json: machine, versions, date, every row with its bar,
misses included.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import race_page, summary
from bench.beside_tests import with_tests
from bench.published import TABLES, Table
from bench.results_file import ROOT
from forecast.system.files import read_json, write_text

ORDER = (
    "step",
    "forward",
    "predict",
    "LSTM",
    "GRU",
    "GRU before",
    "SimpleRNN",
    "small",
    "large",
    "window",
)
GRID_BAR = 137
"""CPU seconds of neuralforecast's AutoLSTM with 8 trials on Dublin as it was seen once; the table
has it measured.
"""
PAGE = ROOT / "docs" / "results.md"
WHAT = {"step": "training step", "forward": "forward pass"}
HEAD = [
    "| what | size | ours ms | peer | peer ms | ratio | lower 95 % | bar | |",
    "|---|---|--:|---|--:|--:|--:|--:|---|",
]


def speed(root: Path) -> str:
    """The table of speed.json; says so where nothing was measured."""
    results = read_results(root, "speed")
    begin = describe_machine(results) if results["rows"] else ["Not run: `make bench`."]
    return "\n".join([*begin, "", *HEAD, *speed_lines(results["rows"])])


def read_results(root: Path, name: str) -> dict[str, Any]:
    """A benchmark's file of results; without rows where it was not run."""
    path = root / "bench" / "results" / f"{name}.json"
    return read_json(path) if path.exists() else {"rows": {}}


def describe_machine(results: Mapping[str, Any]) -> list[str]:
    """Machine, dates and load of the rows that were measured on it, and all versions, in two
    sentences.
    """
    rows = results["rows"].values()
    timed = [
        row for row in rows if not any("measured" in part for part in row.get("peers", {}).values())
    ]
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    dates = sorted({row["date"] for row in timed})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    loads = [row["load"] for row in timed]
    versions = sorted({f"{n} {v}" for row in rows for n, v in versions_of(row)})
    return [
        (
            f"Measured {days} on {machine}; load average {min(loads):.0f} to {max(loads):.0f} while"
            " measuring."
        ),
        f"Versions: {', '.join(versions)}." if versions else "",
    ]


def versions_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in (row, row.get("ours", {}), *row.get("peers", {}).values()):
        yield from part.get("versions", {}).items()


def speed_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """In the order of `ORDER`, not in that of the file."""
    ordered = sorted(rows, key=lambda key: [ORDER.index(part) for part in key.split("/")])
    return [line for key in ordered for line in _lines(key, rows[key])]


def _lines(key: str, row: Mapping[str, Any]) -> Iterator[str]:
    if "not run" in row:
        yield f"| {key} | | not run | | | | | | {row['not run']} |"
    elif row["what"] == "predict":
        for name, ms in row["ms"].items():
            bar = row["bars"][name]
            word = "met" if ms <= bar else "MISSED"
            yield f"| one `predict`, GRU | {name} | {ms:.2f} | | | | | ≤ {bar:g} ms | {word} |"
    else:
        size = f"H{row['units']} L{row['steps']} B{row['batch']}"
        cell = {"GRU": "GRU (reset_after)", "GRU before": "GRU (reset before)"}.get(
            row["cell"], row["cell"]
        )
        for name, peer in row["peers"].items():
            yield (
                f"| {WHAT[row['what']]}, {cell} | {size} | {row['ours']['ms']:.2f} |"
                f" {_peer(name, peer)}"
            )


def _peer(name: str, peer: Mapping[str, Any]) -> str:
    bar = "" if peer["bar"] is None else f"≥ {peer['bar']:g}"
    if "not run" in peer:
        return f"{name} | not run | | | {bar} | {peer['not run']} |"
    word = "" if peer["bar"] is None else "met" if peer["lower"] >= peer["bar"] else "MISSED"
    label = (
        f"{name}, {peer['note']}, {peer['first call s']:.1f} s to the first step"
        if "note" in peer
        else name
    )
    return (
        f"{label} | {peer['ms']:.2f} | {peer['ratio']:.2f} | {peer['lower']:.2f} | {bar} | {word} |"
    )


def tables(root: Path) -> str:
    """Ours and the published rows of every table; rows that nobody measured say so."""
    results = read_results(root, "tables")
    lines = describe_machine(results) if results["rows"] else ["Not run: `make tables`.", ""]
    for name, table in TABLES.items():
        our_rows = [row for row in results["rows"].values() if row["table"] == name]
        lines += ["", f"### {table.title}", "", f"{table.unit}.", ""]
        lines += _table(name, table, our_rows)
    return "\n".join(line for k, line in enumerate(lines) if line or lines[k - 1])


def _table(name: str, table: Table, our_rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield f"| row | {' | '.join(table.columns)} | source |"
    yield f"|---|{'--:|' * len(table.columns)}---|"
    order = {column: k for k, column in enumerate(table.unmeasured)}
    for row in sorted(own_rows(name, our_rows), key=lambda row: order.get(row["name"], -1)):
        cells = (_value(row["cells"].get(column)) for column in table.columns)
        yield f"| **{row['name']}** | {' | '.join(cells)} | {row['note']} |"
    empty = " | ".join("not run" for _ in table.columns)
    missing = [
        column for column in table.unmeasured if column not in {row["name"] for row in our_rows}
    ]
    yield from (f"| **{column}** | {empty} | make tables |" for column in missing)
    for row in table.rows:
        yield (
            f"| {row.name} | {' | '.join(f'{value:.3f}' for value in row.values)} | {row.source} |"
        )
    if table.bars:
        yield f"| bar | {' | '.join(f'≤ {bar:.3f}' for bar in table.bars)} | |"


def own_rows(name: str, our_rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Our rows with their columns as cells; the repetitions on the tanks as their median."""
    if name == "tanks":
        return _tanks(list(our_rows))
    rows: dict[str, dict[str, Any]] = {}
    for row in our_rows:
        entry = rows.setdefault(row["name"], {"name": row["name"], "cells": {}, "note": ""})
        entry["cells"][row["column"]] = row.get("value")
        entry["note"] = row.get(
            "not run",
            entry["note"] or "; ".join(["ours", *([row["about"]] if "about" in row else [])]),
        )
    for name, entry in rows.items():
        fitted = [row for row in our_rows if row["name"] == name and "recipe" in row]
        fitted.sort(key=lambda row: (len(row["column"]), row["column"]))
        entry["note"] = "; ".join([entry["note"], *_fits(fitted)])
    return list(rows.values())


def _fits(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was chosen on validation with its columns, then parameters, seeds and CPU seconds over
    the columns.
    """
    if not rows:
        return
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        columns = ", ".join(row["column"] for row in rows if row["recipe"] == recipe)
        yield f"{columns}: {recipe}" if len(rows) > 1 else recipe
    yield _range([row["parameters"] for row in rows]) + " parameters"
    if "seeds" in rows[0]:
        yield f"seeds {_range([row['seeds'] for row in rows])}"
    yield f"{_range([round(row['CPU s']) for row in rows])} CPU s"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _tanks(our_rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    errors = sorted(row["value"] for row in our_rows if "value" in row)
    if not errors:
        reasons = {row["not run"] for row in our_rows} or {"make tables"}
        return [{"name": "identify", "cells": {}, "note": "; ".join(sorted(reasons))}]
    median_later = statistics.median(row["without 5"] for row in our_rows if "value" in row)
    note = (
        f"median of {len(errors)} whole procedures; worst {errors[-1]:.3f}, median without the"
        f" first 5 {median_later:.3f}"
    )
    return [{"name": "identify", "cells": {"V": statistics.median(errors)}, "note": note}]


def _value(value: float | None) -> str:
    return "not run" if value is None else f"{value:.3f}"


def day_ahead(root: Path) -> str:
    """A day ahead, ours and the peers, per dataset; each peer with the corrected p of our chosen
    row being better.
    """
    results = read_results(root, "beside")
    parts = {key: {**row, "peers": row["rows"]} for key, row in results["rows"].items()}
    lines = describe_machine({**results, "rows": parts}) if parts else ["Not run: `make beside`."]
    for name in dict.fromkeys(key.partition("/")[0] for key in results["rows"]):
        dataset_rows = [row for key, row in results["rows"].items() if key.startswith(f"{name}/")]
        by_model = {model: each for row in dataset_rows for model, each in row["rows"].items()}
        rows = with_tests(by_model)
        head = ["| row | MAE | CRPS | CPU s | p, ours better | |", "|---|--:|--:|--:|--:|---|"]
        lines += ["", f"### {name.capitalize()}, 24 h ahead", "", *head]
        lines += [_day_ahead_line(model, row) for model, row in rows.items()]
    return "\n".join(lines)


def _day_ahead_line(model: str, row: Mapping[str, Any]) -> str:
    if "not run" in row:
        return f"| {model} | not run | | | | {row['not run']} |"
    label = f"**{model}**" if model.startswith("ours") else model
    mae, crps = (f"{row[name]:.3f}" if name in row else "" for name in ("MAE", "CRPS"))
    p = "" if "p" not in row else "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
    note = (
        f"of {', '.join(row['models'])}, tuned together" if "models" in row else row.get("note", "")
    )
    if "measured" in row:
        note += f"; error of {row['measured']}, on another machine"
    if "networks" in row:
        each = row["networks' CPU s"] / row["networks"]
        of_one, of_all = (
            "met" if seconds < GRID_BAR else "MISSED" for seconds in (each, row["CPU s"])
        )
        note = (
            f"{row['networks']} networks, tuned, {each:.1f} s each; bar < {GRID_BAR} for one"
            f" {of_one}, for all {of_all}"
        )
    seconds = f"{row['CPU s']:.0f}" if "CPU s" in row else ""
    return f"| {label} | {mae} | {crps} | {seconds} | {p} | {note} |"


def race(root: Path) -> str:
    """Whole trainings, backtests and growth."""
    results = read_results(root, "race")
    begin = describe_machine(results) if results["rows"] else ["Not run: `make race`."]
    return "\n".join([*begin, "", *race_page.lines(results["rows"])])


def measured(root: Path) -> str:
    """The six lines of the documentation's first page."""
    files = sorted((root / "bench" / "results").glob("*.json"))
    return "\n".join(summary.lines({path.stem: read_json(path)["rows"] for path in files}))


PARTS = {
    "race": (PAGE, race),
    "speed": (PAGE, speed),
    "tables": (PAGE, tables),
    "beside": (PAGE, day_ahead),
    "measured": (ROOT / "docs" / "README.md", measured),
}
"""Name of each part → its page and what makes it."""


def write(root: Path = ROOT, *, show: str = "") -> None:
    """Every part anew; the one named `show` is printed too."""
    from docs.generate import replaced  # which imports this module

    for name, (home, make) in PARTS.items():
        page = root / home.relative_to(ROOT)
        part = make(root)
        write_text(page, replaced(page.read_text(encoding="utf-8"), name, part))
        if name == show:
            print(part)


if __name__ == "__main__":
    write()
