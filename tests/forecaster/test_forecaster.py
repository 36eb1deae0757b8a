"""The one object for backtest and service: what it refuses, and what it says then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.forecaster import Budget, Forecaster, fit
from forecast.forecaster.ensemble import Ensemble
from forecast.forecaster.forecaster import SINGLE_ARRAYS
from forecast.models import spec
from forecast.models.base import BaselineSpec
from forecast.system import files
from forecast.system.errors import InputError
from tests.contract.families import forecaster
from tests.support import problems


@pytest.fixture
def saved(tmp_path):
    forecaster("lstm", "linear").save(tmp_path / "model")
    return tmp_path / "model"


def edited(folder, **changes):
    files.write_json(folder / "spec.json", {**files.read_json(folder / "spec.json"), **changes})
    return folder


def test_a_saved_model_is_text_and_plain_arrays(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "scaling.json",
        "skip.npz",
        "spec.json",
        "weights.npz",
    ]
    with np.load(saved / "weights.npz", allow_pickle=False) as arrays:
        assert "lstm_0/kernel" in arrays.files


def test_a_model_saved_over_another_has_nothing_of_it(saved):
    model = forecaster("lstm", "linear")
    arrays = {name: np.zeros((2, 2)) for name in SINGLE_ARRAYS}
    replace(model, **arrays).save(saved)
    assert Forecaster.load(saved).reconciliation is not None
    model.save(saved)
    loaded = Forecaster.load(saved)
    assert [name for name in SINGLE_ARRAYS if getattr(loaded, name) is not None] == []


def test_another_schema_is_refused(saved):
    # 7: before the linear map read the calendar of the first step alone
    # 8: before levels were means of seasons
    for schema in (7, 8, 99):
        with pytest.raises(
            InputError, match=rf"saved with schema {schema}, this version reads 9\. Train it again"
        ):
            Forecaster.load(edited(saved, schema=schema))


def test_a_family_that_this_version_does_not_have_any_more_is_told_with_what_to_do(saved):
    spec = {**files.read_json(saved / "spec.json")["spec"], "family": "ces"}
    pattern = (
        r"unknown family 'ces'\. It is of another version: train again \(`forecast run`\), or"
        r" promote another\.$"
    )
    with pytest.raises(InputError, match=pattern):
        Forecaster.load(edited(saved, spec=spec))


def test_an_option_this_version_does_not_know_is_named(saved):
    spec = {**files.read_json(saved / "spec.json")["spec"], "unitz": 3}
    with pytest.raises(
        InputError, match=r"spec.json: spec: unknown key 'unitz'\. Did you mean 'units'\?"
    ):
        Forecaster.load(edited(saved, spec=spec))


def test_a_series_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        InputError, match=r"No series 'east' in dataset 'shops'; it has 'north', 'south'"
    ):
        forecaster("naive", None).predict(problems.shops().panel, {"east": np.array([20])})


def test_no_rows_are_no_forecasts():
    y_hats = forecaster("lstm", "last").predict(
        problems.shops().panel, {"south": np.array([], dtype=int)}
    )
    assert y_hats["south"].shape == (0, problems.HORIZON, 2)


def test_naive_repeats_the_last_observed_value_in_its_own_unit():
    panel = problems.copied(problems.shops().panel)
    panel.by_id["north"].values[-2:, 0] = [41.5, np.nan]
    latest = problems.latest(forecaster("naive", None), panel)["north"]
    np.testing.assert_allclose(latest[:, 0], 41.5)
    np.testing.assert_allclose(latest[:, 1], panel.by_id["north"].values[-1, 1])


def test_drift_draws_the_line_through_the_first_and_the_last_observed_value():
    panel = problems.copied(problems.shops().panel)
    values = panel.by_id["north"].values
    values[-10:, 0] = [np.nan, 10, *[np.nan] * 7, 26]  # eight steps, two each
    latest = problems.latest(forecaster("drift", None), panel)["north"]
    np.testing.assert_allclose(latest[:, 0], [28, 30, 32])


@pytest.mark.parametrize(("value", "repeated"), [("mean", 1.5), ("median", 0.0)])
def test_naive_repeats_the_mean_or_the_median_of_the_lookback(value, repeated):
    problem = problems.shops()
    panel = problems.copied(problem.panel)
    lookback = panel.task.lookback
    sold = np.arange(lookback) % 4 == 3
    panel.by_id["north"].values[-lookback:, 0] = np.where(sold, 1.5 * lookback / sold.sum(), 0.0)
    model = fit(
        problem,
        spec({"family": "naive", "value": value}, where="test"),
        skip=None,
        seed=0,
        budget=Budget(1, 1),
    ).forecaster
    np.testing.assert_allclose(problems.latest(model, panel)["north"][:, 0], repeated, atol=1e-9)


def test_seasonal_naive_repeats_the_last_season():
    panel = problems.copied(problems.shops().panel)
    panel.by_id["north"].values[-4:, 0] = [1, 2, 3, 4]
    assert problems.SEASON == 4
    np.testing.assert_allclose(
        problems.latest(forecaster("seasonal_naive", None), panel)["north"][:, 0], [1, 2, 3]
    )


def test_baselines_need_no_skip_and_no_weights():
    model = forecaster("naive", None)
    assert (
        isinstance(model.spec, BaselineSpec)
        and model.skip is None
        and not model.weights
        and model.network is None
    )


def test_a_request_of_seeds_and_other_members_is_the_mean_of_each_alone():
    lstm = forecaster("lstm", "linear")
    seed = replace(lstm, weights={name: -array for name, array in lstm.weights.items()})
    linear = forecaster("window_linear", None)
    panel = problems.shops().panel
    newest = {series.unique_id: np.array([len(series) - 1]) for series in panel.series}
    alone = [member.predict(panel, newest) for member in (lstm, seed, linear)]
    together = Ensemble((lstm, seed, linear)).predict(panel, newest)
    for uid in newest:
        expected = np.mean([each[uid] for each in alone], axis=0)
        np.testing.assert_allclose(together[uid], expected, rtol=1e-12)
    assert not np.allclose(alone[0]["north"], alone[1]["north"])
