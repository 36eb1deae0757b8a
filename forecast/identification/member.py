"""One model of the ensemble that `identify` searches, with its errors: what `search` trains and
leaves out, `automatic` joins and reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import (
    Array,
    Experiment,
    join_rows,
    simulation_starts,
)
from forecast.identification.narx import Narx
from forecast.identification.search_settings import Candidate

LOOK_AHEAD = 20  # rows over which it is looked how fast states forget where they began
FORGOTTEN = 0.1  # of where states began: so much left no longer matters
PLACES = 10  # of a record, at which states are begun


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
    """(members,): whether the free run under these inputs (T, I) never reaches bounds that the
    record does not reach either.
    """
    y = np.nan_to_num(join_rows(experiments)[1])
    stay = np.empty(len(members), bool)
    for net in dict.fromkeys(member.net for member in members):
        is_of_net = np.array([member.net == net for member in members])
        weights = np.array([member.weights for member in members if member.net == net])
        first_rows = experiments[0].y[: net.rows_to_start(start)]
        run = net.free_run(weights, u, first_rows[: len(u)])
        is_outside = (net.bounded(run) != run)[..., : y.shape[1]]
        never_reached = (net.bounded(y) == y).all(axis=0)
        stay[is_of_net] = ~is_outside[..., never_reached].any(axis=(0, 2))
    return stay


def count_start_rows(
    members: Sequence[Member], experiments: Sequence[Experiment], least: int, most: int
) -> int:
    """Measured rows that a free run should begin with: those after which half of the nets with
    states have forgotten where these began, from `least` to `most`; and no more than leave
    in every experiment half of the places where a run can begin with the least.
    """
    longest = max(experiments, key=len)
    counts = [_count_forgetting_rows(m, longest) for m in members if m.net.states] or [least]
    most = min(int(np.median(counts)), most, *map(len, experiments))
    for e in experiments:
        places = [len(simulation_starts(e, rows)) for rows in range(least, most + 1)]
        most = least + sum(2 * count >= places[0] for count in places[1:])
    return most


def _count_forgetting_rows(member: Member, experiment: Experiment) -> int:
    """Rows of measured y, up to `LOOK_AHEAD`, after which states that began two deviations apart
    are as near as `FORGOTTEN`, wherever they began.
    """
    net, runs = member.net, []
    e = experiment.take(slice(PLACES * LOOK_AHEAD))
    for states in (-1.0, 1.0):
        y = net.add_state_columns(e.y)
        y[::LOOK_AHEAD, net.measured_outputs :] = states
        runs.append(net.free_run(member.weights, e.u, y))
    is_left = (np.abs(runs[1] - runs[0]) > 2 * FORGOTTEN).any(axis=1)
    return min(int((np.flatnonzero(is_left) % LOOK_AHEAD).max()) + 2, LOOK_AHEAD)
