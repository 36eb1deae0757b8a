"""What the page says of heads that forecast more than one number."""

from __future__ import annotations

from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.report.board import combinations
from tests.report.reading import DAILY, HOURLY, table_rows


def test_a_head_has_one_row_per_series_with_the_scores_of_the_whole_horizon(page):
    (row,) = table_rows(page, HOURLY, "distribution-scores")
    assert row == ["gru", "as shipped", "gaussian", "town", "0.5000", "1.250", "0.2000", "0.2500", "75.0 %"]


def test_without_such_a_head_there_is_no_section(page):
    assert table_rows(page, DAILY, "distribution-scores") == []
    assert not page.xpath(f"//article[@id='{DAILY}']//h3[contains(., 'Distribution scores')]")


def test_a_combination_is_listed_with_its_members_their_weights_and_what_was_left_out(project):
    results = Results(ProjectPaths.of(project), HOURLY)
    members = [{"model": "gru", "weight": 0.625}, {"model": "ridge", "weight": 0.375}]
    record = {"model": "mix", "ranking": "shipped", "reason": "left out: lstm (failed)", "members": members}
    results.records["mix"] = record
    assert combinations(results, "shipped") == [("mix", "gru 0.62, ridge 0.38; left out: lstm (failed)")]
    assert combinations(results, "architecture") == []
