"""Family `mlp`: a multi-layer perceptron of the last `lags` rows, flattened, that forecasts all
steps of the horizon at once.

At most the lookback is read. With `trainer: lm` it is fitted by Levenberg-Marquardt.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another
option is a field of `Spec` that `build` reads; what tuning tries of it stands in `choices`.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec, add_dropout, dense_layers
from forecast.networks.description import Network, Shapes, Taps


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = "A perceptron of the last `lags` rows, flattened."
    equation = "y[t+1..t+H] = U f(V [x[t], ..., x[t-n+1]] + b) + c"
    source = "Lapedes & Farber 1987"
    choices: ClassVar[Choices] = {"units": (16, 32, 64), "lags": (12, 24, 48)}

    lags: int = Field(24, ge=1)
    units: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)

    def build(self, shapes: Shapes) -> Network:
        """The network for the shapes of a task, from the inputs to the read-out."""
        taps = Taps("window", tuple(range(min(self.lags, shapes.lookback))))
        dense = dense_layers(self.units, self.layers)
        return Network((taps, *add_dropout(dense, self.dropout)), shapes, self.future_units)
