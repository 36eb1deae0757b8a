"""How the tests of the page make and read it."""

import re

from forecast.config.paths import ProjectPaths
from forecast.data.results import Results, read_costs
from forecast.report.page import render

HOURLY, DAILY = "hourly", "daily"


def results(root, name):
    return Results(ProjectPaths.of(root), name)


def rendered(root, *names):
    of_datasets = [results(root, name) for name in names]
    return render(
        of_datasets,
        {
            of_dataset.name: read_costs(of_dataset.paths, of_dataset.name)
            for of_dataset in of_datasets
        },
    )


def words(element):
    return re.sub(r"\s+", " ", element.text_content()).strip()


def table_rows(page, dataset, name):
    rows = page.xpath(f"//article[@id='{dataset}']//table[contains(@class, '{name}')]//tbody/tr")
    return [[words(cell) for cell in row] for row in rows]
