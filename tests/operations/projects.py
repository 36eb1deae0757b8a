"""A project after `dvc repro`: one daily wave, four models without networks, everything made by the
real stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.operations import registry
from forecast.tracking import model_registry, tracking_store
from pipelines import compare, fetch, prepare, train
from tests.support import small_project

NAME = "wave"
NOW = pd.Timestamp("2024-07-19 06:30")
GRID = ("naive", "seasonal_naive", "ridge", "arx")


def write_repro(root: Path, **more: dict[str, Any]) -> Path:
    """configs/, data/ and every stage's outs below `root`; ridge is the model chosen on validation.

    more: further entries of configs/models.yaml, which are in the grid.
    """
    return gone_through(small_project.write(root), **more)


def gone_through(root: Path, families: Sequence[str] = GRID, **more: dict[str, Any]) -> Path:
    """Every stage of a project whose data are taken."""
    entries = {**{name: {"family": name} for name in families}, **more}
    grid = {"grid": "tiny", "grids": {"tiny": list(entries)}, "models": entries}
    small_project.write_yaml(root / "configs" / "models.yaml", grid)
    (root / "requirements.lock").write_text("")
    for stage in (fetch, prepare):
        stage.main(NAME, root=str(root))
    train.main(NAME, root=str(root), state=str(root / ".forecast"), jobs=1)
    compare.main(NAME, root=str(root))
    registry_aliases(root, NAME)  # makes the database: seconds, once instead of in every copy
    return root


def registry_aliases(root: Path, dataset: str, *, tracking_uri: str = "") -> dict[str, int]:
    """Alias → version in MLflow's registry."""
    return dict(model_registry.read_registry(tracking_store(root, tracking_uri), dataset).aliases)


def register(root: Path, candidate: str, tracking_uri: str = "") -> int:
    """One trained candidate as a version of the registry."""
    folder = root / "data" / "trained" / NAME / candidate
    meta = registry.make_card(
        Results(ProjectPaths.of(root), NAME), folder.name, now=NOW, revision="abc"
    )
    return registry.register_candidate(root, NAME, folder, meta, tracking_uri=tracking_uri)


def prepared(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "data" / "prepared" / NAME / "frame.parquet")
