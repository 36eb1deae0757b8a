"""The fixed weights of an unsupervised projection: those of scikit-learn, of the train rows, and left alone."""

import itertools

import numpy as np
import pytest

from forecast import models
from forecast.forecaster import Budget, network_of
from forecast.forecaster.fitting import training_series
from forecast.forecaster.principal import with_principal_axes
from forecast.forecaster.trainers import by_gradient
from forecast.models.skip import Skip
from forecast.networks.cells.weights import initialise
from tests.support import problems

AXES, MEAN = "projection/0/p/kernel", "projection/0/p/bias"


def spec_of(**options):
    return models.spec({"family": "projected", "units": 4, **options}, where="test")


def net(**options):
    return network_of(spec_of(**options), problems.task())


def train_rows(problem):
    return [one.past for one in training_series(problem, Skip("none", problems.HORIZON, 2))]


def test_the_projection_is_that_of_scikit_learn_up_to_the_sign_of_each_axis():
    from sklearn.decomposition import PCA

    network, rows = net(width=3), train_rows(problems.shops())
    w = with_principal_axes(network, initialise(network, 0), rows)
    joined = np.concatenate(rows).astype(float)
    found = joined @ w[AXES] + w[MEAN]
    expected = PCA(3).fit_transform(joined)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-3)


def test_axes_without_variance_are_zero():
    network = net(width=3)
    channels = network.shapes.channels
    line = np.outer(np.linspace(0, 1, 50), np.ones(channels)).astype(np.float32)
    w = with_principal_axes(network, initialise(network, 0), [line])
    assert w[AXES][:, 0] == pytest.approx(np.full(channels, channels**-0.5))
    assert not w[AXES][:, 1:].any()


@pytest.mark.parametrize(("projection", "moves"), [("pca", False), ("learnt", True)])
def test_training_moves_a_learnt_projection_and_leaves_principal_axes(projection, moves):
    shops, spec = problems.shops(), spec_of(projection=projection)
    network, falling = network_of(spec, shops.panel.task), itertools.count(1.0, -0.01)
    series = training_series(shops, Skip("none", problems.HORIZON, 2))
    trained = by_gradient(
        network, series, lambda _: next(falling), spec, seed=0,
        budget=Budget(4, 2), change_channels=(),
    )  # fmt: skip
    start = with_principal_axes(network, initialise(network, 0), [one.past for one in series])
    assert trained.best_step == 4
    assert (not np.array_equal(trained.weights[AXES], start[AXES])) == moves
    assert (not np.array_equal(trained.weights[MEAN], start[MEAN])) == moves


def test_the_axes_know_nothing_after_the_train_block():
    long = problems.frame()
    later = long["ds"] > problems.shops().borders.train_end
    other = problems.problem_of(long.assign(sales=long["sales"].mask(later, 1e6)))
    network = net()
    a, b = (with_principal_axes(network, initialise(network, 0), train_rows(p)) for p in (problems.shops(), other))
    np.testing.assert_array_equal(a[AXES], b[AXES])


def test_principal_axes_are_refused_by_levenberg_marquardt():
    with pytest.raises(Exception, match="projection: pca is trained by gradient"):
        spec_of(trainer="lm")
