"""Records that no free run follows: for how many steps they can be simulated, and what their free
run still tells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import lfilter

from forecast.identification import (
    Experiment,
    Model,
    TrainingRecord,
    narnet,
    narxnet,
    random_steps,
    train,
)
from forecast.identification.chaos import (
    NO_SIMULATION,
    count_simulated_steps,
    describe_lost_simulation,
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
    assert count_simulated_steps(model_of(0.8, e), e) == (0, False)
    y = np.zeros(4_000)
    noise = np.random.default_rng(1).normal(size=4_000)
    for t in range(1, 4_000):
        y[t] = 0.97 * y[t - 1] + noise[t]
    slow = Experiment(None, y)
    steps, is_cut = count_simulated_steps(model_of(0.97, slow), slow)
    assert steps in (3, 4, 5) and not is_cut
    note = describe_lost_simulation(model_of(0.97, slow), [slow])
    assert f"simulated for {steps} steps from" in note


def test_a_count_that_the_rows_cut_off_is_said_to_be_at_least_that() -> None:
    """A quarter of the 8 rows behind the first are 2 steps, too few for a walk to be lost."""
    e = walk(0)
    short = Experiment(None, e.y[:9])
    model = model_of(1.0, Experiment(None, 10 * e.y))
    assert count_simulated_steps(model, short) == (2, True)
    assert "for at least 2 steps" in describe_lost_simulation(model, [short])


def test_the_note_on_a_lost_simulation_advises_a_comparison_and_promises_nothing() -> None:
    """Of a series without inputs `identify` forecasts as well as `train` with `for_use` does."""
    note = describe_lost_simulation(model_of(0.8, walk(0)), [walk(0)])
    assert "compare `train` with `for_use`" in note and "better" not in note


def driven(seed: int) -> Experiment:
    """A slow answer to u, under noise on y that one-step training takes for the system's."""
    rng = np.random.default_rng(seed)
    u = random_steps(400, -1.0, 1.0, hold=10, seed=seed)
    return Experiment(u, lfilter([0.05], [1.0, -0.95], u) + 0.4 * rng.normal(size=400))


def test_a_net_trained_one_step_ahead_on_noisy_y_alone_is_sent_on() -> None:
    e = driven(0)
    model = train(narxnet((1,), (1,), 3), e, iterations=20, for_use="prediction")
    note = describe_lost_simulation(model, [e])
    assert "trained one step ahead" in note and "`train_parallel`" in note and "`identify`" in note
    parallel = replace(model, training=TrainingRecord(loop="parallel"))
    note = describe_lost_simulation(parallel, [e])
    assert "disturbances that nobody measured" in note and "one step" not in note


def test_a_record_that_begins_with_a_gap_has_its_steps_counted_after_it() -> None:
    e = walk(0, rows=300)
    gapped = e.with_arrays(y=np.where(np.arange(300)[:, None] < 20, np.nan, e.y))
    assert "simulated for" in describe_lost_simulation(model_of(0.8, e), [gapped])
