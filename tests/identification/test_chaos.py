"""Records that no free run follows: for how many steps they can be simulated, and what their free
run still tells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecast.identification import Experiment, Model, narnet
from forecast.identification.automatic import _put_first_by_distribution
from forecast.identification.chaos import (
    NO_SIMULATION,
    count_simulated_steps,
    describe_lost_simulation,
    distribution_distance,
)
from forecast.identification.experiment import Standardization


def walk(seed: int, rows: int = 4_000) -> Experiment:
    """y[t] = .8 y[t-1] + noise: the error of a free run grows step by step."""
    noise = np.random.default_rng(seed).normal(size=rows)
    y = np.zeros(rows)
    for t in range(1, rows):
        y[t] = 0.8 * y[t - 1] + noise[t]
    return Experiment(None, y)


def model_of(gain: float, e: Experiment) -> Model:
    weights = {"readout/kernel": np.array([[gain]]), "readout/bias": np.zeros(1)}
    scaling = Standardization.fit([e])
    y_range = np.stack([e.y.min(axis=0), e.y.max(axis=0)])
    return Model(narnet((1,), (), linear=False), weights, scaling, y_range=y_range)


def test_the_steps_for_which_a_record_can_be_simulated_are_counted() -> None:
    """The error over k steps is (1 - .8^2k)^(1/2) deviations: .6 at one step, so none hold; of a
    slower one, .97, sqrt(1 - .97^2k) < .5 up to k = 4.
    """
    e = walk(0)
    assert NO_SIMULATION == 0.5
    assert count_simulated_steps(model_of(0.8, e), e) == 0
    y = np.zeros(4_000)
    noise = np.random.default_rng(1).normal(size=4_000)
    for t in range(1, 4_000):
        y[t] = 0.97 * y[t - 1] + noise[t]
    slow = Experiment(None, y)
    steps = count_simulated_steps(model_of(0.97, slow), slow)
    assert steps in (3, 4, 5)
    assert f"simulated for {steps} steps from" in describe_lost_simulation(
        model_of(0.97, slow), [slow]
    )


def test_of_nets_alike_one_step_ahead_the_one_that_keeps_the_distribution_comes_first() -> None:
    """One swings for ever as the record does, the other dies away."""
    t = np.arange(400)
    e = Experiment(None, np.sin(0.3 * t))
    scaling = Standardization.fit([e])
    models = []
    for damping in (0.99, 1.0):
        kernel = np.array([[2 * damping * np.cos(0.3)], [-(damping**2)]])
        weights = {"readout/kernel": kernel, "readout/bias": np.zeros(1)}
        net = narnet((1, 2), (), linear=False)
        models.append(Model(net, weights, scaling, y_range=np.array([[-1.0], [1.0]])))
    dying, lasting = models
    assert distribution_distance(lasting, [e]) < 0.05 < distribution_distance(dying, [e])
    noisy = e.with_arrays(y=e.y + 0.5 * np.random.default_rng(0).normal(size=e.y.shape))
    ordered = _put_first_by_distribution(Model.average(dying, lasting), [noisy])
    first = ordered.members[0].weights["readout/kernel"]
    np.testing.assert_array_equal(first, lasting.weights["readout/kernel"])
    wild = replace(dying, weights={**dying.weights, "readout/kernel": np.array([[2.0], [0.0]])})
    assert distribution_distance(wild, [e]) == np.inf
