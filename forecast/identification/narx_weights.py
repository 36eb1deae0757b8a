"""The two forms of one NARX net: the network with named weights, and the flat vector of `forecast.training.narx.narx`.

The second form has the exact derivatives of the free run: closed-loop training works on it, and its result goes back.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forecast.identification.nets import Net
from forecast.system.errors import InputError
from forecast.training.narx.narx import Narx

Array = npt.NDArray[np.float64]


def narx_of(net: Net, inputs: int, outputs: int) -> Narx:
    """`InputError` for a net that has no feedback, or not just one hidden layer."""
    if not net.feedback or len(net.hidden) != 1:
        raise InputError(
            f"Closed-loop training is for narx and nar nets with one hidden layer; this is a {net.kind} with "
            f"{len(net.hidden)}. Train it in open loop and run it in closed loop, or take one hidden layer."
        )
    net.network(inputs, outputs)  # refuses inputs that do not fit
    return Narx(inputs, outputs, net.feedback_delays, net.input_delays, net.hidden[0], net.linear)


def to_narx(net: Net, weights: Mapping[str, Array]) -> Array:
    """[W1, b1, W2, b2, W3] of the named weights."""
    path = _hidden(net)
    readout = weights["readout/kernel"]
    first, linear = readout[: net.hidden[0]], readout[net.hidden[0] :]
    parts = [weights[f"{path}/kernel"].T, weights[f"{path}/bias"], first.T, weights["readout/bias"], linear.T]
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


def from_narx(net: Net, narx: Narx, flat: Array) -> dict[str, Array]:
    """The named weights of the flat vector."""
    w1, b1, w2, b2, w3 = narx.split(flat)
    readout = np.concatenate([w2.T, w3.T]) if net.linear else w2.T
    path = _hidden(net)
    named = {f"{path}/kernel": w1.T, f"{path}/bias": b1, "readout/kernel": readout, "readout/bias": b2}
    return {name: np.array(value) for name, value in named.items()}


def _hidden(net: Net) -> str:
    return "paths/0/layer_0" if net.linear else "layer_0"
