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
   far as the blocks can tell (`list_good`), three of each candidate by how they follow the rows
   searched. They are trained on with the rest of a long record, and
   left out where they are lost after that. Where there is no rest, they are kept as they were
   before, too (snapshots of a descent; Huang et al. 2017).
4. Those that leave their bounds under inputs not measured, up to twice as large as the record's,
   are left out, unless most do: then it is the system that leaves them. A free run of the rest
   begins with `most_start` measured rows where they have states, which settle meanwhile.
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

`search_members` is the door: a `SearchResult` of `Member`s; `_Search` holds the folds. How a model
is made, and how the seconds left are told: `search_training`; which stay: `member`. Too few rows
are an `InputError`, no model that follows a held-out block a `ModelError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecast.identification.averaging import (
    SPREAD_KINDS,
    average_rows,
    count_averaged_rows,
    spread_over_rows,
)
from forecast.identification.delays import count_arx_delays, dead_times, take_out_drift
from forecast.identification.experiment import (
    Experiment,
    Standardization,
    delay_inputs,
    saturation,
    split_fold,
)
from forecast.identification.member import (
    BEST_FITS,
    UNSEEN_ROWS,
    Member,
    choose_members,
    count_start_rows,
    keep_best_fits,
    keep_plausible,
    leave_out_lost,
    leave_out_straying,
    leave_out_worst,
    list_good,
    list_hopeless,
    mean_errors,
    widen_bounds,
)
from forecast.identification.narx import Narx
from forecast.identification.problems import StackedExperiments
from forecast.identification.search_settings import (
    Candidate,
    SearchSettings,
    cut_to_measured,
    limit_folds,
    limit_iterations,
    limit_rows,
)
from forecast.identification.search_training import Pace, Trainer
from forecast.identification.states import with_states
from forecast.system.errors import InputError, ModelError
from forecast.system.workers import limit_to_one_thread
from forecast.training import levenberg_marquardt as lm

MOST_WEIGHTS = 1.5  # for each value of y: a larger net would be chosen by chance
AHEAD = 10  # steps by whose forecasts a series without inputs is judged
SAME_AHEAD = 1.05  # times the least error of these forecasts: about the same
SAME_ONE_STEP = 1.1  # times the least one-step error of a candidate's fits: as good as that
ROWS_PER_DELAY = 8  # the shortest experiment has so many times the rows of the longest delay
MOST_INPUT_DELAYS = 20
MOST_STATES = 12  # of all outputs together, where a linear model is of an order above 3
POLYNOMIAL_INPUTS = 5  # delays of u that a polynomial sees
FOLD, AHEAD_FOLD = "Fold {} of {}", "One step ahead, fold {} of {}"  # as they are announced
JUDGING = "judging"


@dataclass(frozen=True)
class SearchResult:
    """The models of the ensemble, the scaling of their data, the rows a run begins with, the
    experiments without drift, and what was chosen, a sentence each.
    """

    members: tuple[Member, ...]
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
    experiments, drift_notes = take_out_drift(experiments)
    scaling = Standardization.fit(experiments)
    scaled, start = cut_to_measured([scaling.scale(e) for e in experiments], settings.start)
    settings = replace(settings, start=start)
    with limit_to_one_thread():
        input_dead_times = dead_times(limit_rows(scaled, start), settings.longest_dead_time)
        # an input that acts after several dead times is several to the search
        columns: list[int] = []
        steps: list[int] = []
        for column, each in enumerate(input_dead_times):
            columns += [column] * len(each)
            steps += each
        aligned = [e.with_arrays(u=delay_inputs(e.u[:, columns], steps)) for e in scaled]
        search = _Search(aligned, settings, seed, announce, watch)
        folded = search.train_folds()
        members_ahead = search.fit_ahead(folded)
        members = members_ahead or search.choose_and_train(folded)
    members = [
        replace(m, net=replace(m.net, inputs=len(input_dead_times), dead_times=input_dead_times))
        for m in members
    ]
    chosen, notes_of_bounds = keep_plausible(members, scaled, start)
    if all(member.net.is_linear for member in chosen):
        chosen = [widen_bounds(member, scaled) for member in chosen]
    first = count_start_rows(chosen, scaled, start, settings.most_start * search.rows_per_mean)
    notes = [
        f"Fitted one step ahead, chosen by forecasts of {search.n_steps} steps on held-out blocks."
        if members_ahead
        else "Chosen by their free run on the held-out blocks.",
        *drift_notes,
        *_describe_search(search, input_dead_times),
        *notes_of_bounds,
    ]
    if first > start:
        notes.append(f"A free run begins with {first} measured rows, in which the states settle.")
    return SearchResult(tuple(chosen), scaling, first, experiments, tuple(notes))


def _describe_search(search: _Search, input_dead_times: Sequence[Sequence[int]]) -> Iterator[str]:
    """What the rows were taken for, and whether the search was interrupted, a sentence each."""
    if search.rows_per_mean > 1:
        yield (
            "The record moves slowly against its rows: models were chosen on means of"
            f" {search.rows_per_mean} rows, of which the errors on held-out blocks are, and trained"
            " on the rows themselves last."
        )
    if any(map(any, input_dead_times)):
        rows = ", ".join(
            " and ".join(str(step + 1 if step else 0) for step in each) for each in input_dead_times
        )
        yield f"Dead time of the inputs: {rows} rows."
    if search.trainer.is_interrupted:
        yield "The search was interrupted: these are the best models so far."


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
        self.seed = seed
        low, high = (tuple(bounds.tolist()) for bounds in saturation(experiments))
        inputs, outputs = experiments[0].u.shape[1], experiments[0].y.shape[1]
        self.plain = Narx(inputs, outputs, (1,), (), hidden=0, low=low, high=high)
        self.trainer = Trainer(self.plain, settings.start, watch)
        spread = [c for c in settings.candidates if c.kind in SPREAD_KINDS]
        self.rows_per_mean = count_averaged_rows(experiments, settings.start) if spread else 1
        if self.rows_per_mean > 1:
            settings = replace(settings, candidates=tuple(spread))
        self.settings = settings
        self.searched = limit_rows(average_rows(experiments, self.rows_per_mean), settings.start)
        self.input_delays = 0
        if self.plain.inputs:
            self.input_delays = max(self._count_arx_delays(MOST_INPUT_DELAYS)[0], 4)
        self.nets = {candidate: self._net_of(candidate) for candidate in settings.candidates}
        shortest = min(map(len, self.searched))
        longest_delay = shortest // ROWS_PER_DELAY
        self.ahead_nets = {}
        if not self.plain.inputs:
            for candidate in settings.ahead_candidates:
                order = max(min(candidate.order // self.plain.outputs, longest_delay), 1)
                self.ahead_nets[candidate] = self._net_on_delays(candidate, order, 0)
        nets = (*self.nets.values(), *self.ahead_nets.values())
        longest_start = max(net.rows_to_start(settings.start) for net in nets)
        self.n_steps = max(1, min(AHEAD, shortest - 1 - longest_start))
        self.folds = [
            Fold(*split_fold(self.searched, number, settings.folds, settings.start))
            for number in range(settings.folds)
        ]
        last_work = limit_iterations(experiments, settings.refit_iterations[1])
        last_work *= sum(map(len, experiments))
        fold_work = max(settings.fold_iterations, 1) * sum(map(len, self.searched))
        self.pace = Pace(announce, last_work / fold_work)
        self.pace.announce(
            f"System identification with {len(self.nets)} candidates in {settings.folds} folds;"
            " how long it takes is told after the second."
        )

    def _count_arx_delays(self, longest: int) -> tuple[int, int]:
        """How many delays of u and y the ARX model has with the least Schwarz criterion."""
        longest = min(longest, max(min(map(len, self.searched)) // 20, 5))
        with suppress(InputError):  # too few whole rows to choose by
            return count_arx_delays(self.searched, longest)
        return longest, longest

    def _net_of(self, candidate: Candidate) -> Narx:
        """The net of a candidate, a polynomial's without its terms."""
        n_u = self.input_delays
        if candidate.kind == "arx":
            n_u, n_y = self._count_arx_delays(candidate.order)
            return self._net_on_delays(candidate, n_y, n_u)
        if candidate.kind in ("delays", "polynomial"):
            if candidate.kind == "polynomial":
                n_u = min(n_u, POLYNOMIAL_INPUTS)
            return self._net_on_delays(candidate, min(candidate.order, self.settings.start), n_u)
        # lower where several outputs would make many states
        order = min(candidate.order, max(3, 1 + MOST_STATES // self.plain.outputs))
        return with_states(self.plain, order, candidate.hidden)

    def _net_on_delays(self, candidate: Candidate, n_y: int, n_u: int) -> Narx:
        """On so many delays of y from 1 and of u from 0, of which there are none without inputs."""
        y_delays, u_delays = tuple(range(1, n_y + 1)), tuple(range(n_u if self.plain.inputs else 0))
        return replace(self.plain, y_delays=y_delays, u_delays=u_delays, hidden=candidate.hidden)

    def train_folds(self) -> list[Member]:
        """The better two thirds of the candidates, two at least, trained in every fold; without
        the models that are lost on their block.
        """
        members: list[Member] = []
        likely: list[Member] = []
        hopeless: list[Candidate] = []
        for fold in range(len(self.folds)):
            left = len(self.folds) - 1 - fold
            members += [
                member
                for member in self._train_models(fold, hopeless)
                if np.isfinite(member.held_out_rmse)
            ]
            stage = FOLD.format(fold + 1, len(self.folds))
            if not members or not fold:  # one block tells too little
                self.pace.announce(f"{stage}.")
                continue
            # of a series without inputs a model that does not follow the blocks may forecast them
            if left and self.plain.inputs:
                hopeless += list_hopeless(members)
                members = [member for member in members if member.candidate not in hopeless]
            if not left:
                members = leave_out_straying(members, self.searched, self.settings.start)
            likely = leave_out_worst(members, max(2 * len(self.nets) // 3, 2))
            good = list_good(likely)
            # more is chosen in the end than few blocks tell: count a model of each
            others = [*mean_errors(likely)] if left else []
            remaining = [candidate for candidate in self.nets if candidate not in hopeless]
            first_weights = [str(candidate) for candidate in remaining]
            self.pace.tell(
                stage,
                [*first_weights * left, *remaining * left, *good * len(self.folds), *others],
                [*good * BEST_FITS, *others],
            )
        return likely

    def _train_models(self, fold: int, hopeless: Sequence[Candidate]) -> list[Member]:
        """What a fold makes of the candidates that are not hopeless, trained on their free run;
        without what cannot be trained.
        """
        block = self.folds[fold]
        members = []
        iterations = self.settings.fold_iterations
        for begun in self._begin_models(fold, self.nets, hopeless):
            with (
                suppress(ModelError, np.linalg.LinAlgError),
                self.pace.measure(begun.candidate),
            ):
                members.append(self.trainer.train(begun, block.train, block.held_out, iterations))
        return members

    def _begin_models(
        self, fold: int, nets: Mapping[Candidate, Narx], hopeless: Sequence[Candidate] = ()
    ) -> Iterator[Member]:
        """The models of the candidates that are not hopeless as the fold begins them, without those
        that cannot be begun or are too large.
        """
        n_values = sum(int(np.count_nonzero(e.error_weights)) for e in self.experiments)
        most_weights = min(lm.MAX_WEIGHTS, MOST_WEIGHTS * n_values)
        for number, (candidate, net) in enumerate(nets.items()):
            if candidate in hopeless:
                continue
            rng = np.random.default_rng([self.seed, fold, number])
            with suppress(ModelError, np.linalg.LinAlgError):
                with self.pace.measure(str(candidate)):
                    member = Member(candidate, fold, net, np.empty(0))
                    begun = self.trainer.begin(member, self.folds[fold].train, rng)
                if begun.net.n_weights <= most_weights:
                    yield begun

    def fit_ahead(self, folded: list[Member]) -> list[Member]:
        """For a series without inputs: the models on delays, fitted one step ahead, of the
        candidates that forecast the blocks about best, fitted to all rows that are searched. None
        where models trained on their free run in the folds are better, and for other records.
        """
        fitted: list[Member] = []
        for fold in range(len(self.folds)) if self.ahead_nets else ():
            with self.pace.measure(AHEAD_FOLD):
                begun = [*self._begin_models(fold, self.ahead_nets)]
            if self.trainer.is_interrupted:
                break  # the last of these are as they were drawn
            fitted += begun
            left = [AHEAD_FOLD] * (len(self.folds) - 1 - fold)
            self.pace.tell(AHEAD_FOLD.format(fold + 1, len(self.folds)), left)
        if not fitted:
            return []
        means = mean_errors([self._judge_ahead(member) for member in fitted])
        least = min(means.values())
        simulating = [self._judge_ahead(member) for member in folded]
        if simulating and min(mean_errors(simulating).values()) <= least:
            return []
        chosen = [
            self._refit_one_step(member)
            for member in fitted
            if means[member.candidate] <= SAME_AHEAD * least
        ]
        # other fits of a candidate may have ended in a poor minimum, or have poor terms
        return [
            member
            for member in chosen
            if member.train_rmse
            <= SAME_ONE_STEP * min(m.train_rmse for m in chosen if m.candidate == member.candidate)
        ]

    def _judge_ahead(self, member: Member) -> Member:
        """With the error of forecasts of its held-out block as `held_out_rmse`: the mean over steps
        1 to `self.n_steps` of the root mean square, from measured rows.
        """
        net = member.net
        first = net.rows_to_start(self.settings.start)
        sums = np.zeros((2, self.n_steps))
        for e, held_out in zip(self.searched, self.folds[member.fold].held_out, strict=True):
            memory = net.absorb(member.weights, e.u[:first], e.y[:first])
            forecasts = net.ahead(member.weights, memory, e.u[first:], e.y[first:], self.n_steps)
            targets, weights = (
                sliding_window_view(table[first + 1 :], self.n_steps, axis=0).swapaxes(1, 2)
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
            member = replace(member, weights=self.trainer.fit_one_step(member, self.searched))
        return replace(
            member,
            held_out_rmse=held_out_rmse,
            train_rmse=self.trainer.one_step_rmse(member, self.searched),
        )

    def choose_and_train(self, folded: list[Member]) -> list[Member]:
        """Some of the models of the folds, trained further on all rows; `ModelError` for none."""
        if not folded:
            raise ModelError(
                "No NARX model follows any held-out block in free run; other inputs may be missing."
            )
        means = mean_errors(folded)
        best = min(means, key=means.__getitem__)
        trained = self._train_further([member for member in folded if member.candidate == best])
        others = [member for member in folded if member.candidate != best]
        # how well the best follows the record tells which of the others can be chosen
        good = list_good([*trained, *others])
        trained += self._train_further([member for member in others if member.candidate in good])
        with self.pace.measure(JUDGING):
            staying = leave_out_straying(trained, self.searched, self.settings.start)
        # in the end there are some more trials like this one, and runs over all rows
        rows = sum(map(len, self.experiments))
        judging = [JUDGING] * (7 + rows // UNSEEN_ROWS)
        chosen = keep_best_fits(choose_members(staying))
        if self.rows_per_mean > 1:
            chosen = [spread_over_rows(member, self.rows_per_mean) for member in chosen]
        candidates = [member.candidate for member in chosen]
        self.pace.tell("Training on all blocks", judging, candidates)
        iterations = limit_iterations(self.experiments, self.settings.refit_iterations[1])
        last = []
        for number, member in enumerate(chosen, 1):
            last.append(self.trainer.train_further(member, self.experiments, iterations))
            stage = f"Last training, {number} of {len(chosen)} models"
            self.pace.tell(stage, judging, candidates[number:])
        members = leave_out_lost(last)
        # how long to train differs between systems: both ends of the descent are kept
        if sum(map(len, self.searched)) == rows:
            members = [*chosen, *members]
        return members

    def _train_further(self, members: list[Member]) -> list[Member]:
        """These members trained further, on all rows that are searched."""
        iterations = limit_iterations(self.searched, self.settings.refit_iterations[0])
        return [self.trainer.train_further(member, self.searched, iterations) for member in members]
