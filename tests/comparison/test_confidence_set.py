import numpy as np
import pandas as pd
import pytest

from forecast.comparison import model_confidence_set
from forecast.errors import InputError

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


def test_one_model_or_too_few_origins_exclude_nobody():
    assert model_confidence_set(losses(a=0.0), **STEPS) == ["a"]
    assert model_confidence_set(losses(a=0.0, b=9.0)[:30], horizon=24, season=24) == ["a", "b"]


def test_missing_losses_are_refused():
    frame = losses(a=0.0, b=0.0)
    frame.iloc[3, 1] = np.nan
    with pytest.raises(InputError, match="no missing value"):
        model_confidence_set(frame, **STEPS)
