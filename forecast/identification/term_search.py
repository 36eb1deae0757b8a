"""The terms of a polynomial NARX model by its free run, not one step ahead alone.

One step ahead, past y explains what an input that changes slowly does, and every product of y
contains noise. So terms come in that the system does not have, and others stay out. `TermSearch`
begins with such terms, trains their coefficients on the free run, and drops terms while Schwarz's
criterion of the free run falls. Then it chooses terms once more from products of the simulated y,
which contains hardly any noise, and drops again. It does both with products of the data without
their means and of the data from `origin`: a product without means needs a constant and lower terms
beside it. The polynomial with the least criterion stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.identification.polynomial import select_terms
from forecast.identification.problems import ClosedLoop, OpenLoop
from forecast.system.errors import ModelError
from forecast.training import levenberg_marquardt as lm

ITERATIONS = 4  # of training after each term that is dropped
MOST_RISE = 8.0  # of the criterion above its least, at which no more terms are dropped


@dataclass(frozen=True)
class Polynomial:
    """A net with terms, its weights, and Schwarz's criterion of its free run, which is infinite
    where that was not computed.
    """

    net: Narx
    weights: Array
    criterion: float


@dataclass(frozen=True)
class TermSearch:
    """The search for terms up to a degree, at most `max_terms`, that simulate scaled experiments
    from their first `start` rows.
    """

    experiments: Sequence[Experiment]
    start: int
    degree: int = 3
    max_terms: int = 12
    watch: lm.Watch | None = None

    def find_terms(self, net: Narx, origin: tuple[float, ...]) -> Polynomial:
        """The polynomial on the delays of `net` whose free run has the least criterion, with its
        origin 0 or at `origin` (`Narx.origin`); `ModelError` where there is none or it diverges.
        """
        polynomials = []
        failure = ModelError()
        for tried in (origin, ()):
            try:
                polynomials.append(
                    self._refine_terms(self.fit_one_step(replace(net, origin=tried)))
                )
            except ModelError as error:
                failure = error
        if not polynomials:
            raise failure
        return min(polynomials, key=attrgetter("criterion"))

    def fit_one_step(self, net: Narx) -> Polynomial:
        """The polynomial on the delays of `net`, without the terms of that, chosen one step ahead;
        a row counts whole unless its weight is 0. Its criterion is infinite. `ModelError` where no
        term explains y.
        """
        net = replace(net, terms=())
        problem = OpenLoop(net, self.experiments, self.start)
        return self._select_terms(net, problem.z, problem.y)

    def _select_terms(self, net: Narx, z: Array, y: Array) -> Polynomial:
        """The polynomial in z (rows, d) that explains y (rows, O) best, by `select_terms`."""
        z_origin, y_origin = net.origins
        terms, weights = select_terms(
            z - z_origin, y - y_origin, degree=self.degree, max_terms=self.max_terms
        )
        return Polynomial(replace(net, terms=terms), weights, np.inf)

    def _refine_terms(self, polynomial: Polynomial) -> Polynomial:
        """The polynomial of the lower criterion: of terms of the given one, or of terms chosen
        again from products that hold y of the first one's free run, not measured y. `ModelError`
        where the free run of the given one diverges.
        """
        first_pass = self._drop_terms(polynomial)
        rows = ClosedLoop(first_pass.net, self.experiments, self.start)
        z, _ = rows.regressors(rows.free_run(first_pass.weights))
        is_observed = rows.weight.all(axis=1)
        try:
            chosen = self._select_terms(polynomial.net, z.T[is_observed], rows.y[is_observed])
            return min(first_pass, self._drop_terms(chosen), key=attrgetter("criterion"))
        except ModelError:
            return first_pass

    def _drop_terms(self, polynomial: Polynomial) -> Polynomial:
        """Backward elimination: drop the term whose coefficients are least significant, until the
        criterion has risen by `MOST_RISE` or a run does not stay finite; of all these polynomials
        the one with the least criterion. `ModelError` where the run with all terms does not stay
        finite.
        """
        options = lm.Options(max_iterations=ITERATIONS, by_gain=True)
        best = polynomial
        net, weights = polynomial.net, polynomial.weights
        guess = None
        while net.terms:
            problem = ClosedLoop(net, self.experiments, self.start, guess=guess)
            try:
                result = lm.minimise(problem, weights, options=options, watch=self.watch)
            except ModelError:
                if best is polynomial:
                    raise
                break
            guess = problem.free_run(result.weights)
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
