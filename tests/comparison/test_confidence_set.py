import numpy as np
import pandas as pd
import pytest
from scipy import signal

from forecast.comparison import model_confidence_set
from forecast.comparison.confidence_set import bootstrap_error, stretch
from forecast.comparison.longrun import dependence
from forecast.system.errors import InputError

STEPS = {"horizon": 1, "season": 1}


def losses(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(9)
    common = rng.gamma(4, 1, 300)
    return pd.DataFrame({name: common + gap + rng.normal(0, 0.5, 300) for name, gap in columns.items()})


def test_the_clearly_worse_model_leaves_and_the_tied_ones_stay_in_column_order():
    assert model_confidence_set(losses(z=0.0, worse=1.0, a=0.0), **STEPS) == ["z", "a"]


def test_the_set_is_reproducible_and_twins_stay_together():
    frame = losses(a=0.0, b=0.08, c=0.1)
    frame["twin"] = frame["a"]
    first, second = (model_confidence_set(frame, seed=3, **STEPS) for _ in range(2))
    assert first == second and {"a", "twin"} <= set(first)


def test_the_analytic_bootstrap_error_is_that_of_the_bootstrap_itself():
    from arch.bootstrap import StationaryBootstrap

    values = np.cumsum(np.random.default_rng(1).normal(size=80))
    drawn = StationaryBootstrap(6, values, seed=2).apply(np.mean, 4000)
    assert bootstrap_error(values, 6) == pytest.approx(drawn.std(), rel=0.05)


def test_equal_models_with_dependent_losses_mostly_all_stay():
    whole = 0
    for seed in range(40):
        noise = np.random.default_rng(100 + seed).standard_normal((300, 8))
        frame = pd.DataFrame(signal.lfilter([1], [1, -0.5], noise, axis=0), columns=list("abcdefgh"))
        whole += len(model_confidence_set(frame, reps=200, **STEPS)) == 8
    # 95 % is nominal; without the stretching it is about 75 %
    assert whole >= 34


def test_stretching_keeps_the_means_and_never_shrinks():
    values = np.random.default_rng(3).normal(size=(100, 3))
    wider = stretch(values, 5, dependence(100, horizon=1, season=1, stride=1))
    assert wider.mean(axis=0) == pytest.approx(values.mean(axis=0))
    assert np.all(wider.std(axis=0) >= values.std(axis=0))


def test_one_model_or_too_few_origins_exclude_nobody():
    assert model_confidence_set(losses(a=0.0), **STEPS) == ["a"]
    assert model_confidence_set(losses(a=0.0, b=9.0)[:30], horizon=24, season=24) == ["a", "b"]


def test_missing_losses_are_refused():
    frame = losses(a=0.0, b=0.0)
    frame.iloc[3, 1] = np.nan
    with pytest.raises(InputError, match="no missing value"):
        model_confidence_set(frame, **STEPS)


def test_twins_that_differ_by_rounding_stand_or_fall_together():
    rng = np.random.default_rng(0)
    good = rng.uniform(size=300)
    bad = good + 1 + rng.uniform(size=300)
    frame = pd.DataFrame({"good": good, "bad": bad, "twin": np.nextafter(bad, 9.0)})
    assert model_confidence_set(frame, **STEPS) == ["good"]
    frame = pd.DataFrame({"good": good, "bad": bad, "twin": np.nextafter(good, 9.0)})
    assert model_confidence_set(frame, **STEPS) == ["good", "twin"]
