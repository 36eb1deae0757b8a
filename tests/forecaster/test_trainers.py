"""`trainer: lm`: the families it suits, trained through the same door as by gradient."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from forecast import models
from forecast.forecaster import Budget, FitResult, Forecaster, fit
from forecast.forecaster.fitting import build_training_series
from forecast.forecaster.trainers import GradientOptions, set_principal_axes, train_by_gradient
from forecast.models.skip import Skip
from forecast.networks.weights import initialise
from forecast.system.errors import ModelError
from forecast.training import gradient
from tests.contract.families import scored_rows
from tests.support import problems

NO_STEPS = Budget(steps=1, evaluate_every=1)
SMALL = {"units": 2, "future_units": 1}
QUICK = {"iterations": 3, "restarts": 1}
SUITED = {
    "narx": {"target_lags": 2, "input_lags": 1},
    "jordan": {},
    "elman": {},
    "ffnn": {},
    "tdnn": {"layers": 1},
}


def fitted(family, skip="linear", lm=None, **options):
    entry = {"family": family, "trainer": "lm", **SMALL, **options, "lm": {**QUICK, **(lm or {})}}
    spec = models.spec(entry, where="test")
    return fit(problems.shops(), spec, skip=skip, seed=0, budget=NO_STEPS)


@pytest.mark.parametrize("family", SUITED)
def test_a_family_is_trained_saved_and_forecasts(family, tmp_path):
    fit_result = fitted(family, **SUITED[family])
    assert [step for step, *_ in fit_result.curve] == [0, 1, 2, 3, 4]
    assert fit_result.validation_loss == min(error for _, _, error in fit_result.curve)
    fit_result.forecaster.save(tmp_path / "seed")
    rows = scored_rows()
    for uid, values in (
        Forecaster.load(tmp_path / "seed").predict(problems.shops().panel, rows).items()
    ):
        assert np.isfinite(values).all() and values.shape == (len(rows[uid]), problems.HORIZON, 2)


def test_each_iteration_lowers_the_training_error_and_equal_seeds_are_equal_bits():
    once, same_fit = (fitted("narx", skip="last", **SUITED["narx"]) for _ in range(2))
    errors = [train for _, train, _ in once.curve[1:]]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.9 * errors[0]
    for name, weight in once.forecaster.weights.items():
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight, same_fit.forecaster.weights[name])


def test_a_net_too_large_is_a_failed_row_with_the_limit_and_the_estimate():
    with pytest.raises(
        ModelError,
        match=r"at most 2000 weights; this one has \d+ and would take about \d+ MB",
    ):
        fitted("tdnn", units=60)


def test_bayesian_regularisation_is_an_option():
    plain, bayesian = (
        fitted("ffnn", skip="last", lm={"bayesian": flag, "iterations": 8})
        for flag in (False, True)
    )
    assert plain.curve[-1] != bayesian.curve[-1]


OPTIONS = {
    "momentum": ("narx", {"rule": "momentum", "schedule": "linear"}),
    "adam": ("encoder_decoder", {"rule": "adam", "schedule": "exponential"}),
    "penalised": ("ffnn", {"l2": 0.1, "rule": "sgd", "schedule": "constant"}),
}


@cache
def plainly_trained(family: str) -> FitResult:
    return trained_with(family, {})


def trained_with(family: str, training: dict) -> FitResult:
    return fit(
        problems.shops(),
        models.spec({"family": family, "units": 3, "training": training}, where="test"),
        skip="linear",
        seed=0,
        budget=Budget(steps=4, evaluate_every=2),
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_training_options_reach_the_network_and_change_what_it_learns(name):
    family, training = OPTIONS[name]
    plain, changed = plainly_trained(family), trained_with(family, training)
    assert np.isfinite([error for _, _, error in changed.curve]).all() and len(changed.curve) == 3
    assert changed.curve[0][2] == plain.curve[0][2] and changed.curve[-1][2] != plain.curve[-1][2]


AXES, MEAN = "projection/0/p/kernel", "projection/0/p/bias"


def spec_of(**options):
    return models.spec({"family": "projected", "units": 4, **options}, where="test")


def net(**options):
    return spec_of(**options).network(problems.task())


def train_rows(problem):
    series = build_training_series(problem, Skip("none", problems.HORIZON, 2))
    return [part.past for part in series.split()]


def test_the_projection_is_that_of_scikit_learn_up_to_the_sign_of_each_axis():
    from sklearn.decomposition import PCA

    network, rows = net(width=3), train_rows(problems.shops())
    w = set_principal_axes(network, initialise(network, 0), rows)
    joined = np.concatenate(rows).astype(float)
    projected = joined @ w[AXES] + w[MEAN]
    expected = PCA(3).fit_transform(joined)
    signs = np.sign((projected * expected).sum(axis=0))
    np.testing.assert_allclose(projected, expected * signs, atol=1e-3)


def test_axes_without_variance_are_zero():
    network = net(width=3)
    channels = network.shapes.channels
    line = np.outer(np.linspace(0, 1, 50), np.ones(channels)).astype(np.float32)
    w = set_principal_axes(network, initialise(network, 0), [line])
    assert w[AXES][:, 0] == pytest.approx(np.full(channels, channels**-0.5))
    assert not w[AXES][:, 1:].any()


@pytest.mark.parametrize(("projection", "moves"), [("pca", False), ("learnt", True)])
def test_training_moves_a_learnt_projection_and_leaves_principal_axes(projection, moves):
    shops, spec = problems.shops(), spec_of(projection=projection)
    network, falling = spec.network(shops.panel.task), itertools.count(1.0, -0.01)
    series = build_training_series(shops, Skip("none", problems.HORIZON, 2))
    start = set_principal_axes(
        network, initialise(network, 0), [part.past for part in series.split()]
    )
    trained = train_by_gradient(
        network,
        series,
        lambda _: np.array([next(falling)]),
        spec,
        GradientOptions(seed=0, budget=Budget(4, 2), change_channels=()),
    )
    assert trained.best_step == 4
    assert (not np.array_equal(trained.weights[AXES], start[AXES])) == moves
    assert (not np.array_equal(trained.weights[MEAN], start[MEAN])) == moves


def test_a_training_reads_the_targets_where_they_lie(monkeypatch):
    """No copy of them: of thousands of series they are most of the memory."""
    filled = []
    fill = gradient._BatchData.fill
    monkeypatch.setattr(
        gradient._BatchData, "fill", lambda data, chunks: (filled.append(data), fill(data, chunks))
    )
    shops, spec = problems.shops(), spec_of()
    series = build_training_series(shops, Skip("none", problems.HORIZON, 2))
    targets_read = []

    def validate(_):
        series.target[0] = len(targets_read)
        targets_read.append(float(filled[0].variables["target"][0, 0, 0]))
        return np.zeros(1)

    options = GradientOptions(seed=0, budget=Budget(2, 1), change_channels=())
    train_by_gradient(spec.network(shops.panel.task), series, validate, spec, options)
    assert targets_read == [0, 1, 2]


def test_the_axes_know_nothing_after_the_train_block():
    long = problems.frame()
    is_later = long["ds"] > problems.shops().borders.train_end
    other = problems.problem_of(long.assign(sales=long["sales"].mask(is_later, 1e6)))
    network = net()
    a, b = (
        set_principal_axes(network, initialise(network, 0), train_rows(p))
        for p in (problems.shops(), other)
    )
    np.testing.assert_array_equal(a[AXES], b[AXES])


def test_principal_axes_are_refused_by_levenberg_marquardt():
    with pytest.raises(Exception, match="projection: pca is trained by gradient"):
        spec_of(trainer="lm")
