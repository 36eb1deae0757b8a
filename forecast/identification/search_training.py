"""The work of a search: the list of steps that it is done from, with the time they take, and how
the models are made: each kind of candidate begun, trained in a fold, and trained on with all rows.

A `Step` makes one model. `Plan.doing` measures it and takes it off the list; `Plan.tell` announces
how long the steps that are left take, by what such steps took so far. Those that only may come are
planned with a smaller share, and put anew when more is known. Steps are measured in seconds of the
processor, and told by the clock, as the machine gave its time so far.

`Trainer` serves one search. A `Member` comes from `begin` with the weights that its training starts
from; `train` trains it on its free run and judges it on rows held out, `train_on` trains it on with
other rows, `fit_one_step` on its one-step errors. Each raises `ModelError` or `LinAlgError` for a
model that cannot be made so, except `train_on`, which leaves it as it was. After Ctrl-C (`Watch`)
weights stay as they are.

What differs between kinds is asked for here alone: search for `.kind`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Literal

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
from forecast.training import levenberg_marquardt as lm

OPEN_ITERATIONS = 30  # of the one-step fit that nets on delays begin from
LINEAR_ROUNDS = 3  # of training a linear model, after which its states are chosen again
LINEAR_ITERATIONS = 15  # in each of these
POLYNOMIAL_DEGREE = 3  # at most
POLYNOMIAL_TERMS = 12  # at most


Work = Literal["begin", "train"]


@dataclass(frozen=True)
class Step:
    """A model to make, that of a candidate in a fold. `stage`: as announced; `share`: of the rows
    times iterations of this work in a fold.
    """

    stage: str
    work: Work
    candidate: Candidate
    fold: int
    share: float = 1.0


class Plan:
    """The `steps` that are left; `announce` is told how long they take."""

    def __init__(self, announce: Callable[[str], None] | None) -> None:
        """Nothing is planned; from now on the clock is compared with the processor."""
        self.announce = announce
        self.steps: list[Step] = []
        self._seconds: dict[tuple[Work, Candidate], list[float]] = defaultdict(list)
        self._least = np.inf
        self._clock = time.perf_counter()
        self._processor = time.thread_time()

    def put(self, stage: str, steps: Iterable[Step] = ()) -> None:
        """Plan these in the place of all that were planned for the stage."""
        self.steps = [step for step in self.steps if step.stage != stage] + list(steps)

    def drop(self, candidates: Collection[Candidate]) -> None:
        """Plan nothing more for these candidates."""
        self.steps = [step for step in self.steps if step.candidate not in candidates]

    def of(self, stage: str) -> list[Step]:
        """The steps of a stage that are left."""
        return [step for step in self.steps if step.stage == stage]

    @contextmanager
    def doing(self, step: Step) -> Iterator[None]:
        """A step, done and measured where this ends."""
        begin = time.thread_time()
        yield
        if step.share:
            seconds = (time.thread_time() - begin) / step.share
            self._seconds[step.work, step.candidate].append(seconds)
        self.steps.remove(step)

    def tell(self, stage: str) -> None:
        """Announce the seconds that are left after a stage, never more than before."""
        clock = time.perf_counter() - self._clock
        processor = time.thread_time() - self._processor
        if self.announce is not None and processor > 0:
            seconds = sum(map(self._expect, self.steps)) * clock / processor
            self._least = min(self._least, seconds)
            self.announce(f"{stage}: about {self._least:.1f} s more.")

    def _expect(self, step: Step) -> float:
        """Seconds of the processor, as such steps took so far."""
        return step.share * float(np.mean(self._seconds[step.work, step.candidate] or [0.0]))


@dataclass(frozen=True)
class Trainer:
    """Of nets with the columns and bounds of `plain`; `start`: the measured rows of a free run.

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

    def begin(self, member: Member, train: list[Experiment], rng: np.random.Generator) -> Member:
        """With the weights that the training of its fold starts from: terms chosen one step ahead
        (polynomials), a one-step fit (delays), or the linear model with tanh units that do not act
        yet (states).
        """
        net, kind = member.net, member.candidate.kind
        if kind == "polynomial":
            problem = self._open_loop(net, train)
            terms, weights = select_terms(
                problem.z, problem.y, degree=POLYNOMIAL_DEGREE, most=POLYNOMIAL_TERMS
            )
            return replace(member, net=replace(net, terms=terms), weights=weights)
        if kind in ("delays", "arx"):
            member = replace(member, weights=initial_weights(net, rng))
            return replace(member, weights=self.fit_one_step(member, train))
        order = net.outputs // net.measured_outputs
        if (member.fold, order) not in self._linear:
            self._linear[member.fold, order] = self._train_linear(order, train)
        bend = add_bent_signal if kind == "one signal" else add_hidden_units
        return replace(member, weights=bend(net, self._linear[member.fold, order], rng))

    def train(
        self,
        member: Member,
        train: list[Experiment],
        held_out: list[Experiment],
        iterations: int,
    ) -> Member:
        """Trained on with Bayesian regularisation, and judged on the rows held out."""
        start = member.net.rows_to_start(self.start)
        if member.net.terms:
            polynomial = refine_terms(
                member.net,
                member.weights,
                train,
                start,
                degree=POLYNOMIAL_DEGREE,
                most=POLYNOMIAL_TERMS,
                watch=self.watch,
            )
            member = replace(member, net=polynomial.net, weights=polynomial.weights)
        problem = ClosedLoop(member.net, train, start)
        if not member.net.terms and member.candidate.kind != "arx":
            member = replace(member, weights=self._minimise(problem, member, iterations))
        run = problem.train.free_run(member.weights)
        judge = StackedExperiments(member.net, held_out, start)
        held_out_rmse = float(np.sqrt(judge.error_of(run)))
        train_rmse = max(float(np.sqrt(problem.train.error_of(run))), ROUNDING)
        return replace(member, held_out_rmse=held_out_rmse, train_rmse=train_rmse, run=run)

    def train_on(
        self, member: Member, experiments: Sequence[Experiment], iterations: int
    ) -> Member:
        """Trained on all rows of the experiments, with its error there."""
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

    def _train_linear(self, order: int, train: list[Experiment]) -> Array:
        """Weights of the linear model with states trained on its free run (output error), its
        states chosen again as it moves.
        """
        net = with_states(self.plain, order, 0)
        options = lm.Options(max_iterations=LINEAR_ITERATIONS, by_gain=True)
        weights = limit_poles(net, linear_weights(net, train))
        for _ in range(LINEAR_ROUNDS):
            weights = whiten_states(net, weights, train)
            # a problem serves one descent: it goes on from the run of states before
            problem = ClosedLoop(net, train, self.start)
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
        if member.candidate.kind != "one signal":
            return lm.minimise(problem, member.weights, options=options, watch=self.watch).weights
        shared = OneSignal(problem, member.net)
        start = shared.shrink(member.weights)
        return shared.expand(lm.minimise(shared, start, options=options, watch=self.watch).weights)
