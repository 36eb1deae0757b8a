"""What the page says of the inside of the networks."""

from tests.report.reading import HOURLY, table_rows


def test_memory_and_stability_of_every_network_stand_in_one_table(page):
    rows = {tuple(row[:2]): row[2:] for row in table_rows(page, HOURLY, "network-diagnostics")}
    assert set(rows) == {
        (m, r) for m in ("gru", "lstm", "narx") for r in ("as shipped", "architecture alone")
    } - {("narx", "architecture alone")}
    assert rows["lstm", "as shipped"] == ["3", "–", "–"]
    assert rows["narx", "as shipped"] == ["1", "unstable", "–"]
