import numpy as np
import pytest
from scipy import signal

from forecast.comparison import ljung_box
from forecast.errors import InputError

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
