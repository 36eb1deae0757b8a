"""What the page says of the inside of the networks."""

import pytest

from forecast.backtest.diagnostics import FREE_RUN_BOUND
from forecast.report.diagnostics import MEANING_OF_VERDICT
from tests.report.reading import HOURLY, table_rows


def test_memory_and_stability_of_every_network_stand_in_one_table(page):
    rows = {tuple(row[:2]): row[2:] for row in table_rows(page, HOURLY, "network-diagnostics")}
    assert set(rows) == {
        (m, r) for m in ("gru", "lstm", "narx") for r in ("as shipped", "architecture alone")
    } - {("narx", "architecture alone")}
    assert rows["lstm", "as shipped"] == ["3", "–", "–"]
    assert rows["narx", "as shipped"] == ["1", "unstable", "–"]


@pytest.mark.parametrize("verdict", ["drifting", "unstable"])
def test_the_words_of_a_loop_that_leaves_the_bounds_name_the_bound(verdict: str) -> None:
    assert f"over {FREE_RUN_BOUND:g} scaled units" in MEANING_OF_VERDICT[verdict]
