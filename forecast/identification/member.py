"""One model of the ensemble that `identify` searches, with its errors: what `search` trains and
leaves out, `automatic` joins and reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import Array, Experiment, join_rows
from forecast.identification.narx import Narx
from forecast.identification.search_settings import Candidate


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
