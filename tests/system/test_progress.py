"""Progress as plain lines and as a bar."""

from __future__ import annotations

import io
import re
import time
from itertools import count
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.system import progress
from forecast.system.progress import Pace, Piece, format_duration, show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_piece_is_told_to_be_at_work(monkeypatch):
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.01)
    out, deadline = io.StringIO(), time.monotonic() + 60
    with show_progress(1, "tune a", stream=out) as advance:
        while "tune a: at work, 0 of" not in out.getvalue():
            assert time.monotonic() < deadline
        advance("ridge")
    assert "tune a: 1 of 1 done" in out.getvalue()


def test_nothing_is_told_to_be_at_work_while_other_lines_come(monkeypatch):
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    out = io.StringIO()
    with show_progress(40, "tune a", stream=out) as advance:
        for _ in range(40):
            time.sleep(0.02)
            advance("ridge")
    assert "at work" not in out.getvalue()


def test_plain_lines_tell_label_count_and_time_left() -> None:
    out = io.StringIO()
    ticks = count(0, 10)
    with show_progress(3, "tune weather", stream=out, clock=lambda: next(ticks)) as advance:
        for name in ("lstm", "gru", "narx"):
            advance(name)
    assert out.getvalue().splitlines() == [
        "tune weather: 1 of 3 done, about 20 s left (lstm)",
        "tune weather: 2 of 3 done, about 10 s left (gru)",
        "tune weather: 3 of 3 done in 30 s (narx)",
    ]


def test_before_a_tenth_is_done_and_ten_seconds_are_over_nothing_is_said_of_the_time_left() -> None:
    out = io.StringIO()
    times = iter([0.0, 9.0, 20.0, 40.0])
    with show_progress(20, "train", stream=out, clock=lambda: next(times)) as advance:
        advance("first")  # nine seconds of imports
        advance("second")
        advance("third")
    assert out.getvalue().splitlines() == [
        "train: 1 of 20 done (first)",
        "train: 2 of 20 done, about 3 min 00 s left (second)",
        "train: 3 of 20 done, about 3 min 47 s left (third)",
    ]


def test_a_kind_of_which_none_is_finished_takes_as_long_as_the_shortest() -> None:
    out = io.StringIO()
    times = iter([0.0, 60.0, 62.0, 64.0, 94.0, 154.0])
    pieces = {"gru 0": Piece("network"), "gru 1": Piece("network"), "boosting": Piece("trees")}
    with show_progress(5, "train", pieces, stream=out, clock=lambda: next(times)) as advance:
        for name in ("gru 0", "naive", "drift", "boosting", "gru 1"):
            advance(name)
    assert out.getvalue().splitlines() == [
        "train: 1 of 5 done, about 4 min 00 s left (gru 0)",
        "train: 4 of 5 done, about 1 min 00 s left (boosting)",
        "train: 5 of 5 done in 2 min 34 s (gru 1)",
    ]


def test_what_was_stored_already_says_nothing_of_the_time_left() -> None:
    out = io.StringIO()
    times = iter([0.0, 11.0, 31.0, 51.0])
    with show_progress(3, "train", stream=out, clock=lambda: next(times)) as advance:
        advance("stored", 0)
        advance("first", 20)
        advance("second", 20)
    assert out.getvalue().splitlines() == [
        "train: 1 of 3 done (stored)",
        "train: 2 of 3 done, about 20 s left (first)",
        "train: 3 of 3 done in 51 s (second)",
    ]


RECORDED = pd.read_csv(Path(__file__).with_name("recorded_run.csv"))
"""Seconds of every piece of a first run of the default datasets, in the order of two workers."""
IMPORT_SECONDS = 4.0


@pytest.mark.parametrize("slowness", [1, 6])
@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_from_a_tenth_on_the_time_left_of_a_first_run_is_told_within_a_factor_of_two(
    n_workers: int, slowness: int
) -> None:
    """In 19 of 20 looks, the last seconds left out. slowness: of a machine with other work."""
    ratios = []
    for _, rows in RECORDED.groupby(["dataset", "stage"]):
        ratios += told_to_real(rows, n_workers, slowness)
    assert np.mean([0.5 < ratio < 2 for ratio in ratios]) > 0.95, sorted(ratios)


def told_to_real(rows: pd.DataFrame, n_workers: int, slowness: int) -> list[float]:
    """The time left that is told after each piece of a stage, as a share of that which is left."""
    free, ends = [slowness * IMPORT_SECONDS] * n_workers, []
    for row in rows.itertuples():
        worker = int(np.argmin(free))
        free[worker] += slowness * row.seconds
        ends.append((free[worker], row))
    ends.sort(key=itemgetter(0))
    pieces = {row.piece: Piece(row.kind, row.weight) for row in rows.itertuples()}
    now, last, ratios = 0.0, ends[-1][0], []
    pace = Pace(len(ends), pieces, lambda: now)
    for n_done, (now, row) in enumerate(ends, 1):
        remaining = pace.finish(row.piece, slowness * row.seconds)
        if now > 10 and n_done >= len(ends) / 10 and last - now > 10 * slowness:
            ratios.append(seconds_of(remaining) / (last - now))
    return ratios


def seconds_of(sentence: str) -> float:
    """Of `, about 3 min 05 s left`."""
    units = {"h": 3600, "min": 60, "s": 1}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+) (h|min|s)", sentence))


def test_plain_lines_do_not_flood_a_log() -> None:
    out = io.StringIO()
    ticks = count(0, 0.01)
    with show_progress(300, "train", stream=out, clock=lambda: next(ticks)) as advance:
        for _ in range(300):
            advance()
    assert out.getvalue().splitlines() == ["train: 300 of 300 done in 3 s"]


def test_a_terminal_gets_a_bar() -> None:
    out = Terminal()
    with show_progress(2, "train weather", stream=out) as advance:
        advance("lstm")
        advance("gru")
    assert "train weather" in out.getvalue() and "2/2" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "sentence"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_are_short(seconds: float, sentence: str) -> None:
    assert format_duration(seconds) == sentence
