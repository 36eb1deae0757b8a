"""The confirmation set is opened once per release, and that it was opened is written down first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench import confirmation_set
from bench.confirm import CONFIGS, RECORD, confirm, stages
from forecast import __version__
from forecast.config.datasets import load_datasets
from forecast.system import files
from forecast.system.errors import InputError
from tests.support import small_project

Capture = pytest.CaptureFixture[str]
NOW = pd.Timestamp("2026-01-05 10:00")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    for name in CONFIGS:
        files.write_text(place / "configs" / name, "{}\n")
    return place


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "secret"
    files.write_text(folder / "datasets.yaml", "run: [one]\n")
    files.write_text(folder / "data" / "one.csv", "ds,y\n2024-01-01,4711.5\n")
    return folder


def test_a_set_is_recorded_before_it_is_read_and_nothing_of_it_is(root: Path, data: Path) -> None:
    def fails(place: Path) -> None:
        assert (place / "configs" / "datasets.yaml").is_file() and (
            place / "data" / "one.csv"
        ).is_file()
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        confirm(root, data, now=NOW, run=fails)
    (opened,) = files.read_json(root / RECORD)
    assert opened["version"] == __version__ and opened["opened"] == "2026-01-05T10:00:00"
    assert "4711" not in (root / RECORD).read_text() and "secret" not in (root / RECORD).read_text()


def test_the_same_release_opens_it_once_and_another_set_still(root: Path, data: Path) -> None:
    ran: list[Path] = []
    confirm(root, data, now=NOW, run=ran.append)
    with pytest.raises(InputError, match="opened this confirmation set at 2026-01-05T10:00:00"):
        confirm(root, data, now=NOW, run=ran.append)
    files.write_text(data / "data" / "one.csv", "ds,y\n2024-01-01,4712.5\n")
    confirm(root, data, now=NOW, run=ran.append)
    assert len(ran) == 2 and len(files.read_json(root / RECORD)) == 2


def test_a_folder_without_entries_is_refused_and_not_recorded(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no datasets\.yaml there"):
        confirm(root, tmp_path, now=NOW, run=lambda place: None)
    assert not (root / RECORD).exists()


def test_the_set_is_written_anew_from_the_published_files_with_the_settings_kept_here(
    tmp_path: Path,
) -> None:
    hours = ["2013-03-10T06:00:00Z", "2013-03-10T06:00:00Z", "2013-03-10T08:00:00Z"]
    weather = pd.DataFrame({"origin": "JFK", "temp": [50.0, 32.0, 68.0], "precip": [0.0, 0.0, 0.1]})
    bars = pd.DataFrame(
        {"Date": ["2006-01-03"], "Open": [1.0], "High": [3.0], "Low": [0.5], "Close": [2.0]}
    )
    published = tmp_path / "published"
    for name in ("weather", "stocks"):
        (published / name).mkdir(parents=True)
    found = weather.assign(wind_speed=[10.0, 10.0, 1048.4], time_hour=hours)
    found.to_csv(published / confirmation_set.PUBLISHED[0], index=False)
    bars.assign(Volume=7, Name="KO").to_csv(
        published / "stocks" / "djia_KO_2006_2017.csv", index=False
    )
    confirmation_set.write(published, tmp_path)
    assert (tmp_path / "data" / "airports.csv").read_text().splitlines() == [
        "unique_id,ds,temp,precip,wind",
        "JFK,2013-03-10 06:00:00,10.0,0.0,16.09344",
        "JFK,2013-03-10 08:00:00,20.0,2.54,",
    ]
    shares = "unique_id,ds,open,high,low,close,volume\nKO,2006-01-03,1.0,3.0,0.5,2.0,7\n"
    assert (tmp_path / "data" / "shares.csv").read_text() == shares
    config = load_datasets(tmp_path)
    assert [(tmp_path / config.datasets[name].source.path).is_file() for name in config.run] == [
        True,
        True,
    ]


@pytest.mark.slow
def test_a_set_goes_from_its_csv_to_a_report_and_a_leaderboard(
    root: Path, tmp_path: Path, capsys: Capture
) -> None:
    made, folder = small_project.write(tmp_path / "made"), tmp_path / "folder"
    shutil.copytree(
        made / "data", folder / "data", ignore=shutil.ignore_patterns("snapshots", "pointers")
    )
    (made / "configs" / "datasets.yaml").rename(folder / "datasets.yaml")
    grid = ["naive", "ridge", "tdnn", "mean_networks"]
    networks = {"mean_networks": {"family": "combination", "members": "networks"}}
    families = {name: {"family": name} for name in grid[:3]} | networks
    small_project.write_yaml(
        root / "configs" / "models.yaml",
        {"grid": "default", "grids": {"default": grid}, "models": families},
    )
    tuning = {
        "n_trials": 1,
        "trial_steps": 4,
        "final_steps": 4,
        "evaluate_every": 2,
        "seeds": [0],
        "base_seed": 0,
    }
    small_project.write_yaml(root / "configs" / "tuning.yaml", tuning)
    (made / "configs" / "evaluation.yaml").replace(root / "configs" / "evaluation.yaml")
    place = confirm(root, folder, now=NOW, run=stages)
    assert set(pd.read_csv(place / "reports" / "leaderboard.csv").model) == set(grid)
    assert (
        place / "reports" / "report.html"
    ).is_file() and "wave, as shipped" in capsys.readouterr().out
