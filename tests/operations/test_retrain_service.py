"""Retraining on a live service: new hours each day, a week in which it fails, and the day after."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.config.paths import ProjectPaths
from forecast.data.snapshots import read_pointer
from forecast.operations import champion
from forecast.operations.challenger import RetrainingJob
from forecast.operations.records import read_decisions
from forecast.operations.retrain import rehearse, retrain
from forecast.operations.status import read_status
from forecast.operations.worktree import newest_data_root
from forecast.system.errors import DataError
from forecast.system.files import read_json
from tests.operations import retraining
from tests.support import small_project
from tests.support.services import Services, answers, serving

NAME = "city"
START = pd.Timestamp("2021-06-01 22:00")


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with serving(Services(now=START)) as running:
        yield running


@pytest.fixture(scope="module")
def project(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed configuration of a dataset that nobody has fetched yet."""
    root = tmp_path_factory.mktemp("service") / "project"
    small_project.write_real(root, models=())
    source = {
        "kind": "open_meteo",
        "places": {"dublin": {"latitude": 53.35, "longitude": -6.26}},
        "variables": {"temp": "temperature_2m"},
        "start": "2021-03-01",
        "base_url": services.url,
    }
    settings = {
        **small_project.DATASET,
        "source": source,
        "calendar": {"kind": "regular", "freq": "1h"},
        "target": {"column": "temp"},
        "horizon": 6,
        "lookback": 24,
        "season_length": 24,
        "step_size": 6,
    }
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: settings}}
    )
    retraining.configure(root, ("naive", "ridge"))
    rules = {
        "defaults": {"fresh_steps": 240, "after_promotion": "serve", "psi": 100, "live_error": 100}
    }
    small_project.write_yaml(root / "configs" / "retraining.yaml", rules)
    (root / ".gitignore").write_text(
        "/.forecast/\n/.dvc/cache\n/.dvc/tmp\n/mlflow.db*\n/mlartifacts/\n__pycache__/\n"
    )
    retraining.git(root, "init", "-q")
    retraining.commit(root)
    return root


def job(root: Path, now: pd.Timestamp, steps: list[str] | None = None) -> RetrainingJob:
    log = steps if steps is not None else []
    return RetrainingJob(
        root=root,
        dataset=NAME,
        now=now,
        environment=small_project.environment(FORECAST_JOBS="1"),
        log_step=log.append,
    )


@pytest.mark.slow  # test_retrain_killed.py has a first champion, and one whose data are gone
def test_a_first_champion_a_week_of_failures_and_the_day_after(
    project: Path, services: Services
) -> None:
    first = retrain(job(project, START))
    assert first.word == "first" and (first.version, first.refit_version) == (1, None)
    version_before = champion.load(project, NAME).version
    assert newest_data_root(project, NAME) != project  # the data were taken beside the checkout
    pointer = read_pointer(newest_data_root(project, NAME), NAME)

    services.fail("", answers(404, '{"error": true, "reason": "gone"}'))
    for day in range(1, 8):
        services.now = START + pd.Timedelta(day, "D")
        with pytest.raises(DataError, match="gone"):
            retrain(job(project, services.now))
        assert champion.load(project, NAME).version == version_before
    assert (
        read_pointer(newest_data_root(project, NAME), NAME) == pointer
        and len(read_decisions(project, NAME)) == 1
    )

    services.faults.clear()
    services.now += pd.Timedelta(1, "D")
    steps: list[str] = []
    after = rehearse(job(project, services.now, steps))
    assert after.word == "kept" and after.due == ("192 new steps (6 wanted)",)
    assert (after.numbers.n_fresh or 0) >= 32
    assert after.numbers.evidence is not None and after.numbers.evidence.note == ""
    assert steps[:2] == ["work tree", "fetch"] and "tune" not in steps  # tuned values are kept
    assert len(read_decisions(project, NAME)) == 1
    assert retraining.git(project, "status", "--porcelain") == ""


@pytest.mark.slow
def test_rows_without_dates_are_retrained_as_they_grow(tmp_path: Path) -> None:
    root = tmp_path / "project"
    retraining.write_project(root, models=("naive", "ridge"))
    settings = {**small_project.DATASET, "calendar": {"kind": "index"}}
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": ["wave"], "datasets": {"wave": settings}}
    )
    shutil.rmtree(root / "data" / "pointers")  # of the days that the project was made with
    retraining.commit(root)
    values = np.sin(np.arange(300)) + 0.2 * np.random.default_rng(3).standard_normal(300)
    for hours, (rows, word) in enumerate(((250, "first"), (250, "not due"), (300, "kept"))):
        # git ignores it
        pd.DataFrame({"y": values[:rows]}).to_csv(root / "data" / "wave.csv", index=False)
        moment = START + pd.Timedelta(hours, "h")
        outcome = retrain(replace(job(root, moment), dataset="wave"))
        assert outcome.word == word, outcome.reason
        status = read_status(root, "wave", now=moment.tz_localize("UTC"))
        assert status.last_run == f"{moment.isoformat()}: {word} ({outcome.reason})"
    assert outcome.due == ("50 new steps (2 wanted)",) and outcome.numbers.n_fresh == 60
    tree = ProjectPaths.of(root).retraining("wave") / "tree"
    borders = read_json(ProjectPaths.of(tree).borders("wave"))
    assert (borders["calibration_end"], borders["test_end"]) == (
        "1970-01-01T03:58:00",
        "1970-01-01T04:59:00",
    )


@pytest.mark.slow  # it needs the champion of the first one
def test_a_clock_that_was_set_back_makes_nothing_due(project: Path, services: Services) -> None:
    services.now = START - pd.Timedelta(2, "D")
    outcome = retrain(job(project, services.now))
    assert outcome.word == "not due" and champion.load(project, NAME).version == 1
