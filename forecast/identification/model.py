"""A trained net, in the units of the data: both loops, the state between them, the next step, k steps ahead; its file.

`series_parallel` feeds back the measured y, `parallel` the net's own. A `State` stands between two rows; either loop
goes on from a state that the other one left, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.identification.nets import Net
from forecast.networks.description import Network
from forecast.networks.inference import feedback
from forecast.networks.inference.export import Units
from forecast.networks.inference.export import export as export_network
from forecast.system import files
from forecast.system.errors import InputError
from forecast.training.narx.experiment import Standardization, columns, refuse_gaps
from forecast.training.narx.net import Memory

Array = npt.NDArray[np.float64]
SCHEMA = 1


@dataclass(frozen=True)
class NetworkMemory:
    """The state of a network's loop, and the inputs (shift, I) that have not acted yet."""

    loop: feedback.LoopState
    inputs: Array


State = Memory | NetworkMemory
"""Before a row: what the net remembers, in scaled units."""


@dataclass(frozen=True)
class LoopRun:
    """The output of a loop, `y (T, O)`, and the state after its last row."""

    y: Array
    state: State


@dataclass(frozen=True)
class TrainingRecord:
    """How the weights were found: why training stopped, the curve of (iteration, train, validation, mu), and the mean
    squared one-step error of train, validation and test rows in the units of y."""

    reason: str = ""
    curve: tuple[tuple[int, float, float, float], ...] = ()
    performance: Mapping[str, float] = field(default_factory=dict)
    loop: str = "series-parallel"


@dataclass(frozen=True)
class NetworkLoop:
    """The loops of any net, with the methods of `Narx`: its network, whose row t holds y[t-1] and u[t - shift]."""

    network: Network
    shift: int

    def flat(self, weights: Mapping[str, Array]) -> Mapping[str, Array]:
        """A network takes its weights by name."""
        return weights

    def empty(self, weights: Mapping[str, Array]) -> NetworkMemory:
        shapes = self.network.shapes
        loop = feedback.begin(self.network, weights, np.zeros((1, shapes.outputs)))
        return NetworkMemory(loop, np.zeros((self.shift, shapes.channels - shapes.outputs)))

    def loop(
        self, weights: Mapping[str, Array], before: NetworkMemory, u: Array, y: Array | None = None
    ) -> tuple[Array, NetworkMemory]:
        inputs = np.concatenate([before.inputs, u])
        row = self.network, weights, before.loop, inputs[None, : len(u)]
        run, loop = feedback.parallel(*row) if y is None else feedback.series_parallel(*row, y[None])
        return run[0], NetworkMemory(loop, inputs[len(u) :])

    def ahead(self, weights: Mapping[str, Array], before: NetworkMemory, u: Array, y: Array, steps: int) -> Array:
        drive = np.concatenate([before.inputs, u])[None, : len(u)]
        return feedback.ahead(self.network, weights, before.loop, drive, y[None], steps=steps)[0]


@dataclass(frozen=True)
class Model:
    """A net with its weights (float64, by name) and the scaling of its data."""

    net: Net
    weights: Mapping[str, Array]
    scaling: Standardization
    training: TrainingRecord = TrainingRecord()

    @property
    def inputs(self) -> int:
        return len(self.scaling.u_mean)

    @property
    def outputs(self) -> int:
        return len(self.scaling.y_mean)

    @property
    def start(self) -> int:
        """Rows at the beginning of a series that only fill the delays."""
        return self.net.start

    @property
    def network(self) -> Network:
        return self.net.network(self.inputs, self.outputs)

    def prepare(self, u: npt.ArrayLike | None, y: npt.ArrayLike) -> State:
        """The state after the given rows, delays filled from them (MATLAB's preparets): at least `start` rows."""
        inputs, outputs = self._columns(u, y)
        self.net.check_rows("the series", len(outputs), self.start)
        self.net.check_first(outputs)
        return self._run(inputs, outputs).state

    def series_parallel(self, u: npt.ArrayLike | None, y: npt.ArrayLike, state: State | None = None) -> LoopRun:
        """Open loop: y at every row of y (T, O), forecast from the measured rows before it.

        Without a state the first `start` rows fill the delays and are NaN in the result. Where y is missing, its
        forecast is fed back.
        """
        inputs, outputs = self._columns(u, y)
        if state is not None:
            return self._run(inputs, outputs, state)
        self.net.check_rows("the series", len(outputs), self.start + 1)
        self.net.check_first(outputs)
        run = self._run(inputs, outputs)
        run.y[: self.start] = np.nan
        return run

    def parallel(self, u: npt.ArrayLike | None, start: npt.ArrayLike | State, *, rows: int | None = None) -> LoopRun:
        """Closed loop under u (T, I), or over `rows` rows of a net without inputs.

        From a `State`, every row is the net's own. From the first measured rows of y, at least `Model.start` of them,
        those rows are returned as they are and the free run follows. `ModelFailure` when it is no longer finite.
        """
        feedback.refuse_open(self.network)
        inputs = self._inputs(u, rows)
        if isinstance(start, State):
            return self._run(inputs, None, start)
        measured = _table("y", start, self.outputs)
        if not self.start <= len(measured) <= len(inputs):
            raise InputError(
                f"A free run of {self.net.kind} over {len(inputs)} rows got {len(measured)} measured rows of y to "
                f"start from; wanted at least {self.start} and no more than the rows of u."
            )
        run = self._run(inputs[len(measured) :], None, self.prepare(inputs[: len(measured)], measured))
        return LoopRun(np.concatenate([measured, run.y]), run.state)

    def removedelay(self, u: npt.ArrayLike | None, y: npt.ArrayLike, u_next: npt.ArrayLike | None = None) -> Array:
        """(T, O) the genuine next step: row t holds the forecast of t + 1 made at t, the last one of an unseen row.

        A net whose y[t] depends on u[t] itself needs the input of that row, `u_next` (I,).
        """
        inputs, outputs = self._columns(u, y)
        if self.inputs and self.net.shift == 0 and u_next is None:
            raise InputError(
                f"{self.net.kind} uses u of the very row it forecasts; the next step needs `u_next`, the input then. "
                "Give it, or train a net whose input delays begin at 1."
            )
        beyond = np.zeros(self.inputs) if u_next is None else np.asarray(u_next, np.float64)
        longer = np.vstack([inputs, np.reshape(beyond, (1, self.inputs))])
        run = self.series_parallel(longer, np.vstack([outputs, np.full((1, self.outputs), np.nan)]))
        return run.y[1:]

    def ahead(self, u: npt.ArrayLike | None, y: npt.ArrayLike, *, steps: int) -> Array:
        """(T - steps, steps, O): at row t the closed-loop forecasts of t + 1 ... t + steps under the inputs given."""
        feedback.refuse_open(self.network)
        inputs, outputs = self._columns(u, y)
        self.net.check_rows("the series", len(outputs), self.start + 1)
        rows = len(outputs) - self.start
        if not 1 <= steps < rows:
            raise InputError(f"{steps} steps ahead of {rows} rows; wanted at least 1 and fewer than the rows.")
        state = self.prepare(inputs[: self.start], outputs[: self.start])
        later = self.scaling.scale_u(inputs[self.start :]), self.scaling.scale_y(outputs[self.start :])
        loop, weights = self._loop()
        found = loop.ahead(weights, state, *later, steps)
        feedback.require_finite(found)
        first = np.full((self.start, steps, self.outputs), np.nan)
        return np.concatenate([first, self.scaling.unscale_y(found)])

    def save(self, folder: Path) -> None:
        """Net, scaling and weights as text and plain arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA, "net": asdict(self.net), "training": asdict(self.training)}
        files.write_json(folder / "model.json", content)
        scaling = {f"scaling:{name}": value for name, value in vars(self.scaling).items()}
        files.write_arrays(folder / "weights.npz", {**self.weights, **scaling})

    @classmethod
    def load(cls, folder: Path) -> Model:
        """What `save` wrote."""
        content = files.read_saved(folder / "model.json", SCHEMA)
        arrays = files.read_arrays(folder / "weights.npz")
        scaling = {each.name: arrays.pop(f"scaling:{each.name}") for each in fields(Standardization)}
        net: dict[str, Any] = {name: _tuples(value) for name, value in content["net"].items()}
        training = content["training"] | {"curve": tuple(tuple(point) for point in content["training"]["curve"])}
        return cls(Net(**net), arrays, Standardization(**scaling), TrainingRecord(**training))

    def _loop(self) -> tuple[Any, Any]:
        """The numerics of both loops, and the weights in their form."""
        shape = self.inputs, self.outputs
        loop = self.net.narx(*shape) if self.net.is_narx else NetworkLoop(self.network, self.net.shift)
        return loop, loop.flat(self.weights)

    def _run(self, u: Array, y: Array | None, state: State | None = None) -> LoopRun:
        """From the state, or from one whose delays hold zeros; y None: closed loop."""
        loop, weights = self._loop()
        z = None if y is None else self.scaling.scale_y(y)
        run, after = loop.loop(weights, state or loop.empty(weights), self.scaling.scale_u(u), z)
        if y is None:
            feedback.require_finite(run[None])
        return LoopRun(self.scaling.unscale_y(run), after)

    def _columns(self, u: npt.ArrayLike | None, y: npt.ArrayLike) -> tuple[Array, Array]:
        outputs = _table("y", y, self.outputs)
        inputs = self._inputs(u, len(outputs))
        if len(inputs) != len(outputs):
            raise InputError(f"u has {len(inputs)} rows and y has {len(outputs)}; wanted one of each for every time.")
        return inputs, outputs

    def _inputs(self, u: npt.ArrayLike | None, rows: int | None) -> Array:
        if u is None and self.inputs == 0:
            if rows is None:
                raise InputError(f"A free run of {self.net.kind} without inputs needs `rows`, its number of rows.")
            return np.zeros((rows, 0))
        found = _table("u", np.zeros((0, 0)) if u is None else u, self.inputs)
        refuse_gaps(found)
        return found


def export(model: Model, path: Path | str, *, description: str = "") -> None:
    """Write the net as one Python file, `path` (ending in .py), that needs NumPy alone (MATLAB's genFunction).

    Beside the functions of every exported network (`networks.inference.export`) it has, in the units of the data,
    `predict(u, y)`, the open loop, and for nets with feedback `simulate(u, y_start)`, the closed loop.
    """
    target, scaling = Path(path), model.scaling
    centre, scale = [*scaling.y_mean, *scaling.u_mean], [*scaling.y_scale, *scaling.u_scale]
    about = description or model.net.describe()
    units = Units(centre, scale)
    export_network(model.network, model.weights, target, description=about, units=units)
    text = EXPORTED + (EXPORTED_CLOSED if model.net.feedback else "")
    for name, value in {"SHIFT": model.net.shift, "START": model.start, "INPUTS": model.inputs}.items():
        text = text.replace(f"<{name}>", str(value))
    files.write_text(target, target.read_text(encoding="utf-8") + text)


def _table(name: str, values: npt.ArrayLike, width: int) -> Array:
    found = columns(name, values)
    if found.shape[1] != width:
        raise InputError(f"{name} has {found.shape[1]} columns; this net was trained on {width}.")
    return found


def _tuples(value: object) -> object:
    """Lists of JSON as the tuples they were."""
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


EXPORTED = '''

SHIFT, START, INPUTS = <SHIFT>, <START>, <INPUTS>  # steps from u to y; rows that only fill the delays; columns of u


def predict(u, y):
    """Open loop: y (T, O) forecast at every row of u (T, I) from measured rows; the first START rows are NaN."""
    run = _loop(u, y)
    run[:START] = np.nan
    return run


def _loop(u, y):
    """Row after row; where y ends or is missing, the forecast stands in for it."""
    y = np.asarray(y, float).reshape(len(y), OUTPUTS)
    rows = len(y) if u is None else len(u)
    u = np.zeros((rows, 0)) if u is None else np.asarray(u, float).reshape(rows, INPUTS)
    run, state = np.empty((rows, OUTPUTS)), initial(1)
    last = CENTRE[:OUTPUTS]
    for t in range(rows):
        drive = u[t - SHIFT] if t >= SHIFT else CENTRE[OUTPUTS:]
        out, state = step(state, np.concatenate([last, drive])[None])
        run[t] = out[0, 0, :, 0]
        last = np.where(np.isnan(y[t]), run[t], y[t]) if t < len(y) else run[t]
    return run
'''
EXPORTED_CLOSED = '''

def simulate(u, y_start, rows=None):
    """Closed loop under u (T, I), or over `rows` rows without inputs: the measured first rows, then the free run."""
    y_start = np.asarray(y_start, float).reshape(len(y_start), OUTPUTS)
    if len(y_start) < START:
        raise ValueError(f"y_start has {len(y_start)} rows; the delays need {START}.")
    run = _loop(np.zeros((rows, 0)) if u is None else u, y_start)
    run[: len(y_start)] = y_start
    return run
'''
