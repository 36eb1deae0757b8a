"""A project of commit 21f263c under the code of today, in place; tests/fixtures/README.md says what
is in it.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.data.panel import from_frame
from forecast.forecaster.serving import Service
from forecast.operations import champion, registry
from forecast.tracking import place, store
from tests.support import small_project

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "project-21f263c"
FORECASTS = json.loads((FIXTURE / "forecasts.json").read_text())
NAME = "wave"
NEW_NAMES = {
    "season:": "season_length:",
    "past:": "past_exogenous:",
    "future:": "calendar_features:",
}


@pytest.fixture(scope="module")
def former(tmp_path_factory) -> Path:
    """Unpacked where the project never was."""
    root = tmp_path_factory.mktemp("former")
    with tarfile.open(FIXTURE / "project.tar.xz") as archive:
        # from 3.11.4 on
        archive.extractall(root, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return root / "project"


def output(root: Path, *words: str) -> str:
    done = small_project.command(root, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def logged(root: Path) -> dict[str, Path]:
    return {
        folder.name: folder / "artifacts"
        for folder in (root / "mlartifacts" / NAME / "models").iterdir()
    }


def prepared(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "data" / "prepared" / NAME / "frame.parquet")


def test_every_family_saved_by_an_earlier_version_forecasts_what_it_did(former):
    frame, last = prepared(former), {}
    for name, folder in logged(former).items():
        (saved,) = (folder / "artifacts").iterdir()
        ensemble = Service.load(saved).ensemble
        panel = from_frame(frame, NAME, ensemble.task)
        last[name] = ensemble.predict(panel, {NAME: np.array([len(frame) - 1])})[NAME].ravel()
    assert last.keys() == FORECASTS.keys() and len(last) == 21
    for name, values in last.items():
        np.testing.assert_allclose(values, FORECASTS[name], rtol=1e-9, err_msg=name)


def test_a_project_of_an_earlier_version_is_used_on_in_place(former):
    """Status, forecast, history and rollback, as commands; then the registry's own copy of the
    former champion.

    Keys that 0.2 renamed are refused with their place first, and nothing but their names has to
    change.
    """
    refused, entries = (
        small_project.command(former, "predict", NAME),
        former / "configs" / "datasets.yaml",
    )
    assert refused.returncode == 2 and "Did you mean 'season_length'?" in refused.stderr
    assert all(f"unknown key 'datasets.wave.{old[:-1]}'" in refused.stderr for old in NEW_NAMES)
    text = entries.read_text()
    for old, new in NEW_NAMES.items():
        text = text.replace(f"    {old}", f"    {new}")
    entries.write_text(text)
    (row,) = json.loads(output(former, "status", "--format", "json"))
    assert (row["champion"], row["model"], row["state"]) == (1, "auto_ets", "good")
    assert row["live_issues"] == 1 and row["live_error"] is None
    told = json.loads(output(former, "predict", NAME, "--format", "json"))
    np.testing.assert_allclose(
        [entry["y_hat"] for entry in told["forecast"]], [2.27825090069, 1.64862556054]
    )
    assert {"lo_80", "hi_95"} <= told["forecast"][0].keys()

    assert json.loads(output(former, "rollback", NAME, "--format", "json")) == [
        {"dataset": NAME, "champion": 2}
    ]
    told = json.loads(output(former, "predict", NAME, "--format", "json"))
    np.testing.assert_allclose(
        [entry["y_hat"] for entry in told["forecast"]], [2.23959957247, 1.67629320227]
    )
    events = json.loads(output(former, "history", NAME, "--format", "json"))
    assert [event["event"] for event in events] == ["promoted"] * 2 + ["gate refused"] + [
        "rolled back"
    ] * 2
    assert "0 runs made, 19 already there" in output(former, "sync")
    registry.rebuild(former, NAME, 1)
    assert champion.load_version(former, NAME, 1).meta.candidate == "auto_ets"
    with store.opened(place(former)) as client:
        assert len(client.search_experiments()) == 3
