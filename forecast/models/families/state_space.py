"""Family `state_space`: a neural state-space model, whose next state is a perceptron of input and
state.

`hidden` are the layers of that perceptron. `Spec` holds the options; `RecurrentSpec` builds
`layers` of the cell of that name in `forecast.networks.cells`.
"""

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
