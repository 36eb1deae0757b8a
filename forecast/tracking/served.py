"""`ServedForecaster`: the model as MLflow runs it (models from code). A copy of this file lies
beside each logged model.

Input: the long frame (`unique_id, ds` in UTC, the dataset's prepared columns), at least `lookback`
rows per series. Parameters: `horizon` (0: as trained) and `levels` (percent, such as [80, 95];
empty: no intervals). Output: `unique_id, output, cutoff, step, ds, y_hat` and `lo_80, hi_80` per
level, in raw units. NumPy only, no TensorFlow. It needs an environment in which this project is
installed. Whatever is wrong with a request is one sentence and status 400;
`forecast.tracking.scoring_server` has the bounds of a request.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel


class ServedForecaster(PythonModel):
    """Forecasts the steps that follow the last row of every series."""

    def load_context(self, context: Any) -> None:
        """Load the saved forecaster that `context` names; called by MLflow."""
        from forecast.forecaster.serving import Service
        from forecast.tracking.scoring_server import bound_requests

        self.service = Service.load(Path(context.artifacts["forecaster"]))
        bound_requests(self.service.most_columns)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The forecast after the last rows of `model_input`; see above for `params`."""
        from forecast.system.errors import ForecastError

        try:
            return self.service.answer(model_input, **(params or {}))
        except ForecastError as error:
            # any other exception would reach the caller as a stack trace
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None
        except Exception:
            logging.getLogger(__name__).exception("The forecast failed")
            message = "The forecast failed; the server's log says why."
            raise MlflowException(message, error_code=INTERNAL_ERROR) from None


mlflow.models.set_model(ServedForecaster())
