"""Numbers as a reader sees them."""

import math

import pytest

from forecast.comparison import sentences
from forecast.report import text
from forecast.report.leaderboard import round_cell
from forecast.system.errors import with_minus


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.28812, "1.288"),
        (0.0123456, "0.01235"),
        (12340.4, "12,340"),
        (-0.5, "−0.5000"),
        (0, "0"),
        (1e-9, "0.0000000010"),
        (-1e-17, "0"),
    ],
)
def test_a_figure_has_four_significant_digits(value, written):
    assert text.figure(value) == written


@pytest.mark.parametrize("value", [None, "", math.nan, math.inf])
def test_what_is_missing_is_a_dash_and_never_nan(value):
    texts = {
        text.figure(value),
        text.count(value),
        text.percent(value),
        text.signed_percent(value),
        text.duration(value),
    }
    assert texts == {"–"}


def test_small_percentages_keep_a_digit_that_tells_them_from_zero():
    assert [text.signed_percent(v) for v in (0.44, -0.0042, 0.0, 0.00001)] == [
        "+44.0 %",
        "−0.42 %",
        "0.00 %",
        "0.00 %",
    ]


@pytest.mark.parametrize("share", [-0.386503, 0.0124501, 0.99995001])
def test_a_share_reads_alike_from_a_run_and_from_its_committed_report(share):
    rounded = float(round_cell(str(share)))
    assert text.signed_percent(share) == text.signed_percent(rounded)
    assert sentences.signed_percent(share) == sentences.signed_percent(rounded)
    assert text.signed_percent(share).replace("−", "-") == sentences.signed_percent(share)


def test_a_spread_has_the_decimals_of_its_mean():
    assert text.plus_minus(1.21149, 0.00611) == "1.211 ± 0.006"


def test_cpu_time_reads_like_time():
    assert [text.duration(s) for s in (0.42, 12.2, 185)] == ["0.4 s", "12 s", "3 min 05 s"]


def test_names_are_listed_as_in_a_sentence():
    assert [text.listing(n) for n in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_stored_sentence_is_shown_with_signs_of_minus_but_for_code_dates_and_ranges():
    stored = "gru (-3.1 %), r = -0.20 of 2024-01-31, 5-7; `missing: -999 -1`; -.5 - none."
    expected = "gru (−3.1 %), r = −0.20 of 2024-01-31, 5-7; `missing: -999 -1`; −.5 - none."
    assert with_minus(stored) == expected
    assert text.mark_code("`-1` is -1") == "<code>-1</code> is −1"
