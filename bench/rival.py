"""One contender of `python -m bench.beside` in a process of its own: it trains, forecasts every
origin, and is gone.

    python -m bench.rival '{"who": "neuralforecast LSTM", "data": "frame.parquet", ...}'

It runs in the environment of its library and imports nothing of the package unless it is ours. The
frame has `unique_id, ds, y` and past-only columns, series of equal length without gaps; `train`,
`validation` and `test` count rows, `step` the rows between two origins of the test block. The last
line of its output is JSON: `wall s` and `CPU s` from the first call on, tracing and compilation
included and imports not, and `versions`; forecasts go to `out`.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LEVELS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
QUANTILES = tuple(
    sorted({0.5, *((50 - v / 2) / 100 for v in LEVELS), *((50 + v / 2) / 100 for v in LEVELS)})
)
LAGS = 48
Task = dict[str, Any]
Answer = dict[str, Any]
Run = Callable[[], Answer]
"""The work itself; imports are done when it exists."""


def main() -> None:
    task = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    run, libraries = CONTENDERS[task["who"]](task)
    began, cpu = time.perf_counter(), _cpu()
    answer = run()
    answer |= {"wall s": time.perf_counter() - began, "CPU s": _cpu() - cpu}
    forecasts = answer.pop("forecasts", None)
    if forecasts is not None:
        with Path(task["out"]).open("wb") as file:
            np.savez(file, **forecasts)
    print(
        json.dumps(
            {**answer, "versions": {name: sys.modules[name].__version__ for name in libraries}}
        ),
        flush=True,
    )


def _cpu() -> float:
    this_process, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return this_process.ru_utime + this_process.ru_stime + children.ru_utime + children.ru_stime


def frame_of(task: Task) -> pd.DataFrame:
    frame = pd.read_parquet(task["data"])
    return frame.assign(unique_id=frame["unique_id"].astype(str))


def past_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name not in ("unique_id", "ds", "y")]


def wide(frame: pd.DataFrame, column: str = "y") -> np.ndarray:
    """(series, rows), series in the order of their names."""
    return frame.pivot(index="unique_id", columns="ds", values=column).to_numpy()


def origins(task: Task, rows: int) -> np.ndarray:
    """The last row that each forecast sees."""
    return np.arange(rows - task["test"] - 1, rows - task["horizon"], task["step"])


def ours(task: Task) -> tuple[Run, tuple[str, ...]]:
    """`forecast.compare`, tuned: the row that validation chose, and the LSTM."""
    import forecast.networks.layers  # no measured time has TensorFlow's import

    frame = frame_of(task)

    def run() -> Answer:
        board = forecast.compare(
            frame,
            task["models"],
            freq="1h",
            horizon=task["horizon"],
            step_size=task["step"],
            n_jobs=1,
            past_exogenous=past_columns(frame),
            calendar_features=["hour_of_day", "day_of_year"],
            splits=_shares(task, frame["ds"].nunique()),
            tuning=task["tuning"],
        )
        chosen = str(board.chosen)
        rows = {
            name: _quantiles(board.forecasts(name, levels=LEVELS), name)
            for name in {chosen, "lstm"}
        }
        forecasts = {
            f"{name}/{part}": value for name, parts in rows.items() for part, value in parts.items()
        }
        return {"forecasts": forecasts, "chosen": chosen, "models": list(task["models"])}

    return run, ("tensorflow", "keras")


def _shares(task: Task, rows: int) -> dict[str, float]:
    counts = {name: task[name] for name in ("train", "validation", "calibration")}
    return {name: count / rows for name, count in counts.items()}


def _quantiles(table: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """`point` (series, origins, H) and `quantiles` (Q, series, origins, H) from central
    intervals.
    """
    columns = {(50 - v / 2) / 100: f"{name}-lo-{v}" for v in LEVELS}
    columns |= {(50 + v / 2) / 100: f"{name}-hi-{v}" for v in LEVELS} | {0.5: name}
    table = table.sort_values(["unique_id", "cutoff", "ds"])
    shape = table["unique_id"].nunique(), table["cutoff"].nunique(), -1
    return {
        "point": table[name].to_numpy().reshape(shape),
        "quantiles": np.stack([table[columns[q]].to_numpy().reshape(shape) for q in QUANTILES]),
    }


def neuralforecast(task: Task) -> tuple[Run, tuple[str, ...]]:
    """Its own defaults, with quantiles; a week of input; all rows before the test block, as nothing
    stops it early.
    """
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MQLoss

    frame, kind = frame_of(task), task["who"].split()[1]
    options = {
        "loss": MQLoss(quantiles=list(QUANTILES)),
        "enable_progress_bar": False,
        "logger": False,
        "alias": "m",
    }
    options |= {"enable_checkpointing": False, "accelerator": "cpu"}
    if kind == "AutoLSTM":
        model = _auto_lstm(task, frame, MQLoss)
    else:
        import neuralforecast.models as models

        model_options = {
            "hist_exog_list": past_columns(frame),
            "scaler_type": "standard",
            "max_steps": task.get("steps", 1000),
        }
        model = getattr(models, kind)(
            h=task["horizon"], input_size=task["lookback"], **model_options, **options
        )

    def run() -> Answer:
        library = NeuralForecast([model], freq="h")
        forecast_table = library.cross_validation(
            frame,
            n_windows=None,
            test_size=task["test"],
            step_size=task["step"],
            refit=False,
            val_size=task["validation"] + task["calibration"] if kind == "AutoLSTM" else 0,
        )
        forecast_table = forecast_table.sort_values(["unique_id", "cutoff", "ds"])
        shape = forecast_table["unique_id"].nunique(), forecast_table["cutoff"].nunique(), -1
        names = [
            name
            for name in forecast_table.columns
            if name not in ("unique_id", "ds", "cutoff", "y")
        ]
        table = np.sort(
            np.stack([forecast_table[name].to_numpy().reshape(shape) for name in names]), axis=0
        )
        note = {"note": _searched(task, library.models[0])} if kind == "AutoLSTM" else {}
        return {"forecasts": {"point": table[len(table) // 2], "quantiles": table}, **note}

    return run, ("neuralforecast", "torch")


def _auto_lstm(task: Task, frame: pd.DataFrame, loss: Any) -> Any:
    """Its own search space by Optuna, in this process, with limits in CPU time, which other work
    does not shorten.

    A training that is cut is validated where it ended, so its trial counts; the best is trained
    again as long at most.
    """
    from neuralforecast.auto import AutoLSTM
    from optuna.samplers import TPESampler
    from pytorch_lightning import Callback

    space = AutoLSTM.get_default_config(h=task["horizon"], backend="optuna")
    began = _cpu()

    class Cut(Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: Any, module: Any) -> None:
            self.began = _cpu()

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = (
                trainer.should_stop or _cpu() - self.began > task["training limit"]
            )

    def config(trial: Any) -> dict[str, Any]:
        quiet = {
            "enable_progress_bar": False,
            "logger": False,
            "enable_checkpointing": False,
            "accelerator": "cpu",
        }
        return {
            **space(trial),
            "hist_exog_list": past_columns(frame),
            "callbacks": [Cut()],
            **quiet,
        }

    def enough(study: Any, _: Any) -> None:
        if _cpu() - began > task["search limit"]:
            study.stop()

    return AutoLSTM(
        h=task["horizon"],
        loss=loss(quantiles=list(QUANTILES)),
        config=config,
        backend="optuna",
        num_samples=task["trials"],
        search_alg=TPESampler(seed=0),
        callbacks=[enough],
        alias="m",
    )


def _searched(task: Task, model: Any) -> str:
    """How many trials gave a loss, and the limits they had."""
    done = sum(trial.value is not None for trial in model.results.trials)
    limits = (
        f"none begun after {task['search limit']} CPU s, a training cut at {task['training limit']}"
    )
    return f"{done} of {task['trials']} trials, {limits}"


def block_rnn(task: Task) -> tuple[Run, tuple[str, ...]]:
    """darts, an LSTM with quantile regression, scaled by its own scaler; its default number of
    epochs is 100.
    """
    import darts  # noqa: F401
    import torch  # noqa: F401
    from darts import TimeSeries
    from darts.dataprocessing.transformers import Scaler
    from darts.models import BlockRNNModel
    from darts.utils.likelihood_models import QuantileRegression

    frame = frame_of(task)
    values, columns = wide(frame), [wide(frame, name) for name in past_columns(frame)]
    rows = values.shape[1]
    model = BlockRNNModel(
        task["lookback"],
        task["horizon"],
        model="LSTM",
        n_epochs=task["epochs"],
        random_state=0,
        likelihood=QuantileRegression(list(QUANTILES)),
        pl_trainer_kwargs={"accelerator": "cpu", "enable_progress_bar": False, "logger": False},
    )

    def run() -> Answer:
        times = pd.DatetimeIndex(np.sort(frame["ds"].unique()))
        target = [
            TimeSeries.from_times_and_values(times, series.astype(np.float32)) for series in values
        ]
        past_series = [
            TimeSeries.from_times_and_values(times, np.stack(inputs, 1).astype(np.float32))
            for inputs in zip(*columns, strict=True)
        ]
        before = rows - task["test"]
        scaler, scaler_x = Scaler(), Scaler()
        scaler.fit([series[:before] for series in target])
        target = scaler.transform(target)
        if past_series:
            scaler_x.fit([inputs[:before] for inputs in past_series])
            past_series = scaler_x.transform(past_series)
        model.fit(
            [series[:before] for series in target],
            past_covariates=past_series or None,
            verbose=False,
        )
        by_series = model.historical_forecasts(
            target,
            past_covariates=past_series or None,
            start=before,
            start_format="position",
            stride=task["step"],
            forecast_horizon=task["horizon"],
            retrain=False,
            last_points_only=False,
            verbose=False,
            predict_likelihood_parameters=True,
        )
        pieces = [
            np.stack([forecast.values() for forecast in forecasts]) for forecasts in by_series
        ]
        table = np.sort(np.moveaxis(np.stack(pieces), -1, 0), axis=0)
        low, high = (
            [
                scaled.values()[0, 0]
                for scaled in scaler.inverse_transform(_constant(times, len(values), c))
            ]
            for c in (0.0, 1.0)
        )
        spread = np.array(high) - np.array(low)
        table = table * spread[None, :, None, None] + np.array(low)[None, :, None, None]
        return {"forecasts": {"point": table[len(table) // 2], "quantiles": table}}

    return run, ("darts", "torch")


def _constant(times: pd.DatetimeIndex, count: int, value: float) -> list[Any]:
    from darts import TimeSeries

    return [
        TimeSeries.from_times_and_values(times[:1], np.full(1, value), freq="h")
        for _ in range(count)
    ]


def trees(task: Task) -> tuple[Run, tuple[str, ...]]:
    """scikit-learn's histogram boosting, one model per step ahead: 48 lags of every column and the
    calendar.
    """
    import sklearn  # noqa: F401
    from sklearn.ensemble import HistGradientBoostingRegressor

    frame = frame_of(task)
    names = ["y", *past_columns(frame)]
    values = np.stack([wide(frame, name) for name in names], axis=-1)
    times, rows = pd.DatetimeIndex(np.sort(frame["ds"].unique())), values.shape[1]

    def inputs(at: np.ndarray, step: int) -> np.ndarray:
        index = at[:, None] - np.arange(LAGS)
        then = times[at] + pd.Timedelta(hours=step)
        calendar = np.stack([then.hour, then.dayofyear, then.dayofweek], axis=1)
        return np.concatenate(
            [np.hstack([series[index].reshape(len(at), -1), calendar]) for series in values]
        )

    def run() -> Answer:
        test, steps = origins(task, rows), []
        for step in range(1, task["horizon"] + 1):
            learnt = np.arange(LAGS - 1, rows - task["test"] - step)
            target = np.concatenate(
                [series[learnt + step, 0] - series[learnt, 0] for series in values]
            )
            model = HistGradientBoostingRegressor(loss="absolute_error", random_state=0)
            model.fit(inputs(learnt, step), target)
            change = model.predict(inputs(test, step)).reshape(len(values), -1)
            steps.append(values[:, test, 0] + change)
        return {"forecasts": {"point": np.stack(steps, axis=-1)}}

    return run, ("sklearn",)


CONTENDERS: dict[str, Callable[[Task], tuple[Run, tuple[str, ...]]]] = {
    "ours": ours,
    "neuralforecast LSTM": neuralforecast,
    "neuralforecast NHITS": neuralforecast,
    "neuralforecast AutoLSTM": neuralforecast,
    "darts BlockRNN": block_rnn,
    "HistGradientBoosting": trees,
}


if __name__ == "__main__":
    main()
