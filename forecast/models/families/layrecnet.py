"""Family `layrecnet`: a recurrent layer fed back over several `delays`, MATLAB's layrecnet(1:2,
...).

`Spec` (a `RecurrentSpec`) holds the options of an entry; those that the cell's class has as well
are handed to the cell. The network has `layers` recurrent layers of `units`. The step, states and
weights are those of `MultiDelay` in `forecast.networks.cells.context`: a change of the equation is
made there, a new option in both.
"""

from __future__ import annotations

from forecast.models.base import RecurrentSpec
from forecast.networks.cells.base import HiddenActivation


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "multi_delay"
    summary = "Recurrent layer fed back over several delays."
    equation = "h[t] = f(V x[t] + sum_d W_d h[t-d] + b); y = U h + c"
    source = "layrecnet of MATLAB's Deep Learning Toolbox; Elman 1990 for one delay"

    delays: tuple[int, ...] = (1, 2)
    activation: HiddenActivation = "tanh"
