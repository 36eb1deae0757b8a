"""What a network can learn without a skip, against the best linear forecast of the same law."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.networks.description import Dense, Recurrent, Taps
from forecast.training import gradient
from forecast.training.chunks import join_series
from tests.training import series

NETWORKS = {
    "taps": (Taps("taps", (0, 1)), Dense("hidden", 12)),
    "elman": (Recurrent("layer", "elman", 12),),
    "simple recurrent": (Recurrent("layer", "simple_rnn", 12),),
    "lstm": (Recurrent("layer", "lstm", 12),),
    "gru": (Recurrent("layer", "gru", 12),),
}
EVERY = pytest.mark.parametrize("blocks", NETWORKS.values(), ids=NETWORKS)
BUDGET = series.settings(steps=300, learning_rate=0.02, batch_size=16, evaluate_every=50)


def trained_error(blocks, train, test, horizon=1):
    network = series.network_of(*blocks, horizon=horizon)
    chunks = join_series(
        [series.training_series(y, horizon) for y in train], n_supervised=20, burn_in=15
    )
    validate = series.error_on(network, test)
    return gradient.fit(network, chunks, validate, BUDGET, seed=0).validation_loss


def ar2_oracle(test):
    """The mean absolute error of knowing the law: that of its noise."""
    return float(np.abs(test[2:] - 1.6 * test[1:-1] + 0.8 * test[:-2])[28:].mean())


@EVERY
def test_a_second_order_law_is_learnt_to_within_15_percent_of_knowing_it(blocks):
    test = series.ar2(400, 9)
    assert trained_error(blocks, [series.ar2(600, 0)], test) < 1.15 * ar2_oracle(test)


def test_without_memory_a_second_order_law_cannot_be_learnt():
    test = series.ar2(400, 9)
    error = trained_error((Dense("hidden", 12),), [series.ar2(600, 0)], test)
    assert error > 1.5 * ar2_oracle(test)


@EVERY
def test_a_sine_is_continued_over_several_steps(blocks):
    """Two values tell where on the wave one is; repeating the last value errs by 0.46 over these
    five steps.
    """
    train = [series.sine(200, phase) for phase in (0.0, 1.0)]
    assert trained_error(blocks, train, series.sine(150, 0.5), horizon=5) < 0.05
