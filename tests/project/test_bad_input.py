"""Series that say little or nothing, from the snapshot to the page: told in words, never infinite,
never a crash.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lxml import html

from forecast.config.datasets import load_dataset
from forecast.data import snapshots
from forecast.data.preparation import take_snapshot
from tests.support.small_project import DATASET, ROOT, write_yaml

DAYS = 200
SPLITS = {
    "train_end": "2024-04-10",
    "validation_end": "2024-05-20",
    "calibration_end": "2024-06-09",
}
NO_SCALE = "its train part has no scale (constant, or one season), or its origins no actual"


@dataclass
class Outcome:
    verdicts: dict[str, Any]
    board: pd.DataFrame
    page: str

    @property
    def words(self) -> set[str]:
        return {test["word"] for test in self.verdicts["tests"]}


def series(y: Any = None) -> pd.DataFrame:
    days = pd.date_range("2024-01-01", periods=DAYS)
    wave = (
        20
        + 3 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
        + np.random.default_rng(0).normal(0, 1, DAYS)
    )
    return pd.DataFrame({"ds": days, "y": wave if y is None else y})


def compare_rules(
    root: Path, frame: pd.DataFrame, *, models: tuple[str, ...] = (), test_end: str = "2024-07-18"
) -> Outcome:
    """What the stages, run one after the other, make of `frame` and the baselines; a name may end
    in `-again`.
    """
    (root / "configs").mkdir()
    (root / "data").mkdir()
    dataset = {**DATASET, "splits": {**SPLITS, "test_end": test_end}}
    write_yaml(root / "configs" / "datasets.yaml", {"run": ["wave"], "datasets": {"wave": dataset}})
    grid = ["naive", "seasonal_naive", "ridge", *models]
    entries = {name: {"family": name.removesuffix("-again")} for name in grid}
    write_yaml(
        root / "configs" / "models.yaml",
        {"grid": "tiny", "grids": {"tiny": grid}, "models": entries},
    )
    for name in ("tuning.yaml", "evaluation.yaml"):
        shutil.copy(ROOT / "configs" / name, root / "configs" / name)
    frame.to_csv(root / "data" / "wave.csv", index=False)
    snapshots.move_pointer(
        root, "wave", take_snapshot("wave", load_dataset("wave", root / "configs"), root=root)
    )
    for stage in ("fetch", "prepare", "tune", "train", "compare"):
        options = (
            {"state": str(root / ".forecast"), "jobs": 1} if stage in ("tune", "train") else {}
        )
        importlib.import_module(f"pipelines.{stage}").main("wave", root=str(root), **options)
    importlib.import_module("pipelines.report").main(str(root))
    folder = root / "data" / "compared" / "wave"
    board = pd.read_csv(folder / "leaderboard.csv", dtype={"seed": str})
    content = json.loads((folder / "verdicts.json").read_text(), parse_constant=pytest.fail)
    page = html.fromstring((root / "reports" / "report.html").read_text()).text_content()
    return Outcome(
        content, board[board["seed"] == "mean"].set_index("model"), " ".join(page.split())
    )


def test_a_constant_series_has_no_scaled_error_and_the_page_says_why(tmp_path: Path) -> None:
    outcome = compare_rules(tmp_path, series(5.0))
    assert (
        outcome.board["mase"].isna().all()
        and outcome.board["skill"].isna().all()
        and (outcome.board["mae"] == 0).all()
    )
    for sentence in (
        "No model can be compared: no series has a scale and actuals.",
        f"wave (series) was not compared: {NO_SCALE}.",
    ):
        assert sentence in outcome.verdicts["sentences"] and sentence in outcome.page


def test_a_zero_scale_of_the_train_part_is_said_and_never_infinite(tmp_path: Path) -> None:
    frame = series()
    frame.loc[frame["ds"] <= SPLITS["train_end"], "y"] = 20.0
    outcome = compare_rules(tmp_path, frame)
    assert outcome.board["mase"].isna().all() and (outcome.board["mae"] > 0).all()
    assert not np.isinf(outcome.board.select_dtypes("number")).any(axis=None)
    assert f"wave (series) was not compared: {NO_SCALE}." in outcome.page


def test_a_constant_series_beside_another_is_left_out_and_the_other_compared(
    tmp_path: Path,
) -> None:
    outcome = compare_rules(
        tmp_path,
        pd.concat([series(5.0).assign(unique_id="flat"), series().assign(unique_id="wave")]),
    )
    assert outcome.board["mase"].notna().all() and outcome.verdicts["chosen"]
    assert f"flat (series) was not compared: {NO_SCALE}." in outcome.page


def test_too_few_origins_are_undecided_in_the_verdict_and_on_the_page(tmp_path: Path) -> None:
    outcome = compare_rules(tmp_path, series(), test_end="2024-06-15")
    assert outcome.words == {"undecided"} and (outcome.board["n_origins"] == 5).all()
    few = "too few separate horizons"
    assert f"undecided against repeating the last season: 5 origins, {few}" in outcome.page
    assert f"{few} to test: 5 origins of horizon 2 at step size 1, a test needs 8" in outcome.page


def test_models_with_the_same_forecasts_are_a_tie_in_words(tmp_path: Path) -> None:
    outcome = compare_rules(tmp_path, series(), models=("ridge-again",))
    assert outcome.verdicts["chosen"]["shipped"] == "ridge"
    assert {"ridge", "ridge-again"} <= set(outcome.verdicts["tied"]["shipped"])
    tie = [
        t
        for t in outcome.verdicts["tests"]
        if t["family"] == "best" and t["model"] == "ridge-again"
    ]
    assert {(t["p"], t["note"]) for t in tie} == {(1.0, "identical losses")}
    assert "Test of ridge-again against ridge: identical losses." in outcome.page


def test_a_model_that_returned_nan_is_a_failed_row_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecast.models.families import drift

    monkeypatch.setattr(
        drift.Spec,
        "forecast",
        lambda _, windows, *__, **___: np.full((len(windows), 2, 1), math.nan),
    )
    outcome = compare_rules(tmp_path, series(), models=("drift",))
    assert outcome.board.loc["drift", "status"] == "failed" and math.isnan(
        outcome.board.loc["drift", "mae"]
    )
    assert "are not finite: the model diverged on" in outcome.page
    (warning_of_drift,) = [
        warning for warning in outcome.verdicts["warnings"] if warning.startswith("drift: ")
    ]
    assert "Leave it out (`grids`" in warning_of_drift
    assert not [t for t in outcome.verdicts["tests"] if t["model"] == "drift"]
