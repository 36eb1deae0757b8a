"""The project's own pipeline, models and datasets with little data and few steps: the same bytes
however it is run.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml

from forecast.config.datasets import load_dataset, load_datasets
from forecast.config.models import Models, load_models
from forecast.data import sources
from forecast.data.preparation import take_snapshot
from forecast.data.snapshots import move_pointer
from forecast.data.sources import Request
from tests.faults.processes import dvc, eventually, left_behind, processes_of, started
from tests.support import small_project
from tests.support.small_project import ROOT

SHARES = {"train": 0.5, "validation": 0.2, "calibration": 0.15}
SHORT = {
    "stocks": {"rows": 320, "lookback": 16, "step_size": 3},
    "volatility": {"rows": 320, "lookback": 16, "step_size": 3},
    "weather": {"rows": 480, "lookback": 48, "step_size": 12},
    "stations": {"rows": 320, "lookback": 48, "step_size": 12},
}
BUDGET = {
    "n_trials": 1,
    "trial_steps": 2,
    "final_steps": 2,
    "evaluate_every": 1,
    "seeds": [0],
    "base_seed": 0,
}
LEADERBOARD = "reports/leaderboard.csv"
OTHERS = ("stocks", "volatility", "stations")
"""Datasets that go through the same code as `weather`, which has nearly the same rows: their own
entries are run by `make test-slow`.
"""


def cut_short(root: Path, name: str) -> dict:
    """The dataset's entry on the last rows of its own data, which go into a CSV file."""
    entry = yaml.safe_load((ROOT / "configs" / "datasets.yaml").read_text())["datasets"][name]
    rows = SHORT[name]["rows"]
    frame = sources.read(
        Request(name=name, dataset=load_dataset(name, ROOT / "configs"), root=ROOT)
    ).frame
    frame = frame[frame["ds"] <= frame.groupby("unique_id")["ds"].max().min()]
    path = root / "data" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.groupby("unique_id").tail(rows).to_csv(path, index=False)
    source = {"kind": "file", "path": f"data/{name}.csv"}
    return {
        **entry,
        "source": source,
        "splits": SHARES,
        **{k: SHORT[name][k] for k in ("lookback", "step_size")},
    }


def write(root: Path, names: Sequence[str]) -> Path:
    """Code, stages and models as they are; data, budget and windows of the datasets made small."""
    small_project.copy_code(root)
    shutil.copytree(ROOT / "configs", root / "configs", ignore=shutil.ignore_patterns(".tmp-*"))
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    entries = {"run": list(names), "datasets": {name: cut_short(root, name) for name in names}}
    small_project.write_yaml(root / "configs" / "datasets.yaml", entries)
    small_project.write_yaml(root / "configs" / "tuning.yaml", BUDGET)
    models = root / "configs" / "models.yaml"
    both = f"rankings: [{', '.join(small_project.RANKINGS)}]"
    assert both in models.read_text()
    # the other ranking trains the same networks on another skip: test_resume.py, tests/contract
    models.write_text(models.read_text().replace(both, f"rankings: [{small_project.RANKINGS[0]}]"))
    for name in names:
        move_pointer(
            root, name, take_snapshot(name, load_dataset(name, root / "configs"), root=root)
        )
    small_project.initialise_dvc(root)
    small_project.use_this_interpreter(root)
    return root


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Plain `dvc repro` with one worker and a PATH that knows nothing of the environment."""
    names = [name for name in load_datasets(ROOT / "configs").run if name not in OTHERS]
    root = write(tmp_path_factory.mktemp("whole") / "untouched", names)
    run_plainly(root)
    yield root
    end_all(root)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same of the other datasets, in a project of their own."""
    root = write(tmp_path_factory.mktemp("others") / "untouched", OTHERS)
    run_plainly(root)
    yield root
    end_all(root)


def run_plainly(root: Path) -> None:
    done = dvc(root, "repro", FORECAST_JOBS="1", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def struck(untouched: Path) -> Iterator[Path]:
    """The same project with its studies and nothing else of what was computed; DVC has no memory of
    it.

    Tuning that is killed, and by two workers: test_resume.py.
    """
    root = untouched.with_name("struck")
    shutil.copytree(
        untouched,
        root,
        ignore=shutil.ignore_patterns("dvc.lock", "cache", "tmp", "memo", "reports"),
    )
    for stage in ("raw", "prepared", "tuned", "trained", "compared"):
        shutil.rmtree(root / "data" / stage)
    yield root
    end_all(root)


def end_all(root: Path) -> None:
    for process in processes_of(root):
        process.kill()


SEASONAL = {"seasonal_naive", "seasonal_mean", "ets_seasonal", "arima_fourier", "climatology_ar"}
"""Rows that need a season."""


def test_every_model_of_the_grid_stands_on_the_board_of_every_dataset(untouched: Path) -> None:
    grid = names_of(load_models(ROOT / "configs"))
    models = models_by_dataset(untouched)
    assert models["weather"] == grid - {"auto_arima", "har"}  # they know no season
    assert {*models, *OTHERS} == {*load_datasets(ROOT / "configs").run}


@pytest.mark.slow
def test_every_model_of_the_grid_stands_on_the_board_of_the_other_datasets(others: Path) -> None:
    models = models_by_dataset(others)
    grid = names_of(load_models(ROOT / "configs"))
    assert models["stocks"] == models["volatility"] == grid - SEASONAL
    assert models["stations"] == names_of(load_models(ROOT / "configs", "architectures"))


def models_by_dataset(root: Path) -> dict[str, set[str]]:
    """The rows of the leaderboard, none of which has failed."""
    board = pd.read_csv(root / LEADERBOARD)
    assert set(board["status"]) == {"ok"}
    assert (root / "reports" / "report.html").exists()
    return dict(board.groupby("dataset")["model"].agg(set))


def names_of(models: Models) -> set[str]:
    """The rows of a grid, but for forecasts of a service: no data of the project keep any."""
    return {*models.entries_to_fit(), *models.combinations()} - {"service"}


@pytest.mark.slow
def test_a_run_killed_once_and_resumed_with_more_workers_gives_the_same_bytes(
    struck: Path, untouched: Path
) -> None:
    run = started(struck, "run", "--jobs", "2")
    assert eventually(lambda: len(list((struck / ".forecast" / "memo").glob("[!.]*"))) >= 3, 400)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    assert eventually(lambda: not processes_of(struck), 10)
    resumed = small_project.run_process(struck, "run", "--jobs", "2")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (struck / LEADERBOARD).read_bytes() == (untouched / LEADERBOARD).read_bytes()
    assert left_behind(struck) == []


def test_nothing_is_left_to_do_afterwards(untouched: Path) -> None:
    assert "up to date" in dvc(untouched, "status").stdout
