"""What the page says of the inside of the networks."""

from tests.report.reading import HOURLY, table_rows, words


def test_memory_and_stability_of_every_network_stand_in_one_table(page):
    rows = {tuple(row[:2]): row[2:] for row in table_rows(page, HOURLY, "network-diagnostics")}
    assert set(rows) == {(m, r) for m in ("gru", "lstm", "narx") for r in ("as shipped", "architecture alone")} - {
        ("narx", "architecture alone")
    }
    assert rows["lstm", "as shipped"] == ["3", "7", "0.9000", "−0.2000", "12.5 %", "–", "–"]
    assert rows["gru", "as shipped"][1] == "beyond the window"
    assert rows["narx", "as shipped"] == ["1", "–", "–", "–", "–", "unstable", "–"]


def test_a_closed_loop_that_does_not_hold_is_named_aloud(page):
    said = words(page.xpath(f"//article[@id='{HOURLY}']")[0])
    assert "narx (as shipped): its closed loop is unstable: it leaves the range of the train data" in said


def test_curves_of_memory_are_drawn_per_ranking_with_their_ends_in_words(page):
    figures = page.xpath(f"//article[@id='{HOURLY}']//figure[contains(., 'how far back')]")
    assert len(figures) == 2
    assert "1 % is reached after: narx 1, gru 3, lstm 3 rows" in words(figures[0])
