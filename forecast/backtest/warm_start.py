"""Weights that a training begins with: those of an earlier model of the same recipe, where a retraining left them.

    data/warm/<dataset>/<candidate>/recipe.json     what the weights are weights of
    data/warm/<dataset>/<candidate>/seed-<n>.npz    one file per seed

Nothing writes them in a plain run. The folder is a dependency of the stage that reads it, hashed like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forecast.backtest.candidates import Candidate
from forecast.system import files


def weights_of(left: Path, candidate: Candidate, seed: int) -> Path | None:
    """The file in `left` (`ProjectPaths.warm`) for this candidate and seed; None without one of its recipe."""
    folder = left / candidate.name
    path = folder / f"seed-{seed}.npz"
    if (
        not candidate.spec.uses_tensorflow
        or not path.exists()
        or files.read_json(folder / "recipe.json") != recipe(candidate)
    ):
        return None
    return path


def recipe(candidate: Candidate) -> dict[str, Any]:
    """What must be equal for weights to fit: the spec with its tuned values, and the skip beside it."""
    return {"spec": candidate.spec.model_dump(mode="json"), "skip": candidate.skip}


def leave(folder: Path, candidate: Candidate, sources: Mapping[int, Path]) -> None:
    """Fill `folder` (data/warm/<dataset>) with the weights of one candidate: seed to the saved weights.npz."""
    with files.atomic_directory(folder) as temporary:
        for seed, source in sources.items():
            files.write_bytes(temporary / candidate.name / f"seed-{seed}.npz", source.read_bytes())
        files.write_json(temporary / candidate.name / "recipe.json", recipe(candidate))
