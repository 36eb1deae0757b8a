"""How a network is trained: the `training:` and `lm:` blocks of configs/models.yaml.

What tuning varies (`learning_rate`, `dropout`, sizes) stands in the entry itself, beside `weight_decay` and `clip`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from forecast.config.reading import Config

Trainer = Literal["gradient", "lm"]
Rule = Literal["sgd", "momentum", "adam", "adamw"]
Shape = Literal["constant", "linear", "exponential", "cosine"]
State = Literal["reset", "carry"]
Teacher = Literal["none", "always", "scheduled"]


class Training(Config):
    """Options of gradient descent; what is left out is what every entry gets that says nothing."""

    rule: Rule = Field(default="adamw", description="only sgd, momentum and adamw apply `weight_decay`")
    schedule: Shape = Field(
        default="cosine", description="of the learning rate over the steps; `learning_rate` is its peak"
    )
    l2: float = Field(default=0.0, ge=0, description="mu of the penalty mu |w|^2, through the gradient")
    state: State = Field(default="reset", description="carry: truncated BPTT, the state handed on from chunk to chunk")
    patience: int | None = Field(
        default=None, ge=1, description="looks at validation without a new best before the stop"
    )
    teacher_forcing: Teacher = Field(
        default="none", description="what a decoder is fed in training: its own output, or y"
    )

    @model_validator(mode="after")
    def _one_hand_over(self) -> Training:
        if self.state == "carry" and self.teacher_forcing != "none":
            raise ValueError("teacher_forcing works with `state: reset` only; leave out one of the two")
        return self


class LevenbergMarquardt(Config):
    """Options of `trainer: lm`. Each restart is a run of its own; validation picks run and iteration."""

    iterations: int = Field(default=30, ge=1)
    restarts: int = Field(default=3, ge=1, description="random starts")
    patience: int = Field(default=6, ge=1, description="rises of the validation error before a run stops")
    bayesian: bool = Field(default=False, description="weight decay from the evidence, as MATLAB's trainbr")
