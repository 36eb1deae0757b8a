"""Levenberg-Marquardt on problems whose answers are known."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from forecast.identification.experiment import Experiment
from forecast.identification.narx import Narx
from forecast.identification.problems import OpenLoop
from forecast.system.errors import InputError, ModelError
from forecast.training import levenberg_marquardt as lm

RNG = np.random.default_rng(5)


class Linear:
    """e = X w - y, in blocks of `rows`; validation on other rows when given."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, held_out: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        self.x, self.y, self.held_out = x, y, held_out
        self.n_residuals, self.n_weights = x.shape
        self.rows = 7

    def loss(self, weights: np.ndarray) -> float:
        return float(np.sum((self.x @ weights - self.y) ** 2))

    def blocks(self, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self.x), self.rows):
            part = slice(first, first + self.rows)
            yield self.x[part] @ weights - self.y[part], np.ascontiguousarray(self.x[part].T)

    def validation(self, weights: np.ndarray) -> float | None:
        if self.held_out is None:
            return None
        return float(np.mean((self.held_out[0] @ weights - self.held_out[1]) ** 2))


class Rosenbrock(Linear):
    """e = (10 (b - a²), 1 - a): its minimum 0 lies at (1, 1) along a curved valley."""

    n_weights, n_residuals = 2, 2

    def __init__(self) -> None:
        self.held_out = None

    def loss(self, weights: np.ndarray) -> float:
        return float(np.sum(self._errors(weights) ** 2))

    def blocks(self, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield self._errors(weights), np.array([[-20 * weights[0], -1.0], [10.0, 0.0]])

    def _errors(self, w: np.ndarray) -> np.ndarray:
        return np.array([10 * (w[1] - w[0] ** 2), 1 - w[0]])


class CountedRosenbrock(Rosenbrock):
    """The same; `tried` counts the steps."""

    tried = 0

    def loss(self, weights: np.ndarray) -> float:
        self.tried += 1
        return super().loss(weights)


def least_squares(n: int = 60, p: int = 4, noise: float = 0.3) -> Linear:
    x = RNG.normal(size=(n, p))
    return Linear(x, x @ np.arange(1.0, p + 1) + noise * RNG.normal(size=n))


def test_a_linear_problem_is_solved_to_its_least_squares_solution() -> None:
    problem = least_squares()
    result = lm.minimise(problem, np.zeros(4))
    np.testing.assert_allclose(
        result.weights, np.linalg.lstsq(problem.x, problem.y, rcond=None)[0], rtol=1e-6
    )


def test_the_curved_valley_of_rosenbrock_is_followed_to_its_end() -> None:
    np.testing.assert_allclose(
        lm.minimise(Rosenbrock(), np.array([-1.2, 1.0])).weights, [1.0, 1.0], rtol=1e-6
    )


def test_normal_equations_do_not_depend_on_the_block_size() -> None:
    problem = least_squares()
    small = lm.normal_equations(problem, np.ones(4))
    problem.rows = 60
    whole = lm.normal_equations(problem, np.ones(4))
    np.testing.assert_allclose(small[0], whole[0], rtol=1e-12)
    np.testing.assert_allclose(small[1], whole[1], rtol=1e-12)


def test_decay_gives_the_ridge_solution() -> None:
    problem = least_squares()
    result = lm.minimise(problem, np.zeros(4), options=lm.Options(decay=5.0))
    ridge = np.linalg.solve(problem.x.T @ problem.x + 5.0 * np.eye(4), problem.x.T @ problem.y)
    np.testing.assert_allclose(result.weights, ridge, rtol=1e-6)


def test_bayesian_regularisation_finds_the_decay_that_made_the_data() -> None:
    """w ~ N(0, 1 / alpha), e ~ N(0, 1 / beta): the evidence settles near alpha / beta."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 40))
    weights = rng.normal(size=40) * 0.5
    problem = Linear(x, x @ weights + 1.0 * rng.normal(size=400))
    result = lm.minimise(
        problem, np.full(40, 0.1), options=lm.Options(bayesian=True, max_iterations=50)
    )
    assert 2.0 < result.decay < 8.0  # (1 / 0.25) / 1 = 4
    assert 30.0 < result.effective_weights < 40.0


def test_bayesian_regularisation_shrinks_what_the_data_do_not_support() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 50)), rng.normal(size=60)
    free = lm.minimise(Linear(x, y), np.full(50, 0.1))
    bayes = lm.minimise(
        Linear(x, y), np.full(50, 0.1), options=lm.Options(bayesian=True, max_iterations=50)
    )
    assert bayes.weights @ bayes.weights < 0.25 * (free.weights @ free.weights)
    assert bayes.effective_weights < 35


def test_the_weights_with_the_lowest_validation_error_are_kept() -> None:
    problem = least_squares()
    problem.held_out = (np.eye(4), np.zeros(4))  # wants w = 0, which is where the descent starts
    result = lm.minimise(
        problem, np.zeros(4), options=lm.Options(patience=3, mu=10.0, mu_decrease=1.0)
    )
    assert result.weights.tolist() == [0.0] * 4
    assert result.reason == "validation error rose"
    assert [point[0] for point in result.curve] == [0, 1, 2, 3]


def test_mu_falls_tenfold_after_a_step_that_helps() -> None:
    curve = lm.minimise(least_squares(), np.zeros(4), options=lm.Options(max_iterations=2)).curve
    np.testing.assert_allclose([point[3] for point in curve], [1e-3, 1e-4, 1e-5])


def test_mu_by_gain_falls_to_a_third_where_the_linear_model_is_right_and_fewer_steps_fail() -> None:
    options = lm.Options(max_iterations=2, by_gain=True)
    curve = lm.minimise(least_squares(), np.zeros(4), options=options).curve
    np.testing.assert_allclose([point[3] for point in curve], [1e-3, 1e-3 / 3, 1e-3 / 9])
    tried = []
    for by_gain in (False, True):
        valley = CountedRosenbrock()
        result = lm.minimise(valley, np.array([-1.2, 1.0]), options=lm.Options(by_gain=by_gain))
        np.testing.assert_allclose(result.weights, [1.0, 1.0], rtol=1e-6)
        tried.append(valley.tried)
    assert tried[1] < tried[0]


def test_the_best_of_several_starts_wins() -> None:
    result = lm.minimise(
        Rosenbrock(),
        np.array([-1.2, 1.0]),
        np.array([1.0, 1.0]),
        options=lm.Options(max_iterations=1),
    )
    np.testing.assert_allclose(result.weights, [1.0, 1.0])


def test_memory_and_time_are_announced_before_the_first_step() -> None:
    lines: list[str] = []
    lm.minimise(least_squares(), np.zeros(4), announce=lines.append)
    assert lines[0].startswith(
        "Levenberg-Marquardt, 4 weights, 60 residuals: about 0 MB and at most "
    )


def test_the_time_announced_is_that_of_the_training() -> None:
    """CPU seconds: other work on the machine hardly changes them."""
    rng = np.random.default_rng(0)
    experiment = Experiment(rng.normal(size=(4_000, 2)), rng.normal(size=4_000))
    problem = OpenLoop(Narx(2, 1, (1, 2, 3), (0, 1, 2), 12), [experiment], 3)
    start, options = 0.1 * rng.normal(size=problem.n_weights), lm.Options(max_iterations=30)
    with threadpool_limits(1):
        announced = lm.estimate_seconds(problem, start, options)
    began = time.process_time()
    result = lm.minimise(problem, start, options=options)
    expected_seconds = (time.process_time() - began) * 30 / len(result.curve)
    assert 0.4 < announced / expected_seconds < 2.5


def test_the_time_announced_is_that_of_all_restarts() -> None:
    lines: list[str] = []
    lm.minimise(least_squares(), *[np.zeros(4)] * 3, announce=lines.append)
    assert len(lines) == 1 and "60 residuals, 3 restarts: about" in lines[0]


def test_no_more_time_is_announced_than_the_training_may_take() -> None:
    lines: list[str] = []
    options = lm.Options(max_iterations=10**9, seconds=0.2)
    lm.minimise(least_squares(), np.zeros(4), options=options, announce=lines.append)
    assert lines[0].endswith("at most 0.2 s.")


def test_no_restart_begins_once_the_time_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    start_run = lm._Run.__init__

    def count_run(run: lm._Run, problem: Linear, weights: np.ndarray, options: lm.Options) -> None:
        begun.append(options.seconds)
        start_run(run, problem, weights, options)

    monkeypatch.setattr(lm._Run, "__init__", count_run)
    lm.minimise(least_squares(), *[np.zeros(4)] * 50, options=lm.Options(seconds=0.0))
    assert len(begun) == 1


def test_a_net_too_large_is_refused_with_limit_and_estimate() -> None:
    problem = least_squares()
    problem.n_weights, problem.n_residuals = 5_000, 100_000
    with pytest.raises(
        InputError, match=r"at most 2000 weights; this one has 5000 and would take about \d+ MB"
    ):
        lm.minimise(problem, np.zeros(5_000))


@pytest.mark.parametrize("bayesian", [False, True])
def test_derivatives_that_overflow_end_the_training_with_the_best_weights_so_far(
    bayesian: bool,
) -> None:
    """A loop held by its bounds is finite while its derivatives are not."""

    class Steep(Rosenbrock):
        def blocks(self, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for error, jacobian in super().blocks(weights):
                yield error, jacobian * (1e200 if weights[0] > -1.0 else 1.0)

    start = np.array([-1.2, 1.0])
    result = lm.minimise(Steep(), start, options=lm.Options(bayesian=bayesian))
    assert result.reason == "derivatives overflow" and Steep().loss(result.weights) < Steep().loss(
        start
    )


def test_a_start_that_diverges_is_a_model_failure() -> None:
    problem = least_squares()
    with pytest.raises(ModelError, match="diverges with its initial weights"):
        lm.minimise(problem, np.full(4, np.inf))
    with pytest.raises(ModelError, match="None of 2 restarts"):
        lm.minimise(problem, *[np.full(4, np.inf)] * 2)
