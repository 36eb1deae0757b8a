"""Family `projected`: a recurrent layer on a few linear combinations of the inputs, in place of
many columns.

`projection: learnt` trains the combinations with the rest; `pca` takes the principal axes of the
train inputs and does not train them. Known future inputs pass beside the projection.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. `pca` with
Levenberg-Marquardt is refused, which would train the axes too. Another projection is a value of
`projection` that `blocks` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from forecast.models.base import Choices, NetworkSpec
from forecast.networks.description import Block, Dense, Parallel, Recurrent, Shapes, Taps


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = (
        "A recurrent layer on a linear projection of its inputs, learnt or principal components."
    )
    equation = "z[t] = P x[t] + p; h[t] = LSTM(z[t], h[t-1]); y = U h + c"
    source = "Pearson 1901; Hotelling 1933; learnt P: Bengio, Ducharme, Vincent & Jauvin 2003"
    choices: ClassVar[Choices] = {"units": (16, 32, 64), "width": (2, 4, 8)}

    projection: Literal["learnt", "pca"] = "pca"
    width: int = Field(
        4, ge=1, description="columns that are left of the past ones; at most as many as there are"
    )
    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    units: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _refuse_trained_axes(self) -> Spec:
        """Refuse `pca` with Levenberg-Marquardt, which would train the axes too."""
        if self.projection == "pca" and self.trainer == "lm":
            raise ValueError(
                "projection: pca is trained by gradient; use projection: learnt with trainer: lm"
            )
        return self

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        past = tuple(range(shapes.channels))
        width = min(self.width, shapes.channels)
        # with `principal_of` its weights are these channels' principal axes, and are not trained
        principal_of = past if self.projection == "pca" else None
        project = Dense("p", width, activation="linear", principal_of=principal_of)
        # taps without a delay select channels
        branches: list[tuple[Block, ...]] = [(Taps("past", delays=(0,), channels=past), project)]
        if shapes.future_channels and self.future_units:
            # the network has put the future inputs behind the past channels: `future_units` columns
            future = tuple(range(shapes.channels, shapes.channels + self.future_units))
            branches.append((Taps("ahead", delays=(0,), channels=future),))
        return (
            Parallel("projection", tuple(branches)),
            Recurrent(self.cell, self.cell, self.units),
        )
