"""One model of the ensemble that `identify` searches, with its errors: what `search` trains and
leaves out, `automatic` joins and reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.identification.search_settings import Candidate
from forecast.identification.states import MAX_POLE


@dataclass(frozen=True)
class Member:
    """A net or polynomial, its weights, and its errors in scaled units of y (mean over outputs).

    `held_out_rmse`: of the free run on the block that its fold held out; `train_rmse`: of the free
    run on all rows, once it was trained on them; `expected_rmse`: what that says of further rows
    (`estimate_further_rmse`). `run`: the free run that it was judged by.
    """

    candidate: Candidate
    fold: int
    net: Narx
    weights: Array
    held_out_rmse: float = np.inf
    train_rmse: float = np.inf
    expected_rmse: float = np.inf
    run: Array | None = None

    def estimate_further_rmse(self, errors: Array) -> float:
        """Akaike's estimate from `train_rmse`, the more above it the more weights there are for
        each independent value of the errors (rows, O) of the free run (Akaike 1974).

        Errors of one pole, as slow disturbances leave them, hold fewer independent values than
        rows: (1 - r) / (1 + r) for each, r their correlation from row to row. Infinite where the
        run is lost.
        """
        if not np.isfinite(errors).all():
            return np.inf
        squares = np.maximum(np.sum(errors**2, axis=0), np.finfo(float).tiny)
        correlation = np.clip(np.sum(errors[1:] * errors[:-1], axis=0) / squares, 0.0, MAX_POLE)
        n_values = len(errors) * np.sum((1.0 - correlation) / (1.0 + correlation))
        with np.errstate(over="ignore"):  # far more weights than values: infinite
            return float(self.train_rmse * np.exp(self.net.n_weights / n_values))

    def stays_within(
        self, experiments: Sequence[Experiment], inputs: Sequence[Array], start: int
    ) -> bool:
        """Whether the free run under these inputs, each (T, I), never reaches bounds that the
        record does not reach either.
        """
        net = self.net
        y = np.nan_to_num(np.concatenate([e.y for e in experiments]))
        never_reached = (net.bounded(y) == y).all(axis=0)
        first_rows = experiments[0].y[: net.rows_to_start(start)]
        for u in inputs:
            run = net.free_run(self.weights, u, first_rows[: len(u)])
            is_outside = (net.bounded(run) != run)[:, : len(never_reached)]
            if is_outside[:, never_reached].any():
                return False
        return True
