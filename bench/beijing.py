"""Temperature of four Beijing stations a day ahead: one `forecast.compare`, of which every row is a
part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bench.beside import beijing, closed
from bench.beside_tests import p_of_lower_loss
from bench.results_file import Row
from forecast.comparison.paired_tests import diebold_mariano
from forecast.comparison.verdicts import holm

HORIZON, STEP = 24, 6
NETWORK = "best network"
MODELS = {
    "seasonal naive": "seasonal_naive",
    "ridge": "ridge",
    "boosting": "boosting",
    "ETS": "ets_seasonal",
}
NETWORKS = ("gru", "lstm")
TUNING = {"n_trials": 2, "trial_steps": 100, "final_steps": 300, "seeds": [0, 1, 2, 3, 4]}


def measure(name: str) -> Callable[[Path, Row], Row]:
    """MAE on the test block, and whether the best network of validation is better: the
    corrected p.
    """
    return lambda data, _: rows_of(data)[name]


@cache
def rows_of(data: Path) -> dict[str, Row]:
    if reason := closed("beijing", data):
        raise FileNotFoundError(reason)
    return compare_models(beijing(data), [*MODELS.values(), *NETWORKS], TUNING)


def compare_models(
    frame: pd.DataFrame, models: list[str], tuning: dict[str, Any]
) -> dict[str, Row]:
    import forecast

    board = forecast.compare(
        frame,
        models,
        freq="1h",
        horizon=HORIZON,
        step_size=STEP,
        past_exogenous=["wind"],
        tuning=tuning,
        n_jobs=1,
        calendar_features=["hour_of_day", "day_of_year"],
    )
    network = str(board._results.best_network("shipped"))
    names = {NETWORK: network, **MODELS}
    losses = {name: by_origin(board.forecasts(model), model) for name, model in names.items()}
    tests = [
        diebold_mariano(
            losses[NETWORK],
            losses[name],
            horizon=HORIZON,
            step_size=STEP,
        )
        for name in MODELS
    ]
    rows: dict[str, Row] = {name: {"value": float(loss.mean())} for name, loss in losses.items()}
    networks = ", ".join(model for model in models if model not in MODELS.values())
    rows[NETWORK]["about"] = f"{network}, by validation, of {networks}"
    for name, p in zip(MODELS, holm([p_of_lower_loss(test) for test in tests]), strict=True):
        rows[name]["about"] = (
            f"p that the network is better: {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
        )
    return rows


def by_origin(table: pd.DataFrame, model: str) -> pd.Series:
    """The mean absolute error of each origin over stations and steps."""
    error = (table[model] - table["y"]).abs()
    return error.groupby(table["cutoff"]).mean()
