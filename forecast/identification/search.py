"""The search behind `identify`: a model of the record that simulates it, without any choice of the
user's.

1. Take out a line in y that no input explains; standardize; find outputs that sit on a bound, the
   dead time of every input, and how far back the inputs act.
2. Cut every experiment into blocks; each fold holds one block out (of as many experiments as folds,
   whole ones). In every fold each candidate (`SearchSettings.candidates`) is trained on its free
   run, with Bayesian regularisation (MacKay 1992), and judged by the free run through the block
   held out. What is hopeless on two blocks is not trained in the other folds. The worst third of
   the candidates is left out, by the mean over the folds: one block alone is too short to tell.
   Candidates most of whose models run off under the record's own inputs backwards are left out
   before that, and once more before the choice of step 3.
3. What may be chosen is trained on all rows that are searched, from what each fold made of it: the
   best first, for how well it then follows them tells what else may be. Models that follow them
   much worse than the best are left out: they never found the system, however well a crude model
   may do on the blocks after few iterations. The others are chosen by their error on the blocks, as
   far as the blocks can tell (`list_good`). They are trained on with the rest of a long record, and
   left out where they are lost after that. Where there is no rest, they are kept as they were
   before, too (snapshots of a descent; Huang et al. 2017).
4. Those that leave their bounds under inputs not measured, up to twice as large as the record's,
   are left out, unless most do: then it is the system that leaves them. A free run of the rest
   begins with as many measured rows as their states take to forget where they began.
5. The model is the median of the free runs of the rest, which a few that go astray do not move.
   Linear models alone may run farther from the record than any net in training.

A series without inputs has no free run to follow for long where it is chaotic or noise drives it.
Models on up to 40 of its own delays (`SearchSettings.ahead_candidates`), linear ones among them,
are fitted to each fold one step ahead. All are judged by forecasts of the block over `AHEAD` steps
(fewer where experiments are short), those of step 2 too. Where the best is fitted one step ahead,
those about as good are fitted to all rows in the place of step 3.

For `automatic.identify` alone. A member that cannot be trained or run costs itself, not the work;
after Ctrl-C (`Watch`) nothing is trained further and what is there is judged. Which parts were
tried and left out: docs/research/identification-stages.md.

`search_members` is the door: a `SearchResult` of `Member`s; `_Search` holds the folds. Too few rows
are an `InputError`, no model that follows a held-out block a `ModelError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecast.identification.delays import count_arx_delays, dead_times, measure_drift
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    begin_where_measured,
    delay_inputs,
    enlarge_inputs,
    saturation,
    split_fold,
    unseen_inputs,
)
from forecast.identification.loops import median_run
from forecast.identification.member import Member, count_start_rows, stay_within
from forecast.identification.model import LOST_RANGES
from forecast.identification.narx import Narx, initial_weights
from forecast.identification.one_signal import OneSignal, add_bent_signal
from forecast.identification.polynomial import select_terms
from forecast.identification.problems import ClosedLoop, OpenLoop, StackedExperiments
from forecast.identification.search_settings import (
    REFIT_ROW_ITERATIONS,
    Candidate,
    SearchSettings,
    limit_folds,
    limit_rows,
)
from forecast.identification.states import (
    add_hidden_units,
    largest_pole,
    limit_poles,
    linear_weights,
    whiten_states,
    with_states,
)
from forecast.identification.term_search import refine_terms
from forecast.system.errors import InputError, ModelError
from forecast.system.workers import limit_to_one_thread
from forecast.training import levenberg_marquardt as lm

HOPELESS = 5.0  # times the least error on two blocks or more: the other folds are spared it
TIED_BLOCKS = 0.4  # of the blocks on which a candidate is better than the best one: so does it
MOST_WEIGHTS = 1.5  # for each value of y: a larger net would be chosen by chance
AHEAD = 10  # steps by whose forecasts a series without inputs is judged
SAME_AHEAD = 1.05  # times the least error of these forecasts: about the same
SAME_ONE_STEP = 1.1  # times the least one-step error of a candidate's fits: as good as that
REACH_SHARE = 8  # the shortest record has so many times the rows that delays reach
NO_SYSTEM = 4.0  # times the error of the best on the record: it never found the system
ROUNDING = 1e-12  # of the deviation of y: a smaller error is none
LOST_ERROR = 10.0  # deviations of y, as which a run counts that is lost or could not be made
OPEN_ITERATIONS = 30  # of the one-step fit that nets on delays begin from
LINEAR_ROUNDS = 3  # of training a linear model, after which its states are chosen again
LINEAR_ITERATIONS = 15  # in each of these
MOST_INPUT_DELAYS = 20
MOST_STATES = 12  # of all outputs together, where a linear model is of an order above 3
POLYNOMIAL_INPUTS = 5  # delays of u that a polynomial sees
POLYNOMIAL_DEGREE = 3  # at most
POLYNOMIAL_TERMS = 12  # at most
AHEAD_SHARE = 0.4  # of a model's seconds in a fold that one fitted one step ahead takes, as a rule
JUDGING_ITERATIONS = 10  # that judging and reporting a model cost in the end, as a rule
SETTLED_ITERATIONS = 3  # in which a model that was fitted by least squares no longer moves
UNSEEN_ROWS = 1_000  # of an input that was not measured; more where a run begins with many rows


@dataclass(frozen=True)
class SearchResult:
    """The models of the ensemble, the scaling of their data, the rows a run begins with, the
    experiments without drift, and what was chosen, a sentence each.

    `held_out_rmse`: of the median of what each fold made of the chosen models, on the blocks that
    were held out, scaled; NaN of models fitted one step ahead.
    """

    members: tuple[Member, ...]
    held_out_rmse: float
    scaling: Standardization
    start: int
    experiments: Sequence[Experiment]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """The experiments that train, and those that judge: y is missing in the rows of the other."""

    train: list[Experiment]
    held_out: list[Experiment]


def search_members(
    experiments: Sequence[Experiment],
    *,
    seed: int,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: lm.Watch | None = None,
) -> SearchResult:
    """The models that follow the experiments best in free run; u and y in raw units, y (T, O) with
    NaN where missing.

    `announce` receives what is planned before the work starts, and after every fold the time that
    is left. `InputError` for too few rows, `ModelError` when no model follows any held-out block.
    """
    settings = limit_folds(settings or SearchSettings(), experiments)
    experiments, drift_notes = _take_out_drift(experiments)
    scaling = Standardization.fit(experiments)
    scaled, start = _begin_where_measured([scaling.scale(e) for e in experiments], settings.start)
    settings = replace(settings, start=start)
    with limit_to_one_thread():
        searched = limit_rows(scaled, settings.start)
        input_dead_times = dead_times(searched, settings.longest_dead_time)
        # an input that acts after several dead times is several to the search
        columns = [column for column, each in enumerate(input_dead_times) for _ in each]
        steps = [step for each in input_dead_times for step in each]
        aligned = [e.with_arrays(u=delay_inputs(e.u[:, columns], steps)) for e in scaled]
        search = _Search(aligned, settings, seed, announce, watch)
        folded = search.train_folds()
        reason = (
            f"Fitted one step ahead, chosen by forecasts of {search.ahead} steps on held-out blocks"
        )
        members = search.fit_ahead(folded)
        is_ahead = bool(members)
        if not is_ahead:
            reason = "Chosen by their free run on the held-out blocks"
            members = search.train_on(folded)
    notes = [f"{reason}.", *drift_notes]
    if any(steps):
        rows = ", ".join(
            " and ".join(str(step + 1 if step else 0) for step in each) for each in input_dead_times
        )
        notes.append(f"Dead time of the inputs: {rows} rows.")
    if search.is_interrupted:
        notes.append("The search was interrupted: these are the best models so far.")
    inputs = len(input_dead_times)
    members = [
        replace(m, net=replace(m.net, inputs=inputs, dead_times=input_dead_times)) for m in members
    ]
    chosen, notes_of_bounds = _keep_plausible(members, scaled, settings.start)
    if all(member.net.is_linear for member in chosen):
        chosen = [_widen_bounds(member, scaled) for member in chosen]
    notes += notes_of_bounds
    held_out_rmse = np.nan if is_ahead else search.judge_median(folded, chosen)
    start = count_start_rows(chosen, scaled, settings.start, settings.most_start)
    if start > settings.start:
        notes.append(f"A free run begins with {start} measured rows, in which the states settle.")
    return SearchResult(tuple(chosen), held_out_rmse, scaling, start, experiments, tuple(notes))


def _take_out_drift(
    experiments: Sequence[Experiment],
) -> tuple[Sequence[Experiment], list[str]]:
    """Without the line in y that no input explains, about its middle, and a note of it; several
    experiments as they are.
    """
    record, *others = experiments
    if others or not (rise := measure_drift(record)).any():
        return experiments, []
    line = np.linspace(-0.5, 0.5, len(record))[:, None] * rise
    listed = ", ".join(f"{value:.3g}" for value in rise)
    note = (
        f"Over the record y drifts by {listed} beside what the inputs explain. This line was taken"
        " out, and the errors told here are those without it; a free run has y's level in the"
        " middle of the record, so its error on a record that drifts is larger."
    )
    return [record.with_arrays(y=record.y - line)], [note]


def _begin_where_measured(
    experiments: Sequence[Experiment], start: int
) -> tuple[list[Experiment], int]:
    """Each from the first row where a free run can begin, and the measured rows it begins with:
    `start`, or 1 where y is never observed in as many in a row; `InputError` for too few of them.
    """
    for rows in (start, 1):
        begun = begin_where_measured(experiments, rows)
        parts = [part for part in begun if np.isfinite(part.y).any(axis=1).sum() > 3 * rows]
        if parts:
            return parts, rows
    raise InputError(
        "No record has y observed in more than 3 rows after the first; wanted more. Give a longer"
        " record."
    )


class Progress:
    """Tells what is left of the work in seconds by the clock, on the machine as it is just now:
    from what was done so far. Work is counted in the seconds that it was measured to take.
    """

    def __init__(self, announce: Callable[[str], None] | None) -> None:
        """`announce` is told; what is `left` is set by those who plan."""
        self.announce = announce
        self.left = 0.0
        self.done = 0.0
        self.seconds_left = np.inf
        self.begin = time.perf_counter()

    def add(self, work: float, stage: str) -> None:
        """So much was done in a stage, after which is told what is left: never more than before."""
        self.done += work
        self.left = max(self.left - work, 0.0)
        if self.announce is not None and self.done:
            seconds = (time.perf_counter() - self.begin) / self.done * self.left
            self.seconds_left = min(self.seconds_left, seconds)
            self.announce(f"{stage}: about {self.seconds_left:.1f} s more.")


class _Search:
    """The folds of one identification, on scaled experiments whose inputs are held back by their
    dead times. Every candidate of every fold draws numbers of its own.
    """

    def __init__(
        self,
        experiments: list[Experiment],
        settings: SearchSettings,
        seed: int,
        announce: Callable[[str], None] | None,
        watch: lm.Watch | None,
    ) -> None:
        self.experiments = experiments
        self.settings = settings
        self.seed = seed
        self.watch = watch
        low, high = saturation(experiments)
        first = experiments[0]
        self.plain = Narx(
            first.u.shape[1],
            first.y.shape[1],
            y_delays=(1,),
            u_delays=(),
            hidden=0,
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
        )
        self.searched = limit_rows(experiments, settings.start)
        self.input_delays = 0
        if self.plain.inputs:
            self.input_delays = max(self._count_arx_delays(MOST_INPUT_DELAYS)[0], 4)
        self.nets = {candidate: self._net_of(candidate) for candidate in settings.candidates}
        shortest = min(map(len, self.searched))
        reach = shortest // REACH_SHARE
        self.ahead_nets = {}
        if not self.plain.inputs:
            for candidate in settings.ahead_candidates:
                order = max(min(candidate.order // self.plain.outputs, reach), 1)
                delays = tuple(range(1, order + 1))
                net = replace(self.plain, y_delays=delays, hidden=candidate.hidden)
                self.ahead_nets[candidate] = net
        nets = (*self.nets.values(), *self.ahead_nets.values())
        longest_start = max(net.rows_to_start(settings.start) for net in nets)
        self.ahead = max(1, min(AHEAD, shortest - 1 - longest_start))
        self.folds = [
            Fold(*split_fold(self.searched, number, settings.folds, settings.start))
            for number in range(settings.folds)
        ]
        self.seconds: dict[Candidate, list[float]] = {candidate: [] for candidate in self.nets}
        self.ahead_work = 0.0
        self.progress = Progress(announce)
        if announce is not None:
            announce(
                f"System identification with {len(self.nets)} candidates in {settings.folds} folds;"
                " how long it takes is told after the first."
            )

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was pressed: what is left is only to be judged."""
        return self.watch is not None and self.watch.interrupted

    def _plan_training(self, members: list[Member]) -> float:
        """The work after the folds, as far as the errors on their blocks tell so far who goes on
        and who is chosen.
        """
        good = list_good(self._leave_out_worst(members))
        work = 0.0
        for member in members:
            if member.candidate in good:
                work += self.refit_work(member, self.searched, self.settings.refit_iterations[0])
                work += self._last_work(member)
        return work * self.settings.folds / (1 + max(member.fold for member in members))

    def _last_work(self, member: Member) -> float:
        """Of the last training of a chosen model, and of judging and reporting it."""
        _, iterations = self.settings.refit_iterations
        work = self.refit_work(member, self.experiments, iterations)
        return work + 2 * self.refit_work(member, self.experiments, JUDGING_ITERATIONS)

    def refit_work(
        self, member: Member, experiments: Sequence[Experiment], iterations: int
    ) -> float:
        """Seconds of so many iterations of training a model on the experiments, by those that its
        candidate took in the folds; one that is linear in its weights takes few.
        """
        rows_ratio = sum(map(len, experiments)) / sum(map(len, self.searched))
        if member.candidate.kind in ("polynomial", "arx"):
            iterations = min(iterations, SETTLED_ITERATIONS)
        share = limit_iterations(experiments, iterations) / max(self.settings.fold_iterations, 1)
        return float(np.mean(self.seconds[member.candidate])) * share * rows_ratio

    def _count_arx_delays(self, longest: int) -> tuple[int, int]:
        """How many delays of u and y the ARX model has with the least Schwarz criterion."""
        longest = min(longest, max(min(map(len, self.searched)) // 20, 5))
        with suppress(InputError):  # too few whole rows to choose by
            return count_arx_delays(self.searched, longest)
        return longest, longest

    def _net_of(self, candidate: Candidate) -> Narx:
        """The net of a candidate, a polynomial's without its terms."""
        if candidate.kind == "arx":
            n_u, n_y = self._count_arx_delays(candidate.order)
        elif candidate.kind in ("delays", "polynomial"):
            n_y = min(candidate.order, self.settings.start)
            n_u = self.input_delays
            if candidate.kind == "polynomial":
                n_u = min(n_u, POLYNOMIAL_INPUTS)
        else:
            return with_states(self.plain, self._order_of(candidate), candidate.hidden)
        y_delays = tuple(range(1, n_y + 1))
        u_delays = tuple(range(n_u if self.plain.inputs else 0))
        return replace(self.plain, y_delays=y_delays, u_delays=u_delays, hidden=candidate.hidden)

    def _order_of(self, candidate: Candidate) -> int:
        """The order of its linear model, lower where several outputs would make many states."""
        return min(candidate.order, max(3, 1 + MOST_STATES // self.plain.outputs))

    def train_folds(self) -> list[Member]:
        """The better two thirds of the candidates, two at least, trained in every fold; without
        the models that are lost on their block.
        """
        members: list[Member] = []
        folds = self.settings.folds
        mark = self.progress.begin
        hopeless: set[Candidate] = set()
        for fold in range(folds):
            fold_seconds: dict[Candidate, float] = {}
            for begun in self._begin(fold, self.nets, hopeless):
                begin = time.perf_counter()
                member = self._train_in_fold(begun)
                fold_seconds[begun.candidate] = time.perf_counter() - begin
                self.seconds[begun.candidate].append(fold_seconds[begun.candidate])
                if np.isfinite(member.held_out_rmse):
                    members.append(member)
            work, mark = time.perf_counter() - mark, time.perf_counter()
            self.ahead_work = AHEAD_SHARE * work * len(self.ahead_nets) / len(self.nets)
            self.progress.left = work + folds * self.ahead_work
            # one block tells too little
            doomed = self._list_hopeless(members) if fold else set[Candidate]()
            # one that could not be begun in this fold took nothing
            spared = sum(fold_seconds.get(candidate, 0.0) for candidate in doomed) / (
                sum(fold_seconds.values()) or 1.0
            )
            self.progress.left += (folds - 1 - fold) * work * (1 - spared)
            if fold < folds - 1:
                hopeless |= doomed
                members = [member for member in members if member.candidate not in hopeless]
            if members:
                self.progress.left += self._plan_training(members)
            self.progress.add(work, f"Fold {fold + 1} of {folds}")
        if not members:
            return []
        members = leave_out_straying(members, self.searched, self.settings.start)
        return self._leave_out_worst(members)

    def _list_hopeless(self, members: list[Member]) -> set[Candidate]:
        """The candidates far from the best on the blocks so far; none of a series without inputs,
        of which one that does not follow the blocks may forecast them.
        """
        if not members or not self.plain.inputs:
            return set()
        candidates, errors = tabulate_errors(members)
        means = mean_errors(errors)
        return set(compress(candidates, means > HOPELESS * means.min()))

    def _leave_out_worst(self, members: list[Member]) -> list[Member]:
        """Those of the better two thirds of the candidates, two at least."""
        candidates, errors = tabulate_errors(members)
        n_best = max(2 * len(self.settings.candidates) // 3, 2)
        best = np.argsort(mean_errors(errors), kind="stable")[:n_best]
        return [member for member in members if candidates.index(member.candidate) in best]

    def fit_ahead(self, folded: list[Member]) -> list[Member]:
        """For a series without inputs: the models on delays, fitted one step ahead, of the
        candidates that forecast the blocks about best, fitted to all rows that are searched. None
        where models trained on their free run in the folds are better, and for other records.
        """
        fitted: list[Member] = []
        for fold in range(self.settings.folds if self.ahead_nets else 0):
            begun = self._begin(fold, self.ahead_nets)
            if self.is_interrupted:
                break  # the last of these are as they were drawn
            fitted += begun
            stage = f"One step ahead, fold {fold + 1} of {self.settings.folds}"
            self.progress.add(self.ahead_work, stage)
        if not fitted:
            return []
        candidates, errors = tabulate_errors([self._judge_ahead(member) for member in fitted])
        means = mean_errors(errors)
        simulating = [self._judge_ahead(member) for member in folded]
        if simulating and mean_errors(tabulate_errors(simulating)[1]).min() <= means.min():
            return []
        is_good = means <= SAME_AHEAD * means.min()
        chosen = [
            self._refit_one_step(member)
            for member in fitted
            if is_good[candidates.index(member.candidate)]
        ]
        # in descending order, so that the least error of a candidate is the last
        by_error = sorted(chosen, key=lambda member: -member.train_rmse)
        least = {member.candidate: member.train_rmse for member in by_error}
        self.progress.left = 0.0
        self.progress.add(1.0, "Models fitted one step ahead")
        # other fits of a candidate may have ended in a poor minimum, or have poor terms
        return [m for m in chosen if m.train_rmse <= SAME_ONE_STEP * least[m.candidate]]

    def _judge_ahead(self, member: Member) -> Member:
        """With the error of forecasts of its held-out block as `held_out_rmse`: the mean over steps
        1 to `self.ahead` of the root mean square, from measured rows.
        """
        net = member.net
        first = net.rows_to_start(self.settings.start)
        sums = np.zeros((2, self.ahead))
        for e, held_out in zip(self.searched, self.folds[member.fold].held_out, strict=True):
            memory = net.absorb(member.weights, e.u[:first], e.y[:first])
            forecasts = net.ahead(member.weights, memory, e.u[first:], e.y[first:], self.ahead)
            targets, weights = (
                sliding_window_view(table[first + 1 :], self.ahead, axis=0).swapaxes(1, 2)
                for table in (held_out.y, held_out.error_weights)
            )
            squares = weights * np.where(weights > 0, forecasts - targets, 0.0) ** 2
            sums += np.stack([squares.sum(axis=(0, 2)), weights.sum(axis=(0, 2))])
        error = float(np.sqrt(sums[0] / np.maximum(sums[1], 1e-300)).mean())
        return replace(member, held_out_rmse=error if np.isfinite(error) else np.inf)

    def _refit_one_step(self, member: Member) -> Member:
        """Fitted to all rows that are searched, with its one-step error there and the error of the
        fold's free run through its block; as it was where the fit diverges.
        """
        start = member.net.rows_to_start(self.settings.start)
        judge = StackedExperiments(member.net, self.folds[member.fold].held_out, start)
        held_out_rmse = float(np.sqrt(judge.mean_square(member.weights)))
        with suppress(ModelError, np.linalg.LinAlgError):
            member = replace(member, weights=self._fit_open_loop(member, self.searched))
        problem = OpenLoop(member.net, self.searched, start)
        one_step_rmse = (problem.loss(member.weights) / problem.n_residuals) ** 0.5
        return replace(member, held_out_rmse=held_out_rmse, train_rmse=one_step_rmse)

    def train_on(self, folded: list[Member]) -> list[Member]:
        """Those chosen of what the folds made, trained on all rows; `ModelError` for none."""
        if not folded:
            raise ModelError(
                "No NARX model follows any held-out block in free run; other inputs may be missing."
            )
        first, second = self.settings.refit_iterations
        candidates, errors = tabulate_errors(folded)
        best = candidates[int(np.argmin(mean_errors(errors)))]
        # how well the best then follows the record tells which of the others can be chosen
        best_members = [member for member in folded if member.candidate == best]
        others = [member for member in folded if member.candidate != best]
        trained = self.refit(best_members, self.searched, first, "Training on all blocks")
        good = list_good([*trained, *others])
        others = [member for member in others if member.candidate in good]
        trained += self.refit(others, self.searched, first, "Training others on all blocks")
        staying = leave_out_straying(trained, self.searched, self.settings.start)
        chosen = choose_members(staying)
        self.progress.left = sum(map(self._last_work, chosen))
        members = leave_out_lost(self.refit(chosen, self.experiments, second, "Last training"))
        # how long to train differs between systems: both ends of the descent are kept
        if sum(map(len, self.searched)) == sum(map(len, self.experiments)):
            members = [*chosen, *members]
        return members

    def judge_median(self, folded: list[Member], chosen: list[Member]) -> float:
        """The root mean square error, over the blocks that were held out, of the median of what
        each fold made of the chosen models.
        """
        pairs = {(member.candidate, member.fold) for member in chosen}
        first = max(member.net.rows_to_start(self.settings.start) for member in folded)
        squares = []
        for number, fold in enumerate(self.folds):
            members = [m for m in folded if m.fold == number and (m.candidate, number) in pairs]
            if members:
                median = median_run(np.array([self._run_from(first, m) for m in members]))
                judge = StackedExperiments(self.plain, fold.held_out, first)
                squares.append(judge.error_of(median))
        return float(np.sqrt(np.mean(squares)))

    def _run_from(self, first: int, member: Member) -> Array:
        """(rows, measured outputs): a run of the searched rows, of every experiment from this row
        on.
        """
        skipped = 0 if member.net.states else member.net.rows_to_start(self.settings.start)
        ends = np.cumsum([len(e) - skipped for e in self.searched])[:-1]
        parts = np.split(np.array(member.run)[:, : self.plain.outputs], ends)
        return np.concatenate([part[first - skipped :] for part in parts])

    def _begin(
        self, fold: int, nets: Mapping[Candidate, Narx], left_out: Collection[Candidate] = ()
    ) -> list[Member]:
        """The candidates, but those left out, with the weights that the training of a fold starts
        from: terms chosen one step ahead (polynomials), a one-step fit (delays), or the linear
        model with tanh units that do not act yet (states). Nor are those begun that cannot be, or
        are too large.
        """
        linear: dict[int, Array] = {}
        members = []
        train = self.folds[fold].train
        n_values = sum(int(np.count_nonzero(e.error_weights)) for e in self.experiments)
        for number, (candidate, net) in enumerate(nets.items()):
            if candidate in left_out:
                continue
            rng = np.random.default_rng([self.seed, fold, number])
            try:
                if candidate.kind == "polynomial":
                    problem = OpenLoop(net, train, net.rows_to_start(self.settings.start))
                    terms, weights = select_terms(
                        problem.z, problem.y, degree=POLYNOMIAL_DEGREE, most=POLYNOMIAL_TERMS
                    )
                    net = replace(net, terms=terms)
                elif candidate.kind in ("delays", "arx"):
                    weights = initial_weights(net, rng)
                    weights = self._fit_open_loop(Member(candidate, fold, net, weights), train)
                else:
                    order = self._order_of(candidate)
                    if order not in linear:
                        linear[order] = self._train_linear(order, train)
                    is_one_signal = candidate.kind == "one signal"
                    bend = add_bent_signal if is_one_signal else add_hidden_units
                    weights = bend(net, linear[order], rng)
            except (ModelError, np.linalg.LinAlgError):
                continue
            if net.n_weights <= min(lm.MAX_WEIGHTS, MOST_WEIGHTS * n_values):
                members.append(Member(candidate, fold, net, weights))
        return members

    def _fit_open_loop(self, member: Member, train: list[Experiment]) -> Array:
        """Weights fitted to the one-step error on measured y, where training in free run begins.
        `ModelError` where it diverges.
        """
        problem = OpenLoop(member.net, train, member.net.rows_to_start(self.settings.start))
        # the evidence takes a linear net without weights yet for one that needs none
        bayesian = not member.net.inputs and bool(member.weights.any())
        options = lm.Options(max_iterations=OPEN_ITERATIONS, bayesian=bayesian, by_gain=True)
        return self._minimise(problem, member, options)

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
            problem = ClosedLoop(net, train, self.settings.start)
            weights = lm.minimise(problem, weights, options=options, watch=self.watch).weights
        return weights

    def _train_in_fold(self, member: Member) -> Member:
        """Trained on with Bayesian regularisation, and judged on the block held out."""
        fold = self.folds[member.fold]
        start = member.net.rows_to_start(self.settings.start)
        options = lm.Options(self.settings.fold_iterations, bayesian=True, by_gain=True)
        try:
            if member.net.terms:
                polynomial = refine_terms(
                    member.net,
                    member.weights,
                    fold.train,
                    start,
                    degree=POLYNOMIAL_DEGREE,
                    most=POLYNOMIAL_TERMS,
                    watch=self.watch,
                )
                member = replace(member, net=polynomial.net, weights=polynomial.weights)
            problem = ClosedLoop(member.net, fold.train, start)
            if not member.net.terms and member.candidate.kind != "arx":
                member = replace(member, weights=self._minimise(problem, member, options))
        except (ModelError, np.linalg.LinAlgError):
            return replace(member, held_out_rmse=np.inf)
        run = problem.train.free_run(member.weights)
        mean_square = StackedExperiments(member.net, fold.held_out, start).error_of(run)
        return replace(member, held_out_rmse=float(np.sqrt(mean_square)), run=run)

    def refit(
        self, members: list[Member], experiments: list[Experiment], iterations: int, stage: str
    ) -> list[Member]:
        """Trained on all rows of the experiments, announced as this stage; as they were where a
        training diverges.
        """
        most = limit_iterations(experiments, iterations)
        options = lm.Options(max_iterations=most, bayesian=True, by_gain=True)
        trained: list[Member] = []
        for member in members:
            start = member.net.rows_to_start(self.settings.start)
            problem = ClosedLoop(member.net, experiments, start, guess=member.run)
            weights = member.weights
            with suppress(ModelError, np.linalg.LinAlgError):
                if member.candidate.kind == "arx":
                    weights = self._fit_open_loop(member, experiments)
                else:
                    weights = self._minimise(problem, member, options)
            with np.errstate(over="ignore", invalid="ignore"):
                error = (problem.loss(weights) / problem.n_residuals) ** 0.5
            run = problem.train.free_run(weights)
            rmse = max(error, ROUNDING)
            trained.append(replace(member, weights=weights, train_rmse=rmse, run=run))
            work = self.refit_work(member, experiments, iterations)
            self.progress.add(work, f"{stage}, {len(trained)} of {len(members)} models")
        return trained

    def _minimise(
        self, problem: OpenLoop | ClosedLoop, member: Member, options: lm.Options
    ) -> Array:
        """The weights of a member after training; as they are after Ctrl-C. `ModelError` where it
        diverges.
        """
        if self.is_interrupted:
            return member.weights
        if member.candidate.kind != "one signal":
            return lm.minimise(problem, member.weights, options=options, watch=self.watch).weights
        shared = OneSignal(problem, member.net)
        start = shared.shrink(member.weights)
        return shared.expand(lm.minimise(shared, start, options=options, watch=self.watch).weights)


def list_good(members: list[Member]) -> list[Candidate]:
    """The candidates that the blocks do not tell from the best one, which is trained already.

    The blocks tell candidates apart as far as the best one is as good there as on the rows that
    train. Where it is not, they ask for what the other rows do not show, which is answered by
    chance: candidates count as good whose error there is at most by that ratio worse. So do those
    that are better than the best one on enough of the blocks (`TIED_BLOCKS`), and their median is
    more than any of them.
    """
    candidates, errors = tabulate_errors(members)
    means = mean_errors(errors)
    best = np.argmin(means)
    ratios = [m.held_out_rmse / m.train_rmse for m in members if m.candidate == candidates[best]]
    limit = max(1.0, np.median(ratios)) * means[best]
    is_tied = (errors <= errors[best]).mean(axis=1) >= TIED_BLOCKS
    return [c for c, is_good in zip(candidates, (means <= limit) | is_tied, strict=True) if is_good]


def choose_members(members: list[Member]) -> list[Member]:
    """The models that follow the whole record, of the candidates that count as good.

    Of a system that integrates a record shows one stretch of y, beyond which tanh units and powers
    are guesses: where most linear models that count as good do so, linear models stay alone.
    """
    following = leave_out_lost(members)
    left = {member.candidate for member in following}
    candidates = list_good([member for member in members if member.candidate in left])
    good = [member for member in following if member.candidate in candidates]
    linear = [m for m in good if m.net.is_linear]
    integrates = [_integrates(m) for m in linear if m.net.states]
    return linear if sum(integrates) > len(integrates) / 2 else good


def _integrates(member: Member) -> bool:
    """Whether a linear model with states forgets more slowly than its record lasts."""
    rows = 0 if member.run is None else len(member.run)
    return rows * (1 - largest_pole(member.net, member.weights)) < 1


def _widen_bounds(member: Member, experiments: list[Experiment]) -> Member:
    """With bounds that the record does not show so far off that `Model` tells a lost run."""
    bounds = np.stack(saturation(experiments, LOST_RANGES))
    limits = np.hstack([bounds, member.net.limits[:, bounds.shape[1] :]])
    low, high = map(tuple, limits.tolist())
    return replace(member, net=replace(member.net, low=low, high=high))


def leave_out_lost(members: list[Member]) -> list[Member]:
    """Those that do not follow the record much worse than the best one: they found the system, or
    nothing is to be found.
    """
    least = min(member.train_rmse for member in members)
    return [member for member in members if member.train_rmse <= NO_SYSTEM * least]


def leave_out_straying(
    members: list[Member], experiments: Sequence[Experiment], start: int
) -> list[Member]:
    """Those of the candidates most of whose models stay within their bounds under the record's own
    inputs backwards; all of them where there is no such candidate, for then the system may leave
    them.

    Blocks do not tell a model that takes a slow disturbance for its own motion: the rows on both
    sides of a block carry it through. On other rows it runs off.
    """
    backwards = unseen_inputs(experiments, UNSEEN_ROWS)[0]
    stay = stay_within(members, experiments, backwards, start)
    candidates = np.array([member.candidate for member in members])
    staying = [m for m in members if stay[candidates == m.candidate].mean() > 0.5]
    return staying or members


def limit_iterations(experiments: Sequence[Experiment], iterations: int) -> int:
    """Fewer for many rows, of which each says less."""
    return min(iterations, max(REFIT_ROW_ITERATIONS // sum(map(len, experiments)), 3))


def tabulate_errors(members: Sequence[Member]) -> tuple[list[Candidate], Array]:
    """The candidates, and (candidates, folds) their errors on the blocks held out, infinite where
    one has no member.
    """
    candidates = list(dict.fromkeys(member.candidate for member in members))
    folds = sorted({member.fold for member in members})
    errors = np.full((len(candidates), len(folds)), np.inf)
    for member in members:
        errors[candidates.index(member.candidate), folds.index(member.fold)] = member.held_out_rmse
    return candidates, errors


def mean_errors(errors: Array) -> Array:
    """(candidates,): the geometric mean over the folds of the errors (candidates, folds).

    The geometric one, so that each block counts alike, however hard it is to follow.
    """
    return np.exp(np.log(np.clip(errors, ROUNDING, LOST_ERROR)).mean(axis=1))


def _keep_plausible(
    members: list[Member], experiments: list[Experiment], start: int
) -> tuple[list[Member], list[str]]:
    """The members that stay within their bounds under inputs not measured: up to twice as large as
    the record's, half as large again, or of its range, by the hardest of these that more than half
    of them pass; and what to say of it.
    """
    rows = max(UNSEEN_ROWS, 5 * start)
    u = experiments[0].u[: 2 * rows]
    trials = [unseen_inputs(experiments, rows), *([enlarge_inputs(u, f)] for f in (1.5, 2.0))]
    stay = np.ones(len(members), bool)
    n_passed = 0
    for inputs in trials:
        still = np.all(
            [stay, *(stay_within(members, experiments, v, start) for v in inputs)], axis=0
        )
        if still.mean() <= 0.5:
            break
        stay = still
        n_passed += 1
    notes = []
    if n_passed < len(trials) and u.size:
        reach = "up to half as large again" if n_passed == 2 else "like the record's"
        notes.append(
            "Under larger inputs most models leave their bounds, as may the system: trust the model"
            f" under inputs {reach}."
        )
    if dropped := np.count_nonzero(~stay):
        notes.append(
            "Left out for leaving their bounds where others do not:"
            f" {dropped} of {len(members)} models."
        )
    return [member for member, stays in zip(members, stay, strict=True) if stays], notes
