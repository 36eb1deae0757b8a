"""How the search of `identify` makes its models, and how it estimates the time that is left.

`Trainer.begin` gives a `Member` the weights that training starts from, `train` trains it in a fold
and judges it on the block held out, `train_further` trains it on all rows. What differs between the
kinds of candidates is decided in these methods: search for `.kind`. `begin`, `train` and
`fit_one_step` raise `ModelError` or `LinAlgError` for a model that cannot be made.

`TimeLeft` takes each training to need the CPU seconds that its candidate needed in the folds, in
proportion to rows times iterations, and the machine to be as busy as it was lately.
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
from forecast.identification.problems import ClosedLoop, OpenLoop
from forecast.identification.search_settings import Candidate
from forecast.identification.states import (
    OneSignal,
    add_hidden_units,
    add_one_signal,
    limit_poles,
    linear_weights,
    whiten_states,
    with_states,
)
from forecast.identification.term_search import TermSearch
from forecast.system.errors import ModelError
from forecast.system.progress import show_nothing
from forecast.training import levenberg_marquardt as lm

OPEN_ITERATIONS = 30  # of the one-step fit that nets on delays begin from
LINEAR_ROUNDS = 3  # of training a linear model, after which its states are chosen again
LINEAR_ITERATIONS = 15  # in each of these
SETTLED_SHARE = 0.1  # of the time of choosing terms: training them on afterwards


Work = Candidate | Narx | str
"""The training of a candidate, the beginning of a net, or other work by its name."""


class TimeLeft:
    """Measures the CPU seconds that each work of a search takes, and how busy the machine is, and
    announces how long the rest takes.
    """

    def __init__(self, announce: Callable[[str], None] | None, last_share: float) -> None:
        """`last_share`: the rows times iterations of the last training, over those of a fold."""
        self.announce = announce or show_nothing
        self.last_share = last_share
        self._seconds: dict[Work, list[float]] = defaultdict(list)
        self._least = np.inf
        self._times = np.array([time.perf_counter(), time.thread_time()])
        self._recent = np.zeros(2)  # of both, between announcements

    @contextmanager
    def measure(self, work: Work, times: int = 1) -> Iterator[None]:
        """Note the CPU seconds of the work inside, done so many times, unless it raises."""
        begin = time.thread_time()
        yield
        self._seconds[work].append((time.thread_time() - begin) / times)

    def estimate(
        self,
        stage: str,
        works: Iterable[Work],
        further: Iterable[Candidate] = (),
        last: Iterable[Candidate] = (),
    ) -> None:
        """Announce the seconds that are left after the stage, more than before only where the
        machine has become busier: of the works, one entry for each time, of training the candidates
        `further` on all searched rows, and of the last training of the candidates `last`.
        """
        seconds = sum(map(self._expect, works)) + sum(map(self._expect_further, further))
        seconds += self.last_share * sum(map(self._expect_further, last))
        self._least = min(self._least, seconds)
        times = np.array([time.perf_counter(), time.thread_time()])
        # how busy the machine was before counts half as much with every announcement
        self._recent = self._recent / 2 + times - self._times
        self._times = times
        clock, processor = self._recent
        self.announce(f"{stage}: about {self._least * clock / max(processor, 1e-9):.1f} s more.")

    def _expect(self, work: Work) -> float:
        """The mean CPU seconds of this work so far."""
        return float(np.mean(self._seconds[work] or [0.0]))

    def _expect_further(self, candidate: Candidate) -> float:
        """The CPU seconds of training further; less for a polynomial, whose terms stay."""
        seconds = self._expect(candidate)
        return SETTLED_SHARE * seconds if candidate.kind == "polynomial" else seconds


@dataclass(frozen=True)
class Trainer:
    """Makes and trains the models of one search; after Ctrl-C it leaves their weights as they are.

    `plain`: a net with the columns and bounds of all models; `origin`: where its data are 0, as
    `Narx.origin`; `start`: the measured rows that a free run begins with. Nets with states begin as
    a linear model, which is trained once for each fold and order.
    """

    plain: Narx
    origin: tuple[float, ...]
    start: int
    watch: lm.Watch | None
    _linear: dict[tuple[int, int], Array] = field(default_factory=dict)

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was pressed: nothing more is trained then."""
        return self.watch is not None and self.watch.interrupted

    def begin(
        self, member: Member, train_rows: list[Experiment], rng: np.random.Generator
    ) -> Member:
        """The member with the weights from which training on the fold's `train_rows` starts.

        A polynomial gets terms chosen one step ahead, a net on delays (kinds delays and arx) a
        one-step fit, a net with states the linear model with tanh units that do not act yet.
        """
        net, kind = member.net, member.candidate.kind
        if kind == "polynomial":
            start = net.start_rows(self.start)
            polynomial = TermSearch(train_rows, start).fit_one_step(net)
            return replace(member, net=polynomial.net, weights=polynomial.weights)
        if kind in ("delays", "arx"):
            member = replace(member, weights=initial_weights(net, rng))
            return replace(member, weights=self.fit_one_step(member, train_rows))
        # every measured output has `order` - 1 states
        order = net.outputs // net.measured_outputs
        if (member.fold, order) not in self._linear:
            self._linear[member.fold, order] = self._train_linear(order, train_rows)
        add_units = add_one_signal if kind == "one signal" else add_hidden_units
        return replace(member, weights=add_units(net, self._linear[member.fold, order], rng))

    def train(
        self,
        member: Member,
        train_rows: list[Experiment],
        held_out: list[Experiment],
        iterations: int,
    ) -> Member:
        """The member trained on its free run with Bayesian regularisation (an ARX model stays as it
        is, a polynomial gets other terms), with its errors on the fold's rows and on those held
        out.
        """
        start = member.net.start_rows(self.start)
        if member.net.terms:
            search = TermSearch(train_rows, start, watch=self.watch)
            polynomial = search.find_terms(member.net, self.origin)
            member = replace(member, net=polynomial.net, weights=polynomial.weights)
        problem = ClosedLoop(member.net, train_rows, start)
        if not member.net.terms and member.candidate.kind != "arx":
            member = replace(member, weights=self._minimise(problem, member, iterations))
        run = problem.free_run(member.weights)
        judge = ClosedLoop(member.net, held_out, start)
        held_out_rmse = float(np.sqrt(judge.error_of(run)))
        train_rmse = max(float(np.sqrt(problem.error_of(run))), ROUNDING)
        return replace(member, held_out_rmse=held_out_rmse, train_rmse=train_rmse, run=run)

    def train_further(
        self, member: Member, experiments: Sequence[Experiment], iterations: int
    ) -> Member:
        """The member trained further on all rows of the experiments, or as it was where it cannot
        be, with its error there.
        """
        start = member.net.start_rows(self.start)
        problem = ClosedLoop(member.net, experiments, start, guess=member.run)
        weights = member.weights
        with suppress(ModelError, np.linalg.LinAlgError):
            if member.candidate.kind == "arx":
                weights = self.fit_one_step(member, experiments)
            else:
                weights = self._minimise(problem, member, iterations)
        with np.errstate(over="ignore", invalid="ignore"):
            error = (problem.loss(weights) / problem.n_residuals) ** 0.5
        run = problem.free_run(weights)
        return replace(member, weights=weights, train_rmse=max(error, ROUNDING), run=run)

    def fit_one_step(self, member: Member, experiments: Sequence[Experiment]) -> Array:
        """The weights (n_weights,) of the member fitted one step ahead."""
        problem = self._open_loop(member.net, experiments)
        # Bayesian regularisation would leave weights that are all zero as they are
        bayesian = not member.net.inputs and bool(member.weights.any())
        return self._minimise(problem, member, OPEN_ITERATIONS, bayesian=bayesian)

    def one_step_rmse(self, member: Member, experiments: Sequence[Experiment]) -> float:
        """The root mean square one-step error on the experiments, in scaled units of y."""
        problem = self._open_loop(member.net, experiments)
        return (problem.loss(member.weights) / problem.n_residuals) ** 0.5

    def _open_loop(self, net: Narx, experiments: Sequence[Experiment]) -> OpenLoop:
        return OpenLoop(net, experiments, net.start_rows(self.start))

    def _train_linear(self, order: int, train_rows: list[Experiment]) -> Array:
        """The weights of the linear model of this order with states, trained on its free run
        (output error); between rounds its states are made uncorrelated again.
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
        """The weights of the member after training."""
        if self.is_interrupted:
            return member.weights
        options = lm.Options(max_iterations=iterations, bayesian=bayesian, by_gain=True)
        if member.candidate.kind != "one signal" or isinstance(problem, OpenLoop):
            return lm.minimise(problem, member.weights, options=options, watch=self.watch).weights
        shared = OneSignal(problem, member.net)
        start = shared.shrink(member.weights)
        return shared.expand(lm.minimise(shared, start, options=options, watch=self.watch).weights)
