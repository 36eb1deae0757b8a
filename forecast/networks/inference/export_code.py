"""What differs from one exported network to the next: its step, line by line, and the classes of its cells."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from forecast.networks.cells.base import Cell
from forecast.networks.cells.weights import future_width
from forecast.networks.description import Block, Dense, Dropout, EncoderDecoder, Network, Parallel, Recurrent, Taps
from forecast.system.errors import InputError

NOT_EXPORTED = {"check", "states", "own_weights"}  # what a cell needs before it has weights
LINEAR = "linear part"  # its key among the blocks


def step_lines(network: Network, *, linear: bool, linear_future: bool) -> Iterator[str]:
    """The body of `step` between the scaled row `x` and the scaled forecast `out`."""
    if linear:
        yield f"line = np.concatenate([state[{LINEAR!r}]['line'], x[:, None]], axis=1)  # oldest row first"
        yield f"after[{LINEAR!r}] = {{'line': line[:, 1:]}}"
        yield f"linear = line.reshape(len(x), -1) @ W[{LINEAR!r}]['kernel'] + W[{LINEAR!r}]['bias']"
        if linear_future:
            yield f"linear = linear + ahead.reshape(len(x), -1) @ W[{LINEAR!r}]['future']"
    if future_width(network):
        yield "frame = ahead.reshape(len(x), -1)"
        yield f"x = np.concatenate([x, np.tanh({_affine('frame', 'future')})], axis=1)"
    yield from _series_lines(network.blocks, "", network)
    if not (network.blocks and isinstance(network.blocks[-1], EncoderDecoder)):
        yield f"x = {_activated(network.readout_activation, _affine('x', 'readout'))}"
    yield "out = x.reshape(len(x), HORIZON, OUTPUTS, PARAMETERS)"
    if linear:
        yield "out = out + linear.reshape(out.shape)"


def _series_lines(blocks: Sequence[Block], prefix: str, network: Network) -> Iterator[str]:
    for block in blocks:
        yield from _block_lines(block, prefix + block.name, network)


def _block_lines(block: Block, path: str, network: Network) -> Iterator[str]:
    match block:
        case Dense():
            yield f"x = {_activated(block.activation, _affine('x', path))}"
        case Dropout():
            return
        case Taps():
            now = "x" if block.channels is None else f"x[:, {list(block.channels)}]"
            yield f"line = np.concatenate([state[{path!r}]['line'], {now}[:, None]], axis=1)  # oldest row first"
            yield f"after[{path!r}] = {{'line': line[:, 1:]}}"
            yield f"x = np.concatenate([line[:, -1 - delay] for delay in {list(block.delays)}], axis=1)"
        case Recurrent():
            yield f"x, after[{path!r}] = CELLS[{path!r}].step(W[{path!r}], x, state[{path!r}])"
        case Parallel():
            yield from _parallel_lines(block, path, network)
        case EncoderDecoder():
            yield from _decoder_lines(block, path, network)


def _parallel_lines(block: Parallel, path: str, network: Network) -> Iterator[str]:
    shared, parts = f"shared_{_identifier(path)}", f"parts_{_identifier(path)}"
    yield f"{shared}, {parts} = x, []"
    for k, branch in enumerate(block.branches):
        yield f"x = {shared}"
        yield from _series_lines(branch, f"{path}/{k}/", network)
        yield f"{parts}.append(x)"
    yield f"x = np.concatenate({parts}, axis=1)" if block.merge == "concat" else f"x = np.add.reduce({parts})"


def _decoder_lines(block: EncoderDecoder, path: str, network: Network) -> Iterator[str]:
    encoder, decoder = f"{path}/encoder", f"{path}/decoder"
    yield f"encoded, after[{path!r}] = CELLS[{path!r}].step(W[{encoder!r}], x, state[{path!r}])"
    yield f"running, forecasts = after[{path!r}], []"
    if block.feedback:
        yield "fed_back = np.zeros((len(x), OUTPUTS), DTYPE)"
    inputs = ["fed_back"] * block.feedback + ["encoded"] + ["ahead[:, k]"] * bool(network.shapes.future_channels)
    yield "for k in range(HORIZON):"
    yield f"    d = np.concatenate([{', '.join(inputs)}], axis=1)"
    yield f"    d, running = CELLS[{path!r}].step(W[{decoder!r}], d, running)"
    yield f"    forecasts.append({_activated(network.readout_activation, _affine('d', 'readout'))})"
    if block.feedback:
        yield f"    fed_back = forecasts[-1].reshape(len(x), OUTPUTS, PARAMETERS)[:, :, {block.parameter}]"
    yield "x = np.stack(forecasts, axis=1)"


def _affine(x: str, path: str) -> str:
    return f"{x} @ W[{path!r}]['kernel'] + W[{path!r}]['bias']"


def _activated(name: str, code: str) -> str:
    return code if name == "linear" else f"activate(xp, {name!r}, {code})"


def _identifier(path: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in path)


def cell_sources(made: Iterable[type[Cell]]) -> str:
    """The classes of the cells, with their equations but without what only building needs, and their helpers."""
    helpers: dict[str, str] = {}
    classes = []
    for cell in dict.fromkeys(made):
        if cell.__bases__ != (Cell,):
            raise InputError(
                f"Cell {cell.__name__} cannot be exported: it inherits from another cell. Derive from Cell."
            )
        tree = ast.parse(Path(inspect.getfile(cell)).read_text(encoding="utf-8"))
        body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cell.__name__).body
        methods = [node for node in body if isinstance(node, ast.FunctionDef) and node.name not in NOT_EXPORTED]
        for name, helper in _helpers(tree, methods).items():
            if helpers.setdefault(name, bare(helper)) != bare(helper):
                raise InputError(f"Two cells of this network have helpers named {name!r} that differ. Rename one.")
        equation = textwrap.indent(f'"""{ast.get_docstring(tree)}\n"""', "    ")
        code = [textwrap.indent(bare(method), "    ") for method in methods]
        classes.append(f"class {cell.__name__}(Cell):\n" + "\n\n".join([equation, *code]))
    return "\n\n\n".join([*helpers.values(), *classes])


def parsed(thing: object) -> ast.stmt:
    """The definition of a class or function."""
    return ast.parse(inspect.getsource(thing)).body[0]  # type: ignore[arg-type]


def bare(node: ast.stmt) -> str:
    """The code without type annotations, whose names the exported file does not have, and without comments."""
    return ast.unparse(ast.fix_missing_locations(_Bare().visit(node)))


class _Bare(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.Assign(targets=[node.target], value=node.value) if node.value else None


def _helpers(tree: ast.Module, users: Sequence[ast.AST]) -> dict[str, ast.stmt]:
    """The module's own functions and constants that `users` name, and those that these name in turn."""
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
    found: dict[str, ast.stmt] = {}
    waiting: list[ast.AST] = list(users)
    while waiting:
        names = [inner.id for inner in ast.walk(waiting.pop()) if isinstance(inner, ast.Name)]
        for name in names:
            if name in defined and name not in found:
                found[name] = defined[name]
                waiting.append(defined[name])
    return {name: node for name, node in defined.items() if name in found}  # in the module's order
