"""Family `state_space`: a neural state-space model, whose next state is a perceptron of input and
state.

`hidden` are the layers of that perceptron.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `StateSpace` in `forecast.networks.cells.simple`: a change of the equation is
made there, a new option in both.
"""

from __future__ import annotations

from forecast.models.base import RecurrentSpec
from forecast.networks.cells.base import HiddenActivation


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "state_space"
    summary = "State updated by a multi-layer perceptron shared over time."
    equation = "h[t] = MLP(x[t], h[t-1]); y[t] = U h[t] + c"
    source = "Zamarreno & Vega 1998; Suykens, Vandewalle & De Moor 1996"

    hidden: tuple[int, ...] = (32,)
    activation: HiddenActivation = "tanh"
