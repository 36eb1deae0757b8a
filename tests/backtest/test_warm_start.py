"""Weights a training begins with: found for their own recipe only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forecast import models
from forecast.backtest import training
from forecast.backtest.candidates import Candidate
from forecast.system import files

SPEC = models.spec({"family": "elman"}, where="a test")
ELMAN = Candidate("elman", SPEC, "shipped", "linear")
WEIGHTS = {"w": np.arange(3.0)}


def left(root: Path) -> None:
    files.write_arrays(root / "saved.npz", WEIGHTS)
    training.write_warm_weights(root / "data" / "warm" / "wave", ELMAN, {0: root / "saved.npz"})


def test_weights_are_found_for_their_candidate_and_seed(tmp_path: Path) -> None:
    left(tmp_path)
    found = training.find_warm_weights(tmp_path / "data" / "warm" / "wave", ELMAN, 0)
    assert found is not None and found.read_bytes() == (tmp_path / "saved.npz").read_bytes()
    assert training.find_warm_weights(tmp_path / "data" / "warm" / "wave", ELMAN, 1) is None


def test_weights_of_another_recipe_are_left_alone(tmp_path: Path) -> None:
    left(tmp_path)
    wider = ELMAN.with_values({"units": 7})
    other_skip = Candidate("elman", SPEC, "shipped", "last")
    assert [
        training.find_warm_weights(tmp_path / "data" / "warm" / "wave", candidate, 0)
        for candidate in (wider, other_skip)
    ] == [None, None]


def test_a_plain_run_has_none(tmp_path: Path) -> None:
    assert training.find_warm_weights(tmp_path / "data" / "warm" / "wave", ELMAN, 0) is None
