"""docs/results.md from bench/results/*.json: machine, versions, date, every row with its bar, misses included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.results_file import ROOT
from forecast.system.files import read_json, write_text

PAGE = ROOT / "docs" / "results.md"
WHAT = {"step": "training step", "forward": "forward pass"}
HEAD = [
    "| what | size | ours ms | peer | peer ms | ratio | lower 95 % | bar | |",
    "|---|---|--:|---|--:|--:|--:|--:|---|",
]


def speed(root: Path) -> str:
    """The table of speed.json; says so where nothing was measured."""
    path = root / "bench" / "results" / "speed.json"
    if not path.exists():
        return "Not run: `make bench`."
    found = read_json(path)
    return "\n".join([*about(found), "", *HEAD, *speed_lines(found["rows"])])


def about(found: Mapping[str, Any]) -> list[str]:
    """Machine, dates, load and versions in two sentences."""
    rows = found["rows"].values()
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    dates = sorted({row["date"] for row in rows})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    loads = [row["load"] for row in rows]
    versions = sorted({f"{n} {v}" for row in rows for n, v in versions_of(row)})
    return [
        f"Measured {days} on {machine}; load average {min(loads):.0f} to {max(loads):.0f} while measuring.",
        f"Versions: {', '.join(versions)}." if versions else "",
    ]


def versions_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in (row, row.get("ours", {}), *row.get("peers", {}).values()):
        yield from part.get("versions", {}).items()


def speed_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [line for key, row in rows.items() for line in _lines(key, row)]


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
        cell = {"GRU": "GRU (reset_after)", "GRU before": "GRU (reset before)"}.get(row["cell"], row["cell"])
        for name, peer in row["peers"].items():
            yield f"| {WHAT[row['what']]}, {cell} | {size} | {row['ours']['ms']:.2f} | {_peer(name, peer)}"


def _peer(name: str, peer: Mapping[str, Any]) -> str:
    bar = "" if peer["bar"] is None else f"≥ {peer['bar']:g}"
    if "not run" in peer:
        return f"{name} | not run | | | {bar} | {peer['not run']} |"
    word = "" if peer["bar"] is None else "met" if peer["lower"] >= peer["bar"] else "MISSED"
    shown = f"{name}, {peer['note']}, {peer['first call s']:.1f} s to the first step" if "note" in peer else name
    return f"{shown} | {peer['ms']:.2f} | {peer['ratio']:.2f} | {peer['lower']:.2f} | {bar} | {word} |"


PARTS = {"speed": speed}


def write(root: Path = ROOT) -> None:
    """Every part of docs/results.md anew."""
    from docs.generate import replaced  # which imports this module

    page = root / PAGE.relative_to(ROOT)
    text = page.read_text(encoding="utf-8")
    for name, make in PARTS.items():
        text = replaced(text, name, make(root))
    write_text(page, text)


if __name__ == "__main__":
    write()
