"""Family `bidirectional`: a recurrent layer that reads the lookback window forwards and backwards.

Both directions stay inside the window, so nothing after the cutoff is read. All steps of the
horizon are forecast at once from the two end states; there is no forecast at earlier rows of a
window.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another
option is a field of `Spec` that `blocks` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec
from forecast.networks.description import Bidirectional, Block, Shapes


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = "Reads the lookback window in both directions and forecasts from both ends."
    equation = "y[t+1..t+H] = U [h_forward[t], h_backward[t-L+1]] + c, within the window"
    source = "Schuster & Paliwal 1997"
    every_step = False
    choices: ClassVar[Choices] = {"units": (8, 16, 32)}

    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    units: int = Field(16, ge=1, description="of each direction")
    batch_size: int = Field(64, ge=1)

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        return (Bidirectional("bidirectional", self.cell, self.units),)
