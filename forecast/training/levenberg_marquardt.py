"""Levenberg–Marquardt for small networks (Marquardt 1963; Hagan & Menhaj 1994), in float64, with
bounded memory.

`minimise` takes any `LeastSquares` problem, of the catalogue's networks (`network_problem`) or of
`forecast.identification`, and returns the `Result` of the best of several starts. `Options` says
when a descent ends; a `Watch` lets Ctrl-C end it and keep its best weights.

A step solves  (JᵀJ + (decay + mu n) I) d = -(Jᵀe + decay w). The Jacobian J = de/dw is never held
whole: the problem gives it in blocks of rows, and only JᵀJ is kept. `mu` changes as in MATLAB's
trainlm: a tenth after a step that lowers the objective, ten times after one that does not. With
`by_gain` it decreases by how well the linear model predicted the step (Nielsen 1999), so that the
next step seldom fails. `bayesian` sets `decay` from the evidence after every step, as trainbr does
(MacKay 1992; Foresee & Hagan 1997).
"""

from __future__ import annotations

import copy
import operator
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from forecast.system.errors import InputError, ModelError
from forecast.system.workers import limit_to_one_thread

Array = npt.NDArray[np.float64]

MAX_WEIGHTS = 2_000
"""With more weights a single step costs more than hundreds of steps of Adam."""
LEAST_MU_FACTOR = 1 / 3
"""The least factor of mu with `by_gain`, as in Nielsen (1999)."""
BLOCK_BYTES = 64 * 2**20
"""Memory of the Jacobian's rows that are held at once."""
TRIAL_SECONDS = 0.5
"""Time of the iterations from which the time of a training is estimated."""


class LeastSquares:
    """A least-squares problem: residuals e as a function of the weights (n_weights,), and their
    derivatives in blocks of rows. `n_residuals`: the residuals that count.

    `validate`: gives the error that chooses the weights to keep; None: a descent keeps its last
    ones, which have the lowest objective.
    """

    n_weights: int
    n_residuals: int
    validate: Callable[[Array], float] | None = None

    def residuals(self, weights: Array) -> Array:
        """The weighted residuals, 0 where one does not count."""
        raise NotImplementedError

    def loss(self, weights: Array) -> float:
        """The sum of squared residuals; infinity where the network diverges."""
        return finite_sum(self.residuals(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows,) and the transposed Jacobian (n_weights, rows), block after block."""
        raise NotImplementedError

    def validation(self, weights: Array) -> float | None:
        """The validation error of the weights; None without `validate`."""
        return None if self.validate is None else self.validate(weights)


@dataclass(frozen=True)
class Options:
    """When to stop, and how the damping changes.

    `mu`, `mu_increase`, `mu_decrease`, `mu_max`: the damping and its factors. `min_gradient`: stop
    where the gradient is below it times n. `patience`: stop after so many iterations without a new
    best validation error. `goal`: stop at this mean squared error in scaled units. `seconds`: stop
    after this time, over all starts. `decay`: the weight of |w|² beside the sum of squares;
    `bayesian`: set it after every step. `by_gain`: decrease mu by the gain of the step, which is
    the decrease of the objective over the predicted one.
    """

    max_iterations: int = 100
    mu: float = 1e-3
    mu_increase: float = 10.0
    mu_decrease: float = 0.1
    mu_max: float = 1e10
    min_gradient: float = 1e-7
    patience: int = 6
    decay: float = 0.0
    bayesian: bool = False
    goal: float = 0.0
    seconds: float = np.inf
    by_gain: bool = False


@dataclass
class Watch:
    """Shows the progress of a training, and lets Ctrl-C end it with the best weights so far.

    `show` gets (iteration, train mse, validation error or nan, mu) after every iteration.
    `interrupted`: whether Ctrl-C ended the training.
    """

    show: Callable[[int, float, float, float], None] | None = None
    interrupted: bool = False

    def note_signal(self, *_: object) -> None:
        """The handler of Ctrl-C: the first one is only noted, a second one raises."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True


@contextmanager
def note_interrupt(watch: Watch | None) -> Iterator[None]:
    """A context in which the first Ctrl-C is only noted by `watch`; without a watch it changes
    nothing. Contexts of the same watch may be nested; the outermost installs the handler.
    """
    # only the main thread may install a handler
    other = threading.current_thread() is not threading.main_thread()
    if watch is None or other or signal.getsignal(signal.SIGINT) == watch.note_signal:
        yield
        return
    watch.interrupted = False
    before = signal.signal(signal.SIGINT, watch.note_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Result:
    """The kept weights and their score (the validation error, or without one the train mse), why
    the descent stopped, and its curve of (iteration, train mse, validation error or nan, mu).

    Bayesian regularisation minimises beta |e|² + alpha |w|²: `decay` is alpha / beta, and
    `effective_weights` is MacKay's gamma, the number of weights that the data determine.
    """

    weights: Array
    score: float
    reason: str
    curve: tuple[tuple[int, float, float, float], ...]
    decay: float
    effective_weights: float


def block_rows(n_weights: int, outputs: int = 1) -> int:
    """How many time steps of the Jacobian fit into `BLOCK_BYTES`; at least one."""
    return max(1, BLOCK_BYTES // (8 * n_weights * outputs))


def memory_bytes(problem: LeastSquares) -> int:
    """The most memory that a descent needs: the normal equations, a block of the Jacobian, and the
    residuals.
    """
    p = problem.n_weights
    n = problem.n_residuals
    return 8 * (4 * p * p + 2 * p * min(n, block_rows(p)) + 15 * n)


def estimate_seconds(problem: LeastSquares, weights: Array, options: Options) -> float:
    """CPU seconds of a descent that uses all its iterations, from the median of up to nine
    iterations of a copy, for at most `TRIAL_SECONDS`. `ModelError` where the network diverges.
    """
    trial = _Run(copy.deepcopy(problem), weights, options)
    times = [time.process_time()]
    while len(times) < 10 and times[-1] - times[0] < TRIAL_SECONDS:
        trial.iterate()
        times.append(time.process_time())
    return float(np.median(np.diff(times))) * options.max_iterations


def describe_too_large(problem: LeastSquares) -> str:
    """Why a network with more than `MAX_WEIGHTS` weights is refused."""
    return (
        f"Levenberg-Marquardt is for nets of at most {MAX_WEIGHTS} weights; this one has"
        f" {problem.n_weights} and would take about {memory_bytes(problem) / 2**20:.0f} MB. Use"
        " fewer units or delays, or in a project's grid another `trainer`."
    )


def minimise(
    problem: LeastSquares,
    *starts: Array,
    options: Options | None = None,
    announce: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Result:
    """Train from every one of `starts` (n_weights,) and keep the weights with the lowest validation
    error, or without validation the lowest mean squared residual.

    `announce` is given the estimated memory and time before the first step. `InputError` for more
    than `MAX_WEIGHTS` weights, `ModelError` where no residual counts, or the network diverges from
    every start.
    """
    options = options or Options()
    if problem.n_weights > MAX_WEIGHTS:
        raise InputError(describe_too_large(problem))
    if not problem.n_residuals:
        raise ModelError(
            "No value of y counts, or none behind a y measured over all delays. Take shorter"
            " delays."
        )
    runs: list[Result] = []
    reasons: set[str] = set()
    # several threads only wait for each other on so small matrices
    with limit_to_one_thread(), note_interrupt(watch):
        ends = time.perf_counter() + options.seconds
        if announce is not None and starts:
            announce(_describe_cost(problem, starts, options))
        for number, start in enumerate(starts):
            is_interrupted = watch is not None and watch.interrupted
            if runs and (is_interrupted or time.perf_counter() > ends):
                break
            seconds = (ends - time.perf_counter()) / (len(starts) - number)
            share = replace(options, seconds=seconds)
            try:
                runs.append(_Run(problem, np.array(start, dtype=np.float64), share).result(watch))
            except ModelError as failure:
                reasons.add(str(failure))
    if not runs:
        prefix = f"None of {len(starts)} restarts could be trained: " if len(starts) > 1 else ""
        raise ModelError(prefix + "; ".join(sorted(reasons)))
    return min(runs, key=operator.attrgetter("score"))


def _describe_cost(problem: LeastSquares, starts: Sequence[Array], options: Options) -> str:
    """The sentence for `announce`: the size of the problem, and the memory and time it needs."""
    several = f", {len(starts)} restarts" if len(starts) > 1 else ""
    size = f"{problem.n_weights} weights, {problem.n_residuals} residuals{several}"
    whole = replace(options, max_iterations=len(starts) * options.max_iterations)
    need = f"about {memory_bytes(problem) / 2**20:.0f} MB"
    with suppress(ModelError):  # no estimate from a start that diverges
        seconds = min(estimate_seconds(problem, starts[0], whole), options.seconds)
        need += f" and at most {seconds:.1f} s"
    return f"Levenberg-Marquardt, {size}: {need}."


class _Run:
    """One descent from one start, iteration by iteration. `reason`: why it ended, empty before.

    `best`: the best weights so far, and `score` their error; `rises`: iterations since then;
    `ends`: the `time.perf_counter` at which its time is used up.
    """

    def __init__(self, problem: LeastSquares, weights: Array, options: Options) -> None:
        """Begin at `weights`; `ModelError` where the network diverges there."""
        self.problem = problem
        self.options = options
        self.weights = weights
        self.decay = options.decay
        self.mu = options.mu
        self.loss = self._loss(weights)
        if not np.isfinite(self.loss):
            raise ModelError(
                "The net diverges with its initial weights. Start from the open-loop weights"
                " instead."
            )
        self.effective = float(problem.n_weights)
        self.reason = ""
        self.iteration = 0
        self.rises = 0
        self.curve: list[tuple[int, float, float, float]] = []
        self.best = weights
        self.score = np.inf
        self.ends = time.perf_counter() + options.seconds
        self._record()

    def iterate(self) -> None:
        """One iteration: solve the normal equations for a step and keep the best weights. Sets
        `reason` where the descent ends.
        """
        jtj, gradient = normal_equations(self.problem, self.weights)
        if not np.isfinite(jtj).all():
            self.reason = "derivatives overflow"
            return
        if self.options.bayesian:
            self._update_decay(jtj)
        gradient = gradient + self.decay * self.weights
        if np.abs(gradient).max() < self.options.min_gradient * self.problem.n_residuals:
            self.reason = "gradient below its minimum"
        elif not self._descend(jtj, gradient):
            self.reason = "mu above its maximum"
        else:
            self.iteration += 1
            self._record()
            if self.rises >= self.options.patience:
                self.reason = "validation error rose"
            elif self.loss <= self.options.goal * self.problem.n_residuals:
                self.reason = "goal reached"
            elif self.iteration >= self.options.max_iterations:
                self.reason = "iterations used"
            elif time.perf_counter() > self.ends:
                self.reason = "time used"

    def result(self, watch: Watch | None = None) -> Result:
        """Iterate until there is a `reason` to stop or Ctrl-C; returns the best weights."""
        try:
            while self.reason == "":
                self.iterate()
                if watch is not None and watch.show is not None:
                    watch.show(*self.curve[-1])
                if watch is not None and watch.interrupted:
                    self.reason = self.reason or "interrupted"
        except KeyboardInterrupt:
            if watch is None:
                raise
            watch.interrupted = True
            self.reason = "interrupted"
        curve = tuple(self.curve)
        return Result(self.best, self.score, self.reason, curve, self.decay, self.effective)

    def _descend(self, jtj: Array, gradient: Array) -> bool:
        """Raise mu until a step lowers the objective, take that step and set mu for the next one
        (`mu_decrease`, `by_gain`); False where mu passes its maximum. gradient: half of that of the
        whole objective.
        """
        objective = self.loss + self.decay * self.weights @ self.weights
        while self.mu <= self.options.mu_max:
            damping = self.mu * self.problem.n_residuals
            step = _solve_step(jtj, gradient, self.decay + damping)
            candidate = self.weights + step
            loss = self._loss(candidate)
            new_objective = loss
            if np.isfinite(loss):
                new_objective += float(self.decay * candidate @ candidate)
            if new_objective < objective:
                factor = self.options.mu_decrease
                if self.options.by_gain:
                    predicted = float(step @ (damping * step - gradient))
                    gain = float(objective - new_objective) / predicted
                    factor = max(LEAST_MU_FACTOR, 1 - (2 * gain - 1) ** 3)
                self.weights = candidate
                self.loss = loss
                self.mu = max(self.mu * factor, 1e-20)
                return True
            self.mu *= self.options.mu_increase
        return False

    def _loss(self, weights: Array) -> float:
        """The loss of the problem; infinite for weights that are not finite."""
        if not np.isfinite(weights).all():
            return np.inf
        with np.errstate(over="ignore", invalid="ignore"):
            return self.problem.loss(weights)

    def _update_decay(self, jtj: Array) -> None:
        """Set `decay` from the evidence: gamma = p - decay tr((JᵀJ + decay I)⁻¹), alpha = gamma /
        2|w|², beta = (n - gamma) / 2|e|², decay = alpha / beta.
        """
        n = self.problem.n_residuals
        if self.iteration > 0:
            values = np.clip(scipy.linalg.eigvalsh(jtj), 0.0, None)
            self.effective = float(np.sum(values / (values + self.decay)))
        squares = float(self.weights @ self.weights)
        alpha = self.effective / max(2 * squares, 1e-300)
        beta = max(n - self.effective, 1.0) / max(2 * self.loss, 1e-300)
        self.decay = alpha / beta

    def _record(self) -> None:
        """Add a point to the curve, and keep the weights where their validation error is the lowest
        so far, or where there is no validation; else count one more rise.
        """
        error = self.problem.validation(self.weights)
        mean_square = self.loss / self.problem.n_residuals
        score = mean_square if error is None else error
        self.curve.append(
            (self.iteration, mean_square, np.nan if error is None else error, self.mu)
        )
        # an infinite score: no free run has stayed finite so far
        if score < self.score or error is None or not np.isfinite(self.score):
            self.best = self.weights
            self.score = score
            self.rises = 0
        else:
            self.rises += 1


def finite_sum(error: Array) -> float:
    """The sum of squares of `error`; infinity where a value is not finite or too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.vdot(error, error))
    return total if np.isfinite(total) else np.inf


def normal_equations(problem: LeastSquares, weights: Array) -> tuple[Array, Array]:
    """JᵀJ (p, p) and Jᵀe (p,) at `weights`, summed over blocks of rows."""
    jtj = np.zeros((problem.n_weights, problem.n_weights))
    gradient = np.zeros(problem.n_weights)
    with np.errstate(over="ignore", invalid="ignore"):
        for residual, jacobian_t in problem.blocks(weights):
            jtj += jacobian_t @ jacobian_t.T
            gradient += jacobian_t @ residual
    return jtj, gradient


def _solve_step(jtj: Array, gradient: Array, damping: float) -> Array:
    """d of (jtj + damping I) d = -gradient; infinite where the matrix is not positive definite to
    rounding, so that mu rises.
    """
    damped = jtj + damping * np.eye(len(jtj))
    # the transpose of the symmetric matrix has the memory order that LAPACK needs no copy for
    _, step, info = scipy.linalg.lapack.dposv(damped.T, -gradient, overwrite_a=True)
    return np.full_like(gradient, np.inf) if info else step
