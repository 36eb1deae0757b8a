"""Many models at once: Holm, who is tied with the lowest, and ranks over many series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from forecast.comparison.multiple_comparisons import (
    friedman_nemenyi,
    holm,
    nemenyi_difference,
    rank_candidates,
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


def series_losses(gaps: dict[str, float], n: int = 40, noise: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(14)
    hard = rng.gamma(5, 1, n)
    return pd.DataFrame(
        {name: hard + gap + noise * rng.normal(size=n) for name, gap in gaps.items()}
    )


def test_the_statistic_is_the_f_form_of_scipys_friedman_chi_square():
    frame = series_losses({"a": 0.0, "b": 0.3, "c": 0.6})
    chi = stats.friedmanchisquare(*frame.to_numpy().T).statistic
    n, k = frame.shape
    found = friedman_nemenyi(frame)
    assert found.statistic == pytest.approx((n - 1) * chi / (n * (k - 1) - chi))
    assert found.p == pytest.approx(stats.f.sf(found.statistic, k - 1, (k - 1) * (n - 1)))


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_uses_the_tabled_quantiles(k, q):
    # Demsar (2006), table 5a
    assert nemenyi_difference(k, 30) == pytest.approx(q * np.sqrt(k * (k + 1) / 180), rel=1e-3)


def test_models_that_cannot_be_split_share_a_group():
    found = friedman_nemenyi(series_losses({"bad": 5.0, "good": 0.0, "twin": 0.05}))
    assert list(found.mean_ranks)[-1] == "bad"
    assert {frozenset(g) for g in found.groups} == {frozenset({"good", "twin"}), frozenset({"bad"})}


def test_the_same_order_everywhere_and_ties_everywhere_are_no_errors():
    frame = series_losses({"a": 0.0, "b": 50.0})
    assert friedman_nemenyi(frame).p == 0.0 and friedman_nemenyi(frame).statistic is None
    frame["b"] = frame["a"]
    assert friedman_nemenyi(frame).p == 1.0


def test_fewer_than_ten_series_or_a_missing_loss_are_refused():
    with pytest.raises(InputError, match="9 series"):
        friedman_nemenyi(series_losses({"a": 0.0, "b": 1.0}, n=9))
    frame = series_losses({"a": 0.0, "b": 1.0})
    frame.iloc[0, 0] = np.nan
    with pytest.raises(InputError, match="every series"):
        friedman_nemenyi(frame)


def long_losses(n: int) -> pd.DataFrame:
    """Three candidates on n series, two origins and two seeds each."""
    wide = series_losses({"naive": 3.0, "gru": 0.0, "lstm": 0.05}, n=n)
    rows = [
        (model, "baseline" if model == "naive" else "shipped", seed, f"s{i}", cutoff, value + shift)
        for model in wide
        for i, value in enumerate(wide[model])
        for seed, shift in ((0, -0.5), (1, 0.5))
        for cutoff in (1, 2)
    ]
    return pd.DataFrame(rows, columns=["model", "ranking", "seed", "unique_id", "cutoff", "loss"])


def test_from_ten_series_on_the_candidates_of_a_comparison_are_ranked():
    found = rank_candidates(long_losses(12))
    assert found is not None and found.n_series == 12
    assert set(found.mean_ranks) == {"naive", "gru (shipped)", "lstm (shipped)"}
    assert list(found.mean_ranks)[-1] == "naive"
    assert rank_candidates(long_losses(9)) is None


def test_a_candidate_without_a_loss_on_some_series_takes_no_rank():
    table = long_losses(12)
    table.loc[(table["model"] == "lstm") & (table["unique_id"] == "s3"), "loss"] = np.nan
    found = rank_candidates(table)
    assert found is not None and set(found.mean_ranks) == {"naive", "gru (shipped)"}
