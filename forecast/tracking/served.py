"""The model that MLflow serves. No module imports this file: MLflow stores a copy of it with each
logged model and runs it ("models from code"), where this project is installed.

Input: the long frame (`unique_id`, `ds` in UTC, the dataset's prepared columns) with at least
`lookback` rows per series. Parameters: `horizon` (0: as trained) and `levels` (percent; default
`forecaster.serving.DEFAULT_LEVELS`). Output, in raw units: `unique_id, output, cutoff, step, ds,
y_hat`, per level such as 80 `lo_80, hi_80`, and a `note` where something about a series is odd. A
faulty request is answered with one sentence and status 400. Another parameter is a name in
`PARAMETERS` and in the sentence of `decode_request`, one of the signature
(`tracking.writing.signature_of`), and an argument of `forecaster.serving.Service.answer`; models
that are registered already keep their signature and their copy of this file.

MLflow's scoring server itself would ignore unknown parameters, and answer a faulty table with the
whole table; `word_errors` replaces functions of the server to prevent that.
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
"""The parameters of a request that `Service.answer` has."""


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
        """The forecast after the last rows of `model_input`; see the module's docstring."""
        from forecast.forecaster.serving import advise_caller
        from forecast.system.errors import ForecastError

        try:
            return self.service.answer(model_input, **(params or {}))
        except ForecastError as error:
            raise request_error(advise_caller(str(error))) from None
        except Exception:  # MLflow would send the traceback to the caller
            logging.getLogger(__name__).exception("The forecast failed")
            message = "The forecast failed; the server's log says why."
            raise MlflowException(message, error_code=INTERNAL_ERROR) from None


def word_errors() -> None:
    """Let MLflow's scoring server answer a faulty request with a sentence; does nothing in another
    process.
    """
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")
    if server is None or server._SERVER_MODEL_PATH not in os.environ:
        return
    server.invocations = partial(answer_unchecked, server.invocations)
    server._decode_json_input = partial(decode_request, server._decode_json_input)
    server._handle_serving_error = partial(server._handle_serving_error, include_traceback=False)


def answer_unchecked(
    answer: Callable[..., Any], data: bytes, content_type: str, model: Any, _schema: Any
) -> Any:
    """Call `answer` without MLflow's check of the table against the signature, which reads no CSV
    and prints the whole table; `Service.answer` checks it.

    Raises `MlflowException` with only the sentence about the fault.
    """
    model.metadata.signature.inputs = None
    try:
        return answer(data, content_type, model, None)
    except MlflowException as error:
        # MLflow adds the parsed table before the sentence, and JSON that it cannot parse after it
        error.message = error.message.rpartition("\nError: ")[2].partition("\nInput: ")[0]
        raise


def decode_request(decode: Callable[[Any], Any], request: Any) -> Mapping[str, Any]:
    """Decode the JSON of a request.

    Raises `MlflowException` for an unknown parameter, which MLflow would ignore, and for horizon 0,
    which MLflow passes where none was given.
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
    """The exception that the server answers with this message and status 400."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedForecaster())
