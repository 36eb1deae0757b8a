"""Levenberg–Marquardt for small nets (Marquardt 1963; Hagan & Menhaj 1994), in float64, with
bounded memory.

`minimise` takes any `LeastSquares` problem, of the catalogue's networks (`network_problem`) or of
`forecast.identification`, and gives the `Result` of the best of several starts: by the problem's
validation error, or by the training objective where it has none. A start that diverges costs only
itself; all of them is a `ModelError`, more than `MAX_WEIGHTS` an `InputError`. `Options` says when
a descent ends, `Watch` lets Ctrl-C end one and keep its best weights.

A step solves  (JᵀJ + (decay + mu n) I) d = -(Jᵀe + decay w)  where J = de/dw is never held whole:
the problem hands it over in row blocks and only JᵀJ is kept. `mu` moves as in MATLAB's trainlm:
down tenfold after a step that lowers the objective, up tenfold after one that does not; with
`by_gain` it falls as far as the linear model was right (Nielsen 1999), so that the next step seldom
fails. `bayesian` sets `decay` from the evidence after every step, as trainbr does (MacKay 1992;
Foresee & Hagan 1997).
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

# beyond it one step's normal equations cost more than hundreds of steps of Adam
MAX_WEIGHTS = 2_000
LEAST_MU_FACTOR = 1 / 3  # of `by_gain`, as in Nielsen (1999)
BLOCK_BYTES = 64 * 2**20  # of the Jacobian rows held at once
TRIAL_SECONDS = 0.5  # of the iterations that tell how long a training takes


class LeastSquares:
    """A least-squares problem: residuals e (n_residuals,) of the counted rows by a vector of
    weights (n_weights,), and their derivatives in row blocks.

    `validate`: the error that picks the weights to keep; None: the training objective picks them.
    """

    n_weights: int
    n_residuals: int
    validate: Callable[[Array], float] | None = None

    def residuals(self, weights: Array) -> Array:
        """The weighted residuals, 0 where none counts."""
        raise NotImplementedError

    def loss(self, weights: Array) -> float:
        """The sum of squared residuals, infinity where the net diverges."""
        return finite_sum(self.residuals(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows,) and the transposed Jacobian (n_weights, rows), block after block."""
        raise NotImplementedError

    def validation(self, weights: Array) -> float | None:
        """What `validate` says of the weights; None without it."""
        return None if self.validate is None else self.validate(weights)


@dataclass(frozen=True)
class Options:
    """When to stop, and how the damping moves.

    `mu`, its factors and `mu_max`: the damping; `min_gradient`: below it, times n, a gradient
    counts as none; `patience`: iterations without a new best validation error before the stop;
    `decay`: weight of |w|² beside the sum of squares, which `bayesian` sets after every step;
    `goal`: mean squared error, scaled, at which to stop; `seconds`: of all starts; `by_gain`: after
    a step mu moves by its gain, what the objective fell over what was predicted.
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
    """Follows a training: `show` gets (iteration, train mse, validation error or nan, mu) after
    every iteration.

    With a watch, Ctrl-C ends the training and keeps the best weights so far, and `interrupted` says
    so.
    """

    show: Callable[[int, float, float, float], None] | None = None
    interrupted: bool = False

    def note_signal(self, *_: object) -> None:
        """Ctrl-C: the first one is only noted, a second one is raised."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True


@contextmanager
def note_interrupt(watch: Watch | None) -> Iterator[None]:
    """With a watch the first Ctrl-C inside is only noted, by `Watch.note_signal`.

    Calls with the same watch may be nested: the outermost installs and removes the handler.
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
    """The weights kept, why it stopped, and the curve of (iteration, train mse, validation error or
    nan, mu).

    Of Bayesian regularisation, which minimises beta |e|² + alpha |w|²: `decay` = alpha / beta and
    `effective_weights`, MacKay's gamma, the number of weights that the data determine.
    """

    weights: Array
    score: float
    reason: str
    curve: tuple[tuple[int, float, float, float], ...]
    decay: float
    effective_weights: float


def block_rows(n_weights: int, outputs: int = 1) -> int:
    """Time steps per Jacobian block so that the block stays below `BLOCK_BYTES`."""
    return max(1, BLOCK_BYTES // (8 * n_weights * outputs))


def memory_bytes(problem: LeastSquares) -> int:
    """Peak bytes of a run's own arrays, from the shapes: the normal equations, a block of the
    Jacobian, and the residuals.
    """
    p = problem.n_weights
    n = problem.n_residuals
    return 8 * (4 * p * p + 2 * p * min(n, block_rows(p)) + 15 * n)


def estimate_seconds(problem: LeastSquares, weights: Array, options: Options) -> float:
    """CPU seconds if every iteration is used, from the middle of iterations of a copy, which are
    thrown away: nine, or those of half a second.

    `ModelError` where the net diverges.
    """
    tried = _Run(copy.deepcopy(problem), weights, options)
    marks = [time.process_time()]
    while len(marks) < 10 and marks[-1] - marks[0] < TRIAL_SECONDS:
        tried.iterate()
        marks.append(time.process_time())
    return float(np.median(np.diff(marks))) * options.max_iterations


def describe_too_large(problem: LeastSquares) -> str:
    """Why a net beyond `MAX_WEIGHTS` is refused: the limit, its size and what it would take."""
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
    """Train from every start (n_weights,) and keep the weights with the lowest validation error
    seen, or training objective without one.

    `announce` receives the predicted memory and time before the first step. `InputError` above
    `MAX_WEIGHTS`, `ModelError` when the net diverges at every start.
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
    # so small a matrix gains nothing from threads that wait
    with limit_to_one_thread(), note_interrupt(watch):
        ends = time.perf_counter() + options.seconds
        if announce is not None and starts:
            announce(_describe_cost(problem, starts, options))
        for n_left, start in zip(range(len(starts), 0, -1), starts, strict=True):
            is_interrupted = watch is not None and watch.interrupted
            if runs and (is_interrupted or time.perf_counter() > ends):
                break
            share = replace(options, seconds=(ends - time.perf_counter()) / n_left)
            try:
                runs.append(_Run(problem, np.array(start, dtype=np.float64), share).result(watch))
            except ModelError as failure:
                reasons.add(str(failure))
    if not runs:
        prefix = f"None of {len(starts)} restarts could be trained: " if len(starts) > 1 else ""
        raise ModelError(prefix + "; ".join(sorted(reasons)))
    return min(runs, key=operator.attrgetter("score"))


def _describe_cost(problem: LeastSquares, starts: Sequence[Array], options: Options) -> str:
    """The sentence of `minimise` before its first step: the size, and what it will take at most."""
    several = f", {len(starts)} restarts" if len(starts) > 1 else ""
    size = f"{problem.n_weights} weights, {problem.n_residuals} residuals{several}"
    whole = replace(options, max_iterations=len(starts) * options.max_iterations)
    need = f"about {memory_bytes(problem) / 2**20:.0f} MB"
    with suppress(ModelError):  # a start that diverges tells no time
        seconds = min(estimate_seconds(problem, starts[0], whole), options.seconds)
        need += f" and at most {seconds:.1f} s"
    return f"Levenberg-Marquardt, {size}: {need}."


class _Run:
    """One descent from one start, iteration by iteration; `reason` stays empty while it goes on.

    `score`: of the `best` weights so far; `rises`: iterations since these; `ends`: when its time is
    used up, on the clock `time.perf_counter`.
    """

    def __init__(self, problem: LeastSquares, weights: Array, options: Options) -> None:
        """Begin at `weights`; `ModelError` where the net diverges there."""
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
        """One iteration: the normal equations and the step that they give, after which the best
        weights are kept; sets `reason` where the descent ends.
        """
        jtj, gradient = normal_equations(self.problem, self.weights)
        if not np.isfinite(jtj).all():
            self.reason = "derivatives overflow"
            return
        if self.options.bayesian:
            self._update_decay(jtj)
        pull = gradient + self.decay * self.weights
        if np.abs(pull).max() < self.options.min_gradient * self.problem.n_residuals:
            self.reason = "gradient below its minimum"
        elif not self._descend(jtj, pull):
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
        """Iterate until there is a `reason` to stop, or Ctrl-C was heard; the best weights of all
        iterations.
        """
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

    def _descend(self, jtj: Array, pull: Array) -> bool:
        """Raise mu until a step lowers the objective; False when mu passes its maximum."""
        objective = self.loss + self.decay * self.weights @ self.weights
        while self.mu <= self.options.mu_max:
            damping = self.mu * self.problem.n_residuals
            step = _solve_step(jtj, pull, self.decay + damping)
            candidate = self.weights + step
            loss = self._loss(candidate)
            new_objective = loss
            if np.isfinite(loss):
                new_objective += float(self.decay * candidate @ candidate)
            if new_objective < objective:
                factor = self.options.mu_decrease
                if self.options.by_gain:
                    predicted = float(step @ (damping * step - pull))
                    gain = float(objective - new_objective) / predicted
                    factor = max(LEAST_MU_FACTOR, 1 - (2 * gain - 1) ** 3)
                self.weights = candidate
                self.loss = loss
                self.mu = max(self.mu * factor, 1e-20)
                return True
            self.mu *= self.options.mu_increase
        return False

    def _loss(self, weights: Array) -> float:
        """The problem's loss; infinite for weights that are not finite."""
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
        """Add a point to the curve; keep the weights where the validation error (or, without one,
        the loss) is the lowest so far, else count one more rise.
        """
        validated = self.problem.validation(self.weights)
        mean_square = self.loss / self.problem.n_residuals
        score = mean_square if validated is None else validated
        self.curve.append(
            (self.iteration, mean_square, np.nan if validated is None else validated, self.mu)
        )
        # no free run has held yet
        if score < self.score or validated is None or not np.isfinite(self.score):
            self.best = self.weights
            self.score = score
            self.rises = 0
        else:
            self.rises += 1


def finite_sum(error: Array) -> float:
    """The sum of squares; infinity when any value is not finite or too large to square."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.vdot(error, error))
    return total if np.isfinite(total) else np.inf


def normal_equations(problem: LeastSquares, weights: Array) -> tuple[Array, Array]:
    """JᵀJ (p, p) and Jᵀe (p,) of the problem at `weights`, summed over its blocks of rows."""
    jtj = np.zeros((problem.n_weights, problem.n_weights))
    gradient = np.zeros(problem.n_weights)
    with np.errstate(over="ignore", invalid="ignore"):
        for residual, jacobian_t in problem.blocks(weights):
            jtj += jacobian_t @ jacobian_t.T
            gradient += jacobian_t @ residual
    return jtj, gradient


def _solve_step(jtj: Array, pull: Array, damping: float) -> Array:
    """d of (jtj + damping I) d = -pull; infinite where that matrix cannot be factored."""
    damped = jtj + damping * np.eye(len(jtj))
    # the transposed is the same matrix, in the order that needs no copy
    _, step, info = scipy.linalg.lapack.dposv(damped.T, -pull, overwrite_a=True)
    # not positive definite to rounding: no step, so that mu rises
    return np.full_like(pull, np.inf) if info else step
