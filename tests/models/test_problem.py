"""A problem tells its recorder, where one is set, which targets a fit is given and what intervals
are made of.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import forecast
from forecast.forecaster import Problem
from forecast.forecaster.fitting import build_training_series
from forecast.forecaster.intervals import SplitConformal
from forecast.models.problem import (
    VALIDATION_FOLDS,
    mean_losses_by_fold,
    record_with,
    sample_validation_windows,
    validation_fold_starts,
)
from forecast.models.skip import Skip
from tests.support import problems

H = problems.HORIZON


class Heard:
    def __init__(self):
        self.targets, self.calibrations, self.folds = [], [], []

    def targets_given(self, purpose, length, last):
        self.targets.append((purpose, length, last))

    def folds_given(self, purpose, rows, is_learnt_by, fold):
        self.folds.append((purpose, rows, is_learnt_by, fold))

    def calibration_given(self, y, lower):
        self.calibrations.append((y.tolist(), lower.tolist()))


def recorded(heard: Heard) -> Problem:
    shops = problems.shops()
    with record_with(heard):
        return Problem(shops.panel, shops.borders, shops.blocks, shops.scaling, shops.channels)


def test_a_skip_is_told_as_such_and_to_the_last_row_of_the_blocks_it_sees():
    heard = Heard()
    shops = recorded(heard)
    shops.skip("linear", H)
    # the last targets of north's and south's train blocks, and of their validation blocks
    asked_targets = {(length, last) for _, length, last in heard.targets}
    assert asked_targets >= {(150, 89), (120, 59), (150, 119), (120, 89)}
    assert max(last for length, last in asked_targets if length == 120) == 89
    assert max(last for _, last in asked_targets) == 119
    assert {purpose for purpose, *_ in heard.targets} == {"skip"}
    assert {length for _, length, _ in heard.targets} == {
        len(series) for series in shops.panel.series
    }


def test_the_folds_of_a_skip_are_told_and_keep_a_lookback_and_a_horizon_away():
    heard = Heard()
    shops = recorded(heard)
    shops.skip("linear", H)
    task = shops.panel.task
    assert {purpose for purpose, *_ in heard.folds} == {"skip"}
    pairs = 0
    for _, rows, is_learnt_by, fold in heard.folds:
        for number, is_learnt in enumerate(is_learnt_by):
            distance = rows[is_learnt][:, None] - rows[fold == number]
            assert not np.any((distance > -H) & (distance < task.lookback + H))
            pairs += distance.size
    assert pairs > 100


def test_a_training_is_told_as_such_and_ends_with_the_train_block():
    heard = Heard()
    shops = recorded(heard)
    build_training_series(shops, Skip("none", H, shops.panel.outputs))
    assert {purpose for purpose, _, _ in heard.targets} == {"training"}
    assert (
        max(last for _, _, last in heard.targets)
        == max(b.train[1] for b in shops.blocks.values()) - 1
    )


def test_a_conformal_fit_tells_its_actuals_and_forecasts():
    heard, y = Heard(), np.arange(40.0).reshape(20, 2)
    with record_with(heard):
        SplitConformal.calibrate(y, y - 1)
    SplitConformal.calibrate(y, y)
    assert heard.calibrations == [(y.tolist(), (y - 1).tolist())]


def test_without_a_recorder_nothing_is_kept():
    assert problems.shops().recorder is None


def test_only_a_problem_hands_out_targets():
    """What asks `data.windows` itself would be heard by no recorder."""
    package = Path(forecast.__file__).parent
    asks = re.compile(
        r"windows import (\([^)]*|[^\n]*)\btarget_windows\b|windows\.target_windows\("
    )
    modules = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if asks.search(path.read_text())
    ]
    assert modules == ["models/problem.py"]


def test_an_origin_counts_for_a_stretch_when_none_of_its_targets_is_one_of_the_stretch():
    horizon, lasting = problems.HORIZON, 60
    long = problems.frame({"north": 300, "south": 200})
    problem = problems.problem_of(
        long, splits={"train": 0.5, "validation": 0.3, "calibration": 0.1}, step_size=1
    )
    starts = validation_fold_starts(problem)
    (windows, _), *others = sample_validation_windows(problem, horizon)[0]
    counted = sample_validation_windows(problem, horizon)[1]
    assert (
        len(starts) == VALIDATION_FOLDS
        and counted.shape == (1 + VALIDATION_FOLDS, len(windows))
        and not others
    )
    assert counted[0].all() and len(problem.rows("north", "validation")) == lasting - horizon + 1
    begun = 0
    for uid in problem.blocks:
        rows = problem.rows(uid, "validation")
        stretch = np.searchsorted(starts, problem.panel.by_id[uid].ds[rows], side="right") - 1
        for number, away in enumerate(counted[1:, begun : begun + len(rows)]):
            own_rows = rows[stretch == number]
            distance = np.abs(rows[:, None] - own_rows[None, :]).min(axis=1)
            assert not away[distance < horizon].any() and away[distance > horizon].all()
        begun += len(rows)


def test_a_validation_block_too_short_for_stretches_is_looked_at_whole(monkeypatch):
    monkeypatch.setattr("forecast.models.problem.VALIDATION_FOLDS", 1)
    assert sample_validation_windows(problems.shops(), problems.HORIZON)[1].all()


def test_losses_are_means_of_what_is_known_and_counts():
    losses = [np.array([[[1.0, 9.0]], [[2.0, 4.0]]]), np.array([[[np.inf, 6.0]]])]
    known = [np.array([[[True, False]], [[True, True]]]), np.array([[[False, False]]])]
    counted = np.array([[True, True, True], [True, False, True], [False, False, True]])
    np.testing.assert_allclose(mean_losses_by_fold(losses, known, counted), [7 / 3, 1.0, np.nan])


def test_the_carry_of_past_inputs_is_fitted_once_for_all_one_step_skips(monkeypatch):
    fitted = []
    fit_carry = Problem._fit_carry
    monkeypatch.setattr(Problem, "_fit_carry", lambda it: fitted.append(1) or fit_carry(it))
    shops = problems.problem_of(problems.frame())  # no other test has asked it
    assert shops.skip("last", 1).carry is shops.skip("linear", 1).carry
    shops.joined.skip("last", 1)
    assert len(fitted) == 2


def test_a_shape_chosen_by_one_process_is_taken_by_the_next_on_the_same_rows_alone(
    monkeypatch, tmp_path
):
    choices = []
    choose = Problem._choose_shape
    monkeypatch.setattr(Problem, "_choose_shape", lambda *args: choices.append(1) or choose(*args))
    frame = problems.frame()
    first, second = (replace(problems.problem_of(frame), shapes=tmp_path) for _ in range(2))
    skip = first.skip("linear", problems.HORIZON)
    skip_again = second.skip("linear", problems.HORIZON)
    assert len(choices) == 1 and skip_again == skip
    np.testing.assert_array_equal(skip_again.coefficients, skip.coefficients)
    assert skip_again.change_weights == skip.change_weights

    with record_with(Mock()):
        replace(problems.problem_of(frame), shapes=tmp_path).skip("linear", problems.HORIZON)
    assert len(choices) == 2, "a recorded fit must show which rows it chooses by"
    changed = frame.copy()
    changed.loc[changed.index[40], "sales"] += 1.0
    replace(problems.problem_of(changed), shapes=tmp_path).skip("linear", problems.HORIZON)
    second.skip("linear", 1)
    assert len(choices) == 4


def test_workers_that_need_a_shape_at_the_same_time_choose_it_once(monkeypatch, tmp_path):
    choices = []
    choose = Problem._choose_shape
    digest_rows = Problem._chosen_rows_digest
    both_ask = threading.Barrier(2)

    def digest_with_the_other(problem, horizon):
        digest = digest_rows(problem, horizon)
        both_ask.wait(timeout=60)
        return digest

    monkeypatch.setattr(Problem, "_choose_shape", lambda *args: choices.append(1) or choose(*args))
    monkeypatch.setattr(Problem, "_chosen_rows_digest", digest_with_the_other)
    workers = [replace(problems.problem_of(problems.frame()), shapes=tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ask = partial(Problem.skip, kind="linear", horizon=problems.HORIZON)
        first, second = pool.map(ask, workers)
    assert len(choices) == 1 and first == second


def test_a_damaged_shape_is_chosen_anew(tmp_path):
    frame = problems.frame()
    shops = replace(problems.problem_of(frame), shapes=tmp_path)
    skip = shops.skip("linear", problems.HORIZON)
    (stored,) = tmp_path.glob("*.json")
    stored.write_text(stored.read_text()[:40])
    chosen_anew = replace(problems.problem_of(frame), shapes=tmp_path)
    assert chosen_anew.skip("linear", problems.HORIZON) == skip


@pytest.mark.parametrize(("train_rows", "weekday"), [(336, 0), (337, 3)])
def test_a_profile_knows_weekdays_from_two_weeks_of_train_rows_on(train_rows, weekday):
    changes = {
        "calendar_features": ["hour_of_day", "day_of_week"],
        "target": [{"column": "sales"}],
        "past_exogenous": [],
    }
    rows = {"north": round(train_rows / 0.6), "south": 500}
    shops = problems.problem_of(problems.frame(rows, gaps=False), **changes)
    assert len(shops.panel.by_id["north"].ds[slice(*shops.blocks["north"].train)]) == train_rows
    assert shops.skip("linear", H).profile == (12, weekday)


def test_a_profile_of_hours_has_no_days_of_the_month_and_one_of_days_has_31():
    shops = problems.problem_of(
        problems.frame({"north": 500, "south": 500}, gaps=False),
        calendar_features=["hour_of_day", "day_of_month", "day_to_month_end"],
    )
    assert shops.skip("linear", H).profile == (12, 0, 0)
    days = problems.problem_of(
        problems.frame({"north": 500, "south": 500}, gaps=False), calendar_features=["day_of_month"]
    )
    assert days.skip("linear", H).profile == (15,)
    both = problems.problem_of(
        problems.frame({"north": 500, "south": 500}, gaps=False),
        calendar_features=["day_of_month", "day_to_month_end"],
    )
    assert both.skip("linear", H).profile == (0, 0)


def test_the_calendar_of_every_step_is_read_where_series_are_of_kinds():
    """Their weeks turn at midnight, which no profile tells for each kind."""
    long = problems.frame(gaps=False)
    for level in ("bakery", "butcher"):
        long[f"kind={level}"] = (long["unique_id"] == "south") == (level == "butcher")
    kinds = {"static": [{"column": "kind", "categories": ["bakery", "butcher"]}]}
    shops = problems.problem_of(long.astype({"kind=bakery": float, "kind=butcher": float}), **kinds)
    assert shops.skip("linear", H).calendar_steps == H
    assert shops.skip("linear", 1).calendar_steps == 1
    assert problems.shops().skip("linear", H).calendar_steps == 1
