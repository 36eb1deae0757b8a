"""What a training leaves behind, whichever trainer it was."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Weights = dict[str, np.ndarray]
Curve = list[tuple[int, float, float]]


@dataclass(frozen=True)
class Trained:
    """The weights with the lowest validation loss. `curve`: (step, train loss, validation loss)."""

    weights: Weights
    best_step: int
    validation_loss: float
    curve: Curve = field(repr=False)
    note: str = ""
