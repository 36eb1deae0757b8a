"""The base classes of model families: a frozen spec with the options of an entry, which says how
its model is fitted, forecasts, and is tuned.

A family is one file in families/ with a class `Spec`; its name is the file's. The fields of the
class are the options of an entry of configs/models.yaml, and are checked when it is read: values
outside of a field's bounds and options without effect are refused. To add a family, choose a base
class and write the named methods:

    BaselineSpec       a rule without parameters: `forecast`
    RegressorSpec      parameters as arrays: `fit` on the train windows, `forecast` from them
    LinearSpec         the linear skip standing alone, direct or as a one-step map
    StatisticalSpec    one fit per series (`forecast.models.statistical`): `fit_model`
    NetworkSpec        a network of blocks: `blocks`, or `build` where dropout goes elsewhere
    RecurrentSpec      a network of one kind of recurrent cell

A spec holds no fitted numbers; those are the `Parameters` of a `FittedForecaster`. Nothing here
imports TensorFlow.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
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
"""Options that must have their defaults with `trainer: lm`, which does not read them."""

EXAMPLE_SHAPES = Shapes(channels=1, future_channels=0, horizon=1, outputs=1, lookback=64)
"""Shapes of no dataset, to see which blocks a spec builds."""
LM_UNITS = search.Choice((4, 8, 16))
"""Units that tuning tries with `trainer: lm`, whose cost grows with the cube of the weights."""


class ModelSpec(Config):
    """The base of all families. Class attributes describe the family for the catalogue, the report
    and MLflow.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]

    fitted_as: ClassVar[Literal["parameters", "ridge", "network"]] = "parameters"
    """The procedure of `forecast.forecaster.fitting` that fits it; `parameters` calls `fit`."""
    is_seeded: ClassVar[bool] = False
    """Whether a fit draws random numbers, so that a backtest fits it once per seed."""
    has_skip: ClassVar[bool] = False
    """Whether it is added to a skip, and so has a row in each ranking."""
    is_network: ClassVar[bool] = False
    """Whether it is a network, which stage `compare` holds to one budget (`trainer: lm` apart)."""
    is_corrected: ClassVar[bool] = False
    """Whether it is a one-step map in closed loop with a direct correction of every step
    (`rectify`).
    """
    is_recursive: ClassVar[bool] = False
    """Whether it is a one-step map whose forecast is fed back up to the horizon (closed loop),
    without the correction of `is_corrected`.
    """
    starts_at_train_end: ClassVar[bool] = False
    """Whether its state is carried on from the first train row, so that it needs the whole history
    and forecasts from no row before the end of its fit.
    """
    reads_history: ClassVar[bool] = True
    """Whether its forecast depends on the rows before the cutoff."""
    needs_whole_season: ClassVar[bool] = False
    """Whether its windows have at least a season, even if the lookback is shorter, where the series
    has so many rows. Windows of more rows would be cut in service (`Ensemble.count_rows_read`).
    """
    needs_vintages: ClassVar[bool] = False
    """Whether it needs the stored forecasts of the data provider; it is left out without them."""

    family: str
    """The name of its file in `families/`; a class need not set it."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Set `family` of a class in a file of `families/`."""
        super().__init_subclass__(**options)
        folder, _, file = cls.__module__.rpartition(".")
        if folder == FAMILIES:
            cls.family = file

    def space(self) -> Mapping[str, search.Dimension]:
        """The search space of tuning, by field name; empty: nothing is tuned."""
        return {}

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season (1: none); empty where it is not."""
        return ""

    def search_space(self) -> Mapping[str, search.Dimension]:
        """The part of `space` that has an effect on this entry."""
        return self.space()

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """The parameters, fitted on the train rows (`fitted_as: parameters`); a rule has none."""
        return Parameters()

    def refit_chosen(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
        """The parameters of a second fit on more rows, with the choices of the first, `chosen`."""
        return self.fit(problem, seed=seed)

    def predict(
        self, model: FittedForecaster, given: Sequence[ForecastRequest]
    ) -> list[np.ndarray]:
        """Forecasts (n, H, O) of each request in raw units. A family that reads more than windows
        overrides it.
        """
        return model.predict_windows(given)

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units; by default of the skip and its network."""
        return model.forecast_with_skip(windows)

    def n_params(self, model: FittedForecaster) -> int:
        """How many numbers were fitted to data."""
        return int(sum(w.size for w in model.weights.values()))

    def network(self, task: Task) -> Network | None:
        """The network that it builds for a task; None for a model without one."""
        return None

    def targets_per_step(self, task: Task) -> int:
        """How many target values one gradient step reads; 0 for a model without such steps."""
        return 0

    def modules(self) -> list[str]:
        """The modules that it loads by name; they are part of the key of cached results."""
        return [f"{FAMILIES}.{self.family}"]

    @property
    def needs_this_process(self) -> bool:
        """Whether it needs code that was added to this process, such as a family in a folder of the
        caller or a loss in a notebook, which a worker process would not find.
        """
        package = Path(__file__).parents[1]
        modules = map(sys.modules.get, self.modules())
        # a notebook has no file
        files = (Path(getattr(module, "__file__", "")) for module in modules)
        return not all(file.is_relative_to(package) for file in files)

    @property
    def remark(self) -> str:
        """A note for the report on weights that were trained elsewhere; empty without any."""
        return ""

    @property
    def distribution_head(self) -> Head | None:
        """The head whose constants are fitted; None for a point head or no network."""
        return None

    @property
    def base_skip(self) -> SkipKind | None:
        """The skip that a family without a network reads (`fitted_as: parameters`), if any."""
        return None

    @property
    def can_extend_horizon(self) -> bool:
        """Whether it can forecast beyond the horizon that it was fitted for."""
        return self.is_recursive

    @property
    def is_trained_by_gradient(self) -> bool:
        """Whether it is trained by gradient steps."""
        return False

    @property
    def is_fitted_on_validation(self) -> bool:
        """Whether it is fitted again on train and validation together, with the choices made on
        validation.
        """
        return False

    @property
    def refit_frequency(self) -> RefitFrequency:
        """How often a backtest fits it again after the train end."""
        return "never"

    @property
    def has_refits(self) -> bool:
        """Whether a backtest fits it again after the train end."""
        return self.refit_frequency != "never"

    @property
    def keeps_weights_at_refit(self) -> bool:
        """Whether a refit fits the skip alone and keeps the weights of the network."""
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
        """Forecasts (B, H, O) in scaled units; to be written by a family."""
        raise NotImplementedError

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units."""
        task = model.task
        return self.forecast(
            windows, model.channels, horizon=task.horizon, season_length=task.season_length
        )


class TrainableSpec(ModelSpec):
    """A model with fitted parameters, which a backtest can fit again after the train end."""

    refit: RefitFrequency = Field(
        "never", description="in the backtest: never, quarterly, monthly, or at every k-th origin"
    )

    @property
    def is_fitted_on_validation(self) -> bool:
        """Whether it is fitted again on train and validation together."""
        return True

    @property
    def refit_frequency(self) -> RefitFrequency:
        """How often a backtest fits it again after the train end."""
        return self.refit


class RegressorSpec(TrainableSpec):
    """A regressor whose parameters are arrays, fitted on the train windows."""

    kind = "regression"

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """The parameters, fitted on the train rows; to be written by a family."""
        raise NotImplementedError

    def forecast(
        self, parameters: Mapping[str, np.ndarray], windows: Windows, channels: Layout
    ) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units from the arrays of `fit`; to be written by a
        family.
        """
        raise NotImplementedError

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units."""
        return self.forecast(model.weights, windows, model.channels)


class LinearSpec(TrainableSpec):
    """The linear skip as a model of its own."""

    kind = "linear"
    fitted_as = "ridge"

    def n_params(self, model: FittedForecaster) -> int:
        """How many numbers were fitted to data."""
        return sum(skip.coefficients.size for skip in (model.skip, model.correction) if skip)


class NetworkSpec(TrainableSpec):
    """A network (`forecast.networks.description`), trained with a target at every step, or at the
    last one alone.
    """

    kind = "network"
    fitted_as = "network"
    is_seeded = True
    has_skip = True
    is_network = True
    every_step: ClassVar[bool] = True
    """Whether it forecasts at every step of a window; otherwise at the last step alone."""
    choices: ClassVar[Choices] = {}
    """The values that tuning tries for a field, beside those of learning rate and dropout."""

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
    def _refuse_unread_options(self) -> NetworkSpec:
        """Refuse options that would not be read: those of the other trainer, and a `loss` beside a
        head that has its own.
        """
        changed = self.model_dump(exclude_defaults=True)
        for name in ("training", *UNREAD_BY_LM) if self.trainer == "lm" else ("lm",):
            if name in changed:
                raise ValueError(f"{name} has no effect with trainer: {self.trainer}; leave it out")
        if self.training.rule == "adam" and "weight_decay" in changed:
            raise ValueError(
                "weight_decay has no effect with rule: adam; leave it out, or take adamw"
            )
        if self.head.kind != "point" and "loss" in changed:
            raise ValueError(
                f"loss has no effect with head: {self.head.kind}, which has its own; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _refuse_untrainable_blocks(self) -> NetworkSpec:
        """Refuse `trainer: lm` for a network whose blocks it cannot train."""
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
        """The blocks between the inputs and the read-out, for the shapes of a task; to be written
        by a family.
        """
        raise NotImplementedError

    def build(self, shapes: Shapes) -> Network:
        """The network of `blocks` for the shapes of a task, with dropout between them.

        Families with dropout at other places override it and write no `blocks`: `mlp` and `narx`
        (none before the dense layers), `segment_gru` (at the end alone) and `encoder_decoder`
        (none). A change here has to be made there too.
        """
        blocks = add_dropout(self.blocks(shapes), self.dropout)
        return Network(blocks, shapes, self.future_units, self.every_step)

    def network(self, task: Task) -> Network:
        """The network for the channels, horizon and lookback of a task; that of a recursive family
        has a horizon of 1.
        """
        channels = layout(task)
        shapes = Shapes(
            channels=channels.n_channels,
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
        """How many target values one gradient step reads; 0 with another trainer."""
        if not self.is_trained_by_gradient:
            return 0
        network = self.network(task)
        n_cutoffs = self.batch_size * (self.chunk if network.every_step else 1)
        return n_cutoffs * network.shapes.horizon * network.shapes.outputs

    def modules(self) -> list[str]:
        """The modules that it loads by name: of the family, its head, its cells and its loss."""
        network = self.build(EXAMPLE_SHAPES)
        blocks = [block for _, block in walk_blocks(network.blocks) if isinstance(block, CellBlock)]
        cell_modules = {cells.catalogue()[block.cell].__module__ for block in blocks}
        head, loss = type(self.head).__module__, self.point_loss.of_error.__module__
        return [*super().modules(), head, *sorted(cell_modules), loss]

    @property
    def distribution_head(self) -> Head | None:
        """The head whose constants are fitted; None for a point head."""
        return self.head if self.head.has_constants else None

    @property
    def is_trained_by_gradient(self) -> bool:
        """Whether it is trained by gradient steps."""
        return self.trainer == "gradient"

    @property
    def is_fitted_on_validation(self) -> bool:
        """Whether it is fitted again on train and validation together."""
        # Levenberg-Marquardt has no number of steps that could be repeated on more rows
        return self.is_trained_by_gradient

    @property
    def point_loss(self) -> PointLoss:
        """The loss that `loss` names."""
        return POINT_LOSSES[self.loss]

    def forecast_loss(self, head: FittedHead | None) -> ForecastLoss:
        """The loss that trains, stops and tunes the network: that of the fitted head, or
        `point_loss`.
        """
        return self.point_loss if head is None else head

    @property
    def keeps_weights_at_refit(self) -> bool:
        """Whether a refit fits the skip alone and keeps the weights of the network."""
        return self.has_refits

    def search_space(self) -> Mapping[str, search.Dimension]:
        """The part of `space` that has an effect on this entry: with `trainer: lm` what that
        trainer reads, and fewer units.
        """
        if self.trainer != "lm":
            return self.space()
        space = {name: choice for name, choice in self.space().items() if name not in UNREAD_BY_LM}
        if "units" in space:
            space["units"] = LM_UNITS
        return space

    def space(self) -> Mapping[str, search.Dimension]:
        """The search space of tuning, by field name."""
        choices = {"dropout": (0.0, 0.1, 0.25), **self.choices}
        space: dict[str, search.Dimension] = {"learning_rate": search.LogUniform(5e-4, 5e-2)}
        space |= {name: search.Choice(options) for name, options in choices.items()}
        return space


def dense_layers(units: int, layers: int) -> tuple[Block, ...]:
    """Dense blocks of `units` in series, named `dense_0`, `dense_1`, ..."""
    return tuple(Dense(f"dense_{i}", units) for i in range(layers))


def add_dropout(blocks: Sequence[Block], rate: float) -> tuple[Block, ...]:
    """`blocks` with dropout between them and before the read-out, but none within a recurrence
    and, unless there are no blocks, none on the inputs of the network.
    """
    if rate == 0:
        return tuple(blocks)
    result: list[Block] = []
    for i, block in enumerate(blocks):
        result += [Dropout(f"drop_{i}", rate), block] if i else [block]
    return (*result, Dropout("drop_out", rate))


class RecurrentSpec(NetworkSpec):
    """A network of recurrent layers of one kind of cell in series."""

    cell: ClassVar[str]
    choices: ClassVar[Choices] = {"units": (16, 32, 64)}

    units: int = Field(32, ge=1)
    layers: int = Field(1, ge=1)

    def options(self) -> cells.Options:
        """The options of the cell: the fields of its class (`forecast.networks.cells`) that the
        spec has as well.
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
