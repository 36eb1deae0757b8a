import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecast.comparison import friedman_nemenyi, ranked
from forecast.comparison.ranks import nemenyi_difference
from forecast.system.errors import InputError


def losses(gaps: dict[str, float], n: int = 40, noise: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(14)
    hard = rng.gamma(5, 1, n)
    return pd.DataFrame({name: hard + gap + noise * rng.normal(size=n) for name, gap in gaps.items()})


def test_the_statistic_is_the_f_form_of_scipys_friedman_chi_square():
    frame = losses({"a": 0.0, "b": 0.3, "c": 0.6})
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
    found = friedman_nemenyi(losses({"bad": 5.0, "good": 0.0, "twin": 0.05}))
    assert list(found.mean_ranks)[-1] == "bad"
    assert {frozenset(g) for g in found.groups} == {frozenset({"good", "twin"}), frozenset({"bad"})}


def test_the_same_order_everywhere_and_ties_everywhere_are_no_errors():
    frame = losses({"a": 0.0, "b": 50.0})
    assert friedman_nemenyi(frame).p == 0.0 and friedman_nemenyi(frame).as_dict()["statistic"] is None
    frame["b"] = frame["a"]
    assert friedman_nemenyi(frame).p == 1.0


def test_fewer_than_ten_series_or_a_missing_loss_are_refused():
    with pytest.raises(InputError, match="9 series"):
        friedman_nemenyi(losses({"a": 0.0, "b": 1.0}, n=9))
    frame = losses({"a": 0.0, "b": 1.0})
    frame.iloc[0, 0] = np.nan
    with pytest.raises(InputError, match="every series"):
        friedman_nemenyi(frame)


def long_losses(n: int) -> pd.DataFrame:
    """Three candidates on n series, two origins and two seeds each."""
    wide = losses({"naive": 3.0, "gru": 0.0, "lstm": 0.05}, n=n)
    rows = [
        (model, "baseline" if model == "naive" else "shipped", seed, f"s{i}", cutoff, value + shift)
        for model in wide
        for i, value in enumerate(wide[model])
        for seed, shift in ((0, -0.5), (1, 0.5))
        for cutoff in (1, 2)
    ]
    return pd.DataFrame(rows, columns=["model", "ranking", "seed", "unique_id", "cutoff", "loss"])


def test_from_ten_series_on_the_candidates_of_a_comparison_are_ranked():
    found = ranked(long_losses(12))
    assert found is not None and found.n_series == 12
    assert set(found.mean_ranks) == {"naive", "gru (shipped)", "lstm (shipped)"}
    assert list(found.mean_ranks)[-1] == "naive"
    assert ranked(long_losses(9)) is None


def test_a_candidate_without_a_loss_on_some_series_takes_no_rank():
    table = long_losses(12)
    table.loc[(table["model"] == "lstm") & (table["unique_id"] == "s3"), "loss"] = np.nan
    found = ranked(table)
    assert found is not None and set(found.mean_ranks) == {"naive", "gru (shipped)"}
