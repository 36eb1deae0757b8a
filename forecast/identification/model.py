"""A trained net, or the median of several nets, in the units of the data: what a user works with.

`Model.predict` forecasts one step ahead from measured y (open loop), `Model.simulate` runs free
under u (closed loop). Either goes on from the `State` that the other one left. u and y are (T,
columns); a y given as (T,) comes back as (T,).

Gaps in u, other numbers of columns and too few rows are `InputError`s. A free run that goes too far
from the training record (`LOST_RANGES`) is a `ModelError` that names the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import (
    Array,
    Standardization,
    as_columns,
    check_index,
    order_columns,
    refuse_gaps,
    require_equal_rows,
    require_whole,
)
from forecast.identification.loops import LoopMemory, SetLoop, State, median_run
from forecast.identification.nets import Net, NetSet, check_first_rows
from forecast.networks.description import Network, weights_at
from forecast.networks.inference import streaming
from forecast.system import files
from forecast.system.errors import DamagedError, InputError, ModelError, plural

SCHEMA = 6
BEYOND_RANGE = 0.01  # of the range of an input: a note tells of inputs farther outside
DISAGREEMENT = 0.5  # of the deviation of y: a note tells of nets that differ more on average
LOST_RANGES = 10.0  # of the training record: a free run that far from its middle is lost


@dataclass(frozen=True, repr=False)
class LoopRun:
    """The output of a loop, `y` (T, O) or (T,), the state after its last row, and notes on it."""

    y: Array
    state: State
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Its shape and its notes, without the numbers."""
        return f"<LoopRun {', '.join([f'y {self.y.shape}', *self.notes])}>"


@dataclass(frozen=True)
class TrainingRecord:
    """How a net was trained.

    `reason`: why training stopped; `curve`: (iteration, training error, validation error, mu) of
    every iteration, mean squared errors in scaled units; `loop`: the loop whose error was lowered.
    `performance`: the mean squared one-step error of train, validation and test rows in
    `Model.error_unit`; `free_run`: that of the free run, infinite where it is lost, empty without
    feedback; `for_use`: the loop by whose error on the validation rows the weights were selected;
    `notes`: what its user should know; `effective`: the number of weights that the data determine
    by Bayesian regularisation (trainbr's effective number of parameters), else all.
    """

    reason: str = ""
    curve: tuple[tuple[int, float, float, float], ...] = field(default=(), repr=False)
    performance: Mapping[str, float] = field(default_factory=dict)
    loop: str = "series-parallel"
    free_run: Mapping[str, float] = field(default_factory=dict)
    for_use: str | int = "prediction"
    notes: tuple[str, ...] = field(default=(), repr=False)
    effective: float = 0.0


@dataclass(frozen=True, repr=False)
class Model:
    """A net, or the median of several, with its weights (float64, by name) and the scaling of its
    data.

    `y_range` (2, O), `u_range` (2, I): the least and largest y and u in training, None where not
    known. `names`: of the columns of "u" and "y" where these were frames; the columns of later
    frames are put into this order. `is_vector`: y was given as (T,).
    """

    net: Net | NetSet
    weights: Mapping[str, Array]
    scaling: Standardization
    training: TrainingRecord = TrainingRecord()
    y_range: Array | None = None
    u_range: Array | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_vector: bool = False

    def __repr__(self) -> str:
        """The net and its free-run error, without the weights."""
        error = self.training.free_run.get("validation", self.training.free_run.get("train"))
        rmse = "" if error is None else f"; free-run RMSE {self.describe_rmse(error)}{self.of_what}"
        return f"<Model {self.net.describe().splitlines()[0]}{rmse}>"

    @classmethod
    def average(cls, *models: Model) -> Model:
        """One model whose output is the median of the nets of several models; `InputError` for
        models that were trained on different data.
        """
        if other := [type(m).__name__ for m in models if not isinstance(m, Model)]:
            raise InputError(
                f"Got {other[0]} where a model was wanted. Several are several arguments, of a list"
                " `*models`."
            )
        if not models or any(m.scaling != models[0].scaling for m in models):
            raise InputError(
                "There is no model, or they are scaled by different data. Give models that were"
                " trained on the same rows."
            )
        nets: list[Net] = []
        weights: dict[str, Array] = {}
        for model in models:
            for member in model.members:
                assert isinstance(member.net, Net)
                weights |= {f"{len(nets)}/{name}": w for name, w in member.weights.items()}
                nets.append(member.net)
        return replace(
            models[0], net=NetSet(tuple(nets)), weights=weights, training=TrainingRecord()
        )

    @property
    def members(self) -> tuple[Model, ...]:
        """Each of its nets as a model, without the set's errors; (itself,) for a single net."""
        if isinstance(self.net, Net):
            return (self,)
        training = replace(self.training, free_run={})
        return tuple(
            replace(self, net=net, weights=weights_at(self.weights, str(number)), training=training)
            for number, net in enumerate(self.net.nets)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know: how it was chosen, and whether its free run holds."""
        return self.training.notes

    @property
    def inputs(self) -> int:
        """I, the columns of u."""
        return len(self.scaling.u_mean)

    @property
    def outputs(self) -> int:
        """O, the columns of y."""
        return len(self.scaling.y_mean)

    @property
    def error_unit(self) -> Array:
        """(O,): the unit of errors: that of y, of several outputs the deviation of each."""
        return np.ones(1) if self.outputs == 1 else self.scaling.y_scale

    @property
    def of_what(self) -> str:
        """Text behind errors from `describe_rmse`: what the percentages of several outputs mean."""
        if self.outputs == 1:
            return ""
        return ", of each output's standard deviation in the rows that train"

    def describe_rmse(self, mean_square: float) -> str:
        """The root of a mean square in `error_unit` as text; of several outputs in %."""
        rmse = np.sqrt(mean_square)
        return f"{rmse:.4g}" if self.outputs == 1 else f"{100 * rmse:.3g} %"

    @property
    def start(self) -> int:
        """The measured rows that a run begins with, which fill the delays."""
        return self.net.start

    @property
    def network(self) -> Network:
        """The net in the form of the networks of the catalogue; `InputError` for a set of nets."""
        return self.net.network(self.inputs, self.outputs)

    def prepare(self, u: npt.ArrayLike | None, y: npt.ArrayLike | None = None) -> State:
        """The state after the given rows, at least `start` (MATLAB's preparets). More rows tell
        more of the states that a net has beside y.
        """
        inputs, outputs = self._check_tables(u, y)
        check_first_rows(self.net, "the series", outputs, self.start)
        loop, weights = self.loop_and_weights()
        memory = loop.absorb(weights, self.scaling.scale_u(inputs), self.scaling.scale_y(outputs))
        return State(memory, self._is_vector(y), self.net, self.scaling)

    def predict(
        self, u: npt.ArrayLike | None, y: npt.ArrayLike | None = None, state: State | None = None
    ) -> LoopRun:
        """One-step forecasts (T, O) of every row of y from the measured rows before it.

        Without a state, the first `start` rows fill the delays and are NaN in the result. Where y
        is missing, its forecast is fed back. A net without feedback needs no y.
        """
        inputs, outputs = self._check_tables(u, y)
        if state is not None:
            return self._run(inputs, outputs, state)
        check_first_rows(self.net, "the series", outputs, self.start + 1)
        first_y = outputs[: self.start]
        given = self._as_given(first_y, self._is_vector(y))
        state = self.prepare(inputs[: self.start], given)
        run = self._run(inputs[self.start :], outputs[self.start :], state)
        return replace(
            run, y=np.concatenate([np.full_like(run.y[:1], np.nan).repeat(self.start, 0), run.y])
        )

    def simulate(
        self,
        u: npt.ArrayLike | None,
        start: npt.ArrayLike | State | None = None,
        *,
        rows: int | None = None,
    ) -> LoopRun:
        """The free run (T, O) under u (T, I), or over `rows` rows of a net without inputs.

        `start`: a `State`, or the first measured rows of y, at least `Model.start` of them, which
        are NaN in the result. A net without feedback needs neither.

        `ModelError`, which names the step, where the run is not finite or goes farther from the
        middle of the training record than `LOST_RANGES` times its range.
        """
        given, state, inputs = self._begin_free_run(u, start, rows)
        run = self._run(inputs, None, state)
        return replace(run, y=np.concatenate([given, run.y]))

    series_parallel = predict
    parallel = simulate

    def _begin_free_run(
        self, u: npt.ArrayLike | None, start: npt.ArrayLike | State | None, rows: int | None
    ) -> tuple[Array, State, Array]:
        """NaN in the place of the measured rows, the state after them, and the inputs (T, I) of the
        rows that follow; `InputError` for too few or too many measured rows.
        """
        if start is None:
            if self.net.feedback:
                raise self._missing_rows()
            row = () if self.is_vector else (self.outputs,)
            start = np.full((self.start, *row), np.nan)
        check_index(u)
        inputs = self._inputs(u, rows)
        if isinstance(start, State):
            shape = (0,) if start.is_vector else (0, self.outputs)
            return np.zeros(shape), start, inputs
        measured = self._table("y", start, self.outputs)
        if not self.start <= len(measured) < len(inputs):
            raise InputError(
                f"A free run of {self.net.kind} got rows of u: {len(inputs)}, measured rows of y:"
                f" {len(measured)}; wanted at least {self.start} of y to start from, fewer than of"
                f" u: y[:{self.start}]. One-step forecasts of all rows are `predict(u, y)`."
            )
        state = self.prepare(inputs[: len(measured)], start)
        given = self._as_given(np.full_like(measured, np.nan), state.is_vector)
        return given, state, inputs[len(measured) :]

    def removedelay(
        self,
        u: npt.ArrayLike | None,
        y: npt.ArrayLike | None = None,
        u_next: npt.ArrayLike | None = None,
    ) -> Array:
        """(T, O): in row t the forecast of row t + 1, in the last row that of the row after y; (T,)
        for such a y. Rows whose delays are not filled are NaN.

        A net whose y[t] depends on u[t] needs the input of the row after y, `u_next` (I,);
        `InputError` without.
        """
        inputs, outputs = self._check_tables(u, y)
        if self.inputs and u_next is None:
            nets = [self.net] if isinstance(self.net, Net) else self.net.nets
            if 0 in [net.shift + min(map(min, net.held_back_rows), default=0) for net in nets]:
                raise InputError(
                    f"{self.net.kind} uses u of the very row it forecasts; the next step needs"
                    " `u_next`, the input then. Give it, or train a net whose input delays begin"
                    " at 1."
                )
        last_input = np.zeros(self.inputs) if u_next is None else u_next
        last_row = self._table("u_next", np.reshape(last_input, (1, -1)), self.inputs)
        unseen = np.full((1, self.outputs), np.nan)
        run = self.predict(np.vstack([inputs, last_row]), np.vstack([outputs, unseen]))
        return self._as_given(run.y[1:], self._is_vector(y))

    def ahead(
        self, u: npt.ArrayLike | None, y: npt.ArrayLike | None = None, *, steps: int
    ) -> Array:
        """(T - steps, steps, O): in row t the closed-loop forecasts of the next `steps` rows under
        the given inputs, NaN in the first `start` rows; (T - steps, steps) for a y (T,).
        `InputError` unless 1 <= steps < T - start, and without feedback; `ModelError` as in
        `simulate`.
        """
        self.refuse_open()
        inputs, outputs = self._check_tables(u, y)
        state = self.prepare(inputs[: self.start], outputs[: self.start])
        rows = len(outputs) - self.start
        if steps not in range(1, rows):
            raise InputError(
                f"`steps` is {steps}, the rows are {rows}; wanted at least 1 and fewer than the"
                " rows."
            )
        loop, weights = self.loop_and_weights()
        u_after = self.scaling.scale_u(inputs[self.start :])
        y_after = self.scaling.scale_y(outputs[self.start :])
        scaled = loop.ahead(weights, state.memory, u_after, y_after, steps)
        forecasts = self.scaling.unscale_y(scaled)
        self._require_on_record(forecasts)
        not_run = np.full((self.start, steps, self.outputs), np.nan)
        whole = np.concatenate([not_run, forecasts])
        return whole[..., 0] if self._is_vector(y) else whole

    def spread(
        self,
        u: npt.ArrayLike | None,
        start: npt.ArrayLike | State | None = None,
        *,
        rows: int | None = None,
    ) -> Array:
        """The standard deviation over the free runs of its nets, in the shape of `simulate`; NaN
        for a single net and in the measured rows.

        It is no error bar: all nets learnt from the same rows and may be wrong alike, and their
        median is nearer to y than most of them. Measure errors on rows that did not train.
        """
        given, state, inputs = self._begin_free_run(u, start, rows)
        spread = self._spread_of(self._member_runs(inputs, None, state)[0])
        return np.concatenate([given, self._as_given(spread, state.is_vector)])

    def _member_runs(self, u: Array, y: Array | None, state: State) -> tuple[Array, LoopMemory]:
        """(nets, T, O), scaled: the run of each net from the state, free where `y` is None, and the
        memory after it.
        """
        loop, weights = self.loop_and_weights()
        inputs = self.scaling.scale_u(u)
        measured = None if y is None else self.scaling.scale_y(y)
        if isinstance(loop, SetLoop):
            return loop.member_runs(weights, state.memory, inputs, measured)
        run, after = loop.loop(weights, state.memory, inputs, measured)
        return loop.bounded(run)[None], after

    def _spread_of(self, runs: Array) -> Array:
        """(T, O): the deviation of runs (nets, T, O), in the units of y; NaN for a single run."""
        if len(runs) == 1:
            return np.full(runs.shape[1:], np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # of runs that are lost
            return runs.std(axis=0) * self.scaling.y_scale

    def _describe_unseen_inputs(self, u: Array, runs: Array, is_free: bool) -> tuple[str, ...]:
        """Notes: where u (T, I) leaves its range in training, how far, and how much the nets differ
        there; and where the nets of a free run differ in the other rows.
        """
        if self.u_range is None or not len(u):
            return ()
        low, high = self.u_range
        excess = np.maximum(low - u, u - high) / np.where(high > low, high - low, np.inf)
        is_beyond = (excess > BEYOND_RANGE).any(axis=1)
        spread = self._spread_of(runs)
        within = spread[~is_beyond]
        notes: tuple[str, ...] = ()
        limit = DISAGREEMENT * self.scaling.y_scale
        if is_free and len(within) and (within.mean(axis=0) > limit).any():
            notes += (
                f"The nets differ by {_list_means(within)} (standard deviation) where u is within"
                " the range of training: some began in another state than the others, or have lost"
                " the system. Give more measured rows to start from; if they differ as much then,"
                " trust no long free run.",
            )
        if is_beyond.any():
            nets = "a single net does not tell how sure it is there"
            if len(runs) > 1:
                nets = f"the nets differ by {_list_means(spread[is_beyond])} there"
            notes += (
                f"In {is_beyond.sum()} of {len(u)} rows u leaves the range it was trained on, by up"
                f" to {100 * excess.max():.0f} % of it: {nets}.",
            )
        return notes

    def _is_vector(self, y: npt.ArrayLike | None) -> bool:
        """Whether y was given as (T,); without a y, whether that of training was."""
        return self.is_vector if y is None else np.ndim(y) == 1

    @staticmethod
    def _as_given(run: Array, is_vector: bool) -> Array:
        """A run (T, O) in the form in which y was given."""
        return run[:, 0] if is_vector else run

    def save(self, folder: Path | str) -> None:
        """Write the model into `folder` as text and plain arrays, for `load`; `InputError` where
        that is a file.
        """
        folder = Path(folder)
        if folder.is_file():
            raise InputError(f"{folder} is a file; a model is saved as a folder. Name another.")
        folder.mkdir(parents=True, exist_ok=True)
        # and as text what JSON has no number for: a free run that was lost
        training = json.loads(
            json.dumps(asdict(self.training)), parse_constant=lambda word: str(float(word))
        )
        content = {
            "schema": SCHEMA,
            "net": asdict(self.net),
            "training": training,
            "names": self.names,
            "is_vector": self.is_vector,
        }
        files.write_json(folder / "model.json", content)
        tables = {**vars(self.scaling), "y_range": self.y_range, "u_range": self.u_range}
        known = {f"data:{name}": table for name, table in tables.items() if table is not None}
        files.write_arrays(folder / "weights.npz", {**self.weights, **known})

    @classmethod
    def load(cls, folder: Path | str) -> Model:
        """The model that `save` wrote; `InputError` where the folder does not exist,
        `DamagedError` where a part of it is missing or damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Give the one that `Model.save` wrote.")
        content: Any = _from_json(files.read_saved(folder / "model.json", SCHEMA))
        try:
            arrays = files.read_arrays(folder / "weights.npz")
            scaling = {
                field.name: arrays.pop(f"data:{field.name}") for field in fields(Standardization)
            }
            y_range, u_range = (arrays.pop(f"data:{name}", None) for name in ("y_range", "u_range"))
            net: Net | NetSet
            if nets := content["net"].get("nets"):
                net = NetSet(tuple(Net(**each) for each in nets))
            else:
                net = Net(**content["net"])
            return cls(
                net,
                arrays,
                Standardization(**scaling),
                TrainingRecord(**content["training"]),
                y_range,
                u_range,
                content["names"],
                content["is_vector"],
            )
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise DamagedError(f"{folder}: is no whole model ({error!r}). Save it again.") from None

    def loop_and_weights(self) -> tuple[Any, Any]:
        """Its loop (`loops`), and the weights in the form that the loop takes."""
        loop = self.net.loop(self.inputs, self.outputs)
        return loop, loop.flatten(self.weights)

    def refuse_open(self) -> None:
        """`InputError` for a net without feedback."""
        if not self.net.feedback:
            raise InputError(
                f"{self.net.kind} feeds no forecast back: there is no loop to close. Use `predict`."
            )

    def _run(self, u: Array, y: Array | None, state: State) -> LoopRun:
        """The run from the state, free where `y` is None; `InputError` for the state of another
        net, or of one with another scaling, in which all memory is.
        """
        if state.net != self.net or state.scaling != self.scaling:
            raise InputError(
                f"The state is that of another net than this {self.net.kind}, or of one trained on"
                " other rows. Take one of this model."
            )
        runs, after = self._member_runs(u, y, state)
        run = self.scaling.unscale_y(median_run(runs))
        is_free = y is None and self.net.feedback
        notes = self._describe_unseen_inputs(u, runs, is_free)
        if is_free:
            self._require_on_record(run[None], notes)
        return LoopRun(self._as_given(run, state.is_vector), replace(state, memory=after), notes)

    @property
    def middle_and_limit(self) -> Array:
        """(2, O): the middle of y in training, and how far from it a free run may go."""
        if self.y_range is None:
            return np.outer([0.0, np.finfo(np.float64).max], np.ones(self.outputs))
        low, high = self.y_range
        return np.stack([(low + high) / 2, LOST_RANGES * np.maximum(high - low, 1e-300)])

    def find_lost_step(self, run: Array) -> int | None:
        """The first step at which any of the runs (B, T, O), in the units of y, is too far from the
        training record; None without one.
        """
        middle, limit = self.middle_and_limit
        is_lost = ~(np.abs(run - middle) <= limit).all(axis=(0, 2))
        return int(np.argmax(is_lost)) if is_lost.any() else None

    def _require_on_record(self, run: Array, notes: tuple[str, ...] = ()) -> None:
        """`ModelError` that names the first step at which a free run (B, T, O) is lost, and quotes
        the notes on its inputs.
        """
        streaming.require_finite(run)
        lost_step = self.find_lost_step(run)
        if lost_step is not None:
            cure = (
                "Train it on its free run (`train_parallel`), choose it for simulation, or use its"
                " one-step forecasts alone."
            )
            if notes:
                cure = (
                    f"{' '.join(notes)} Give u as in training, or train it on such inputs too. If"
                    f" it diverges then too: {cure}"
                )
            raise ModelError(
                f"The closed loop diverges: after {lost_step} of {run.shape[1]} steps on its own"
                f" the output is more than {LOST_RANGES:g} ranges of the training record away from"
                f" its middle. {cure}"
            )

    def _check_tables(
        self, u: npt.ArrayLike | None, y: npt.ArrayLike | None
    ) -> tuple[Array, Array]:
        """u (T, I) and y (T, O) in the units and the order of columns of training; (T, 0) without
        inputs, NaN for the y of a net without feedback that got None. `InputError` for unequal
        rows, other columns and gaps in u.
        """
        if y is None:
            if self.net.feedback:
                raise self._missing_rows()
            y = np.full((len(self._inputs(u, None)), self.outputs), np.nan)
        outputs = self._table("y", y, self.outputs)
        inputs = np.zeros((len(outputs), 0))
        if u is not None or self.inputs:
            inputs = self._inputs(u, None)
        require_equal_rows(u=inputs, y=outputs)
        check_index(u, y)
        return inputs, outputs

    def _missing_rows(self) -> InputError:
        """The error to raise where no measured rows were given."""
        return InputError(
            f"{self.net.kind} goes on from measured rows of y; found none. Give every row, as in"
            f" `model.predict(u, y)`, or those that begin a free run, at least {self.start}:"
            " `model.simulate(u, y[: model.start])`."
        )

    def _inputs(self, u: npt.ArrayLike | None, rows: int | None) -> Array:
        """u (T, I), checked; (rows, 0) for a net without inputs; `InputError` where `rows` is
        missing there or is not the length of u.
        """
        if u is None and self.inputs == 0:
            if rows is None:
                raise InputError(
                    f"A free run of {self.net.kind} without inputs needs `rows`, its number of"
                    " rows."
                )
            require_whole(0, rows=rows)
            return np.zeros((rows, 0))
        inputs = self._table("u", np.zeros((0, 0)) if u is None else u, self.inputs)
        if rows not in (None, len(inputs)):
            raise InputError(f"`rows` is {rows!r}, u has {len(inputs)}. Leave `rows` out beside u.")
        refuse_gaps(inputs)
        return inputs

    def _table(self, name: str, values: npt.ArrayLike, width: int) -> Array:
        """(T, width) float64, named columns in the order of training; `InputError` for another
        width.
        """
        table = as_columns(name, order_columns(name, values, self.names.get(name, ())))
        if table.shape[1] != width:
            is_transposed = len(table) == width
            raise InputError(
                f"{name} has {plural(table.shape[1], 'column')}; this net was trained on {width}."
                + is_transposed * f" Time runs down the rows: give {name}.T."
            )
        return table


def _list_means(spread: Array) -> str:
    """The mean over the rows (T, O) of each output, as text."""
    return ", ".join(f"{mean:.3g}" for mean in spread.mean(axis=0))


def _from_json(value: object) -> object:
    """The value with tuples for lists, and numbers for the texts "nan" and "inf"."""
    if isinstance(value, dict):
        return {name: _from_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return tuple(map(_from_json, value))
    return float(str(value)) if value in ("nan", "inf") else value
