"""What the field calls models that have another name here, for the message about an unknown one.

No name of `COUNTERPARTS` is accepted: the message says which row of configs/models.yaml is meant.
The next one is a row of the table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from forecast.system.errors import InputError, quote_names, require_known


class Counterpart(NamedTuple):
    """What several usual names, in small letters and without marks between them, are here.

    is_same: whether `row` is that model; else it is only the nearest there is.
    """

    usual_names: tuple[str, ...]
    row: str
    note: str
    is_same: bool = True


COUNTERPARTS = (
    Counterpart(("lightgbm", "lgbm", "gbm", "gbdt"), "boosting", "LightGBM's trees"),
    Counterpart(
        ("xgboost", "xgb", "catboost", "histgradientboosting"),
        "boosting",
        "boosted trees, of LightGBM",
        is_same=False,
    ),
    Counterpart(("rf", "forest"), "random_forest", "of scikit-learn"),
    Counterpart(("svm",), "svr", "of scikit-learn"),
    Counterpart(
        ("linear", "linearregression", "ols", "lasso", "elasticnet"),
        "ridge",
        "linear, shrunk",
        is_same=False,
    ),
    Counterpart(("arima", "autoarima"), "auto_arima", "with a season `arima_fourier`"),
    Counterpart(
        ("sarima", "sarimax"), "arima_fourier", "ARIMA, the season as Fourier terms", is_same=False
    ),
    Counterpart(
        ("ets", "autoets", "exponentialsmoothing"), "auto_ets", "with a season `ets_seasonal`"
    ),
    Counterpart(("holtwinters", "hw"), "ets_seasonal", "level, trend and season"),
    Counterpart(("prophet", "neuralprophet", "tbats"), "mstl", "trend and seasons", is_same=False),
    Counterpart(("persistence", "lastvalue", "randomwalk"), "naive", "the last value"),
    Counterpart(("snaive",), "seasonal_naive", "the value a season before"),
    Counterpart(("nn", "dnn", "neuralnetwork", "feedforward"), "mlp", "a feed-forward network"),
    Counterpart(
        ("cnn", "tcn"), "tdnn", "a convolution over time, then a layer on it", is_same=False
    ),
    Counterpart(("seq2seq",), "encoder_decoder", "a recurrent encoder and decoder"),
    Counterpart(
        ("transformer", "tft", "patchtst", "informer", "autoformer", "itransformer"),
        "encoder_decoder",
        "recurrent",
        is_same=False,
    ),
    Counterpart(("nbeats", "nhits", "tsmixer"), "mlp", "a feed-forward network", is_same=False),
    Counterpart(("deepar",), "gru_gaussian", "a recurrent network of a mean and a spread"),
)


def require_model(
    name: str,
    known: Collection[object],
    sentence: str = "Unknown model",
    error: type[Exception] = InputError,
) -> None:
    """As `require_known`, with the row that is usually called `name` elsewhere, if one is."""
    plain = "".join(filter(str.isalnum, name.lower()))
    for other in COUNTERPARTS:
        if name not in known and plain in other.usual_names and other.row in known:
            row = f"{other.row!r} ({other.note})"
            advice = (
                f"Did you mean {row}?" if other.is_same else f"No model here is; nearest: {row}."
            )
            raise error(f"{sentence} {name!r}. {advice} Known: {quote_names(known)}.")
    require_known(name, known, sentence, error)
