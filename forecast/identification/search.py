"""The search of `identify`: which models simulate the record, without any choice of the user's.

1. Take out the drift of a single experiment (a line in y that no input explains) and standardize.
   Find outputs that sit on a bound, the dead time of every input, and how many rows the inputs act.
2. Cut every experiment into blocks. Each fold holds one block out; of as many experiments as folds,
   whole experiments. In every fold, train each candidate (`SearchSettings.candidates`) on its free
   run, nets with Bayesian regularisation (MacKay 1992), ARX models one step ahead alone, and judge
   it by the free run through the block held out. With inputs, a candidate far from the best after
   two blocks is not trained in later folds. After the last fold, leave out a net on delays that
   others pass once both are trained further (`_test_net_on_delays`), the candidates that run off
   under the record's own inputs backwards, then the worse half by the mean over the folds.
3. Train the best candidate on all searched rows, from what each fold made of it. How well it
   follows them tells how far the blocks can be trusted, and so which other candidates are as good
   (`list_good`); train these too. Beside a net on delays, which is trained sooner, train all,
   and leave out models that follow the rows less closely (`leave_out_farther`). Leave out, once
   more, candidates that run off under the inputs backwards, and models that follow the rows much
   worse than the best does; keep three of each candidate. Train them on all rows of a long record,
   and leave out those that are lost after that. Where all rows were searched, keep the models from
   before the last training, too (snapshots of a descent; Huang et al. 2017).
4. Leave out models that leave their bounds under inputs of up to twice the record's range, unless
   most do: then the system itself may leave them. The free run of the result begins with
   `most_start` measured rows where models have states, which settle in them.
5. The result is the median of the free runs of the models that are left. A few that go astray do
   not move it. Where all of them are linear, their bounds are widened.

A series without inputs cannot be simulated for long where it is chaotic or driven by noise. So
candidates on up to 40 delays of y (`SearchSettings.ahead_candidates`) are also fitted one step
ahead in each fold. All models are judged by forecasts of the block over up to `AHEAD` steps. Where
one of these candidates is best, those about as good are fitted to all rows instead of step 3.

`search_members` is called by `automatic.identify` alone. A model that cannot be trained or run is
left out. After Ctrl-C (`Watch`) nothing more is trained, and what is there is judged.
`search_training` makes the models, `member` chooses among them. What was tried and left out is in
docs/research/identification-stages.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from forecast.identification.averaging import (
    SPREAD_KINDS,
    average_rows,
    count_rows_per_mean,
    spread_over_rows,
)
from forecast.identification.chaos import NO_SIMULATION
from forecast.identification.delays import count_arx_delays, find_held_back_rows, take_out_drift
from forecast.identification.experiment import (
    Experiment,
    Standardization,
    following_rows,
    saturation,
    split_fold,
)
from forecast.identification.member import (
    BEST_FITS,
    UNSEEN_ROWS,
    Member,
    choose_members,
    count_start_rows,
    keep_best_candidates,
    keep_best_fits,
    keep_plausible,
    leave_out_farther,
    leave_out_lost,
    leave_out_straying,
    list_good,
    list_hopeless,
    mean_errors,
    widen_bounds,
)
from forecast.identification.narx import Narx
from forecast.identification.problems import ClosedLoop
from forecast.identification.search_settings import (
    Candidate,
    SearchSettings,
    cut_to_measured,
    limit_folds,
    limit_iterations,
    limit_rows,
)
from forecast.identification.search_training import TimeLeft, Trainer, Work
from forecast.identification.states import with_states
from forecast.system.errors import InputError, ModelError
from forecast.system.workers import limit_to_one_thread
from forecast.training import levenberg_marquardt as lm

MOST_WEIGHTS = 1.5  # for each value of y: a larger net would be chosen by chance
AHEAD = 10  # steps by whose forecasts a series without inputs is judged
SAME_AHEAD = 1.05  # times the least error of these forecasts: about the same
ROWS_PER_DELAY = 8  # the shortest experiment has so many times the rows of the longest delay
MOST_INPUT_DELAYS = 20
MOST_STATES = 12  # of all outputs together, where a linear model is of an order above 3
POLYNOMIAL_INPUTS = 5  # delays of u that a polynomial sees
SMALL_ERROR = 0.01  # deviations of y: a free run with less error need not be told from noise
LAST_TRIALS = 3  # runs of what was chosen in `keep_plausible`, each as long as a trial in the folds


@dataclass(frozen=True)
class SearchResult:
    """What the search found.

    `members`: the models of the ensemble; `scaling`: of their data; `start`: the measured rows that
    a free run begins with; `experiments`: without drift; `notes`: what was chosen and why, a
    sentence each.
    """

    members: tuple[Member, ...]
    scaling: Standardization
    start: int
    experiments: Sequence[Experiment]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """The experiments twice: in `training` y is missing in the block held out, in `held_out`
    outside of it.
    """

    training: list[Experiment]
    held_out: list[Experiment]


def search_members(
    experiments: Sequence[Experiment],
    *,
    seed: int,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: lm.Watch | None = None,
) -> SearchResult:
    """The models whose free run follows the experiments best; y may have gaps (NaN).

    `announce` receives the plan before the work starts, and the time left after every fold from
    the second on. `InputError` for too few rows, `ModelError` when no model follows any block.
    """
    settings = limit_folds(settings or SearchSettings(), experiments)
    experiments, drift_notes = take_out_drift(experiments)
    scaling = Standardization.fit(experiments)
    scaled, start = cut_to_measured([scaling.scale(e) for e in experiments], settings.start)
    with limit_to_one_thread():
        held_back_rows = find_held_back_rows(limit_rows(scaled, start), settings.longest_dead_time)
        # an input with several dead times becomes several inputs to the search
        delay_line = Narx(
            len(held_back_rows),
            scaled[0].y.shape[1],
            (1,),
            (0,),
            hidden=0,
            held_back_rows=held_back_rows,
        )
        aligned = [e.with_arrays(u=delay_line.past_inputs(e.u, 0)) for e in scaled]
        settings = replace(settings, start=start)
        search = _Search(aligned, delay_line.find_origin(scaling), settings, seed, announce, watch)
        folded = search.train_folds()
        if best_ahead := search.choose_ahead(folded):
            members = search.refit_ahead(best_ahead)
        else:
            members = search.choose_and_train(folded)
    members = [
        replace(m, net=replace(m.net, inputs=len(held_back_rows), held_back_rows=held_back_rows))
        for m in members
    ]
    chosen, notes_of_bounds = keep_plausible(members, scaled, start)
    # where the free run is no simulation, narrow bounds keep it near the record
    if np.median([member.held_out_rmse for member in chosen]) < NO_SIMULATION:
        chosen = [widen_bounds(member, scaled) for member in chosen]
    start_rows = count_start_rows(chosen, scaled, start, settings.most_start * search.rows_per_mean)
    notes = [
        f"Fitted one step ahead, chosen by forecasts of {search.n_steps} steps on held-out blocks."
        if best_ahead
        else "Chosen by their free run on the held-out blocks.",
        *drift_notes,
    ]
    if search.rows_per_mean > 1:
        notes.append(
            "The record moves slowly against its rows: models were chosen on means of"
            f" {search.rows_per_mean} rows, of which the errors on held-out blocks are, and trained"
            " on the rows themselves last."
        )
    if any(map(any, held_back_rows)):
        # a dead time is one more than the rows held back, none where there are none
        dead_times = ", ".join(
            " and ".join(str(rows + 1 if rows else 0) for rows in of_input)
            for of_input in held_back_rows
        )
        notes.append(f"Dead time of the inputs: {dead_times} rows.")
    if search.trainer.is_interrupted:
        notes.append("The search was interrupted: these are the best models so far.")
    notes += notes_of_bounds
    if start_rows > start:
        notes.append(
            f"A free run begins with {start_rows} measured rows, in which the states settle."
        )
    return SearchResult(tuple(chosen), scaling, start_rows, experiments, tuple(notes))


class _Search:
    """The folds of one search, on scaled experiments whose inputs are delayed by their dead times.

    Every candidate draws random numbers of its own in every fold.
    """

    def __init__(
        self,
        experiments: list[Experiment],
        origin: tuple[float, ...],
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
        self.trainer = Trainer(self.plain, origin, settings.start, watch)
        spread = [c for c in settings.candidates if c.kind in SPREAD_KINDS]
        self.rows_per_mean = count_rows_per_mean(experiments, settings.start) if spread else 1
        if self.rows_per_mean > 1:
            settings = replace(settings, candidates=tuple(spread))
        self.settings = settings
        self.searched = limit_rows(average_rows(experiments, self.rows_per_mean), settings.start)
        self.n_input_delays = 0  # of the candidates on delays
        if inputs:
            self.n_input_delays = max(self._count_arx_delays(MOST_INPUT_DELAYS)[0], 4)
        self.nets = {candidate: self._make_net(candidate) for candidate in settings.candidates}
        shortest = min(map(len, self.searched))
        self.ahead_nets = {}
        self.fitted_ahead: list[Member] = []  # with the errors of their forecasts
        self.forecasting: list[Member] = []  # the models trained on their free run, with the same
        if not inputs:
            for candidate in settings.ahead_candidates:
                order = max(min(candidate.order // outputs, shortest // ROWS_PER_DELAY), 1)
                self.ahead_nets[candidate] = self._make_net_on_delays(candidate, order, 0)
        nets = (*self.nets.values(), *self.ahead_nets.values())
        longest_start = max(net.start_rows(settings.start) for net in nets)
        self.n_steps = max(1, min(AHEAD, shortest - 1 - longest_start))
        self.folds = [
            Fold(*split_fold(self.searched, number, settings.folds, settings.start))
            for number in range(settings.folds)
        ]
        last_work = limit_iterations(experiments, settings.refit_iterations[1])
        n_rows = sum(map(len, experiments))
        last_work *= n_rows
        fold_work = max(settings.fold_iterations, 1) * sum(map(len, self.searched))
        self.time_left = TimeLeft(announce, last_work / fold_work)
        trial_rows = min(len(self.searched[0]), 2 * UNSEEN_ROWS)
        # the report runs over the record twice
        self.trials: list[Work] = ["trial"] * (LAST_TRIALS + 2 * n_rows // trial_rows)
        self.time_left.announce(
            f"System identification with {len(self.nets)} candidates in {settings.folds} folds;"
            " how long it takes is told after the second."
        )

    def _count_arx_delays(self, longest: int) -> tuple[int, int]:
        """The numbers (n_u, n_y) of delays of the ARX model with the least Schwarz criterion, each
        at most `longest` and a twentieth of the shortest experiment (or 5); this limit for both
        where too few rows are whole to choose by.
        """
        longest = min(longest, max(min(map(len, self.searched)) // 20, 5))
        with suppress(InputError):
            return count_arx_delays(self.searched, longest)
        return longest, longest

    def _make_net(self, candidate: Candidate) -> Narx:
        """The net of a candidate; that of a polynomial has no terms yet."""
        n_u = self.n_input_delays
        if candidate.kind == "arx":
            n_u, n_y = self._count_arx_delays(candidate.order)
            return self._make_net_on_delays(candidate, n_y, n_u)
        if candidate.kind in ("delays", "polynomial"):
            if candidate.kind == "polynomial":
                n_u = min(n_u, POLYNOMIAL_INPUTS)
            n_y = min(candidate.order, self.settings.start)
            return self._make_net_on_delays(candidate, n_y, n_u)
        # lower where several outputs would make many states
        order = min(candidate.order, max(3, 1 + MOST_STATES // self.plain.outputs))
        return with_states(self.plain, order, candidate.hidden)

    def _make_net_on_delays(self, candidate: Candidate, n_y: int, n_u: int) -> Narx:
        """A net on `n_y` delays of y from 1 and, with inputs, `n_u` delays of u from 0."""
        y_delays, u_delays = tuple(range(1, n_y + 1)), tuple(range(n_u if self.plain.inputs else 0))
        return replace(self.plain, y_delays=y_delays, u_delays=u_delays, hidden=candidate.hidden)

    def train_folds(self) -> list[Member]:
        """The models of the better half of the candidates, two at least, of every fold;
        without models that are lost on their block. A series without inputs gets `fitted_ahead`.
        """
        members: list[Member] = []
        likely: list[Member] = []
        hopeless: list[Candidate] = []
        for fold in range(len(self.folds)):
            n_left = len(self.folds) - 1 - fold
            trained = self._train_in_folds(
                self._begin_models(fold, self.nets, hopeless), self.settings.fold_iterations
            )
            members += trained
            if self.ahead_nets:
                with self.time_left.measure("one step ahead"):
                    self.forecasting += map(self._judge_ahead, trained)
                    self.fitted_ahead += self._fit_ahead(fold)
            stage = f"Fold {fold + 1} of {len(self.folds)}"
            if not members or not fold:  # one block tells too little
                self.time_left.announce(f"{stage}.")
                continue
            # of a series without inputs a model that does not follow the blocks may forecast them
            if n_left and self.plain.inputs:
                hopeless += list_hopeless(members)
                members = [member for member in members if member.candidate not in hopeless]
            if not n_left:
                members = self._test_net_on_delays(members)
                with self.time_left.measure("trial", times=len(mean_errors(members))):
                    members = leave_out_straying(members, self.searched, self.settings.start)
            likely = keep_best_candidates(members, max((len(self.nets) + 1) // 2, 2))
            best_ahead = self.choose_ahead(likely)
            good = list_good(likely)
            # more is chosen in the end than few blocks tell: count a model of each
            others = mean_errors(likely) if n_left else {}
            remaining = [candidate for candidate in self.nets if candidate not in hopeless]
            beginnings = [self.nets[candidate] for candidate in remaining]
            in_fold: list[Work] = [*remaining, *beginnings, "one step ahead"]
            refits = [self.ahead_nets[c] for c in {member.candidate for member in best_ahead}]
            trials = self.trials * len(refits or good)
            self.time_left.estimate(
                stage,
                works=[*in_fold * n_left, *refits * len(self.folds), *trials],
                further=[] if best_ahead else [*good * len(self.folds), *others],
                last=[] if best_ahead else [*good * BEST_FITS, *others],
            )
        return likely

    def _train_in_folds(self, members: Iterable[Member], iterations: int) -> list[Member]:
        """The members trained on their free run over the rows of their folds; without those that
        cannot be trained or are lost on the block.
        """
        trained = []
        for member in members:
            fold = self.folds[member.fold]
            with (
                suppress(ModelError, np.linalg.LinAlgError),
                self.time_left.measure(member.candidate),
            ):
                after = self.trainer.train(member, fold.training, fold.held_out, iterations)
                if np.isfinite(after.held_out_rmse):
                    trained.append(after)
        return trained

    def _test_net_on_delays(self, members: list[Member]) -> list[Member]:
        """The models without those of nets on delays, beside others, unless such a net is the best
        and passes two tests. Its free run errs less than its one-step forecasts, which take over
        the noise of y, or than `SMALL_ERROR` where there is none: then it misses nothing but noise.
        And once it and the best other candidate are trained further in their folds, it is ahead on
        every block; it goes on from there.
        """
        others = [m for m in members if m.candidate.kind != "delays"]
        best = keep_best_candidates(members, 1)
        if not others:
            return members
        if best[0].candidate.kind != "delays":
            return others
        for m in best:
            one_step_rmse = self.trainer.one_step_rmse(m, self.folds[m.fold].training)
            if m.train_rmse > max(one_step_rmse, SMALL_ERROR):
                return others
        both = [*keep_best_candidates(others, 1), *best]
        ripe = []
        for fold in range(len(self.folds)):
            in_fold = [m for m in both if m.fold == fold]
            trained = self._train_in_folds(in_fold, self.settings.refit_iterations[0])
            ahead = min(trained, key=attrgetter("held_out_rmse"), default=None)
            if ahead is None or ahead.candidate.kind != "delays":
                return others
            ripe.append(ahead)
        return others + ripe

    def _begin_models(
        self, fold: int, nets: Mapping[Candidate, Narx], hopeless: Sequence[Candidate] = ()
    ) -> Iterator[Member]:
        """The models of the candidates that are not hopeless, with the weights that training in
        this fold starts from; without those that cannot be begun or are too large.
        """
        n_values = sum(int(np.count_nonzero(e.error_weights)) for e in self.experiments)
        most_weights = min(lm.MAX_WEIGHTS, MOST_WEIGHTS * n_values)
        for number, (candidate, net) in enumerate(nets.items()):
            if candidate in hopeless:
                continue
            rng = np.random.default_rng([self.seed, fold, number])
            with suppress(ModelError, np.linalg.LinAlgError):
                with self.time_left.measure(net):
                    member = Member(candidate, fold, net, np.empty(0))
                    begun = self.trainer.begin(member, self.folds[fold].training, rng)
                if begun.net.n_weights <= most_weights:
                    yield begun

    def _fit_ahead(self, fold: int) -> list[Member]:
        """Of a series without inputs: the models on delays of y that are fitted one step ahead in
        this fold, with the errors of their forecasts; none after Ctrl-C.
        """
        fitted = []
        for begun in self._begin_models(fold, self.ahead_nets):
            if self.trainer.is_interrupted:
                return []  # these have random weights
            fitted.append(self._judge_ahead(begun))
        return fitted

    def choose_ahead(self, folded: list[Member]) -> list[Member]:
        """Of the models fitted one step ahead in the folds so far those of candidates whose
        forecasts of the blocks are about the best; none where a candidate of the models `folded`,
        trained on their free run, forecasts better, and for records with inputs.
        """
        if not self.fitted_ahead:
            return []
        means = mean_errors(self.fitted_ahead)
        least = min(means.values())
        simulating = mean_errors(self.forecasting)
        if any(simulating[member.candidate] <= least for member in folded):
            return []
        return [m for m in self.fitted_ahead if means[m.candidate] <= SAME_AHEAD * least]

    def refit_ahead(self, best_ahead: list[Member]) -> list[Member]:
        """These models fitted one step ahead to all searched rows, without those of a candidate
        that may have ended in a poor minimum, or have poor terms.
        """
        return keep_best_fits(leave_out_lost(list(map(self._refit_one_step, best_ahead))))

    def _judge_ahead(self, member: Member) -> Member:
        """The member with the error of forecasts of its held-out block from measured rows: root
        mean square for each of 1 to `self.n_steps` steps, then the mean.
        """
        net = member.net
        first = net.start_rows(self.settings.start)
        squares = np.zeros(self.n_steps)
        weights = np.zeros(self.n_steps)
        for e, held_out in zip(self.searched, self.folds[member.fold].held_out, strict=True):
            memory = net.absorb(member.weights, e.u[:first], e.y[:first])
            forecasts = net.ahead(member.weights, memory, e.u[first:], e.y[first:], self.n_steps)
            y = following_rows(held_out.y[first:], self.n_steps)
            weight = following_rows(held_out.error_weights[first:], self.n_steps)
            errors = np.where(weight > 0, forecasts - y, 0.0)
            squares += np.sum(weight * errors**2, axis=(0, 2))
            weights += np.sum(weight, axis=(0, 2))
        error = float(np.sqrt(squares / np.maximum(weights, 1e-300)).mean())
        return replace(member, held_out_rmse=error if np.isfinite(error) else np.inf)

    def _refit_one_step(self, member: Member) -> Member:
        """The member fitted one step ahead to all searched rows, as it was where the fit diverges.
        `held_out_rmse` becomes the error of the free run through the block by the weights before,
        `train_rmse` the one-step error on all rows by the new ones.
        """
        start = member.net.start_rows(self.settings.start)
        block = ClosedLoop(member.net, self.folds[member.fold].held_out, start)
        member = replace(member, held_out_rmse=float(np.sqrt(block.mean_square(member.weights))))
        with suppress(ModelError, np.linalg.LinAlgError):
            member = replace(member, weights=self.trainer.fit_one_step(member, self.searched))
        return replace(member, train_rmse=self.trainer.one_step_rmse(member, self.searched))

    def choose_and_train(self, folded: list[Member]) -> list[Member]:
        """The models of the folds that count as good, trained further on all rows; `ModelError`
        where there is no model.
        """
        if not folded:
            raise ModelError(
                "No NARX model follows any held-out block in free run; other inputs may be missing."
            )
        best = keep_best_candidates(folded, 1)
        trained = self._train_further(best)
        others = [member for member in folded if member.candidate != best[0].candidate]
        # how well the best follows the record tells which of the others can be chosen
        good = list_good([*trained, *others])
        trained += self._train_further([member for member in others if member.candidate in good])
        close = leave_out_farther(trained)
        staying = leave_out_straying(close, self.searched, self.settings.start)
        chosen = keep_best_fits(choose_members(staying))
        if self.rows_per_mean > 1:
            chosen = [spread_over_rows(member, self.rows_per_mean) for member in chosen]
        candidates = [member.candidate for member in chosen]
        trials = self.trials * len(set(candidates))
        self.time_left.estimate("Training on all blocks", trials, last=candidates)
        iterations = limit_iterations(self.experiments, self.settings.refit_iterations[1])
        last = []
        for number, member in enumerate(chosen, 1):
            last.append(self.trainer.train_further(member, self.experiments, iterations))
            stage = f"Last training, {number} of {len(chosen)} models"
            self.time_left.estimate(stage, trials, last=candidates[number:])
        members = leave_out_lost(last)
        # how long to train differs between systems: both ends of the descent are kept
        if sum(map(len, self.searched)) == sum(map(len, self.experiments)):
            members = [*chosen, *members]
        return members

    def _train_further(self, members: list[Member]) -> list[Member]:
        """These members trained further, on all searched rows."""
        iterations = limit_iterations(self.searched, self.settings.refit_iterations[0])
        return [self.trainer.train_further(member, self.searched, iterations) for member in members]
