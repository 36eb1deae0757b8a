"""Means of a transformed target: what a log makes a median is undone into a mean where asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.config.datasets import Column
from forecast.config.reading import validate_config
from forecast.forecaster.reconciliation import learn_smearing, smear, smear_forecasts
from forecast.system.errors import InputError
from tests.support.example_data import dataset

SIGMA = 0.6
MEAN_OVER_MEDIAN = np.exp(SIGMA**2 / 2)


def lognormal(rows: int = 700) -> pd.DataFrame:
    """A level of 100 with lognormal noise: the median is 100, the mean 119.7."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2022-01-01", periods=rows, freq="D")
    return pd.DataFrame({"ds": days, "y": 100 * np.exp(SIGMA * rng.standard_normal(rows))})


def column(transform: str, **limits: float) -> Column:
    entry = {"column": "y", "transform": transform, "point": "mean", **limits}
    return validate_config(Column, entry, where="test")


@pytest.mark.parametrize(
    ("transform", "inverse"),
    [("log", np.exp), ("log1p", np.expm1), ("logit", lambda z: 1 / (1 + np.exp(-z)))],
)
def test_the_mean_is_that_of_the_forecast_with_each_error(transform: str, inverse) -> None:
    errors = np.array([-1.0, 0.0, 0.5])
    units = np.array([-0.5, 0.7])
    expected = [np.mean(inverse(unit + errors)) for unit in units]
    means = smear(inverse(units), errors, column(transform).task)
    np.testing.assert_allclose(means, expected)


def test_a_mean_keeps_to_the_bounds_of_its_target() -> None:
    means = smear(np.array([90.0]), np.array([0.0, 1.0]), column("log", maximum=100).task)
    assert means.tolist() == [100.0]


def test_the_forecast_of_lognormal_noise_is_its_median_or_its_mean_as_asked(tmp_path: Path) -> None:
    spans = {"freq": "1D", "horizon": 3, "lookback": 7, "season_length": 1}
    means = {}
    for point in ("median", "mean"):
        model = forecast.fit(
            lognormal(), "ridge", transform="log", point=point, calendar_features=(), **spans
        )
        means[point] = model.predict()["ridge"].to_numpy()
        windows = model.cross_validation(n_windows=60)
        means[f"{point} windows"] = windows["ridge"].mean()
        model.save(tmp_path / point)
        loaded = forecast.load(tmp_path / point).predict(lognormal())["ridge"]
        np.testing.assert_array_equal(loaded, means[point])
    assert means["median windows"] == pytest.approx(100, rel=0.1)
    assert means["mean windows"] == pytest.approx(100 * MEAN_OVER_MEDIAN, rel=0.1)
    ratio = means["mean"] / means["median"]
    np.testing.assert_allclose(ratio, MEAN_OVER_MEDIAN, rtol=0.1)


@pytest.mark.parametrize("transform", ["none", "diff"])
def test_without_a_transform_a_mean_is_no_matter_of_the_target(transform: str) -> None:
    with pytest.raises(InputError, match="`point: mean` is of a target with a transform"):
        forecast.fit(lognormal(), "ridge", freq="1D", horizon=3, transform=transform, point="mean")


def test_series_are_numbered_alike_where_a_block_lacks_one() -> None:
    target = {"column": "y", "transform": "log", "point": "mean"}
    task = dataset(target=[target], horizon=1).task
    rows = [
        ("b", "validation", 100.0, 200.0),
        ("c", "validation", 100.0, 200.0),
        ("d", "validation", 100.0, 50.0),
        ("a", "test", 100.0, 100.0),
        ("b", "test", 100.0, 100.0),
        ("d", "test", 100.0, 100.0),
    ]
    table = pd.DataFrame(rows, columns=["unique_id", "block", "y_hat", "y"])
    table = table.assign(step=1, output="y")
    smearing = learn_smearing(table, task, ["a", "b", "c", "d"])
    means = smear_forecasts(table, smearing, task, ["a", "b", "c", "d"]).set_index("unique_id")
    np.testing.assert_allclose(means.loc[["b", "d"], "y_hat"].iloc[[1, 3]], [200.0, 50.0])
    of_all = np.quantile(np.log([2.0, 2.0, 0.5]), (np.arange(100) + 0.5) / 100)
    np.testing.assert_allclose(means.loc["a", "y_hat"], 100 * np.exp(of_all).mean())


@pytest.mark.parametrize(("n_origins", "means"), [(1, [101.0, 101.0]), (19, [100.0, 102.0])])
def test_few_errors_of_a_step_are_joined_by_those_of_all_steps(n_origins: int, means: list) -> None:
    target = {"column": "y", "transform": "log1p", "point": "mean"}
    task = dataset(target=[target], horizon=2).task
    errors = np.log1p([100.0, 102.0]) - np.log1p(100)
    table = pd.DataFrame({"step": [1, 2] * n_origins, "y": [100.0, 102.0] * n_origins})
    table = table.assign(unique_id="a", output="y", block="validation", y_hat=100.0)
    smearing = learn_smearing(table, task, ["a"])[0, :, 0]
    each = [smear(np.array([100.0]), of_step, task.target[0])[0] for of_step in smearing]
    np.testing.assert_allclose(each, means, atol=0.01)
    assert smearing.min() >= 0 and smearing.max() <= errors.max() + 1e-12
