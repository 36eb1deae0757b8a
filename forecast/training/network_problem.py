"""Levenberg-Marquardt for the networks of the catalogue: the residuals are what the network leaves of its targets.

Each series is one run from a reset state; its first `warm_up` rows are not counted. The loss is the squared error, in
float64, of everything the network forecasts at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from forecast.networks import inference
from forecast.networks.cells.weights import initialise, weight_shapes, widest
from forecast.networks.description import Block, Network, Parallel, Recurrent
from forecast.system.errors import InputError
from forecast.training import levenberg_marquardt as lm
from forecast.training.chunks import TrainingSeries
from forecast.training.forward_mode import ForwardMode

Array = npt.NDArray[np.float64]
Weights = dict[str, Array]
Validate = Callable[[Weights], float]


class NetworkProblem:
    """A `levenberg_marquardt.Problem` over whole series; `validate` gets weights by name, as in `gradient.fit`."""

    def __init__(
        self, network: Network, series: Sequence[TrainingSeries], validate: Validate | None = None, *, warm_up: int = 0
    ) -> None:
        if not network.every_step or network.shapes.parameters != 1:
            raise InputError(
                "Levenberg-Marquardt needs a point forecast at every step; this network forecasts "
                f"{network.shapes.parameters} parameters, every_step={network.every_step}. Train it with Adam."
            )
        self.network, self.validate, self.warm_up = network, validate, warm_up
        self.series = series
        self.shapes = weight_shapes(network)
        trained = [name for name, weight in self.shapes.items() if weight.trainable]
        sizes = [int(np.prod(self.shapes[name].shape)) for name in trained]
        self.places = dict(zip(trained, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.fixed: Weights = {}
        self.n_weights = sum(sizes)
        self.weight = [_counted(one, warm_up) for one in series]
        self.n_residuals = sum(int(np.count_nonzero(weight)) for weight in self.weight)
        per_entry = 1e-6 if _recurrent(network.blocks) else 1e-7  # row by row, or all rows of a block at once
        self.overhead = per_entry * self.n_weights * sum(len(one.past) for one in series)

    def start(self, seed: int) -> Array:
        """The flat vector of first weights; the read-out gets small random values, or no unit would learn at first."""
        drawn = initialise(self.network, seed, "float64")
        rng = np.random.default_rng(seed)
        drawn["readout/kernel"] = 0.1 * rng.normal(size=drawn["readout/kernel"].shape)
        self.fixed = {name: value for name, value in drawn.items() if name not in self.places}
        return np.concatenate([drawn[name].ravel() for name in self.places])

    def named(self, flat: Array) -> Weights:
        """Weights by name and shape."""
        found = dict(self.fixed)
        for name, place in self.places.items():
            shape = self.shapes[name].shape
            found[name] = flat[place : place + int(np.prod(shape))].reshape(shape)
        return found

    def residuals(self, weights: Array) -> Array:
        """The weighted errors of all series, one after the other."""
        named, found = self.named(weights), []
        for one, weight in zip(self.series, self.weight, strict=True):
            future = one.future[None].astype(np.float64) if one.future.shape[1] else None
            output = inference.forward(self.network, named, one.past[None].astype(np.float64), future)[0, ..., 0]
            found.append(((output - one.target) * weight).ravel())
        return np.concatenate(found)

    def loss(self, weights: Array) -> float:
        return lm.finite_sum(self.residuals(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        named = self.named(weights)
        rows = max(1, lm.block_rows(self.n_weights, 3 * widest(self.network)))
        for one, weight in zip(self.series, self.weight, strict=True):
            run = ForwardMode(self.network, named, self.places)
            frames = _frames(one, self.network.shapes.horizon)
            for first in range(0, len(one.past), rows):
                part = slice(first, first + rows)
                now = run.rows(one.past[part].astype(np.float64), None if frames is None else frames[part])
                counted = weight[part].reshape(now.value.shape)
                error = (now.value - one.target[part].reshape(now.value.shape)) * counted
                assert now.tangent is not None
                jacobian = (now.tangent * counted[:, :, None]).reshape(-1, self.n_weights)
                yield error.ravel(), np.ascontiguousarray(jacobian.T)

    def validation(self, weights: Array) -> float | None:
        return None if self.validate is None else self.validate(self.named(weights))


def fit(
    network: Network,
    series: Sequence[TrainingSeries],
    validate: Validate | None = None,
    *,
    seed: int,
    warm_up: int = 0,
    restarts: int = 1,
    options: lm.Options | None = None,
    announce: Callable[[str], None] | None = None,
) -> tuple[Weights, lm.Result]:
    """The weights by name, float64, and the run that found them: the best of `restarts` random starts on validation
    (on the training loss without one)."""
    problem = NetworkProblem(network, series, validate, warm_up=warm_up)
    starts = [problem.start(seed + k) for k in range(restarts)]
    run = lm.best_of(problem, starts, options, announce=announce)
    return problem.named(run.weights), run


def _recurrent(blocks: Sequence[Block]) -> bool:
    branches = [branch for block in blocks if isinstance(block, Parallel) for branch in block.branches]
    return any(isinstance(block, Recurrent) for block in blocks) or any(map(_recurrent, branches))


def _counted(one: TrainingSeries, warm_up: int) -> Array:
    weight = one.weight.astype(np.float64)
    weight[:warm_up] = 0.0
    return weight


def _frames(one: TrainingSeries, horizon: int) -> Array | None:
    """(T, H * F): the future rows t + 1 ... t + H of every row t."""
    if not one.future.shape[1]:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(one.future.astype(np.float64), horizon, axis=0)[1:]
    return windows.transpose(0, 2, 1).reshape(len(windows), -1)
