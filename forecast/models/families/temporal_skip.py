"""Family `temporal_skip`: a simple recurrent layer that also sees its state `skip` steps back.

`Spec` holds the options; `RecurrentSpec` builds `layers` of the cell of that name in
`forecast.networks.cells` (`context`, which has the equation's shapes).

`skip` here is k, a number of steps through time inside the layer. It is not the skip of
docs/glossary.md (`forecast.models.skip`: the closed-form forecast that a network is added to),
which this network stands on like every other.
"""

from __future__ import annotations

from pydantic import Field

from forecast.models.base import RecurrentSpec
from forecast.networks.cells.base import HiddenActivation


class Spec(RecurrentSpec):
    """Options of an entry of this family, and those of its cell."""

    cell = "temporal_skip"
    summary = "Recurrent layer that also sees its state k steps back."
    equation = "h[t] = f(V x[t] + W h[t-1] + S h[t-k] + b); y = U h + c"
    source = "Lin, Horne, Tino & Giles 1996"

    skip: int = Field(12, ge=2, description="k, in steps")
    activation: HiddenActivation = "tanh"
