"""Automatic identification of a NARX model: everything is chosen on the given experiments.

1. Standardize; find outputs that saturate, the dead time of every input and how far back the inputs
act.
2. Cut every experiment into blocks. Each fold holds one block out (of five experiments or more,
whole ones), through
   which the free run goes on, for a piece that began behind it would begin with a state nobody
   measured: nets of three families (on delays of y, with a state of their own, with a state that
   drives the increments of y), on a short record also linear models, each again on every treatment
   of the record (`coordinates`), and of several orders are trained from random starts on their free
   run; successive halving by the held-out error (Jamieson & Talwalkar 2016) keeps the best of every
   family, and one that is clearly worse over all folds so far is given up.
3. The survivors of every fold are trained on all experiments with Bayesian regularisation (MacKay
1992), for no rows
   are left to stop on, the better half for longer, without those behind a gap; linear models alone
   all stay.
4. Nets that leave the bounds under bounded inputs they have not seen are dropped. Where half do, it
is the system that
   leaves them, and only nets that leave them under a measured input run backwards are dropped.
5. The model is the median of the free runs of the nets that remain: it stays with most of them,
whatever a few do.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from forecast.identification import states
from forecast.identification.coordinates import (
    COORDINATES,
    InCoordinates,
    Member,
    Treatment,
    differences,
    offered,
)
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    dead_times,
    delayed,
    fold_of,
    saturation,
    startable,
    unseen_inputs,
)
from forecast.identification.narx import initial
from forecast.identification.problems import ClosedLoop, OpenLoop, continued
from forecast.identification.search_settings import (
    SearchSettings,
    affordable,
    check,
    delay_net,
    folded,
    iterations_of,
)
from forecast.system.errors import InputError, ModelFailure
from forecast.training import levenberg_marquardt as lm

CLEARLY_WORSE = 1.25  # times the held-out error of the best family: not an accident of the blocks
AS_WELL = 1.1  # times the error of the best net over the whole record: it follows it as well
LOST = 2.5  # times the error of the best net over the whole record: it never found the system
ENOUGH = 4  # nets whose median stands for the system
# times the error of the best net of a block, and standard errors over the blocks
AS_SIMPLE, CERTAIN = 1.4, 3.0
GAIN = 0.7  # of the error before: a round that lowers it so far is repeated
REPEATS = 4
STOPS = 100  # values of a held-out block, from which on it also chooses the iteration
LINEAR_ROUNDS, LINEAR_ITERATIONS = 3, 15
# times the work of one family: repeated rounds, and other families until they are given up
MORE_WORK = 2.0

Parts = tuple[list[Experiment], list[Experiment]]
LINEAR, INTEGRATING, AS_IT_IS = "linear states", "integrating states", "as it is"


@dataclass(frozen=True)
class Identified:
    """What was found; `notes`: what was chosen."""

    members: tuple[Member, ...]
    scaling: Standardization
    start: int
    notes: tuple[str, ...] = ()


def identify(
    experiments: Sequence[Experiment],
    *,
    seed: int,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: lm.Watch | None = None,
) -> Identified:
    """Fit on the experiments, in raw units, y (T, O) with NaN where missing.

    `announce` receives the predicted memory and time before the work starts, and after every fold
    the families and the time that are left. With a `watch`, Ctrl-C ends the search and what was
    found until then is the result. `ModelFailure` when no net follows any held-out block.
    """
    settings = folded(settings or SearchSettings(), experiments)
    check(experiments, settings)
    scaling = Standardization.fit(experiments)
    scaled = [part for e in experiments for part in startable(scaling.scale(e), settings.start)]
    if not scaled:
        missing = ((np.flatnonzero(np.isnan(e.y).any(axis=1)), len(e)) for e in experiments)
        longest = max(int(np.diff(rows, prepend=-1, append=end).max()) - 1 for rows, end in missing)
        raise InputError(
            f"y is observed in at most {longest} rows in a row; a free run starts from"
            f" {settings.start}, with {2 * settings.start} more behind. Fill the gaps, or lower"
            " `start` of `SearchSettings`."
        )
    with threadpool_limits(1):  # as in every training: narrow matrices
        held = dead_times(scaled)
        record = [e.changed(u=delayed(e.u, held)) for e in scaled]
        settings = affordable(settings, record)
    search = _Search(record, settings, np.random.default_rng(seed), watch)
    if announce is not None:
        with threadpool_limits(1):
            need = search.estimate()
        announce(
            f"System identification with {settings.folds} folds of"
            f" {settings.starts + len(search.states)} starts: about {need.bytes / 2**20:.0f} MB and"
            f" {need.seconds:.1f} s."
        )
    winners = search.winners(announce or (lambda text: None))
    if not winners:
        raise ModelFailure(
            "No NARX net follows any held-out block in free run; other inputs may be missing."
        )
    rows, once = sum(map(len, scaled)), settings.refit_iterations
    members = [search.refit(member, once) for member in winners]
    # of linear ones no such error tells the order
    if any(member.coordinates != LINEAR for member in winners):
        best = sorted(members, key=lambda m: m.expected(rows))[: max(3, (len(winners) + 1) // 2)]
        members = together([search.refit(member, 2 * once) for member in best], rows)
    members = [member.at_rate(held) for member in members]
    notes = _notes(members, held, search)
    tried = list(unseen_inputs(scaled))
    kept = [member for member in members if member.stays_within(scaled, tried, settings.start)]
    # the system leaves them: only a measured input backwards can tell
    if 2 * len(kept) <= len(members):
        kept = [
            member for member in members if member.stays_within(scaled, tried[:1], settings.start)
        ]
    if not kept:
        notes.append(
            "Every net leaves its bounds under inputs not measured; trust it on inputs like those"
            " measured."
        )
    elif dropped := len(members) - len(kept):
        notes.append(
            f"Dropped for leaving their bounds under inputs not measured: {dropped} of the nets."
        )
    chosen = tuple(
        replace(m, held_out_rmse=m.held_out_rmse * scaling.y_scale.mean()) for m in kept or members
    )
    return Identified(chosen, scaling, settings.start, tuple(notes))


class _Search:
    """The folds of one identification; every random number comes from one generator, in a fixed
    order.
    """

    def __init__(
        self,
        experiments: list[Experiment],
        settings: SearchSettings,
        rng: np.random.Generator,
        watch: lm.Watch | None,
    ) -> None:
        self.experiments, self.settings, self.rng, self.watch = experiments, settings, rng, watch
        low, high = (tuple(map(float, bounds)) for bounds in saturation(experiments))
        self.nets = [
            replace(delay_net(order, settings, experiments[0]), low=low, high=high)
            for order in settings.orders
        ]
        orders = {"states": settings.states or (), INTEGRATING: settings.integrating}
        rows = sum(np.count_nonzero(np.isfinite(e.y[settings.start :])) for e in experiments)
        self.short = bool(rows < STOPS * settings.folds)
        if self.short:
            orders[LINEAR] = tuple(
                (order, 0) for order in sorted({order for order, _ in settings.states or ()})
            )
        own = [
            (states.with_states(self.nets[0], *order), kind)
            for kind, each in orders.items()
            for order in each
        ]
        own = [(net, kind) for net, kind in own if net.n_weights <= lm.MAX_WEIGHTS]
        self.rows = {
            treatment: treatment.rows(experiments)
            for treatment in offered(settings.treatments, experiments)
        }
        begun = np.zeros(0), np.inf
        self.states = [
            Member(net, *begun, kind, treatment=each) for each in self.rows for net, kind in own
        ]
        self.kinds = [
            *self.states,
            *(Member(self.nets[0], *begun, treatment=each) for each in self.rows),
        ]
        self.behind: dict[str, list[float]] = {kind.family: [] for kind in self.kinds}
        self.starts = Counter(member.family for member in self.states)
        self.starts.update(
            {kind.family: settings.starts for kind in self.kinds if not kind.net.states}
        )

    @property
    def interrupted(self) -> bool:
        return self.watch is not None and self.watch.interrupted

    def estimate(self) -> lm.Estimate:
        """Peak memory of its largest net, and time from iterations of every other kind of net and
        of linear ones.
        """
        e, start = self.experiments, self.settings.start
        own, rows = [*{member.net: None for member in self.states}], sum(map(len, e))
        held = max(
            lm.memory(ClosedLoop(net, e, start))
            # of what judges it; and of states, which are no residuals
            + 8 * rows * (2 * net.regressors + 15)
            + 8
            * net.states
            * (net.n_weights * min(rows, lm.block_rows(net.n_weights, net.outputs)) + 15 * rows)
            for net in self.nets + own
        )
        linear = self.settings.folds * len({(m.net.states, m.family) for m in self.states})
        # the costly families of several outputs go first
        seconds, more = 0.0, MORE_WORK / np.sqrt(e[0].y.shape[1])
        tried = (own or self.nets)[::2]
        # linear models besides
        whole = (1 + len(self.rows)) * iterations_of(self.settings) * (3 + self.short) // 3
        each = lm.Options(max_iterations=whole // (2 * len(tried)), bayesian=self.short)
        for net in tried:
            weights, plain = np.zeros(net.n_weights), replace(net, hidden=0)
            if net.states:
                begun = states.linear(plain, e)
                weights = states.bent(net, begun, np.random.default_rng(0))
                brief = lm.Options(
                    max_iterations=linear * LINEAR_ROUNDS * LINEAR_ITERATIONS // len(tried)
                )
                seconds += lm.estimate(ClosedLoop(plain, e, start), begun, brief).seconds
            seconds += more * lm.estimate(ClosedLoop(net, e, start), weights, each).seconds
        return lm.Estimate(held, seconds)

    def winners(self, announce: Callable[[str], None]) -> list[Member]:
        """The best nets of every fold, of the families that were not given up, and what was near
        the best of its fold.

        A family is given up when over n folds its best nets are 1 + 3/n times as bad as those of
        the best one; at the end, when they are `CLEARLY_WORSE`. On a short record linear models are
        the last to go: see `linear_alone`.
        """
        found: list[Member] = []
        behind, families = self.behind, set(self.behind)
        for number in range(self.settings.folds):
            begun = time.process_time()
            tried = self.fold(number, families)
            found += tried
            if self.interrupted:
                break
            if not tried:
                continue
            for family in families:
                least = min(
                    (member.behind for member in tried if member.family == family), default=np.inf
                )
                behind[family].append(float(np.log(least)))
            mean = {family: float(np.mean(behind[family])) for family in families}
            worst = CLEARLY_WORSE if number + 1 == self.settings.folds else 1 + 3 / (number + 1)
            limit, before = (
                min(mean.values()) + np.log(worst),
                sum(self.starts[family] for family in families),
            )
            families = {
                family
                for family in families
                if mean[family] < (np.inf if family == LINEAR else limit)
            }
            a_start = (time.process_time() - begun) / before  # the last training is as two folds
            seconds = (
                a_start
                * sum(self.starts[family] for family in families)
                * (self.settings.folds + 1 - number)
            )
            left = ", ".join(sorted(families))
            announce(
                f"Fold {number + 1} of {self.settings.folds}; left: {left}; about {seconds:.0f} s"
                " more."
            )
        if LINEAR in families and behind[LINEAR]:
            families = (
                {LINEAR} if linear_alone({f: behind[f] for f in families}) else families - {LINEAR}
            )
        others = set() if families == {LINEAR} else set(behind) - {LINEAR}
        return [
            m
            for m in found
            if m.family in families or (m.family in others and m.behind <= CLEARLY_WORSE)
        ]

    def fold(self, number: int, families: set[str]) -> list[Member]:
        """The nets of each family that follow the held-out block best, the best first."""
        start, parts = self.settings.start, dict[Treatment, Parts]()
        for treatment in self.rows:
            cut = fold_of(self.experiments, number, self.settings.folds, start * treatment.stride)
            parts[treatment] = treatment.rows(cut[0]), treatment.rows(cut[1])
        begun = [
            member for member in self._begun(number, parts, families) if member.family in families
        ]
        opening = lm.Options(max_iterations=self.settings.open_iterations)
        tried = []
        for member in begun:
            train, held_out = parts[member.treatment]
            problem = OpenLoop(member.net, member.treatment.opened(train), start, held_out)
            tried.append(member if member.net.states else self._trained(problem, member, opening))
        for iterations, keep in self.settings.rounds:
            options = lm.Options(max_iterations=iterations, patience=max(iterations, 30))
            scored = [self._while_better(m, *parts[m.treatment], options) for m in tried]
            scored.sort(key=lambda m: m.held_out_rmse)
            own = ([m for m in scored if m.family == family] for family in sorted(families))
            tried = [m for each in own for m in each[:keep] if np.isfinite(m.held_out_rmse)]
        least = min((m.held_out_rmse for m in tried), default=1.0)
        return [replace(m, behind=m.held_out_rmse / least) for m in tried]

    def _begun(
        self, fold: int, parts: Mapping[Treatment, Parts], families: set[str]
    ) -> Iterator[Member]:
        """Orders and kinds in turn over the starts of all folds, then the nets with a state."""
        kinds = self.settings.coordinates
        for turn in range(fold * self.settings.starts, (fold + 1) * self.settings.starts):
            net = self.nets[turn % len(self.nets)]
            for each in self.rows:
                yield Member(
                    net, initial(net, self.rng), np.inf, kinds[turn % len(kinds)], treatment=each
                )
        left = [member for member in self.states if member.family in families]
        begun = {(m.net.states, m.family): replace(m, net=replace(m.net, hidden=0)) for m in left}
        linear = {
            key: self._linear(member, parts[member.treatment][0]) for key, member in begun.items()
        }
        for m in left:
            yield replace(m, weights=states.bent(m.net, linear[m.net.states, m.family], self.rng))

    def _linear(self, member: Member, train: list[Experiment]) -> Array:
        """The linear net with states trained on its free run (output error), its states made anew
        as it moves.
        """
        net, problem = member.net, ClosedLoop(member.net, train, self.settings.start)
        member = replace(member, weights=states.linear(net, member.treatment.opened(train)))
        # increments do not see the level
        beside = 0 if member.coordinates in COORDINATES else net.measured_outputs
        for _ in range(LINEAR_ROUNDS):
            own = replace(member, weights=states.whitened(net, member.weights, train, beside))
            member = self._trained(problem, own, lm.Options(max_iterations=LINEAR_ITERATIONS))
        return member.weights

    def refit(self, member: Member, iterations: int) -> Member:
        """The same net trained further on all experiments, the weight decay set by the evidence."""
        problem = ClosedLoop(member.net, self.rows[member.treatment], self.settings.start)
        if self.interrupted:
            return replace(
                member,
                train_rmse=float(np.sqrt(problem.loss(member.weights) / problem.n_residuals)),
            )
        options = lm.Options(max_iterations=iterations, bayesian=True)
        # where it diverges it stays as the fold left it
        found = self._trained(problem, member, options)
        return replace(found, held_out_rmse=member.held_out_rmse, train_rmse=found.held_out_rmse)

    def _while_better(
        self,
        member: Member,
        train: list[Experiment],
        held_out: list[Experiment],
        options: lm.Options,
    ) -> Member:
        """Trained on for the iterations of the round, and again as long as that lowers the held-out
        error by much.

        A held-out block of fewer than `STOPS` values chooses no iteration, for its noise would be
        fitted by that: the training is regularised instead.
        """
        judge = problem = continued(member.net, train, held_out, self.settings.start)
        if self.short:
            problem, options = (
                ClosedLoop(member.net, train, self.settings.start),
                replace(options, bayesian=True),
            )
        for _ in range(REPEATS):
            before, member = member.held_out_rmse, self._trained(problem, member, options)
            if self.short:
                member = replace(
                    member, held_out_rmse=float(np.sqrt(judge.validation(member.weights) or np.inf))
                )
            if self.interrupted or not member.held_out_rmse < GAIN * before < np.inf:
                break
        return member

    def _trained(
        self, problem: OpenLoop | ClosedLoop, member: Member, options: lm.Options
    ) -> Member:
        """The member trained on in its coordinates; its error infinite, its weights as they were
        where it diverges.
        """
        if self.interrupted:  # what is left is only to be judged
            score = problem.validation(member.weights)
            return replace(member, held_out_rmse=float(np.sqrt(np.inf if score is None else score)))
        left_out = COORDINATES.get(member.coordinates)
        seen = (
            None
            if left_out is None
            else differences(member.net, self.rows[member.treatment], left_out)
        )
        within = InCoordinates(problem, seen) if seen else problem
        start = seen.inward(member.weights) if seen else member.weights
        try:
            found = lm.minimise(within, start, options=options, watch=self.watch)
        except ModelFailure:
            return replace(member, held_out_rmse=np.inf)
        weights = seen.outward(found.weights) if seen else found.weights
        return replace(member, weights=weights, held_out_rmse=float(np.sqrt(found.score)))

    def treated(self, members: Sequence[Member]) -> list[str]:
        """What came of the treatments of the record, and which were taken."""
        least = dict.fromkeys(self.rows, np.inf)
        for kind in self.kinds:
            least[kind.treatment] = min(
                least[kind.treatment], np.exp(np.mean(self.behind[kind.family] or np.inf))
            )
        tried = ", ".join(
            f"{treatment.name or AS_IT_IS} {times:.3g}" for treatment, times in least.items()
        )
        taken = " and ".join({member.treatment.name or AS_IT_IS: None for member in members})
        said = (
            f"Treatments of the record, free-run error on its blocks in times of the best: {tried}."
            f" Taken: {taken}."
        )
        return [said] if len(least) > 1 else []


def linear_alone(behind: Mapping[str, Sequence[float]]) -> bool:
    """Whether linear models follow the blocks nearly as well, and no other family is surely better;
    else they go.
    """
    worse = np.subtract(behind[LINEAR], list(behind.values()))
    error = np.std(worse, axis=1) / np.sqrt(max(worse.shape[1] - 1, 1))
    return bool(
        np.mean(behind[LINEAR]) <= np.log(AS_SIMPLE)
        and (np.mean(worse, axis=1) <= CERTAIN * error).all()
    )


def together(members: list[Member], rows: int) -> list[Member]:
    """The best and those behind it, up to the first gap; where these are fewer than `ENOUGH`, all
    that are not `LOST`.

    Their errors are on the rows that trained them: a net ahead of the others may have found the
    system or fitted its noise, on every block alike, and no test on these rows tells which. Those
    that drive increments are taken alone where at least half of the nets that follow the record as
    well are such: such a system moves alike wherever it is, and they know it beyond the levels
    seen.
    """
    ordered = sorted(members, key=lambda member: member.expected(rows))
    errors = np.array([member.expected(rows) for member in ordered])
    found, near = np.searchsorted(errors, np.array([LOST, AS_WELL]) * errors[0], side="right")
    crowd = 1 + int(np.argmax(np.append(errors[1:] > CLEARLY_WORSE * errors[:-1], True)))
    kept = ordered[: min(crowd, found) if crowd >= ENOUGH else found]
    driven = [member.coordinates == INTEGRATING for member in kept]
    alone = 2 * sum(driven[:near]) >= near
    return [member for member, own in zip(kept, driven, strict=True) if own or not alone]


def _notes(members: list[Member], held: tuple[int, ...], search: _Search) -> list[str]:
    """What was chosen, for the user."""
    shares = ", ".join(
        f"{count} on {kind}" for kind, count in Counter(m.coordinates for m in members).items()
    )
    notes = [f"Of {len(members)} nets, those that followed the held-out blocks best, {shares}."]
    if any(held):
        notes.append(f"Dead times found beside the delays, per input: {held} steps.")
    if search.interrupted:
        notes.append("The search was interrupted: these are the best nets so far.")
    return notes + search.treated(members)
