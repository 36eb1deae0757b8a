"""A frame and the settings of a call of `forecast.fit` as files: the project whose stages make the
same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data.preparation import take_snapshot
from forecast.data.results import Results
from forecast.data.snapshots import move_pointer
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.operations.refit import refit_on_all_data
from pipelines import fetch, prepare, train, tune

NAME = "df"
SPLITS = {"train": 0.5, "validation": 0.2, "calibration": 0.2}


def trained(
    root: Path,
    frame: pd.DataFrame,
    entry: Mapping[str, Any],
    models: Mapping[str, Any],
    budget: Mapping[str, Any],
    *,
    tuned: bool = False,
) -> Results:
    """The stages up to `train`. entry: what datasets.yaml says of the frame besides its source and
    splits.
    """
    for name in ("configs", "data"):
        (root / name).mkdir()
    frame.to_parquet(root / "data" / f"{NAME}.parquet")
    source = {"kind": "file", "path": f"data/{NAME}.parquet"}
    whole = {
        "title": "y",
        "source": source,
        "splits": SPLITS,
        "licence": {"name": "none", "attribution": ""},
        **entry,
    }
    grid = {
        "grid": "all",
        "grids": {"all": list(models)},
        "rankings": ["shipped"],
        "models": dict(models),
    }
    usual = yaml.safe_load(Path("configs/evaluation.yaml").read_text())
    datasets = {"run": [NAME], "datasets": {NAME: whole}}
    contents = {"datasets": datasets, "models": grid, "tuning": dict(budget), "evaluation": usual}
    for name, content in contents.items():
        (root / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    move_pointer(root, NAME, take_snapshot(NAME, load_dataset(NAME, root / "configs"), root=root))
    fetch.main(NAME, str(root))
    prepare.main(NAME, str(root))
    for stage in (tune, train) if tuned else (train,):
        stage.main(NAME, str(root), state=str(root / ".forecast"), jobs=1)
    return Results(ProjectPaths.of(root), NAME)


def promoted(results: Results, name: str, target: Path) -> Ensemble:
    """What `promote` puts into service of the model `name`: its recipe, fitted on all rows."""
    scored = results.folder(results.candidate(name, "shipped") or "")
    refit_on_all_data(results.paths.root, results.name, scored, target, jobs=1)
    return load_trained_ensemble(target)
