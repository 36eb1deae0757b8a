"""The model as MLflow runs it (models from code): a copy of this file lies beside each logged model.

Input: the long frame (`unique_id, ds` in UTC, the dataset's columns) with at least `lookback` rows per series.
Output: `unique_id, cutoff, step, ds` and one column per target, in raw units. NumPy only, no TensorFlow.
It needs an environment in which this project is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel


class ServedForecaster(PythonModel):
    """Forecasts the steps that follow the last row of every series."""

    def load_context(self, context: Any) -> None:
        from forecast.forecaster import Forecaster

        self.forecaster = Forecaster.load(Path(context.artifacts["forecaster"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        from forecast.errors import ForecastError

        try:
            return self._forecast(model_input)
        except ForecastError as error:  # any other exception would reach the caller as a stack trace
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None

    def _forecast(self, frame: pd.DataFrame) -> pd.DataFrame:
        from forecast import calendars
        from forecast.panel import from_frame
        from forecast.schema import check_frame

        dataset = self.forecaster.dataset
        columns = [column.column for column in dataset.columns]
        checked = check_frame(frame, columns, where="model input")
        panel = from_frame(checked, self.forecaster.dataset_name, dataset)
        values = self.forecaster.predict_latest(panel)
        steps = range(1, dataset.horizon + 1)
        parts = []
        for series in panel.series:
            cutoff = series.ds[-1]
            ds = calendars.following(dataset.calendar, cutoff, dataset.horizon)
            keys = pd.DataFrame({"unique_id": series.unique_id, "cutoff": cutoff, "step": steps, "ds": ds})
            targets = [column.column for column in dataset.target]
            parts.append(keys.join(pd.DataFrame(values[series.unique_id], columns=targets)))
        return pd.concat(parts, ignore_index=True)


mlflow.models.set_model(ServedForecaster())
