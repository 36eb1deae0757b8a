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
    members: Sequence[Member],
    experiments: Sequence[Experiment],
    inputs: Sequence[Array],
    start: int,
) -> npt.NDArray[np.bool_]:
    """(members, inputs): whether the free run under these inputs, each (T, I), never reaches bounds
    that the record does not reach either.
    """
    y = np.nan_to_num(join_rows(experiments)[1])
    rows = max(map(len, inputs))
    padded = [np.pad(u, ((0, rows - len(u)), (0, 0)), mode="edge") for u in inputs]
    is_counted = np.arange(rows) < np.array([[len(u)] for u in inputs])
    stay = np.zeros((len(members), len(inputs)), bool)
    # members of one net run side by side
    for net in {member.net: None for member in members}:
        numbers = [number for number, member in enumerate(members) if member.net == net]
        weights = np.repeat([members[number].weights for number in numbers], len(inputs), axis=0)
        first_rows = experiments[0].y[: net.rows_to_start(start)]
        runs = net.free_runs(weights, np.stack(padded * len(numbers)), first_rows[:rows])
        never_reached = (net.bounded(y) == y).all(axis=0)
        is_outside = (net.bounded(runs) != runs)[..., : y.shape[1]][..., never_reached]
        is_outside = is_outside.any(axis=-1).reshape(len(numbers), *is_counted.shape)
        stay[numbers] = ~(is_outside & is_counted).any(axis=-1)
    return stay
