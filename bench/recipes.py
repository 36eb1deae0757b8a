"""Our rows of the published tables: per table its series, its error, and what is tried on
validation.

Each table has four rows: the skip alone, a network without one, a network on it, and a network over
segments of the window, as SegRNN is published. Which lookback, family and skip a row has is chosen
per column on validation, with one seed. Nothing is chosen in a row that is a mean of several: M4's
and the combined one. A shrunk one settles by rolling origins how much of the network's correction
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.one_model import Data, Pairs, Recipe, mean_of, measured, mse, shrunk
from bench.published import COMBINED, FILES, SEGMENTS, SHRUNK
from bench.results_file import Row

ETT_ROWS = (8_640, 2_880, 2_880)  # train, validation, test
KINDS = ("skip alone", "network without skip", "network on its skip")
MEAN = "mean of the networks on their skips"
GRU = {"family": "gru", "layers": 1, "units": 32, "learning_rate": 5e-3}
MLP = {
    "family": "mlp",
    "lags": 336,
    "units": 256,
    "burn_in": 336,
    "loss": "mae",
    "learning_rate": 3e-3,
    "dropout": 0.1,
}
SEGMENT_GRU = {
    "family": "segment_gru",
    "segment": 48,
    "units": 64,
    "loss": "mae",
    "learning_rate": 2e-3,
    "dropout": 0.3,
    "batch_size": 256,
}
OT_SEGMENT_GRU = {**SEGMENT_GRU, "learning_rate": 1e-3}
M4_SEGMENT_GRU = {**SEGMENT_GRU, "segment": 24, "units": 128, "learning_rate": 3e-3, "dropout": 0.1}
RIDGE = Recipe({"family": "ridge"}, "linear")


def standardised(values: np.ndarray, train: int) -> np.ndarray:
    """By mean and deviation of the train rows, as the publications do."""
    return (values - values[:train].mean(0)) / values[:train].std(0)


def etth1(data: Path, columns: list[str] | None = None) -> np.ndarray:
    frame = pd.read_csv(data / FILES["etth1"].name).iloc[: sum(ETT_ROWS), 1:]
    return standardised(frame[columns or list(frame)].to_numpy(np.float64), ETT_ROWS[0])


def exchange(data: Path) -> tuple[np.ndarray, int]:
    """Standardised values, and the rows of the test block: a fifth."""
    values = pd.read_csv(data / FILES["exchange"].name, header=None).to_numpy(np.float64)
    return standardised(values, int(len(values) * 0.7)), int(len(values) * 0.2)


def m4(data: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Train and test values by series."""
    train = pd.read_csv(data / FILES["m4"].name).set_index("V1")
    test = pd.read_csv(data / FILES["m4"].name.replace("train", "test")).set_index("V1")
    return tuple(
        {k: row.dropna().to_numpy(np.float64) for k, row in each.iterrows()}
        for each in (train, test)
    )


def mase(past: np.ndarray, y_hat: np.ndarray, truth: np.ndarray, season: int = 24) -> float:
    return float(np.mean(np.abs(truth - y_hat)) / np.mean(np.abs(past[season:] - past[:-season])))


def etth1_data(data: Path) -> Data:
    return Data(by_channel(etth1(data)), *ETT_ROWS[1:])


def ot_data(data: Path) -> Data:
    return Data(by_channel(etth1(data, ["OT"])), *ETT_ROWS[1:])


def exchange_data(data: Path) -> Data:
    values, test = exchange(data)
    return Data(
        by_channel(values),
        len(values) - test - int(len(values) * 0.7),
        test,
        season_length=1,
        freq="1D",
    )


def m4_data(data: Path) -> Data:
    train, test = m4(data)
    return Data(
        {uid: np.concatenate([train[uid], test[uid]]) for uid in train}, validation=96, test=48
    )


def by_channel(values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"channel {k}": column for k, column in enumerate(values.T)}


def m4_error(data: Path) -> Callable[[Pairs], float]:
    """The mean MASE over the series, of one window or several each."""
    train, _ = m4(data)
    return lambda pairs: float(np.mean([mase(train[uid], *both) for uid, both in pairs.items()]))


def with_lookbacks(recipe: Recipe, *lookbacks: int) -> list[Recipe]:
    return [replace(recipe, lookback=rows) for rows in lookbacks]


def on_both_skips(entry: Mapping[str, Any]) -> list[Recipe]:
    """On the last value and on the ridge, with two weeks and a month of rows: all four go into the
    mean.
    """
    return [
        *with_lookbacks(Recipe(entry, "last", steps=900), 336, 720),
        *with_lookbacks(Recipe(entry, "linear", steps=600), 336, 720),
    ]


DATA: Mapping[str, Callable[[Path], Data]] = {
    "etth1": etth1_data,
    "etth1_ot": ot_data,
    "exchange": exchange_data,
    "m4": m4_data,
}
STEPS = {"etth1": 23, "etth1_ot": 7, "exchange": 5, "m4": 12}
"""Rows between two validation origins."""

CHANGES: dict[str, Any] = {"difference_inputs": True}
ETT = {
    "skip alone": [
        *with_lookbacks(RIDGE, 336, 720),
        *with_lookbacks(replace(RIDGE, **CHANGES), 336, 720),
    ],
    "network without skip": [Recipe(GRU)],
    "network on its skip": [
        Recipe(GRU, "linear"),
        Recipe(GRU, "linear", **CHANGES),
        Recipe(GRU, "last", **CHANGES),
    ],
}
DAILY = [Recipe(GRU, "last", 96, **CHANGES), Recipe(GRU, "linear", 96, **CHANGES)]
M4 = [
    Recipe(MLP, "linear", **CHANGES, steps=2400),
    Recipe(MLP, "seasonal", steps=2400),
    Recipe({**MLP, "units": 512, "dropout": 0.3}, "linear", **CHANGES, steps=2400),
]
RECIPES: Mapping[str, Mapping[str, Sequence[Recipe]]] = {
    "etth1": (
        ETT
        | {
            SEGMENTS: with_lookbacks(Recipe(SEGMENT_GRU, "last", steps=900), 336, 720),
            COMBINED: on_both_skips(SEGMENT_GRU),
        }
    ),
    "etth1_ot": (
        ETT
        | {
            SEGMENTS: [
                *with_lookbacks(Recipe(OT_SEGMENT_GRU, "last"), 336, 720),
                Recipe(OT_SEGMENT_GRU, "linear"),
                Recipe(OT_SEGMENT_GRU, "linear", **CHANGES),
            ],
            COMBINED: [Recipe(each, "linear", **CHANGES) for each in (OT_SEGMENT_GRU, GRU)],
        }
    ),
    "exchange": {
        "skip alone": [
            Recipe({"family": "naive"}, "last", 96),
            *with_lookbacks(RIDGE, 96, 336),
            replace(RIDGE, lookback=96, **CHANGES),
        ],
        "network without skip": [Recipe(GRU, lookback=96)],
        "network on its skip": DAILY,
        SEGMENTS: with_lookbacks(Recipe(SEGMENT_GRU, "last"), 96, 336),
        SHRUNK: DAILY,
    },
    "m4": {
        "skip alone": [*with_lookbacks(RIDGE, 168, 336), replace(RIDGE, **CHANGES)],
        "network without skip": [
            Recipe({**GRU, "units": 64, "loss": "mae"}),
            Recipe(MLP, steps=2400),
        ],
        "network on its skip": M4,
        MEAN: M4,
        SEGMENTS: [Recipe(M4_SEGMENT_GRU, "seasonal", steps=3000)],
    },
}


def measure(table: str, kind: str, column: str, seeds: int) -> Callable[[Path, Row], Row]:
    """How the row is measured from the folder of the data and what an earlier run left of it."""

    def run(data: Path, before: Row) -> Row:
        error = m4_error(data) if table == "m4" else mse
        horizon = 48 if table == "m4" else int(column)
        recipes = [replace(recipe, step_size=STEPS[table]) for recipe in RECIPES[table][kind]]
        fitted = {MEAN: mean_of, COMBINED: mean_of, SHRUNK: shrunk}.get(kind, measured)
        return fitted(DATA[table](data), recipes, horizon, error, seeds=seeds, before=before)

    return run
