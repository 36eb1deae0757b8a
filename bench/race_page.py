"""The tables of race.json in docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping

from bench.racer import CONTENDERS
from bench.results_file import Row

SIZES = (10, 100, 1_000, 10_000)
PREPARE_BAR = 3.0
TARGETS = (0.110, 0.070)
BACKTEST_BARS = {"neuralforecast LSTM": 2.0, "darts BlockRNN": 10.0}  # their seconds over ours


def reached(tried: list[Mapping[str, float]], target: float) -> float | None:
    """Seconds of the quickest training that got there."""
    return min((training["s"] for training in tried if training["MSE"] <= target), default=None)


def best_within(tried: list[Mapping[str, float]], limit: float) -> float:
    """The lowest MSE of a training that takes `limit` seconds or less."""
    return min(
        (training["MSE"] for training in tried if training["s"] <= limit), default=float("nan")
    )


def lines(rows: Mapping[str, Row]) -> list[str]:
    """The tables of docs/results.md."""
    table = [
        (
            "| ETTh1 OT, 24 h, no skip | CPU s to MSE .110 | to .070 | MSE within 60 s | every"
            " origin, s | over ours | bar | |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    contenders = dict.fromkeys(who for who, _ in CONTENDERS)
    ours = rows.get("backtest/ours", {}).get("s")
    table += [
        _contender(who, rows.get(f"train/{who}", {}), rows.get(f"backtest/{who}", {}), ours)
        for who in contenders
    ]
    table += [
        "",
        "| series | training s | per series ms | backtest s | per series ms | peak MB | |",
        "|--:|--:|--:|--:|--:|--:|---|",
    ]
    table += [_grown(size, rows.get(f"growth/{size}", {})) for size in SIZES]
    return [
        *table,
        "",
        "| prepare | CPU s | frame MB | peak MB | over the frame | bar | |",
        "|--:|--:|--:|--:|--:|--:|---|",
        _prepared(rows.get("prepare/ours", {})),
    ]


def _contender(who: str, train: Row, backtest: Row, ours: float | None) -> str:
    reasons = [row["not run"] for row in (train, backtest) if "not run" in row]
    times = ["not run"] * 3
    if "tries" in train:
        seconds = [reached(train["tries"], target) for target in TARGETS]
        times = ["not reached" if s is None else f"{s:.1f}" for s in seconds]
        times.append(f"{best_within(train['tries'], 60):.3f}")
    label = f"**{who}**" if who == "ours" else who
    origins = f"{backtest['s']:.2f}" if "s" in backtest else "not run"
    ratio, bar = "", BACKTEST_BARS.get(who)
    if bar and ours and "s" in backtest:
        ratio = f"{backtest['s'] / ours:.1f}"
        reasons.append("met" if backtest["s"] / ours >= bar else "MISSED")
    bar_cell = f"≥ {bar:g}" if bar else ""
    return (
        f"| {label} | {' | '.join(times)} | {origins} | {ratio} | {bar_cell} |"
        f" {'; '.join(dict.fromkeys(reasons))} |"
    )


def _grown(size: int, row: Row) -> str:
    if "training s" not in row:
        return f"| {size:,} | not run | | | | | {row.get('not run', 'make race')} |"
    parts = [
        row["training s"],
        1e3 * row["training s"] / size,
        row["backtest s"],
        1e3 * row["backtest s"] / size,
    ]
    return f"| {size:,} | {' | '.join(f'{part:.2f}' for part in parts)} | {row['peak MB']:.0f} | |"


def _prepared(row: Row) -> str:
    if "peak MB" not in row:
        return f"| 10,000,000 rows | not run | | | | | {row.get('not run', 'make race')} |"
    over = row["peak MB"] / row["frame MB"]
    cells = (
        f"{row['s']:.1f} | {row['frame MB']:.0f} | {row['peak MB']:.0f} | {over:.1f} | <"
        f" {PREPARE_BAR:g}"
    )
    return f"| {row['rows']:,} rows | {cells} | {'met' if over < PREPARE_BAR else 'MISSED'} |"
