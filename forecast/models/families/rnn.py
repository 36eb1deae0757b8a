"""Family `rnn`: the simple recurrent network, trained by full back-propagation through time.

Its initial state is zero, learnt, or drawn once (`h_init`). `Spec` holds the options;
`RecurrentSpec` builds `layers` of the cell of that name in `forecast.networks.cells`.
"""

from __future__ import annotations

from typing import Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "simple_rnn"
    summary = "Recurrent layer with full back-propagation through time."
    equation = "h[t] = f(V x[t] + W h[t-1] + b_h); y[t] = U h[t] + b_y"
    source = "Rumelhart, Hinton & Williams 1986; Werbos 1990"

    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
    h_init: Literal["zero", "learnt", "random"] = "zero"
