"""Family `narx`: a one-step perceptron with separate delays for the target and the exogenous
inputs, closed over the horizon.

Trained open loop (series-parallel: measured target fed back), forecasting closed loop (parallel:
its own output). MATLAB's narxnet; without exogenous columns it is NAR. Inputs known only up to the
cutoff are carried on by `forecast.models.skip.Carry`. The NARX of system identification, with
training of its own, is `identification.narx`.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from forecast.models.base import Choices, NetworkSpec, add_dropout, dense_layers
from forecast.networks.description import Block, Network, Parallel, Shapes, Taps
from forecast.system.errors import InputError


class Spec(NetworkSpec):
    """Options of an entry of this family, and the network that they build."""

    is_recursive = True
    summary = (
        "One-step map of delayed targets and inputs, fed with its own forecasts to the horizon."
    )
    equation = "y[t+1] = F(y[t], ..., y[t-n+1], x[t-d], ..., x[t-m])"
    source = "Leontaritis & Billings 1985"
    choices: ClassVar[Choices] = {"units": (12, 24, 48), "target_lags": (8, 24, 48)}

    target_lags: int = Field(24, ge=1, description="y[t] .. y[t-n+1]")
    input_lags: int = Field(4, ge=0, description="x[t-d] .. over this many rows")
    input_delay: int = Field(0, ge=0, description="dead time d of the exogenous inputs, in steps")
    units: int = Field(24, ge=1)
    layers: int = Field(1, ge=1)

    def build(self, shapes: Shapes) -> Network:
        """The network for the shapes of a task, from the inputs to the read-out."""
        targets = shapes.target_channels
        width = shapes.channels + (self.future_units if shapes.future_channels else 0)
        others = tuple(c for c in range(width) if c not in targets)
        branches: list[tuple[Block, ...]] = [
            (Taps("y", tuple(range(min(self.target_lags, shapes.lookback))), targets),)
        ]
        if others and self.input_lags:
            if self.input_delay >= shapes.lookback:
                raise InputError(
                    f"family narx: input_delay={self.input_delay}, wanted less than"
                    f" lookback={shapes.lookback}: no input of a window is so old. Change one of"
                    " the two."
                )
            stop = min(self.input_delay + self.input_lags, shapes.lookback)
            branches.append((Taps("x", tuple(range(self.input_delay, stop)), others),))
        dense = dense_layers(self.units, self.layers)
        blocks = (Parallel("delays", tuple(branches)), *add_dropout(dense, self.dropout))
        return Network(blocks, shapes, self.future_units)
