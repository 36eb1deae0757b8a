"""What every family file provides: a frozen spec with its search space and, for a network, its description.

A family is one file in this folder; its name is the file's. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from forecast.config.reading import Config
from forecast.config.training import LevenbergMarquardt, Trainer, Training
from forecast.data.windows import Layout, Windows
from forecast.models import search
from forecast.networks.description import Block, Dropout, EncoderDecoder, Network, Recurrent, Shapes
from forecast.networks.heads import AnyHead, Point

ModelKind = Literal["baseline", "linear", "statistical", "network"]
Loss = Literal["mse", "mae", "huber"]


UNREAD_BY_LM = ("learning_rate", "batch_size", "chunk", "weight_decay", "dropout", "clip", "loss", "head")
"""Levenberg-Marquardt takes its own steps, on whole series and their squared error: points alone."""

LM_UNITS = search.Choice((4, 8, 16))
"""Its cost grows with the cube of the weights: smaller nets than gradient steps are given."""


class ModelSpec(Config):
    """Common to all families; class attributes describe it for the catalogue, the report and MLflow."""

    kind: ClassVar[ModelKind]
    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]

    family: str

    def space(self) -> Mapping[str, search.Dimension]:
        """What tuning may vary, by field name; empty: nothing is tuned."""
        return {}

    def unsuited(self, season: int) -> str:
        """Why it is left out of a dataset with this season (1: none); empty when it fits."""
        return ""

    def search_space(self) -> Mapping[str, search.Dimension]:
        """What tuning does vary: of `space`, what makes a difference to this entry."""
        return self.space()

    @property
    def needs_issues(self) -> bool:
        """True: it is left out where no forecasts of the data's own service are kept."""
        return False

    @property
    def refitted(self) -> bool:
        """True: a backtest fits it again after the train end."""
        return False

    def with_values(self, values: Mapping[str, Any]) -> ModelSpec:
        """This spec with some fields replaced and validated again."""
        return type(self).model_validate({**self.model_dump(), **values})


class ServiceSpec(ModelSpec):
    """What the data's own service had said by each origin; refused where it had said nothing."""

    kind: ClassVar[ModelKind] = "baseline"

    @property
    def needs_issues(self) -> bool:
        return True


class BaselineSpec(ModelSpec):
    """A rule without fitted parameters."""

    kind: ClassVar[ModelKind] = "baseline"

    def forecast(self, windows: Windows, channels: Layout, *, horizon: int, season: int) -> np.ndarray:
        """(B, H, O) in scaled units."""
        raise NotImplementedError


class FittedSpec(ModelSpec):
    """A model with parameters: fitted at the train end and, in a backtest, again as often as its policy says."""

    refit: Literal["never", "monthly"] | Annotated[int, Field(ge=1)] = Field(
        "never", description="in the backtest: never, monthly, or at every k-th origin; each costs a whole fit"
    )
    refit_window: Literal["expanding", "sliding"] = Field("expanding", description="the rows of a later fit")

    @property
    def refitted(self) -> bool:
        return self.refit != "never"

    @model_validator(mode="after")
    def _window_is_used(self) -> FittedSpec:
        if not self.refitted and self.refit_window != "expanding":
            raise ValueError(f"refit_window: {self.refit_window} has no effect with refit: never; leave it out")
        return self


class StatisticalSpec(FittedSpec):
    """A statistical model fitted per series at the train end, its state filtered forward to every origin."""

    kind: ClassVar[ModelKind] = "statistical"
    method: ClassVar[str]

    def options(self, season: int) -> dict[str, Any]:
        """Arguments of the fit, given the dataset's season."""
        return {}


class LinearSpec(FittedSpec):
    """The fitted skip as a model of its own."""

    kind: ClassVar[ModelKind] = "linear"
    recursive: ClassVar[bool] = False
    corrected: ClassVar[bool] = False
    """True: a one-step map closed over the horizon, with a direct correction of every step (the mixed strategy)."""


class NetworkSpec(FittedSpec):
    """A Keras network trained with supervision at every step (see `forecast.networks.description`)."""

    kind: ClassVar[ModelKind] = "network"
    recursive: ClassVar[bool] = False
    """True: a one-step map whose forecast is fed back up to the horizon (closed loop)."""

    learning_rate: float = Field(2e-3, gt=0)
    batch_size: int = Field(32, ge=1)
    chunk: int = Field(48, ge=1, description="supervised steps per training chunk")
    warm_up: int = Field(48, ge=0, description="steps before them that only fill the memory; at most `lookback`")
    weight_decay: float = Field(1e-4, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    clip: float = Field(1.0, gt=0, description="bound on the global gradient norm")
    loss: Loss = Field("huber", description="of the point head; the others have their own")
    head: AnyHead = Point()
    future_units: int = Field(8, ge=0)
    trainer: Trainer = "gradient"
    training: Training = Field(default_factory=Training)
    lm: LevenbergMarquardt = Field(default_factory=LevenbergMarquardt)

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> NetworkSpec:
        unread = ("training", *UNREAD_BY_LM) if self.trainer == "lm" else ("lm",)
        fields = type(self).model_fields
        for name in unread:
            if name in fields and getattr(self, name) != fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} has no effect with trainer: {self.trainer}; leave it out")
        if self.head.kind != "point" and self.loss != fields["loss"].get_default():
            raise ValueError(f"loss has no effect with head: {self.head.kind}, which has its own; leave it out")
        return self

    @model_validator(mode="after")
    def _can_be_trained_so(self) -> NetworkSpec:
        carried, taught = self.training.state == "carry", self.training.teacher_forcing != "none"
        if self.trainer == "gradient" and not carried and not taught:
            return self
        network = self.build(Shapes(channels=1, future_channels=0, horizon=1, outputs=1, lookback=64))
        last = network.blocks[-1]
        if self.trainer == "lm" and (not network.every_step or isinstance(last, EncoderDecoder)):
            raise ValueError(
                "trainer: lm trains networks of dense, tap, parallel and recurrent blocks that forecast at every "
                "step; train this family by gradient"
            )
        if carried and not network.every_step:
            raise ValueError("state: carry needs a network that forecasts at every step; use state: reset here")
        if taught and not (isinstance(last, EncoderDecoder) and last.feedback):
            raise ValueError("teacher_forcing needs a decoder that is fed its own output; leave it out here")
        return self

    def build(self, shapes: Shapes) -> Network:
        raise NotImplementedError

    def search_space(self) -> Mapping[str, search.Dimension]:
        if self.trainer != "lm":
            return self.space()
        kept = {name: choice for name, choice in self.space().items() if name not in UNREAD_BY_LM}
        return {**kept, "units": LM_UNITS} if "units" in kept else kept

    def space(self) -> Mapping[str, search.Dimension]:
        return {"learning_rate": search.LogUniform(5e-4, 2e-2), "dropout": search.Choice((0.0, 0.1, 0.25))}


def dropped(blocks: tuple[Block, ...], rate: float) -> tuple[Block, ...]:
    """`blocks` with dropout before each of them and before the read-out: on V and U, never on W."""
    if rate == 0:
        return blocks
    result: list[Block] = []
    for i, block in enumerate(blocks):
        result += [Dropout(f"drop_{i}", rate), block] if i else [block]
    return (*result, Dropout("drop_out", rate))


class RecurrentSpec(NetworkSpec):
    """Recurrent layers of one kind of cell in series ("sequential" or stacked recursion); the simplest one has one."""

    cell: ClassVar[str]

    units: int = Field(32, ge=1)
    layers: int = Field(1, ge=1)

    def options(self) -> dict[str, Any]:
        """The cell's options, by their names in `forecast.networks.cells`."""
        return {}

    def build(self, shapes: Shapes) -> Network:
        layers: tuple[Block, ...] = tuple(
            Recurrent(f"{self.cell}_{i}", self.cell, self.units, self.options()) for i in range(self.layers)
        )
        return Network(dropped(layers, self.dropout), shapes, self.future_units)

    def space(self) -> Mapping[str, search.Dimension]:
        return {**super().space(), "units": search.Choice((16, 32, 64))}
