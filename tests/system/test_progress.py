"""Progress as plain lines and as a bar."""

from __future__ import annotations

import io
from itertools import count

import pytest

from forecast.system.stage import format_duration, show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


def test_the_time_left_is_that_of_the_kinds_that_are_left() -> None:
    out = io.StringIO()
    times = iter([0.0, 60.0, 62.0, 64.0, 94.0, 154.0])
    kinds = {"gru 0": "network", "gru 1": "network", "boosting": "trees"}
    with show_progress(5, "train", kinds, stream=out, clock=lambda: next(times)) as advance:
        for name in ("gru 0", "naive", "drift", "boosting", "gru 1"):
            advance(name)
    assert out.getvalue().splitlines() == [
        "train: 1 of 5 done (gru 0)",  # nobody knows how long trees take
        "train: 4 of 5 done, about 1 min 00 s left (boosting)",
        "train: 5 of 5 done in 2 min 34 s (gru 1)",
    ]


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
    assert advance.done == 2


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said
