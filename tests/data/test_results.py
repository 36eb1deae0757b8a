"""The one reader of a run's results: each part is read when it is asked for, and what is missing
names its stage.
"""

from __future__ import annotations

import pandas as pd
import pytest

from forecast.config.paths import ProjectPaths
from forecast.data.results import Results, describe_members, read_costs, read_leaderboard
from forecast.system import files
from forecast.system.errors import DamagedError, DataError, InputError
from tests.support.artifacts import candidates, write_project
from tests.support.records import run_record


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return ProjectPaths.of(write_project(tmp_path_factory.mktemp("project"), cost=True))


@pytest.fixture
def small_results(tmp_path):
    return ProjectPaths.of(write_project(tmp_path, datasets=("hourly",)))


def test_records_stand_by_candidate_in_the_order_of_their_names(paths):
    records = Results(paths, "hourly").records
    assert list(records) == sorted(candidates())
    assert records["lstm.linear"].ranking == "shipped"


def test_a_part_is_read_when_it_is_asked_for_and_once(small_results):
    results = Results(small_results, "hourly")
    assert results.selected_model("shipped") == "lstm"
    (small_results.compared("hourly") / "verdicts.json").unlink()
    (small_results.compared("hourly") / "by_step.csv").unlink()
    assert results.selected_model("shipped") == "lstm"
    with pytest.raises(
        InputError, match=r"compared/hourly/by_step\.csv: no such file; stage `compare` makes it"
    ):
        _ = results.by_step


@pytest.mark.parametrize("part", ["leaderboard", "bands", "verdicts", "distributions", "quality"])
def test_before_the_first_run_every_part_names_the_stage_that_makes_it(tmp_path, part):
    results = Results(ProjectPaths.of(tmp_path), "hourly")
    assert not results.is_compared and results.records == {}
    with pytest.raises(
        InputError,
        match=r"stage `(compare|prepare)` makes it\. Run `dvc repro`.*--root narrowed",
    ):
        getattr(results, part)


@pytest.mark.parametrize(
    ("content", "pattern"), [("{", "cannot be read"), ("[]", "found list, wanted a mapping")]
)
def test_a_damaged_file_is_an_error_of_the_data(small_results, content, pattern):
    (small_results.compared("hourly") / "verdicts.json").write_text(content)
    with pytest.raises(DataError, match=pattern):
        _ = Results(small_results, "hourly").verdicts


@pytest.mark.parametrize("part", ["leaderboard", "bands", "intervals", "quality", "task"])
def test_every_damaged_part_is_named(small_results, part):
    files.write_json(small_results.task("hourly"), {})
    folders = (small_results.compared("hourly"), small_results.task("hourly").parent)
    (path,) = [path for folder in folders for path in folder.glob(f"{part}.*")]
    path.write_bytes(path.read_bytes()[:-40] if path.suffix == ".parquet" else b"")
    with pytest.raises(DamagedError, match=rf"{path.name}: cannot be read \(.*run `dvc repro`"):
        getattr(Results(small_results, "hourly"), part)


def test_rows_as_text_keep_every_digit_that_was_written(paths):
    results = Results(paths, "daily")
    rows = results.text_rows("leaderboard")
    written = (paths.compared("daily") / "leaderboard.csv").read_text()
    assert len(rows) == len(results.leaderboard) == len(written.splitlines()) - 1
    assert all(row["mase"] in written for row in rows)


def test_several_targets_are_several_series(small_results):
    path = Results(small_results, "hourly").folder("naive") / "forecasts.parquet"
    table = pd.read_parquet(path)
    both = [table.assign(output=output) for output in ("temperature", "wind")]
    files.write_frame(path, pd.concat(both, ignore_index=True))
    assert Results(small_results, "hourly").series == ("town/temperature", "town/wind")


def test_units_and_the_ranking_error_are_those_of_the_dataset(paths):
    hourly, daily = (Results(paths, name) for name in ("hourly", "daily"))
    assert (hourly.unit, hourly.unit_of("town"), daily.unit_of("Alpha & Co")) == (
        "°C",
        "°C",
        "index points",
    )
    assert (hourly.headline_metric, daily.headline_metric) == ("mae", "mase")


def test_costs_are_read_apart_from_the_results(paths, small_results):
    assert read_costs(paths, "hourly")["naive"].cpu_seconds == 1.5
    assert read_costs(small_results, "hourly") == {}


def test_without_a_leaderboard_the_next_move_is_named(small_results):
    with pytest.raises(
        InputError,
        match=r"leaderboard\.csv: no such file: no whole run .* Run `forecast run`.*--model",
    ):
        read_leaderboard(small_results)


def test_members_whose_weights_were_learnt_again_are_told_without_a_date():
    members = [
        {"candidate": name, "model": name, "params": {}, "ranking": "baseline", "weight": weight}
        for name, weight in (("ridge", 0.75), ("arx", 0.25))
    ]
    weights = [
        {"weights": {"ridge": 1.0}, "learnt_until": "1970-01-01T03:00:00"},
        {"weights": {"ridge": 0.75, "arx": 0.25}, "learnt_until": "1970-01-01T03:20:00"},
    ]
    record = run_record("mix", members=members, weights=weights)
    assert describe_members(record) == "ridge 0.75, arx 0.25, learnt 2 times"
