"""Many models at once: Holm, and who is tied with the lowest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from forecast.comparison.multiple_comparisons import (
    holm,
    tied_with_lowest,
)
from forecast.system.errors import InputError

STEPS = {"horizon": 1}


def losses(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(9)
    common = rng.gamma(4, 1, 300)
    return pd.DataFrame(
        {name: common + gap + rng.normal(0, 0.5, 300) for name, gap in columns.items()}
    )


def test_the_clearly_worse_model_leaves_and_the_tied_ones_stay_in_column_order():
    assert tied_with_lowest(losses(z=0.0, worse=1.0, a=0.0), **STEPS) == ["z", "a"]


def test_twins_stay_together():
    frame = losses(a=0.0, b=0.08, c=0.1)
    frame["twin"] = frame["a"]
    assert {"a", "twin"} <= set(tied_with_lowest(frame, **STEPS))


def test_equal_models_with_dependent_losses_mostly_all_stay():
    whole = 0
    for seed in range(40):
        noise = np.random.default_rng(100 + seed).standard_normal((300, 8))
        frame = pd.DataFrame(
            signal.lfilter([1], [1, -0.5], noise, axis=0), columns=list("abcdefgh")
        )
        whole += len(tied_with_lowest(frame, **STEPS)) == 8
    # the lowest of eight is lower by chance, so more than one in twenty loses a member
    assert whole >= 32


def test_one_model_or_too_few_origins_exclude_nobody():
    assert tied_with_lowest(losses(a=0.0), **STEPS) == ["a"]
    assert tied_with_lowest(losses(a=0.0, b=9.0)[:30], horizon=24) == [
        "a",
        "b",
    ]


def test_missing_losses_are_refused():
    frame = losses(a=0.0, b=0.0)
    frame.iloc[3, 1] = np.nan
    with pytest.raises(InputError, match="no missing value"):
        tied_with_lowest(frame, **STEPS)


def test_twins_that_differ_by_rounding_stand_or_fall_together():
    rng = np.random.default_rng(0)
    good = rng.uniform(size=300)
    bad = good + 1 + rng.uniform(size=300)
    frame = pd.DataFrame({"good": good, "bad": bad, "twin": np.nextafter(bad, 9.0)})
    assert tied_with_lowest(frame, **STEPS) == ["good"]
    frame = pd.DataFrame({"good": good, "bad": bad, "twin": np.nextafter(good, 9.0)})
    assert tied_with_lowest(frame, **STEPS) == ["good", "twin"]


def test_holm_on_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_could_not_be_tested():
    adjusted = holm([0.02, float("nan"), 0.5])
    assert adjusted[0] == pytest.approx(0.04) and np.isnan(adjusted[1]) and adjusted[2] == 0.5
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p):
    adjusted = holm(p)
    assert all(x >= y for x, y in zip(adjusted, p, strict=True))
    assert all(
        adjusted[i] <= adjusted[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j]
    )
