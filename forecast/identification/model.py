"""A trained net: both loops, the state between them, the next step and k steps ahead, in the units of the data.

`series_parallel` feeds back the measured y, `parallel` the net's own. A `State` stands between two rows; either loop
goes on from a state that the other one left, and nothing is lost on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import columns, refuse_gaps
from forecast.identification.nets import Net
from forecast.networks.description import Network
from forecast.networks.inference import feedback
from forecast.networks.inference.feedback import LoopState
from forecast.system import files
from forecast.system.errors import InputError
from forecast.training.narx.narx_signals import Scaling

Array = npt.NDArray[np.float64]
SCHEMA = 1


@dataclass(frozen=True)
class State:
    """Before a row: the loop, and the inputs (shift, I), scaled, that are still on their way."""

    loop: LoopState
    inputs: Array


@dataclass(frozen=True)
class Run:
    """What a loop gave, `y (T, O)`, and the state after its last row."""

    y: Array
    state: State


@dataclass(frozen=True)
class Training:
    """How the weights were found: why it stopped, the curve of (iteration, train, validation, mu), and the mean
    squared one-step error of each part of the rows in the units of y."""

    reason: str = ""
    curve: tuple[tuple[int, float, float, float], ...] = ()
    performance: Mapping[str, float] = field(default_factory=dict)
    loop: str = "series-parallel"


@dataclass(frozen=True)
class Model:
    """A net with its weights (float64, by name) and the scaling of its data."""

    net: Net
    weights: Mapping[str, Array]
    scaling: Scaling
    training: Training = Training()

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
        if len(outputs) < self.start:
            raise InputError(
                f"{self.net.kind} has delays that reach {self.start} rows back; the series has {len(outputs)}. Give "
                "at least as many measured rows, or take shorter delays."
            )
        self._check_first(outputs)
        return self._run(inputs, outputs, self._empty()).state

    def series_parallel(self, u: npt.ArrayLike | None, y: npt.ArrayLike, state: State | None = None) -> Run:
        """Open loop: y at every row of y (T, O), forecast from the measured rows before it.

        Without a state the first `start` rows fill the delays and are NaN in the result. Where y is missing, the
        forecast stands in for it.
        """
        inputs, outputs = self._columns(u, y)
        if state is not None:
            return self._run(inputs, outputs, state)
        self._check_length(outputs)
        self._check_first(outputs)
        run = self._run(inputs, outputs, self._empty())
        run.y[: self.start] = np.nan
        return run

    def parallel(self, u: npt.ArrayLike | None, start: npt.ArrayLike | State, *, rows: int | None = None) -> Run:
        """Closed loop under u (T, I), or over `rows` rows of a net without inputs.

        From a `State`, every row is the net's own. From the first measured rows of y, at least `Model.start` of them,
        those rows are given back as they are and the free run follows. `ModelFailure` when the loop explodes.
        """
        feedback.refuse_open(self.network)
        inputs = self._inputs(u, rows)
        if isinstance(start, State):
            return self._free(inputs, start)
        measured = self._outputs(start)
        if not self.start <= len(measured) <= len(inputs):
            raise InputError(
                f"A free run of {self.net.kind} over {len(inputs)} rows got {len(measured)} measured rows of y to "
                f"start from; wanted at least {self.start} and no more than the rows of u."
            )
        run = self._free(inputs[len(measured) :], self.prepare(inputs[: len(measured)], measured))
        return Run(np.concatenate([measured, run.y]), run.state)

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
        self._check_length(outputs)
        state = self.prepare(inputs[: self.start], outputs[: self.start])
        drive, _ = self._drive(inputs[self.start :], state)
        z = self.scaling.scale_y(outputs[self.start :])
        found = feedback.ahead(self.network, self.weights, state.loop, drive[None], z[None], steps=steps)[0]
        first = np.full((self.start, steps, self.outputs), np.nan)
        return np.concatenate([first, self.scaling.unscale_y(found)])

    def save(self, folder: Path) -> None:
        """Net, scaling and weights as text and plain arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA, "net": asdict(self.net), "training": asdict(self.training)}
        files.write_json(folder / "model.json", content)
        scaling = {name: getattr(self.scaling, name) for name in ("u_mean", "u_scale", "y_mean", "y_scale")}
        files.write_arrays(folder / "weights.npz", {**self.weights, **{f"scaling:{k}": v for k, v in scaling.items()}})

    @classmethod
    def load(cls, folder: Path) -> Model:
        """What `save` wrote."""
        content = files.read_saved(folder / "model.json", SCHEMA)
        arrays = files.read_arrays(folder / "weights.npz")
        scaling = {name: arrays.pop(f"scaling:{name}") for name in ("u_mean", "u_scale", "y_mean", "y_scale")}
        net: dict[str, Any] = {name: _tuples(value) for name, value in content["net"].items()}
        training = content["training"] | {"curve": tuple(tuple(point) for point in content["training"]["curve"])}
        return cls(Net(**net), arrays, Scaling(**scaling), Training(**training))

    def _empty(self) -> State:
        """The state of a net that has seen nothing; `start` rows later none of its zeros is left in a delay."""
        loop = feedback.begin(self.network, self.weights, np.zeros((1, self.outputs)))
        return State(loop, np.zeros((self.net.shift, self.inputs)))

    def _drive(self, u: Array, state: State) -> tuple[Array, Array]:
        """The inputs that act at each row of u, scaled, and those that are still on their way after it."""
        coming = np.concatenate([state.inputs, self.scaling.scale_u(u)])
        return coming[: len(u)], coming[len(u) :]

    def _run(self, u: Array, y: Array, state: State) -> Run:
        drive, waiting = self._drive(u, state)
        z = self.scaling.scale_y(y)
        run, loop = feedback.series_parallel(self.network, self.weights, state.loop, drive[None], z[None])
        return Run(self.scaling.unscale_y(run[0]), State(loop, waiting))

    def _free(self, u: Array, state: State) -> Run:
        drive, waiting = self._drive(u, state)
        run, loop = feedback.parallel(self.network, self.weights, state.loop, drive[None])
        return Run(self.scaling.unscale_y(run[0]), State(loop, waiting))

    def _columns(self, u: npt.ArrayLike | None, y: npt.ArrayLike) -> tuple[Array, Array]:
        outputs = self._outputs(y)
        inputs = self._inputs(u, len(outputs))
        if len(inputs) != len(outputs):
            raise InputError(f"u has {len(inputs)} rows and y has {len(outputs)}; wanted one of each for every time.")
        return inputs, outputs

    def _inputs(self, u: npt.ArrayLike | None, rows: int | None) -> Array:
        if u is None and self.inputs == 0:
            if rows is None:
                raise InputError(f"A free run of {self.net.kind} without inputs needs `rows`, its number of rows.")
            return np.zeros((rows, 0))
        found = columns("u", np.zeros((0, 0)) if u is None else u)
        if found.shape[1] != self.inputs:
            raise InputError(f"u has {found.shape[1]} columns; this net was trained on {self.inputs}.")
        refuse_gaps(found)
        return found

    def _outputs(self, y: npt.ArrayLike) -> Array:
        found = columns("y", y)
        if found.shape[1] != self.outputs:
            raise InputError(f"y has {found.shape[1]} columns; this net was trained on {self.outputs}.")
        return found

    def _check_length(self, y: Array) -> None:
        if len(y) <= self.start:
            raise InputError(
                f"{self.net.kind} has delays that reach {self.start} rows back; the series has {len(y)} rows, at "
                f"least {self.start + 1} are needed. Give a longer series, or take shorter delays."
            )

    def _check_first(self, y: Array) -> None:
        if self.net.feedback and np.isnan(y[: self.start]).any():
            raise InputError(
                f"y is missing in the first {self.start} rows, from which the delays are filled. Begin the series "
                "where they are all measured."
            )


def _tuples(value: object) -> object:
    """Lists of JSON as the tuples they were."""
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
