"""Our models in fev, the forecasting evaluation harness: a `ForecastingModel` for its tasks,
results in its format.

    python bench/fev_model.py [rows.csv]     # three models on Dublin's packaged weather,
                                             # a local Parquet file

fev is no dependency of the project: `pip install fev` into an environment that has the project's
packages. A task of fev's own benchmark runs the same way, `ForecastModel("gru").fit_predict(task)`,
where its data can be reached.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import forecast

try:
    import datasets
    import fev
except ImportError as error:
    print(f"Nothing was run: {error}. fev is not installed here as it wants: `pip install fev`.")
    sys.exit(0)

MODELS = ("seasonal_naive", "ridge", "gru")
QUANTILES = [0.1, 0.5, 0.9]


class ForecastModel(fev.ForecastingModel):
    """`forecast.fit` on the past of each window, then `predict`; one model for all series of a
    task.

    Past-only covariates are used as `past_exogenous`; known ones and static columns are not.
    """

    model_name = "forecast"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.name, self.options = name, options

    def _fit_predict(self, task: fev.Task) -> list[datasets.DatasetDict]:
        return [self._window(window, task) for window in task.iter_windows()]

    def _window(self, window: fev.EvaluationWindow, task: fev.Task) -> datasets.DatasetDict:
        past, future, _ = fev.convert_input_data(window, adapter="pandas")
        levels = [_level(q) for q in task.quantile_levels if q != 0.5]
        by_target = {}
        for target in task.target_columns:
            with self._record_training_time():
                model = forecast.fit(
                    past,
                    self.name,
                    freq=task.freq,
                    horizon=task.horizon,
                    season_length=task.seasonality,
                    past_exogenous=task.past_dynamic_columns,
                    id_col=task.id_column,
                    time_col=task.timestamp_column,
                    target_col=target,
                    **self.options,
                )
            with self._record_inference_time():
                table = model.predict(levels=sorted(set(levels)))
            order = list(dict.fromkeys(future[task.id_column]))
            rows = dict(list(table.groupby(task.id_column)))
            by_target[target] = datasets.Dataset.from_list(
                [_answer(rows[uid], model.name, task) for uid in order]
            )
        return datasets.DatasetDict(by_target)


def _level(quantile: float) -> float:
    """The central interval one of whose ends is the quantile, in percent."""
    return round(abs(1 - 2 * quantile) * 100, 6)


def _answer(rows: pd.DataFrame, name: str, task: fev.Task) -> dict[str, list[float]]:
    answer = {"predictions": rows[name].tolist()}
    for q in task.quantile_levels:
        end = "lo" if q < 0.5 else "hi"
        column = name if q == 0.5 else f"{name}-{end}-{_level(q):g}"
        answer[str(q)] = rows[column].tolist()
    return answer


def dublin(folder: Path) -> fev.Task:
    """The packaged weather as a local Parquet file in fev's layout: one row per series, columns of
    lists.
    """
    frame = forecast.example()
    row = {"id": "dublin", "timestamp": frame["ds"].tolist(), "target": frame["y"].tolist()}
    path = folder / "dublin.parquet"
    pd.DataFrame([{**row, "wind": frame["wind"].tolist()}]).to_parquet(path)
    return fev.Task(
        dataset_path=str(path),
        horizon=24,
        num_windows=4,
        window_step_size=24 * 30,
        seasonality=24,
        eval_metric="MASE",
        extra_metrics=["SQL", "WQL", "MAE"],
        quantile_levels=QUANTILES,
        past_dynamic_columns=["wind"],
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        task, rows = dublin(Path(folder)), []
        for name in MODELS:
            model = ForecastModel(name)
            answers = model.fit_predict(task)
            times = {
                "training_time_s": model.training_time,
                "inference_time_s": model.inference_time,
            }
            rows.append(task.evaluation_summary(answers, model_name=f"forecast-{name}", **times))
        table = pd.DataFrame(rows)
        print(
            table[
                ["model_name", "MASE", "SQL", "WQL", "MAE", "training_time_s", "inference_time_s"]
            ].to_string()
        )
        if len(sys.argv) > 1:
            table.to_csv(sys.argv[1], index=False)


if __name__ == "__main__":
    main()
