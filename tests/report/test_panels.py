"""Which forecasts the page draws."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
from lxml import html

from forecast.comparison.scores import sort_by_size
from forecast.report import panels, text
from forecast.system import files
from tests.report.reading import DAILY, HOURLY, rendered, results, words
from tests.support.artifacts import write_project

SIZES = {"b": 1.0, "a": 1.0, "c": 5.0}


def test_each_series_has_the_origins_that_the_rule_picks_each_once(page):
    titles = [words(c) for c in page.xpath(f"//article[@id='{DAILY}']//figcaption")]
    for series in ("Alpha & Co", "Beta <B>"):
        mine = [t.split(" forecast:")[0].lower() for t in titles if f": {series}, " in t]
        assert sorted(", ".join(mine).split(", ")) == [
            "best",
            "typical",
            "worst",
        ]
        assert mine[0].startswith("typical")


def test_where_it_was_furthest_behind_naive_is_shown_if_it_ever_was():
    cutoffs = pd.date_range("2020-01-01", periods=2)
    y = np.array([[1.0], [2.0]])
    history = pd.Series([0.0, 0.0], index=cutoffs)
    model, naive = (Mock(seed_mean=y + error, y=y) for error in (1.0, np.array([[0.5], [3.0]])))
    models = {"naive": "naive", "chosen": "m"}
    tests = {"naive": naive, "chosen": model}
    both = panels.SeriesForecasts("s", models, tests, history)
    picked = dict(panels.pick_origins(both))
    assert [place for word, place in picked.items() if "furthest behind naive" in word] == [0]
    swapped = dict(panels.pick_origins(replace(both, on_test={"naive": naive, "chosen": naive})))
    assert not [word for word in swapped if "naive" in word]


def test_the_linear_line_of_the_charts_is_the_ridge_whatever_skip_the_best_network_has(project):
    for path in (project / "data/trained/hourly").glob("*/record.json"):
        record = files.read_json(path)
        if record["skip_model"]:
            files.write_json(path, {**record, "skip_model": "arx"})
    assert panels.models_by_role(results(project, HOURLY))["skip"] == "ridge"


def test_the_last_test_forecast_is_of_the_largest_series_and_says_of_how_many_between_dates(root):
    several = results(root, DAILY)
    drawn = panels.read_forecasts(several)
    assert [forecasts.series for forecasts in drawn] == ["Beta <B>", "Alpha & Co"]
    drawing = panels.last_panel(several, drawn)
    assert drawing.title.startswith("Last test forecast: Beta <B>, ")
    assert drawing.note.endswith("; Beta <B> is the largest (by its mean there) of 2 series")
    test = drawn[0].on_test["chosen"]
    cutoff, last = (
        f"{day.day} {day:%b %Y}" for day in map(pd.Timestamp, (test.cutoffs[-1], test.ds[-1, -1]))
    )
    chart = html.fromstring(drawing.svg)
    assert words(chart.xpath(".//text[@class='tick']")[-1]) == last
    assert f"sessions, forecast from {cutoff}" in words(chart)


def test_series_of_equal_size_stand_by_name_and_units_of_several_targets_are_not_compared(project):
    of_dataset = results(project, HOURLY)
    naive = of_dataset.naive
    rows = [naive.assign(unique_id=name, y=naive["y"] + size) for name, size in SIZES.items()]
    of_dataset.__dict__["naive"] = pd.concat(rows)  # in place of the cached properties
    of_dataset.__dict__["series"] = tuple(SIZES)
    assert sort_by_size(of_dataset) == ["c", "a", "b"]
    assert panels.describe_first(of_dataset) == "largest"
    # what has ended is not what a reader wants to see first
    oldest = rows[-1].loc[rows[-1]["block"] == "test", "cutoff"].min()
    rows[-1] = rows[-1][rows[-1]["cutoff"] <= oldest]
    of_dataset.__dict__["naive"] = pd.concat(rows)
    ended = rows[-1]["unique_id"].iloc[0]
    assert sort_by_size(of_dataset)[-1] == ended
    assert panels.describe_first(of_dataset) == "largest that goes on"
    # one that came a step late goes on
    late = naive[naive["ds"] < naive["ds"].max()]
    rows = [
        part.assign(unique_id=name, y=part["y"] + 1) for name, part in (("a", naive), ("b", late))
    ]
    of_dataset.__dict__["naive"] = pd.concat(rows)
    assert panels.describe_first(of_dataset) == "largest"
    targets = of_dataset.dataset.target * 2
    of_dataset.__dict__["dataset"] = of_dataset.dataset.model_copy(update={"target": targets})
    assert sort_by_size(of_dataset) == ["b", "a", "c"]


def test_values_whose_terms_forbid_it_are_not_drawn_and_the_page_says_why(project):
    text = (project / "configs" / "datasets.yaml").read_text()
    files.write_text(
        project / "configs" / "datasets.yaml", text.replace("CC BY 4.0", "personal use")
    )
    page = html.fromstring(rendered(project, HOURLY))
    labels = page.xpath("//*[@aria-label]/@aria-label")
    assert not [label for label in labels if "against the actual values" in label]
    assert "the terms of these data forbid" in words(page)
    assert [label for label in labels if label.startswith("Test error, By ")]


def test_no_value_of_private_data_stands_in_the_tables_of_the_page(project):
    of_dataset = results(project, HOURLY)
    assert len(of_dataset.quality["findings"]) and not panels.is_private(of_dataset)
    cells_shown = {words(cell) for cell in table_cells(project)}
    extremes = {
        text.figure(column[key])
        for series in of_dataset.quality["series"].values()
        for column in series["columns"].values()
        for key in ("min", "mean", "max")
    }
    sentences = {str(finding["sentence"]) for finding in of_dataset.quality["findings"]}
    assert extremes | sentences <= cells_shown
    config = project / "configs" / "datasets.yaml"
    files.write_text(config, config.read_text().replace("CC BY 4.0", "personal use"))
    assert panels.is_private(results(project, HOURLY))
    private = {words(cell) for cell in table_cells(project)}
    assert not (extremes | sentences) & private
    assert f"May quote values: `forecast data {HOURLY}` shows it." in private


def table_cells(project):
    """The cells of the tables of data quality and of findings."""
    page = html.fromstring(rendered(project, HOURLY))
    return page.xpath("//table[contains(@class, 'quality') or contains(@class, 'findings')]//td")


def test_a_series_without_an_actual_in_its_test_block_has_no_chart_of_errors(tmp_path):
    root, silent = write_project(tmp_path, datasets=(DAILY,)), "Beta <B>"
    for path in (root / "data/trained" / DAILY).glob("*/forecasts.parquet"):
        table = pd.read_parquet(path)
        table.loc[(table["unique_id"] == silent) & (table["block"] == "test"), "y"] = np.nan
        files.write_frame(path, table)
    labels = html.fromstring(rendered(root, DAILY)).xpath("//*[@aria-label]/@aria-label")
    of_time = [label for label in labels if label.startswith("Test error")]
    assert of_time == ["Test error, By weekday, Alpha & Co", "Test error, By month, Alpha & Co"]


def test_the_error_is_told_by_hour_weekday_and_month_of_the_time_that_was_forecast(root):
    of_dataset = results(root, HOURLY)
    (drawing,) = panels.read_forecasts(of_dataset)
    charts = {panel.title: panel for panel in panels.calendar_panels(of_dataset, [drawing])}
    assert list(charts) == ["By hour of the day, UTC", "By weekday", "By month"]
    test = drawing.on_test["chosen"]
    errors = np.abs(test.seed_mean - test.y)
    mondays = pd.DatetimeIndex(test.ds.ravel()).day_of_week == 0
    expected = text.figure(errors.ravel()[mondays].mean())
    chart = html.fromstring(charts["By weekday"].svg)
    chosen = chart.xpath("//*[@data-model='lstm'][@data-y]")[0]
    assert chart.get("data-xl").split("|")[0] == "Mon"
    assert chosen.get("data-y").split("|")[0] == expected


def test_a_long_test_block_is_told_by_quarters():
    days = pd.date_range("2020-01-01", "2022-12-31")
    quarters = panels.group_times(days)["month"]
    assert [panels.name_period(key, "month") for key in quarters.unique()[:2]] == [
        "2020 Q1",
        "2020 Q2",
    ]
    months = panels.group_times(days[:80])["month"]
    assert [panels.name_period(key, "month") for key in months.unique()] == [
        "Jan 2020",
        "Feb 2020",
        "Mar 2020",
    ]
