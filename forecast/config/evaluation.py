"""configs/evaluation.yaml: the numbers of the significance protocol (docs/protocol.md)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from forecast.config.reading import Config, load


class Evaluation(Config):
    """`alpha`: level of every family of tests after Holm's correction, and of the model confidence set."""

    alpha: float = Field(gt=0, lt=0.5)
    bootstrap_repetitions: int = Field(ge=100)
    bootstrap_seed: int = Field(ge=0)


def load_evaluation(folder: Path | str = "configs") -> Evaluation:
    return load(Evaluation, Path(folder) / "evaluation.yaml")
