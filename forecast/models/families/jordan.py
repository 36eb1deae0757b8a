"""Family `jordan`: a hidden layer whose context is the fed-back target, with a decaying memory of
it.

A one-step map: trained on the measured target (series-parallel), and closed over its own forecasts
to forecast the horizon (parallel). `alpha`, from 0 to below 1 and 0.5 unless the entry says, is how
much of the context stays from step to step.

An entry with `family: jordan` in configs/models.yaml is read as this file's `Spec`, which refuses
values outside of the bounds of its fields. `NetworkSpec.network` calls `build`. The equation itself
is the cell `Jordan` in networks/cells/context.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec
from forecast.networks import cells
from forecast.networks.cells.base import HiddenActivation
from forecast.networks.description import Block, Recurrent, Shapes


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    is_recursive = True
    summary = "Hidden layer on a decaying memory of the outputs, fed with its own forecasts."
    equation = "mu[t] = alpha mu[t-1] + y[t-1]; h[t] = f(V x[t] + W mu[t] + b); y[t] = U h[t] + c"
    source = "Jordan 1986"
    choices: ClassVar[Choices] = {"units": (16, 32, 64), "alpha": (0.0, 0.5, 0.8, 0.95)}

    units: int = Field(32, ge=1)
    alpha: float = Field(0.5, ge=0, lt=1)  # at 1 the context would never forget
    activation: HiddenActivation = "tanh"

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        options: cells.Options = {
            "targets": shapes.target_channels,
            "alpha": self.alpha,
            "activation": self.activation,
        }
        return (Recurrent("jordan", "jordan", self.units, options),)
