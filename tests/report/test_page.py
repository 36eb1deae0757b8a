"""reports/report.html without a browser: what it says, that it is self-contained and the same bytes
every time.
"""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lxml import html

import forecast
from forecast.config.paths import ProjectPaths
from forecast.config.task import RegularCalendar
from forecast.data.comparison_records import Alarm
from forecast.data.records import CandidateCost
from forecast.report.facts import (
    budget_sentence,
    findings_table,
    timeline,
)
from forecast.report.figures import role_of, step_panels, step_unit
from forecast.report.page import describe_alarms, render
from forecast.report.panels import mean_errors, models_by_role, read_forecasts
from forecast.system import files
from forecast.system.errors import DataError, InputError, with_minus
from pipelines import report
from tests.report.reading import DAILY, HOURLY, rendered, results, words
from tests.support import example_data
from tests.support.artifacts import candidates

GRU_LEDGER = [
    "gru",
    "as shipped",
    "2",
    "200",
    "600",
    "460,800",
    "1,234",
    "16 s",
    "5.5 s",
    "3 of 3",
    "480",
    "–",
]


def board(page, dataset, number):
    return page.xpath(f"//article[@id='{dataset}']//table[contains(@class, 'board')]")[number]


def row_of(table, model):
    rows = table.xpath(f".//tbody/tr[@data-model='{model}']")
    return [words(cell) for cell in rows[0]]


def test_the_page_of_a_run_without_networks_says_that_none_is_one(tmp_path):
    df = pd.DataFrame({"ds": np.arange(200), "y": np.sin(np.arange(200) / 3)})
    compared = forecast.compare(df, "naive", freq=1, horizon=2, lookback=8, n_jobs=1)
    page = html.fromstring(compared.report(tmp_path / "report.html").read_text())
    assert "models, none of them a neural network, on the same origins" in words(page)


def test_rows_without_dates_are_called_by_their_number(tmp_path):
    y = np.sin(np.arange(300) / 3) + 0.1 * np.random.default_rng(0).standard_normal(300)
    df = pd.DataFrame({"ds": np.arange(300), "y": y}).drop(index=[50, 51])
    board = forecast.compare(df, "naive", freq={"kind": "index"}, horizon=4, lookback=8, n_jobs=1)
    page = board.report(tmp_path / "report.html").read_text()
    tree = html.fromstring(page)
    for element in tree.xpath(
        "//td[@class='said'] | //style | //script"
    ):  # a data check tells times
        element.getparent().remove(element)
    visible_text = words(tree)
    assert (
        "1970" not in visible_text.replace("Kennard 1970", "").replace("Jenkins 1970", "")
        and "1 Jan 1970" not in page
    )
    for span in ("row 0 to row 175", "row 255 to row 299"):
        assert span in visible_text, span
    assert "row 255|row 256" in page  # the tooltip of a forecast
    assert "Test error by period" not in page


def test_the_stage_writes_the_same_bytes_twice_and_nothing_else(project):
    def write_project():
        files = filter(Path.is_file, (project / "reports").rglob("*"))
        return {
            path.relative_to(project / "reports").as_posix(): path.read_bytes() for path in files
        }

    report.main(str(project))
    first = write_project()
    report.main(str(project))
    assert write_project() == first
    of_dvc = {name for name in first if name == "metrics.json" or name.startswith("plots/")}
    assert set(first) - of_dvc == {"leaderboard.csv", "report.html", "verdicts.json"} and of_dvc


def test_nothing_is_fetched_from_anywhere(root, page):
    text = rendered(root, HOURLY)
    assert not page.xpath(
        "//link[not(starts-with(@href, 'data:'))] | //script[@src] | //img | //iframe | //object"
    )
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_page_is_small(root):
    assert len(rendered(root, HOURLY, DAILY).encode()) < 1_500_000


def test_sections_stand_in_the_order_a_reader_needs_them(page):
    for dataset in (HOURLY, DAILY):
        heads = [words(h) for h in page.xpath(f"//article[@id='{dataset}']//h3")]
        assert heads == [
            "Verdict",
            "Leaderboard as shipped",
            "Leaderboard architecture alone",
            "Forecasts and actual values",
            "Where the error is",
            "Calibration",
            "Network diagnostics",
            "Fair-comparison ledger",
            "Splits",
            "Data",
        ]
    assert page.xpath("//article")[-1].get("id") == "protocol"


def test_every_sentence_of_the_verdict_is_printed(root, page):
    text = words(page.xpath(f"//article[@id='{HOURLY}']//section[@class='verdict']")[0])
    sentences = results(root, HOURLY).verdicts.sentences
    assert all(with_minus(sentence) in text for sentence in sentences)
    assert "no test distinguishes lstm from gru" in text.lower() and " lstm " in text


def test_the_data_are_dated_by_their_pointer_not_by_today(page):
    assert "Data as of 2025-03-01 (hourly) and 2025-03-01 (daily)" in words(
        page.xpath("//header")[0]
    )


def test_the_chosen_row_is_marked_in_both_rankings_and_only_it(page):
    for number in (0, 1):
        marked = board(page, HOURLY, number).xpath(".//tr[contains(@class, 'chosen')]")
        assert [row.get("data-model") for row in marked] == ["lstm"]
        assert "selected on validation" in words(marked[0])


def test_baselines_and_skip_rows_stand_in_both_rankings(page):
    for number in (0, 1):
        models = set(board(page, HOURLY, number).xpath(".//tbody/tr/@data-model"))
        assert {"naive", "seasonal_naive", "drift", "ridge", "lstm", "gru", "narx"} == models


def test_where_networks_were_trained_as_shipped_alone_nothing_speaks_of_another_ranking(project):
    path = ProjectPaths.of(project).compared(HOURLY) / "leaderboard.csv"
    board = pd.read_csv(path, dtype={"seed": str})
    board[board["ranking"] != "architecture"].to_csv(path, index=False)
    assert "both rankings" not in words(html.fromstring(rendered(project, HOURLY)))
    titles = [panel.title for panel in step_panels(results(project, HOURLY))]
    assert titles == ["As shipped", "As shipped against naive"]


def test_rows_stand_by_test_error_and_failures_last_with_their_reason(page):
    rows = board(page, HOURLY, 1).xpath(".//tbody/tr")
    names = [row.xpath("string(td[1])") for row in rows]
    assert "diverged" in names[-1]
    assert "failed" in words(rows[-1])
    errors = [float(value.split()[0]) for value in names[:-1]]
    assert errors == sorted(errors)


def test_of_a_network_that_does_not_beat_its_skip_no_gain_is_shown(page):
    table = board(page, HOURLY, 0)
    assert "better" in row_of(table, "lstm")[3]
    assert "no gain shown (not distinguishable)" in row_of(table, "gru")[3]
    assert "no gain shown (worse)" in row_of(table, "narx")[3]
    assert row_of(table, "ridge")[3] == "–"


def test_errors_of_several_series_are_never_pooled_in_units(page):
    heads = [words(cell) for cell in board(page, DAILY, 0).xpath(".//thead//th")]
    assert heads[1] == "MASE"
    assert not [head for head in heads if head.startswith(("MAE", "RMSE "))]
    by_series = page.xpath(f"//article[@id='{DAILY}']//table[contains(@class, 'series')]//thead")[0]
    assert "Alpha & Co: MAE [index points]" in words(by_series)


def test_flags_of_copies_and_leaks_are_said_and_marked(page):
    text = words(page.xpath(f"//article[@id='{DAILY}']//section[@class='verdict']")[0])
    assert "gru (as shipped): Alpha & Co: MAE 40.0 % below" in text
    assert "naive (baseline): Alpha & Co: 2 of 3 steps hardly move" in text
    assert "leak alarm" in row_of(board(page, DAILY, 0), "gru")[0]
    assert "leak alarm" not in row_of(board(page, DAILY, 1), "gru")[0]


def test_alarms_of_many_series_are_told_apart_and_counted_from_two_left_out_on():
    """A reason has commas of its own, and one more is as short as the words that count it."""
    alarms = [
        Alarm(ranking="shipped", model="gru", unique_id=f"s{number}", reason="small, late moves")
        for number in range(12)
    ]
    (eleven,) = describe_alarms(alarms[:11])
    assert eleven.endswith("; s9: small, late moves; s10: small, late moves")
    (twelve,) = describe_alarms(alarms)
    assert twelve.endswith("; s9: small, late moves; and 2 more")


def test_a_row_that_the_test_finds_better_than_the_last_value_is_not_tagged_a_copy(project):
    path = ProjectPaths.of(project).compared(HOURLY) / "verdicts.json"
    verdicts = files.read_json(path)
    moved = {"unique_id": "town", "reason": "3 of 3 steps hardly move"}
    rows = [
        ("lstm", "shipped", "better"),
        ("gru", "shipped", "equivalent"),
        ("drift", "baseline", "worse"),
    ]
    verdicts["copies"] += [
        {"model": model, "ranking": ranking, **moved} for model, ranking, _ in rows
    ]
    words_of = {(model, ranking): word for model, ranking, word in rows}
    for test in verdicts["tests"]:
        if test["family"] == "bar":
            test["word"] = words_of.get((test["model"], test["ranking"]), test["word"])
    files.write_json(path, verdicts)
    page = html.fromstring(rendered(project, HOURLY))
    shown_rows = board(page, HOURLY, 0)
    tagged = {
        row.get("data-model")
        for row in shown_rows.xpath(".//tbody/tr[.//span[@class='mark'][.='copy']]")
    }
    assert tagged == {"gru", "drift", "naive"} and "better" in row_of(shown_rows, "lstm")[2]
    text = words(page.xpath("//section[@class='verdict']//details")[0])
    assert (
        "4 forecasts move little from the last value" in text
        and "lstm (as shipped): town: 3 of 3" in text
    )


def test_the_selected_row_is_marked_tied_only_beside_another(page):
    of_both = [row_of(board(page, DAILY, number), "lstm")[0] for number in (0, 1)]
    assert ["tied" in name for name in of_both] == [True, False]


def test_the_worst_origin_is_the_one_with_the_largest_error(root):
    rows = results(root, HOURLY).forecasts_by_series("lstm.linear")
    (drawn,) = read_forecasts(results(root, HOURLY))
    on_test = drawn.on_test["chosen"]
    rows = (
        rows[rows["block"] == "test"]
        .groupby(["cutoff", "step"], as_index=False)[["y", "y_hat"]]
        .mean()
    )
    errors = (rows["y"] - rows["y_hat"]).abs().groupby(rows["cutoff"]).mean()
    losses = mean_errors(on_test)
    assert on_test.cutoffs[int(np.argmax(losses))] == errors.idxmax()
    assert losses.max() == pytest.approx(errors.max())


def test_the_change_against_naive_has_the_range_of_the_seeds(page):
    (chart,) = page.xpath(
        f"//article[@id='{HOURLY}']//*[@aria-label='Error by horizon step, As shipped against"
        " naive']"
    )
    assert [band.get("class") for band in chart.xpath(".//*[contains(@class, 'band')]")] == [
        "band chosen"
    ]


def test_what_not_to_read_into_the_result_stands_beside_it(page):
    verdict = "//article[@id='{}']//section[@class='verdict']"
    assert "Gridded reanalysis, not a station" in words(page.xpath(verdict.format(HOURLY))[0])
    assert "No trading cost is counted and no return is claimed" in words(
        page.xpath(verdict.format(DAILY))[0]
    )


def test_what_the_data_checks_found_is_listed_and_nothing_where_they_found_nothing(page):
    table = "//article[@id='{}']//table[contains(@class, 'findings')]//tbody/tr"
    (row,) = page.xpath(table.format(HOURLY))
    row_words = [
        "spikes",
        "1 value beyond 8 robust spreads: 2025-01-05 07:00.",
        "town",
        "temperature",
        "warn",
    ]
    assert [words(cell) for cell in row] == row_words
    assert not page.xpath(table.format(DAILY))


def test_of_ten_thousand_findings_the_first_hundred_are_listed():
    finding = {
        "rule": "gaps",
        "series": "s",
        "column": "",
        "count": 1,
        "sentence": "A step is missing.",
        "action": "warn",
    }
    table = findings_table(
        SimpleNamespace(quality={"findings": [finding] * 10_000}, dataset=example_data.dataset())
    )
    assert len(table.rows) == 100 and "quality.json" in dict(table.columns)["Check"]


def test_the_ledger_has_a_row_for_every_candidate_and_its_cost(page):
    rows = page.xpath(f"//article[@id='{HOURLY}']//table[contains(@class, 'ledger')]//tbody/tr")
    assert len(rows) == len(candidates())
    assert [words(cell) for cell in rows[4]] == GRU_LEDGER


def with_cost(path: Path, **counts: int) -> dict[str, Any]:
    """The content of a record with other counts of steps."""
    content = files.read_json(path)
    return {**content, "cost": {**content["cost"], **counts}}


def test_the_ledger_says_where_a_seed_took_fewer_steps_than_it_was_given(project):
    path = project / "data/trained/hourly/gru.linear/record.json"
    files.write_json(path, with_cost(path, gradient_steps_taken=450))
    page = html.fromstring(rendered(project, HOURLY))
    rows = page.xpath(f"//article[@id='{HOURLY}']//table[contains(@class, 'ledger')]//tbody/tr")
    assert words(rows[4][4]) == "450 of 600"


def test_the_ledger_says_how_often_a_row_was_fitted_again(project):
    path = project / "data/trained/hourly/gru.linear/record.json"
    files.write_json(path, {**files.read_json(path), "refits": 14})
    page = html.fromstring(rendered(project, HOURLY))
    rows = page.xpath(f"//article[@id='{HOURLY}']//table[contains(@class, 'ledger')]//tbody/tr")
    assert words(rows[4][-1]) == "14" and "linear part" in words(
        page.xpath("//*[@id='protocol']")[0]
    )


def test_a_network_that_was_never_trained_is_reported_beside_the_others(project):
    path = project / "data/trained/hourly/gru.last/record.json"
    never = {
        "status": "failed",
        "reason": "every tuning trial failed: it diverged",
        "seeds": [],
        "n_params": 0,
    }
    files.write_json(path, {**files.read_json(path), **never})
    path = ProjectPaths.of(project).compared(HOURLY) / "leaderboard.csv"
    board = pd.read_csv(path, dtype={"seed": str})
    is_never = (board["model"] == "gru") & (board["ranking"] == "architecture")
    board = board[~is_never | (board["seed"] == "mean")]
    board.loc[is_never, "status"] = "failed"
    board.to_csv(path, index=False)
    text = words(html.fromstring(rendered(project, HOURLY)))
    assert "trained from 3 seeds each" in text and "every tuning trial failed" in text


def test_a_network_exempt_from_the_budget_is_named_with_its_reason(project):
    path = project / "data/trained/hourly/gru.last/record.json"
    files.write_json(path, with_cost(path, gradient_steps=0))
    verdicts = project / "data/compared/hourly/verdicts.json"
    exempt = [{"model": "gru", "ranking": "architecture", "why": "it takes no gradient steps"}]
    files.write_json(verdicts, {**files.read_json(verdicts), "exempt_from_budget": exempt})
    sentence = budget_sentence(results(project, HOURLY))
    assert sentence.startswith("Same budget for every network: ")
    assert sentence.endswith("gru (architecture alone) is exempt: it takes no gradient steps.")


def test_costs_may_be_absent(project):
    text = rendered(project, HOURLY)
    assert "Accuracy against cost" not in text


def test_costs_change_the_page_and_nothing_that_dvc_tracks(project):
    paths = ProjectPaths.of(project)
    written = []
    for seconds in (1.0, 1000.0):
        for name in candidates():
            files.write_json(paths.cost(HOURLY) / f"{name}.json", {"cpu_seconds": seconds})
        report.main(str(project))
        written.append((paths.leaderboard.read_bytes(), paths.report.read_bytes()))
    assert written[0][0] == written[1][0] and written[0][1] != written[1][1]


def test_the_page_is_a_function_of_the_results_and_of_the_costs(root):
    of_datasets = [results(root, HOURLY)]
    costs = {HOURLY: {"gru.linear": CandidateCost(cpu_seconds=7.25)}}
    assert (
        render(of_datasets, costs)
        == render([results(root, HOURLY)], costs)
        != render(of_datasets, {})
    )
    assert "7.2\N{NO-BREAK SPACE}s" in render(of_datasets, costs)


def test_no_line_of_the_page_breaks_between_a_number_and_its_unit(root):
    rendered_page = render([results(root, HOURLY), results(root, DAILY)], {})
    assert not re.findall(r".{9}\d (?:%|s|min|h|°C)(?!\w)", rendered_page)
    assert len(re.findall(r"\d\N{NO-BREAK SPACE}(?:%|°C)", rendered_page)) > 20


def test_names_from_the_data_are_shown_and_not_interpreted(page):
    assert not page.xpath("//b[text()=''] | //article//script")
    assert any("Beta <B>" in words(cell) for cell in page.xpath("//figcaption"))


def test_notes_and_licence_come_from_the_dataset(page):
    text = words(page.xpath(f"//article[@id='{HOURLY}']")[0])
    assert "Weather by Some Service" in text
    assert "Gridded reanalysis, not a station." in text
    protocol = words(page.xpath("//article[@id='protocol']")[0])
    assert all(
        part in protocol
        for part in ("numerical weather prediction", "no trading cost", "no return is claimed")
    )


def test_a_dataset_whose_chosen_network_failed_is_still_reported(project):
    path = project / "data/compared/hourly/verdicts.json"
    files.write_json(
        path, {**files.read_json(path), "chosen": {"shipped": "ridge", "architecture": "narx"}}
    )
    text = rendered(project, HOURLY)
    assert "Typical forecast: town" in text


def test_the_best_network_on_validation_is_shown_beside_a_chosen_baseline(project):
    path = project / "data/compared/hourly/verdicts.json"
    files.write_json(
        path, {**files.read_json(path), "chosen": {"shipped": "ridge", "architecture": "ridge"}}
    )
    of_dataset = results(project, HOURLY)
    roles = {
        model: role_of(of_dataset, "shipped", model) for model in ("ridge", "lstm", "gru", "naive")
    }
    assert roles == {"ridge": "chosen", "lstm": "network", "gru": "other", "naive": "naive"}
    assert models_by_role(of_dataset) == {"naive": "naive", "chosen": "ridge", "network": "lstm"}


def test_a_run_of_baselines_alone_is_still_reported(project):
    for name in [c for c in candidates() if "." in c]:
        (project / f"data/trained/hourly/{name}/record.json").unlink()
    compared = project / "data/compared/hourly"
    by_series = pd.read_parquet(compared / "by_series.parquet")
    files.write_frame(compared / "by_series.parquet", by_series[by_series["ranking"] == "baseline"])
    for table in ("leaderboard", "by_step"):
        lines = (compared / f"{table}.csv").read_text().splitlines(keepends=True)
        baselines = [lines[0], *(line for line in lines[1:] if ",baseline," in line)]
        (compared / f"{table}.csv").write_text("".join(baselines))
    files.write_json(
        compared / "verdicts.json", {"chosen": {"shipped": "ridge"}, "tests": [], "sentences": []}
    )
    assert "No verdict was recorded" in rendered(project, HOURLY)


def test_a_test_without_numbers_has_no_interval(project):
    path = project / "data/compared/hourly/verdicts.json"
    content = files.read_json(path)
    empty = dict.fromkeys(
        ("p", "p_holm", "mean_difference", "relative_difference", "ci_low", "ci_high")
    )
    content["tests"] = [{**test, **empty, "word": "undecided"} for test in content["tests"]]
    files.write_json(path, content)
    assert results(project, HOURLY).verdicts.tests[0].relative_limits is None
    text = rendered(project, HOURLY)
    assert "undecided" in text
    assert ">nan" not in text.lower()


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("compared/hourly/verdicts.json", "compare"),
        ("compared/hourly/quality.json", "compare"),
        ("compared/hourly/by_step.csv", "compare"),
    ],
)
def test_a_missing_artifact_names_the_file_and_its_stage(project, path, stage):
    (project / "data" / path).unlink()
    with pytest.raises(InputError, match=rf"{path}: no such file; stage `{stage}` makes it"):
        rendered(project, HOURLY)


def test_forecasts_that_are_gone_are_named(project):
    (project / "data/trained/hourly/naive/forecasts.parquet").unlink()
    with pytest.raises(InputError, match=r"naive/forecasts.parquet: no such file"):
        rendered(project, HOURLY)


def test_a_broken_json_is_named(project):
    (project / "data/compared/hourly/verdicts.json").write_text("{")
    with pytest.raises(DataError, match=r"verdicts.json: cannot be read"):
        rendered(project, HOURLY)


def test_steps_are_called_by_their_unit(root):
    assert [step_unit(results(root, name).dataset) for name in (HOURLY, DAILY)] == [
        "hours",
        "sessions",
    ]


@pytest.mark.parametrize(
    ("freq", "words"),
    [
        ("1h", "hours"),
        ("W-MON", "weeks"),
        ("2W-MON", "steps of 2 weeks"),
        ("15min", "steps of 15 minutes"),
        ("1MS", "months"),
        ("QS-OCT", "quarters"),
        ("YE-DEC", "years"),
        ("BMS", "months"),
        ("SMS-15", "steps of SMS-15"),
    ],
)
def test_a_step_of_a_regular_calendar_is_called_by_the_calendar(root, freq, words):
    dataset = results(root, HOURLY).dataset
    calendar = RegularCalendar(kind="regular", freq=freq)
    assert step_unit(dataset.model_copy(update={"calendar": calendar})) == words


def test_opening_hours_are_named_with_their_clock_and_days(root):
    dataset = results(root, HOURLY).dataset
    hours = {"days": ["mon", "tue"], "first": "09:00", "last": "17:00"}
    calendar = RegularCalendar.model_validate(
        {"kind": "regular", "freq": "1h", "opening_hours": hours}
    )
    opened = dataset.model_copy(update={"calendar": calendar})
    assert step_unit(opened) == "open steps of 1h"


def test_a_series_of_more_than_292_years_has_a_timeline(root):
    of_dataset = results(root, HOURLY)
    for series in of_dataset.quality["series"].values():
        series["first"] = "1700-01-01"  # nanoseconds between it and the last row overflow
    shares = [block.share for block in timeline(of_dataset)]
    assert shares[0] > 0.99 and sum(shares) == pytest.approx(1.0, abs=1e-3)


def test_every_column_that_is_explained_on_touch_is_explained_in_print_too(page):
    for table in page.xpath("//div[@class='scroll']"):
        hints = table.xpath(".//thead//button[@data-tip]")
        if hints:
            explained = words(table.getnext())
            assert table.getnext().get("class") == "explained"
            assert [words(hint) for hint in hints if f"{words(hint)}: " not in explained] == []
