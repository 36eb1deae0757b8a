"""A head with the constants that it learnt from the train rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.networks.heads.base import Constants, Head
from forecast.networks.heads.distributions import Distribution
from forecast.networks.heads.maths import Array, Maths, numpy_maths


@dataclass(frozen=True)
class FittedHead:
    """See `Head` for shapes; `raw` here is the network's own output, without the offset."""

    head: Head
    constants: Constants

    @classmethod
    def fit(cls, head: Head, residual: np.ndarray, lead: np.ndarray) -> FittedHead:
        """From every train origin: residual and lead (N, H, O), NaN where a target is missing."""
        return cls(head, head.fit(residual, lead))

    def target(self, residual: np.ndarray, lead: np.ndarray) -> np.ndarray:
        return self.head.target(residual, lead, self.constants)

    def offset(self, lead: np.ndarray) -> np.ndarray | None:
        return self.head.offset(lead, self.constants)

    def loss(self, xp: Maths, raw: Array, target: Array, offset: Array | None) -> Array:
        """(..., H, O) from raw (..., H, O, K); offset (..., H, O) or None."""
        shifted = raw if offset is None else raw + offset[..., None]
        return self.head.loss(xp, shifted, target, self.constants)

    def mean_loss(self, raw: np.ndarray, residual: np.ndarray, lead: np.ndarray) -> tuple[float, int]:
        """Sum and number of the losses of every known value, in float64."""
        target = self.target(residual, lead)
        known = np.isfinite(target)
        losses = self.loss(numpy_maths, raw.astype(np.float64), np.where(known, target, 0.0), self.offset(lead))
        return float(losses[known].sum()), int(known.sum())

    def distribution(self, raw: np.ndarray, base: np.ndarray) -> Distribution:
        return self.head.distribution(raw.astype(np.float64), base, self.constants)

    def point(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(B, H, O) in scaled units: raw (B, H, O, K), base (B, H, O) the skip's forecast, last (B, 1, O)."""
        return self.head.point(raw.astype(np.float64), base, last, self.constants)
