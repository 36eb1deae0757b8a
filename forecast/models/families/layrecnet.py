"""Family `layrecnet`: a recurrent layer fed back over several `delays`, MATLAB's layrecnet(1:2,
...). `Spec` holds the options; `RecurrentSpec` builds `layers` of the cell of that name in
`forecast.networks.cells`.
"""

from __future__ import annotations

from typing import Literal

from forecast.models.base import RecurrentSpec


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "multi_delay"
    summary = "Recurrent layer fed back over several delays."
    equation = "h[t] = f(V x[t] + sum_d W_d h[t-d] + b); y = U h + c"
    source = "layrecnet of MATLAB's Deep Learning Toolbox; Elman 1990 for one delay"

    delays: tuple[int, ...] = (1, 2)
    activation: Literal["tanh", "sigmoid", "relu", "softplus"] = "tanh"
