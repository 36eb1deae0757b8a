"""How the tests of the page read it."""

import re

HOURLY, DAILY = "hourly", "daily"


def words(element):
    return re.sub(r"\s+", " ", element.text_content()).strip()


def table_rows(page, dataset, name):
    rows = page.xpath(f"//article[@id='{dataset}']//table[contains(@class, '{name}')]//tbody/tr")
    return [[words(cell) for cell in row] for row in rows]
