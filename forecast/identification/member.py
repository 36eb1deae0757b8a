"""One model of the ensemble that `identify` searches, with its errors: what `search` trains and
leaves out, `automatic` joins and reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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

    def stays_within(
        self, experiments: Sequence[Experiment], inputs: Sequence[Array], start: int
    ) -> bool:
        """Whether the free run under these inputs, each (T, I), never reaches bounds that the
        record does not reach either.
        """
        net = self.net
        y = np.nan_to_num(join_rows(experiments)[1])
        never_reached = (net.bounded(y) == y).all(axis=0)
        first_rows = experiments[0].y[: net.rows_to_start(start)]
        for u in inputs:
            run = net.free_run(self.weights, u, first_rows[: len(u)])
            is_outside = (net.bounded(run) != run)[:, : len(never_reached)]
            if is_outside[:, never_reached].any():
                return False
        return True
