"""Names of models that the field uses for entries of configs/models.yaml, for the message about an
unknown model. They are not accepted: the message names the entry with the same or the nearest
model.
"""

from __future__ import annotations

from collections.abc import Collection

from forecast.system.errors import InputError, quote_names, require_known

USUAL_NAMES = {
    "boosting": "lightgbm lgbm gbm gbdt xgboost xgb catboost histgradientboosting",
    "random_forest": "rf forest",
    "svr": "svm",
    "ridge": "linear linearregression ols lasso elasticnet",
    "auto_arima": "arima autoarima",
    "arima_fourier": "sarima sarimax",
    "auto_ets": "ets autoets exponentialsmoothing",
    "ets_seasonal": "holtwinters hw",
    "mstl": "prophet neuralprophet tbats",
    "naive": "persistence lastvalue randomwalk",
    "seasonal_naive": "snaive",
    "mlp": "nn dnn neuralnetwork feedforward nbeats nhits tsmixer",
    "tdnn": "cnn tcn",
    "encoder_decoder": "seq2seq transformer tft patchtst informer autoformer itransformer",
    "gru_gaussian": "deepar",
}
"""By entry, names of the same or a similar model, in lower case and without punctuation."""


def require_model(
    name: str,
    known: Collection[object],
    sentence: str = "Unknown model",
    error: type[Exception] = InputError,
) -> None:
    """As `require_known`, with the entry that is nearest to a name that the field uses."""
    plain = "".join(filter(str.isalnum, name.lower()))
    for row, usual_names in USUAL_NAMES.items():
        if name not in known and plain in usual_names.split() and row in known:
            raise error(f"{sentence} {name!r}. Nearest here: {row!r}. Known: {quote_names(known)}.")
    require_known(name, known, sentence, error)
