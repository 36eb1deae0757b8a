"""The task: what computes of a dataset's entry, and nothing else."""

from __future__ import annotations

import pytest

from forecast.config.task import TaskColumn, load_task
from forecast.system import files
from forecast.system.errors import InputError
from tests.support import problems


def test_a_task_holds_what_computes_of_an_entry_and_nothing_that_describes_it():
    task = problems.task()
    assert task.targets == ["sales", "price"]
    assert task.columns == (
        TaskColumn(name="sales", transform="none", difference_inputs=False, may_be_missing=True),
        TaskColumn(name="price", transform="log", difference_inputs=True, may_be_missing=False),
        TaskColumn(name="wind", transform="none", difference_inputs=True, may_be_missing=True),
        TaskColumn(name="rain", transform="log1p", difference_inputs=False, may_be_missing=False),
    )
    assert (task.horizon, task.lookback, task.season_length) == (3, 10, 4)
    assert (task.calendar.kind, task.calendar_features) == ("regular", ("hour_of_day",))


def test_origins_of_calibration_are_as_far_apart_as_the_others_unless_configured():
    assert [
        problems.task().step_size_in(block)
        for block in ("train", "validation", "calibration", "test")
    ] == [
        1,
        2,
        2,
        2,
    ]
    assert problems.task(calibration_step_size=1).step_size_in("calibration") == 1


def test_a_task_survives_its_file(tmp_path):
    task = problems.task()
    files.write_json(tmp_path / "task.json", task.model_dump(mode="json"))
    assert load_task(tmp_path / "task.json") == task
    files.write_json(tmp_path / "task.json", {**task.model_dump(mode="json"), "title": "Two shops"})
    with pytest.raises(InputError, match=r"task\.json: unknown key 'title'"):
        load_task(tmp_path / "task.json")


def test_an_entry_for_a_served_model_has_the_columns_that_model_was_fitted_on():
    task = problems.task()
    edited = problems.dataset(
        target={"column": "sales", "max_missing": 0.5},
        past_exogenous=[{"column": "snow"}],
        calendar={"kind": "regular", "freq": "1D"},
    )
    entry = edited.with_columns_of(task)
    assert [column.column for column in entry.columns] == ["sales", "price", "wind", "rain"]
    assert (
        entry.target[0].max_missing == 0.5
        and entry.past_exogenous[0].max_missing > 0.99
        and entry.past_exogenous[1].max_missing == 0
    )
    assert entry.calendar == task.calendar
