"""Family `encoder_decoder` (sequence to sequence): one recurrent net reads the past, a second one,
started from its state, writes the horizon step by step.

With `feedback` the decoder is fed its own previous output beside the known future inputs, but for a
head without a location, such as bins, which has nothing to feed back.

`Spec` (a `NetworkSpec`) holds the options of an entry; its `blocks` describe the `Network` for the
`Shapes` of a task, from past (B, T, C) to forecasts (B, H, O, K) relative to the skip. Another
option of the network is a field of `Spec` that `build` reads; `chunk` is one of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from forecast.models import search
from forecast.models.base import NetworkSpec
from forecast.networks.description import EncoderDecoder, Network, Shapes


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    summary = "An encoder's state starts a decoder that runs over the horizon on its own output."
    equation = (
        "s[t] = enc(x[..t]); d[k], s[k] = dec([p[k-1], e[t], f[t+k]], s[k-1]); p[k] = U d[k] + c"
    )
    source = "Sutskever, Vinyals & Le 2014; Cho et al. 2014"

    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    units: int = Field(24, ge=1)
    feedback: bool = Field(
        True, description="false: one-to-many, the state shared and no output fed back"
    )
    chunk: int = Field(
        12, ge=1, description="supervised steps per chunk; each starts a decoder of its own"
    )

    @model_validator(mode="after")
    def _refuse_dropout(self) -> Spec:
        """Refuse a dropout rate, which has no effect here."""
        if self.dropout:
            raise ValueError("dropout has no effect on an encoder-decoder; leave it out")
        return self

    def build(self, shapes: Shapes) -> Network:
        """The network for the shapes of a task, from the inputs to the read-out."""
        location = self.head.location_index
        feedback = self.feedback and location is not None
        blocks = (
            EncoderDecoder(
                "seq", self.cell, self.units, feedback=feedback, parameter=location or 0
            ),
        )
        return Network(blocks, shapes, self.future_units)

    def space(self) -> Mapping[str, search.Dimension]:
        """The search space of tuning, by field name, without `dropout`."""
        return {
            "learning_rate": search.LogUniform(5e-4, 5e-2),
            "units": search.Choice((16, 24, 48)),
        }
