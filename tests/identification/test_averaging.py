"""Long records that move slowly: over how many rows they are averaged, and what models become."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.identification import Experiment, identify
from forecast.identification.averaging import (
    average_rows,
    count_rows_per_mean,
    spread_over_rows,
)
from forecast.identification.member import Member
from forecast.identification.narx import Narx
from forecast.identification.search_settings import Candidate, SearchSettings
from forecast.identification.states import with_states

START = 5


def steps(rows: int, hold: int, seed: int) -> np.ndarray:
    levels = np.random.default_rng(seed).uniform(-1.0, 1.0, rows // hold + 1)
    return np.repeat(levels, hold)[:rows]


def slow(u: np.ndarray, fast: float = 0.0) -> np.ndarray:
    """Two lags of 60 and 400 rows behind a bent gain, and a share that answers at once."""
    first = second = 0.0
    y = np.empty(len(u))
    for row, now in enumerate(u):
        first += (now - first) / 60
        second += (np.tanh(2 * first) - second) / 400
        y[row] = second + fast * now
    return y


def record(rows: int = 10_000, noise: float = 0.02, fast: float = 0.0, seed: int = 0) -> Experiment:
    u = steps(rows, 797, seed)
    return Experiment(u, slow(u, fast) + noise * np.random.default_rng(seed).normal(size=rows))


def test_means_of_a_slow_long_record_are_at_least_a_thousand() -> None:
    assert count_rows_per_mean([record()], START) == 8
    assert count_rows_per_mean([record(20_000)], START) == 16


def test_neither_a_smooth_input_nor_a_part_that_answers_at_once_forbids_means() -> None:
    smooth = np.sin(np.arange(10_000) / 300) + np.sin(np.arange(10_000) / 470)
    assert count_rows_per_mean([Experiment(smooth, slow(smooth))], START) == 8
    assert count_rows_per_mean([record(fast=0.1)], START) == 8


@pytest.mark.parametrize(
    "other",
    [
        record(7_000),
        Experiment(steps(10_000, 50, 0), slow(steps(10_000, 50, 0), fast=0.3)),
        record(noise=1.0),
        Experiment(None, record().y),
        Experiment(np.random.default_rng(0).normal(size=10_000), record().y),
    ],
    ids=["short", "with a fast part", "mostly noise", "without inputs", "an input that moves"],
)
def test_records_that_means_would_harm_are_left_as_they_are(other: Experiment) -> None:
    assert count_rows_per_mean([other], START) == 1


def test_means_count_by_their_measured_rows() -> None:
    y = np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 9.0])
    (means,) = average_rows([Experiment(np.arange(7.0), y)], 2)
    assert means.u.ravel().tolist() == [0.5, 2.5, 4.5]
    np.testing.assert_array_equal(means.y.ravel(), [2.0, 5.0, np.nan])
    np.testing.assert_array_equal(means.error_weights.ravel(), [1.0, 0.5, 0.0])


def test_a_model_of_means_settles_row_by_row_at_the_same_level_and_so_many_times_later() -> None:
    net = with_states(Narx(1, 1, (1,), (0,), 0), order=2, hidden=2)
    # a linear path y = 0.9 y + 0.1 x, x = 0.8 x + 0.2 u, and tanh units that add to y
    weights = np.zeros(net.n_weights)
    w1, _, w2, _, w3 = net.layer.split(weights)
    w1[:], w2[:] = 0.3, [[0.02, 0.01], [0.0, 0.0]]
    w3[:] = [[0.9, 0.1, 0.0, 0.0], [0.0, 0.8, 0.2, 0.0]]
    member = Member(Candidate("states", 2, 2), 0, net, weights)
    of_rows = spread_over_rows(member, 10)
    u = np.ones((4_000, 1))
    slow_run = net.free_run(of_rows.weights, u, np.zeros((1, 1)))[:, 0]
    run = net.free_run(weights, u[:400], np.zeros((1, 1)))[:, 0]
    assert slow_run[-1] == pytest.approx(run[-1], rel=1e-6)
    middle = run[-1] / 2
    ratio = np.argmax(slow_run > middle) / np.argmax(run > middle)
    assert ratio == pytest.approx(10, rel=0.15)


def test_a_direct_path_of_a_model_of_means_answers_at_once_row_by_row() -> None:
    plain = Narx(1, 1, (1,), (0,), 0, low=(-9.0,), high=(9.0,))
    net = with_states(plain, order=1, hidden=0)
    # y = 0.3 u + x, x = 0.9 x + 0.1 u
    weights = np.array([0.0, 0.9, 0.3 + 0.1, -0.9 * 0.3])
    member = Member(Candidate("linear states", 1), 0, net, weights)
    of_rows = spread_over_rows(member, 10)
    u = np.zeros((2_000, 1))
    u[1_000:] = 1.0
    run = net.free_run(of_rows.weights, u, np.zeros((1, 1)))[:, 0]
    assert run[999] == 0.0
    assert run[1_000] == pytest.approx(0.3, rel=0.1)
    assert run[-1] == pytest.approx(1.3, rel=1e-3)


def test_a_slow_long_record_is_chosen_on_means_and_simulated_row_by_row() -> None:
    train = record()
    families = (Candidate("states", 2, 3), Candidate("polynomial", 2))
    settings = SearchSettings(candidates=families, folds=2, fold_iterations=10)
    model = identify(train, settings=settings)
    assert any("chosen on means of 8 rows" in note for note in model.notes)
    test = record(seed=1, noise=0.0)
    run = model.simulate(test.u, test.y[: model.start]).y
    scale = test.y.std()
    errors = (run - test.y)[model.start :] / scale
    assert np.sqrt(np.mean(errors**2)) < 0.05
