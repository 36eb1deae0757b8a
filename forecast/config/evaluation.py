"""configs/evaluation.yaml: the numbers of the protocol of significance and intervals (docs/protocol.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from forecast.config.reading import Config, load

Level = Annotated[float, Field(gt=0, lt=1)]


class Evaluation(Config):
    """`alpha`: level of every family of tests after Holm's correction, and of the model confidence set.

    `levels`: what share of the actuals each prediction interval should cover, rising.
    """

    alpha: float = Field(gt=0, lt=0.5)
    bootstrap_repetitions: int = Field(ge=100)
    bootstrap_seed: int = Field(ge=0)
    levels: tuple[Level, ...] = Field(min_length=1)

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if list(levels) != sorted(set(levels)):
            raise ValueError(f"found {list(levels)}; wanted each level once, rising, such as [0.8, 0.95]")
        return levels


def load_evaluation(folder: Path | str = "configs") -> Evaluation:
    return load(Evaluation, Path(folder) / "evaluation.yaml")
