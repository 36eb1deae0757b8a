"""Each head learns a law that only it can tell: changing noise, a fat tail, a process of bins, a
predictable sign.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from forecast.networks import inference
from forecast.networks.description import Dense, Network, Shapes, Taps
from forecast.networks.heads import FittedHead, Head
from forecast.networks.heads.densities import Gaussian, StudentT
from forecast.networks.heads.piecewise import Bins, Quantiles
from forecast.networks.heads.updown import UpDown
from forecast.training import gradient
from forecast.training.chunks import TrainingSeries, join_series
from tests.training import series

STEPS = 3000


def learnt(
    head: Head, signal: np.ndarray, y: np.ndarray, steps: int = 400
) -> tuple[FittedHead, np.ndarray]:
    """The head trained on y[t + 1] given signal[t] with no skip, and its raw parameters at every
    row.
    """
    ahead = np.append(y[1:], 0.0)[:, None, None]
    known = np.arange(len(y)) < len(y) - 1
    residual = np.where(known[:, None, None], ahead, np.nan)
    lead = np.zeros_like(residual)
    fitted = FittedHead(head, head.fit(residual[known], lead[known]))
    target = fitted.target(residual, lead)
    offset = fitted.offset(lead)
    training = TrainingSeries(
        past=signal[:, None].astype(np.float32),
        future=np.zeros((len(y) + 1, 0), np.float32),
        target=np.nan_to_num(target).astype(np.float32),
        sample_weight=np.isfinite(target).astype(np.float32),
        offset=None if offset is None else offset.astype(np.float32),
    )
    network = Network(
        (Taps("now", (0,)), Dense("hidden", 8)), Shapes(1, 0, 1, 1, 30, parameters=head.parameters)
    )
    settings = series.settings(
        steps=steps, learning_rate=0.02, batch_size=16, evaluate_every=steps, loss=fitted
    )
    last: list[dict[str, np.ndarray]] = []

    def validate(weights: dict[str, np.ndarray]) -> np.ndarray:
        last.append(weights)
        return np.array([-float(len(last))])

    chunks = join_series([training], n_supervised=32, burn_in=0)
    trained = gradient.fit(network, chunks, validate, settings, seed=0)
    return fitted, inference.forward(network, trained.weights, signal[None, :, None])[0].astype(
        float
    )


@pytest.fixture(scope="module")
def loud_and_quiet():
    """Noise that is five times as loud after a high signal; `scale[t]` is that of y[t + 1]."""
    rng = np.random.default_rng(0)
    signal = rng.choice([-1.0, 1.0], STEPS)
    scale = np.where(signal > 0, 1.0, 0.2)
    return signal, scale, np.append(0.0, 0.5 * signal + scale * rng.standard_normal(STEPS))[:STEPS]


def test_a_gaussian_finds_the_noise_that_changes(loud_and_quiet):
    signal, scale, y = loud_and_quiet
    head, raw = learnt(Gaussian(), signal, y)
    distribution = head.distribution(raw, np.zeros(raw.shape[:-1]))
    for s in (-1, 1):
        is_here = signal == s
        assert distribution.std()[is_here].mean() == pytest.approx(scale[is_here].mean(), rel=0.1)
        assert distribution.mean()[is_here].mean() == pytest.approx(0.5 * s, abs=0.08)


def test_quantiles_find_it_too(loud_and_quiet):
    signal, scale, y = loud_and_quiet
    head, raw = learnt(Quantiles(), signal, y, steps=600)
    knots = head.distribution(raw, np.zeros(raw.shape[:-1])).knots[:, 0, 0]
    for s in (-1, 1):
        expected = stats.norm(0.5 * s, scale[signal == s][0]).ppf(Quantiles().probabilities)
        np.testing.assert_allclose(
            knots[signal == s].mean(axis=0), expected, atol=0.15 * scale[signal == s][0] + 0.05
        )


def test_a_student_t_tells_fat_tails_from_thin_ones():
    rng = np.random.default_rng(1)
    signal = rng.choice([-1.0, 1.0], STEPS)
    noise = np.where(signal > 0, rng.standard_t(3, STEPS), rng.standard_normal(STEPS))
    head, raw = learnt(StudentT(), signal, np.append(0.0, noise)[:STEPS], steps=600)
    distribution = head.distribution(raw, np.zeros(raw.shape[:-1]))
    fat, thin = (float(distribution.args[0][signal == s].mean()) for s in (1, -1))
    assert 2.1 < fat < 5 and thin > 2 * fat


def test_bins_find_a_density_with_two_peaks_where_there_is_one():
    """After a high signal y is near -1 or +1, never between; after a low one it is near 0."""
    rng = np.random.default_rng(2)
    signal = rng.choice([-1.0, 1.0], STEPS)
    noise = 0.1 * rng.standard_normal(STEPS)
    peaks = np.where(rng.random(STEPS) < 0.7, 1.0, -1.0)
    y = np.append(0.0, np.where(signal > 0, peaks, 0.0) + noise)[:STEPS]
    head, raw = learnt(Bins(count=24), signal, y)
    distribution = head.distribution(raw, np.zeros(raw.shape[:-1]))

    def mass(low, high, s):
        ends = [distribution.cdf(np.full(raw.shape[:-1], x)) for x in (low, high)]
        return float((ends[1] - ends[0])[signal == s].mean())

    assert mass(0.5, 1.5, 1) == pytest.approx(0.7, abs=0.04)
    assert mass(-1.5, -0.5, 1) == pytest.approx(0.3, abs=0.04)
    assert mass(-0.5, 0.5, 1) < 0.05 < 0.9 < mass(-0.5, 0.5, -1)


def test_up_and_down_learns_a_sign_that_can_be_known_and_how_sure_it_may_be():
    rng = np.random.default_rng(3)
    signal = rng.choice([-1.0, 1.0], STEPS)
    rises = rng.random(STEPS) < np.where(signal > 0, 0.9, 0.3)
    y = np.append(0.0, np.where(rises, 1.0, -1.0))[:STEPS]
    head, raw = learnt(UpDown(), signal, y)
    nothing = np.zeros(raw.shape[:-1])
    up = head.head.rise_probability(raw, nothing, nothing, head.constants)
    assert float(up[signal > 0].mean()) == pytest.approx(0.9, abs=0.04)
    assert float(up[signal < 0].mean()) == pytest.approx(0.3, abs=0.04)


def test_missing_targets_teach_a_head_nothing(loud_and_quiet):
    _, _, y = loud_and_quiet
    plain = series.training_series(y[:200])
    plain.sample_weight[50:60] = 0
    head = FittedHead(Gaussian(), Gaussian().fit(y[:, None, None], np.zeros((STEPS, 1, 1))))
    network = Network((Taps("now", (0,)), Dense("hidden", 3)), Shapes(1, 0, 1, 1, 30, parameters=2))
    ends = []
    for garbage in (0.0, 1e30):
        with_garbage = replace(
            plain,
            target=np.where(plain.sample_weight > 0, plain.target, garbage).astype(np.float32),
        )
        chunks = join_series([with_garbage], n_supervised=16, burn_in=0)
        trained = gradient.fit(
            network,
            chunks,
            lambda w: np.ones(1),
            series.settings(loss=head, evaluate_every=6),
            seed=0,
        )
        ends.append(trained.curve[-1][1])
    assert ends[0] == ends[1] and np.isfinite(ends[0])
