"""Fitting: targets inside the train block, validation measured as a forecast is made, nothing later
looked at.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from forecast import models
from forecast.data.windows import target_windows
from forecast.forecaster import Budget, Forecaster, Problem, fit, fitting
from forecast.forecaster.fitting import build_training_series, closed_loop_error, window_error
from forecast.models.problem import (
    VALIDATION_FOLDS,
    describe_validation_sample,
    sample_validation_windows,
    validation_fold_starts,
)
from forecast.models.skip import Skip
from forecast.networks.heads.base import numpy_maths
from forecast.networks.losses import POINT_LOSSES
from tests.contract.families import in_scaled_units, random_weights
from tests.support import problems

H, LOOKBACK = problems.HORIZON, problems.LOOKBACK
NOTHING = Skip("none", H, 2)


def spec_of(family, **options):
    return models.spec({"family": family, **options}, where="test")


def test_a_training_target_is_what_the_network_adds_to_the_skip():
    shops = problems.shops()
    skip = shops.skip("linear", H)
    for (uid, blocks), series in zip(
        shops.blocks.items(), build_training_series(shops, skip).split(), strict=True
    ):
        rows = shops.rows(uid, "train")
        windows = next(shops.windows(uid, rows))
        expected = target_windows(shops.scaled(uid), rows, horizon=H, outputs=2) - skip.forecast(
            windows, shops.channels
        )
        known = np.isfinite(expected)
        np.testing.assert_allclose(series.target[rows][known], expected[known], atol=1e-6)
        np.testing.assert_array_equal(series.sample_weight[rows], known)
        assert len(series.past) == blocks.train[1] == len(series.future) - H


@pytest.mark.parametrize(("most", "times"), [(2**22, 1), (0, 2)])
def test_training_targets_are_made_once_for_all_seeds_unless_they_are_large(
    monkeypatch, most, times
):
    shops, made_for = problems.problem_of(problems.frame()), []
    monkeypatch.setattr(fitting, "MAX_CACHED_BYTES", most)
    monkeypatch.setattr(
        fitting,
        "build_training_series",
        lambda *given: made_for.append(1) or build_training_series(*given),
    )
    first, second = (
        fit(shops, spec_of("ffnn"), skip="last", seed=0, budget=Budget(2, 2)) for _ in range(2)
    )
    assert len(made_for) == times
    for name, weight in first.forecaster.weights.items():
        np.testing.assert_array_equal(weight, second.forecaster.weights[name])


def test_no_training_target_lies_outside_the_train_block():
    shops = problems.shops()
    for (_, blocks), series in zip(
        shops.blocks.items(), build_training_series(shops, NOTHING).split(), strict=True
    ):
        counted = np.flatnonzero(series.sample_weight.any(axis=(1, 2)))
        assert counted.min() >= LOOKBACK - 1
        assert counted.max() + H == blocks.train[1] - 1


def test_rows_after_the_train_block_are_in_no_training_series():
    long = problems.frame()
    plain = problems.problem_of(long)
    is_later = long["ds"] > plain.borders.train_end
    changed = problems.problem_of(
        long.assign(sales=long["sales"].mask(is_later, 1e6), wind=long["wind"].mask(is_later))
    )
    pairs = (build_training_series(p, NOTHING).split() for p in (plain, changed))
    for a, b in zip(*pairs, strict=True):
        for name in ("past", "future", "target", "sample_weight"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@cache
def with_other_later_rows():
    long = problems.frame()
    is_later = long["ds"] > problems.shops().borders.validation_end
    values = {
        c: long[c].mask(is_later, 3 * long[c] + 1) for c in ("sales", "price", "wind", "rain")
    }
    return problems.problem_of(long.assign(**values))


@pytest.mark.parametrize("family", ["ridge", "arx", "auto_ets", "theta", "tdnn", "narx"])
def test_calibration_and_test_rows_change_no_fitted_number(family):
    fitted = [
        fit(problem, spec_of(family), skip="linear", seed=0, budget=Budget(3, 3))
        for problem in (problems.shops(), with_other_later_rows())
    ]
    a, b = (f.forecaster for f in fitted)
    assert a.scaling.to_json() == b.scaling.to_json() and a.statistical == b.statistical
    for name, weight in a.weights.items():
        np.testing.assert_array_equal(weight, b.weights[name])
    if a.skip is not None:
        np.testing.assert_array_equal(a.skip.coefficients, b.skip.coefficients)
    assert fitted[0].validation_loss == pytest.approx(fitted[1].validation_loss, nan_ok=True)


LOSS_OF_ERROR = {
    "smooth_mae": np.abs,
    "mae": np.abs,
    "mse": np.square,
    "huber": lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5),
}


@pytest.mark.parametrize("loss", LOSS_OF_ERROR)
@pytest.mark.parametrize(
    ("family", "error_of"), [("lstm", window_error), ("narx", closed_loop_error)]
)
def test_the_validation_loss_is_the_error_of_the_forecasts_themselves(family, error_of, loss):
    shops = problems.shops()
    network = spec_of(family).network(shops.panel.task)
    skip, weights = shops.skip("linear", network.shapes.horizon), random_weights(network)
    arguments = (shops.panel.name, shops.panel.task, spec_of(family), shops.scaling)
    forecaster = Forecaster(*arguments, skip=skip, weights=weights)
    errors = []
    for uid in shops.blocks:
        rows = shops.rows(uid, "validation")
        y_hat = in_scaled_units(forecaster, uid, forecaster.predict(shops.panel, {uid: rows})[uid])
        errors.append(
            LOSS_OF_ERROR[loss](
                y_hat - target_windows(shops.scaled(uid), rows, horizon=H, outputs=2)
            ).ravel()
        )
    assert error_of(shops, network, skip, POINT_LOSSES[loss])(weights)[0] == pytest.approx(
        np.nanmean(np.concatenate(errors)), rel=1e-5
    )


@pytest.mark.parametrize(
    ("family", "loss"), [("narx", "mse"), *(("lstm", loss) for loss in LOSS_OF_ERROR)]
)
def test_a_network_is_trained_stopped_and_tuned_by_the_loss_that_its_entry_names(
    family, loss, monkeypatch
):
    """The gradient's loss, the curve, the best step and what a trial is ranked by are all its."""
    losses_asked = []
    row = POINT_LOSSES[loss]
    watched = replace(
        row,
        name=f"watched {loss}",  # a trace of its own, not one of another test
        of_error=lambda xp, error: losses_asked.append(error) or row.of_error(xp, error),
    )
    monkeypatch.setitem(POINT_LOSSES, loss, watched)
    shops = problems.shops()
    spec = spec_of(family, loss=loss, learning_rate=0.02)
    fitted = fit(shops, spec, skip="linear", seed=0, budget=Budget(8, 2))
    errors = [error for _, _, error in fitted.curve]
    assert losses_asked and len(errors) == 5
    assert fitted.validation_loss == min(errors)
    assert fitted.best_step == fitted.curve[int(np.argmin(errors))][0]
    losses = []
    for uid in shops.blocks:
        rows = shops.rows(uid, "validation")
        y = target_windows(shops.scaled(uid), rows, horizon=H, outputs=2)
        y_hat = fitted.forecaster.predict(shops.panel, {uid: rows})[uid]
        error = in_scaled_units(fitted.forecaster, uid, y_hat) - y
        losses.append(LOSS_OF_ERROR[loss](error).ravel())
    assert fitted.validation_loss == pytest.approx(np.nanmean(np.concatenate(losses)), rel=1e-4)


def test_the_default_loss_is_hubers_in_the_gradient_and_the_absolute_error_on_validation():
    default, error = POINT_LOSSES[spec_of("gru").loss], np.array([-3.0, 0.5])
    assert default.of_error(numpy_maths, error).tolist() == [2.5, 0.125]
    assert default.of_validation(error).tolist() == [3.0, 0.5]


@pytest.mark.parametrize("family", ["lstm", "narx"])
def test_weights_that_overflow_are_an_infinite_loss_and_no_warning(family):
    shops = problems.shops()
    network = spec_of(family).network(shops.panel.task)
    weights = {name: np.full_like(w, 1e38) for name, w in random_weights(network).items()}
    error_of = window_error if family == "lstm" else closed_loop_error
    skip = shops.skip("last", network.shapes.horizon)
    assert not np.isfinite(error_of(shops, network, skip, POINT_LOSSES["mae"])(weights)).any()


def test_statistical_models_are_fitted_once_per_series_and_output():
    fitted = fit(
        problems.shops(), spec_of("theta"), skip=None, seed=0, budget=Budget(0, 1)
    ).forecaster
    assert {uid: len(outputs) for uid, outputs in fitted.statistical.items()} == {
        "north": 2,
        "south": 2,
    }


def test_parameters_are_counted_where_something_was_fitted():
    shops = problems.shops()
    counts = {
        f: fit(shops, spec_of(f), skip=None, seed=0, budget=Budget(0, 1)).forecaster.n_params
        for f in ("naive", "ridge")
    }
    assert counts == {"naive": 0, "ridge": shops.skip("linear", H).coefficients.size}


@pytest.mark.parametrize("family", ["elman", "narx", "gru"])
def test_the_weights_of_a_stretch_do_not_know_its_targets(family, monkeypatch):
    """Of the middle one: its own keep every bit, the step of the whole block may go elsewhere and
    its loss does.
    """
    shops = problems.shops()
    begin, end = validation_fold_starts(shops)[2:4]
    spec = spec_of(family, **({"head": "quantiles"} if family == "gru" else {}))

    def trained():
        return fit(shops, spec, skip="last", seed=0, budget=Budget(6, 1))

    before, honest = trained(), Problem.targets

    def changed(self, uid, rows, *, horizon, purpose="training"):
        ds = self.panel.by_id[uid].ds[rows]
        is_inside = (ds >= begin) & (ds < end)
        return (
            honest(self, uid, rows, horizon=horizon, purpose=purpose)
            + 30.0 * is_inside[:, None, None]
        )

    monkeypatch.setattr(Problem, "targets", changed)
    after = trained()
    assert (
        after.steps_by_fold[2] == before.steps_by_fold[2]
        and len(after.forecasters_by_fold) == VALIDATION_FOLDS
    )
    for name, values in before.forecasters_by_fold[2].weights.items():
        np.testing.assert_array_equal(values, after.forecasters_by_fold[2].weights[name])
    assert after.validation_loss > before.validation_loss + 1


def test_a_training_looks_at_a_fixed_sample_of_series_and_origins_and_says_so(monkeypatch):
    shops = problems.shops()
    every, _ = sample_validation_windows(shops, H)
    total = sum(len(shops.rows(uid, "validation")) for uid in shops.blocks)
    assert len(every) == 1 and len(every[0][0]) == total  # both series go through a network at once
    monkeypatch.setattr("forecast.models.problem.MAX_VALIDATION_CUTOFFS", 7)
    (some, expected), (same_windows, _) = (
        sample_validation_windows(shops, H)[0][0],
        sample_validation_windows(shops, H)[0][0],
    )
    places = [
        np.flatnonzero((every[0][0].past == past).all(axis=(1, 2))).item() for past in some.past
    ]
    assert len(set(places)) == 7 and np.array_equal(some.past, same_windows.past)
    np.testing.assert_array_equal(every[0][1][places], expected)
    fitted = fit(shops, spec_of("elman"), skip="linear", seed=0, budget=Budget(1, 1))
    assert fitted.note == f"validation losses are of 7 of the {total} origins"


def test_the_windows_that_score_a_training_are_fewer_where_the_lookback_is_long(monkeypatch):
    shops = problems.shops()
    lookback = shops.panel.task.lookback
    monkeypatch.setattr("forecast.models.problem.MAX_VALIDATION_ROWS", 5 * lookback + 1)
    batches, counted = sample_validation_windows(shops, H)
    assert sum(len(windows) for windows, _ in batches) == counted.shape[1] == 5
    assert describe_validation_sample(shops).startswith("validation losses are of 5 of the ")
    monkeypatch.setattr("forecast.models.problem.MAX_VALIDATION_ROWS", lookback - 1)
    assert sample_validation_windows(shops, H)[1].shape[1] == 1
