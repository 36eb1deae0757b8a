"""Layer-recurrent network with feedback through several delays.

MATLAB's layrecnet(1:2, ...).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    cell: ClassVar[str] = "multi_delay"
    summary: ClassVar[str] = "Recurrent layer fed back over several delays."
    equation: ClassVar[str] = "h[t] = f(V x[t] + sum_d W_d h[t-d] + b); y = U h + c"
    source: ClassVar[str] = "layrecnet of MATLAB's Deep Learning Toolbox; Elman 1990 for one delay"

    family: Literal["layrecnet"] = "layrecnet"
    delays: tuple[int, ...] = (1, 2)
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
