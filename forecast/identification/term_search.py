"""Terms of a polynomial NARX model by its free run, not one step ahead alone.

One step ahead, past y explains what an input that changes slowly does, and every product of y has
its noise: terms come in that the system does not have, others stay away. `refine_terms` goes on
from such a choice. It trains the coefficients on the free run and drops terms while Schwarz's
criterion of the free run falls. Then it chooses terms once more from the products of the simulated
y, which has hardly any noise, drops again, and keeps the better of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.identification.polynomial import select_terms
from forecast.identification.problems import ClosedLoop, StackedExperiments
from forecast.system.errors import ModelError
from forecast.training import levenberg_marquardt as lm

ITERATIONS = 4  # of training after each term that is dropped
MOST_RISE = 8.0  # of the criterion above its least, at which no more terms are dropped


@dataclass(frozen=True)
class Polynomial:
    """A net with terms, its weights, and Schwarz's criterion of its free run."""

    net: Narx
    weights: Array
    criterion: float


def refine_terms(
    net: Narx,
    weights: Array,
    experiments: Sequence[Experiment],
    start: int,
    *,
    degree: int,
    max_terms: int,
    watch: lm.Watch | None = None,
) -> Polynomial:
    """Terms up to the degree, at most `max_terms`, that simulate scaled experiments from their
    first `start` rows; `ModelError` where the free run of the terms that `net` has diverges.
    """
    first_pass = _drop_terms(net, weights, experiments, start, watch)
    train = StackedExperiments(first_pass.net, experiments, start)
    z, _ = train.regressors(train.free_run(first_pass.weights))
    is_observed = train.weight.all(axis=1)
    try:
        terms, weights = select_terms(
            z.T[is_observed], train.y[is_observed], degree=degree, max_terms=max_terms
        )
        second_pass = _drop_terms(replace(net, terms=terms), weights, experiments, start, watch)
    except ModelError:
        return first_pass
    return min(first_pass, second_pass, key=lambda polynomial: polynomial.criterion)


def _drop_terms(
    net: Narx,
    weights: Array,
    experiments: Sequence[Experiment],
    start: int,
    watch: lm.Watch | None,
) -> Polynomial:
    """Backward elimination: the term is dropped whose coefficients are least significant, until
    the criterion has risen by `MOST_RISE` or a run does not stay finite; of these polynomials the
    one with the least criterion. `ModelError` where not even the run with all terms stays finite.
    """
    options = lm.Options(max_iterations=ITERATIONS, by_gain=True)
    best = Polynomial(net, weights, np.inf)
    guess = None
    for _ in net.terms:
        problem = ClosedLoop(net, experiments, start, guess=guess)
        try:
            result = lm.minimise(problem, weights, options=options, watch=watch)
        except ModelError:
            if best.net is net:
                raise
            break
        guess = problem.train.free_run(result.weights)
        n = problem.n_residuals
        criterion = n * np.log(max(result.score, 1e-300)) + np.log(n) * problem.n_weights
        if criterion > best.criterion + MOST_RISE:
            break
        if criterion <= best.criterion:
            best = Polynomial(net, result.weights, criterion)
        hessian, _ = lm.normal_equations(problem, result.weights)
        if not np.isfinite(hessian).all():  # a chaotic run, whose derivatives grow without end
            break
        by_term = result.weights.reshape(len(net.terms), -1)
        variances = np.diag(np.linalg.pinv(hessian, hermitian=True)).reshape(by_term.shape)
        # the run does not feel a term without variance, as of a constant u
        ratios = (variances > 1e-200) * by_term**2 / np.maximum(variances, 1e-200)
        least = int(np.argmin(ratios.sum(axis=1)))
        weights = np.delete(by_term, least, axis=0).ravel()
        net = replace(net, terms=net.terms[:least] + net.terms[least + 1 :])
    return best
