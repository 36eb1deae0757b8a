"""The fit on all data that serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecast.forecaster import fitting
from forecast.forecaster.ensemble import load_trained_ensemble
from forecast.operations import refit
from forecast.system import files
from pipelines import fetch, prepare, train
from tests.operations.projects import NAME
from tests.support import small_project


def test_a_network_takes_the_steps_of_its_scored_fit_and_chooses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_project.write(tmp_path / "project")
    entries = {"net": {"family": "mlp", "units": 4}}
    grid = {"grid": "tiny", "grids": {"tiny": ["net"]}, "models": entries}
    small_project.write_yaml(root / "configs" / "models.yaml", grid)
    (root / "requirements.lock").write_text("")
    for stage in (fetch, prepare):
        stage.main(NAME, root=str(root))
    train.main(NAME, root=str(root), state=str(root / ".forecast"), jobs=1)
    scored_folder = root / "data" / "trained" / NAME / "net.last"
    record = files.read_json(scored_folder / "record.json")

    def choose(*_: object) -> None:
        raise AssertionError("steps are chosen")

    monkeypatch.setattr(fitting, "window_error", choose)
    refit.refit_on_all_data(root, NAME, scored_folder, tmp_path / "all", jobs=1)
    scored = load_trained_ensemble(scored_folder).forecasters
    newest = load_trained_ensemble(tmp_path / "all").forecasters
    steps = [forecaster.steps for forecaster in newest]
    assert steps == [fit["best_step"] for fit in record["seeds"]] and any(steps)
    for old, new in zip(scored, newest, strict=True):
        assert new.scaling.centre != old.scaling.centre, "that of more rows"
        assert not np.allclose(new.weights["readout/kernel"], old.weights["readout/kernel"])
