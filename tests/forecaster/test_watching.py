"""Anomalies: false alarms within their bound, faults found, decisions never revised."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecaster.watching import decide_alarms

N_ERRORS = 500
RATE = 0.1
STREAM = 1000


def conformal_p_values(rng: np.random.Generator, scores: np.ndarray) -> np.ndarray:
    reference = np.sort(np.abs(rng.standard_t(5, N_ERRORS)))
    beaten = np.searchsorted(reference, scores, side="left")
    return (1 + N_ERRORS - beaten) / (N_ERRORS + 1)


def decide(p_values: np.ndarray) -> np.ndarray:
    return decide_alarms(p_values, RATE, RATE * (N_ERRORS + 1))[1]


def forget(counts: np.ndarray) -> np.ndarray:
    """The sum up to each observation, weighted with the memory of the rule."""
    factor = 1 - 1 / (RATE * (N_ERRORS + 1))
    sums = np.zeros(len(counts))
    for i, count in enumerate(counts):
        sums[i] = count + factor * sums[i - 1]
    return sums


def test_in_quiet_data_one_observation_in_as_many_as_there_are_errors_is_an_alarm():
    rng = np.random.default_rng(0)
    scores = np.abs(rng.standard_t(5, (50, STREAM)))
    share = np.mean([decide(conformal_p_values(rng, of_stream)) for of_stream in scores])
    print(f"false alarms: {share:.5f} of quiet observations, {1 / (N_ERRORS + 1):.5f} expected")
    assert share < 2 / (N_ERRORS + 1)


@pytest.mark.parametrize(("shift", "least_found"), [(8.0, 0.7), (4.0, 0.05)])
def test_simulated_faults_are_found_and_the_share_of_false_alarms_stays_within_its_bound(
    shift, least_found
):
    rng = np.random.default_rng(1)
    false_alarms, every_alarm, hits = [], [], []
    for _ in range(50):
        is_fault = np.zeros(STREAM, dtype=bool)
        for start in rng.choice(STREAM - 20, 5, replace=False):
            is_fault[start : start + 10] = True
        errors = rng.standard_t(5, STREAM) + shift * is_fault
        alarms = decide(conformal_p_values(rng, np.abs(errors)))
        false_alarms.append(forget(alarms & ~is_fault))
        every_alarm.append(forget(alarms))
        hits.append(alarms[is_fault].mean())
    n_false, n_alarms = np.mean(false_alarms), np.mean(every_alarm)
    print(
        f"faults of {shift:g}: {np.mean(hits):.3f} of their rows found; within the memory"
        f" {n_false:.3f} false of {n_alarms:.3f} alarms, {RATE * (1 + n_alarms):.3f} allowed"
    )
    assert np.mean(hits) > least_found
    assert n_false <= RATE * (1 + n_alarms)


def test_levels_keep_their_budget_whatever_is_rejected():
    rng = np.random.default_rng(2)
    for share in (0.0, 0.05, 1.0):
        p_values = np.where(rng.random(STREAM) < share, 1e-9, 1.0)
        memory = 40.0
        levels, alarms = decide_alarms(p_values, RATE, memory)
        discounts = (1 - 1 / memory) ** np.arange(STREAM)[::-1]
        for end in (1, 10, 300, STREAM):
            spent = np.sum(discounts[-end:] * levels[:end])
            assert spent <= RATE * (1 + np.sum(discounts[-end:] * alarms[:end])) + 1e-12


def test_a_decision_is_not_changed_by_what_comes_later():
    rng = np.random.default_rng(3)
    p_values = conformal_p_values(rng, np.abs(rng.standard_t(2, STREAM)))
    whole = decide(p_values)
    assert whole.any()
    assert (decide(p_values[:300]) == whole[:300]).all()


def test_the_level_is_the_smallest_p_value_while_all_is_quiet_and_rises_after_an_alarm():
    smallest = 1 / (N_ERRORS + 1)
    levels, alarms = decide_alarms(np.array([1.0, smallest, 0.5, 1.0]), RATE, RATE * (N_ERRORS + 1))
    assert alarms.tolist() == [False, True, False, False]
    assert levels[:2] == pytest.approx([smallest, smallest])
    remaining = 1 - smallest / RATE
    assert levels[2] == pytest.approx(smallest + RATE * remaining * 0.0722 * np.log(2))
