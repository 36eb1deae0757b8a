"""Exports a trained network as one Python file that needs NumPy alone (as genFunction of MATLAB's
toolbox does).

The file has the network block by block, the equations of the cells copied from `networks.cells`,
and the weights. Its functions:

    forecast(past, future=None)               the forecast at the last row of each window
    series_parallel(past, future=None)        the forecast at every row from measured values
                                              (open loop)
    parallel(past, steps, future, ahead)      a one-step network fed with its own forecasts
                                              (closed loop, free run)
    initial(batch), step(state, row, ...)     one row at a time, with the state carried by the
                                              caller

With `Units` the file works in the units of the data, else in scaled units. The skip that a network
was trained beside is exported as a `LinearSkip`. Bidirectional networks, and cells that inherit
from another cell, are an `InputError`.
"""

from __future__ import annotations

import ast
import base64
import inspect
import pprint
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forecast.networks.cells.base import ActivatedCell, Cell, Namespace, activate
from forecast.networks.description import (
    CellBlock,
    Dense,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    Taps,
    walk_blocks,
)
from forecast.networks.inference.batch import check_weights, segments
from forecast.networks.inference.export_template import DECODE, TEMPLATE
from forecast.networks.inference.streaming import initial
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import future_width
from forecast.system import files
from forecast.system.errors import InputError

WIDTH = 100
"""The most columns of a line in the file."""
NOT_EXPORTED = {"__post_init__", "states", "weight_specs"}
"""Methods of cells that are needed only before there are weights."""
LINEAR = "linear part"
"""The path of the linear skip among the blocks."""
FRAME = "ahead.reshape(len(x), -1)"
"""Code for the H future rows side by side."""


@dataclass(frozen=True)
class Units:
    """The scaling between the units of the data and of the network: `(past - centre) / scale`, and
    `forecast * scale + centre` back. `centre` and `scale` `(C,)` are those of the past channels; a
    forecast has those of its target channel.
    """

    centre: Sequence[float]
    scale: Sequence[float]


@dataclass(frozen=True)
class LinearSkip:
    """A linear map in scaled units that is added to the network's forecast: the skip that the
    network was trained beside.

    kernel `(lags * C, H*O*K)`: for the last `lags` rows flattened, oldest first (zeros before the
    first row). future `(H * F, H*O*K)`: for the H future rows flattened; None without future
    channels. bias `(H*O*K,)`. products `(P, H*O*K)`: for the P columns of the function
    `products_of(rows, future rows)` in `code`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    future: np.ndarray | None = None
    products: np.ndarray | None = None
    code: str = ""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are not None, by their names in the file."""
        return {
            f"{LINEAR}/{name}": array
            for name, array in vars(self).items()
            if isinstance(array, np.ndarray)
        }


def export(
    network: Network,
    weights: Mapping[str, np.ndarray],
    path: Path | str,
    *,
    description: str,
    units: Units | None = None,
    linear: LinearSkip | None = None,
) -> None:
    """Write the file `path` (.py); `InputError` for a network that cannot be exported."""
    source = _source(network, weights, description, units, linear)
    arrays = dict(weights)
    if linear is not None:
        arrays |= linear.arrays()
    with files.scratch_folder() as folder:
        files.write_arrays(folder / "weights.npz", arrays)
        encoded = base64.b64encode((folder / "weights.npz").read_bytes()).decode()
    text = "\n".join(textwrap.wrap(encoded, WIDTH))
    weights_code = f'np.load(io.BytesIO(base64.b64decode("""\n{text}\n""")))'
    files.write_text(Path(path), source.replace("<WEIGHTS>", weights_code))


def _source(
    network: Network,
    weights: Mapping[str, np.ndarray],
    description: str,
    units: Units | None,
    linear: LinearSkip | None,
) -> str:
    """The text of the file, with `<WEIGHTS>` where the weights are loaded: the template filled with
    the equations of the cells, the first states and the body of `step`.
    """
    dtype = check_weights(network, weights)
    shapes = network.shapes
    first = initial(network, weights, batch=1)
    states: dict[str, dict[str, tuple[int, ...]]] = {}
    for path, arrays in first.items():
        states[path] = {name: array.shape[1:] for name, array in arrays.items()}
    cells: dict[str, Cell] = {}
    for path, block in walk_blocks(network.blocks):
        if isinstance(block, CellBlock):
            cells[path] = block.cell_object
    code = [cell_sources(type(cell) for cell in cells.values())]
    if linear is not None:
        lags = len(linear.kernel) // shapes.channels
        states[LINEAR] = {"line": (lags - 1, shapes.channels)}
        code[0] += linear.code
    if network.is_segmented:
        code.append(unparse_plain(parse_definition(segments)))
    if units is None:
        units = Units([0.0] * shapes.channels, [1.0] * shapes.channels)
    plain_description = description.replace('"""', "'''").replace("\\", "/")
    parts = {
        "DESCRIPTION": textwrap.fill(plain_description, WIDTH - 3),
        "NAMESPACE": unparse_plain(parse_definition(Namespace)),
        "ACTIVATE": unparse_plain(parse_definition(activate)),
        "CELLS": "\n\n\n".join(code),
        "USED": pprint.pformat(cells, width=WIDTH, sort_dicts=False),
        "STATES": pprint.pformat(states, width=WIDTH, sort_dicts=False),
        "DECODE": DECODE if network.decoder else "",
        "STEP": textwrap.indent(StepWriter(network).write_step(linear), "    "),
        "DTYPE": repr(dtype.name),
        "TARGETS": repr(list(shapes.target_channels)),
        "CENTRE": repr([float(value) for value in units.centre]),
        "SCALE": repr([float(value) for value in units.scale]),
    }
    for size in ("channels", "future_channels", "horizon", "outputs", "parameters", "lookback"):
        parts[size.upper()] = repr(getattr(shapes, size))
    text = TEMPLATE
    for name, part in parts.items():
        text = text.replace(f"<{name}>", part)
    return text


class StepWriter(BlockVisitor[str]):
    """Writes the body of `step`, from the scaled row `x` to the scaled forecast `out`, with a line
    for each block. The value that is passed on between blocks is the name of a variable.
    """

    unfit_reason = "which cannot be exported; fit another network, such as 'gru'"

    def __init__(self, network: Network) -> None:
        """A writer for `network`, without lines yet."""
        self.network = network
        self.lines: list[str] = []

    def assign(self, code: str) -> str:
        """Write a line that assigns `code` to a new variable; returns its name."""
        name = f"x{len(self.lines) + 1}"
        self.lines.append(f"{name} = {code}")
        return name

    def write_step(self, linear: LinearSkip | None) -> str:
        """The body of `step`: the projection of the future rows, the blocks, the read-out, the
        linear skip, and their sum as `out`.
        """
        network = self.network
        x = "x"
        if future_width(network):
            projected = _affine_code(FRAME, "future")
            x = self.assign(f"np.concatenate([x, np.tanh({projected})], axis=1)")
        x = self.visit_series(network.blocks, "", x)
        if network.is_segmented:
            x = self.assign(f"{x}[:, -{network.parts}:]")
        if not network.decoder:
            x = self.assign(_affine_code(x, "readout"))
        if linear is not None:
            x = self.assign(f"{x}.reshape(len(x), -1) + {self.write_linear(linear)}")
        self.lines.append(f"out = {x}.reshape(len(x), HORIZON, OUTPUTS, PARAMETERS)")
        return "\n".join(self.lines)

    def write_linear(self, linear: LinearSkip) -> str:
        """Write the linear skip; returns the name of its variable."""
        # in float64, as its coefficients are
        line = self.assign(_line_code(LINEAR, "x.astype(float)"))
        terms = [_affine_code(f"{line}.reshape(len(x), -1)", LINEAR)]
        if linear.future is not None:
            terms.append(f"{FRAME} @ W[{LINEAR!r}]['future']")
        if linear.products is not None:
            terms.append(f"products_of({line}, ahead) @ W[{LINEAR!r}]['products']")
        return self.assign(" + ".join(terms))

    def visit_dense(self, block: Dense, path: str, x: str) -> str:
        """One affine map and its activation."""
        return self.assign(f"activate(xp, {block.activation!r}, {_affine_code(x, path)})")

    def visit_taps(self, block: Taps, path: str, x: str) -> str:
        """The delayed rows side by side."""
        if block.channels is not None:
            x = f"{x}[:, {list(block.channels)}]"
        line = self.assign(_line_code(path, x))
        rows = f"[{line}[:, -1 - delay] for delay in {list(block.delays)}]"
        return self.assign(f"np.concatenate({rows}, axis=1)")

    def visit_segments(self, block: Segments, path: str, x: str) -> str:
        """The segments of the newest rows."""
        arguments = f"{block.length}, CHANNELS, {list(block.relative)}"
        return self.assign(f"segments({_line_code(path, x)}, {arguments})")

    def visit_recurrent(self, block: Recurrent, path: str, x: str) -> str:
        """A step of the cell. With segments it is a loop over all segments from the first state,
        and for a block with parts one more step for the embedding of each part. `state`, `after`,
        `W` and `CELLS` are names of the template.
        """
        if not self.network.is_segmented:
            return self.assign(f"step_cell({path!r}, {x}, state, after)")
        x = self.assign(f"step_over_segments({path!r}, {x}, state, after)")
        if not block.parts:
            return x
        w = f"W[{path!r}]"
        last = f"{{'h': {x}[:, -1:]}}"
        return self.assign(f"CELLS[{path!r}].step({w}, {w}['embedding'], {last})[0]")

    def join_branches(self, block: Parallel, path: str, outputs: list[str]) -> str:
        """The outputs of the branches side by side."""
        return self.assign(f"np.concatenate([{', '.join(outputs)}], axis=1)")

    def visit_encoder_decoder(self, block: EncoderDecoder, path: str, x: str) -> str:
        """A step of the encoder and the H steps of the decoder after it."""
        fed_back = block.parameter if block.feedback else None
        return self.assign(f"decode({path!r}, {x}, ahead, state, after, {fed_back})")


def _affine_code(x: str, path: str) -> str:
    """Code for `x W + b` with the weights at `path`."""
    return f"affine({x}, {path!r})"


def _line_code(path: str, now: str) -> str:
    """Code for the rows in the delay line of a block, oldest first, with the present row `now`."""
    return f"newest_rows({path!r}, {now}, state, after)"


def cell_sources(cells: Iterable[type[Cell]]) -> str:
    """The code of the cells' classes and of the helpers that they call. `InputError` for a cell
    that inherits from another cell, and for different helpers with the same name.
    """
    helpers: dict[str, str] = {}
    classes = []
    for cell in dict.fromkeys(cells):
        if not set(cell.__bases__) <= {Cell, ActivatedCell}:
            raise InputError(
                f"Cell {cell.__name__} cannot be exported: it inherits from another cell. Derive"
                " from Cell."
            )
        module = parse_module(cell)
        definition = parse_definition(cell)
        methods = [
            node
            for node in definition.body
            if isinstance(node, ast.FunctionDef) and node.name not in NOT_EXPORTED
        ]
        for name, helper in _needed_definitions(module, methods).items():
            if helpers.setdefault(name, unparse_plain(helper)) != unparse_plain(helper):
                raise InputError(
                    f"Two cells of this network have helpers named {name!r} that differ. Rename"
                    " one."
                )
        equation = ast.get_docstring(definition) or ast.get_docstring(module)
        parts = [f'"""{equation}\n"""', *(unparse_plain(method) for method in methods)]
        body = "\n\n".join(textwrap.indent(part, "    ") for part in parts)
        classes.append(f"class {cell.__name__}(Cell):\n{body}")
    return "\n\n\n".join([*helpers.values(), *classes])


def source_with_helpers(function: Callable[..., object]) -> str:
    """The code of a function and of the functions and constants of its module that it names."""
    definition = parse_definition(function)
    nodes = [*_needed_definitions(parse_module(function), [definition]).values(), definition]
    return "\n\n\n".join(map(unparse_plain, nodes))


def parse_module(definition: Any) -> ast.Module:
    """The syntax tree of the file that defines a class or function."""
    return ast.parse(Path(inspect.getfile(definition)).read_text(encoding="utf-8"))


def parse_definition(definition: Any) -> Any:
    """The syntax tree of a class or function."""
    return ast.parse(inspect.getsource(definition)).body[0]


def unparse_plain(node: ast.stmt) -> str:
    """The code of `node` without comments, and without type annotations, whose names are not in the
    file.
    """
    for inner in ast.walk(node):
        if isinstance(inner, ast.arg):
            inner.annotation = None
        elif isinstance(inner, ast.FunctionDef):
            inner.returns = None
            inner.body = [_without_annotation(statement) for statement in inner.body]
    return ast.unparse(ast.fix_missing_locations(node))


def _without_annotation(statement: ast.stmt) -> ast.stmt:
    """`x: T = value` as `x = value`; any other statement as it is."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return ast.Assign(targets=[statement.target], value=statement.value)
    return statement


def _needed_definitions(module: ast.Module, users: Sequence[ast.AST]) -> dict[str, ast.stmt]:
    """The functions and constants of `module` that `users` need, directly or through each other, in
    the order of the module.
    """
    defined: dict[str, ast.stmt] = {}
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
    needed: set[str] = set()
    waiting: list[ast.AST] = list(users)
    while waiting:
        for inner in ast.walk(waiting.pop()):
            if isinstance(inner, ast.Name) and inner.id in defined.keys() - needed:
                needed.add(inner.id)
                waiting.append(defined[inner.id])
    return {name: node for name, node in defined.items() if name in needed}
