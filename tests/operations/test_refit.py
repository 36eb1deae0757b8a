"""The fit on all data that serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.backtest import training
from forecast.config.paths import ProjectPaths
from forecast.data.panel import from_frame
from forecast.forecaster import fitting
from forecast.forecaster.ensemble import load_trained_ensemble
from forecast.forecaster.serving import keep_forecastable
from forecast.operations import challenger, refit
from forecast.operations.predicting import read_newest_frame
from forecast.system import files
from forecast.system.errors import DataError, ForecastError
from pipelines import fetch, prepare, train
from tests.operations.projects import NAME
from tests.support import frame_project, small_project

ENTRY = {
    "calendar": {"kind": "regular", "freq": "1D"},
    "horizon": 7,
    "lookback": 14,
    "season_length": 7,
    "target": {"column": "y"},
}
BUDGET = {
    "seeds": [0],
    "n_trials": 1,
    "trial_steps": 1,
    "final_steps": 1,
    "evaluate_every": 1,
    "base_seed": 0,
}


def test_a_network_takes_the_steps_of_its_scored_fit_and_chooses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_project.write(tmp_path / "project")
    entries = {"net": {"family": "mlp", "units": 4}}
    grid = {"grid": "tiny", "grids": {"tiny": ["net"]}, "models": entries}
    small_project.write_yaml(root / "configs" / "models.yaml", grid)
    budget = {"n_trials": 1, "trial_steps": 1, "final_steps": 100, "evaluate_every": 10}
    seeds = {"seeds": [0, 1], "base_seed": 0}
    small_project.write_yaml(root / "configs" / "tuning.yaml", {**budget, **seeds})
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


def _shops(days: dict[str, int]) -> pd.DataFrame:
    """Sales of each shop over its newest `days`, with a week and lognormal noise."""
    frames = []
    for shop, n_days in days.items():
        ds = pd.date_range(end="2024-06-30", periods=n_days)
        noise = np.random.default_rng(n_days).normal(0, 0.5, n_days)
        frames.append(
            pd.DataFrame({"unique_id": shop, "ds": ds, "y": (50 + ds.day_of_week) * np.exp(noise)})
        )
    return pd.concat(frames, ignore_index=True)


MEAN_ENTRY = ENTRY | {"target": [{"column": "y", "transform": "log", "point": "mean"}]}


@pytest.mark.parametrize("name", ["seasonal_naive", "theta"])
def test_a_shop_that_is_not_scored_gets_means_from_the_errors_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training, "SERIES_PER_TASK", 2)
    (tmp_path / "project").mkdir()
    frame = _shops({"a": 301, "b": 302, "c": 303, "new": 60})
    models = {name: {"family": name}}
    results = frame_project.trained(tmp_path / "project", frame, MEAN_ENTRY, models, BUDGET)
    scored = load_trained_ensemble(results.folder(name)).forecasters[0]
    served = frame_project.promoted(results, name, tmp_path / "all").forecasters[0]
    assert scored.corrected_series == ("a", "b", "c")
    assert served.corrected_series == ("a", "b", "c", "new")
    np.testing.assert_array_equal(served.smearing[:3], scored.smearing)
    of_new = np.exp(served.smearing[3]).mean(axis=-1)
    np.testing.assert_allclose(of_new, np.exp(scored.smearing).mean(axis=(0, -1)), rtol=0.2)
    assert of_new.min() > 1.05, "a mean is above the median"


def test_a_refit_refuses_rows_whose_values_changed_since_they_were_compared(
    tmp_path: Path,
) -> None:
    days = pd.date_range(end="2024-06-30", periods=300)
    frame = pd.DataFrame({"unique_id": "a", "ds": days, "y": np.arange(300) % 7 + 1.0})
    models = {"naive": {"family": "naive"}}
    results = frame_project.trained(tmp_path, frame, ENTRY, models, BUDGET)
    raw = ProjectPaths.of(tmp_path).raw(frame_project.NAME)
    rows = files.read_frame(raw)
    changed = rows["y"].where(rows["ds"] < rows["ds"].max(), 5.5)
    files.write_frame(raw, rows.assign(y=changed))
    with pytest.raises(DataError, match="have changed since it was compared"):
        frame_project.promoted(results, "naive", tmp_path / "all")


def test_a_station_too_young_for_any_block_is_in_the_fit_that_serves(tmp_path: Path) -> None:
    days = pd.date_range(end="2024-06-30", periods=300)
    week = 5 * np.sin(2 * np.pi * np.arange(300) / 7)
    old = pd.DataFrame({"unique_id": "old", "ds": days, "y": 50 + week})
    young = old.tail(40).assign(unique_id="young", y=lambda rows: rows["y"] + 100)
    models = {name: {"family": name} for name in ("naive", "ridge")}
    frame = pd.concat([old, young], ignore_index=True)
    results = frame_project.trained(tmp_path, frame, ENTRY, models, BUDGET)
    scored = load_trained_ensemble(results.folder("ridge"))
    assert scored.scaling.centre.keys() == {"old"} == {*results.forecasts("ridge")["unique_id"]}
    serving = frame_project.promoted(results, "ridge", tmp_path / "all")
    raw = ProjectPaths.of(tmp_path).raw(frame_project.NAME)
    rows = files.read_frame(raw)
    files.write_frame(raw, rows[rows["ds"] < rows["ds"].max()])
    with pytest.raises(DataError, match="have changed since it was compared"):
        frame_project.promoted(results, "ridge", tmp_path / "fewer")
    files.write_frame(raw, rows)
    frame = read_newest_frame(tmp_path, frame_project.NAME, results.dataset, serving)
    panel = from_frame(frame, "df", serving.task)
    usable, left_out = keep_forecastable(panel, serving)
    rows = {name: np.array([len(series) - 1]) for name, series in usable.by_id.items()}
    forecasts = serving.predict(usable, rows)
    assert not left_out and forecasts.keys() == {"old", "young"}
    np.testing.assert_allclose(forecasts["young"] - forecasts["old"], 100, atol=1.0)


def refit_as(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[ForecastError]
) -> str:
    """The message of a refit whose process runs the shell script."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(challenger.sys, "executable", str(python))
    with pytest.raises(kind) as error:
        challenger.run_refit(tmp_path, NAME, tmp_path, tmp_path, on="all", environment={})
    return str(error.value)


@pytest.mark.parametrize("warning", ["", "echo 'UserWarning: a step is missing' >&2"])
def test_a_refit_that_the_system_kills_is_told_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    warning: str,
) -> None:
    began = """echo '{"stage": "refit", "began": 1}' > "$FORECAST_STAGE_LOG" """
    told_reason = refit_as(f"{warning}\n{began}\nkill -9 $$", tmp_path, monkeypatch, ForecastError)
    assert told_reason == "The refit ended without a message (killed, or out of memory)."
    assert ("a step is missing" in capsys.readouterr().err) == bool(warning)


def test_a_refit_that_fails_after_a_warning_is_told_by_its_message_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
echo 'UserWarning: a step is missing' >&2
echo 'refit: its rows have changed' >&2
echo '{"stage": "refit", "code": 3, "message": "refit: its rows have changed"}' \\
    > "$FORECAST_STAGE_LOG"
exit 3"""
    assert refit_as(script, tmp_path, monkeypatch, DataError) == "refit: its rows have changed"
    assert capsys.readouterr().err == "UserWarning: a step is missing\n"


def test_a_refit_that_ends_before_its_first_log_line_is_told_by_its_own_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
echo 'Traceback (most recent call last):' >&2
echo "ModuleNotFoundError: No module named 'lightgbm'" >&2
exit 1"""
    told_reason = refit_as(script, tmp_path, monkeypatch, ForecastError)
    assert told_reason == "refit: ModuleNotFoundError: No module named 'lightgbm'"
    assert capsys.readouterr().err.startswith("Traceback")
    told_reason = refit_as("exit 1", tmp_path, monkeypatch, ForecastError)
    assert told_reason == "The refit ended without a message (killed, or out of memory)."


def test_a_refit_whose_last_words_are_no_utf8_is_told_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = r"printf 'OSError: Zugriff verweigert f\374r Modelle\n' >&2; exit 1"
    message = refit_as(script, tmp_path, monkeypatch, ForecastError)
    assert message == "refit: OSError: Zugriff verweigert f\N{REPLACEMENT CHARACTER}r Modelle"
