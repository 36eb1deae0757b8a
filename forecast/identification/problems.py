"""The least-squares problems of a NARX model for Levenberg-Marquardt: one-step errors (`OpenLoop`)
and free-run errors (`ClosedLoop`).

Both take scaled experiments whose first `start` rows only fill the delays. In closed loop the
outputs solve v_t = F(z_t(v)) for all t at once. Their derivatives obey the linear recursion of
real-time recurrent learning (Williams & Zipser 1989)

    dv_t/dw = dF/dw(z_t) + sum_d dF/dy_{t-d}(z_t) dy_{t-d}/dw.

This is a unit lower triangular banded system, solved for all weights at once, block after block of
time. The outputs are found by Newton's method from the run of the weights before, whose steps solve
the same kind of system: a few vectorised steps instead of a Python step for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.linalg import lapack

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.training.levenberg_marquardt import LeastSquares, block_rows, finite_sum

NEWTON_STEPS = 8  # at most
NEWTON_TOLERANCE = 1e-4  # scaled: a change of the run that ends the search
NEWTON_LOST = 1e2  # scaled: a larger change never led to a run in `NEWTON_STEPS`


class OpenLoop(LeastSquares):
    """One-step residuals of the rows in which no delay reaches to a missing y."""

    def __init__(self, net: Narx, experiments: Sequence[Experiment], start: int) -> None:
        """The first `start` rows of each experiment only fill the delays. A residual counts by the
        root of its weight; rows that a delay or a weight leaves nothing of are dropped.
        """
        self.net = net
        z = np.concatenate([net.open_loop_regressors(e, start) for e in experiments])
        y = np.concatenate([e.y[start:] for e in experiments])
        weight = np.concatenate([np.sqrt(e.error_weights[start:]) for e in experiments])
        weight = weight * np.isfinite(z).all(axis=1, keepdims=True)
        is_used = weight.any(axis=1)
        self.z = z[is_used]
        self.weight = weight[is_used]
        self.y = np.nan_to_num(y[is_used])
        self.n_weights = net.n_weights
        self.n_residuals = int(np.count_nonzero(self.weight))

    def residuals(self, weights: Array) -> Array:
        """(rows * O,): the weighted one-step residuals."""
        residual = self.net.residual(self.net.layer.value(weights, self.z), self.y)
        return (residual * self.weight).ravel()

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows * O,) and the transposed Jacobian (n_weights, rows * O), block after
        block.
        """
        rows = block_rows(self.n_weights, self.net.outputs)
        weighted = self.residuals(weights).reshape(self.y.shape)
        weight = self.weight * (weighted != 0)
        for first in range(0, len(self.z), rows):
            part = slice(first, first + rows)
            jacobian = self.net.layer.jacobian(weights, self.z[part])
            jacobian *= weight[part]
            yield weighted[part].ravel(), jacobian.reshape(self.n_weights, -1)


class ClosedLoop(LeastSquares):
    """Free-run residuals of each experiment from its first measured rows; serves one descent.

    The experiments are stacked into one system of rows, in which no delay reaches from one
    experiment into another.
    """

    def __init__(
        self,
        net: Narx,
        experiments: Sequence[Experiment],
        start: int,
        guess: Array | None = None,
    ) -> None:
        """As `OpenLoop`. `guess`: a free run of similar weights over the same rows, from which the
        first one is found sooner; one of another shape is not used.
        """
        self.net = net
        self.experiments = experiments
        self.start = start
        # states run over the rows that fill the delays of y, too
        self._run_start = 0 if net.states else start
        scored_from = max(self._run_start, 1)
        longer = [net.add_first_row(e, start) for e in experiments]
        self.y = np.nan_to_num(np.concatenate([e.y[scored_from:] for e in longer]))
        self.weight = np.concatenate([np.sqrt(e.error_weights[scored_from:]) for e in longer])
        self.n_weights = net.n_weights
        self.n_residuals = int(np.count_nonzero(self.weight))
        is_measured = np.arange(net.outputs) < net.measured_outputs
        measured_rows = np.where(is_measured, start - self._run_start, 0)[:, None]
        delays = np.array(net.y_delays)[:, None, None]
        is_fed_back = [np.arange(len(e) - scored_from) - delays >= measured_rows for e in longer]
        # (delays, O, rows): 1 where y_{t-d} is the net's, 0 where measured
        self.fed_back = np.concatenate(is_fed_back, axis=-1).astype(np.float64)
        z = np.concatenate([net.open_loop_regressors(e, scored_from) for e in longer]).T.copy()
        # the net's own outputs are added by `regressors`
        z[: net.past_outputs][self.fed_back.reshape(-1, len(self.y)) > 0] = 0.0
        self.measured_z = np.nan_to_num(z)
        self._low, self._high = net.limits[..., None]
        self._guess = self.y if guess is None or guess.shape != self.y.shape else guess
        self._weights = b""
        self._run = self._guess
        self.is_following = False

    def residuals(self, weights: Array) -> Array:
        """(rows * measured outputs,): the weighted residuals of the free run."""
        tables = self.free_run(weights), self.y, self.weight
        v, y, weight = (table[:, : self.net.measured_outputs] for table in tables)
        return (self.net.residual(v, y) * weight).ravel()

    def blocks(
        self, weights: Array, combine: Callable[[Array], Array] = np.asarray
    ) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows * measured outputs,) and the transposed Jacobian of the free run, block
        after block of time.

        `combine`: turns dF/dw (n_weights, rows, O) into derivatives by fewer weights.
        """
        net = self.net
        measured = net.measured_outputs
        run = self.free_run(weights)
        weighted = self.residuals(weights).reshape(-1, measured)
        weight = self.weight[:, :measured] * (weighted != 0)
        _, z, gain = self.linearise(weights, run)
        # every further run begins at this one: where Newton's method does not find it from there,
        # the descent takes a shorter step
        self.is_following = True
        self._guess = run

        def direct(part: slice) -> Array:
            return combine(net.layer.jacobian(weights, z[:, part].T))

        for part, jacobian in self._feed_back(direct, gain, net.n_weights):
            jacobian = jacobian[..., :measured] * weight[part]
            yield weighted[part].ravel(), jacobian.reshape(len(jacobian), -1)

    def free_run(self, weights: Array) -> Array:
        """v (rows, O) of all experiments; kept, since an accepted step needs it again."""
        key = weights.tobytes()
        if key != self._weights:
            run = self.run_by_newton(weights)
            if run is None and self.is_following:
                run = np.full_like(self._guess, np.inf)
            elif run is None:
                run = self.run_stepwise(weights)
            self._run = run
            self._weights = key
            if not self.is_following and np.isfinite(run).all():
                self._guess = run
        return self._run

    def mean_square(self, weights: Array) -> float:
        """The weighted mean squared error of the bounded free run; infinite where it diverges."""
        return self.error_of(self.free_run(weights))

    def error_of(self, run: Array) -> float:
        """The weighted mean squared error of a run (rows, O)."""
        errors = self.weight * (self.net.bounded(run) - self.y)
        return finite_sum(errors) / (float(np.vdot(self.weight, self.weight)) or 1.0)

    def run_stepwise(self, weights: Array) -> Array:
        """v (rows, O), row after row, where Newton's method fails."""
        runs = [self.net.free_run(weights, e.u, e.y[: self.start]) for e in self.experiments]
        return np.concatenate([run[self._run_start :] for run in runs])

    def run_by_newton(self, weights: Array) -> Array | None:
        """v (rows, O) by Newton's method; None where that does not converge in `NEWTON_STEPS`. It
        begins at the last finite run, or after a call of `blocks` at the run linearised there.
        """
        run = self._guess
        with np.errstate(over="ignore", invalid="ignore"):
            for steps_left in reversed(range(NEWTON_STEPS)):
                v, _, gain = self.linearise(weights, run)
                difference = v.T - run
                worst = np.abs(difference).max()
                if not worst < (NEWTON_LOST if steps_left else NEWTON_TOLERANCE):
                    return None
                run = run + self._correction(gain, difference)
                # `worst` is the error before this step, after which it is about its square
                if worst < NEWTON_TOLERANCE:
                    return run
        return None

    def _correction(self, gain: Array, difference: Array) -> Array:
        """Newton's step (rows, O): the solution of the linearised system for `difference`."""
        correction = np.empty_like(difference)
        for part, step in self._feed_back(lambda rows: difference[None, rows].copy(), gain, 1):
            correction[part] = step[0]
        return correction

    def _feed_back(
        self, direct: Callable[[slice], Array], gain: Array, columns: int
    ) -> Iterator[tuple[slice, Array]]:
        """Blocks of rows and the solutions (columns, rows, O) there of the recursion with `gain`
        (`solve_feedback`), of which `direct` gives the terms that are not fed back. Blocks are so
        short that a solution takes little memory.
        """
        deepest, o = max(self.net.y_delays), self.net.outputs
        rows = max(block_rows(max(columns, 3 * deepest * o), o), deepest)
        last_rows: Array | None = None
        for first in range(0, len(self.y), rows):
            part = slice(first, min(first + rows, len(self.y)))
            solution = solve_feedback(direct(part), gain[..., part], self.net.y_delays, last_rows)
            last_rows = solution[:, -deepest:].copy()
            yield part, solution

    def regressors(self, run: Array) -> tuple[Array, Array]:
        """z (d, rows) of the closed loop whose outputs are `run`, and (delays * O, rows) the
        derivatives of its past outputs by v: 1, or 0 where they are measured, beyond a bound,
        or of another experiment.
        """
        v = np.ascontiguousarray(run.T)
        z = self.measured_z.copy()
        o = self.net.outputs
        fed = np.minimum(np.maximum(v, self._low), self._high)
        is_free = fed == v
        follows = np.zeros((self.net.past_outputs, len(run)))
        for index, delay in enumerate(self.net.y_delays):
            columns = slice(index * o, (index + 1) * o)
            fed_back = self.fed_back[index, :, delay:]
            z[columns, delay:] += fed[:, :-delay] * fed_back
            np.multiply(fed_back, is_free[:, :-delay], out=follows[columns, delay:])
        return z, follows

    def linearise(self, weights: Array, run: Array) -> tuple[Array, Array, Array]:
        """v (O, rows) that the layer computes from the past outputs of `run`, its z (d, rows), and
        dv_t/dv_{t-d} (O, delays * O, rows).
        """
        z, follows = self.regressors(run)
        v, slopes = self.net.layer.linearised(weights, z, self.net.past_outputs)
        slopes *= follows
        return v, z, slopes


def solve_feedback(
    direct: Array, gain: Array, delays: tuple[int, ...], last_rows: Array | None
) -> Array:
    """D (p, rows, O) that solves D_t = direct_t + sum_d gain_{t,d} D_{t-d}.

    direct (p, rows, O), which is overwritten; gain (O, delays * O, rows); last_rows (p, deepest,
    O): D of the rows just before, None for zeros.
    """
    p, rows, o = direct.shape
    deepest = max(delays)
    width = (deepest + 1) * o
    # [t, i]: minus the coefficients of the outputs before y_{t,i}, in the order of time, then 0
    band = np.zeros((rows, o, width))
    for delay, of_delay in zip(delays, np.split(gain, len(delays), axis=1), strict=True):
        if last_rows is not None:
            n_early = min(delay, rows)  # rows of this block whose y_{t-d} lies in the block before
            earlier = last_rows[:, deepest - delay : deepest - delay + n_early]
            direct[:, :n_early] += np.einsum("pri,oir->pro", earlier, of_delay[..., :n_early])
        for target in range(o):
            first = width - 1 - target - delay * o
            band[:, target, first : first + o] = -of_delay[target].T
    right_sides = direct.reshape(p, rows * o).T
    # as a transposed upper triangle, whose sums run faster than those of a lower one
    solution, _ = lapack.dtbtrs(
        band.reshape(rows * o, width).T,
        right_sides,
        uplo="U",
        trans="T",
        diag="U",
        overwrite_b=True,
    )
    return solution.T.reshape(p, rows, o)
