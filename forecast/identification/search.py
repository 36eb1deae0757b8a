"""The search behind `identify`: everything of a NARX model is chosen on the given experiments.

1. Standardize; find outputs that saturate, the dead time of every input and how far back the inputs
   act.
2. Cut every experiment into blocks. Each fold holds one block out (of five experiments or more,
   whole ones), through which the free run goes on, for a piece that began after it would begin with
   a state nobody measured: nets of three families (on delays of y, with a state of their own, with
   a state that drives the increments of y), on a short record also linear models, each again on
   every treatment of the record (`treatments`), and of several orders are trained from random
   starts on their free run; successive halving by the held-out error (Jamieson & Talwalkar 2016)
   keeps the best of every family, and one that is clearly worse over all folds so far is given up.
3. The survivors of every fold are trained on all experiments with Bayesian regularisation (MacKay
   1992), for no rows are left to stop on, the better half for longer, without those after a gap in
   the errors; linear models alone all stay.
4. Nets that leave the bounds under bounded inputs they have not seen are dropped. Where half do, it
   is the system that leaves them, and only nets that leave them under a measured input run
   backwards are dropped.
5. The model is the median of the free runs of the nets that remain: it stays with most of them,
   whatever a few do.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from forecast.identification.coordinates import InCoordinates, difference_coordinates
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    dead_times,
    delay_inputs,
    saturation,
    split_fold,
    start_at_measured,
    unseen_inputs,
)
from forecast.identification.member import Member, family_name
from forecast.identification.narx import Narx, initial_weights
from forecast.identification.problems import ClosedLoop, OpenLoop, continue_through
from forecast.identification.search_settings import (
    SearchSettings,
    check_experiments,
    count_iterations,
    delay_net,
    limit_folds,
    limit_work,
)
from forecast.identification.states import (
    add_hidden_units,
    linear_weights,
    whiten_states,
    with_states,
)
from forecast.identification.treatments import Treatment, select_treatments
from forecast.system.errors import InputError, ModelError
from forecast.training import levenberg_marquardt as lm

CLEARLY_WORSE = 1.25  # times the held-out error of the best family: not an accident of the blocks
AS_GOOD = 1.1  # times the error of the best net over the whole record: it follows it as well
NO_SYSTEM = 2.5  # times the error of the best net over the whole record: it never found the system
ENOUGH_MEMBERS = 4  # nets whose median stands for the system
LINEAR_WORSE = 1.4  # times the error of the best net of a block: linear models follow it as well
LINEAR_ERRORS = 3.0  # standard errors over the blocks by which another family is surely better
REPEAT_GAIN = 0.7  # of the error before: a round that lowers it so far is repeated
MAX_REPEATS = 4
UNSEEN_ROWS = 1_000  # of an input that was not measured; more where a run begins with many rows
STOPPING_VALUES = 100  # of a held-out block, from which on it also chooses the iteration
LINEAR_ROUNDS = 3  # of training a linear net, after which its states are chosen again
LINEAR_ITERATIONS = 15  # in each of these
# times the work of one family: repeated rounds, and other families until they are given up
ALL_FAMILIES_WORK = 2.0

LINEAR = "linear states"
INTEGRATING = "integrating states"
AS_IT_IS = "as it is"

FIRST_DIFFERENCE = {"differences": 0, "increments": 1, INTEGRATING: 1}
"""The lowest order of difference of past outputs that nets of a kind see; of others, the level."""

FoldParts = tuple[list[Experiment], list[Experiment]]
"""The experiments that train in a fold, and those that judge."""


@dataclass(frozen=True)
class SearchResult:
    """The nets of the ensemble, the scaling of their data, the rows a run begins with, and what was
    chosen, a sentence each.
    """

    members: tuple[Member, ...]
    scaling: Standardization
    start: int
    notes: tuple[str, ...]


def search_members(
    experiments: Sequence[Experiment],
    *,
    seed: int,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: lm.Watch | None = None,
) -> SearchResult:
    """The nets that follow the experiments best in free run; u and y in raw units, y (T, O) with
    NaN where missing.

    `announce` receives the predicted memory and time before the work starts, and after every fold
    the families and the time that are left. With a `watch`, Ctrl-C ends the search and what was
    found until then is the result. `InputError` for too few rows, `ModelError` when no net
    follows any held-out block.
    """
    settings = limit_folds(settings or SearchSettings(), experiments)
    check_experiments(experiments, settings)
    scaling = Standardization.fit(experiments)
    scaled = [
        part
        for experiment in experiments
        for part in start_at_measured(scaling.scale(experiment), settings.start)
    ]
    if not scaled:
        raise InputError(
            f"y is observed in at most {_longest_observed(experiments)} rows in a row; a free run"
            f" starts from {settings.start}, with {2 * settings.start} more behind. Fill the gaps,"
            " or lower `start` of `SearchSettings`."
        )
    with threadpool_limits(1):  # as in every training: narrow matrices
        input_dead_times = dead_times(scaled)
        aligned = [e.with_arrays(u=delay_inputs(e.u, input_dead_times)) for e in scaled]
        settings = limit_work(settings, aligned)
    search = _Search(aligned, settings, seed, watch)
    if announce is not None:
        search.announce_estimate(announce)
    winners = search.find_winners(announce)
    if not winners:
        raise ModelError(
            "No NARX net follows any held-out block in free run; other inputs may be missing."
        )
    members = [member.at_record_rate(input_dead_times) for member in search.refit_winners(winners)]
    notes = search.describe(members, input_dead_times)
    chosen, notes_of_bounds = _keep_bounded(members, scaled, settings.start)
    deviation = scaling.y_scale.mean()
    in_units = [replace(m, held_out_rmse=m.held_out_rmse * deviation) for m in chosen]
    return SearchResult(tuple(in_units), scaling, settings.start, (*notes, *notes_of_bounds))


def _longest_observed(experiments: Sequence[Experiment]) -> int:
    """The most rows in a row in which y is observed."""
    longest = 0
    for experiment in experiments:
        missing = np.flatnonzero(np.isnan(experiment.y).any(axis=1))
        gaps = np.diff(missing, prepend=-1, append=len(experiment))
        longest = max(longest, int(gaps.max()) - 1)
    return longest


def _keep_bounded(
    members: list[Member], experiments: list[Experiment], start: int
) -> tuple[list[Member], list[str]]:
    """The members that stay within their bounds under inputs not measured, all where none does; and
    what to say of it.

    A member that cannot be run costs itself alone: the work of the others is done.
    """
    longest_start = max(start * member.treatment.stride for member in members)
    inputs = list(unseen_inputs(experiments, rows=max(UNSEEN_ROWS, 5 * longest_start)))
    runnable, bounded, bounded_backwards, notes = [], [], [], list[str]()
    for member in members:
        try:
            stays_backwards = member.stays_within(experiments, inputs[:1], start)
            stays = stays_backwards and member.stays_within(experiments, inputs[1:], start)
        except (ArithmeticError, IndexError, ModelError, ValueError) as error:
            notes.append(
                f"Left out, since it could not be run: a net of {member.family} ({error})."
            )
            continue
        runnable.append(member)
        if stays_backwards:
            bounded_backwards.append(member)
        if stays:
            bounded.append(member)
    if not runnable:
        raise ModelError(f"No net could be run under inputs not measured. {notes[0]}")
    chosen, note = _choose_bounded(runnable, bounded, bounded_backwards)
    return chosen, [*notes, *note]


def _choose_bounded(
    members: list[Member], bounded: list[Member], bounded_backwards: list[Member]
) -> tuple[list[Member], list[str]]:
    """Of the members those that stay within their bounds, and a note where some or all do not."""
    if 2 * len(bounded) <= len(members):
        # the system leaves them: only a measured input backwards can tell
        bounded = bounded_backwards
    if not bounded:
        note = (
            "Every net leaves its bounds under inputs not measured; trust it on inputs like those"
            " measured."
        )
        return members, [note]
    if dropped := len(members) - len(bounded):
        note = f"Dropped for leaving their bounds under inputs not measured: {dropped} of the nets."
        return bounded, [note]
    return bounded, []


class _Search:
    """The folds of one identification. Every net has random numbers of its own, so that leaving out
    a family does not change the others.
    """

    def __init__(
        self,
        experiments: list[Experiment],
        settings: SearchSettings,
        seed: int,
        watch: lm.Watch | None,
    ) -> None:
        self.experiments = experiments
        self.settings = settings
        self.seed = seed
        self.watch = watch
        low, high = saturation(experiments)
        self.delay_nets = [
            replace(
                delay_net(order, settings, experiments[0]),
                low=tuple(map(float, low)),
                high=tuple(map(float, high)),
            )
            for order in settings.orders
        ]
        values = sum(np.count_nonzero(np.isfinite(e.y[settings.start :])) for e in experiments)
        self.is_short = bool(values < STOPPING_VALUES * settings.folds)
        treatments = select_treatments(settings.treatments, experiments)
        self.treated = {treatment: treatment.decimate(experiments) for treatment in treatments}
        state_nets = self._state_nets()
        self.state_members = [
            Member(net, np.zeros(0), np.inf, kind, treatment=treatment)
            for treatment in treatments
            for net, kind in state_nets
        ]
        self.starts = Counter(member.family for member in self.state_members)
        self.treatment_of = {member.family: member.treatment for member in self.state_members}
        for treatment in treatments:
            family = family_name("delays", treatment)
            self.starts[family] = settings.starts
            self.treatment_of[family] = treatment
        self.log_times_best: dict[str, list[float]] = {family: [] for family in self.treatment_of}

    def _state_nets(self) -> list[tuple[Narx, str]]:
        """The nets with a state of their own that are not too large, each with its kind."""
        state_orders = self.settings.states or ()
        orders = {"states": state_orders, INTEGRATING: self.settings.integrating}
        if self.is_short:
            orders[LINEAR] = tuple((order, 0) for order in sorted({o for o, _ in state_orders}))
        nets = []
        for kind, orders_of_kind in orders.items():
            for order, hidden in orders_of_kind:
                net = with_states(self.delay_nets[0], order, hidden)
                if net.n_weights <= lm.MAX_WEIGHTS:
                    nets.append((net, kind))
        return nets

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was pressed: what is left is only to be judged."""
        return self.watch is not None and self.watch.interrupted

    def announce_estimate(self, announce: Callable[[str], None]) -> None:
        """Say the peak memory and the time of all folds before the work starts."""
        with threadpool_limits(1):
            estimate = self.estimate()
        announce(
            f"System identification with {self.settings.folds} folds of"
            f" {self.settings.starts + len(self.state_members)} starts: about"
            f" {estimate.bytes / 2**20:.0f} MB and {estimate.seconds:.1f} s."
        )

    def estimate(self) -> lm.CostEstimate:
        """Peak memory of its largest net, and time from iterations of every other kind of net and
        of linear ones.
        """
        experiments, start = self.experiments, self.settings.start
        state_nets = list(dict.fromkeys(member.net for member in self.state_members))
        peak_bytes = max(self._peak_bytes(net) for net in self.delay_nets + state_nets)
        sampled = (state_nets or self.delay_nets)[::2]
        # linear models besides
        iterations = (1 + len(self.treated)) * count_iterations(self.settings)
        iterations = iterations * (3 + self.is_short) // 3
        options = lm.Options(
            max_iterations=iterations // (2 * len(sampled)), bayesian=self.is_short
        )
        linear_starts = len({(m.net.states, m.family) for m in self.state_members})
        linear_iterations = self.settings.folds * linear_starts * LINEAR_ROUNDS * LINEAR_ITERATIONS
        linear_options = lm.Options(max_iterations=linear_iterations // len(sampled))
        # the costly families of several outputs go first
        work = ALL_FAMILIES_WORK / np.sqrt(experiments[0].y.shape[1])
        seconds = 0.0
        for net in sampled:
            weights = np.zeros(net.n_weights)
            if net.states:
                linear_net = replace(net, hidden=0)
                first = linear_weights(linear_net, experiments)
                weights = add_hidden_units(net, first, np.random.default_rng(0))
                problem = ClosedLoop(linear_net, experiments, start)
                seconds += lm.estimate_cost(problem, first, linear_options).seconds
            problem = ClosedLoop(net, experiments, start)
            seconds += work * lm.estimate_cost(problem, weights, options).seconds
        return lm.CostEstimate(peak_bytes, seconds)

    def _peak_bytes(self, net: Narx) -> int:
        """Of the training of a net: its problem, what judges it, and its states, which are no
        residuals.
        """
        rows = sum(map(len, self.experiments))
        block = min(rows, lm.block_rows(net.n_weights, net.outputs))
        problem = lm.memory_bytes(ClosedLoop(net, self.experiments, self.settings.start))
        judge = 8 * rows * (2 * net.regressors + 15)
        return problem + judge + 8 * net.states * (net.n_weights * block + 15 * rows)

    def find_winners(self, announce: Callable[[str], None] | None) -> list[Member]:
        """The best nets of every fold, of the families that were not given up, and what was near
        the best of its fold.

        On a short record linear models are the last to go: see `is_linear_enough`.
        """
        members: list[Member] = []
        families = set(self.log_times_best)
        for fold in range(self.settings.folds):
            begin = time.process_time()
            fold_members = self.train_fold(fold, families)
            members += fold_members
            if self.is_interrupted:
                break
            if not fold_members:
                continue
            remaining = self._drop_worse_families(families, fold, fold_members)
            if announce is not None:
                seconds_per_start = (time.process_time() - begin) / self._count_starts(families)
                folds = self.settings.folds + 1 - fold  # the last training is as two folds
                seconds = seconds_per_start * self._count_starts(remaining) * folds
                announce(
                    f"Fold {fold + 1} of {self.settings.folds}; left:"
                    f" {', '.join(sorted(remaining))}; about {seconds:.0f} s more."
                )
            families = remaining
        if LINEAR in families and self.log_times_best[LINEAR]:
            if is_linear_enough({family: self.log_times_best[family] for family in families}):
                return [member for member in members if member.family == LINEAR]
            families = families - {LINEAR}
        return [
            member
            for member in members
            if member.family in families
            or (member.family != LINEAR and member.times_best <= CLEARLY_WORSE)
        ]

    def _count_starts(self, families: set[str]) -> int:
        return sum(self.starts[family] for family in families)

    def _drop_worse_families(
        self, families: set[str], fold: int, fold_members: list[Member]
    ) -> set[str]:
        """The families that stay after a fold, whose errors are recorded.

        One is given up when over n folds its best nets are 1 + 3/n times as bad as those of the
        best family; at the end, when they are `CLEARLY_WORSE`.
        """
        mean = {}
        for family in families:
            errors = [m.times_best for m in fold_members if m.family == family]
            self.log_times_best[family].append(float(np.log(min(errors, default=np.inf))))
            mean[family] = float(np.mean(self.log_times_best[family]))
        is_last = fold + 1 == self.settings.folds
        limit = min(mean.values()) + np.log(CLEARLY_WORSE if is_last else 1 + 3 / (fold + 1))
        return {
            family for family in families if mean[family] < (np.inf if family == LINEAR else limit)
        }

    def train_fold(self, fold: int, families: set[str]) -> list[Member]:
        """The nets of each family that follow the held-out block best, the best first."""
        settings = self.settings
        parts: dict[Treatment, FoldParts] = {}
        for treatment in self.treated:
            start = settings.start * treatment.stride
            train, held_out = split_fold(self.experiments, fold, settings.folds, start)
            parts[treatment] = treatment.decimate(train), treatment.decimate(held_out)
        members = self._fit_one_step(self._delay_members(fold, families), parts)
        members += self._state_members_of_fold(fold, parts, families)
        for iterations, survivors in settings.rounds:
            options = lm.Options(max_iterations=iterations, patience=max(iterations, 30))
            trained = [self._train_while_better(m, parts[m.treatment], options) for m in members]
            trained.sort(key=lambda member: member.held_out_rmse)
            members = []
            for family in sorted(families):
                best = [m for m in trained if m.family == family][:survivors]
                members += [m for m in best if np.isfinite(m.held_out_rmse)]
        least = min((m.held_out_rmse for m in members), default=1.0)
        return [replace(m, times_best=m.held_out_rmse / least) for m in members]

    def _delay_members(self, fold: int, families: set[str]) -> list[Member]:
        """Nets on delays at random weights, orders and coordinates in turn over the starts of all
        folds.
        """
        members = []
        starts, coordinates = self.settings.starts, self.settings.coordinates
        for turn in range(fold * starts, (fold + 1) * starts):
            net = self.delay_nets[turn % len(self.delay_nets)]
            kind = coordinates[turn % len(coordinates)]
            for treatment in self.treated:
                weights = initial_weights(net, np.random.default_rng([self.seed, 0, turn]))
                member = Member(net, weights, np.inf, kind, treatment=treatment)
                if member.family in families:
                    members.append(member)
        return members

    def _fit_one_step(
        self, members: list[Member], parts: Mapping[Treatment, FoldParts]
    ) -> list[Member]:
        """The members fitted in open loop to the (smoothed) rows that train."""
        options = lm.Options(max_iterations=self.settings.open_iterations)
        trained = []
        for member in members:
            train, held_out = parts[member.treatment]
            smooth = member.treatment.prefilter(train)
            problem = OpenLoop(member.net, smooth, self.settings.start, held_out)
            trained.append(self._train(problem, member, options))
        return trained

    def _state_members_of_fold(
        self, fold: int, parts: Mapping[Treatment, FoldParts], families: set[str]
    ) -> list[Member]:
        """The nets with a state of their own, begun as linear models of the rows that train."""
        members = []
        linear: dict[tuple[int, str], Array] = {}
        for number, member in enumerate(self.state_members):
            if member.family not in families:
                continue
            key = member.net.states, member.family
            if key not in linear:
                linear[key] = self._train_linear(member, parts[member.treatment][0])
            rng = np.random.default_rng([self.seed, 1, fold, number])
            weights = add_hidden_units(member.net, linear[key], rng)
            members.append(replace(member, weights=weights))
        return members

    def _train_linear(self, member: Member, train: list[Experiment]) -> Array:
        """Weights of the linear net with states trained on its free run (output error), its states
        chosen again as it moves.
        """
        net = replace(member.net, hidden=0)
        problem = ClosedLoop(net, train, self.settings.start)
        options = lm.Options(max_iterations=LINEAR_ITERATIONS)
        member = replace(
            member, net=net, weights=linear_weights(net, member.treatment.prefilter(train))
        )
        # increments do not see the level
        outputs = 0 if member.kind in FIRST_DIFFERENCE else net.measured_outputs
        for _ in range(LINEAR_ROUNDS):
            weights = whiten_states(net, member.weights, train, outputs)
            member = self._train(problem, replace(member, weights=weights), options)
        return member.weights

    def refit_winners(self, winners: list[Member]) -> list[Member]:
        """The winners trained on all experiments; where they are not all linear, the better half
        for longer, and of these the best.
        """
        rows = sum(map(len, self.experiments))
        iterations = self.settings.refit_iterations
        members = [self._refit(member, iterations) for member in winners]
        if all(member.kind == LINEAR for member in winners):
            return members  # no such error tells the order of linear models
        members.sort(key=lambda member: member.expected_rmse(rows))
        best = members[: max(3, (len(winners) + 1) // 2)]
        return choose_members([self._refit(member, 2 * iterations) for member in best], rows)

    def _refit(self, member: Member, iterations: int) -> Member:
        """The same net trained further on all experiments, the weight decay set by the evidence; as
        the fold left it where it diverges.
        """
        problem = ClosedLoop(member.net, self.treated[member.treatment], self.settings.start)
        if self.is_interrupted:
            mean_square = problem.loss(member.weights) / problem.n_residuals
            return replace(member, train_rmse=float(np.sqrt(mean_square)))
        options = lm.Options(max_iterations=iterations, bayesian=True)
        trained = self._train(problem, member, options)
        return replace(
            trained, held_out_rmse=member.held_out_rmse, train_rmse=trained.held_out_rmse
        )

    def _train_while_better(self, member: Member, parts: FoldParts, options: lm.Options) -> Member:
        """Trained on for the iterations of the round, and again as long as that lowers the held-out
        error by much.

        A held-out block of fewer than `STOPPING_VALUES` values chooses no iteration, for its noise
        would be fitted by that: the training is regularised instead.
        """
        train, held_out = parts
        judge = continue_through(member.net, train, held_out, self.settings.start)
        problem = judge
        if self.is_short:
            problem = ClosedLoop(member.net, train, self.settings.start)
            options = replace(options, bayesian=True)
        for _ in range(MAX_REPEATS):
            before = member.held_out_rmse
            member = self._train(problem, member, options)
            if self.is_short:
                mean_square = judge.validation(member.weights) or np.inf
                member = replace(member, held_out_rmse=float(np.sqrt(mean_square)))
            if self.is_interrupted or not member.held_out_rmse < REPEAT_GAIN * before < np.inf:
                break
        return member

    def _train(self, problem: OpenLoop | ClosedLoop, member: Member, options: lm.Options) -> Member:
        """The member trained on in its coordinates; its error infinite, its weights as they were
        where it diverges.
        """
        if self.is_interrupted:
            mean_square = problem.validation(member.weights)
            if mean_square is None:
                mean_square = np.inf
            return replace(member, held_out_rmse=float(np.sqrt(mean_square)))
        try:
            weights, mean_square = self._minimise(problem, member, options)
        except ModelError:
            return replace(member, held_out_rmse=np.inf)
        return replace(member, weights=weights, held_out_rmse=float(np.sqrt(mean_square)))

    def _minimise(
        self, problem: OpenLoop | ClosedLoop, member: Member, options: lm.Options
    ) -> tuple[Array, float]:
        """The best plain weights and their mean squared error, trained in the member's
        coordinates.
        """
        if member.kind not in FIRST_DIFFERENCE:
            run = lm.minimise(problem, member.weights, options=options, watch=self.watch)
            return run.weights, run.score
        coordinates = difference_coordinates(
            member.net, self.treated[member.treatment], FIRST_DIFFERENCE[member.kind]
        )
        start = coordinates.from_plain(member.weights)
        within = InCoordinates(problem, coordinates)
        run = lm.minimise(within, start, options=options, watch=self.watch)
        return coordinates.to_plain(run.weights), run.score

    def describe(self, members: list[Member], input_dead_times: tuple[int, ...]) -> list[str]:
        """What was chosen, a sentence each."""
        counts = Counter(member.kind for member in members)
        kinds = ", ".join(f"{count} on {kind}" for kind, count in counts.items())
        notes = [f"Of {len(members)} nets, those that followed the held-out blocks best, {kinds}."]
        if any(input_dead_times):
            notes.append(
                f"Dead times found beside the delays, per input: {input_dead_times} steps."
            )
        if self.is_interrupted:
            notes.append("The search was interrupted: these are the best nets so far.")
        if len(self.treated) > 1:
            notes.append(self._describe_treatments(members))
        return notes

    def _describe_treatments(self, members: Sequence[Member]) -> str:
        """What came of the treatments of the record, and which were chosen."""
        least = dict.fromkeys(self.treated, np.inf)
        for family, treatment in self.treatment_of.items():
            times_best = np.exp(np.mean(self.log_times_best[family] or np.inf))
            least[treatment] = min(least[treatment], times_best)
        tried = ", ".join(
            f"{treatment.name or AS_IT_IS} {times:.3g}" for treatment, times in least.items()
        )
        names = dict.fromkeys(member.treatment.name or AS_IT_IS for member in members)
        return (
            f"Treatments of the record, free-run error on its blocks in times of the best: {tried}."
            f" Taken: {' and '.join(names)}."
        )


def is_linear_enough(log_times_best: Mapping[str, Sequence[float]]) -> bool:
    """Whether linear models follow the blocks nearly as well, and no other family is surely better.

    `log_times_best`: by family, of every block the log of the error in times of the best.
    """
    linear = log_times_best[LINEAR]
    worse = np.subtract(linear, list(log_times_best.values()))
    standard_error = np.std(worse, axis=1) / np.sqrt(max(worse.shape[1] - 1, 1))
    is_near = np.mean(linear) <= np.log(LINEAR_WORSE)
    return bool(is_near and (np.mean(worse, axis=1) <= LINEAR_ERRORS * standard_error).all())


def choose_members(members: list[Member], rows: int) -> list[Member]:
    """The best and those after it up to the first gap; where these are fewer than `ENOUGH_MEMBERS`,
    all whose error is below `NO_SYSTEM` times the best.

    Their errors are on the rows that trained them: a net ahead of the others may have found the
    system or fitted its noise, on every block alike, and no test on these rows tells which. Those
    that drive increments are chosen alone where at least half of the nets that follow the record as
    well are such: such a system moves alike wherever it is, and they know it beyond the levels
    seen.
    """
    ordered = sorted(members, key=lambda member: member.expected_rmse(rows))
    errors = np.array([member.expected_rmse(rows) for member in ordered])
    with_system = int(np.searchsorted(errors, NO_SYSTEM * errors[0], side="right"))
    as_good = int(np.searchsorted(errors, AS_GOOD * errors[0], side="right"))
    is_gap = np.append(errors[1:] > CLEARLY_WORSE * errors[:-1], True)
    before_gap = 1 + int(np.argmax(is_gap))
    count = with_system
    if before_gap >= ENOUGH_MEMBERS:
        count = min(before_gap, with_system)
    chosen = ordered[:count]
    integrating = [member for member in chosen if member.kind == INTEGRATING]
    near = chosen[:as_good]
    if 2 * sum(member.kind == INTEGRATING for member in near) >= as_good:
        return integrating
    return chosen
