"""Elman's simple recurrent network: the gradient stops at the context, a history of one step.

MATLAB's elmannet.
"""

from __future__ import annotations

from typing import Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "elman"
    summary = "Recurrent layer whose gradient stops at the previous state."
    equation = "h[t] = f(V x[t] + W h[t-1] + b), d h[t-1] = 0; y = U h + c"
    source = "Elman 1990"

    activation: Literal["tanh", "sigmoid"] = "tanh"
