"""One contender of `python -m bench.race` in a process of its own, on one thread; CPU seconds of
what it is told.

    python -m bench.racer '{"who": "ours", "what": "backtest", ...}'

It runs in the environment of its library; the first call counts, tracing and compilation included,
imports do not:

    train       budgets of 25, 50, 100 ... gradient steps at three learning rates, each a training
                of its own from its first call to its forecasts of the validation block, until one
                takes `limit` seconds
    backtest    every origin of a block with fixed weights, the median of three
    prepare     what the stage of that name makes of `series` series of `days` days: its memory
                beside its frame's
    growth      `series` series of 200 days: a training of 100 steps, then every origin of the last
                60 days
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

RATES = (1e-3, 3e-3, 1e-2)
UNITS, LOOKBACK, HORIZON, EVERY = 32, 96, 24, 7
Task = dict[str, Any]
Train = Callable[[int, float], float]
"""Gradient steps and a learning rate to the MSE on validation; one MSE of every `EVERY`-th origin.
"""


def main() -> None:
    task = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    answer, libraries = CONTENDERS[task["who"], task["what"]](task)
    versions = {name: sys.modules[name].__version__ for name in libraries}
    print(json.dumps({**answer, "versions": versions}), flush=True)


def clocked(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def tries(train: Train, limit: float) -> dict[str, Any]:
    return {"tries": [attempt for rate in RATES for attempt in _budgets(train, rate, limit)]}


def _budgets(train: Train, rate: float, limit: float) -> Iterator[dict[str, float]]:
    steps, seconds = 25, 0.0
    while seconds < limit / 2:  # the next one takes about twice as long
        seconds, mse = clocked(lambda steps=steps: train(steps, rate))
        yield {"rate": rate, "steps": steps, "s": seconds, "MSE": float(mse)}
        steps *= 2


def series_of(task: Task) -> np.ndarray:
    return np.load(task["data"])


def frame_of(values: np.ndarray) -> pd.DataFrame:
    times = pd.date_range("2016-07-01", periods=len(values), freq="h")
    return pd.DataFrame({"unique_id": "a", "ds": times, "y": values})


def ours_train(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    from bench.one_model import Data, Recipe, Trial, mse

    values, block = series_of(task), task["block"]
    # no test block: never forecast
    data = Data({"a": np.concatenate([values, values[-block:]])}, block, block)

    def train(steps: int, rate: float) -> float:
        entry = {"family": "lstm", "layers": 1, "units": UNITS, "learning_rate": rate}
        recipe = Recipe(entry, "none", LOOKBACK, steps=steps, step_size=EVERY)
        return mse(Trial(data, recipe, HORIZON).validation())

    Trial(data, Recipe({"family": "naive"}, lookback=LOOKBACK), HORIZON).validation()  # imports
    import forecast.networks.layers  # noqa: F401

    return tries(train, task["limit"]), ("tensorflow",)


def ours_backtest(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    from bench.one_model import Data, Recipe, Trial

    data = Data({"a": series_of(task)}, task["block"], task["block"])
    entry = {"family": "lstm", "layers": 1, "units": UNITS}
    trial = Trial(data, Recipe(entry, "none", LOOKBACK, steps=2), HORIZON)
    fitted = [trial.first(0)]
    return median(lambda: trial.forecasts(fitted, "test")), ("numpy",)


def median(call: Callable[[], Any]) -> dict[str, Any]:
    return {"s": float(np.median([clocked(call)[0] for _ in range(3)]))}


def ours_growth(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    import forecast.networks.layers  # noqa: F401
    from bench.one_model import Data, Recipe, Trial

    draw, days = np.random.default_rng(0), np.arange(200)
    waves = np.sin((days + draw.integers(0, 7, (task["series"], 1))) * 2 * np.pi / 7)
    values = waves + draw.normal(0, 0.3, waves.shape)
    data = Data({f"{k:05d}": wave for k, wave in enumerate(values)}, 30, 60, 7, "1D")
    recipe = Recipe({"family": "gru", "layers": 1, "units": 16}, "linear", 28, steps=100)
    training, trial = clocked(lambda: _trained(Trial(data, recipe, 7)))
    fitted = [trial.first(0)]
    backtest, _ = clocked(lambda: trial.forecasts(fitted, "test"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"training s": training, "backtest s": backtest, "peak MB": peak}, (
        "tensorflow",
        "numpy",
    )


def _trained(trial: Any) -> Any:
    trial.first(0)
    return trial


def ours_prepare(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Memory: the largest while it works less that before the frame was made, so with the frame
    itself.
    """
    import psutil

    from forecast.config.datasets import Dataset
    from forecast.data.preparation import prepare

    series, days, process = task["series"], task["days"], psutil.Process()
    settings = {
        "title": "many",
        "source": {"kind": "file", "path": "many.csv"},
        "calendar": {"kind": "regular", "freq": "1D"},
        "season_length": 7,
        "target": {"column": "y"},
        "horizon": 7,
        "lookback": 28,
        "splits": {"train": 0.6, "validation": 0.15, "calibration": 0.1},
        "licence": {"name": "none", "attribution": "simulated"},
    }
    dataset, before = Dataset.model_validate(settings), process.memory_info().rss
    names = pd.Index([f"s{number:05d}" for number in range(series)]).repeat(days)
    times = np.tile(pd.date_range("2021-01-01", periods=days).to_numpy(), series)
    frame = pd.DataFrame({"unique_id": names, "ds": times, "y": np.arange(float(series * days))})
    del names, times
    frame_bytes = float(frame.memory_usage(deep=True).sum())
    seconds, (prepared, _) = clocked(lambda: prepare(frame, dataset, where="many.csv"))
    assert len(prepared) == len(frame)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "rows": len(frame),
        "s": seconds,
        "frame MB": frame_bytes / 1e6,
        "peak MB": most / 1e6,
    }, (
        "numpy",
        "pandas",
    )


def _lstm(rate: float, steps: int) -> Any:
    from neuralforecast import NeuralForecast
    from neuralforecast.models import LSTM

    model = LSTM(
        h=HORIZON,
        input_size=LOOKBACK,
        encoder_n_layers=1,
        encoder_hidden_size=UNITS,
        decoder_hidden_size=UNITS,
        max_steps=steps,
        learning_rate=rate,
        scaler_type="standard",
        alias="m",
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=False,
        accelerator="cpu",
    )
    return NeuralForecast([model], freq="h")


def nf_train(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    frame = frame_of(series_of(task))
    _lstm(1e-3, 1)

    def train(steps: int, rate: float) -> float:
        answer = _lstm(rate, steps).cross_validation(
            frame, n_windows=None, test_size=whole(task["block"]), step_size=EVERY, refit=False
        )
        return float(((answer["m"] - answer["y"]) ** 2).mean())

    return tries(train, task["limit"]), ("neuralforecast", "torch")


def whole(block: int) -> int:
    """The rows of a block of which every `EVERY`-th origin ends inside it."""
    return block - (block - HORIZON) % EVERY


def nf_backtest(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    frame = frame_of(series_of(task))
    library = _lstm(1e-3, 1)
    library.fit(frame.head(len(frame) - task["block"]))

    def call() -> Any:
        return library.cross_validation(
            frame,
            n_windows=None,
            test_size=task["block"],
            step_size=1,
            refit=False,
            use_fitted=True,
        )

    return median(call), ("neuralforecast", "torch")


def _block_rnn(rate: float, steps: int) -> Any:
    from darts.models import BlockRNNModel

    return BlockRNNModel(
        LOOKBACK,
        HORIZON,
        model="LSTM",
        hidden_dim=UNITS,
        n_epochs=1,
        batch_size=32,
        optimizer_kwargs={"lr": rate},
        random_state=0,
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": False,
            "max_steps": steps,
            "max_epochs": -1,
        },
    )


def _darts_series(values: np.ndarray) -> Any:
    from darts import TimeSeries

    times = pd.date_range("2016-07-01", periods=len(values), freq="h")
    return TimeSeries.from_times_and_values(times, values.astype(np.float32))


def _rolled(model: Any, series: Any, block: int, every: int) -> np.ndarray:
    start = len(series) - block
    by_origin = model.historical_forecasts(
        series,
        start=start,
        start_format="position",
        stride=every,
        forecast_horizon=HORIZON,
        retrain=False,
        last_points_only=False,
        verbose=False,
    )
    return np.stack([forecast.values()[:, 0] for forecast in by_origin])


def darts_train(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    import darts  # noqa: F401
    import torch  # noqa: F401

    values, block = series_of(task), task["block"]
    series = _darts_series(values)
    starts = np.arange(len(values) - block, len(values) - HORIZON + 1, EVERY)
    truth = values[starts[:, None] + np.arange(HORIZON)]

    def train(steps: int, rate: float) -> float:
        model = _block_rnn(rate, steps)
        model.fit(series[:-block], verbose=False)
        return float(((_rolled(model, series, block, EVERY) - truth) ** 2).mean())

    return tries(train, task["limit"]), ("darts", "torch")


def darts_backtest(task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    import darts  # noqa: F401
    import torch  # noqa: F401

    series = _darts_series(series_of(task))
    model = _block_rnn(1e-3, 2)
    model.fit(series[: -task["block"]], verbose=False)
    return median(lambda: _rolled(model, series, task["block"], 1)), ("darts", "torch")


Made = Callable[[Task], tuple[dict[str, Any], tuple[str, ...]]]
CONTENDERS: dict[tuple[str, str], Made] = {
    ("ours", "train"): ours_train,
    ("ours", "backtest"): ours_backtest,
    ("ours", "growth"): ours_growth,
    ("ours", "prepare"): ours_prepare,
    ("neuralforecast LSTM", "train"): nf_train,
    ("neuralforecast LSTM", "backtest"): nf_backtest,
    ("darts BlockRNN", "train"): darts_train,
    ("darts BlockRNN", "backtest"): darts_backtest,
}


if __name__ == "__main__":
    main()
