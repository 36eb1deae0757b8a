"""The first screen of the page: the answer in one sentence, its charts and what to do next."""

import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from lxml import html

from forecast.comparison.scores import sort_by_size
from forecast.comparison.sentences import describe_difference
from forecast.forecaster.intervals import NO_CALIBRATION, require_enough_errors
from forecast.report import answer
from forecast.report.answer import advise, describe_result, describe_scale
from forecast.report.figures import describe_horizon
from forecast.report.text import describe_numbers, figure
from forecast.system import files
from forecast.system.errors import InputError
from tests.report.reading import DAILY, HOURLY, rendered, results, words
from tests.support.records import paired_test


def change_verdicts(project, **changes):
    path = project / "data/compared/hourly/verdicts.json"
    files.write_json(path, {**files.read_json(path), **changes})


def change_words(project, family, word):
    path = project / "data/compared/hourly/verdicts.json"
    tests = files.read_json(path)["tests"]
    for test in tests:
        if test["family"] == family:
            test["word"] = word
    change_verdicts(project, tests=tests)


def test_the_page_opens_with_a_sentence_two_charts_and_the_next_step_of_each_dataset(page):
    parts = page.xpath("//section[@class='answer']")
    assert [part.get("data-dataset") for part in parts] == [HOURLY, DAILY]
    for part in parts:
        labels = part.xpath(".//svg/@aria-label")
        assert labels[0].startswith("last test forecast of ")
        assert labels[1] == "Error against naive"
        assert "What to do next:" in words(part)
    before = [element.tag for element in page.xpath("//body/*")]
    assert before[:2] == ["header", "div"] and not page.xpath("//header//li")


def test_the_sentence_names_the_selected_model_its_error_and_what_networks_add(root):
    assert describe_result(results(root, HOURLY)) == (
        "lstm is selected: MAE 1.211 °C on test, 44.0 % below repeating the last value (2.163 °C);"
        " 1 of 3 networks is better than what it stands on, lstm most (−6.0 % against ridge)."
    )


def test_a_network_that_is_better_than_its_skip_and_worse_than_the_selected_model_is_both(project):
    tests = [
        {**test, "model": "gru", "ranking": "shipped"}
        for test in files.read_json(project / "data/compared/hourly/verdicts.json")["tests"]
        if (test["family"], test["model"], test["ranking"]) == ("skip", "lstm", "shipped")
    ]
    against_selected = {**tests[0], "family": "best", "against": "naive", "word": "worse"}
    change_verdicts(project, tests=[*tests, against_selected], chosen={"shipped": "naive"})
    assert describe_result(results(project, HOURLY)).endswith(
        "gru, the only network, is better than ridge alone (−6.0 %), but worse than naive."
    )


def test_of_a_quick_budget_the_first_screen_says_what_to_repeat(project):
    change_verdicts(project, short_budget="Networks had 1 trial.")
    first = html.fromstring(rendered(project, HOURLY)).xpath("//section[@class='answer']")[0]
    assert "Networks had 1 trial." in words(first)


def test_one_step_ahead_is_in_the_singular(root):
    dataset = results(root, HOURLY).dataset
    assert describe_horizon(dataset.model_copy(update={"horizon": 1})) == "1 hour ahead"
    assert describe_horizon(dataset.model_copy(update={"horizon": 24})) == "24 hours ahead"


def test_of_several_series_the_sentence_has_no_error_in_their_units(root):
    sentence = describe_result(results(root, DAILY))
    assert "MASE" in sentence and "last value; " in sentence and "index points" not in sentence


def test_of_several_series_the_error_of_the_largest_stands_behind_it_in_its_unit(root):
    several = results(root, DAILY)
    largest = sort_by_size(several)[0]
    table = several.by_series.query("series == @largest and ranking != 'architecture'")
    rows = table.groupby("model")["mae"].last()  # of a network the seeds' mean stands last
    sentence = describe_scale(several)
    model = several.selected_model("shipped")
    assert sentence.startswith(
        f"For scale: of {largest}, the largest series, its mean absolute error"
    )
    assert f"error is {figure(rows[model])} index points; repeating the last value has" in sentence
    assert f"has {figure(rows['naive'])} index points." in sentence
    page = html.fromstring(rendered(root, DAILY))
    assert sentence in words(page.xpath("//section[@class='verdict']")[0])
    assert describe_scale(results(root, HOURLY)) == ""


def test_a_network_that_adds_nothing_is_said_to_add_nothing(project):
    change_words(project, "skip", "not distinguishable")
    assert describe_result(results(project, HOURLY)).endswith(
        "; no network is shown to be better than the model that it is added to."
    )


def test_networks_none_of_which_trained_are_no_missing_networks(project):
    path = project / "data/compared/hourly/verdicts.json"
    tests = [test for test in files.read_json(path)["tests"] if test["family"] != "skip"]
    network = {"model": "gru", "ranking": "shipped", "same_as": "ridge"}
    change_verdicts(project, tests=tests, untrained=[network])
    assert describe_result(results(project, HOURLY)).endswith(
        "; no step of training helped gru, so no network was left."
    )
    change_verdicts(project, untrained=[])
    assert describe_result(results(project, HOURLY)).endswith("; no network was compared.")


def test_too_few_origins_are_said_so_as_in_the_verdict(project):
    change_words(project, "bar", "undecided")
    sentence = describe_result(results(project, HOURLY))
    assert re.search(
        r"undecided \(−44\.0 %, \d+ origins\) against repeating the last value", sentence
    )
    assert "not distinguishable" not in sentence


def test_who_is_better_than_the_bar_alone_is_told_whom_it_is_not_better_than(project):
    tests = files.read_json(project / "data/compared/hourly/verdicts.json")["tests"]
    for test in tests:
        if test["family"] == "bar":
            test |= {"word": "not distinguishable", "not_better_than": "historical_median"}
    change_verdicts(project, tests=tests)
    sentence = describe_result(results(project, HOURLY))
    assert (
        "44.0 % below repeating the last value (2.163 °C), but not shown to be better than the"
        " historical median;" in sentence
    )


def test_a_ridge_is_not_called_a_network(project):
    change_verdicts(project, chosen={"shipped": "ridge", "architecture": "lstm"})
    page = html.fromstring(rendered(project, HOURLY))
    text = words(page.xpath("//section[@class='answer']")[0])
    assert text.count("ridge is selected") == 1
    assert "7 models, 3 of them neural networks" in words(page)


def write_explanation(project, dataset=HOURLY, series="dublin"):
    """The tables that stage `compare` writes of a selected model."""
    parts = pd.DataFrame(
        {
            "unique_id": series,
            "output": "y",
            "cutoff": "2024-01-31",
            "step": [1, 2, 1, 2, 1, 2],
            "part": ["level"] * 2 + ["season"] * 2 + ["wind"] * 2,
            "contribution": [10.0, 11.0, 2.0, 3.0, -0.5, -0.25],
        }
    )
    folder = project / "data/compared" / dataset
    files.write_text(folder / "explanation.csv", parts.to_csv(index=False))


def test_the_page_says_what_a_forecast_is_made_of_and_how_much_each_part_matters(project):
    write_explanation(project)
    document = html.fromstring(rendered(project, HOURLY))
    (section,) = document.xpath("//section[h3='Why this forecast']")
    rows = [words(row) for row in section.xpath(".//table[contains(@class,'contributions')]//tr")]
    assert rows[1:] == [
        "level 10.0011.0010.50",
        "season 2.0003.0002.500",
        "wind −0.5000−0.25000.3750",
        "forecast 11.5013.75–",
    ]


def test_of_several_series_the_explained_one_is_named(root, tmp_path):
    project = shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    write_explanation(project, DAILY, series="a")
    write_explanation(project, HOURLY)
    for dataset, start in ((DAILY, "last test forecast for a. "), (HOURLY, "last test forecast. ")):
        document = html.fromstring(rendered(project, dataset))
        (section,) = document.xpath("//section[h3='Why this forecast']")
        assert f"{start}Level" in words(section)


def test_without_an_explanation_the_page_has_no_such_section(project):
    document = html.fromstring(rendered(project, HOURLY))
    assert not document.xpath("//section[h3='Why this forecast']")


def test_the_opening_chart_has_the_selected_model_and_the_ridge(project):
    document = html.fromstring(rendered(project, HOURLY))
    chart = document.xpath("//section[@class='answer']//svg")[1]
    assert chart.xpath(".//@data-model") == ["lstm", "ridge"]


@pytest.mark.parametrize(
    ("word", "next_step"),
    [
        ("better", "Put lstm into service with `forecast promote hourly`"),
        ("undecided", "Collect more data: 60 test origins did not decide whether"),
        ("not distinguishable", "Put nothing into service yet"),
        ("equivalent", "Put nothing into service yet"),
        ("worse", "Put nothing into service yet"),
    ],
)
def test_the_next_step_follows_the_word_against_the_bar(project, word, next_step):
    change_words(project, "bar", word)
    assert advise(results(project, HOURLY))[0].startswith(next_step)


@pytest.mark.parametrize(
    ("word", "place"), [("better", 1), ("undecided", 0), ("not distinguishable", 0), ("worse", 0)]
)
def test_that_nothing_should_serve_yet_comes_before_the_keys_for_a_mean(
    project, monkeypatch, word, place
):
    change_words(project, "bar", word)
    (alone,) = advise(results(project, HOURLY))
    monkeypatch.setattr(answer, "describe_low_medians", lambda *_: "For the mean, set keys.")
    both = advise(results(project, HOURLY))
    assert both.pop(place) == alone and both == ["For the mean, set keys."]


def test_a_run_of_some_models_is_told_how_to_compare_before_promoting(project):
    change_words(project, "bar", "better")
    whole = results(project, HOURLY)
    folder = project / "narrowed" / "hourly-lstm"
    shutil.copytree(project / "data", folder / "data")
    shutil.copytree(project / "configs", folder / "configs")
    narrowed = replace(whole, paths=replace(whole.paths, root=folder))
    (advice,) = advise(narrowed)
    assert "`forecast run --dataset hourly`" in advice and "`grids:`" in advice
    assert "into service" not in advice


@pytest.mark.parametrize("bar", ["naive", "historical_mean", "historical_median"])
def test_no_longer_history_is_advised_where_the_last_value_or_a_level_is_the_bar(project, bar):
    change_words(project, "bar", "worse")
    change_verdicts(project, bar=bar)
    (advice,) = advise(results(project, HOURLY))
    kind = "a random walk, if this is one, no" if bar == "naive" else "noise around a level, no"
    assert f"Of {kind} history" in advice and "longer history" not in advice


def test_where_nothing_could_be_compared_no_random_walk_is_seen(project):
    change_verdicts(project, chosen={}, tests=[])
    (advice,) = advise(results(project, HOURLY))
    assert advice == "No model could be compared, for the reason in the verdict: none should serve."


@pytest.mark.parametrize("bar", ["seasonal_naive", "naive"])
def test_a_simple_forecast_that_validation_selects_is_what_to_serve(project, bar):
    change_verdicts(project, chosen={"shipped": "seasonal_naive"}, bar=bar)
    (advice,) = advise(results(project, HOURLY))
    assert advice.startswith("Validation selects a simple forecast, repeating the last season: ")
    assert "Put seasonal naive into service with `forecast promote hourly`" in advice


def test_the_next_step_of_a_frame_in_python_is_a_call_in_python(project):
    change_words(project, "bar", "better")
    (project / "data" / "pointers" / f"{HOURLY}.json").unlink()
    (advice,) = advise(results(project, HOURLY))
    assert "`forecast.fit`" in advice and "promote" not in advice


def test_a_leak_alarm_comes_before_any_other_advice(root):
    (advice,) = advise(results(root, DAILY))
    assert advice.startswith("Look for a leak") and "the error of gru" in advice


def test_no_limit_of_a_change_lies_below_all_of_the_error():
    test = paired_test(
        "gru",
        "best",
        "undecided",
        mean_difference=-0.4,
        relative_difference=-0.4,
        ci_low=-1.126,
        ci_high=0.326,
    )
    assert test.relative_limits == pytest.approx((-1.0, 0.326))
    assert describe_difference(test) == "-40.0 %, 95 % interval -100.0 % to +32.6 %"
    assert describe_numbers(test) == ", 95 % interval −100.0 % to +32.6 %"


def test_the_remark_on_the_shares_of_the_ridge_is_on_the_page(project):
    path = project / "data/trained/hourly/ridge/record.json"
    record = files.read_json(path)
    record["seeds"][0]["reason"] = "2 of 3 series keep their last value"
    files.write_json(path, {**record, "kind": "linear"})
    document = html.fromstring(rendered(project, HOURLY))
    (verdict,) = document.xpath("//section[@class='verdict']")
    assert "ridge: 2 of 3 series keep their last value" in words(verdict)


def test_what_no_block_has_room_for_is_not_advised(project):
    refused = {"series": "hourly", "level": 80.0, "reason": "few", "candidates": []}
    change_verdicts(project, unsupported_levels=[refused])
    assert advise(results(project, HOURLY))[-1].startswith("Lengthen the calibration block")
    with pytest.raises(InputError) as no_errors:
        require_enough_errors(0, 0.8)
    change_verdicts(project, unsupported_levels=[refused | {"reason": str(no_errors.value)}])
    assert advise(results(project, HOURLY))[-1] == f"There are no intervals. {NO_CALIBRATION}"
