import numpy as np
import pytest
from scipy import signal

from forecast.comparison import ljung_box, one_step
from forecast.system.errors import InputError

NOISE = np.random.default_rng(15).normal(size=300)


def test_it_equals_statsmodels():
    from statsmodels.stats.diagnostic import acorr_ljungbox

    for values, fitted in ((NOISE, 0), (signal.lfilter([1], [1, -0.2], NOISE), 2)):
        expected = acorr_ljungbox(values, lags=[10], model_df=fitted).iloc[0]
        found = ljung_box(values, lags=10, fitted=fitted)
        assert (found.statistic, found.p) == (pytest.approx(expected["lb_stat"]), pytest.approx(expected["lb_pvalue"]))


def test_noise_passes_and_an_ar_process_does_not():
    assert ljung_box(NOISE, lags=10).p > 0.05
    found = ljung_box(signal.lfilter([1], [1, -0.5], NOISE), lags=10)
    assert found.p < 1e-6 and found.autocorrelation[0] == pytest.approx(0.5, abs=0.1)


def test_missing_residuals_are_left_out_and_constant_ones_have_no_p():
    holes = NOISE.copy()
    holes[::10] = np.nan
    assert ljung_box(holes, lags=5).n == 270
    assert np.isnan(ljung_box(np.ones(30), lags=5).p)


def test_too_few_residuals_are_refused():
    with pytest.raises(InputError, match="10 lags with 8 residuals"):
        ljung_box(np.arange(8.0), lags=10)


def test_clustered_variance_alone_does_not_alarm_the_robust_test():
    """Such returns have no memory; of 200 series of them the plain test rejects far too many."""
    rng = np.random.default_rng(3)
    plain, robust = 0, 0
    for _ in range(200):
        variance, values = 1.0, np.empty(500)
        for t in range(500):
            values[t] = np.sqrt(variance) * rng.normal()
            variance = 0.05 + 0.5 * values[t] ** 2 + 0.45 * variance
        found = ljung_box(values, lags=5)
        plain, robust = plain + (found.p < 0.05), robust + (found.p_robust < 0.05)
    assert plain > 40
    assert robust <= 20


def test_the_band_of_white_noise_is_that_of_the_textbook():
    assert ljung_box(NOISE, lags=5).band == pytest.approx(1.96 / np.sqrt(300), rel=0.25)


def test_prices_give_residuals_of_returns_and_lags_reach_two_seasons():
    y = 100 * np.exp(np.cumsum(NOISE / 100))
    found = one_step(y, y * np.exp(NOISE / 50), transform="log", season=24, stride=2)
    assert found["mean"] == pytest.approx(-NOISE.mean() / 50, rel=1e-4)
    assert (found["lags"], found["spacing"], found["n"]) == (24, 2, 300)
    assert len(found["autocorrelation"]) == len(found["band"]) == 24


def test_too_few_residuals_say_nothing():
    assert one_step(NOISE[:29], np.zeros(29), transform="none", season=1, stride=1) is None
