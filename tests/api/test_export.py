"""`forecast export`: the frames of a run, scored by another library as they are scored here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.api import export
from forecast.comparison import metrics
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.data.splits import Borders
from forecast.system.files import read_json
from pipelines import compare
from tests.support.frame_project import trained
from tests.support.small_project import command

MODELS = ["naive", "seasonal_naive", "ridge", "arx"]
LEVELS = [80, 90]
QUANTILES = [0.05, 0.1, 0.9, 0.95]
BUDGET = {"n_trials": 1, "trial_steps": 1, "final_steps": 1, "seeds": [0], "base_seed": 0}


def sales() -> pd.DataFrame:
    """Two series of positive numbers, since sMAPE says nothing where they cross zero."""
    rng = np.random.default_rng(3)
    days = pd.date_range("2024-01-01", periods=240, freq="D")
    shapes = {
        "a": 20 + 3 * np.sin(np.arange(240) * 0.9),
        "b": 9 + np.cos(np.arange(240) * 2 * np.pi / 7),
    }
    parts = [
        pd.DataFrame({"unique_id": n, "ds": days, "y": s + rng.standard_normal(240) / 5})
        for n, s in shapes.items()
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of a project: `forecast export` reads its files."""
    entry = {
        "calendar": {"kind": "regular", "freq": "1D"},
        "target": {"column": "y"},
        "horizon": 3,
        "lookback": 14,
        "season_length": 7,
    }
    models = {name: {"family": name} for name in MODELS}
    root = tmp_path_factory.mktemp("project")
    results = trained(root, sales(), entry, models, BUDGET, tuned=True)
    compare.main("df", str(root))
    return results


def score_models(results: Results, metric: Any, **options: Any) -> dict[str, float]:
    """The other library's score of every model, mean over origins and series."""
    from utilsforecast.evaluation import evaluate

    frame = export.cross_validation(results, levels=LEVELS)
    borders = Borders.from_json(read_json(results.paths.borders(results.name)))
    observations = export.observations(results)
    table = evaluate(
        frame,
        [metric],
        models=MODELS,
        train_df=observations[observations["ds"] <= borders.train_end],
        **options,
    )
    return {model: float(table[model].mean()) for model in MODELS}


def ours(results: Results, metric: str) -> dict[str, float]:
    table = export.leaderboard(results).set_index("model")
    return {model: float(table.loc[model, metric]) for model in MODELS}


def test_mase_of_utilsforecast_is_the_leaderboards(results: Results) -> None:
    from utilsforecast import losses

    assert score_models(results, partial(losses.mase, seasonality=7)) == pytest.approx(
        ours(results, "mase"), rel=1e-9
    )


def test_smape_of_utilsforecast_is_the_leaderboards_over_two_hundred(results: Results) -> None:
    from utilsforecast import losses

    by_model = {model: 200 * value for model, value in score_models(results, losses.smape).items()}
    assert by_model == pytest.approx(ours(results, "smape"), rel=1e-9)


def test_twice_the_quantile_loss_of_utilsforecast_is_our_crps_on_the_same_quantiles(
    results: Results,
) -> None:
    from utilsforecast import losses

    frame = export.cross_validation(results, levels=LEVELS)
    for model, value in score_models(results, losses.mqloss, level=LEVELS).items():
        # Both series have as many origins, so the mean over all rows is that of the series' scores.
        columns = [f"{model}-lo-90", f"{model}-lo-80", f"{model}-hi-80", f"{model}-hi-90"]
        expected = metrics.crps_quantiles(
            frame["y"].to_numpy(), frame[columns].to_numpy(), QUANTILES
        )
        assert 2 * value == pytest.approx(expected, rel=1e-9)


def test_the_command_writes_the_frames_of_the_last_run(results: Results, tmp_path: Path) -> None:
    root = results.paths.root
    done = command(
        root,
        "export",
        "df",
        "--format",
        "parquet",
        "--levels",
        "80",
        "-o",
        str(tmp_path / "cv.parquet"),
    )
    assert done.returncode == 0, done.stderr
    forecasts = pd.read_parquet(tmp_path / "cv.parquet")
    pd.testing.assert_frame_equal(forecasts, export.cross_validation(results, levels=[80]))
    assert list(forecasts.columns[:7]) == [
        "unique_id",
        "ds",
        "cutoff",
        "y",
        "arx",
        "arx-lo-80",
        "arx-hi-80",
    ]
    text = command(root, "export", "df", "--models", "ridge").stdout.splitlines()
    assert text[0] == "unique_id,ds,cutoff,y,ridge" and len(text) == len(forecasts) + 1
    named_file = tmp_path / "named.parquet"
    assert command(root, "export", "df", "--models", "ridge", "-o", str(named_file)).returncode == 0
    assert pd.read_parquet(named_file).columns.tolist() == text[0].split(",")
    words = ["export", "df", "--models", "ridge", "--format", "csv", "-o", str(named_file)]
    assert command(root, *words).returncode == 0
    assert named_file.read_text().splitlines() == text
    wrong = command(root, "export", "df", "--models", "rige")
    assert wrong.returncode == 2 and "Did you mean 'ridge'?" in wrong.stderr


def test_the_observations_are_the_frame_that_went_in(results: Results) -> None:
    assert results.paths == ProjectPaths.of(results.paths.root)
    pd.testing.assert_frame_equal(export.observations(results), sales(), check_dtype=False)


DAYS = {
    "calendar": {"kind": "regular", "freq": "1D"},
    "horizon": 1,
    "lookback": 7,
    "season_length": 7,
}


def test_columns_may_be_called_as_a_melted_table_calls_its_own(tmp_path: Path) -> None:
    columns = {
        name: np.sin(np.arange(120.0) + i) for i, name in enumerate(("value", "temp", "output"))
    }
    frame_seen = pd.DataFrame(
        {"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=120), **columns}
    )
    targets = [{"column": "value"}, {"column": "temp"}]
    entry = {**DAYS, "target": targets, "past_exogenous": [{"column": "output"}]}
    results = trained(tmp_path, frame_seen, entry, {"naive": {"family": "naive"}}, BUDGET)
    observations = export.observations(results)
    assert list(observations.columns) == ["unique_id", "ds", "y", "output"]
    for name in ("value", "temp"):
        of_target = observations[observations["unique_id"] == f"a/{name}"]
        np.testing.assert_array_equal(of_target["y"], frame_seen[name])
        np.testing.assert_array_equal(of_target["output"], frame_seen["output"])


def test_an_input_that_is_called_as_the_target_is_exported_beside_it(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=120)
    frame_seen = pd.DataFrame({"unique_id": "a", "ds": days, "temp": np.sin(np.arange(120.0))})
    frame_seen["y"] = np.arange(120.0)
    entry = {**DAYS, "target": {"column": "temp"}, "past_exogenous": [{"column": "y"}]}
    results = trained(tmp_path, frame_seen, entry, {"naive": {"family": "naive"}}, BUDGET)
    observations = export.observations(results)
    assert list(observations.columns) == ["unique_id", "ds", "y", "input y"]
    np.testing.assert_array_equal(observations["y"], frame_seen["temp"])
    np.testing.assert_array_equal(observations["input y"], frame_seen["y"])
