"""The least-squares problems of a NARX net: one-step errors (open loop) and free-run errors (closed
loop).

In closed loop the outputs solve v_t = F(z_t(v)) for all t at once, and their derivatives obey the
linear recursion of real-time recurrent learning (Williams & Zipser 1989)

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
from forecast.training.levenberg_marquardt import block_rows, finite_sum

NEWTON_STEPS = 8
NEWTON_TOLERANCE = 1e-6
NEWTON_LOST = 1e6  # in scaled units: no net that is worth keeping leaves this range


class _Problem:
    """What both problems share: the errors over the experiments, whose first `start` rows only fill
    the delays.

    The weights are kept by what `validate` says of them: the error of the free run over held-out
    experiments.
    """

    weight: Array
    """(rows, O) multiplies the errors: the root of what a squared error counts."""

    def __init__(
        self,
        net: Narx,
        experiments: Sequence[Experiment],
        start: int,
        held_out: Sequence[Experiment] = (),
    ) -> None:
        self.net = net
        self.validate: Callable[[Array], float] | None = (
            Stack(net, held_out, start).mean_square if held_out else None
        )
        self._lay(experiments, start)
        self.n_weights, self.n_residuals = net.n_weights, int(np.count_nonzero(self.weight))

    def _lay(self, experiments: Sequence[Experiment], start: int) -> None:
        """Set `weight` and what the errors are computed from."""
        raise NotImplementedError

    def residuals(self, weights: Array) -> Array:
        """(rows * O,): the weighted errors, 0 where none counts."""
        raise NotImplementedError

    def loss(self, weights: Array) -> float:
        return finite_sum(self.residuals(weights))

    def validation(self, weights: Array) -> float | None:
        return self.validate(weights) if self.validate else None


class OpenLoop(_Problem):
    """One-step errors."""

    def _lay(self, experiments: Sequence[Experiment], start: int) -> None:
        z = np.concatenate([self.net.measured(e, start) for e in experiments])
        weight = np.concatenate([np.sqrt(e.counted[start:]) for e in experiments])
        weight = weight * np.isfinite(z).all(axis=1, keepdims=True)
        used = weight.any(axis=1)
        self.z, self.weight = z[used], weight[used]
        self.y = np.nan_to_num(np.concatenate([e.y[start:] for e in experiments])[used])

    def residuals(self, weights: Array) -> Array:
        return (self.net.error(self.net.layer.value(weights, self.z), self.y) * self.weight).ravel()

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        rows = block_rows(self.n_weights, self.net.outputs)
        for first in range(0, len(self.z), rows):
            part = slice(first, first + rows)
            error = self.net.error(self.net.layer.value(weights, self.z[part]), self.y[part])
            counted = self.weight[part] * (error != 0)
            jacobian = self.net.layer.jacobian(weights, self.z[part])
            jacobian *= counted
            yield (error * counted).ravel(), jacobian.reshape(self.n_weights, -1)


class ClosedLoop(_Problem):
    """Free-run errors, of each experiment from its first measured rows; for one descent."""

    def _lay(self, experiments: Sequence[Experiment], start: int) -> None:
        self.train = Stack(self.net, experiments, start)
        self.weight = self.train.weight

    def residuals(self, weights: Array) -> Array:
        train = self.train
        error = self.net.error(train.free_run(weights), train.y) * train.weight
        return error[:, : self.net.measured_outputs].ravel()

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        net, train = self.net, self.train
        run = train.free_run(weights)
        error, (z, free) = net.error(run, train.y), train.regressors(run)
        shown, slopes = net.measured_outputs, net.layer.linearised(weights, z, net.past_outputs)[1]
        counted = (train.weight * (error != 0))[:, :shown]
        train.follow(run)
        before: Array | None = None
        for part in train.parts(net.n_weights):
            gain = train.gain(slopes, free, part)
            total = solve_feedback(
                net.layer.jacobian(weights, z[:, part].T), gain, net.y_delays, before
            )
            before = total[:, -max(net.y_delays) :].copy()
            seen = total[..., :shown] * counted[part]
            yield (error[part, :shown] * counted[part]).ravel(), seen.reshape(net.n_weights, -1)


def continued(
    net: Narx, experiments: Sequence[Experiment], held_out: Sequence[Experiment], start: int
) -> ClosedLoop:
    """One free run through all rows, judged on those held out: a piece behind them would begin in
    an unknown state.
    """
    problem, judge = ClosedLoop(net, experiments, start), Stack(net, held_out, start)
    own = problem.train  # without the problem itself, which would keep every net in memory
    problem.validate = lambda weights: judge.error_of(own.free_run(weights))
    return problem


class Stack:
    """Experiments stacked into one system of rows: none of its couplings crosses the start of
    one.
    """

    def __init__(self, net: Narx, experiments: Sequence[Experiment], start: int) -> None:
        self.net, self.experiments, self.start = net, experiments, start
        # a state runs over the rows that only fill the delays of y, too
        self._first = 0 if net.states else start
        longer, first = [net.begun(e, start) for e in experiments], max(self._first, 1)
        self.y = np.nan_to_num(np.concatenate([e.y[first:] for e in longer]))
        self.weight = np.concatenate([np.sqrt(e.counted[first:]) for e in longer])
        filled = np.where(np.arange(net.outputs) < net.measured_outputs, start - self._first, 0)
        back = np.array(net.y_delays)[:, None, None]
        own = [np.arange(len(e) - first) - back >= filled[:, None] for e in longer]
        # 1 where y_{t-d} is its own, 0 where measured
        self.inside = np.concatenate(own, axis=-1).astype(np.float64)
        self.fixed = np.concatenate([net.measured(e, first) for e in longer]).T.copy()
        # left to the net
        self.fixed[: net.past_outputs][self.inside.reshape(-1, len(self.y)) > 0] = 0.0
        self.fixed = np.nan_to_num(self.fixed)
        far = (np.inf,) * net.outputs
        self._low, self._high = np.array([net.low or np.negative(far), net.high or far])[..., None]
        self._guess = self.y
        self._weights, self._run = b"", self._guess
        self.followed = False

    def free_run(self, weights: Array) -> Array:
        """v (rows, O) of all experiments; kept, for an accepted step needs it again."""
        key = weights.tobytes()
        if key != self._weights:
            run = self.newton(weights)
            if run is None:
                run = np.full_like(self._guess, np.inf) if self.followed else self.stepwise(weights)
            self._run = run
            self._weights = key
            if not self.followed and np.isfinite(self._run).all():
                self._guess = self._run
        return self._run

    def follow(self, run: Array) -> None:
        """From here on a step is refused that is so long that Newton's method does not find its run
        from this one.
        """
        self.followed, self._guess = True, run

    def mean_square(self, weights: Array) -> float:
        """Of the bounded free run, over the counted values; infinity on divergence."""
        return self.error_of(self.free_run(weights))

    def error_of(self, run: Array) -> float:
        """The same of a run."""
        error = self.weight * (self.net.bounded(run) - self.y)
        return finite_sum(error) / (float(np.vdot(self.weight, self.weight)) or 1.0)

    def stepwise(self, weights: Array) -> Array:
        """v row after row, for where Newton's method fails."""
        runs = (self.net.free_run(weights, e.u, e.y[: self.start]) for e in self.experiments)
        return np.concatenate([run[self._first :] for run in runs])

    def newton(self, weights: Array) -> Array | None:
        """v from the last finite run, None when Newton's method does not settle."""
        run, net = self._guess, self.net
        with np.errstate(over="ignore", invalid="ignore"):
            for left in reversed(range(NEWTON_STEPS)):
                z, free = self.regressors(run)
                v, slopes = net.layer.linearised(weights, z, net.past_outputs)
                miss = v.T - run
                worst = np.abs(miss).max()
                if not worst < (NEWTON_LOST if left else NEWTON_TOLERANCE):
                    return None
                run = run + self._correction(slopes, free, miss)
                # of the run before: the error after a step is that of its square
                if worst < NEWTON_TOLERANCE:
                    return run
        return None

    def parts(self, columns: int) -> list[slice]:
        """Blocks of rows, so that `columns` derivatives of them and their couplings stay small."""
        deepest, o = max(self.net.y_delays), self.net.outputs
        rows = max(block_rows(max(columns, 3 * deepest * o), o), deepest)
        return [
            slice(first, min(first + rows, len(self.y))) for first in range(0, len(self.y), rows)
        ]

    def _correction(self, slopes: Array, free: Array, miss: Array) -> Array:
        """Newton's step (rows, O): the solution of the linearised system for what the run
        misses.
        """
        before, out = None, np.empty_like(miss)
        for part in self.parts(1):
            gain = self.gain(slopes, free, part)
            step = solve_feedback(miss[None, part].copy(), gain, self.net.y_delays, before)
            before = step[:, -max(self.net.y_delays) :].copy()
            out[part] = step[0]
        return out

    def regressors(self, run: Array) -> tuple[Array, Array]:
        """z (d, rows) of the closed loop given all outputs v, and whether they are within their
        bounds (O, rows).
        """
        v, z, o = np.ascontiguousarray(run.T), self.fixed.copy(), self.net.outputs
        fed = np.minimum(np.maximum(v, self._low), self._high)
        for place, delay in enumerate(self.net.y_delays):
            z[place * o : (place + 1) * o, delay:] += (
                fed[:, :-delay] * self.inside[place, :, delay:]
            )
        return z, fed == v

    def gain(self, slopes: Array, free: Array, part: slice) -> Array:
        """dv_t/dv_{t-d} (O, delays, O, rows of the part): 0 across the start of an experiment, and
        from an output on its bound.
        """
        o, n = self.net.outputs, len(self.net.y_delays)
        gain = slopes[..., part].reshape(o, n, o, -1) * self.inside[..., part]
        for place, delay in enumerate(() if free.all() else self.net.y_delays):
            first = max(part.start, delay)
            gain[:, place, :, first - part.start :] *= free[:, first - delay : part.stop - delay]
        return gain


def solve_feedback(
    direct: Array, gain: Array, delays: tuple[int, ...], before: Array | None
) -> Array:
    """D (p, rows, O) with D_t = direct_t + sum_d gain_{t,d} D_{t-d}; direct (p, rows, O) is
    overwritten.

    gain (O, delays, O, rows); before (p, deepest, O): D of the rows just before, None: zeros.
    """
    p, rows, o = direct.shape
    deepest = max(delays)
    # [t, i, k]: minus the coefficient of y_{t,i} k places further on
    band = np.zeros((rows, o, deepest * o + o))
    for place, delay in enumerate(delays):
        if before is not None:
            reach = min(delay, rows)  # rows of this block whose y_{t-d} lies in the block before
            earlier = before[:, deepest - delay : deepest - delay + reach]
            direct[:, :reach] += np.einsum("pri,oir->pro", earlier, gain[:, place, :, :reach])
        for source, target in np.ndindex(o, o):
            band[: max(rows - delay, 0), source, delay * o - source + target] = -gain[
                target, place, source, delay:
            ]
    columns = direct.reshape(p, rows * o).T
    total, info = lapack.dtbtrs(
        band.reshape(rows * o, -1).T, columns, uplo="L", diag="U", overwrite_b=True
    )
    if info != 0:
        raise ArithmeticError(f"dtbtrs refused argument {-info}")
    return np.asarray(total.T.reshape(p, rows, o))


def segments(experiments: Sequence[Experiment], start: int, steps: int) -> list[Experiment]:
    """Stretches of `start` measured rows and the `steps` rows after them, one behind the other
    (multiple shooting).
    """
    found = []
    for e in experiments:
        for first in range(0, len(e) - start, steps):
            part = e.part(slice(first, first + start + steps))
            if np.isfinite(part.y[:start]).all() and part.counted[start:].any():
                found.append(part)
    return found
