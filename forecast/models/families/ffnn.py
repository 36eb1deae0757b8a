"""Family `ffnn`: a feed-forward network of the newest row alone, without memory, which shows what
the rows before it are worth.

`layers` dense layers forecast all steps at once. With `trainer: lm` it is fitted by
Levenberg-Marquardt.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another
option is a field of `Spec` that `blocks` reads; what tuning tries of it stands in `choices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec, dense_layers
from forecast.networks.description import Block, Shapes


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = "A perceptron of the present row; no memory at all."
    equation = "y[t+1..t+H] = U f(V x[t] + b) + c"
    source = "Rumelhart, Hinton & Williams 1986"
    choices: ClassVar[Choices] = {"units": (16, 32, 64)}

    units: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        return dense_layers(self.units, self.layers)
