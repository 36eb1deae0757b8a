"""How the models of a search are made: each kind of candidate begun, trained in a fold, and trained
further on all rows; and the time that is left.

`Pace` estimates the time that is left: after the folds a candidate is taken to need the seconds of
the processor that it needed in them, in proportion to rows times iterations; what the clock shows
is longer by as much as it was so far.

`Trainer` serves one search. A `Member` comes from `begin` with the weights that its training starts
from; `train` trains it on its free run and judges it on rows held out, `train_further` goes on with
other rows, `fit_one_step` fits its one-step errors. Each raises `ModelError` or `LinAlgError` for a
model that cannot be made so, except `train_further`, which leaves it as it was. After Ctrl-C
(`Watch`) weights stay as they are.

What differs between kinds is asked for here alone: search for `.kind`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.member import ROUNDING, Member
from forecast.identification.narx import Narx, initial_weights
from forecast.identification.polynomial import select_terms
from forecast.identification.problems import ClosedLoop, OpenLoop, StackedExperiments
from forecast.identification.search_settings import Candidate
from forecast.identification.states import (
    OneSignal,
    add_bent_signal,
    add_hidden_units,
    limit_poles,
    linear_weights,
    whiten_states,
    with_states,
)
from forecast.identification.term_search import refine_terms
from forecast.system.errors import ModelError
from forecast.system.stage import show_nothing
from forecast.training import levenberg_marquardt as lm

OPEN_ITERATIONS = 30  # of the one-step fit that nets on delays begin from
LINEAR_ROUNDS = 3  # of training a linear model, after which its states are chosen again
LINEAR_ITERATIONS = 15  # in each of these
POLYNOMIAL_DEGREE = 3  # at most
POLYNOMIAL_TERMS = 12  # at most
SETTLED_SHARE = 0.2  # of the time of choosing terms: training them on afterwards


Work = Candidate | str  # the training of a candidate, or what a fold does by a name


class Pace:
    """How long a candidate took in a fold; `announce` is told how long the rest takes."""

    def __init__(self, announce: Callable[[str], None] | None, last_share: float) -> None:
        """From now on the clock is compared with the processor."""
        self.announce = announce or show_nothing
        self.last_share = last_share
        self._seconds: dict[Work, list[float]] = defaultdict(list)
        self._least = np.inf
        self._clock, self._processor = time.perf_counter(), time.thread_time()

    @contextmanager
    def measure(self, work: Work) -> Iterator[None]:
        """A part of a fold."""
        begin = time.thread_time()
        yield
        self._seconds[work].append(time.thread_time() - begin)

    def tell(self, stage: str, works: Iterable[Work], last: Iterable[Candidate] = ()) -> None:
        """Announce the seconds that are left after a stage, never more than before: of this work,
        and of training these models last.
        """
        seconds = sum(map(self._expect, works)) + self.last_share * sum(map(self._expect, last))
        clock, processor = time.perf_counter() - self._clock, time.thread_time() - self._processor
        self._least = min(self._least, seconds * clock / max(processor, 1e-9))
        self.announce(f"{stage}: about {self._least:.1f} s more.")

    def _expect(self, work: Work) -> float:
        """Seconds of the processor, as it took so far."""
        seconds = float(np.mean(self._seconds[work] or [0.0]))
        is_settled = isinstance(work, Candidate) and work.kind == "polynomial"
        return seconds * (SETTLED_SHARE if is_settled else 1.0)


@dataclass(frozen=True)
class Trainer:
    """Makes and trains the nets of a search. All have the columns and bounds of `plain`; `start`:
    the measured rows that a free run begins from.

    Linear models are trained once for every fold and order, whatever candidates begin as them.
    """

    plain: Narx
    start: int
    watch: lm.Watch | None
    _linear: dict[tuple[int, int], Array] = field(default_factory=dict)

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was pressed: what is left is only to be judged."""
        return self.watch is not None and self.watch.interrupted

    def begin(
        self, member: Member, train_rows: list[Experiment], rng: np.random.Generator
    ) -> Member:
        """The member with the weights from which training on the fold's `train_rows` starts: terms
        chosen one step ahead (kind polynomial), a one-step fit (delays, arx), or the linear model
        with tanh units that do not act yet (nets with states, one signal).
        """
        net, kind = member.net, member.candidate.kind
        if kind == "polynomial":
            problem = self._open_loop(net, train_rows)
            terms, weights = select_terms(
                problem.z, problem.y, degree=POLYNOMIAL_DEGREE, max_terms=POLYNOMIAL_TERMS
            )
            return replace(member, net=replace(net, terms=terms), weights=weights)
        if kind in ("delays", "arx"):
            member = replace(member, weights=initial_weights(net, rng))
            return replace(member, weights=self.fit_one_step(member, train_rows))
        # every measured output has `order` - 1 states
        order = net.outputs // net.measured_outputs
        if (member.fold, order) not in self._linear:
            self._linear[member.fold, order] = self._train_linear(order, train_rows)
        bend = add_bent_signal if kind == "one signal" else add_hidden_units
        return replace(member, weights=bend(net, self._linear[member.fold, order], rng))

    def train(
        self,
        member: Member,
        train_rows: list[Experiment],
        held_out: list[Experiment],
        iterations: int,
    ) -> Member:
        """The member trained with Bayesian regularisation, and judged on the rows held out."""
        start = member.net.rows_to_start(self.start)
        if member.net.terms:
            polynomial = refine_terms(
                member.net,
                member.weights,
                train_rows,
                start,
                degree=POLYNOMIAL_DEGREE,
                max_terms=POLYNOMIAL_TERMS,
                watch=self.watch,
            )
            member = replace(member, net=polynomial.net, weights=polynomial.weights)
        problem = ClosedLoop(member.net, train_rows, start)
        if not member.net.terms and member.candidate.kind != "arx":
            member = replace(member, weights=self._minimise(problem, member, iterations))
        run = problem.train.free_run(member.weights)
        judge = StackedExperiments(member.net, held_out, start)
        held_out_rmse = float(np.sqrt(judge.error_of(run)))
        train_rmse = max(float(np.sqrt(problem.train.error_of(run))), ROUNDING)
        return replace(member, held_out_rmse=held_out_rmse, train_rmse=train_rmse, run=run)

    def train_further(
        self, member: Member, experiments: Sequence[Experiment], iterations: int
    ) -> Member:
        """The member trained further, on all rows of the experiments, with its error there."""
        start = member.net.rows_to_start(self.start)
        problem = ClosedLoop(member.net, experiments, start, guess=member.run)
        weights = member.weights
        with suppress(ModelError, np.linalg.LinAlgError):
            if member.candidate.kind == "arx":
                weights = self.fit_one_step(member, experiments)
            else:
                weights = self._minimise(problem, member, iterations)
        with np.errstate(over="ignore", invalid="ignore"):
            error = (problem.loss(weights) / problem.n_residuals) ** 0.5
        run = problem.train.free_run(weights)
        return replace(member, weights=weights, train_rmse=max(error, ROUNDING), run=run)

    def fit_one_step(self, member: Member, experiments: Sequence[Experiment]) -> Array:
        """Weights fitted to the one-step error on measured y, where training in free run begins."""
        problem = self._open_loop(member.net, experiments)
        # the evidence takes a linear net without weights yet for one that needs none
        bayesian = not member.net.inputs and bool(member.weights.any())
        return self._minimise(problem, member, OPEN_ITERATIONS, bayesian=bayesian)

    def one_step_rmse(self, member: Member, experiments: Sequence[Experiment]) -> float:
        """The one-step error on the experiments."""
        problem = self._open_loop(member.net, experiments)
        return (problem.loss(member.weights) / problem.n_residuals) ** 0.5

    def _open_loop(self, net: Narx, experiments: Sequence[Experiment]) -> OpenLoop:
        return OpenLoop(net, experiments, net.rows_to_start(self.start))

    def _train_linear(self, order: int, train_rows: list[Experiment]) -> Array:
        """Weights of the linear model with states trained on its free run (output error), its
        states chosen again as it moves.
        """
        net = with_states(self.plain, order, 0)
        options = lm.Options(max_iterations=LINEAR_ITERATIONS, by_gain=True)
        weights = limit_poles(net, linear_weights(net, train_rows))
        for _ in range(LINEAR_ROUNDS):
            weights = whiten_states(net, weights, train_rows)
            # a problem serves one descent: it goes on from the run of states before
            problem = ClosedLoop(net, train_rows, self.start)
            weights = lm.minimise(problem, weights, options=options, watch=self.watch).weights
        return weights

    def _minimise(
        self,
        problem: OpenLoop | ClosedLoop,
        member: Member,
        iterations: int,
        *,
        bayesian: bool = True,
    ) -> Array:
        """The weights of a member after training; as they are after Ctrl-C."""
        if self.is_interrupted:
            return member.weights
        options = lm.Options(max_iterations=iterations, bayesian=bayesian, by_gain=True)
        if member.candidate.kind != "one signal" or isinstance(problem, OpenLoop):
            return lm.minimise(problem, member.weights, options=options, watch=self.watch).weights
        shared = OneSignal(problem, member.net)
        start = shared.shrink(member.weights)
        return shared.expand(lm.minimise(shared, start, options=options, watch=self.watch).weights)
