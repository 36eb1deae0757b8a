"""One recurrent layer as a dynamical system: its Jacobian along the states that it visits.

With s_t the layer's states together, J_t = ds_t / ds_{t-1}:

    spectral radius      of W for the simple cells, else of J at the last row; above 1 small
                         disturbances may grow
    Lyapunov exponent    the mean of ln(|d_t| / |d_{t-1}|) for d_t = J_t d_{t-1}, in the second half
                         of the window, where d has turned into the direction that grows most:
                         above 0 the layer amplifies and its gradients explode, far below 0 they
                         vanish (Benettin, Galgani, Giorgilli & Strelcyn 1980)
    decay                |J_k ... J_1| after k rows, the root mean square over directions
    memory               rows until the decay is below 1 %

Derivatives are central differences in float64.

`Walk` passes windows through a network and leaves each recurrent `Layer` with what it read;
`dynamics` gives the `Dynamics` of one. What does not apply, or does not happen within the window,
is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.networks.cells.base import Array, Arrays, Cell, Namespace, numpy_namespace
from forecast.networks.description import ALL_ROWS, CellBlock, Network, weights_at
from forecast.networks.inference.batch import Pass
from forecast.networks.inference.steppers import Stepper

STEP = 1e-6
DIRECTIONS = 8
FORGOTTEN = 0.01
FLAT = 0.05
"""A unit is saturated where its slope is below this share of the steepest slope of its function."""


@dataclass(frozen=True)
class Layer:
    """A recurrent layer and what it reads: `x (T, B, I)`; of the backward pass of a bidirectional
    one in its order.
    """

    path: str
    cell: Cell
    weights: Mapping[str, np.ndarray]
    x: np.ndarray

    @property
    def size(self) -> int:
        """S, the number of its states."""
        return sum(self.cell.states().values())


@dataclass
class SaturationCounter(Namespace):
    """The namespace that counts how many squashed values lie where the function is flat."""

    n_values: int = 0
    n_saturated: int = 0

    def tanh(self, x: Array) -> Array:
        """tanh x, counted."""
        return self._count(np.tanh(x))

    def sigmoid(self, x: Array) -> Array:
        """The logistic function of x, counted."""
        a = super().sigmoid(x)
        self._count(2 * a - 1)
        return a

    def _count(self, a: np.ndarray) -> np.ndarray:
        self.n_values += a.size
        self.n_saturated += int((1 - a * a < FLAT).sum())
        return a

    @property
    def share(self) -> float | None:
        """None where nothing is squashed, as with ReLU."""
        return self.n_saturated / self.n_values if self.n_values else None


def collect_states(layer: Layer, xp: Namespace = numpy_namespace) -> np.ndarray:
    """Every state joined, (T + 1, B, S): the first before row 0."""
    states: Arrays = layer.cell.initial_states(xp, layer.weights, layer.x.shape[1])
    visited = [layer.cell.join_states(states)]
    for row in layer.x:
        _, states = layer.cell.step(xp, layer.weights, row, states)
        visited.append(layer.cell.join_states(states))
    return np.stack(visited)


class Walk(Pass):
    """A pass over whole windows that leaves the recurrent layers, with what each read, in `layers`.

    `dense` counts what the dense blocks squash. Of a bidirectional layer the backward pass is in
    its own order.
    """

    def __init__(self, network: Network, weights: Mapping[str, np.ndarray]) -> None:
        """Begin at zero states; `weights` by name."""
        self.dense = SaturationCounter()
        self.layers: list[Layer] = []
        super().__init__(network, weights, 0, self.dense)

    def through(self, past: np.ndarray, future: np.ndarray | None) -> np.ndarray:
        """past (B, T, C), future (B, T + H, F): forecasts (T, H * O * K, B)."""
        self.batch = len(past)
        dtype = self.weights["readout/kernel"].dtype
        if future is not None:
            future = future.astype(dtype)
        return self.forecasts(past.astype(dtype), future, ALL_ROWS)

    def start_cell(self, block: CellBlock, path: str, x: np.ndarray) -> Stepper:
        """Note the layer and what it reads, x (T, C, B), then start it."""
        cell = block.cell_object
        self.layers.append(Layer(path, cell, weights_at(self.weights, path), x.transpose(0, 2, 1)))
        return super().start_cell(block, path, x)


@dataclass(frozen=True)
class Dynamics:
    """Numbers of one layer, and `decay (T + 1,)`.

    None: does not apply, or does not happen within the window.
    """

    states: int
    spectral_radius: float
    radius_of: str
    lyapunov: float | None
    saturated: float | None
    memory: int | None
    decay: np.ndarray


def dynamics(layer: Layer) -> Dynamics:
    """Radius, exponent, saturation, memory and decay of one recurrent layer, over the windows that
    it was given in `layer.x`; the cell is run once from its initial state.
    """
    watching = SaturationCounter()
    visited = collect_states(layer, watching)
    logs = growth(layer, visited)
    decay = np.sqrt(np.exp(2 * logs).mean(axis=(1, 2)))
    forgotten = np.flatnonzero(decay < FORGOTTEN)
    radius, radius_of = _radius(layer, visited)
    return Dynamics(
        states=layer.size,
        spectral_radius=radius,
        radius_of=radius_of,
        lyapunov=_lyapunov(logs),
        saturated=watching.share,
        memory=int(forgotten[0]) if len(forgotten) else None,
        decay=decay,
    )


def growth(layer: Layer, visited: np.ndarray) -> np.ndarray:
    """ln of the length of disturbances (T + 1, B, P), each of length 1 before row 0; -inf once one
    is exactly gone.
    """
    steps = visited.shape[0] - 1
    batch = visited.shape[1]
    size = layer.size
    count = min(DIRECTIONS, size)
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(size, count)))[0].T
    unit = np.broadcast_to(directions, (batch, count, size)).copy()
    logs = np.zeros((steps + 1, batch, count))
    projected = layer.cell.project(numpy_namespace, layer.weights, layer.x)
    for t in range(steps):
        after = tangent(layer, projected[t], visited[t], unit)
        length = np.linalg.norm(after, axis=2)
        with np.errstate(divide="ignore"):
            logs[t + 1] = logs[t] + np.log(length)
        unit = after / np.where(length > 0, length, 1.0)[:, :, None]
    return logs


def tangent(
    layer: Layer, projected: np.ndarray, states: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """J d of one row: projected (B, ...), states (B, S), directions d (B, P, S) give (B, P, S)."""
    shape = directions.shape
    inputs = np.repeat(projected, shape[1], axis=0)
    ends = []
    for sign in (1, -1):
        moved = (states[:, None] + sign * STEP * directions).reshape(-1, shape[2])
        _, new = layer.cell.advance(
            numpy_namespace, layer.weights, inputs, layer.cell.split_states(moved)
        )
        ends.append(layer.cell.join_states(new))
    return ((ends[0] - ends[1]) / (2 * STEP)).reshape(shape)


def jacobians(layer: Layer, visited: np.ndarray) -> np.ndarray:
    """J at the last row of every window: (B, S, S), `[b, i, j]` the change of state i by state
    j.
    """
    batch = visited.shape[1]
    size = layer.size
    every = np.broadcast_to(np.eye(size), (batch, size, size))
    projected = layer.cell.project(numpy_namespace, layer.weights, layer.x[-1])
    return tangent(layer, projected, visited[-2], every).transpose(0, 2, 1)


def spectral_radius(matrix: np.ndarray) -> float:
    """The largest modulus of an eigenvalue; infinite where the matrix is not, as with a layer that
    has overflown.
    """
    if not np.isfinite(matrix).all():
        return float("inf")
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def _radius(layer: Layer, visited: np.ndarray) -> tuple[float, str]:
    """The spectral radius of a layer and the name of the matrix: of the recurrent weights W where
    the layer's state is a single h, else the mean over windows of that of the Jacobian at the last
    row. visited (T + 1, B, S): the states.
    """
    w = layer.weights.get("recurrent_kernel")
    if list(layer.cell.states()) == ["h"] and w is not None and w.shape == (layer.size, layer.size):
        return spectral_radius(w), "W"
    radii = [spectral_radius(matrix) for matrix in jacobians(layer, visited)]
    return float(np.mean(radii)), "Jacobian"


def _lyapunov(logs: np.ndarray) -> float | None:
    """The mean growth per row of ln |d| over the second half of the window, from `growth`'s (T + 1,
    B, P); None where every disturbance has died out.
    """
    rows = len(logs) - 1
    middle = rows // 2
    alive = np.isfinite(logs[-1])
    if not alive.any():
        return None
    return float(((logs[-1] - logs[middle])[alive] / (rows - middle)).mean())
