"""What stands in the data themselves: columns that tell the future, and test rows among the
training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.audit.changes import block_ends
from forecast.audit.data_checks import (
    check_columns,
    check_future_inputs,
    check_history,
    describe_strong_plans,
    find_copied_stretches,
)
from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.data import snapshots
from forecast.data.columns import add_known_ahead
from forecast.data.panel import Panel, from_frame
from tests.audit.cases import DATASET, wave

SETTINGS = Dataset.model_validate(DATASET)
NOISE = np.random.default_rng(1).normal(0, 0.05, len(wave()))


def panel(frame: pd.DataFrame) -> Panel:
    return from_frame(frame.assign(unique_id="wave"), "wave", SETTINGS.task)


def kinds_of(x: Callable[[pd.Series], pd.Series]) -> list[str]:
    """The detectors that name the column x made of the target."""
    frame = wave()
    return [finding.detector for finding in check_columns(panel(frame.assign(x=x(frame["y"]))))]


CLASSES, REGRESSION = "classes against later changes", "regression on later values"
LEAKS = {
    "the next value": (lambda y: 2.5 * y.shift(-1) + NOISE, "correlation with later values"),
    "the size of the next change": (lambda y: (y.shift(-1) - y).abs() + NOISE, REGRESSION),
    "a rising curve of the next value": (lambda y: np.exp(1.5 * y.shift(-1) - 30), REGRESSION),
    "a falling curve of the value after next": (lambda y: 1 / (y.shift(-2) - 5), REGRESSION),
    "the eve of a large change": (lambda y: ((y.shift(-1) - y).abs() > 3.5).astype(float), CLASSES),
    "the sign of the change over two days": (lambda y: (y.shift(-2) > y).astype(float), CLASSES),
}
CLEAN = {
    "the size of the last change": lambda y: y.diff().abs(),
    "a curve of the present value": lambda y: np.exp(y - 30),
    "the day after a large change": lambda y: (y.diff().abs() > 3.5).astype(float),
    "noise": lambda y: 0 * y + NOISE,
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_column_that_tells_the_future_is_named(name: str) -> None:
    x, detector = LEAKS[name]
    assert detector in kinds_of(x)


@pytest.mark.parametrize("name", CLEAN)
def test_a_column_of_the_past_is_not(name: str) -> None:
    assert not kinds_of(CLEAN[name])


PLANNED = Dataset.model_validate(
    {
        **DATASET,
        "past_exogenous": [],
        "future_exogenous": [{"column": "plan", "known_ahead": True}],
    }
)


def planned(plan: np.ndarray, y: np.ndarray) -> Panel:
    """The wave's days with a plan that is known ahead."""
    frame = wave()[["ds"]].assign(unique_id="wave", y=y, plan=plan)
    return from_frame(add_known_ahead(frame, PLANNED), "wave", PLANNED.task)


@pytest.mark.parametrize("size", [1.0, 5.0, 20.0])
def test_a_plan_that_drives_the_target_is_no_leak_however_strongly(size: float) -> None:
    plan = np.random.default_rng(5).normal(0, size, len(wave()))
    panel = planned(plan, wave()["y"].to_numpy() + 0.8 * plan)
    assert [*check_columns(panel), *check_future_inputs(panel)] == []
    # of 0.64 * size² of variance the wave's noise leaves 1
    notes = describe_strong_plans(panel)
    assert len(notes) == (size > 5)
    assert all(note.startswith("Strong: plan of series wave explains all but") for note in notes)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_plan_that_is_the_target_is_one(noise: float) -> None:
    y = wave()["y"].to_numpy()
    panel = planned(3 * y - 2 + np.random.default_rng(5).normal(0, noise, len(y)), y)
    (finding,) = check_future_inputs(panel)
    assert finding.kind == "target" and "plan of series wave is y of that step" in finding.text
    assert describe_strong_plans(panel) == ()


@pytest.mark.parametrize(
    ("scale", "level", "noise"), [(1.0, 0.0, 0.02), (1.1, 2.0, 0.0), (-0.5, 40.0, 0.01)]
)
def test_test_rows_are_found_in_train_whatever_their_level_and_scale(
    scale: float, level: float, noise: float
) -> None:
    frame, rng = wave(), np.random.default_rng(2)
    frame.loc[20:59, "y"] = (
        scale * frame.loc[270:309, "y"].to_numpy() + level + rng.normal(0, noise, 40)
    )
    (finding,) = find_copied_stretches(
        panel(frame), block_ends(frame.assign(unique_id="wave"), SETTINGS)
    )
    assert finding.kind == "repeated" and "times as closely" in finding.text


def test_a_copy_in_one_of_two_series_is_not_told_of_the_first() -> None:
    first, second = wave(1).assign(unique_id="a"), wave(2).assign(unique_id="b")
    second.loc[20:59, "y"] = second.loc[270:309, "y"].to_numpy()
    frame = pd.concat([first, second], ignore_index=True)
    (finding,) = find_copied_stretches(
        from_frame(frame, "audited", SETTINGS.task), block_ends(frame, SETTINGS)
    )
    assert finding.where == "one of 2 series"


@pytest.mark.parametrize("seed", range(5))
def test_a_season_and_chance_are_no_copies(seed: int) -> None:
    frame = wave(seed)
    walk = frame.assign(y=np.random.default_rng(seed).normal(0, 1, len(frame)).cumsum())
    flat = frame.assign(y=np.sin(2 * np.pi * np.arange(len(frame)) / 7))
    for checked in (frame, walk, flat):
        assert not list(
            find_copied_stretches(
                panel(checked), block_ends(checked.assign(unique_id="wave"), SETTINGS)
            )
        )


def test_a_snapshot_whose_record_is_damaged_is_named_for_that_alone(tmp_path: Path) -> None:
    frame, day = wave().assign(unique_id="wave"), pd.Timestamp("2024-01-01")
    old = snapshots.write_snapshot(
        tmp_path, "wave", frame.assign(y=frame["y"] + 1), as_of=day, provenance={}
    )
    new = snapshots.write_snapshot(
        tmp_path, "wave", frame, as_of=day + pd.Timedelta("1D"), provenance={}
    )
    snapshots.move_pointer(tmp_path, "wave", new)
    project: Any = SimpleNamespace(
        paths=ProjectPaths.of(tmp_path), dataset="wave", frame=frame, settings=SETTINGS
    )
    assert [finding.detector for finding in check_history(project)] == ["comparison of snapshots"]
    (tmp_path / old.snapshot).with_suffix(".json").write_text("{")
    (damage,) = check_history(project)
    assert damage.detector == "digest of the snapshot" and "cannot be read" in damage.text


def test_provisional_values_of_an_older_snapshot_that_is_pointed_to_are_no_revision(
    tmp_path: Path,
) -> None:
    newer, day = wave().assign(unique_id="wave"), pd.Timestamp("2024-01-01")
    older = newer.iloc[:310].copy()
    older.loc[307:309, "y"] += 0.2
    first_provisional = older["ds"].loc[307].isoformat()
    pointer = snapshots.write_snapshot(
        tmp_path, "wave", older, as_of=day, provenance={"provisional_from": first_provisional}
    )
    snapshots.write_snapshot(tmp_path, "wave", newer, as_of=day + pd.Timedelta("1D"), provenance={})
    snapshots.move_pointer(tmp_path, "wave", pointer)
    project: Any = SimpleNamespace(
        paths=ProjectPaths.of(tmp_path), dataset="wave", frame=older, settings=SETTINGS
    )
    assert not list(check_history(project))
