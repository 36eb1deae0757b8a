"""What the page says of heads that forecast more than one number."""

from __future__ import annotations

from tests.report.reading import DAILY, HOURLY, table_rows


def test_a_head_has_one_row_per_series_with_the_scores_of_the_whole_horizon(page):
    (row,) = table_rows(page, HOURLY, "distribution-scores")
    assert row == ["gru", "as shipped", "gaussian", "town", "0.5000", "1.250", "0.2000", "0.2500", "75.0 %"]


def test_without_such_a_head_there_is_no_section(page):
    assert table_rows(page, DAILY, "distribution-scores") == []
    assert not page.xpath(f"//article[@id='{DAILY}']//h3[contains(., 'Distribution scores')]")
