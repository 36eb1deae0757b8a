"""One model of the ensemble that `identify` searches, with its errors, and which of several stay.

`search` trains and leaves out `Member`s, `automatic` joins and reports them. They stay by their
errors on the blocks that were held out, by their error on the record, and by whether their free run
stays within bounds under inputs not measured. `tabulate_errors` and `mean_errors` rank candidates;
`list_hopeless` and `leave_out_worst` are for the folds, `list_good` and `choose_members` for what
is trained on, `keep_plausible` and `count_start_rows` for the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import (
    Array,
    Experiment,
    enlarge_inputs,
    join_rows,
    saturation,
    simulation_starts,
    unseen_inputs,
)
from forecast.identification.model import LOST_RANGES
from forecast.identification.narx import Narx
from forecast.identification.search_settings import Candidate
from forecast.identification.states import largest_pole

HOPELESS = 5.0  # times the least error on two blocks or more: the other folds are spared it
TIED_BLOCKS = 0.4  # of the blocks on which a candidate is better than the best one: so does it
NO_SYSTEM = 4.0  # times the error of the best on the record: it never found the system
BEST_FITS = 3  # of a candidate: those that follow the record worse are left out
LOST_ERROR = 10.0  # deviations of y, as which a run counts that is lost or could not be made
UNSEEN_ROWS = 1_000  # of an input that was not measured; more where a run begins with many rows
ROUNDING = 1e-12  # of the deviation of y: a smaller error is none


@dataclass(frozen=True)
class Member:
    """A net or polynomial, its weights, and its errors in scaled units of y (mean over outputs).

    `held_out_rmse`: of the free run on the block that its fold held out; `train_rmse`: of the free
    run on all rows, once it was trained on them; `run`: the free run that it was judged by.
    """

    candidate: Candidate
    fold: int
    net: Narx
    weights: Array
    held_out_rmse: float = np.inf
    train_rmse: float = np.inf
    run: Array | None = None

    @property
    def key(self) -> tuple[Candidate, int]:
        """What no other model of a search has: its candidate and fold."""
        return self.candidate, self.fold


def stay_within(
    members: Sequence[Member], experiments: Sequence[Experiment], u: Array, start: int
) -> npt.NDArray[np.bool_]:
    """(members,): whether the free run under these inputs (T, I) stays inside the bounds of the
    outputs that stay inside them in the record.
    """
    y = np.nan_to_num(join_rows(experiments)[1])
    stay = np.empty(len(members), bool)
    for net in dict.fromkeys(member.net for member in members):
        is_of_net = np.array([member.net == net for member in members])
        weights = np.array([member.weights for member in members if member.net == net])
        first_rows = experiments[0].y[: net.rows_to_start(start)]
        run = net.free_run(weights, u, first_rows[: len(u)])
        is_outside = (net.bounded(run) != run)[..., : y.shape[1]]
        is_inside = (net.bounded(y) == y).all(axis=0)
        stay[is_of_net] = ~is_outside[..., is_inside].any(axis=(0, 2))
    return stay


def count_start_rows(
    members: Sequence[Member], experiments: Sequence[Experiment], least: int, most: int
) -> int:
    """Measured rows that a free run should begin with: `least`, and where nets have states, which
    settle in them, up to `most`; so few that every experiment has half of the places left where a
    run can begin with the least.
    """
    rows = min(most, *map(len, experiments))
    if rows <= least or not any(member.net.states for member in members):
        return least
    for e in experiments:
        places = len(simulation_starts(e, least))
        while 2 * len(simulation_starts(e, rows)) < places:
            rows = (rows + least) // 2
    return rows


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


def mean_errors(members: Sequence[Member]) -> dict[Candidate, float]:
    """The geometric mean over the folds of each candidate's errors on the blocks held out, so that
    each block counts alike, however hard it is to follow.
    """
    candidates, errors = tabulate_errors(members)
    means = np.exp(np.log(np.clip(errors, ROUNDING, LOST_ERROR)).mean(axis=1))
    return dict(zip(candidates, means.tolist(), strict=True))


def list_hopeless(members: Sequence[Member]) -> list[Candidate]:
    """The candidates far from the best on the blocks so far."""
    means = mean_errors(members)
    return [candidate for candidate in means if means[candidate] > HOPELESS * min(means.values())]


def leave_out_worst(members: Sequence[Member], count: int) -> list[Member]:
    """Those of so many candidates with the least errors on the blocks."""
    means = mean_errors(members)
    best = sorted(means, key=means.__getitem__)[:count]
    return [member for member in members if member.candidate in best]


def list_good(members: list[Member]) -> list[Candidate]:
    """The candidates that the blocks do not tell from the best one, which is trained already.

    The blocks tell candidates apart as far as the best one is as good there as on the rows that
    train. Where it is not, they ask for what the other rows do not show, which is answered by
    chance: candidates count as good whose error there is at most by that ratio worse. So do those
    that are better than the best one on enough of the blocks (`TIED_BLOCKS`), and their median is
    more than any of them.
    """
    candidates, errors = tabulate_errors(members)
    means = mean_errors(members)
    best = min(means, key=means.__getitem__)
    ratios = [m.held_out_rmse / m.train_rmse for m in members if m.candidate == best]
    limit = max(1.0, np.median(ratios)) * means[best]
    is_tied = (errors <= errors[candidates.index(best)]).mean(axis=1) >= TIED_BLOCKS
    return [c for c, tied in zip(candidates, is_tied, strict=True) if tied or means[c] <= limit]


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


def leave_out_lost(members: list[Member]) -> list[Member]:
    """Those that do not follow the record much worse than the best one: they found the system, or
    nothing is to be found.
    """
    least = min(member.train_rmse for member in members)
    return [member for member in members if member.train_rmse <= NO_SYSTEM * least]


def keep_best_fits(members: list[Member]) -> list[Member]:
    """Of each candidate the few that follow the record best."""
    best = []
    for candidate in dict.fromkeys(member.candidate for member in members):
        fits = [member for member in members if member.candidate == candidate]
        best += sorted(fits, key=attrgetter("train_rmse"))[:BEST_FITS]
    return best


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


def keep_plausible(
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
        range_of_inputs = "up to half as large again" if n_passed == 2 else "like the record's"
        notes.append(
            "Under larger inputs most models leave their bounds, as may the system: trust the model"
            f" under inputs {range_of_inputs}."
        )
    if dropped := np.count_nonzero(~stay):
        notes.append(
            "Left out for leaving their bounds where others do not:"
            f" {dropped} of {len(members)} models."
        )
    return [member for member, stays in zip(members, stay, strict=True) if stays], notes


def widen_bounds(member: Member, experiments: list[Experiment]) -> Member:
    """With bounds that the record does not show so far off that `Model` tells a lost run."""
    bounds = np.stack(saturation(experiments, LOST_RANGES))
    limits = np.hstack([bounds, member.net.limits[:, bounds.shape[1] :]])
    low, high = map(tuple, limits.tolist())
    return replace(member, net=replace(member.net, low=low, high=high))
