"""The rules of `make bench`: turns, ratios with a bound, files of one machine, peers that are
missing or fail.
"""

from __future__ import annotations

import gc
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import Ridge

from bench import (
    ablation,
    beijing,
    beside,
    beside_tests,
    contender,
    gpu,
    growing,
    interval_margins,
    interval_shifts,
    one_model,
    page,
    planned_systems,
    quarter_hour,
    race,
    race_page,
    racer,
    recipes,
    simulated_kinds,
    speed,
    summary,
    tables,
    turns,
)
from bench.peers.locks import split
from bench.published import FILES, TABLES, folder_of
from bench.results_file import ROOT, ResultsFile, options_of
from forecast.backtest.combinations import solve_on_simplex
from forecast.forecaster.intervals import Bounds
from forecast.models import skip
from forecast.system.errors import InputError
from forecast.system.files import read_json, write_json

HERE = {"processor": "one", "cores": 2}


def test_a_ratio_is_paired_by_turn_and_its_bound_is_that_of_a_t_test() -> None:
    slowing = np.array([1.0, 2.0, 4.0, 8.0])  # the machine slows down; the pairs do not see it
    ratio = turns.ratio(slowing, slowing * [1.5, 1.6, 1.5, 1.6])
    logs = np.log([1.5, 1.6, 1.5, 1.6])
    assert ratio.mean == pytest.approx(np.exp(logs.mean()))
    assert ratio.lower == pytest.approx(np.exp(logs.mean() - 2.353363 * logs.std(ddof=1) / 2))
    assert turns.ratio([1.0], [2.0]).lower == 0.0


def test_intervals_are_scored_by_their_width_and_by_what_lies_outside() -> None:
    bounds = Bounds(np.array([[0.0, 0.0, 0.0]]), np.array([[2.0, 2.0, 2.0]]))
    scored = interval_margins.score_intervals(bounds, np.array([[1.0, 2.5, np.nan]]), 0.8)
    assert scored.is_covered.tolist() == [True, False]
    assert scored.width.tolist() == [2.0, 2.0]
    assert scored.score.tolist() == pytest.approx([2.0, 2.0 + 2 / 0.2 * 0.5])


def test_widths_of_the_shifts_follow_the_volatility_up_to_the_bound_and_no_further() -> None:
    volatility, typical = np.array([np.nan, 1.0, 6.0, 60.0]), np.array(2.0)
    usual = interval_shifts.shipped_widths(volatility, typical, 28)
    free = interval_shifts.bounded_widths(volatility, typical, 28, ratio=np.inf)
    bounded = interval_shifts.bounded_widths(volatility, typical, 28, ratio=3.0)
    assert free.tolist() == usual.tolist()
    assert bounded.tolist() == [*usual[:3], usual[2]]


def test_a_level_shifts_near_the_end_only() -> None:
    y = interval_shifts.simulate("large_level_shift", "D", 350, 1)["y"].to_numpy()
    steps = np.abs(np.diff(y))
    assert 0.7 * 350 - 1 <= steps.argmax() <= 0.97 * 350
    assert steps.max() > 2 * np.delete(steps, steps.argmax()).max()


def test_rows_of_another_machine_are_not_added_to(tmp_path: Path) -> None:
    ResultsFile(tmp_path / "speed.json", HERE).write("a", {"ms": 1.0})
    assert ResultsFile(tmp_path / "speed.json", HERE).done("a")
    with pytest.raises(InputError, match=r"another machine .*cores 2.*cores 4.*move the file away"):
        ResultsFile(tmp_path / "speed.json", HERE | {"cores": 4})


def test_a_file_of_another_machine_that_was_put_there_since_is_not_added_to(tmp_path: Path) -> None:
    store = ResultsFile(tmp_path / "race.json", HERE)
    store.write("a", {"s": 1.0})
    # a checkout while the command runs
    other = {"machine": HERE | {"cores": 4}, "rows": {"b": {"s": 2.0}}}
    write_json(tmp_path / "race.json", other)
    with pytest.raises(InputError, match="another machine"):
        store.write("c", {"s": 3.0})
    assert read_json(tmp_path / "race.json") == other


def test_two_commands_at_once_keep_each_others_rows(tmp_path: Path) -> None:
    first, other = (ResultsFile(tmp_path / "race.json", HERE) for _ in range(2))
    first.write("a", {"s": 1.0})
    other.write("b", {"s": 2.0})
    first.write("c", {"s": 3.0})
    assert set(ResultsFile(tmp_path / "race.json", HERE).rows) == {"a", "b", "c"}


def test_a_row_that_was_not_run_is_tried_again(tmp_path: Path) -> None:
    store = ResultsFile(tmp_path / "speed.json", HERE)
    store.write("a", {"not run": "no time"})
    store.write("b", {"ms": 1.0, "peers": {"torch": {"not run": "not installed"}}})
    assert not store.done("a") and not store.done("b") and not store.done("c")


def test_what_is_done_is_left_out_unless_it_is_asked_for_again_or_has_too_few_seeds(
    tmp_path: Path,
) -> None:
    store = ResultsFile(tmp_path / "tables.json", HERE)
    for key in ("a/1", "a/2", "b/1"):
        store.write(key, {"s": 1.0})
    options = options_of(None).parse_args(["--only", "a/"])
    keys = ["a/1", "a/2", "a/3", "b/1", "b/2"]
    assert list(store.missing(keys, options)) == ["a/3"]
    assert list(store.missing(keys, options, few=["a/2", "b/1"])) == ["a/2", "a/3"]
    keys_asked = store.missing(keys, options_of(None).parse_args(["--only", "2"]))
    store.write("b/2", {"s": 1.0})  # by another command, since this one began
    assert list(keys_asked) == []
    assert (
        list(store.missing(keys, options_of(None).parse_args(["--only", "a/", "--again"])))
        == keys[:3]
    )


def test_a_measured_row_is_not_replaced_by_a_reason_why_it_was_not_measured_again(
    tmp_path: Path,
) -> None:
    store = ResultsFile(tmp_path / "race.json", HERE)
    absent = {"not run": "no data"}
    for row in (absent, {"s": 1.0}, absent, {"s": 3.0, "peers": {"torch": absent}}):
        store.write("a", row)
    assert ResultsFile(tmp_path / "race.json", HERE).rows["a"]["s"] == 1.0
    store.write("a", {"s": 2.0})
    assert store.rows["a"]["s"] == 2.0


@pytest.mark.parametrize("bench", [beside, race, speed, tables], ids=lambda bench: bench.__name__)
def test_a_bench_that_cannot_begin_says_so_in_one_line(
    bench: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "nonsense"])
    assert bench.main() == 2
    assert re.fullmatch(
        r"'nonsense' is part of no row's name; rows are called .*\n", capsys.readouterr().err
    )
    results_file = tmp_path / f"{bench.__name__.removeprefix('bench.')}.json"
    write_json(results_file, {"machine": HERE, "rows": {}})
    assert bench.main() == 2 and read_json(results_file)["machine"] == HERE
    assert re.fullmatch(
        rf".* another machine .*: mv {results_file} {results_file}.other\n", capsys.readouterr().err
    )


def test_a_bench_ends_with_its_whole_table_though_every_row_was_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("docs", "bench/results"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.png", "*.ipynb")
        )
    page.write(tmp_path, show="speed")
    output = capsys.readouterr().out
    assert (
        output.strip() == page.speed(tmp_path).strip()
        and output.count("| training step, LSTM |") == 6
    )
    page.write(tmp_path)
    assert capsys.readouterr().out == ""


def test_an_interrupted_bench_keeps_what_it_measured_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_keys = []

    def measured(name: str, who: str, *_: object) -> dict[str, dict[str, float]]:
        measured_keys.append(who)
        if len(measured_keys) == 2:
            raise KeyboardInterrupt
        return {who: {"MAE": 1.0}}

    monkeypatch.setattr(beside, "RESULTS", tmp_path)
    monkeypatch.setattr(beside, "measured", measured)
    monkeypatch.setattr(page, "write", lambda **_: None)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "dublin/"])
    assert beside.main() == 130 and "goes on from there" in capsys.readouterr().err
    assert beside.main() == 0
    first, *others = beside.CONTENDERS
    assert measured_keys == [first, others[0], *others]


def test_an_absent_peer_becomes_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(turns, "PEERS", tmp_path / "python")
    task = {"what": "forward", "cell": "LSTM", "size": "small", "units": 2, "steps": 3, "batch": 4}
    row = speed.compare_with_peers(task, turns=2)
    assert row["peers"]["torch"]["not run"] == "not installed: make bench-setup"
    (line,) = page.speed_lines({"forward/LSTM/small": row})
    assert "not run" in line and "make bench-setup" in line and f"{row['ours']['ms']:.2f}" in line


def test_a_peer_that_fails_says_its_last_line() -> None:
    with pytest.raises(turns.NotRun, match="failed: KeyError"):
        turns.Contender({"who": "ours", "what": "nothing"}, copies=1)


def test_the_faster_keras_counts_and_a_failed_one_does_not() -> None:
    measurements = {"torch": {"ms": [1.0]}, "keras": {"ms": [3.0]}, "keras-xla": {"ms": [2.0]}}
    assert speed.faster_keras(measurements)["keras"]["note"] == "XLA"
    assert speed.faster_keras(measurements | {"keras-xla": {"not run": "failed"}})["keras"][
        "ms"
    ] == [3.0]


def test_a_bar_is_met_by_the_bound_and_not_by_the_ratio() -> None:
    peer = {"ms": 2.0, "ratio": 1.6, "lower": 1.4, "bar": 1.5}
    assert "MISSED" in page._peer("torch", peer)
    assert "met" in page._peer("torch", peer | {"lower": 1.5})


def test_the_locks_name_no_registry_and_keep_cuda_apart() -> None:
    locks = {path.name: path.read_text() for path in (ROOT / "bench" / "peers").glob("*.lock")}
    assert not [
        name
        for name, lock in locks.items()
        if re.search(r"://|--(extra-)?index|--find-links", lock)
    ]
    assert set(locks) == set(split("torch==1 \\\n    --hash=y\n"))
    assert "nvidia-cublas==" in locks["cuda.lock"] and not re.search(
        "(?m)^(nvidia|torch=)", locks["requirements.lock"]
    )


def test_torch_has_one_lock_for_its_cpu_wheel_and_one_for_what_pypi_has() -> None:
    lock = (
        "darts==1 \\\n    --hash=d\nnvidia-a==1 \\\n    --hash=x\ntorch==2.13.0 \\\n   "
        " --hash=y\ntorchmetrics==1\n"
    )
    parts = split(lock)
    assert parts["requirements.lock"] == "darts==1 \\\n    --hash=d\ntorchmetrics==1\n"
    assert parts["torch.lock"].startswith("torch==2.13.0") and "--hash=y" not in parts["torch.lock"]
    assert "nvidia-a" in parts["cuda.lock"] and "--hash=y" in parts["cuda.lock"]


def test_every_window_of_a_block_counts_and_repeats_the_row_before_it() -> None:
    values = np.array([[0.0], [1.0], [3.0], [6.0]])
    # the block begins at row 2: one window of two rows (errors 2 and 5), two of one row (2 and 3)
    assert tables.windows_mse(values, 2, 2) == pytest.approx((4 + 25) / 2)
    assert tables.windows_mse(values, 2, 1) == pytest.approx((4 + 9) / 2)


def test_the_seasonal_naive_repeats_the_last_season_and_is_scaled_by_the_seasonal_steps() -> None:
    past = np.arange(8.0)  # every step is 4 above that of the season before
    repeated, truth = tables.seasonal_naive(past, 5, season=4), np.array([6.0, 7.0, 8.0, 9.0, 9.0])
    assert recipes.mase(past, repeated, truth, season=4) == pytest.approx((4 * 2 + 5) / 5 / 4)


def test_a_table_without_its_file_names_it_and_where_it_is_published(tmp_path: Path) -> None:
    table_row = tables.rows(repetitions=1)["etth1/repeat the last value/96"]
    reason = tables.tried(table_row, tmp_path, {})["not run"]
    assert "ETTh1.csv is not in the data folder" in reason and "ETDataset" in reason


def test_a_table_prints_ours_the_rows_not_run_the_published_and_the_bar() -> None:
    row = {"table": "m4", "name": "ours", "column": "MASE", "value": 1.1931}
    lines = list(page._table("m4", TABLES["m4"], [row]))
    assert lines[2] == "| **ours** | 1.193 | ours |"
    assert "not run" in lines[3] and lines[-1] == "| bar | ≤ 0.900 | |"
    assert "| FFORMA | 0.819 | quoted, not checked against the publication |" in lines


def test_repetitions_on_the_tanks_are_one_row_with_their_median_and_worst() -> None:
    our_rows = [{"table": "tanks", "value": v, "without 5": v} for v in (0.3, 0.2, 0.5)]
    (row,) = page.own_rows("tanks", our_rows)
    assert (
        row["cells"]["V"] == 0.3 and "median of 3" in row["note"] and "worst 0.500" in row["note"]
    )


def test_every_published_row_has_a_value_for_every_column() -> None:
    for table in TABLES.values():
        assert {len(row.values) for row in table.rows} <= {len(table.columns)}
        assert len(table.bars) in (0, len(table.columns))


def test_a_recipe_is_chosen_on_validation_and_scored_on_every_test_window() -> None:
    wave = np.sin(np.arange(400) * 2 * np.pi / 24)
    data = one_model.Data({"a": wave, "b": 2 * wave}, validation=60, test=50)
    ridge = one_model.Recipe({"family": "ridge"}, "linear", lookback=48)
    rule = one_model.Recipe({"family": "naive"}, lookback=48)
    row = one_model.measured(data, [rule, ridge], 6, one_model.mse, seeds=2, before={})
    assert row["recipe"] == ridge.description
    assert row["value"] < 1e-6 < row["tried"][rule.description]
    pairs_by_series, _ = one_model.Trial(data, rule, 6).test(seeds=2)
    assert {uid: pairs[0].shape for uid, pairs in pairs_by_series.items()} == {
        "a": (45, 6),
        "b": (45, 6),
    }
    np.testing.assert_allclose(pairs_by_series["b"][0][:, 0], data.values["b"][349:394], atol=1e-9)
    values = np.stack([wave, 2 * wave], axis=1)
    assert one_model.mse(pairs_by_series) == pytest.approx(tables.windows_mse(values, 350, 6))


def test_a_choice_made_before_stands_and_more_seeds_are_asked_for_anew() -> None:
    wave = np.sin(np.arange(300) * 2 * np.pi / 24)
    data = one_model.Data({"a": wave}, validation=60, test=50)
    network = one_model.Recipe({"family": "ffnn", "units": 2}, "last", lookback=24, steps=2)
    other = one_model.Recipe({"family": "ffnn", "units": 3}, "last", lookback=24, steps=2)
    before = {"tried": {network.description: 1.0, other.description: 0.5}}
    row = one_model.measured(data, [network, other], 3, one_model.mse, seeds=2, before=before)
    assert row["recipe"] == other.description and row["seeds"] == 2
    assert row["tried"] == before["tried"]
    assert tables.rows(1, seeds=5)["m4/network on its skip/MASE"].seeds == 5


def test_a_mean_of_recipes_is_the_mean_of_their_forecasts() -> None:
    data = one_model.Data({"a": np.arange(200.0) % 24}, validation=40, test=30)
    rules = [
        one_model.Recipe({"family": family}, lookback=24) for family in ("naive", "seasonal_naive")
    ]
    pairs = [one_model.Trial(data, rule, 3).test(1)[0]["a"] for rule in rules]
    row = one_model.mean_of(data, rules, 3, one_model.mse, seeds=1, before={})
    assert row["value"] == pytest.approx(
        np.mean(((pairs[0][0] + pairs[1][0]) / 2 - pairs[0][1]) ** 2)
    )
    assert "naive" in row["recipe"] and " + seasonal_naive" in row["recipe"]


@pytest.mark.parametrize(
    ("values", "weight", "value"),
    [
        pytest.param(
            np.sin(np.arange(500) * 2 * np.pi / 24), 1.0, 0.0, id="a correction that is right stays"
        ),
        pytest.param(
            np.arange(500.0), 0.0, (1 + 4 + 9) / 3, id="one that points away gives the last value"
        ),
    ],
)
def test_a_correction_is_shrunk_as_blocks_before_the_test_block_ask_for(
    values: np.ndarray, weight: float, value: float
) -> None:
    last_season = [one_model.Recipe({"family": "seasonal_naive"}, lookback=24)]
    options = {"horizon": 3, "error": one_model.mse, "seeds": 1, "before": {}}
    row = one_model.shrunk(
        one_model.Data({"a": values}, validation=60, test=50), last_season, **options
    )
    assert (row["weight"], row["value"]) == pytest.approx((weight, value), abs=1e-9)
    other_later = np.concatenate(
        [values[:450], values[450:][::-1]]
    )  # what the weight may not look at
    other = one_model.shrunk(
        one_model.Data({"a": other_later}, validation=60, test=50), last_season, **options
    )
    assert other["weight"] == row["weight"] and other["recipe"].startswith(
        f"{weight:.2f} of seasonal_naive"
    )


def test_a_row_of_ours_says_what_it_is() -> None:
    details = {"recipe": "gru, lookback 9", "parameters": 1_234, "seeds": 2, "CPU s": 3.4}
    our_rows = [{"table": "m4", "name": "skip alone", "column": "MASE", "value": 1.0, **details}]
    (row,) = page.own_rows("m4", our_rows)
    assert row["note"] == "ours; gru, lookback 9; 1,234 parameters; seeds 2; 3 CPU s"
    assert not [
        line
        for line in page._table("m4", TABLES["m4"], our_rows)
        if "skip alone" in line and "not run" in line
    ]


def test_a_day_ahead_is_scored_at_the_origins_that_end_inside_the_test_block() -> None:
    times = pd.date_range("2024-01-01", periods=400, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": np.arange(400.0)})
    task = {**beside.SETTINGS, **beside.blocks(400)}
    rows = beside.origins(task, 400)
    assert rows[0] == 400 - task["test"] - 1 and rows[-1] + 24 == 399
    # two above the truth, at every quantile
    point = np.arange(400.0)[rows[:, None] + np.arange(1, 25)][None] + 2
    row = beside.score(
        frame, task, {"point": point, "quantiles": np.stack([point] * len(beside.QUANTILES))}
    )
    assert (
        row["MAE"] == pytest.approx(2)
        and row["CRPS"] == pytest.approx(2)
        and len(row["losses"]) == len(rows)
    )


def test_peers_of_a_day_ahead_are_tested_together_and_one_that_is_absent_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(size=200)
    losses = {
        "ours, chosen on validation (lstm)": 1 + 0.1 * noise,
        "near": 1 - 0.1 * noise,
        "far": 2 + 0.1 * noise[::-1],
    }
    rows = {
        name: {"MAE": 1.0, "CPU s": 1.0, "losses": list(series_losses)}
        for name, series_losses in losses.items()
    }
    tested = beside_tests.with_tests(rows | {"gone": {"not run": "failed"}})
    assert tested["far"]["p"] < 0.001 < 0.5 < tested["near"]["p"] and "p" not in tested["gone"]
    assert "< 0.001" in page._day_ahead_line(
        "far", tested["far"]
    ) and "not run" in page._day_ahead_line("gone", tested["gone"])
    monkeypatch.setattr(beside, "PEERS", tmp_path / "python")
    assert (
        beside.run({"who": "darts BlockRNN"}, limit=1)["not run"]
        == "not installed: make bench-setup"
    )
    (row,) = beside.measured("beijing", "ours", tmp_path, limit=1).values()
    assert "is not in the data folder" in row["not run"]


def test_a_contender_that_is_stopped_is_a_row_that_says_so_and_leaves_no_pipe_open() -> None:
    task = {"who": "ours", "what": "growth", "series": 2}
    assert beside.run(task, 0.01, module="bench.racer") == {"not run": "stopped after 0 s"}
    gc.collect()  # an open pipe would warn now, and a warning is an error


def test_a_day_ahead_names_the_versions_of_every_row(tmp_path: Path) -> None:
    store = ResultsFile(tmp_path / "bench" / "results" / "beside.json", HERE)
    store.write(
        "dublin/far", {"rows": {"far": {"MAE": 1.0, "CPU s": 2.0, "versions": {"torch": "2.1"}}}}
    )
    store.write("dublin/gone", {"rows": {"gone": {"not run": "failed"}}})
    lines = page.day_ahead(tmp_path).splitlines()
    assert lines[1] == "Versions: torch 2.1." and "| gone | not run | | | | failed |" in lines


def test_rows_of_another_machine_stand_beside_the_others_without_their_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = {**HERE, "cores": 1_000}
    store = ResultsFile(tmp_path / "beside.json", other)
    store.write("dublin/ours", {"rows": {"ours, lstm": {"MAE": 9.0, "CPU s": 77.0}}})
    monkeypatch.setattr(beside, "RESULTS", tmp_path)
    monkeypatch.setattr(
        beside,
        "measured",
        lambda *_: {"ours, lstm": {"MAE": 1.0, "CPU s": 77.0, "models": ["lstm"]}},
    )
    monkeypatch.setattr(page, "write", lambda **_: None)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "dublin/ours", "--again", "--errors-alone"])
    assert beside.main() == 0
    row = ResultsFile(tmp_path / "beside.json", other).rows["dublin/ours"]["rows"]["ours, lstm"]
    line = page._day_ahead_line("ours, lstm", row)
    assert "| 1.000 |" in line and "77" not in line and "on another machine" in line


@pytest.mark.slow
@pytest.mark.skipif(not beside.PEERS.exists(), reason="needs make bench-setup")
def test_a_search_out_of_time_is_scored_by_the_trials_it_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = pd.date_range("2024-01-01", periods=700, freq="h")
    wave = np.sin(np.arange(700) * 2 * np.pi / 24)
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": wave, "wind": wave[::-1]})
    monkeypatch.setattr(beside, "SCRATCH", tmp_path)
    monkeypatch.setattr(beside, "FRAMES", {"wave": lambda _: frame})
    who, settings = (
        "neuralforecast AutoLSTM",
        {**beside.SETTINGS, "search limit": 0, "training limit": 0},
    )
    row = beside.measured("wave", who, tmp_path, limit=600, settings=settings)[who]
    assert row["note"] == "1 of 8 trials, none begun after 0 CPU s, a training cut at 0"
    assert 0 < row["CRPS"] < row["MAE"] < 5


def test_the_airports_are_read_in_celsius_without_faults_of_the_record(tmp_path: Path) -> None:
    file = tmp_path / FILES["airports"].name
    file.parent.mkdir()
    frame = pd.DataFrame(
        {"origin": ["JFK", "LGA", "JFK"], "temp": [50.0, 32.0, 68.0], "wind_speed": [10, 5, 1048.4]}
    )
    frame["time_hour"] = ["2013-01-01T06:00:00Z", "2013-01-01T05:00:00Z", "2013-01-01T08:00:00Z"]
    last = frame.iloc[[1]].assign(time_hour="2013-01-01T08:00:00Z", temp=41.0)
    pd.concat([frame, last]).to_csv(file, index=False)
    read = beside.airports(tmp_path)
    assert (
        list(read["ds"].dt.hour) == [6, 7, 8] * 2
        and list(read["unique_id"]) == ["JFK"] * 3 + ["LGA"] * 3
    )
    np.testing.assert_allclose(read["y"][:3], [10, 10, 20])
    np.testing.assert_allclose(read["wind"][:3], [16.09344] * 3)


@pytest.mark.slow
def test_the_rows_of_beijing_are_of_one_comparison_and_tested_against_its_best_network() -> None:
    hours = np.arange(700)
    y = np.sin(hours * 2 * np.pi / 24) + 0.1 * np.random.default_rng(0).normal(size=700)
    frame = pd.DataFrame(
        {"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=700, freq="h"), "y": y}
    )
    tuning = {"n_trials": 1, "trial_steps": 2, "final_steps": 2, "evaluate_every": 1, "seeds": [0]}
    models = ["seasonal_naive", "ridge", "ets_seasonal", "boosting", "rnn"]
    rows = beijing.compare_models(frame.assign(wind=y[::-1]), models, tuning)
    assert set(rows) == {beijing.NETWORK, *beijing.MODELS} and rows["ridge"]["value"] < 0.2
    assert (
        rows[beijing.NETWORK]["about"] == "rnn, by validation, of rnn"
        and "p that" in rows["ETS"]["about"]
    )


def test_the_quickest_training_that_gets_there_counts_and_what_was_not_run_says_so(
    tmp_path: Path,
) -> None:
    tried = [{"s": 4.0, "MSE": 0.1}, {"s": 3.0, "MSE": 0.105}, {"s": 70.0, "MSE": 0.06}]
    assert race_page.reached(tried, 0.11) == 3.0 and race_page.reached(tried, 0.05) is None
    assert race_page.best_within(tried, 60) == 0.1
    rows = {
        "train/ours": {"tries": tried},
        "backtest/ours": {"not run": "failed: no"},
        "growth/10": {"training s": 2.0, "backtest s": 1.0, "peak MB": 300.4},
    }
    lines = race_page.lines(rows)
    assert "| **ours** | 3.0 | 70.0 | 0.100 | not run |  |  | failed: no |" in lines
    assert "| 10 | 2.00 | 200.00 | 1.00 | 100.00 | 300 | |" in lines
    assert "| 100 | not run | | | | | make race |" in lines
    assert (
        "ETTh1.csv is not in the data folder"
        in race.measured(race.tasks(1.0)["train/ours"], tmp_path)["not run"]
    )


def test_the_costs_of_a_grid_are_read_from_a_finished_run_networks_apart(tmp_path: Path) -> None:
    assert "make beside RUN=FOLDER" in beside.grid(tmp_path, "weather")["not run"]
    tuned, costs = tmp_path / "data" / "tuned" / "weather", tmp_path / beside.COSTS / "weather"
    for name in ("gru.linear", "gru.last", "boosting"):
        write_json(tuned / f"{name}.json", {})
        write_json(costs / f"{name}.tuning.json", {"cpu_seconds": 100.0})
        write_json(costs / f"{name}.json", {"cpu_seconds": 20.0})
    write_json(costs / "naive.json", {"cpu_seconds": 1.0})
    row = beside.grid(tmp_path, "weather")
    assert row == {"CPU s": 361.0, "networks": 2, "networks' CPU s": 240.0}
    bars = "2 networks, tuned, 120.0 s each; bar < 137 for one met, for all MISSED"
    assert page._day_ahead_line("ours, grid", row) == f"| **ours, grid** |  |  | 361 |  | {bars} |"


def test_what_prepare_takes_is_held_against_its_bar() -> None:
    lines = race_page.lines({"prepare/ours": {"rows": 10, "s": 1, "frame MB": 2, "peak MB": 7}})
    assert "| 10 rows | 1.0 | 2 | 7 | 3.5 | < 3 | MISSED |" in lines


def test_the_grid_stands_beside_the_search_of_the_same_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched = {
        "neuralforecast AutoLSTM": {
            "MAE": 1.0,
            "CPU s": 814.2,
            "note": "5 of 8 trials",
            "versions": {},
        }
    }
    path = tmp_path / "bench" / "results" / "beside.json"
    ResultsFile(path).write("dublin/neuralforecast AutoLSTM", {"rows": searched})
    monkeypatch.setattr(beside, "RESULTS", path.parent)
    monkeypatch.setattr(
        beside, "grid", lambda *_: {"CPU s": 9.0, "networks": 3, "networks' CPU s": 6.0}
    )
    monkeypatch.setattr(page, "write", lambda **_: None)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "grid"])
    assert beside.main() == 0 and capsys.readouterr().out.splitlines() == list(beside.GRIDS)
    lines = page.day_ahead(tmp_path).splitlines()
    assert "| neuralforecast AutoLSTM | 1.000 |  | 814 |  | 5 of 8 trials |" in lines
    assert any(
        line.startswith("| **ours, the whole grid of weather** |  |  | 9 |  | 3 networks")
        for line in lines
    )
    assert summary.day_ahead(read_json(path)["rows"]) == ""


def test_a_backtest_is_held_against_its_bar() -> None:
    rows = {
        "backtest/ours": {"s": 0.5},
        "backtest/neuralforecast LSTM": {"s": 1.5},
        "backtest/darts BlockRNN": {"s": 3},
    }
    cells = [line.split("|")[5:9] for line in race_page.lines(rows)[3:5]]
    assert cells == [
        [" 1.50 ", " 3.0 ", " ≥ 2 ", " met "],
        [" 3.00 ", " 6.0 ", " ≥ 10 ", " MISSED "],
    ]


def test_the_benchmarks_are_found_in_the_folder_itself_below_it_and_beside_it(
    tmp_path: Path,
) -> None:
    files = {name: tmp_path / "benchmarks" / FILES[name].name for name in ("etth1", "m4")}
    files["beijing"] = tmp_path / FILES["beijing"].name
    for file in files.values():
        file.parent.mkdir(exist_ok=True)
        file.touch()
    for data in (tmp_path, tmp_path / "benchmarks"):
        assert all(
            (folder_of(name, data) / FILES[name].name).samefile(file)
            for name, file in files.items()
        )
    assert folder_of("exchange", tmp_path) == tmp_path


def test_the_first_page_counts_bars_by_their_bound_and_says_what_was_not_run() -> None:
    peer = {"ratio": 1.6, "lower": 1.4, "bar": 1.5}
    slower = {"ratio": 0.9, "lower": 0.8, "bar": None}
    speeds = {"a": {"what": "step", "peers": {"torch": peer, "keras": {"not run": "no"}}}}
    speeds["b"] = {"what": "step", "peers": {"torch": slower}}
    columns = {"96": 0.360, "192": 0.405, "336": 0.430}
    our_rows = {
        c: {"table": "etth1", "name": "skip alone", "column": c, "value": v}
        for c, v in columns.items()
    }
    our_rows["last"] = {
        "table": "exchange",
        "name": "repeat the last value",
        "column": "96",
        "value": 0.0,
    }
    our_rows |= {
        str(v): {"table": "tanks", "name": f"seed {v}", "column": "V", "value": v}
        for v in (0.1, 0.36, 0.4)
    }
    lines = summary.lines({"speed": speeds, "tables": our_rows})
    assert "0.90 to 1.60 times torch's; 0 of 1 bars met, 1 slower rows" in lines[0]
    assert "have none (`make bench`)" in lines[0]
    assert lines[1:4] == [f"- not run (`make {name}`)" for name in ("bench", "race", "beside")]
    assert (
        "Cascaded tanks, free run: 0 of 1; ETTh1, all channels: 2 of 4 (`make tables`)" in lines[4]
    )


def test_the_first_page_names_the_best_of_the_others_and_who_never_got_there() -> None:
    tried = {"ours": 0.06, "darts BlockRNN": 0.08}
    rows = {f"train/{who}": {"tries": [{"s": 3.0, "MSE": mse}]} for who, mse in tried.items()}
    mae_by_model = {"ours, chosen on validation (a)": 1.0, "x": 2.0, "y": 1.5}
    table = {
        name: {"MAE": mae, "losses": [mae, mae + 0.1] * 50} for name, mae in mae_by_model.items()
    }
    lines = summary.lines({"race": rows, "beside": {"dublin/a": {"rows": table}}})
    assert "ours in 3.0 s; darts BlockRNN never (`make race`)" in lines[2]
    assert "Dublin 1.00 (best of 2 others: y 1.50, p < 0.001)" in lines[3]


def test_without_a_gpu_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "in_processes", lambda *_: iter([""]))
    monkeypatch.setattr("sys.argv", ["bench"])
    assert gpu.main() == InputError.exit_code == 2
    assert "No GPU" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [gpu.own_steps, gpu.keras_steps])
@pytest.mark.parametrize("cell", gpu.CELLS)
def test_the_steps_of_the_gpu_table_run_on_a_processor(steps: Callable, cell: str) -> None:
    assert np.isfinite(steps(gpu.Task("core", cell, 2, 3, 4))(2))


def test_a_gpu_pays_from_where_no_measured_size_is_slower() -> None:
    # 2 units x 4 windows: slower at one lookback; 4 x 4: faster than one core; 8 x 4: than both
    cores = {"2/4/1": 9.0, "2/4/2": 0.5, "4/4/1": 1.5, "8/4/1": 3.0}
    rows = {f"core/LSTM/{size}": {"ms": ms} for size, ms in cores.items()}
    rows |= {f"gpu/LSTM/{size}": {"ms": 1.0} for size in (*cores, "9/9/9")}
    rows |= {"loop/LSTM/4/4/1": {"ms": 7.0}, "keras/LSTM/4/4/1": {"not run": "out of memory"}}
    rows |= {"keras/LSTM/8/4/1": {"ms": 0.9}}
    known = {key: {**row, "GPU": "one", "cores": 2} for key, row in rows.items()}
    sentence = summary.lines({"gpu": known})[-1]
    assert "on one: faster than one core from 16 units × windows a step on" in sentence
    assert "than 2 cores from 32; the general loop takes 7.00 to 7.00 times" in sentence
    assert sentence.endswith("Keras's own layer 0.90 to 0.90 times (`python -m bench.gpu`)")


@pytest.mark.parametrize("cell", list(contender.OURS))
@pytest.mark.parametrize("what", ["step", "forward"])
def test_our_part_of_the_kernel_table_runs_for_every_cell(what: str, cell: str) -> None:
    task = {"cell": cell, "units": 2, "steps": 3, "batch": 2}
    call, libraries = contender.CONTENDERS["ours", what](task)
    assert np.isfinite(np.asarray(call())).all() and libraries


@pytest.mark.slow
def test_our_part_of_the_race_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    values = np.sin(np.arange(700) * 2 * np.pi / 24)
    np.save(tmp_path / "ot.npy", values)
    task = {"who": "ours", "block": 150, "limit": 0.1, "data": str(tmp_path / "ot.npy")}
    tried, _ = racer.CONTENDERS["ours", "train"]({**task, "what": "train"})
    assert [attempt["rate"] for attempt in tried["tries"]] == list(racer.RATES)
    assert racer.CONTENDERS["ours", "backtest"](task)[0]["s"] > 0
    assert (
        race.run({"who": "ours", "what": "growth", "series": 2}, 120, module="bench.racer")[
            "peak MB"
        ]
        > 0
    )


def test_a_simulated_shop_is_the_same_for_a_seed_and_its_plan_goes_on_behind_its_sales():
    rows = planned_systems.simulate("shops", 1)
    pd.testing.assert_frame_equal(rows, planned_systems.simulate("shops", 1))
    assert not rows["y"].equals(planned_systems.simulate("shops", 2)["y"])
    plan_rows = rows[rows["y"].isna()]
    assert (
        plan_rows["discount"].notna().all() and plan_rows.groupby("unique_id").size().eq(60).all()
    )


def test_a_simulated_kind_is_the_same_for_a_seed_and_another_for_the_next():
    rows = simulated_kinds.simulate("four_years_of_weeks", 1)
    pd.testing.assert_frame_equal(rows, simulated_kinds.simulate("four_years_of_weeks", 1))
    assert not rows["y"].equals(simulated_kinds.simulate("four_years_of_weeks", 2)["y"])
    first, second, third = (part.to_numpy() for _, part in rows.groupby("unique_id")["y"])
    assert not np.array_equal(first, second) and not np.array_equal(second, third)


@pytest.mark.parametrize("name", simulated_kinds.KINDS)
def test_a_simulated_kind_has_finite_numbers_at_rising_times(name):
    rows = simulated_kinds.simulate(name, 1)
    assert np.isfinite(rows.drop(columns=["ds", "unique_id"]).to_numpy()).all()
    assert rows.groupby("unique_id")["ds"].is_monotonic_increasing.all()
    assert rows["unique_id"].nunique() == simulated_kinds.KINDS[name].n_series


def test_a_controller_keeps_its_state_between_both_levels():
    values = [5.0, 1.0, 5.0, 9.0, 11.0, 9.0, 1.0]
    states, is_on = [], False
    for value in values:
        is_on = simulated_kinds.switch(is_on, value, low=2.0, high=10.0)
        states.append(is_on)
    assert states == [False, True, True, True, False, False, True]


def test_of_counts_that_are_mostly_zero_the_lowest_row_of_validation_is_served(monkeypatch):
    def fitted(problem, name):
        error = {"lookback_median": 1.0, "naive": 2.0}.get(name, 3.0)
        blocks = (
            quarter_hour.Scaled({"a": np.array([[e]])}, {"a": np.zeros((1, 1))})
            for e in (error, 9.0, 9.0)
        )
        return quarter_hour.Row(*blocks)

    monkeypatch.setattr(simulated_kinds, "fit_row", fitted)
    drawn = simulated_kinds.Drawn(None, "intermittent", pd.DataFrame(), 1)
    assert simulated_kinds.served_row(drawn).validation.errors.tolist() == [1.0]


def test_intervals_in_the_units_of_a_file_are_those_of_its_transform() -> None:
    draw = np.random.default_rng(0)
    times = pd.date_range("2022-01-01", periods=600, freq="D")
    frame = pd.DataFrame({"unique_id": "s", "ds": times, "y": np.exp(draw.normal(3, 1, 600))})
    entry = yaml.safe_load(quarter_hour.written_entry(frame))["panel"]
    problem = quarter_hour.problem_from(frame, entry)
    horizon = problem.panel.task.horizon
    raw, logs = [], []
    for block in quarter_hour.Row._fields:
        rows = problem.rows("s", block)
        y = frame["y"].to_numpy()[rows[:, None] + np.arange(1, horizon + 1)]
        y_hat = np.exp(3 + draw.normal(0, 0.3, y.shape))
        raw.append(quarter_hour.Scaled({"s": y}, {"s": y_hat}))
        logs.append(quarter_hour.Scaled({"s": np.log1p(y)}, {"s": np.log1p(y_hat)}))
    expected = quarter_hour.interval_scores(problem, quarter_hour.Row(*logs))[:2]
    scores = quarter_hour.interval_scores(problem, quarter_hour.Row(*raw), "log1p")[:2]
    assert scores == expected
    assert quarter_hour.interval_scores(problem, quarter_hour.Row(*raw))[:2] != expected


def test_of_few_rows_theta_is_a_member_of_what_the_bench_serves(monkeypatch):
    monkeypatch.setattr(simulated_kinds, "fit_row", lambda problem, name: name)
    monkeypatch.setattr(simulated_kinds, "combine", lambda problem, rows: rows)
    for grid, is_member in (("few", True), ("yearly", True), ("", False)):
        drawn = simulated_kinds.Drawn(None, grid, pd.DataFrame(), 1)
        assert ("theta" in simulated_kinds.served_row(drawn)) == is_member


def test_the_ablation_reads_no_more_than_its_newest_steps_of_a_panel(tmp_path: Path) -> None:
    days = pd.date_range("2010-01-01", periods=ablation.MAX_STEPS + 500, freq="D")
    values = np.random.default_rng(0).normal(size=len(days))
    name = ablation.ALL_PANELS["delhi"].file
    pd.DataFrame({"ds": days, "meantemp": values}).to_csv(tmp_path / name, index=False)
    problem = ablation.read_problem("delhi", tmp_path, with_inputs=False)
    assert len(problem.panel.series[0]) == ablation.MAX_STEPS


def test_rows_of_a_bench_are_combined_by_the_rule_of_the_product() -> None:
    times = pd.date_range("2024-01-01", periods=40, freq="D")
    y = np.sin(np.arange(40.0))
    keys = {"unique_id": "s", "cutoff": times - pd.Timedelta("1D"), "step": 1, "ds": times}
    table = pd.DataFrame({**keys, "output": "y", "y": y, "volatility": 1.0})
    table["block"] = np.repeat(["validation", "test"], 20)
    draw = np.random.default_rng(0)
    near, far = (table.assign(y_hat=y + draw.normal(0, size, 40)) for size in (0.01, 1.0))
    rule = ablation.RULE.model_copy(update={"members": ("near", "far")})
    combined = ablation.combine(None, {"near": near, "far": far}, rule)
    missed = (combined["y_hat"] - y).abs()[combined["block"] == "test"]
    assert missed.mean() < 0.1 < (far["y_hat"] - y).abs().mean()


def test_weights_of_months_are_pulled_towards_a_prior_and_are_those_of_the_product_if_it_is_equal():
    # with it statsforecast and dask, which every process that collects the tests would import
    from bench import month_weights

    draw = np.random.default_rng(0)
    errors = draw.normal(0, [1.0, 1.2, 1.5], (60, 3))
    square = errors.T @ errors / 60
    equal, prior = np.full(3, 1 / 3), np.array([0.2, 0.2, 0.6])
    for penalty in (0.0, 0.2, 5.0):
        weights = month_weights.solve_towards(square, penalty, equal)
        np.testing.assert_allclose(weights, solve_on_simplex(square, penalty), atol=1e-6)
    np.testing.assert_allclose(month_weights.solve_towards(square, 1e6, prior), prior, atol=1e-5)


def test_the_bench_of_growth_fits_a_ridge_without_a_constant():
    x, y = np.split(np.random.default_rng(0).normal(1, 1, (40, 5)), [3], axis=1)
    moments = growing.sums_about_zero(skip.products_matrix(x, y))
    slopes = skip.solve_ridge(moments, np.arange(3), 2.0, 2)
    expected = Ridge(alpha=2.0, fit_intercept=False).fit(x, y).coef_.T
    np.testing.assert_allclose(slopes, np.vstack([expected, np.zeros(2)]), atol=1e-12)


def test_the_bench_of_growth_takes_the_mean_over_series_of_errors_over_the_last_value():
    table = pd.DataFrame({"unique_id": ["a", "a", "b"], "y": 0.0, "y_hat": [1.0, 9.0, 3.0]})
    table["block"] = ["test", "validation", "test"]
    naive = table.assign(y_hat=[2.0, 1.0, 2.0])
    assert growing.relative_error(table, naive, ["test"]) == 1.0


def test_kinds_are_counted_by_the_bar_and_by_what_their_intervals_cover():
    def outcome(ratio, covered):
        is_covered = np.arange(100) < covered
        scored = interval_margins.Scored(is_covered, np.ones(100), np.ones(100))
        return simulated_kinds.Outcome(1.0, ratio, 40, {0.8: scored})

    outcomes = {"a": outcome(0.9, 81), "b": outcome(1.02, 74), "c": outcome(1.04, 80)}
    assert [*simulated_kinds.summary(outcomes)] == [
        "at or below the contender: 1 of 3; more than 3 % above: c +4.0 %; median +2.0 %",
        "80 %: mean miss 2.33 points; more than 5: 1 of 3 (b -6.0)",
    ]


def test_the_contender_sees_the_plan_and_the_holidays_of_the_step_that_it_forecasts():
    rows = planned_systems.simulate("shop", 1)
    problem = planned_systems.problem_of("shop", rows)
    task = problem.panel.task
    names = ["promo", "holiday", "holiday_in_1", "holiday_1_ago"]
    assert [column.name for column in task.future_exogenous] == names
    (series,) = problem.panel.series
    none, cutoffs = np.empty((len(series), 0)), np.array([400, 401])
    values = problem.scaled(series.unique_id)[:, 0]
    x = quarter_hour.contender_inputs(values, none, series, cutoffs, task, 365)
    steps = cutoffs[:, None] + np.arange(1, task.horizon + 1)
    np.testing.assert_array_equal(x[:, -4], rows["promo"].to_numpy()[steps].ravel())
