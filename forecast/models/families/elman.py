"""Elman's simple recurrent network: the gradient stops at the context, a history of one step.

MATLAB's elmannet.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "elman"
    summary: ClassVar[str] = "Recurrent layer whose gradient stops at the previous state."
    equation: ClassVar[str] = "h[t] = f(V x[t] + W h[t-1] + b), d h[t-1] = 0; y = U h + c"
    source: ClassVar[str] = "Elman 1990"

    family: Literal["elman"] = "elman"
    activation: Literal["tanh", "sigmoid"] = "tanh"
