"""One net of the ensemble that `identify` searches, with its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.identification.treatments import UNTREATED, Treatment


@dataclass(frozen=True)
class Member:
    """A net, its weights, and its errors in scaled units of y (mean over outputs).

    `held_out_rmse`: of the free run on the block that its fold held out; `times_best`: that error
    in times of the best net of the fold; `train_rmse`: of the free run on all rows that train.
    `kind`: what the net sees of the past, one of the coordinates of `SearchSettings`, or which
    states it has.
    """

    net: Narx
    weights: Array
    held_out_rmse: float
    kind: str = "level"
    train_rmse: float = np.inf
    treatment: Treatment = UNTREATED
    times_best: float = 1.0

    @property
    def family(self) -> str:
        """What is compared over the folds: one block is too short to tell single nets apart."""
        return family_name(self.kind if self.net.states else "delays", self.treatment)

    def expected_rmse(self, rows: int) -> float:
        """The error over other rows (Akaike 1969): the more weights, the more of `train_rmse` is
        chance.
        """
        return self.train_rmse * (1 + self.net.n_weights / rows)

    def at_record_rate(self, dead_times: tuple[int, ...]) -> Member:
        """The same on the record itself, where it has seen u held back by so many steps."""
        net, weights = self.treatment.at_record_rate(self.net, self.weights)
        return replace(self, net=replace(net, dead_times=dead_times), weights=weights)

    def stays_within(
        self, experiments: Sequence[Experiment], inputs: Sequence[Array], start: int
    ) -> bool:
        """Whether the free run under these inputs, each (T, I), never reaches bounds that the
        record does not reach either.
        """
        net = self.net
        measured = net.measured_outputs
        low, high = np.array(net.low), np.array(net.high)
        y = np.concatenate([e.y for e in experiments])
        never_reached = np.nanmin(y, axis=0) > low[:measured]
        never_reached &= np.nanmax(y, axis=0) < high[:measured]
        first_rows = experiments[0].y[: start * self.treatment.stride]
        for u in inputs:
            run = net.free_run(self.weights, u, first_rows[: len(u)])
            is_outside = ((run < low) | (run > high))[:, :measured]
            if not np.isfinite(run).all() or is_outside[:, never_reached].any():
                return False
        return True


def family_name(kind: str, treatment: Treatment) -> str:
    """The name of the nets of one kind on one treatment of the record."""
    return f"{kind} {treatment.name}".strip()
