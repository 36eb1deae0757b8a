"""Family `parallel_rnn`: recurrent branches of different kinds side by side on the same input.

Their states stand side by side before the read-out; each branch is one layer of `units`.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another kind
of branch is one more cell's name in `branches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec
from forecast.networks.description import Block, Parallel, Recurrent, Shapes


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = "Recurrent branches side by side, their states merged."
    equation = "h[t] = [h_1[t], h_2[t]], each branch its own recursion on x[t]; y = U h + c"
    source = "Schmidhuber, Gers & Eck 2002; Hermans & Schrauwen 2013"
    choices: ClassVar[Choices] = {"units": (8, 16, 32)}

    branches: tuple[Literal["simple_rnn", "lstm", "gru"], ...] = Field(
        ("simple_rnn", "gru"), min_length=1
    )
    units: int = Field(16, ge=1, description="of each branch")

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        branches: tuple[tuple[Block, ...], ...] = tuple(
            (Recurrent(f"{cell}_{i}", cell, self.units),) for i, cell in enumerate(self.branches)
        )
        return (Parallel("parallel", branches),)
