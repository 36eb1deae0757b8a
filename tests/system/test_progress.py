"""Progress as plain lines and as a bar."""

from __future__ import annotations

import io
import sys
from itertools import count
from types import SimpleNamespace

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


class Displayed:
    """IPython as far as a notebook's cell needs it; what is displayed is kept in `shown`, newest
    last.
    """

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.HTML = str

    def get_ipython(self) -> SimpleNamespace:
        return SimpleNamespace(kernel=object())

    def display(self, text: str, *, display_id: bool) -> SimpleNamespace:
        self.shown.append(text)
        return SimpleNamespace(update=self.shown.append)


def test_a_notebook_gets_one_bar_that_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    cell = Displayed()
    monkeypatch.setitem(sys.modules, "IPython", cell)
    monkeypatch.setitem(sys.modules, "IPython.display", cell)
    ticks = count(0, 10)
    with show_progress(2, "train <a>", clock=lambda: next(ticks)) as advance:
        advance("lstm")
        advance("gru")
    assert cell.shown[0].startswith('<progress value="0" max="2">')
    assert "train &lt;a&gt;: 1 of 2, about 20 s left lstm" in cell.shown[1]
    assert "2 of 2 in 30 s" in cell.shown[-1] and not capsys.readouterr().err
