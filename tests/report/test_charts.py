"""The SVG kit: scales, ticks, paths, labels."""

import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.report.charts import (
    CHARACTER,
    Axes,
    Frame,
    Interval,
    Line,
    PixelScale,
    interval_chart,
    label_ticks,
    line_chart,
    pad_range,
    path,
    spread,
)
from forecast.report.figures import change_label


def test_a_scale_maps_its_ends_to_the_pixels_it_was_given():
    assert PixelScale(10, 20, 100, 0)([10, 15, 20]).tolist() == [100, 50, 0]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 12, [0, 5, 10]),
        (1010, 1090, [1020, 1040, 1060, 1080]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, ticks):
    assert PixelScale(low, high, 0, 1).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize("high", [0.15, 0.3, 0.6, 1.2])
def test_the_last_tick_may_be_the_end_of_the_range(high):
    assert PixelScale(0, high, 0, 1).ticks()[-1] == pytest.approx(high)
    assert -PixelScale(-high, 0, 0, 1).ticks()[0] == pytest.approx(high)


def test_ticks_of_a_series_in_the_smallest_unit_differ():
    ticks = PixelScale(0, 3.1e-13, 0, 1).ticks()
    assert ticks == pytest.approx([0, 1e-13, 2e-13, 3e-13], rel=1e-9)
    assert [label[-2:] for label in label_ticks(ticks)] == ["00", "01", "02", "03"]


def test_tick_labels_have_the_decimals_that_tell_them_apart():
    assert label_ticks([0, 0.5]) == ["0.0", "0.5"]
    assert label_ticks([-0.04, -0.02]) == ["−0.04", "−0.02"]
    assert label_ticks([1000, 2000]) == ["1,000", "2,000"]
    assert label_ticks([3]) == ["3"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_padded_range_holds_every_value_and_is_never_empty(values):
    low, high = pad_range(values)
    assert low < min(values) <= max(values) < high


def test_a_missing_value_breaks_the_line():
    assert path(np.array([0, 1, 2, 3]), np.array([5, np.nan, 6, 7.25])) == "M0 5M2 6L3 7.2"


def test_a_line_has_no_points_beyond_the_axes():
    frame = Frame(10, 10, PixelScale(0, 3, 0, 3), PixelScale(-1, 2, -1, 2))
    wild = Line("wild", np.array([0.0, 1, 2, 3]), np.array([0.0, 4, 0, 1]))
    assert frame.path(wild) == "M0 0M2 0L3 1"


@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_spread_labels_keep_their_order_and_their_distance(positions):
    spread_positions = spread(positions, 0, 200, gap=13)
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    steps = np.diff([spread_positions[i] for i in order])
    assert (steps >= 13 - 1e-6).all()
    assert max(spread_positions) <= 200 + 1e-6


def test_text_from_the_data_cannot_become_markup():
    line = Line('<b>"&', np.arange(2.0), np.ones(2), "naive", tip='<b>"&')
    svg = line_chart([line], Axes('<b>"&', "", "", []))
    assert "<b>" not in svg
    drawn = ET.fromstring(svg)
    assert drawn.get("aria-label") == drawn.find("g").get("data-tip") == line.name


def test_a_line_chart_is_well_formed_and_names_its_lines():
    x = np.arange(1.0, 4.0)
    lines = [
        Line("naive", x, x, "naive", "naive"),
        Line("a<b", x, 2 * x, "chosen", "a<b", ((x, 3 * x),)),
    ]
    chart = ET.fromstring(
        line_chart(lines, Axes("errors", "hours ahead", "MAE, °C", [(1.0, "1"), (3.0, "3")]))
    )
    texts = [element.text for element in chart.iter("text")]
    assert {"naive", "a<b", "hours ahead", "MAE, °C"} <= set(texts)
    assert chart.get("aria-label") == "errors"


def test_a_chart_of_a_constant_line_has_a_range():
    x = np.arange(3.0)
    assert "NaN" not in line_chart([Line("naive", x, np.ones(3), "naive")], Axes("", "", "", []))


@pytest.mark.parametrize(
    ("largest", "label"), [(0.045, "+5\xa0%"), (0.06, "+5\xa0%"), (0.07, "+10\xa0%")]
)
def test_small_changes_beside_long_names_still_have_a_scale(largest, label):
    names = ("encoder decoder on ridge", "narx on arx")
    rows = [
        Interval(name, value, value - 0.02, value + 0.03, "not distinguishable", name, "")
        for name, value in zip(names, (-0.002, largest), strict=True)
    ]
    svg = interval_chart(rows, label="", x_title="", show=change_label)
    labels = {element.text for element in ET.fromstring(svg).iter("text")}
    assert {"0", label} <= labels


def test_ticks_of_changes_never_overlap_however_narrow_the_chart():
    rows = [
        Interval("than seasonal naive", 0.01, 0.004, 0.014, "not distinguishable", "m", ""),
        Interval("than m", 0.002, 0.001, 0.003, "worse", "m", ""),
    ]
    svg = interval_chart(rows, label="", x_title="", show=lambda share: f"{100 * share:+.2f} %")
    labels = [
        (float(element.get("x")), len(element.text))
        for element in ET.fromstring(svg).iter("text")
        if element.text.endswith("%")
    ]
    assert len(labels) >= 2
    for (x, length), (next_x, next_length) in itertools.pairwise(labels):
        assert next_x - x >= CHARACTER * (length + next_length) / 2


def test_ticks_of_changes_have_room_for_digits_and_signs():
    rows = [Interval("stacked", -0.33, -0.36, 0.24, "better", "m", "")]
    svg = interval_chart(rows, label="", x_title="", show=change_label)
    places = [
        float(element.get("x"))
        for element in ET.fromstring(svg).iter("text")
        if element.text.endswith("%")
    ]
    assert len(places) >= 2
    assert min(np.diff(places)) > 37.6  # the width of `−30 %` in Chromium


def test_an_interval_without_limits_is_a_dot_alone():
    rows = [Interval("lstm", -0.01, float("nan"), float("nan"), "undecided", "lstm", "")]
    svg = interval_chart(rows, label="", x_title="", show=str)
    assert "circle" in svg
    assert "span" not in svg
