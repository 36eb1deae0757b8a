"""Diagnostics of a trained network: found once, kept under the code that finds them, in its record."""

from __future__ import annotations

import json

import pytest

from forecast import files
from forecast.evaluation import examining
from forecast.evaluation.backtest import Place
from tests import problems
from tests.contract.families import forecaster

PLACE = Place("nowhere", "shops", "frame.parquet", "digest")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(examining, "load_problem", lambda place: problems.shops())
    forecaster("narx", "last").save(tmp_path / "seed")
    return tmp_path


def test_they_are_those_of_the_saved_network_on_validation_windows(folder):
    assert examining.diagnosed(PLACE, folder) == examining.examine(forecaster("narx", "last"), problems.shops())


def test_they_are_found_once(folder, monkeypatch):
    first = examining.diagnosed(PLACE, folder)
    monkeypatch.setattr(examining, "diagnose", None)
    assert examining.diagnosed(PLACE, folder) == first


def test_other_code_finds_them_again(folder, monkeypatch):
    examining.diagnosed(PLACE, folder)
    monkeypatch.setattr(examining, "code_digest", lambda modules: "f" * 64)
    monkeypatch.setattr(examining, "diagnose", lambda model, windows: {"windows": len(windows)})
    assert examining.diagnosed(PLACE, folder) == {"windows": examining.WINDOWS}
    assert len(list(folder.glob("diagnostics-*.json"))) == 2


def test_they_are_plain_json(folder):
    examining.diagnosed(PLACE, folder)
    (kept,) = folder.glob("diagnostics-*.json")
    assert json.loads(kept.read_text()) == files.read_json(kept)
    assert files.read_json(kept)["numbers"]["loop"]["verdict"] in (
        "stable", "marginal", "sensitive", "drifting", "unstable",
    )  # fmt: skip
