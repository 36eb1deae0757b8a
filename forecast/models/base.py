"""What every family file provides: a frozen spec that says how its model is fitted, forecasts, and
is tuned.

A family is one file in families/ with a class `Spec`; its name is the file's. The fields of the
class are the options of an entry of configs/models.yaml, checked when it is read: a value outside
of a field's bounds is refused, and an option that would have no effect. To add a family, take the
base class that fits and write what it names:

    BaselineSpec       a rule without parameters: `forecast`
    RegressorSpec      parameters as arrays: `fit` on the train windows, `forecast` from them
    LinearSpec         the linear skip standing alone, direct or as a one-step map
    StatisticalSpec    one fit per series (`forecast.models.statistical`): `fit_model`
    NetworkSpec        a network of blocks: `blocks`, or `build` where dropout goes elsewhere
    RecurrentSpec      a network of one kind of recurrent cell

`ModelSpec` holds what all of them answer: which data they suit (`unsuited_reason`), what tuning may
vary (`space`), how often they are refitted. A spec holds no fitted number; those are `Parameters`
of a `FittedForecaster`. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from forecast.config.models import LevenbergMarquardt, RefitFrequency, Trainer, Training
from forecast.config.reading import Config
from forecast.config.task import Task
from forecast.data.windows import Layout, Windows, layout
from forecast.models import search
from forecast.models.problem import FittedForecaster, ForecastRequest, Parameters, Problem
from forecast.models.skip import SkipKind
from forecast.networks import cells
from forecast.networks.description import (
    Block,
    CellBlock,
    Dense,
    Dropout,
    Network,
    Recurrent,
    Shapes,
    walk_blocks,
)
from forecast.networks.heads import AnyHead, FittedHead, Head, Point
from forecast.networks.losses import DEFAULT_LOSS, POINT_LOSSES, ForecastLoss, LossName, PointLoss

FAMILIES = "forecast.models.families"
OF_SAVED_MODEL = "saved"
Choices = Mapping[str, Sequence[Any]]

UNREAD_BY_LM = (
    "learning_rate",
    "batch_size",
    "chunk",
    "weight_decay",
    "dropout",
    "clip",
    "loss",
    "head",
)
"""Refused beside `trainer: lm` where not at their defaults: Levenberg-Marquardt takes its own
steps, on whole series and their squared error, and makes points alone.
"""

EXAMPLE_SHAPES = Shapes(channels=1, future_channels=0, horizon=1, outputs=1, lookback=64)
"""Of no dataset: which blocks a spec builds, without a task."""
LM_UNITS = search.Choice((4, 8, 16))
"""Its cost grows with the cube of the weights: smaller nets than gradient steps are given."""


class ModelSpec(Config):
    """Common to all families; class attributes describe it for the catalogue, the report and
    MLflow.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]

    fitted_as: ClassVar[Literal["parameters", "ridge", "network"]] = "parameters"
    """Which procedure of `forecast.forecaster.fitting` fits it: `parameters` calls `fit` here."""
    is_seeded: ClassVar[bool] = False
    """True: a fit draws random numbers, so a backtest fits it once per seed."""
    has_skip: ClassVar[bool] = False
    """True: it stands on a closed-form skip, and is a row of its own in either ranking."""
    is_network: ClassVar[bool] = False
    """True: trials tune it, it has a training budget, and it loads TensorFlow."""
    is_corrected: ClassVar[bool] = False
    """True: a one-step map closed over the horizon, with a direct correction of every step (the
    mixed strategy).
    """
    is_recursive: ClassVar[bool] = False
    """True: a one-step map whose forecast is fed back up to the horizon (closed loop)."""
    starts_at_train_end: ClassVar[bool] = False
    """True: a recursion from its first train row on, which forecasts from no row before the end of
    its fit: it is always given the whole history.
    """
    reads_history: ClassVar[bool] = True
    """True: its forecast changes with the rows before the cutoff."""
    reads_season: ClassVar[bool] = False
    """True: its windows hold a season where the rows before the cutoff do, however short the
    lookback of the others is.
    """
    needs_vintages: ClassVar[bool] = False
    """True: it is left out where no forecasts of the data's own service are kept."""

    family: str
    """The name of its file, which the class need not repeat."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the family of a class by the file in `families/` that it stands in."""
        super().__init_subclass__(**options)
        folder, _, file = cls.__module__.rpartition(".")
        if folder == FAMILIES:
            cls.family = file

    def space(self) -> Mapping[str, search.Dimension]:
        """What tuning may vary, by field name; empty: nothing is tuned."""
        return {}

    def unsuited_reason(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season (1: none); empty when it fits."""
        return ""

    def search_space(self) -> Mapping[str, search.Dimension]:
        """What tuning does vary: of `space`, what makes a difference to this entry."""
        return self.space()

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """Its parameters from the train rows (`fitted_as: parameters`); a rule has none."""
        return Parameters()

    def refit_chosen(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
        """The same on the rows of `problem.joined`; `chosen`: the model of the train rows, with
        what was chosen.
        """
        return self.fit(problem, seed=seed)

    def predict(
        self, model: FittedForecaster, given: Sequence[ForecastRequest]
    ) -> list[np.ndarray]:
        """(n, H, O) in raw units of each series at its rows: from windows, unless the family reads
        more.
        """
        return model.predict_windows(given)

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """(B, H, O) in scaled units: of the skip and its network, unless the family says
        otherwise.
        """
        return model.forecast_with_skip(windows)

    def n_params(self, model: FittedForecaster) -> int:
        """Numbers fitted to data."""
        return int(sum(w.size for w in model.weights.values()))

    def network(self, task: Task) -> Network | None:
        """The network that it builds for a task; None for a model that is not a network."""
        return None

    def targets_per_step(self, task: Task) -> int:
        """Target values that one gradient step learns from; 0: none."""
        return 0

    def modules(self) -> list[str]:
        """The modules found by name that it runs: part of the key of its results."""
        return [f"{FAMILIES}.{self.family}"]

    @property
    def remark(self) -> str:
        """What a reader of its results must know of weights trained elsewhere; empty: none."""
        return ""

    @property
    def distribution_head(self) -> Head | None:
        """What gives more than a point forecast, and has constants to fit; None: nothing."""
        return None

    @property
    def base_skip(self) -> SkipKind | None:
        """The skip that it reads though it is no network (`fitted_as: parameters`); None: none."""
        return None

    @property
    def can_extend_horizon(self) -> bool:
        """True: it can be run beyond the horizon that it was fitted for."""
        return self.is_recursive

    @property
    def is_trained_by_gradient(self) -> bool:
        """True: gradient steps train it."""
        return False

    @property
    def is_fitted_on_validation(self) -> bool:
        """True: what serves is fitted on train and validation together, with everything that
        validation chose.
        """
        return False

    @property
    def refit_frequency(self) -> RefitFrequency:
        """How often a backtest fits it again after the train end."""
        return "never"

    @property
    def has_refits(self) -> bool:
        """True: a backtest fits it again after the train end."""
        return self.refit_frequency != "never"

    @property
    def keeps_weights_at_refit(self) -> bool:
        """True: of such a later fit the linear part is new, and the network's weights stay."""
        return False

    def with_values(self, values: search.Params) -> ModelSpec:
        """This spec with some fields replaced and validated again."""
        return type(self).model_validate({**self.model_dump(), **values})


class BaselineSpec(ModelSpec):
    """A rule without fitted parameters."""

    kind = "baseline"
    can_extend_horizon: ClassVar[bool] = True

    def forecast(
        self, windows: Windows, channels: Layout, *, horizon: int, season_length: int
    ) -> np.ndarray:
        """(B, H, O) in scaled units."""
        raise NotImplementedError

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """(B, H, O) in scaled units."""
        task = model.task
        return self.forecast(
            windows, model.channels, horizon=task.horizon, season_length=task.season_length
        )


class TrainableSpec(ModelSpec):
    """A model with parameters: fitted at the train end and, in a backtest, again as often as its
    policy says.
    """

    refit: RefitFrequency = Field(
        "never", description="in the backtest: never, quarterly, monthly, or at every k-th origin"
    )

    @property
    def is_fitted_on_validation(self) -> bool:
        """True: what serves is fitted on train and validation together."""
        return True

    @property
    def refit_frequency(self) -> RefitFrequency:
        """How often a backtest fits it again after the train end."""
        return self.refit


class RegressorSpec(TrainableSpec):
    """Parameters as arrays, fitted on the train windows and saved as they are: another library's
    regressor.
    """

    kind = "regression"

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """Its parameters, from the train rows."""
        raise NotImplementedError

    def forecast(
        self, parameters: Mapping[str, np.ndarray], windows: Windows, channels: Layout
    ) -> np.ndarray:
        """(B, H, O) in scaled units, from the arrays that `fit` left."""
        raise NotImplementedError

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """(B, H, O) in scaled units."""
        return self.forecast(model.weights, windows, model.channels)


class LinearSpec(TrainableSpec):
    """The fitted skip as a model of its own."""

    kind = "linear"
    fitted_as = "ridge"

    def n_params(self, model: FittedForecaster) -> int:
        """Numbers fitted to data."""
        return sum(part.n_params for part in (model.skip, model.correction) if part is not None)


class NetworkSpec(TrainableSpec):
    """A Keras network trained with supervision at every step (see
    `forecast.networks.description`).
    """

    kind = "network"
    fitted_as = "network"
    is_seeded = True
    has_skip = True
    is_network = True
    every_step: ClassVar[bool] = True
    """False: it forecasts from whole windows, at their last step alone."""
    choices: ClassVar[Choices] = {}
    """What tuning tries of a field, beside learning rates and dropout."""

    learning_rate: float = Field(2e-3, gt=0)
    batch_size: int = Field(32, ge=1)
    chunk: int = Field(48, ge=1, description="supervised steps per training chunk")
    burn_in: int = Field(
        48, ge=0, description="steps before them that only fill the memory; at most `lookback`"
    )
    weight_decay: float = Field(1e-4, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    clip: float = Field(1.0, gt=0, description="bound on the global gradient norm")
    loss: LossName = Field(DEFAULT_LOSS, description="of the point head; the others have their own")
    head: AnyHead = Point()
    future_units: int = Field(8, ge=0)
    trainer: Trainer = "gradient"
    training: Training = Field(default_factory=Training)
    lm: LevenbergMarquardt = Field(default_factory=LevenbergMarquardt)

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> NetworkSpec:
        """Refuse an option that would not be read: of the other trainer, and a `loss` beside a
        head that has its own.
        """
        unread = ("training", *UNREAD_BY_LM) if self.trainer == "lm" else ("lm",)
        fields = type(self).model_fields
        for name in unread:
            if name in fields and getattr(self, name) != fields[name].get_default(
                call_default_factory=True
            ):
                raise ValueError(f"{name} has no effect with trainer: {self.trainer}; leave it out")
        if (
            self.training.rule == "adam"
            and self.weight_decay != fields["weight_decay"].get_default()
        ):
            raise ValueError(
                "weight_decay has no effect with rule: adam; leave it out, or take adamw"
            )
        if self.head.kind != "point" and self.loss != fields["loss"].get_default():
            raise ValueError(
                f"loss has no effect with head: {self.head.kind}, which has its own; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_trained_so(self) -> NetworkSpec:
        """Refuse a trainer that the network's blocks do not allow; it is built once for shapes of
        no dataset to see them.
        """
        if self.trainer == "gradient":
            return self
        network = self.build(EXAMPLE_SHAPES)
        if not network.every_step or network.decoder:
            raise ValueError(
                "trainer: lm trains networks of dense, tap, parallel and recurrent blocks that"
                " forecast at every step; train this family by gradient"
            )
        return self

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task: what a family
        writes.
        """
        raise NotImplementedError

    def build(self, shapes: Shapes) -> Network:
        """The network of `blocks`, with dropout between them. `network` calls it; so do checks,
        with `EXAMPLE_SHAPES`, to see which blocks it has.

        Families whose dropout stands elsewhere override it and write no `blocks`: `mlp` and `narx`
        (none before the dense layers), `segment_gru` (at the end alone) and `encoder_decoder`
        (none). What every network is given here has to be put there too.
        """
        blocks = add_dropout(self.blocks(shapes), self.dropout)
        return Network(blocks, shapes, self.future_units, self.every_step)

    def network(self, task: Task) -> Network:
        """The description of the network for the task's channels, horizon and lookback; a recursive
        family is a one-step map, whose network has a horizon of 1.
        """
        channels = layout(task)
        shapes = Shapes(
            channels=channels.channels,
            future_channels=task.n_step_inputs,
            horizon=1 if self.is_recursive else task.horizon,
            outputs=channels.outputs,
            lookback=task.lookback,
            target_channels=channels.target_channels,
            parameters=self.head.parameters,
            change_channels=channels.change_channels,
        )
        return self.build(shapes)

    def targets_per_step(self, task: Task) -> int:
        """Target values that one gradient step learns from; 0: none."""
        if not self.is_trained_by_gradient:
            return 0
        network = self.network(task)
        n_cutoffs = self.batch_size * (self.chunk if network.every_step else 1)
        return n_cutoffs * network.shapes.horizon * network.shapes.outputs

    def modules(self) -> list[str]:
        """The modules found by name that it runs: part of the key of its results."""
        network = self.build(EXAMPLE_SHAPES)
        blocks = [block for _, block in walk_blocks(network.blocks) if isinstance(block, CellBlock)]
        cell_modules = {cells.catalogue()[block.cell].__module__ for block in blocks}
        return [*super().modules(), type(self.head).__module__, *sorted(cell_modules)]

    @property
    def distribution_head(self) -> Head | None:
        """What gives more than a point forecast, and has constants to fit; None: nothing."""
        return self.head if self.head.has_constants else None

    @property
    def is_trained_by_gradient(self) -> bool:
        """True: gradient steps train it."""
        return self.trainer == "gradient"

    @property
    def is_fitted_on_validation(self) -> bool:
        """True: what serves is fitted on train and validation together."""
        # restarts of Levenberg-Marquardt have no number of steps to repeat
        return self.is_trained_by_gradient

    @property
    def point_loss(self) -> PointLoss:
        """The loss that `loss` names."""
        return POINT_LOSSES[self.loss]

    def forecast_loss(self, head: FittedHead | None) -> ForecastLoss:
        """What trains, stops and tunes the network: the fitted head's loss, or `point_loss`."""
        return self.point_loss if head is None else head

    @property
    def keeps_weights_at_refit(self) -> bool:
        """True: of a later fit the linear part is new, and the network's weights stay."""
        return self.has_refits

    def search_space(self) -> Mapping[str, search.Dimension]:
        """What tuning does vary: the whole space by gradient; of Levenberg-Marquardt what that
        trainer reads, and smaller nets.
        """
        if self.trainer != "lm":
            return self.space()
        space = {name: choice for name, choice in self.space().items() if name not in UNREAD_BY_LM}
        if "units" in space:
            space["units"] = LM_UNITS
        return space

    def space(self) -> Mapping[str, search.Dimension]:
        """What tuning may vary, by field name."""
        choices = {"dropout": (0.0, 0.1, 0.25), **self.choices}
        space: dict[str, search.Dimension] = {"learning_rate": search.LogUniform(5e-4, 5e-2)}
        space |= {name: search.Choice(options) for name, options in choices.items()}
        return space


def dense_layers(units: int, layers: int) -> tuple[Block, ...]:
    """So many dense blocks of `units` in series, `dense_0` and on."""
    return tuple(Dense(f"dense_{i}", units) for i in range(layers))


def add_dropout(blocks: Sequence[Block], rate: float) -> tuple[Block, ...]:
    """`blocks` with dropout between them and before the read-out: not on the network's inputs, and
    not within a recurrence.
    """
    if rate == 0:
        return tuple(blocks)
    result: list[Block] = []
    for i, block in enumerate(blocks):
        result += [Dropout(f"drop_{i}", rate), block] if i else [block]
    return (*result, Dropout("drop_out", rate))


class RecurrentSpec(NetworkSpec):
    """Recurrent layers of one kind of cell in series ("sequential" or stacked recursion); the
    simplest one has one.
    """

    cell: ClassVar[str]
    choices: ClassVar[Choices] = {"units": (16, 32, 64)}

    units: int = Field(32, ge=1)
    layers: int = Field(1, ge=1)

    def options(self) -> cells.Options:
        """The cell's options: the fields of its class in `forecast.networks.cells` that the spec
        has as well.
        """
        names = [field.name for field in fields(cells.catalogue()[self.cell])]
        shared = [name for name in names if name != "units" and name in type(self).model_fields]
        return {name: getattr(self, name) for name in shared}

    def blocks(self, shapes: Shapes) -> Sequence[Block]:
        """The blocks between the inputs and the read-out, for the shapes of a task."""
        return [
            Recurrent(f"{self.cell}_{i}", self.cell, self.units, self.options())
            for i in range(self.layers)
        ]
