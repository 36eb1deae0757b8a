"""Files that nobody writes by hand, and numbers that no run can use, are refused at once and in one
sentence.
"""

from __future__ import annotations

import re

import pytest

from forecast.config import reading
from forecast.config.datasets import load_datasets
from forecast.config.models import load_tuning
from forecast.config.reading import read_yaml
from forecast.config.task import RegularCalendar
from forecast.system.errors import InputError

BUDGET = {"n_trials": 2, "trial_steps": 10, "final_steps": 10, "seeds": [0], "base_seed": 0}


def test_a_key_that_is_no_name_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text("? [a, b]\n: 1\n")
    with pytest.raises(InputError, match="a key is a list or a mapping; wanted a name"):
        read_yaml(tmp_path / "bad.yaml")


def test_an_alias_or_two_are_read_as_ever(tmp_path):
    (tmp_path / "good.yaml").write_text("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "good.yaml") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": [{"x": 1}, {"x": 1}],
    }


def test_a_file_is_parsed_once_until_it_changes_and_no_reader_changes_it_for_another(
    tmp_path, monkeypatch
):
    parsed, load = [], reading.yaml.load
    monkeypatch.setattr(
        reading.yaml, "load", lambda text, **how: parsed.append(text) or load(text, **how)
    )
    path = tmp_path / "models.yaml"
    path.write_text("models: {mine: {family: ridge}}\n")
    read_yaml(path)["models"]["mine"]["family"] = "gru"
    assert read_yaml(path) == {"models": {"mine": {"family": "ridge"}}} and len(parsed) == 1
    path.write_text("models: {}\n")
    assert read_yaml(path) == {"models": {}}


@pytest.mark.parametrize(
    "content",
    [
        "n_trials: " + "[" * 3000 + "]" * 3000,
        "n_trials:\n" + "- " * 3000 + "1",
        "{n_trials: " * 100_000,  # which ended the process by a segmentation fault
    ],
    ids=["brackets", "lists in lines", "mappings left open"],
)
def test_a_file_nested_thousands_deep_is_refused_with_its_line(tmp_path, content):
    (tmp_path / "tuning.yaml").write_text(content)
    with pytest.raises(InputError, match=r"yaml: .* more than 100 lists.* line [12], column"):
        load_tuning(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_trials", 10**9),
        ("n_trials", "true"),
        ("trial_steps", 10**12),
        ("seeds", [2**32]),
        ("base_seed", 2**40),
    ],
)
def test_a_budget_beyond_measure_is_refused_by_its_key(tmp_path, key, value):
    content = "\n".join(f"{name}: {given}" for name, given in {**BUDGET, key: value}.items())
    (tmp_path / "tuning.yaml").write_text(content)
    with pytest.raises(InputError, match=key):
        load_tuning(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("horizon", "true"), ("horizon", 10**9), ("season_length", 10**9), ("step_size", 10**9)],
)
def test_spans_beyond_measure_and_switches_are_refused_by_their_key(tmp_path, key, value):
    entry = {"horizon": 24, "lookback": 48, "season_length": 24, "step_size": 1, key: value}
    lines = [f"    {name}: {given}" for name, given in entry.items()]
    lines += [
        "    title: x",
        "    source: {kind: file, path: data/x.csv}",
        "    calendar: {kind: regular, freq: 1h}",
    ]
    lines += [
        "    target: {column: y}",
        "    splits: {train: 0.6, validation: 0.15, calibration: 0.1}",
    ]
    lines += ["    licence: {name: mine, attribution: me}"]
    (tmp_path / "datasets.yaml").write_text(
        "run: [mine]\ndatasets:\n  mine:\n" + "\n".join(lines) + "\n"
    )
    with pytest.raises(InputError, match=key):
        load_datasets(tmp_path)


def test_a_run_of_no_dataset_is_refused(tmp_path):
    (tmp_path / "datasets.yaml").write_text("run: []\ndatasets: {}\n")
    with pytest.raises(InputError, match="run"):
        load_datasets(tmp_path)


@pytest.mark.parametrize("freq", ["0D", "1ns", "-1h", "5us", "1ms"])
def test_a_step_that_goes_nowhere_or_is_shorter_than_a_second_is_refused(freq):
    with pytest.raises(ValueError, match="wanted one forward of a second or more"):
        RegularCalendar(kind="regular", freq=freq)


@pytest.mark.parametrize(
    "freq", ["A", "A-DEC", "Y", "AS", "Q", "M", "BM", "BQ", "BY", "H", "T", "d"]
)
def test_the_name_that_is_advised_for_a_former_step_is_taken(freq):
    with pytest.raises(ValueError, match="unknown step") as refused:
        RegularCalendar(kind="regular", freq=freq)
    advised = re.search(r"pandas calls it (\S+) now", str(refused.value))[1]
    assert RegularCalendar(kind="regular", freq=advised).freq == advised


@pytest.mark.parametrize("freq", ["1h", "15min", "1D", "1W-MON", "1MS", "30s"])
def test_usual_steps_are_taken(freq):
    assert RegularCalendar(kind="regular", freq=freq).freq == freq
