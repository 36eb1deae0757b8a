"""`ServedForecaster`: the model as MLflow runs it (models from code), and the sentences that
MLflow's scoring server lacks. A copy of this file lies beside each logged model; no module imports
it.

Input: the long frame (`unique_id, ds` in UTC, the dataset's prepared columns), at least `lookback`
rows per series. Parameters: `horizon` (0: as trained) and `levels` (percent, such as [80, 95]; none
unless asked, `forecaster.serving.DEFAULT_LEVELS`). Output: `unique_id, output, cutoff, step, ds,
y_hat` and `lo_80, hi_80` per level, in raw units, and a `note` where something about a series is
odd. It forecasts without TensorFlow. It needs an environment in which this project is installed.
Whatever is wrong with a request is one sentence and status 400.

MLflow's scoring server drops parameters that it does not know, and answers a table that it refuses
with the table. `word_errors` wraps the server's functions where the model is loaded.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

PARAMETERS = {"horizon", "levels"}
"""Of a request, as `Service.answer` takes them."""


class ServedForecaster(PythonModel):
    """Forecasts the steps that follow the last row of every series."""

    def load_context(self, context: Any) -> None:
        """Load the saved forecaster that `context` names; called by MLflow."""
        from forecast.forecaster.serving import Service

        self.service = Service.load(Path(context.artifacts["forecaster"]))
        word_errors()

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The forecast after the last rows of `model_input`; `params`: see this module."""
        from forecast.forecaster.serving import advise_caller
        from forecast.system.errors import ForecastError

        try:
            return self.service.answer(model_input, **(params or {}))
        except ForecastError as error:
            # any other exception would reach the caller as a stack trace
            raise request_error(advise_caller(str(error))) from None
        except Exception:
            logging.getLogger(__name__).exception("The forecast failed")
            message = "The forecast failed; the server's log says why."
            raise MlflowException(message, error_code=INTERNAL_ERROR) from None


def word_errors() -> None:
    """Let the scoring server of this process name the fault of a request in a sentence; nothing
    happens in a process that is no such server.
    """
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")
    if server is None or server._SERVER_MODEL_PATH not in os.environ:
        return
    server.invocations = partial(answer_unchecked, server.invocations)
    server._decode_json_input = partial(decode_table, server._decode_json_input)
    server._handle_serving_error = partial(server._handle_serving_error, include_traceback=False)


def answer_unchecked(
    answer: Callable[..., Any], data: bytes, content_type: str, model: Any, _schema: Any
) -> Any:
    """`answer` to a table as it came: MLflow's check against the signature reads no CSV, and shows
    the whole table where it refuses one; `Service.answer` checks it in sentences.

    `MlflowException` with the sentence alone for every fault of the request.
    """
    model.metadata.signature.inputs = None
    try:
        return answer(data, content_type, model, None)
    except MlflowException as error:
        # MLflow puts the parsed table before the sentence, and JSON that it cannot parse behind it
        error.message = error.message.rpartition("\nError: ")[2].partition("\nInput: ")[0]
        raise


def decode_table(decode: Callable[[Any], Any], request: Any) -> Mapping[str, Any]:
    """The decoded JSON; `MlflowException` for a parameter that is not one of `PARAMETERS`, which
    MLflow would drop without a word, and for a horizon of 0, by which it means that none was given.
    """
    from forecast.system.errors import quote_names

    content: Mapping[str, Any] = decode(request)
    parameters = content.get("params")
    if not isinstance(parameters, dict):
        return content
    if unknown := parameters.keys() - PARAMETERS:
        raise request_error(
            f"Unknown in `params`: {quote_names(unknown)}. Known are `horizon` and `levels`."
        )
    if parameters.get("horizon") == 0:
        raise request_error(
            "Horizon 0: wanted at least 1 step. Leave it out for the horizon as trained."
        )
    return content


def request_error(message: str) -> MlflowException:
    """What the server answers with status 400 and this sentence."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedForecaster())
