"""Family `tdnn`: time-delay neural network, causal convolutions with delays in the hidden layers
too, so its response to an input is finite.

MATLAB's distdelaynet; with `layers: 1` its timedelaynet. Delays are spaced by `dilation` to the
power of the layer; those beyond the lookback are left out.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another
option is a field of `Spec` that `blocks` reads; what tuning tries of it stands in `choices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec
from forecast.networks.description import Block, Dense, Shapes, Taps


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = "Causal convolutions: delayed inputs into delayed hidden layers."
    equation = "h1[t] = f(sum_d V_d x[t-d] + b); h2[t] = f(sum_d W_d h1[t-d] + b); y = U h2 + c"
    source = "Waibel, Hanazawa, Hinton, Shikano & Lang 1989"
    choices: ClassVar[Choices] = {"units": (16, 32, 64), "taps": (4, 8, 12)}

    taps: int = Field(8, ge=1, description="delays 0..taps-1 of each layer")
    dilation: int = Field(
        3, ge=1, description="spacing of the delays, multiplied from layer to layer"
    )
    units: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        blocks: list[Block] = []
        for i in range(self.layers):
            spacing = self.dilation**i
            delays = tuple(d * spacing for d in range(self.taps) if d * spacing < shapes.lookback)
            blocks += [Taps(f"taps_{i}", delays), Dense(f"dense_{i}", self.units)]
        return blocks
