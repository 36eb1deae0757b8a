"""Networks as `LeastSquares` problems for Levenberg-Marquardt: residuals of whole series, and their
exact derivatives.

`make_problem` gives the problem of a network: a `OneLayerProblem` where the network is one hidden
layer, or none, over taps of the past, else a `NetworkProblem`; `fit` trains it from several starts.

Each series is one run from a reset state; its first `burn_in` rows are not counted. The loss is the
squared error of all forecasts at every step, in float64.

Derivatives are computed forward in time: every block passes on its output and the derivatives of
the output by the weights. Those of a cell's step come from its equation by the complex step, f'(x)
= Im f(x + ih) / h with h = 1e-30, exact to rounding (Squire & Trapp 1998). Real-time recurrent
learning (Williams & Zipser 1989) then joins the steps:

    ds_t/dw = (df/ds)_t ds_{t-1}/dw + (df/dx)_t dx_t/dw + (df/dw)_t

Where a cell stops its gradient (Elman), the derivatives here are those of the function, not of its
training rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from forecast.networks import inference
from forecast.networks.description import Block, Dense, Network, Parallel, Taps
from forecast.networks.inference.batch import future_frames
from forecast.networks.weights import future_width, initialise, weight_specs, widest_columns
from forecast.training import levenberg_marquardt as lm
from forecast.training.chunks import TrainingSeries, Weights
from forecast.training.forward_mode import ForwardMode, Signal
from forecast.training.levenberg_marquardt import Array
from forecast.training.one_layer import OneLayer


class NetworkProblem(lm.LeastSquares):
    """The `LeastSquares` problem of a network with a point forecast at every step. The flat vector
    of weights has all of them, in the order of `first_column_of`.
    """

    def __init__(
        self,
        network: Network,
        series: Sequence[TrainingSeries],
        validate: Callable[[Weights], float] | None = None,
        *,
        burn_in: int = 0,
    ) -> None:
        """validate: gives the error of weights by name, which chooses the weights to keep. burn_in:
        how many first rows of each of `series` are not counted.
        """
        self.network = network
        if validate is not None:
            self.validate = lambda flat: validate(self.weights_by_name(flat))
        self.series = series
        self.weight_specs = weight_specs(network)
        sizes = [int(np.prod(weight.shape)) for weight in self.weight_specs.values()]
        firsts = np.cumsum([0, *sizes[:-1]]).tolist()
        self.first_column_of = dict(zip(self.weight_specs, firsts, strict=True))
        self.n_weights = sum(sizes)
        self.residual_weights = [each.sample_weight.astype(np.float64) for each in series]
        for weight in self.residual_weights:
            weight[:burn_in] = 0.0
        self.n_residuals = sum(int(np.count_nonzero(weight)) for weight in self.residual_weights)

    def __deepcopy__(self, memo: object) -> NetworkProblem:
        """Itself: no training changes it, and a copy of its series would double the memory."""
        return self

    def draw_start(self, seed: int) -> Array:
        """The flat vector of the first weights that `seed` draws. The read-out has small random
        values, because with the zeros of `initialise` the derivatives by all earlier weights would
        be zero.
        """
        weights = initialise(self.network, seed, "float64")
        rng = np.random.default_rng(seed)
        weights["readout/kernel"] = 0.1 * rng.normal(size=weights["readout/kernel"].shape)
        return np.concatenate([weights[name].ravel() for name in self.first_column_of])

    def weights_by_name(self, flat: Array) -> Weights:
        """The network's weights by name and shape, from the flat vector."""
        weights = {}
        for name, first in self.first_column_of.items():
            shape = self.weight_specs[name].shape
            weights[name] = flat[first : first + int(np.prod(shape))].reshape(shape)
        return weights

    def residuals(self, weights: Array) -> Array:
        """The weighted residuals of all series, one after the other."""
        network_weights = self.weights_by_name(weights)
        residuals = []
        for series, weight in zip(self.series, self.residual_weights, strict=True):
            past = series.past[None].astype(np.float64)
            future = series.future[None].astype(np.float64)
            output = inference.forward(self.network, network_weights, past, future)[0, ..., 0]
            residuals.append(((output - series.target) * weight).ravel())
        return np.concatenate(residuals)

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals and their derivatives, see `levenberg_marquardt.LeastSquares`."""
        network_weights = self.weights_by_name(weights)
        rows = max(1, lm.block_rows(self.n_weights, 3 * widest_columns(self.network)))
        for series, series_weight in zip(self.series, self.residual_weights, strict=True):
            run = ForwardMode(self.network, network_weights, self.first_column_of)
            frames = self._future_frames(series)
            for first in range(0, len(series.past), rows):
                block = slice(first, first + rows)
                output = run.advance(series.past[block].astype(np.float64), frames[block])
                shape = output.value.shape
                weight = series_weight[block].reshape(shape)
                residual = (output.value - series.target[block].reshape(shape)) * weight
                jacobian = (output.tangent * weight[:, :, None]).reshape(-1, self.n_weights)
                yield residual.ravel(), np.ascontiguousarray(jacobian.T)

    def _future_frames(self, series: TrainingSeries) -> Array:
        """(T, H * F): at row t the known-future inputs of t + 1 ... t + H."""
        future = series.future[None].astype(np.float64)
        frames = future_frames(future, self.network.shapes.horizon, len(series.past))[..., 0]
        return frames.reshape(len(frames), self.network.shapes.horizon * future.shape[2])


class OneLayerProblem(NetworkProblem):
    """A faster `NetworkProblem` for one hidden layer, or none, over taps of the past: all rows at
    once by `OneLayer`.

    The outputs of the taps are computed once, as they have no weights; rows without a counted
    target are left out.
    """

    def __init__(
        self,
        network: Network,
        series: Sequence[TrainingSeries],
        validate: Callable[[Weights], float] | None = None,
        *,
        burn_in: int = 0,
    ) -> None:
        """As in `NetworkProblem`; `find_hidden_layer` must not be None for the network."""
        super().__init__(network, series, validate, burn_in=burn_in)
        taps = network.blocks[: _count_tap_blocks(network.blocks)]
        tapped = []
        for each in series:
            past = Signal.of_inputs(np.asarray(each.past, np.float64))
            tapped.append(ForwardMode(network, {}, {}).visit_series(taps, "", past).value)
        weight = _rows_of_all(self.residual_weights)
        target = _rows_of_all([each.target for each in series])
        used = weight.any(axis=1)
        self.z = np.concatenate(tapped)[used]
        self.target = target[used]
        self.weight = weight[used]
        path = find_hidden_layer(network) or ""
        hidden = self.weight_specs[f"{path}/bias"].shape[0] if path else 0
        linear = self.weight_specs["readout/kernel"].shape[0] > hidden
        self.layer = OneLayer(self.z.shape[1], hidden, self.target.shape[1], linear)
        # flattening their indices instead of weights tells where each weight of the layer is in the
        # network's flat vector
        order = self.layer.flatten(
            self.weights_by_name(np.arange(self.n_weights, dtype=np.float64)), path
        )
        self.order = np.asarray(order, np.int64)

    def residuals(self, weights: Array) -> Array:
        """The weighted residuals of all series, one after the other, without the rows left out."""
        return ((self.layer.value(weights[self.order], self.z) - self.target) * self.weight).ravel()

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows,) and the transposed Jacobian (n_weights, rows), block after block."""
        rows = lm.block_rows(self.n_weights, self.layer.outputs)
        flat = weights[self.order]
        for first in range(0, len(self.z), rows):
            part = slice(first, first + rows)
            output = self.layer.value(flat, self.z[part])
            residual = (output - self.target[part]) * self.weight[part]
            jacobian = self.layer.jacobian(flat, self.z[part])
            jacobian *= self.weight[part]
            yield residual.ravel(), jacobian[np.argsort(self.order)].reshape(self.n_weights, -1)


def _rows_of_all(arrays: Sequence[Array]) -> Array:
    """`arrays` (rows, ...) reshaped to (rows, columns) and joined along their rows."""
    return np.concatenate([each.reshape(len(each), -1) for each in arrays])


def find_hidden_layer(network: Network) -> str | None:
    """The path of the single tanh layer after the taps; "" where the taps are read out directly;
    None for any other network, for which `OneLayerProblem` cannot be used.
    """
    match network.blocks[_count_tap_blocks(network.blocks) :]:
        case _ if future_width(network):
            return None
        case ():
            return ""
        case (Dense(name, activation="tanh", principal_of=None),):
            return name
        case (Parallel(name, ((Dense(inner, activation="tanh", principal_of=None),), ())),):
            return f"{name}/0/{inner}"
    return None


def _count_tap_blocks(blocks: Sequence[Block]) -> int:
    """How many of the first blocks are taps, alone or side by side in a parallel block."""
    for count, block in enumerate(blocks):
        branches = block.branches if isinstance(block, Parallel) else ((block,),)
        for branch in branches:
            if not branch or not all(isinstance(inner, Taps) for inner in branch):
                return count
    return len(blocks)


def make_problem(
    network: Network,
    series: Sequence[TrainingSeries],
    validate: Callable[[Weights], float] | None = None,
    *,
    burn_in: int = 0,
) -> NetworkProblem:
    """The problem of a network over whole `series`, in the faster form where the network allows it.
    Without `validate` the training loss chooses the weights. The first `burn_in` rows of each
    series are not counted.
    """
    has_one_layer = find_hidden_layer(network) is not None
    problem_class = OneLayerProblem if has_one_layer else NetworkProblem
    return problem_class(network, series, validate, burn_in=burn_in)


def restart_seeds(seed: int, restarts: int) -> list[int]:
    """The seeds of `restarts` starts in all: `seed` itself, then seeds drawn from it."""
    others = np.random.SeedSequence(seed).generate_state(restarts - 1)
    return [seed, *(int(other) for other in others)]


def fit(
    problem: NetworkProblem,
    *,
    seeds: Sequence[int],
    options: lm.Options | None = None,
    announce: Callable[[str], None] | None = None,
    watch: lm.Watch | None = None,
) -> tuple[Weights, lm.Result]:
    """The best weights by name (float64) over a random start for each of `seeds`, and the `Result`
    they are from, which has them in one vector. The best have the lowest `Result.score`. Errors
    and interruptions are those of `minimise`, which goes on where single starts diverge.
    """
    starts = [problem.draw_start(seed) for seed in seeds]
    run = lm.minimise(problem, *starts, options=options, announce=announce, watch=watch)
    return problem.weights_by_name(run.weights), run
