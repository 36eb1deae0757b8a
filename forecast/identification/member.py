"""One model of the ensemble that `identify` searches, with its errors: what `search` trains and
leaves out, `automatic` joins and reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

MOST_START = 20  # measured rows that a free run is asked to begin with, at most
FORGOTTEN = 0.1  # of where states began: so much left no longer matters
BEGINNINGS = 4  # states from which a net is begun, at each of several places
PLACES = 6  # of a record, at which states are begun


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
    members: Sequence[Member], experiments: Sequence[Experiment], least: int
) -> int:
    """Measured rows that a free run should begin with: those after which half of the nets with
    states have forgotten where these began, from `least` to `MOST_START`; and no more than leave
    in every experiment half of the places where a run can begin with the least.
    """
    longest = max(experiments, key=len)
    counts = [_count_forgetting_rows(m, longest, least) for m in members if m.net.states]
    most = min(int(np.median(counts)) if counts else least, *map(len, experiments))
    n_places = np.array(
        [
            [len(simulation_starts(e, rows)) for e in experiments]
            for rows in range(least, max(most, least) + 1)
        ]
    )
    return least + int((2 * n_places[1:] >= n_places[0]).all(axis=1).sum())


def _count_forgetting_rows(member: Member, experiment: Experiment, least: int) -> int:
    """Rows of measured y, from `least` to `MOST_START`, after which states that began elsewhere
    differ by `FORGOTTEN` of what they did.
    """
    net, rng = member.net, np.random.default_rng(0)  # fixed: the same states for every net
    last = max(len(experiment) - MOST_START, 0)
    begun = []
    for place in np.linspace(0, last, PLACES).astype(int):
        e = experiment.part(slice(int(place), int(place) + MOST_START))
        memory = net.begin(member.weights, e.u)
        for _ in range(BEGINNINGS):
            y = np.hstack([np.zeros(net.measured_outputs), rng.normal(size=net.states)])
            begun.append((e, replace(memory, y=y[None])))
    distances = np.empty(MOST_START)
    for row in range(MOST_START):
        begun = [
            (e, net.loop(member.weights, memory, e.u[row : row + 1], e.y[row : row + 1])[1])
            for e, memory in begun
        ]
        states = np.array([memory.y[-1, net.measured_outputs :] for _, memory in begun])
        distances[row] = states.reshape(PLACES, BEGINNINGS, -1).std(axis=1).max(initial=0.0)
    is_left = np.append(distances > FORGOTTEN, False)
    return max(least, min(int(np.flatnonzero(is_left).max(initial=-1)) + 2, MOST_START))
