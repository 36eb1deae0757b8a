"""Family `segment_gru` (SegRNN): a GRU that steps over segments of the window instead of rows, all
of it relative to the last value.

The horizon is written in equal parts of at most a segment, side by side from the last state. Rows
before the newest whole segments are not read.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another
option is a field of `Spec` that `build` reads.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec
from forecast.networks.description import Dense, Dropout, Network, Recurrent, Segments, Shapes


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = (
        "A GRU that steps from segment to segment of the window, on differences to its last value."
    )
    equation = (
        "h[k] = GRU(relu(P (segment k of x - x[t]) + b), h[k-1]); part j of y[t+1..t+H] = U"
        " GRU(e[j], h[n]) + c"
    )
    source = "Lin, Lin, Wu, Zhao, Mo & Zhang 2023 (SegRNN)"
    choices: ClassVar[Choices] = {"units": (32, 64, 128), "segment": (12, 24, 48)}

    segment: int = Field(
        24,
        ge=1,
        description="rows that are one step of the recurrence; the newest whole ones count",
    )
    units: int = Field(64, ge=1)
    batch_size: int = Field(128, ge=1, description="windows in a gradient step")

    def build(self, shapes: Shapes) -> Network:
        """The network for the shapes of a task, from the inputs to the read-out."""
        length = min(self.segment, shapes.lookback)
        parts = next(
            n
            for n in range(-(-shapes.horizon // length), shapes.horizon + 1)
            if shapes.horizon % n == 0
        )
        levels = tuple(c for c in shapes.target_channels if c not in shapes.change_channels)
        blocks = (
            Segments("segments", length, shapes.lookback // length, levels),
            Dense("projection", self.units, "relu"),
            Recurrent("gru", "gru", self.units, parts=parts),
            Dropout("drop_out", self.dropout),  # there alone, as published
        )
        return Network(blocks, shapes, self.future_units, every_step=False)
