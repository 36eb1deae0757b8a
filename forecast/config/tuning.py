"""configs/tuning.yaml: the one budget that every network gets."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from forecast.config.reading import Config, load


class Tuning(Config):
    """Trials per network, gradient steps per trial, then gradient steps and seeds of the final training."""

    n_trials: int = Field(ge=1)
    trial_steps: int = Field(ge=1)
    final_steps: int = Field(ge=1)
    evaluate_every: int = Field(50, ge=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    base_seed: int = Field(ge=0)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 0:
            raise ValueError("seeds must be distinct whole numbers from 0 up")
        return value


def load_tuning(folder: Path | str = "configs") -> Tuning:
    return load(Tuning, Path(folder) / "tuning.yaml")
