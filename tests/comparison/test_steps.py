import numpy as np
import pytest

from forecast.comparison import change_by_step
from forecast.system.errors import InputError

STEPS = {"horizon": 1, "season": 1, "stride": 1}


def losses(n, gain, seed=0):
    rng = np.random.default_rng(seed)
    reference = np.abs(rng.normal(size=(n, 3)))
    return reference * (1 - gain) + 0.1 * np.abs(rng.normal(size=(n, 3))), reference


def test_the_change_is_the_ratio_of_the_means_less_one():
    own, reference = losses(200, 0.3)
    change, low, high = change_by_step([(own, reference)], **STEPS)
    assert change == pytest.approx(own.mean(axis=0) / reference.mean(axis=0) - 1)
    assert (low < change).all() and (change < high).all()


def test_over_several_series_the_change_is_their_mean_whatever_their_units():
    first, second = losses(100, 0.1, 1), losses(100, 0.5, 2)
    alone = [change_by_step([pair], **STEPS)[0] for pair in (first, second)]
    both = change_by_step([first, tuple(1000 * part for part in second)], **STEPS)[0]
    assert both == pytest.approx(np.mean(alone, axis=0))


def test_the_band_holds_the_true_change_in_about_95_of_100_samples():
    found = [change_by_step([losses(120, 0.2, seed)], **STEPS) for seed in range(200)]
    own, reference = losses(200_000, 0.2, 999)
    truth = own.mean(axis=0) / reference.mean(axis=0) - 1
    inside = np.mean([(low <= truth) & (truth <= high) for _, low, high in found])
    assert 0.92 <= inside <= 0.98


def test_a_missing_actual_leaves_its_step_out_and_too_few_give_no_band():
    own, reference = losses(40, 0.2)
    own[3, 1] = np.nan
    own[5:, 2] = np.nan
    change, low, _ = change_by_step([(own, reference)], **STEPS)
    known = np.arange(40) != 3
    assert change[1] == pytest.approx(own[known, 1].mean() / reference[known, 1].mean() - 1)
    assert np.isnan(low[2])


def test_other_origins_are_refused():
    own, reference = losses(10, 0.2)
    with pytest.raises(InputError, match="same origins"):
        change_by_step([(own, reference[1:])], **STEPS)
