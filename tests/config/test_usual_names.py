"""An unknown model is answered with the row that is usually called so."""

from __future__ import annotations

import pytest

import forecast
from forecast.config.models import load_models
from forecast.config.usual_names import USUAL_NAMES, require_model
from forecast.system.errors import InputError
from tests.support.example_data import hourly

ALL_ROWS = load_models("configs").models


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("lightgbm", r"Nearest here: 'boosting'\. Known: "),
        ("Holt-Winters", r"Nearest here: 'ets_seasonal'\."),
        ("SARIMA", r"Nearest here: 'arima_fourier'\."),
        ("prophet", r"Nearest here: 'mstl'\."),
        ("lstmm", r"Did you mean 'lstm'\?"),
    ],
)
def test_a_usual_name_is_answered_with_our_row_and_is_none(name: str, answer: str) -> None:
    pattern = rf"Unknown model '{name}'\. {answer}"
    with pytest.raises(InputError, match=pattern):
        load_models("configs").entries_to_fit((name,))
    with pytest.raises(InputError, match=pattern):
        forecast.fit(hourly(240).rename(columns={"temp": "y"}), name, freq="1h", horizon=2)


def test_every_usual_name_is_unknown_here_and_answered_with_a_known_row_once() -> None:
    names = " ".join(USUAL_NAMES.values()).split()
    assert len(names) == len(set(names)) and not set(names) & set(ALL_ROWS)
    assert set(USUAL_NAMES) <= set(ALL_ROWS)


def test_a_row_that_is_not_known_is_not_advised() -> None:
    with pytest.raises(InputError, match=r"^Unknown model 'xgb'\. Known: 'naive'\.$"):
        require_model("xgb", ["naive"])
