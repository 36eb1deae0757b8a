"""`forecast.fit` and `forecast.compare` are the stages: equal data and settings give equal numbers,
bit by bit.
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.data.panel import from_frame
from forecast.data.results import MEAN, Results
from forecast.forecaster.ensemble import forecast_latest
from forecast.models import catalogue
from forecast.report.leaderboard import as_csv, combine_leaderboards
from pipelines import compare
from tests.support.frame_project import SPLITS, promoted, trained

SPANS = {"horizon": 2, "lookback": 7, "season_length": 7}
BUDGET = {
    "n_trials": 2,
    "trial_steps": 4,
    "final_steps": 4,
    "evaluate_every": 2,
    "seeds": [0, 1],
    "base_seed": 0,
}
MODELS = {
    "naive": {"family": "naive"},
    "seasonal_naive": {"family": "seasonal_naive"},
    "seasonal_mean": {"family": "historical", "seasonal": True, "refit": "never"},
    "historical_mean": {"family": "historical", "refit": "never"},
    "historical_median": {"family": "historical", "average": "median", "refit": "never"},
    "lookback_mean": {"family": "naive", "value": "mean"},
    "drift": {"family": "drift"},
    "ridge": {"family": "ridge"},
    "arx": {"family": "arx"},
    "rectify": {"family": "rectify"},
    "theta": {"family": "theta"},
    "nar": {"family": "narx", "input_lags": 0},
    "quantiles": {"family": "elman", "head": "quantiles"},
    "stacked": {"family": "combination", "members": "all", "weights": "stacked"},
}
"""The references of every comparison, a corrected linear model, one fitted to each series, a
recursive network of points, a direct one with a distribution, a combination. None has a value that
a search varies: the door holds what a caller wrote.
"""
FITTED = ("seasonal_naive", "theta", "ridge", "arx", "rectify", "nar", "quantiles")
"""One of each kind, of the linear models and networks one of each way to a forecast."""
OPTIONS = {"freq": "1D", "past_exogenous": ["x"], "calendar_features": ["day_of_week"], "n_jobs": 1}

pytestmark = pytest.mark.filterwarnings("ignore:Without the newest rows of the others")


def waves() -> pd.DataFrame:
    """Two series with gaps and empty cells, so that every input has a mask."""
    rng = np.random.default_rng(0)
    parts = []
    for number, name in enumerate(("a", "b")):
        days = pd.date_range("2024-01-01", periods=180 + 10 * number, freq="D")
        y = (
            10
            + np.sin(np.arange(len(days)) * (0.9 + number))
            + 0.1 * rng.standard_normal(len(days))
        )
        parts.append(
            pd.DataFrame(
                {"unique_id": name, "ds": days, "y": y, "x": rng.standard_normal(len(days))}
            )
        )
    frame = pd.concat([part.drop(index=[20, 21, 90]) for part in parts], ignore_index=True)
    frame.loc[[5, 70], "x"] = np.nan
    frame.loc[[40, 200], "y"] = np.nan
    return frame


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The same frame and settings as files, and every stage over them."""
    entry = {
        "calendar": {"kind": "regular", "freq": "1D"},
        "target": {"column": "y", "max_missing": 0.2},
        "past_exogenous": [{"column": "x", "max_missing": 0.2}],
        "calendar_features": ["day_of_week"],
    }
    root = tmp_path_factory.mktemp("project")
    results = trained(root, waves(), {**entry, **SPANS}, MODELS, BUDGET, tuned=True)
    compare.main("df", str(root))
    return results


@pytest.fixture(scope="module")
def board() -> forecast.Board:
    models = [{"name": name, **entry} for name, entry in MODELS.items()]
    return forecast.compare(waves(), models, **SPANS, **OPTIONS, splits=SPLITS, tuning=BUDGET)


def test_every_row_of_the_board_forecasts_what_the_stages_do(
    project: Results, board: forecast.Board
) -> None:
    assert {record.model for record in project.records.values()} == set(MODELS)
    for candidate, record in project.records.items():
        rows = project.forecasts(candidate)
        rows = rows[rows["block"] == "test"]
        mean = rows.groupby(["unique_id", "cutoff", "ds"], sort=False)["y_hat"].mean().reset_index()
        of_board = board.forecasts(record.model)
        assert list(of_board.columns) == ["unique_id", "ds", "cutoff", "y", record.model]
        assert (
            of_board[["unique_id", "cutoff", "ds"]].to_numpy()
            == mean[["unique_id", "cutoff", "ds"]].to_numpy()
        ).all()
        assert of_board[record.model].to_numpy().tobytes() == mean["y_hat"].to_numpy().tobytes()


def test_the_leaderboard_is_that_of_the_compare_stage(
    project: Results, board: forecast.Board
) -> None:
    rows = project.leaderboard
    expected = rows[rows["seed"] == MEAN].set_index("model")["mase"]
    assert board.leaderboard.set_index("model")["mase"].to_dict() == expected.to_dict()
    assert board.chosen == project.selected_model("shipped")
    assert board.verdicts == (*project.verdicts.sentences, *project.verdicts.warnings)


def test_the_board_has_the_crps_of_leaderboard_csv_and_the_numbers_of_the_tests(
    project: Results, board: forecast.Board
) -> None:
    table = board.leaderboard.set_index("model")
    text = as_csv(combine_leaderboards(project.paths, [project.name]))
    written = pd.read_csv(StringIO(text)).query("seed == @MEAN").set_index("model")["scaled_crps"]
    assert written.notna().sum() > 3
    pd.testing.assert_series_equal(table["scaled_crps"], written[table.index], rtol=1e-4)
    test = project.tests("shipped", "bar")["ridge"]
    numbers = table.loc["ridge", ["vs_bar_change", "vs_bar_low", "vs_bar_high", "vs_bar_p"]]
    assert test.relative_limits and test.p_holm
    assert numbers.tolist() == [test.relative_difference, *test.relative_limits, test.p_holm]
    assert {"scaled_crps", "vs_bar_p"} <= {*repr(board).split()}


def test_a_notebook_shows_of_a_board_what_print_shows(board: forecast.Board) -> None:
    """Not every column of the leaderboard to six digits, with the selected model out of sight."""
    headline, first, *_ = repr(board).splitlines()
    page = board._repr_html_()
    assert headline.startswith(repr(board.chosen)) and headline in page
    assert re.findall(r"<th>([a-z]\w*)</th>", page) == first.split()
    numbers = re.findall(r"\d+\.\d+", repr(board) + page)
    assert numbers and max(len(number.replace(".", "").lstrip("0")) for number in numbers) == 4


def test_the_intervals_of_the_test_block_are_those_of_the_report(
    project: Results, board: forecast.Board
) -> None:
    keys, model = ["series", "cutoff", "step"], str(board.chosen)
    bands = project.bands[project.bands["model"] == model]
    of_board = board.forecasts(model, levels=[80, 95]).sort_values(["unique_id", "cutoff", "ds"])
    for level in (80, 95):
        of_level = bands[bands["level"] == level].drop_duplicates(keys).sort_values(keys)
        assert (
            of_board[f"{model}-lo-{level}"].to_numpy().tobytes()
            == of_level["lower"].to_numpy().tobytes()
        )
        assert (
            of_board[f"{model}-hi-{level}"].to_numpy().tobytes()
            == of_level["upper"].to_numpy().tobytes()
        )


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_predicts_with_intervals_what_promote_puts_into_service(
    project: Results, name: str, tmp_path: Path
) -> None:
    entry = {"name": name, **MODELS[name]}
    budget = BUDGET if catalogue()[str(entry["family"])].is_network else None
    model = forecast.fit(waves(), entry, **SPANS, **OPTIONS, splits=SPLITS, tuning=budget)
    of_model = model.predict(levels=[80, 95])
    ensemble = promoted(project, name, tmp_path / name)
    panel = from_frame(pd.read_parquet(project.paths.frame("df")), "df", ensemble.task)
    expected = pd.DataFrame(forecast_latest(ensemble, panel, horizon=2, levels=(80, 95)))
    ends = [f"{name}-{end}-{level}" for level in (80, 95) for end in ("lo", "hi")]
    assert list(of_model.columns) == ["unique_id", "ds", name, *ends]
    ours = expected[["y_hat", "lo_80", "hi_80", "lo_95", "hi_95"]]
    assert of_model[[name, *ends]].to_numpy().tobytes() == ours.to_numpy().tobytes()
