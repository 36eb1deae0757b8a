"""The terms of a polynomial NARX model by its free run, not one step ahead alone.

One step ahead, past y explains what an input that changes slowly does, and every product of y
contains noise. So terms come in that the system does not have, and others stay out. `find_terms`
begins with such terms, trains their coefficients on the free run, and drops terms while Schwarz's
criterion of the free run falls. Then it chooses terms once more from products of the simulated y,
which contains hardly any noise, and drops again. It does both with products of the data without
their means and of the data from `origin`: a product without means needs a constant and lower terms
beside it. The polynomial with the least criterion stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.identification.polynomial import select_terms
from forecast.identification.problems import ClosedLoop, OpenLoop, StackedExperiments
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


def find_terms(
    net: Narx,
    experiments: Sequence[Experiment],
    start: int,
    *,
    origin: tuple[float, ...],
    degree: int,
    max_terms: int,
    watch: lm.Watch | None = None,
) -> Polynomial:
    """The polynomial of at most `max_terms` terms up to the degree that simulates the scaled
    experiments best from their first `start` rows; `ModelError` where none can be found or its free
    run diverges. `origin`: as `Narx.origin`, beside which the means are tried.
    """
    found = []
    failure = ModelError()
    for tried in (origin, ()):
        try:
            polynomial = fit_one_step(
                replace(net, terms=(), origin=tried),
                experiments,
                start,
                degree=degree,
                max_terms=max_terms,
            )
            found.append(_refine_terms(polynomial, experiments, start, degree, max_terms, watch))
        except ModelError as error:
            failure = error
    if not found:
        raise failure
    return min(found, key=lambda polynomial: polynomial.criterion)


def fit_one_step(
    net: Narx, experiments: Sequence[Experiment], start: int, *, degree: int, max_terms: int
) -> Polynomial:
    """The polynomial on the delays of `net` whose terms and coefficients are chosen one step ahead
    (`select_terms`).
    """
    problem = OpenLoop(net, experiments, start)
    z_origin, y_origin = net.origins
    terms, weights = select_terms(
        problem.z - z_origin, problem.y - y_origin, degree=degree, max_terms=max_terms
    )
    return Polynomial(replace(net, terms=terms), weights, np.inf)


def _refine_terms(
    polynomial: Polynomial,
    experiments: Sequence[Experiment],
    start: int,
    degree: int,
    max_terms: int,
    watch: lm.Watch | None,
) -> Polynomial:
    """The better of two: of terms of the given polynomial, and of terms chosen from the products of
    its simulated y; `ModelError` where the free run of the given terms diverges.
    """
    first_pass = _drop_terms(polynomial, experiments, start, watch)
    rows = StackedExperiments(first_pass.net, experiments, start)
    z, _ = rows.regressors(rows.free_run(first_pass.weights))
    is_observed = rows.weight.all(axis=1)
    z_origin, y_origin = polynomial.net.origins
    try:
        terms, weights = select_terms(
            z.T[is_observed] - z_origin,
            rows.y[is_observed] - y_origin,
            degree=degree,
            max_terms=max_terms,
        )
        chosen = Polynomial(replace(polynomial.net, terms=terms), weights, np.inf)
        second_pass = _drop_terms(chosen, experiments, start, watch)
    except ModelError:
        return first_pass
    return min(first_pass, second_pass, key=lambda polynomial: polynomial.criterion)


def _drop_terms(
    polynomial: Polynomial,
    experiments: Sequence[Experiment],
    start: int,
    watch: lm.Watch | None,
) -> Polynomial:
    """Backward elimination: drop the term whose coefficients are least significant, until the
    criterion has risen by `MOST_RISE` or a run does not stay finite; of all these polynomials the
    one with the least criterion. `ModelError` where the run with all terms does not stay finite.
    """
    options = lm.Options(max_iterations=ITERATIONS, by_gain=True)
    best = polynomial
    net, weights = polynomial.net, polynomial.weights
    guess = None
    while net.terms:
        problem = ClosedLoop(net, experiments, start, guess=guess)
        try:
            result = lm.minimise(problem, weights, options=options, watch=watch)
        except ModelError:
            if best is polynomial:
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
        # a term that does not change the run, as of a constant u, has no variance
        ratios = (variances > 1e-200) * by_term**2 / np.maximum(variances, 1e-200)
        least = int(np.argmin(ratios.sum(axis=1)))
        weights = np.delete(by_term, least, axis=0).ravel()
        net = replace(net, terms=net.terms[:least] + net.terms[least + 1 :])
    return best
