"""A trained network as one Python file that needs nothing but NumPy (what MATLAB's genFunction is for its toolbox).

The file holds the network written out block by block, the cells' equations as they stand in `networks.cells`, and the
weights, embedded or in an .npz beside it. Its functions:

    forecast(past, future=None)               the forecast at the last row of each window
    series_parallel(past, future=None)        the forecast at every row, measured values in every row (open loop)
    parallel(past, steps, future, ahead)      a one-step network fed with its own forecasts (closed loop, free run)
    initial(batch), step(state, row, ...)     one row at a time, the state in the caller's hands

Without `Units` the file works in the network's scaled units; with them in those of the data. What a network was
trained beside, a ridge regression or the last value, goes into the file as a `Linear` part.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from forecast.networks import cells
from forecast.networks.cells.base import Cell
from forecast.networks.cells.namespace import NumpyNamespace, activate
from forecast.networks.description import Block, EncoderDecoder, Network, Parallel, Recurrent
from forecast.networks.inference.checks import check_weights
from forecast.networks.inference.export_code import LINEAR, bare, cell_sources, parsed, step_lines
from forecast.networks.inference.export_template import TEMPLATE
from forecast.networks.inference.streaming import initial
from forecast.system import files
from forecast.system.errors import InputError


@dataclass(frozen=True)
class Units:
    """How the data's units become the network's: `(past - centre) / scale`, and `forecast * scale + centre` back.

    `centre`, `scale` `(C,)` belong to the past channels; a forecast has those of its target channel.
    """

    centre: Sequence[float]
    scale: Sequence[float]


@dataclass(frozen=True)
class Linear:
    """A linear map added to the network's forecast, in scaled units: the skip that the network was trained beside.

    kernel `(lags * C, H*O*K)`: the last `lags` rows flattened, oldest first, rows before the first count as zero;
    future `(H * F, H*O*K)`: the H future rows flattened, None without future channels; bias `(H*O*K,)`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    future: np.ndarray | None = None


def export(
    network: Network,
    weights: Mapping[str, np.ndarray],
    path: Path | str,
    *,
    description: str,
    units: Units | None = None,
    linear: Linear | None = None,
    embed: bool = True,
) -> None:
    """Write `path` (ending in .py); with `embed=False` the weights go to an .npz of the same name beside it.

    `InputError` for a bidirectional network, which takes no rows one at a time.
    """
    target = Path(path)
    if target.suffix != ".py":
        raise InputError(f"Export to {target.name!r}: wanted a name that ends in .py. Rename it.")
    source = source_of(network, weights, description=description, units=units, linear=linear)
    arrays = dict(weights) | _linear_weights(linear)
    if embed:
        text = "\n".join(textwrap.wrap(_base64(arrays), 116))
        loaded = f'np.load(io.BytesIO(base64.b64decode("""\n{text}\n""")))'
    else:
        files.write_arrays(target.with_suffix(".npz"), arrays)
        loaded = f"np.load(Path(__file__).with_name({target.with_suffix('.npz').name!r}))"
    files.write_text(target, source.replace("<WEIGHTS>", loaded))


def source_of(
    network: Network,
    weights: Mapping[str, np.ndarray],
    *,
    description: str,
    units: Units | None = None,
    linear: Linear | None = None,
) -> str:
    """The file's text, with `<WEIGHTS>` where the weights are loaded."""
    dtype = check_weights(network, weights)
    shapes = network.shapes
    state = initial(network, weights, batch=1)  # refuses what cannot be streamed
    with_future = linear is not None and linear.future is not None
    used = dict(_cells(network.blocks, ""))
    centre, scale = (units.centre, units.scale) if units else ([0.0] * shapes.channels, [1.0] * shapes.channels)
    parts = {
        "DESCRIPTION": textwrap.fill(description.replace('"""', "'''").replace("\\", "/"), 116),
        "NAMESPACE": bare(parsed(NumpyNamespace)),
        "ACTIVATE": bare(parsed(activate)),
        "CELLS": cell_sources(type(cell) for cell in used.values()),
        "USED": _dictionary({path: _instance(cell) for path, cell in used.items()}),
        "INITIAL": _dictionary(_first_states(state.blocks, weights) | _linear_state(network, linear), indent=4),
        "STEP": textwrap.indent(
            "\n".join(step_lines(network, linear=linear is not None, linear_future=with_future)), "    "
        ),
        "LOOKBACK": repr(shapes.lookback),
        "DTYPE": repr(dtype.name),
        "CHANNELS": repr(shapes.channels),
        "FUTURE": repr(shapes.future_channels),
        "HORIZON": repr(shapes.horizon),
        "OUTPUTS": repr(shapes.outputs),
        "PARAMETERS": repr(shapes.parameters),
        "TARGETS": repr(list(shapes.target_channels)),
        "CENTRE": repr([float(value) for value in centre]),
        "SCALE": repr([float(value) for value in scale]),
    }
    text = TEMPLATE
    for name, part in parts.items():
        text = text.replace(f"<{name}>", part)
    return text


def _linear_weights(linear: Linear | None) -> dict[str, np.ndarray]:
    if linear is None:
        return {}
    future = {} if linear.future is None else {f"{LINEAR}/future": linear.future}
    return {f"{LINEAR}/kernel": linear.kernel, f"{LINEAR}/bias": linear.bias} | future


def _linear_state(network: Network, linear: Linear | None) -> dict[str, str]:
    if linear is None:
        return {}
    shapes = network.shapes
    size = shapes.horizon * shapes.outputs * shapes.parameters
    lags, rest = divmod(len(linear.kernel), shapes.channels)
    found = [linear.kernel.shape, linear.bias.shape]
    wanted = [(max(lags, 1) * shapes.channels, size), (size,)]
    if linear.future is not None:
        found.append(linear.future.shape)
        wanted.append((shapes.horizon * shapes.future_channels, size))
    if rest or found != wanted:
        raise InputError(
            f"Linear part: kernel, bias and future have shapes {found}; wanted {wanted}, the first a multiple of "
            f"{shapes.channels} channels. See `forecast.networks.inference.export.Linear`."
        )
    return {LINEAR: f"{{'line': np.zeros((batch, {lags - 1}, CHANNELS))}}"}


def _cells(blocks: Sequence[Block], prefix: str) -> Iterator[tuple[str, Cell]]:
    for block in blocks:
        if isinstance(block, Recurrent | EncoderDecoder):
            yield prefix + block.name, cells.get(block.cell, block.units, block.options)
        if isinstance(block, Parallel):
            for k, branch in enumerate(block.branches):
                yield from _cells(branch, f"{prefix}{block.name}/{k}/")


def _instance(cell: Cell) -> str:
    options = ", ".join(f"{field.name}={getattr(cell, field.name)!r}" for field in fields(cell))
    return f"{type(cell).__name__}({options})"


def _first_states(blocks: Mapping[str, Mapping[str, np.ndarray]], weights: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Code for the first state of every block that has one: zeros, or the weight that holds it."""
    found = {}
    for path, states in blocks.items():
        parts = []
        for name, value in states.items():
            holder = next((own for own in (path, f"{path}/encoder") if f"{own}/initial_{name}" in weights), None)
            learnt = f"np.repeat(W[{holder!r}]['initial_{name}'][None], batch, axis=0)"
            zeros = f"np.zeros((batch, {', '.join(map(str, value.shape[1:]))}), DTYPE)"
            parts.append(f"{name!r}: {learnt if holder else zeros}")
        found[path] = "{" + ", ".join(parts) + "}"
    return found


def _dictionary(items: Mapping[str, str], indent: int = 0) -> str:
    inner = "".join(f"{' ' * (indent + 4)}{key!r}: {value},\n" for key, value in items.items())
    return "{\n" + inner + " " * indent + "}" if items else "{}"


def _base64(arrays: dict[str, np.ndarray]) -> str:
    with files.scratch_folder() as folder:
        path = folder / "weights.npz"
        files.write_arrays(path, arrays)
        return base64.b64encode(path.read_bytes()).decode()
