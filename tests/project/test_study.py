"""The study of recurrent networks: its cells, its systems, and a page that equals its results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import study, study_page
from bench.study import Cell, base_setting, cells_of, planned_cells
from bench.study_systems import SYSTEMS
from tests.support.small_project import ROOT

SHORT = replace(base_setting("fading 5"), months=1)


def test_the_figures_of_the_study_are_those_of_its_results() -> None:
    figures = study_page.figures(ROOT)
    assert len(figures) == 3
    for name, figure in figures.items():
        assert figure == (ROOT / name).read_text(encoding="utf-8"), name


def test_every_measured_cell_is_planned_and_measured_once() -> None:
    rows = study.read_results()
    cells = study.measured_cells(study.FILE)
    assert len(rows) == len(cells)
    assert cells <= set(planned_cells())


@pytest.mark.parametrize("name", study_page.SIMULATED)
def test_nothing_beats_the_conditional_mean_of_a_simulated_system(name: str) -> None:
    record = SYSTEMS[name].observe(Path(), 1, 5000)
    residual = record.values[0] - record.mean[0]
    assert residual.std() == pytest.approx(1.0, abs=0.04)
    assert abs(np.corrcoef(residual[1:], record.values[0, :-1])[0, 1]) < 0.05


def test_a_longer_history_of_a_simulated_system_ends_like_a_short_one() -> None:
    short, long = (SYSTEMS["fading 5"].observe(Path(), 1, rows).values[0] for rows in (50, 400))
    np.testing.assert_allclose(short, long[-50:], atol=0.1)


def test_a_study_goes_on_where_it_was_stopped_and_ends_with_its_minutes(tmp_path: Path) -> None:
    file = tmp_path / "cells.csv"
    cells = [*cells_of(SHORT, ("ffnn",))]
    study.run(cells[:2], tmp_path, file)
    before = file.read_text()
    study.run(cells, tmp_path, file, minutes=1, clock=iter([0.0, 30.0, 90.0]).__next__)
    assert file.read_text().startswith(before)
    assert study.measured_cells(file) == set(cells[:3])


def test_a_system_whose_file_is_absent_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "cells.csv"
    study.run([*cells_of(base_setting("load"), ("gru",))], tmp_path, file)
    assert not file.exists()


def test_a_network_is_tested_against_the_ridge_and_the_trees_on_the_same_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "CHOICES", study.CHOICES[:2])  # a choice and a seed are as dear
    monkeypatch.setattr(study, "SEEDS", 2)
    result = study.measure(
        Cell(**vars(SHORT), architecture="gru", skip="linear", steps=60), tmp_path, "x"
    )
    ridge = study.score_reference(SHORT, "ridge", tmp_path)
    assert result.versus_ridge == pytest.approx(result.mae / ridge.losses.mean() - 1)
    assert result.ridge_low < result.versus_ridge < result.ridge_high
    assert len(result.best_steps.split()) == study.SEEDS and result.parameters > 0


@pytest.mark.parametrize(
    ("architecture", "skip", "reference"),
    [("gru", "linear", "ridge"), ("narx", "linear", "arx"), ("narx", "last", "naive")],
)
def test_a_network_is_tested_against_what_it_stands_on(
    architecture: str, skip: str, reference: str
) -> None:
    cell = Cell(**vars(SHORT), architecture=architecture, skip=skip, steps=600)
    assert study.skip_model(cell) == reference


def test_taps_and_burn_in_reach_over_the_whole_lookback() -> None:
    for lookback in (24, 168, 672):
        tdnn = study.entry("tdnn", lookback, 1e-2, 0.0)
        assert (tdnn["taps"] - 1) * (1 + tdnn["dilation"]) >= lookback - 1
        assert study.entry("gru", lookback, 1e-2, 0.0)["burn_in"] == lookback
        assert study.entry("narx", lookback, 1e-2, 0.0)["target_lags"] == lookback
