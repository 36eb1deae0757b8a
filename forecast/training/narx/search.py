"""The search over nets and folds: what is trained on the rows outside a block, judged on it, and goes on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from forecast.system.errors import ModelFailure
from forecast.training import levenberg_marquardt as lm
from forecast.training.levenberg_marquardt import finite_sum
from forecast.training.narx import states
from forecast.training.narx.coordinates import Coordinates, InCoordinates, differences, increments, rates
from forecast.training.narx.experiment import Array, Experiment, saturation
from forecast.training.narx.net import Narx, middle
from forecast.training.narx.problems import ClosedLoop, OpenLoop, Stack
from forecast.training.narx.search_settings import SearchSettings, delay_net, iterations_of

DOUBT = (2.0, 1.25)  # standard errors, and times the error: the benefit of it that a linear model has
STOPS = 100  # values of a held-out block, from which on it also chooses the iteration
GAIN = 0.7  # of the error before: a round that lowers it so far is repeated
REPEATS = 4
LINEAR_ROUNDS, LINEAR_ITERATIONS = 3, 15
MORE_WORK = 1.8  # times the work of one family: repeated rounds, and other families until they are given up

COORDINATES = {"differences": differences, "increments": increments}


@dataclass(frozen=True)
class Member:
    """One net of the ensemble and its free-run RMSE on its held-out block, in the units of y (mean over outputs).

    `seen`: the `coordinates` it is trained in, None for the plain ones. `missed`: its errors on the held-out block.
    """

    net: Narx
    weights: Array
    coordinates: str = "level"
    seen: Coordinates | None = None
    held_out_rmse: float = np.inf
    train_rmse: float = np.inf
    missed: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def family(self) -> str:
        """What is compared over the folds: one block is too short to tell single nets apart."""
        if not self.net.states:
            return "delays"
        return self.coordinates if self.net.hidden else "linear"

    @property
    def kind(self) -> str:
        """What its user is told that was taken."""
        linear = "linear " if self.net.states and not self.net.hidden else ""
        return linear + self.coordinates + (", by their rates" if self.net.states and self.seen else "")

    def judged(self, missed: Array) -> Member:
        """With its errors on the held-out block."""
        return replace(self, missed=missed, held_out_rmse=float(np.sqrt(finite_sum(missed) / missed.size)))

    def expected(self, rows: int) -> float:
        """The error over other rows (Akaike 1969): the more weights, the more of `train_rmse` is chance."""
        return self.train_rmse * (1 + self.net.n_weights / rows)


class Search:
    """The folds of one identification; every random number comes from one generator, in a fixed order."""

    def __init__(
        self,
        experiments: list[Experiment],
        settings: SearchSettings,
        rng: np.random.Generator,
        held: tuple[int, ...],
        watch: lm.Watch | None,
    ) -> None:
        self.experiments, self.settings, self.rng, self.watch = experiments, settings, rng, watch
        low, high = (tuple(map(float, bounds)) for bounds in saturation(experiments))
        nets = (delay_net(order, settings, experiments[0]) for order in settings.orders)
        self.nets = [replace(net, low=low, high=high, dead_times=held) for net in nets]
        orders = {"states": settings.states, "integrating states": settings.integrating}
        own = [(states.with_states(self.nets[0], *order), kind) for kind, each in orders.items() for order in each]
        self.states = [(net, kind) for net, kind in own if net.n_weights <= lm.MAX_WEIGHTS]

    @property
    def interrupted(self) -> bool:
        return self.watch is not None and self.watch.interrupted

    def estimate(self) -> lm.Estimate:
        """Peak memory of its largest net, and time from an iteration of a net off its bounds and of its linear one."""
        e, start = self.experiments, self.settings.start
        own, rows = [net for net, _ in self.states], sum(map(len, e))
        held = max(
            lm.memory(ClosedLoop(net, e, start))
            + 8 * rows * (2 * net.regressors + 15)  # of what judges it; and of states, which are no residuals
            + 8 * net.states * (net.n_weights * min(rows, lm.block_rows(net.n_weights, net.outputs)) + 15 * rows)
            for net in self.nets + own
        )
        net = (own or self.nets)[len(own or self.nets) // 2]  # neither the smallest nor the largest
        far = np.full(net.outputs, states.FARTHEST)  # on a bound the first iterations refuse many steps
        net = replace(net, low=tuple(-far), high=tuple(far))
        plain, weights, seconds = replace(net, hidden=0), np.zeros(net.n_weights), 0.0
        with threadpool_limits(1):
            if net.states:
                begun = states.linear(plain, e)
                weights = states.bent(net, begun, np.random.default_rng(0))
                count = self.settings.folds * len({(other.states, kind) for other, kind in self.states})
                linear = lm.Options(max_iterations=count * LINEAR_ROUNDS * LINEAR_ITERATIONS)
                seconds = lm.estimate(ClosedLoop(plain, e, start), begun, linear).seconds
            whole = lm.Options(max_iterations=iterations_of(self.settings), bayesian=True)
            seconds += MORE_WORK * lm.estimate(ClosedLoop(net, e, start), weights, whole).seconds
        return lm.Estimate(held, seconds)

    def winners(self, announce: Callable[[str], None]) -> list[Member]:
        """The best nets of every fold, of the families that were not given up.

        A family is given up when over n folds its best nets are 1 + 4/n times as bad as those of the best one; of the
        others those are taken that together follow the blocks best.
        """
        folds: list[list[Member]] = []
        behind: dict[str, list[float]] = {family: [] for family in ("delays", "linear", *(k for _, k in self.states))}
        families = set(behind)
        for number in range(self.settings.folds):
            begun = time.process_time()
            tried = self.fold(number, families)
            folds.append(tried)
            if self.interrupted:
                break
            if not tried:
                continue
            best = {member.family: member.held_out_rmse for member in reversed(tried)}  # of each family the first
            for family in families:
                behind[family].append(float(np.log(best.get(family, np.inf) / min(best.values()))))
            mean = {family: float(np.mean(behind[family])) for family in families}
            most = min(mean.values()) + np.log(1 + 4 / (number + 1))
            families = {family for family in families if mean[family] <= most}
            seconds = (time.process_time() - begun) * (self.settings.folds - number)  # the last training is as a fold
            left = ", ".join(sorted(families))
            announce(f"Fold {number + 1} of {self.settings.folds}; left: {left}; about {seconds:.0f} s more.")
        left_over = [[member for member in fold if member.family in families] for fold in folds]
        return _together([fold for fold in left_over if fold])

    def fold(self, number: int, families: set[str]) -> list[Member]:
        """The nets of each family that follow the held-out block best, the best first."""
        start = self.settings.start
        train, held_out = _cut(self.experiments, number, self.settings.folds, start)
        begun = [member for member in self._begun(number, train, families) if member.family in families]
        opening = lm.Options(max_iterations=self.settings.open_iterations)
        tried = [
            m if m.net.states else self._trained(OpenLoop(m.net, train, start, held_out), m, opening) for m in begun
        ]
        for iterations, keep in self.settings.rounds:
            options = lm.Options(max_iterations=iterations, bayesian=True, patience=max(iterations, 30))
            scored = [self._while_better(m, train, held_out, options) for m in tried]
            scored.sort(key=lambda m: m.held_out_rmse)
            own = ([m for m in scored if m.family == family] for family in sorted(families))
            tried = [m for each in own for m in each[:keep] if np.isfinite(m.held_out_rmse)]
        return tried

    def _begun(self, fold: int, train: list[Experiment], families: set[str]) -> Iterator[Member]:
        """Orders and kinds in turn over the starts of all folds, then the nets with a state."""
        kinds = self.settings.coordinates
        for turn in range(fold * self.settings.starts, (fold + 1) * self.settings.starts):
            net, kind = self.nets[turn % len(self.nets)], kinds[turn % len(kinds)]
            seen = COORDINATES[kind](net, self.experiments) if kind in COORDINATES else None
            yield Member(net, initial(net, self.rng), kind, seen)
        begun: dict[tuple[Narx, str], tuple[Array, Array]] = {}
        for place, (net, kind) in enumerate(self.states):
            plain = replace(net, hidden=0)
            if ("linear" if not net.hidden else kind) not in families:
                continue
            if (plain, kind) not in begun:
                begun[plain, kind] = self._linear(plain, kind, train)
            weights, run = begun[plain, kind]
            plainly = kind == "states" and (place + fold) % 2 == 0  # in turn: either finds what the other misses
            seen = None if plainly else rates(net, run, kind == "states")
            yield Member(net, states.bent(net, weights, self.rng), kind, seen)

    def _linear(self, net: Narx, kind: str, train: list[Experiment]) -> tuple[Array, Array]:
        """Weights and run of the linear net with states trained on its free run (output error), its states made anew
        as it moves."""
        start, level = self.settings.start, kind == "states"
        problem, weights = ClosedLoop(net, train, start), states.linear(net, train)
        beside = net.measured_outputs if level else 0  # increments do not see the level
        for iterations in (*(LINEAR_ITERATIONS,) * LINEAR_ROUNDS, 0):
            weights = states.whitened(net, weights, train, beside)
            run = np.concatenate([net.free_run(weights, e.u, e.y[:start]) for e in train])
            if iterations:
                member = Member(net, weights, kind, rates(net, run, level))
                weights = self._trained(problem, member, lm.Options(max_iterations=iterations)).weights
        return weights, run

    def refit(self, member: Member, iterations: int) -> Member:
        """The same net trained further on all experiments, the weight decay set by the evidence."""
        problem = ClosedLoop(member.net, self.experiments, self.settings.start)
        member = self._trained(problem, member, lm.Options(max_iterations=iterations, bayesian=True))
        return replace(member, train_rmse=float(np.sqrt(problem.loss(member.weights) / problem.n_residuals)))

    def _while_better(
        self, member: Member, train: list[Experiment], held_out: list[Experiment], options: lm.Options
    ) -> Member:
        """Trained on for the iterations of the round, and again as long as that lowers the held-out error by much.

        One free run goes through all rows: a piece behind the block would begin in an unknown state. A block of fewer
        than `STOPS` values chooses no iteration: the noise of a slow disturbance on it would be fitted by that.
        """
        start = self.settings.start
        problem, judge = ClosedLoop(member.net, train, start), Stack(member.net, held_out, start)
        if member.net.hidden and np.count_nonzero(judge.weight) >= STOPS:
            own = problem.train  # without the problem itself, which would keep every net in memory
            problem.validate = lambda weights: judge.mean_square_of(own.free_run(weights))
        for _ in range(REPEATS):
            before, member = member.held_out_rmse, self._trained(problem, member, options)
            member = member.judged(judge.errors(problem.train.free_run(member.weights)))
            if self.interrupted or not member.held_out_rmse < GAIN * before < np.inf:
                break
        return member

    def _trained(self, problem: OpenLoop | ClosedLoop, member: Member, options: lm.Options) -> Member:
        """The member trained on in its coordinates; as it was where it diverges, or is linear and explodes."""
        if self.interrupted:  # what is left is only to be judged
            return member
        net, seen = member.net, member.seen
        within = InCoordinates(problem, seen) if seen else problem
        start = seen.inward(member.weights) if seen else member.weights
        try:
            found = lm.minimise(within, start, options=options, watch=self.watch).weights
        except ModelFailure:
            return member
        weights = seen.outward(found) if seen else found
        if net.states and not net.hidden and states.explodes(net, weights, sum(map(len, self.experiments))):
            return member
        return replace(member, weights=weights)


def initial(net: Narx, rng: np.random.Generator) -> Array:
    """Random hidden units over inputs of about unit size, a small read-out, no linear path yet."""
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    b1, w2 = rng.uniform(-1.0, 1.0, size=net.hidden), 0.1 * rng.normal(size=net.outputs * net.hidden)
    return np.concatenate([w1, b1, w2, np.zeros(net.n_weights - len(w1) - len(b1) - len(w2))])


def _together(folds: list[list[Member]]) -> list[Member]:
    """The nets of the families that together, by the middle of their runs, follow the held-out blocks best; those of
    the smallest linear model alone unless they are better by more than `DOUBT`, standard errors or the factor."""
    families = sorted({member.family for fold in folds for member in fold})
    mixed = (some for size in range(len(families)) for some in itertools.combinations(families, size + 1))
    found = ([[member for member in fold if member.family in some] for fold in folds] for some in mixed)
    best = min(found, key=lambda nets: float(_errors(nets).sum()), default=[])
    linear = {member.net for fold in folds for member in fold if member.family == "linear"}
    for net in sorted(linear, key=lambda net: net.n_weights):
        nets = [[member for member in fold if member.net == net] for fold in folds]
        if len(folds) > 1 and all(nets):
            more = np.log(_errors(nets) / _errors(best))
            if more.mean() <= min(DOUBT[0] * more.std(ddof=1) / np.sqrt(len(folds)), 2 * np.log(DOUBT[1])):
                return [member for fold in nets for member in fold]
    return [member for fold in best for member in fold]


def _errors(folds: list[list[Member]]) -> Array:
    """The mean squared error of the middle of the nets' runs over each held-out block; infinite without a net."""
    runs = [np.array([member.missed for member in fold]) for fold in folds]
    return np.array([float(np.mean(middle(each) ** 2)) if len(each) else np.inf for each in runs])


def _cut(
    experiments: list[Experiment], number: int, folds: int, start: int
) -> tuple[list[Experiment], list[Experiment]]:
    """(train, held out): all rows of both, y missing in `train` in block `number` of every experiment, in `held_out`
    elsewhere, both behind the `start` rows of a free run. Of as many experiments as folds, whole ones are held out.
    """
    train, held_out = list[Experiment](), list[Experiment]()
    for k, e in enumerate(experiments):
        behind = np.arange(len(e)) >= start
        seen = np.cumsum(behind & np.isfinite(e.y).any(axis=1))  # a block in a long gap would judge nothing
        block = (seen - 1) * folds // seen[-1] if len(experiments) < folds else np.full(len(e), k % folds)
        for part, hidden in ((train, block == number), (held_out, block != number)):
            part.append(e.changed(y=np.where((hidden & behind)[:, None], np.nan, e.y)))
    return train, held_out
