"""Family `rnn`: the simple recurrent network, trained by full back-propagation through time.

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `SimpleRNN` in `forecast.networks.cells.simple`: a change of the equation is
made there, a new option in both.
"""

from __future__ import annotations

from forecast.models.base import RecurrentSpec
from forecast.networks.cells.base import HiddenActivation


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "simple_rnn"
    summary = "Recurrent layer with full back-propagation through time."
    equation = "h[t] = f(V x[t] + W h[t-1] + b_h); y[t] = U h[t] + b_y"
    source = "Rumelhart, Hinton & Williams 1986; Werbos 1990"

    activation: HiddenActivation = "tanh"
