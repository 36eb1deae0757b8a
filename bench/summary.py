"""What the benchmarks found, in six lines for the documentation's first page: `docs/README.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.beside_tests import with_tests
from bench.published import TABLES
from bench.race_page import TARGETS, reached

NAMES = {"keras": "Keras"}
Rows = Mapping[str, Mapping[str, Any]]


def lines(rows: Mapping[str, Rows]) -> list[str]:
    """One line for each table, with the command that repeats it; `rows`: by file of
    bench/results.
    """
    makers = (
        ("make bench", "speed", steps),
        ("make bench", "speed", passes),
        ("make race", "race", race),
        ("make beside", "beside", day_ahead),
        ("make tables", "tables", tables),
        ("python -m bench.gpu", "gpu", gpu),
    )
    return [
        f"- {make(rows.get(file, {})) or 'not run'} (`{command}`)" for command, file, make in makers
    ]


def _ratios(rows: Rows, what: str) -> dict[str, list[tuple[float, float, float | None]]]:
    """By peer the ratio, its lower bound and the bar of every row."""
    ratios: dict[str, list[tuple[float, float, float | None]]] = {}
    for row in rows.values():
        for name, peer in row.get("peers", {}).items():
            if row.get("what") == what and "ratio" in peer:
                ratios.setdefault(name, []).append((peer["ratio"], peer["lower"], peer["bar"]))
    return ratios


def _describe_ratios(rows: Rows, what: str) -> str:
    ratios = _ratios(rows, what)
    spans = [
        f"{min(of_peer)[0]:.2f} to {max(of_peer)[0]:.2f} times {NAMES.get(name, name)}'s"
        for name, of_peer in sorted(ratios.items())
    ]
    rows_of_peers = [row for of_peer in ratios.values() for row in of_peer]
    bars = [(lower, bar) for _, lower, bar in rows_of_peers if bar is not None]
    slower = sum(ratio < 1 and bar is None for ratio, _, bar in rows_of_peers)
    without_bar = f", {slower} slower rows have none" if slower else ""
    return (
        f"{' and '.join(spans)}; {sum(lower >= bar for lower, bar in bars)} of {len(bars)} bars met"
        f"{without_bar}"
        if spans
        else ""
    )


def steps(rows: Rows) -> str:
    sentence = _describe_ratios(rows, "step")
    return sentence and f"Speed of a training step, over cells and sizes: {sentence}"


def passes(rows: Rows) -> str:
    """The forward pass of inference, and one forecast."""
    sentence = _describe_ratios(rows, "forward")
    ms = next(
        (row["ms"] for row in rows.values() if row.get("what") == "predict" and "ms" in row), None
    )
    one_predict = f"; one `predict` {ms['p50']:.1f} ms, 99 % below {ms['p99']:.1f} ms" if ms else ""
    return sentence and f"Speed of a forward pass: {sentence}{one_predict}"


def race(rows: Rows) -> str:
    """From nothing to the naive forecast's error, and every origin of a block."""
    sentences = []
    for name in dict.fromkeys(key.partition("/")[2] for key, row in rows.items() if "tries" in row):
        seconds = reached(rows[f"train/{name}"]["tries"], TARGETS[-1])
        origins = rows.get(f"backtest/{name}", {}).get("s")
        reached_in = "never" if seconds is None else f"in {seconds:.1f} s"
        sentences.append(
            (name != "ours", f"{name} {reached_in}" + (f", {origins:.2f} s" if origins else ""))
        )
    listed = "; ".join(text for _, text in sorted(sentences))
    return (
        listed
        and "An LSTM on ETTh1 from its first call to the naive error, and a block's forecasts:"
        f" {listed}"
    )


def day_ahead(rows: Rows) -> str:
    """Our chosen row and the best of the others, with p that ours is better."""
    sentences = []
    for dataset in sorted({key.partition("/")[0] for key in rows}):
        parts = [row["rows"] for key, row in rows.items() if key.startswith(f"{dataset}/")]
        by_model = with_tests({name: row for part in parts for name, row in part.items()})
        ran = {name: row for name, row in by_model.items() if "MAE" in row}
        chosen = next((row for name, row in ran.items() if name.startswith("ours, chosen")), None)
        peers = {name: row for name, row in ran.items() if not name.startswith("ours")}
        if chosen and peers:
            name = min(peers, key=lambda peer: peers[peer]["MAE"])
            p = peers[name]["p"]
            best = f"{name} {peers[name]['MAE']:.2f}, p {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
            sentences.append(
                f"{dataset.capitalize()} {chosen['MAE']:.2f} (best of {len(peers)} others: {best})"
            )
    return f"MAE of temperature a day ahead, °C: {'; '.join(sentences)}" if sentences else ""


def tables(rows: Rows) -> str:
    """In how many columns of every table with bars our best row meets them; repeating values is no
    row of ours.
    """
    sentences = []
    for name, table in TABLES.items():
        best: dict[str, float] = {}
        values = [row for row in rows.values() if row["table"] == name and "value" in row]
        values = [row for row in values if name == "tanks" or row["name"] in table.unmeasured]
        for row in values:
            best[row["column"]] = min(best.get(row["column"], row["value"]), row["value"])
        if name == "tanks" and values:  # the median of the repetitions counts, not the best
            ordered = sorted(row["value"] for row in values)
            best = {"V": (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2}
        met = sum(
            best[column] <= bar
            for column, bar in zip(table.columns, table.bars, strict=False)
            if column in best
        )
        if best and table.bars:
            sentences.append(f"{table.title}: {met} of {len(table.bars)}")
    return (
        f"Columns of published tables in which our best row meets its bar: {'; '.join(sentences)}"
        if sentences
        else ""
    )


def gpu(rows: Rows) -> str:
    """From which size a training step is faster on the GPU: than on one core, than on as many as
    that machine has.
    """
    times: dict[str, dict[str, float]] = {}
    for key, row in rows.items():
        way, _, size = key.partition("/")
        if "ms" in row:
            times.setdefault(size, {})[way] = row["ms"]
    ratios = {
        way: {size: ms[way] / ms["gpu"] for size, ms in times.items() if way in ms and "gpu" in ms}
        for way in ("core", "loop", "keras")
    }
    if not ratios["core"]:
        return ""
    spans = {way: f"{min(r.values()):.2f} to {max(r.values()):.2f}" for way, r in ratios.items()}
    any_row = next(iter(rows.values()))
    cores = any_row["cores"]
    one_core, every = (_pays_from(ratios["core"], count) for count in (1, cores))
    return (
        f"A training step of LSTM or GRU by cuDNN on {any_row['GPU']}: faster than one core from"
        f" {one_core:,} units × windows a step on, than {cores} cores from {every:,}; the general"
        f" loop takes {spans['loop']} times as long, Keras's own layer {spans['keras']} times"
    )


def _pays_from(ratios: Mapping[str, float], cores: int) -> int:
    """The least units times batch from which no measured size is slower than so many cores."""
    sizes = {size: int(size.split("/")[1]) * int(size.split("/")[2]) for size in ratios}
    slower = max((sizes[size] for size in ratios if ratios[size] < cores), default=0)
    return min(size for size in sizes.values() if size > slower)
