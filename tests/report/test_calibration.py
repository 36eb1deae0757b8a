"""What the page says of the intervals."""

import numpy as np
import pandas as pd
import pytest
from lxml import html

from forecast.report import panels
from forecast.system import files
from tests.report.reading import DAILY, HOURLY, rendered, results, words
from tests.support.artifacts import TOO_FEW


def calibration_rows(page, dataset):
    rows = page.xpath(
        f"//article[@id='{dataset}']//table[contains(@class, 'calibration')]//tbody/tr"
    )
    return [[words(cell) for cell in row] for row in rows]


def test_calibration_shows_the_chosen_model_its_skip_and_the_naive_ones_at_both_levels(page):
    rows = calibration_rows(page, HOURLY)
    models = ["lstm", "ridge", "naive", "seasonal naive"]
    assert [(row[0], row[1]) for row in rows] == [
        (m, level) for level in ("80 %", "95 %") for m in models
    ]
    assert rows[0] == ["lstm", "80 %", "80.0 %", "77 % to 83 %", "7.000", "10.50", "40"]
    assert rows[6][2] == "90.0 % (below)"


def test_each_series_is_calibrated_on_its_own_and_a_refused_level_is_said_not_shown(page):
    rows = calibration_rows(page, DAILY)
    assert {row[2] for row in rows if row[1] == "Alpha & Co"} == {"80 %"}
    assert {row[2] for row in rows if row[1] == "Beta <B>"} == {"80 %", "95 %"}
    assert f"Alpha & Co: {TOO_FEW}" in words(page.xpath(f"//article[@id='{DAILY}']")[0])
    assert TOO_FEW not in words(page.xpath(f"//article[@id='{HOURLY}']")[0])


def test_the_intervals_of_an_origin_are_its_own_the_widest_level_first(root):
    of_dataset = results(root, HOURLY)
    test = panels.read_forecasts(of_dataset)[0].on_test["chosen"]
    bands = panels.intervals_at(of_dataset, "lstm", "town", test.cutoffs[5])
    assert [len(pair) for pair in bands] == [2, 2]
    for margin, (lower, upper) in zip((2, 1), bands, strict=True):
        assert upper - lower == pytest.approx(2 * margin * np.arange(1.0, 7.0))
        assert (upper + lower) / 2 == pytest.approx(test.seed_mean[5])
    assert panels.intervals_at(of_dataset, "gru", "town", test.cutoffs[5]) == ()


def test_forecasts_are_drawn_with_the_intervals_of_the_chosen_model_alone(page):
    charts = page.xpath(
        f"//article[@id='{HOURLY}']//*[starts-with(@aria-label, 'typical forecast')]"
    )
    assert [band.get("class") for band in charts[0].xpath(".//*[contains(@class, 'band')]")] == [
        "band chosen"
    ] * 2


def test_without_any_interval_the_seeds_range_is_drawn_and_the_refusals_are_told(project):
    folder = project / "data/compared/hourly"
    files.write_frame(
        folder / "intervals.parquet", pd.read_parquet(folder / "intervals.parquet").iloc[:0]
    )
    files.write_frame(folder / "bands.parquet", pd.read_parquet(folder / "bands.parquet").iloc[:0])
    refused = [{"series": "town", "level": 80.0, "reason": TOO_FEW, "candidates": []}]
    files.write_json(
        folder / "verdicts.json",
        {**files.read_json(folder / "verdicts.json"), "unsupported_levels": refused},
    )
    page = html.fromstring(rendered(project, HOURLY))
    assert calibration_rows(page, HOURLY) == []
    assert f"town: {TOO_FEW}" in words(page)
    assert "Shaded: the range over seeds." in words(page)


def test_how_intervals_are_made_is_said(page):
    text = words(page.xpath(f"//article[@id='{HOURLY}']")[0])
    assert "from how much the series changed in the lookback" in text
    assert "how large errors are at that hour, weekday or month, as in a served forecast" in text
    assert "Ten series or more with short blocks rank their errors together" in text
