"""The models that the search of `identify` trains, and the rules by which some of them stay.

`search` trains `Member`s. Candidates are ranked by the errors of their models on the blocks held
out (`mean_errors`). `list_hopeless` and `keep_best_candidates` decide which leave the folds early,
`list_good` which are trained further, `choose_members` which models stay after that.
`keep_plausible` leaves models out that exceed their bounds under inputs that nobody measured.
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
    step_inputs,
)
from forecast.identification.model import LOST_RANGES
from forecast.identification.narx import Narx
from forecast.identification.search_settings import Candidate
from forecast.identification.states import largest_pole

HOPELESS = 5.0  # times the least error on two blocks or more: not trained in further folds
TIED_BLOCKS = 0.4  # of the blocks: a candidate that beats the best one on so many is as good
NO_SYSTEM = 4.0  # times the error of the best on the record: it never found the system
AS_CLOSE = 1.3  # times the error on the record of nets on delays: about as close to it
BEST_FITS = 3  # models of a candidate: the others, which follow the record worse, are left out
LOST_ERROR = 10.0  # deviations of y: counted for a run that is lost or could not be made
UNSEEN_ROWS = 1_000  # of an input that was not measured; more where a run begins with many rows
ROUNDING = 1e-12  # deviations of y: a smaller error counts as this


@dataclass(frozen=True)
class Member:
    """A net or polynomial with its weights. Errors are in scaled units of y, a mean over outputs.

    `held_out_rmse`: of the free run through the block that the fold held out, or, while models of a
    series without inputs are compared, of forecasts of it over several steps; `train_rmse`: of the
    free run on the rows it was trained on last, or of forecasts of one step where it is fitted one
    step ahead; `run`: this free run.
    """

    candidate: Candidate
    fold: int
    net: Narx
    weights: Array
    held_out_rmse: float = np.inf
    train_rmse: float = np.inf
    run: Array | None = None


def stay_within(
    members: Sequence[Member], experiments: Sequence[Experiment], u: Array, start: int
) -> npt.NDArray[np.bool_]:
    """(members,): whether the free run of each under `u` (T, I) stays inside its bounds. Outputs
    that leave these bounds in the record itself, such as all that sit on a bound there, do not
    count, also not on their other side.
    """
    y = np.nan_to_num(join_rows(experiments)[1])
    stay = np.empty(len(members), bool)
    for net in dict.fromkeys(member.net for member in members):
        is_of_net = np.array([member.net == net for member in members])
        weights = np.array([member.weights for member in members if member.net == net])
        first_rows = experiments[0].y[: net.start_rows(start)]
        run = net.free_run(weights, u, first_rows[: len(u)])
        is_outside = (net.bounded(run) != run)[..., : y.shape[1]]
        is_inside = (net.bounded(y) == y).all(axis=0)
        stay[is_of_net] = ~is_outside[..., is_inside].any(axis=(0, 2))
    return stay


def count_start_rows(
    members: Sequence[Member], experiments: Sequence[Experiment], start: int, most_start: int
) -> int:
    """The measured rows that a free run of the ensemble begins with: `start`; up to `most_start`
    where a net has states, which settle in these rows. With gaps in y fewer, so that every
    experiment keeps at least half of the rows at which a run can begin.
    """
    rows = min(most_start, *map(len, experiments))
    if rows <= start or not any(member.net.states for member in members):
        return start
    for e in experiments:
        n_starts = len(simulation_starts(e, start))
        while 2 * len(simulation_starts(e, rows)) < n_starts:
            rows = (rows + start) // 2
    return rows


def tabulate_errors(members: Sequence[Member]) -> tuple[list[Candidate], Array]:
    """The candidates, and their errors on the blocks (candidates, folds), infinite where a
    candidate has no model of a fold.
    """
    candidates = list(dict.fromkeys(member.candidate for member in members))
    folds = sorted({member.fold for member in members})
    errors = np.full((len(candidates), len(folds)), np.inf)
    for m in members:
        errors[candidates.index(m.candidate), folds.index(m.fold)] = m.held_out_rmse
    return candidates, errors


def mean_errors(members: Sequence[Member]) -> dict[Candidate, float]:
    """The geometric mean over the folds of each candidate's errors, so that a block that is hard to
    follow counts no more than another.
    """
    candidates, errors = tabulate_errors(members)
    means = np.exp(np.log(np.clip(errors, ROUNDING, LOST_ERROR)).mean(axis=1))
    return dict(zip(candidates, means.tolist(), strict=True))


def list_hopeless(members: Sequence[Member]) -> list[Candidate]:
    """The candidates whose mean error on the blocks is far above the least, and beside others the
    nets on delays that are not the best. Few rows flatter these, and they may be left out later: so
    they put others out only where all of these are far above, and none could take their place.
    """
    means = mean_errors(members)
    least = min(means.values())
    others = {c: error for c, error in means.items() if c.kind != "delays"} or means
    least_other = min(others.values())
    limit = HOPELESS * (least_other if least_other <= HOPELESS * least else least)
    return [c for c, error in means.items() if error > (limit if c in others else least)]


def keep_best_candidates(members: Sequence[Member], count: int) -> list[Member]:
    """The models of the `count` candidates with the least mean errors on the blocks."""
    means = mean_errors(members)
    best = sorted(means, key=means.__getitem__)[:count]
    return [member for member in members if member.candidate in best]


def list_good(members: list[Member]) -> list[Candidate]:
    """The candidates that the blocks do not tell from the best one.

    The best candidate's models must have been trained on all rows. Where their errors on the blocks
    are larger than on these rows, the blocks ask for what the other rows do not show, and chance
    decides the ranking: so candidates count as good whose mean error is worse by no more than this
    ratio. So do candidates that beat the best one on enough blocks (`TIED_BLOCKS`). A net on delays
    was trained further before the blocks judged it: beside one that is best all others count as
    good, until they are as ripe (`leave_out_farther`).
    """
    candidates, errors = tabulate_errors(members)
    means = mean_errors(members)
    best = min(means, key=means.__getitem__)
    if best.kind == "delays" and any(c.kind != "delays" for c in candidates):
        return candidates
    ratios = [m.held_out_rmse / m.train_rmse for m in members if m.candidate == best]
    limit = max(1.0, np.median(ratios)) * means[best]
    is_tied = (errors <= errors[candidates.index(best)]).mean(axis=1) >= TIED_BLOCKS
    return [c for c, tied in zip(candidates, is_tied, strict=True) if tied or means[c] <= limit]


def leave_out_farther(members: list[Member]) -> list[Member]:
    """The nets on delays, and the other models that follow the record about as closely as these do
    in the middle; all models where there is no net on delays.
    """
    of_nets = [m.train_rmse for m in members if m.candidate.kind == "delays"]
    limit = AS_CLOSE * np.median(of_nets or [np.inf])
    return [m for m in members if m.candidate.kind == "delays" or m.train_rmse <= limit]


def choose_members(members: list[Member]) -> list[Member]:
    """The models that follow the whole record.

    Of a system that integrates, a record shows only one range of y, beyond which tanh units and
    powers guess. So where most of the linear models integrate, only linear models stay.
    """
    following = leave_out_lost(members)
    linear = [m for m in following if m.net.is_linear]
    integrates = [_integrates(m) for m in linear if m.net.states]
    return linear if sum(integrates) > len(integrates) / 2 else following


def _integrates(member: Member) -> bool:
    """Whether the time constant of a linear model with states exceeds the rows of its record."""
    rows = 0 if member.run is None else len(member.run)
    return rows * (1 - largest_pole(member.net, member.weights)) < 1


def leave_out_lost(members: list[Member]) -> list[Member]:
    """The models whose error on the record is not far above the least: they found the system, or
    there is none to find.
    """
    least = min(member.train_rmse for member in members)
    return [member for member in members if member.train_rmse <= NO_SYSTEM * least]


def keep_best_fits(members: list[Member]) -> list[Member]:
    """Of each candidate the `BEST_FITS` models that follow the record best."""
    best = []
    for candidate in dict.fromkeys(member.candidate for member in members):
        fits = [member for member in members if member.candidate == candidate]
        best += sorted(fits, key=attrgetter("train_rmse"))[:BEST_FITS]
    return best


def leave_out_straying(
    members: list[Member], experiments: Sequence[Experiment], start: int
) -> list[Member]:
    """The models of candidates most of whose models stay within their bounds under the first
    experiment's own inputs (2 `UNSEEN_ROWS` at most) backwards; all models where there is no such
    candidate, for then the system may leave the bounds.

    A model that takes a slow disturbance for its own motion does well on a block, since it was
    trained on the rows on both sides. On other rows it runs off.
    """
    u = experiments[0].u[: 2 * UNSEEN_ROWS]
    stay = stay_within(members, experiments, u[::-1], start)
    candidates = np.array([member.candidate for member in members])
    staying = [m for m in members if stay[candidates == m.candidate].mean() > 0.5]
    return staying or members


def keep_plausible(
    members: list[Member], experiments: list[Experiment], start: int
) -> tuple[list[Member], list[str]]:
    """The models that stay within their bounds under inputs that nobody measured, and notes.

    The inputs are random steps in the record's range, then those of the record half as large again,
    then twice as large. The hardest of these that more than half of the models pass decides.
    """
    rows = max(UNSEEN_ROWS, 5 * start)
    u = experiments[0].u[: 2 * rows]
    trials = [step_inputs(u, rows), enlarge_inputs(u, 1.5), enlarge_inputs(u, 2.0)]
    stay = np.ones(len(members), bool)
    n_passed = 0
    for inputs in trials:
        still = stay & stay_within(members, experiments, inputs, start)
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
    """The member with bounds on y at `LOST_RANGES`, where `Model` calls a run lost, unless the
    record sits on a bound.
    """
    bounds = np.stack(saturation(experiments, LOST_RANGES))
    limits = np.hstack([bounds, member.net.limits[:, bounds.shape[1] :]])
    low, high = map(tuple, limits.tolist())
    return replace(member, net=replace(member.net, low=low, high=high))
