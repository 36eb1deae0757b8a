"""What the page says of heads that forecast more than one number."""

from __future__ import annotations

import pandas as pd
import pytest
from lxml import html

from forecast.config.paths import ProjectPaths
from forecast.config.task import SessionCalendar
from forecast.data.records import MemberRecipe
from forecast.data.results import Results, in_ranking
from forecast.report import text
from forecast.report.score_tables import combinations, leaderboard_table, many_series
from forecast.system import files
from tests.report.reading import DAILY, HOURLY, rendered, table_rows
from tests.support.artifacts import write_project
from tests.support.records import run_record


def drop_origin(root, series, end):
    """Takes the first ("min") or last ("max") test origin of a series from every forecast."""
    for path in (root / "data/trained" / DAILY).glob("*/forecasts.parquet"):
        table = pd.read_parquet(path)
        origin = table.loc[table["block"] == "test", "cutoff"].agg(end)
        files.write_frame(path, table[(table["unique_id"] != series) | (table["cutoff"] != origin)])


def test_test_origins_are_those_of_all_series_with_how_many_each_has(tmp_path):
    root = write_project(tmp_path, datasets=(DAILY,))
    naive = Results(ProjectPaths.of(root), DAILY).naive
    n = naive.loc[naive["block"] == "test", "cutoff"].nunique()
    assert f" {n} test origins, the same for every row." in rendered(root, DAILY)
    drop_origin(root, "Beta <B>", "min")
    assert f" {n} test origins, {n - 1} to {n} of each series, the same" in rendered(root, DAILY)
    drop_origin(root, "Alpha & Co", "max")
    assert f" {n} test origins, {n - 1} of each series, the same" in rendered(root, DAILY)


def member(candidate: str, weight: float) -> MemberRecipe:
    model, _, skip = candidate.partition(".")
    ranking = "shipped" if skip else "baseline"
    return MemberRecipe(
        candidate=candidate,
        model=model,
        params={},
        ranking=ranking,
        skip=skip or None,
        weight=weight,
    )


def test_a_combination_is_listed_with_its_members_their_weights_and_what_was_left_out(project):
    results = Results(ProjectPaths.of(project), HOURLY)
    members = (member("gru.linear", 0.625), member("ridge", 0.375))
    record = run_record("mix", ranking="shipped", reason="left out: lstm (failed)", members=members)
    results.records["mix"] = record
    assert combinations(results, "shipped") == [
        ("mix", "gru 0.62, ridge 0.38; left out: lstm (failed)")
    ]
    assert combinations(results, "architecture") == []
    twins = (member("gru.linear", 0.5), member("gru.none", 0.5))
    results.records["mix"] = record.model_copy(update={"members": twins})
    assert combinations(results, "shipped") == [
        ("mix", "gru.linear 0.50, gru.none 0.50; left out: lstm (failed)")
    ]


def test_scores_of_intervals_and_heads_stand_beside_the_errors_of_one_series(tmp_path):
    project = write_project(tmp_path)
    results = Results(ProjectPaths.of(project), HOURLY)
    table = leaderboard_table(results, "shipped")
    titles = [title for title, _ in table.columns[1:]]
    rows = {
        row.model: dict(zip(titles, row.cells, strict=True))
        for row in table.rows
        if row.cls in ("chosen", "")
    }
    crps, winkler = (
        next(title for title in titles if title.startswith(name))
        for name in ("CRPS", "Interval score 80 %")
    )
    of_lstm = results.intervals_of("lstm", "shipped")
    expected = of_lstm.loc[(of_lstm["step"] == 0) & (of_lstm["level"] == 80), "winkler"].iloc[0]
    assert rows["lstm"][winkler].value == expected and rows["gru"][crps].value == 0.5
    assert rows["lstm"][crps].value == 0.7


def test_of_several_series_the_crps_is_scaled_since_units_are_not_pooled(tmp_path):
    several = leaderboard_table(Results(ProjectPaths.of(write_project(tmp_path)), DAILY), "shipped")
    titles = [title for title, _ in several.columns[1:]]
    assert not [title for title in titles if title.startswith(("CRPS", "Interval score"))]
    rows = {row.model: dict(zip(titles, row.cells, strict=False)) for row in several.rows}
    assert rows["lstm"]["Scaled CRPS"].value == pytest.approx(0.07)


def test_of_many_series_their_spread_and_the_worst_are_shown_and_not_every_row(root, monkeypatch):
    names = Results(ProjectPaths.of(root), DAILY).series
    monkeypatch.setattr(text, "MOST_SERIES", 1)
    monkeypatch.setattr(text, "MOST_LISTED", 1)
    page = html.fromstring(rendered(root, DAILY))
    table = many_series(Results(ProjectPaths.of(root), DAILY), "shipped")
    spread = [row[0] for row in table_rows(page, DAILY, "spread")]
    assert spread[: len(table.spread.rows)] == [text.name(row.model) for row in table.spread.rows]
    worst, _ = table_rows(page, DAILY, "worst")  # one of each ranking
    served = in_ranking(Results(ProjectPaths.of(root), DAILY).by_series, "shipped")
    served = served[served["model"] == table.model].groupby("series").tail(1)
    assert worst[0] == served.loc[served["mase"].idxmax(), "series"] and table.count == len(names)
    assert len(table_rows(page, DAILY, "quality")) < len(names) * 2
    assert "more are left out" in " ".join(page.itertext())


@pytest.mark.parametrize(
    ("calendar", "changes", "is_shown"),
    [
        (None, {}, False),
        (SessionCalendar(kind="sessions", exchange="XNYS"), {"difference_inputs": True}, False),
        (SessionCalendar(kind="sessions", exchange="XNYS"), {"difference_inputs": False}, True),
    ],
    ids=["temperature", "price", "volatility"],
)
def test_the_loss_of_volatility_is_shown_of_volatility_alone(project, calendar, changes, is_shown):
    of_dataset = Results(ProjectPaths.of(project), HOURLY)
    if calendar is not None:
        (target,) = of_dataset.dataset.target
        changed = target.model_copy(update={"transform": "log", **changes})
        of_dataset.__dict__["dataset"] = (
            of_dataset.dataset.model_copy(  # in place of the cached property
                update={"calendar": calendar, "target": (changed,)}
            )
        )
    titles = [title for title, _ in leaderboard_table(of_dataset, "shipped").columns]
    assert ("QLIKE" in titles) == is_shown and any("RMSE" in title for title in titles)
