"""The least-squares problems of a NARX model: one-step errors (`OpenLoop`) and free-run errors
(`ClosedLoop`), for Levenberg-Marquardt.

Both take scaled experiments whose first `start` rows only fill the delays. In closed loop the
outputs solve v_t = F(z_t(v)) for all t at once, and their derivatives obey the linear recursion of
real-time recurrent learning (Williams & Zipser 1989)

    dv_t/dw = dF/dw(z_t) + sum_d dF/dy_{t-d}(z_t) dy_{t-d}/dw.

Both are unit lower triangular banded systems: the second is solved for all weights at once, block
after block of time; the first by Newton's method from the run before, a handful of vectorised steps
instead of one Python step per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.linalg import lapack

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.training.levenberg_marquardt import LeastSquares, block_rows, finite_sum

NEWTON_STEPS = 8
NEWTON_TOLERANCE = 1e-4
NEWTON_LOST = 1e2  # in scaled units: from farther off no run was found in `NEWTON_STEPS`


def _count(
    problem: OpenLoop | ClosedLoop, weight: Array, held_out: Sequence[Experiment], start: int
) -> None:
    """Set what `LeastSquares` asks for; `weight` (rows, O) multiplies the residuals: the root of
    what a squared error counts.
    """
    problem.n_weights = problem.net.n_weights
    problem.n_residuals = int(np.count_nonzero(weight))
    if held_out:
        problem.validate = StackedExperiments(problem.net, held_out, start).mean_square


class OpenLoop(LeastSquares):
    """One-step residuals, of the rows in which no delay reaches to a missing y."""

    def __init__(
        self,
        net: Narx,
        experiments: Sequence[Experiment],
        start: int,
        held_out: Sequence[Experiment] = (),
    ) -> None:
        """The first `start` rows of each only fill the delays; weights are judged by the free run
        over the experiments held out, where there are any.
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
        _count(self, self.weight, held_out, start)

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
    """Free-run residuals, of each experiment from its first measured rows; for one descent."""

    def __init__(
        self,
        net: Narx,
        experiments: Sequence[Experiment],
        start: int,
        held_out: Sequence[Experiment] = (),
        guess: Array | None = None,
    ) -> None:
        """As of `OpenLoop`. `guess`: a free run of about the same weights over the same rows, from
        which the first one is found sooner.
        """
        self.net = net
        self.train = StackedExperiments(net, experiments, start, guess)
        _count(self, self.train.weight, held_out, start)

    def residuals(self, weights: Array) -> Array:
        """(rows * measured outputs,): the weighted residuals of the free run."""
        train = self.train
        tables = train.free_run(weights), train.y, train.weight
        v, y, weight = (table[:, : self.net.measured_outputs] for table in tables)
        return (self.net.residual(v, y) * weight).ravel()

    def blocks(
        self, weights: Array, combine: Callable[[Array], Array] = np.asarray
    ) -> Iterator[tuple[Array, Array]]:
        """Residuals and the transposed Jacobian of the free run, block after block of time.

        `combine`: makes of the derivatives by all weights (n_weights, rows, O) those that are
        wanted, sums of them.
        """
        net, train = self.net, self.train
        measured = net.measured_outputs
        run = train.free_run(weights)
        weighted = self.residuals(weights).reshape(-1, measured)
        weight = train.weight[:, :measured] * (weighted != 0)
        _, z, gain = train.linearise(weights, run)
        train.follow(run)
        last_rows: Array | None = None
        for part in train.blocks_of_rows(net.n_weights):
            direct = combine(net.layer.jacobian(weights, z[:, part].T))
            jacobian = solve_feedback(direct, gain[..., part], net.y_delays, last_rows)
            last_rows = jacobian[:, -max(net.y_delays) :].copy()
            jacobian = jacobian[..., :measured] * weight[part]
            yield weighted[part].ravel(), jacobian.reshape(len(jacobian), -1)


class StackedExperiments:
    """Experiments stacked into one system of rows: none of its couplings crosses the start of
    one.
    """

    def __init__(
        self,
        net: Narx,
        experiments: Sequence[Experiment],
        start: int,
        guess: Array | None = None,
    ) -> None:
        """`start`: rows of each experiment that only fill the delays; `guess`: see `ClosedLoop`."""
        self.net = net
        self.experiments = experiments
        self.start = start
        # a state runs over the rows that only fill the delays of y, too
        self._first = 0 if net.states else start
        first = max(self._first, 1)
        longer = [net.add_first_row(e, start) for e in experiments]
        self.y = np.nan_to_num(np.concatenate([e.y[first:] for e in longer]))
        self.weight = np.concatenate([np.sqrt(e.error_weights[first:]) for e in longer])
        is_measured = np.arange(net.outputs) < net.measured_outputs
        measured_rows = np.where(is_measured, start - self._first, 0)[:, None]
        delays = np.array(net.y_delays)[:, None, None]
        is_fed_back = [np.arange(len(e) - first) - delays >= measured_rows for e in longer]
        # (delays, O, rows): 1 where y_{t-d} is the net's, 0 where measured
        self.fed_back = np.concatenate(is_fed_back, axis=-1).astype(np.float64)
        z = np.concatenate([net.open_loop_regressors(e, first) for e in longer]).T.copy()
        # left to the net
        z[: net.past_outputs][self.fed_back.reshape(-1, len(self.y)) > 0] = 0.0
        self.measured_z = np.nan_to_num(z)
        self._low, self._high = net.limits[..., None]
        self._guess = self.y if guess is None or guess.shape != self.y.shape else guess
        self._weights = b""
        self._run = self._guess
        self.is_following = False

    def free_run(self, weights: Array) -> Array:
        """v (rows, O) of all experiments; kept, for an accepted step needs it again."""
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

    def follow(self, run: Array) -> None:
        """From here on a step is refused that is so long that Newton's method does not find its run
        from this one.
        """
        self.is_following = True
        self._guess = run

    def mean_square(self, weights: Array) -> float:
        """Of the errors of the bounded free run, over the counted values; infinity on
        divergence.
        """
        return self.error_of(self.free_run(weights))

    def error_of(self, run: Array) -> float:
        """The same of a run (rows, O)."""
        errors = self.weight * (self.net.bounded(run) - self.y)
        return finite_sum(errors) / (float(np.vdot(self.weight, self.weight)) or 1.0)

    def run_stepwise(self, weights: Array) -> Array:
        """v row after row, for where Newton's method fails."""
        runs = [self.net.free_run(weights, e.u, e.y[: self.start]) for e in self.experiments]
        return np.concatenate([run[self._first :] for run in runs])

    def run_by_newton(self, weights: Array) -> Array | None:
        """v by Newton's method from the last finite run; None when it goes astray, or does not
        settle in `NEWTON_STEPS`.
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
                # of the run before: the error after a step is that of its square
                if worst < NEWTON_TOLERANCE:
                    return run
        return None

    def blocks_of_rows(self, columns: int) -> list[slice]:
        """Blocks of rows, so that `columns` derivatives of them and their couplings stay small."""
        deepest, o = max(self.net.y_delays), self.net.outputs
        rows = max(block_rows(max(columns, 3 * deepest * o), o), deepest)
        firsts = range(0, len(self.y), rows)
        return [slice(first, min(first + rows, len(self.y))) for first in firsts]

    def _correction(self, gain: Array, difference: Array) -> Array:
        """Newton's step (rows, O): the solution of the linearised system for what the run
        misses.
        """
        last_rows: Array | None = None
        correction = np.empty_like(difference)
        for part in self.blocks_of_rows(1):
            direct = difference[None, part].copy()
            step = solve_feedback(direct, gain[..., part], self.net.y_delays, last_rows)
            last_rows = step[:, -max(self.net.y_delays) :].copy()
            correction[part] = step[0]
        return correction

    def regressors(self, run: Array) -> tuple[Array, Array]:
        """z (d, rows) of the closed loop given all outputs v, and (delays * O, rows) how its past
        outputs follow v: 1, or 0 where they are measured, on a bound, or of another experiment.
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
        """What the layer makes of the past outputs of a run: v (O, rows), the z (d, rows) that it
        sees, and dv_t/dv_{t-d} (O, delays * O, rows).
        """
        z, follows = self.regressors(run)
        v, slopes = self.net.layer.linearised(weights, z, self.net.past_outputs)
        slopes *= follows
        return v, z, slopes


def solve_feedback(
    direct: Array, gain: Array, delays: tuple[int, ...], last_rows: Array | None
) -> Array:
    """D (p, rows, O) with D_t = direct_t + sum_d gain_{t,d} D_{t-d}; direct (p, rows, O) is
    overwritten.

    gain (O, delays * O, rows); last_rows (p, deepest, O): D of the rows just before, None: zeros.
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
    # as the transposed of an upper triangle, whose sums run faster than the lower one's
    solution, info = lapack.dtbtrs(
        band.reshape(rows * o, width).T,
        right_sides,
        uplo="U",
        trans="T",
        diag="U",
        overwrite_b=True,
    )
    if info != 0:
        raise ArithmeticError(f"dtbtrs refused argument {-info}")
    return solution.T.reshape(p, rows, o)
