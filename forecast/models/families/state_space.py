"""Neural state-space model: the next state is a perceptron, of any depth, of input and state."""

from __future__ import annotations

from typing import Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "state_space"
    summary = "State updated by a multi-layer perceptron shared over time."
    equation = "h[t] = MLP(x[t], h[t-1]); y[t] = U h[t] + c"
    source = "Zamarreno & Vega 1998; Suykens, Vandewalle & De Moor 1996"

    hidden: tuple[int, ...] = (32,)
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
