"""Diagnostics of a trained network: found once, kept under the code that finds them, in its
record.
"""

from __future__ import annotations

import json

import pytest

from forecast.backtest.diagnostics import examine
from forecast.backtest.prepared_data import PreparedData
from forecast.config.paths import ProjectPaths
from forecast.system import files
from tests.contract.families import forecaster
from tests.support import problems

PLACE = PreparedData(ProjectPaths.of("nowhere"), "shops", "frame.parquet", "digest")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "load_problem", lambda place: problems.shops())
    forecaster("narx", "last").save(tmp_path / "seed")
    return tmp_path


def test_they_are_those_of_the_saved_network_on_validation_windows(folder):
    assert examine.read_or_diagnose(PLACE, folder) == examine.examine(
        forecaster("narx", "last"), problems.shops()
    )


def test_they_are_found_once(folder, monkeypatch):
    first = examine.read_or_diagnose(PLACE, folder)
    monkeypatch.setattr(examine, "diagnose", None)
    assert examine.read_or_diagnose(PLACE, folder) == first


def test_other_code_finds_them_again(folder, monkeypatch):
    examine.read_or_diagnose(PLACE, folder)
    monkeypatch.setattr(examine, "code_digest", lambda modules: "f" * 64)
    counted = lambda model, windows: examine.NetworkDiagnosis(  # noqa: E731
        numbers=examine.NetworkNumbers(memory=len(windows)),
        arrays=examine.NetworkCurves(lags=(), gradient=()),
    )
    monkeypatch.setattr(examine, "diagnose", counted)
    assert examine.read_or_diagnose(PLACE, folder).numbers.memory == examine.N_WINDOWS
    assert len(list(folder.glob("diagnostics-*.json"))) == 2


def test_they_are_plain_json(folder):
    examine.read_or_diagnose(PLACE, folder)
    (kept,) = folder.glob("diagnostics-*.json")
    assert json.loads(kept.read_text()) == files.read_json(kept)
    assert files.read_json(kept)["numbers"]["loop"]["verdict"] in (
        "stable",
        "marginal",
        "sensitive",
        "drifting",
        "unstable",
    )
