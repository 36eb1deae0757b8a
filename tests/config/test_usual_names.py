"""An unknown model is answered with the row that is usually called so."""

from __future__ import annotations

import pytest

import forecast
from forecast.config.experiment import load_models
from forecast.config.usual_names import COUNTERPARTS, require_model
from forecast.system.errors import InputError
from tests.support.example_data import hourly

ALL_ROWS = load_models("configs").models


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("lightgbm", r"Did you mean 'boosting' \(LightGBM's trees\)\? Known: "),
        ("Holt-Winters", r"Did you mean 'ets_seasonal' \(level, trend and season\)\?"),
        ("SARIMA", r"No model here is; nearest: 'arima_fourier' \(ARIMA, the season as"),
        ("prophet", r"No model here is; nearest: 'mstl'"),
        ("lstmm", r"Did you mean 'lstm'\?"),
    ],
)
def test_a_usual_name_is_answered_with_our_row_and_is_none(name: str, answer: str) -> None:
    said = rf"Unknown model '{name}'\. {answer}"
    with pytest.raises(InputError, match=said):
        load_models("configs").entries_to_fit((name,))
    with pytest.raises(InputError, match=said):
        forecast.fit(hourly(240).rename(columns={"temp": "y"}), name, freq="1h", horizon=2)


def test_every_usual_name_is_unknown_here_and_answered_with_a_known_row_once() -> None:
    names = [name for other in COUNTERPARTS for name in other.usual_names]
    assert len(names) == len(set(names)) and not set(names) & set(ALL_ROWS)
    assert {other.row for other in COUNTERPARTS} <= set(ALL_ROWS)


def test_a_row_that_is_not_known_is_not_advised() -> None:
    with pytest.raises(InputError, match=r"^Unknown model 'xgb'\. Known: 'naive'\.$"):
        require_model("xgb", ["naive"])
