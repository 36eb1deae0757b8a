"""Small records, as the stages write them: a saved ridge forecaster, forecasts, curves, trials and
a comparison.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.data.comparison_records import PairedTest, TestFamily, TestWord
from forecast.data.records import RunRecord
from forecast.system import files

METRICS = ("mae", "rmse", "mase", "rmsse", "smape", "qlike", "direction", "direction_base", "skill")
COLUMNS = (
    *("dataset", "model", "ranking", "skip", "seed", "status"),
    *METRICS,
    *("n_params", "n_origins", "validation_mase", "chosen"),
)
RANKINGS = {"linear": "shipped", "last": "architecture"}
DIAGNOSTICS = {
    "seed": 0,
    "loop": {"verdict": "unstable", "reach": 30.0, "exponent": 0.2},
    "arrays": {
        "lags": [0, 2],
        "gradient": [0.5, 0.125],
        "free_run": [1.0, 30.0],
    },
}
DATASET = {
    "title": "Hourly temperature",
    "source": {"kind": "packaged", "name": "hourly"},
    "calendar": {"kind": "regular", "freq": "1h"},
    "target": {"column": "temperature", "unit": "°C"},
    "horizon": 3,
    "lookback": 4,
    "season_length": 24,
    "splits": {"train": 0.6, "validation": 0.1, "calibration": 0.1},
    "licence": {"name": "CC0", "attribution": "nobody"},
}
INTERVALS = [
    {
        "series": series,
        "level": 80.0,
        "step": step,
        "coverage": 0.7 + 0.2 * (series == "b"),
        "width": 2.0,
        "winkler": 3.0,
    }
    for series in "ab"
    for step in (0, 1)
]
CANDIDATES = ("naive", "lstm.linear", "lstm.last")


def write_records(
    root: Path,
    dataset: str = "weather",
    *,
    candidates: tuple[str, ...] = CANDIDATES,
    horizon: int = 3,
    origins: int = 6,
    trials: int = 2,
    curve: int = 4,
    seeds: int = 2,
    failed: tuple[str, ...] = (),
) -> Path:
    """Fill `root` with the records of `dataset`; returns `root`.

    Everything is a function of the arguments.
    """
    for number, candidate in enumerate(candidates):
        write_record(
            root,
            dataset,
            candidate,
            error=1.0 / (1 + number),
            horizon=horizon,
            origins=origins,
            trials=trials,
            curve=curve,
            seeds=seeds,
            failed=candidate in failed,
        )
    write_comparison(root, dataset, candidates, horizon=horizon, seeds=seeds, failed=failed)
    return root


def write_record(
    root: Path,
    dataset: str,
    candidate: str,
    *,
    error: float,
    horizon: int,
    origins: int,
    trials: int,
    curve: int,
    seeds: int,
    failed: bool = False,
) -> None:
    folder = root / "data" / "trained" / dataset / candidate
    network = "." in candidate
    content = record(
        dataset,
        candidate,
        trials=trials if network else 0,
        curve=curve,
        seeds=seeds if network else 1,
    )
    if failed:
        content |= {"status": "failed", "reason": "the loss became NaN at step 12"}
    files.write_json(folder / "record.json", content)
    if failed:
        return
    files.write_frame(
        folder / "forecasts.parquet", forecasts(error, horizon, origins, seeds if network else 1)
    )
    task = validate_config(Dataset, DATASET, where="test").task.model_dump(mode="json")
    files.write_json(folder / "seed-0" / "spec.json", {"schema": 1, "task": task})
    files.write_arrays(
        folder / "seed-0" / "weights.npz", {"readout/kernel": np.zeros((4, horizon))}
    )
    cost = {"cpu_seconds": 2.0, "wall_seconds": 1.5, "tuning_cpu_seconds": 8.0 * network}
    files.write_json(root / ".forecast" / "cost" / dataset / f"{candidate}.json", cost)


def run_record(candidate: str, **fields: Any) -> RunRecord:
    """The record of a candidate that stage `train` fitted, with `fields` of its own."""
    model, _, skip = candidate.partition(".")
    named_fields = {
        "candidate": candidate,
        "model": model,
        "params": {},
        "ranking": RANKINGS.get(skip, "baseline"),
        "skip": skip or None,
        "dataset": "shops",
        "family": model,
        "kind": "network" if skip else "baseline",
        "status": "ok",
    }
    return RunRecord(**{**named_fields, **fields})


def record(dataset: str, candidate: str, *, trials: int, curve: int, seeds: int) -> dict[str, Any]:
    model, _, skip = candidate.partition(".")
    options = (
        {"units": 32, "learning_rate": 0.003, "dropout": 0.1, "layers": 1, "loss": "huber"}
        if skip
        else {}
    )
    tuned = {"units": 64, "learning_rate": 0.001} if trials else {}
    return {
        "dataset": dataset,
        "model": model,
        "family": model,
        "kind": "network" if skip else "baseline",
        "candidate": candidate,
        "skip": skip or None,
        "ranking": RANKINGS.get(skip, "baseline"),
        "status": "ok",
        "reason": "",
        "description": f"{model} in one sentence.",
        "equation": "h = tanh(V x + W h)",
        "source": "Somebody (1990)",
        "params": options | tuned,
        "tuned": tuned,
        "trials": [_trial(number, curve) for number in range(trials)],
        "n_params": 1234 if skip else 0,
        "cost": {"gradient_steps": 600 if skip else 0, "gradient_steps_taken": 0},
        "rows_seen": 480,
        "seeds": [_seed(seed, curve if skip else 0) for seed in range(seeds)],
        "diagnostics": DIAGNOSTICS if skip else None,
        "digests": {"data": "a" * 64, "config": "b" * 64, "code": "c" * 64, "key": "d" * 64},
    }


def _trial(number: int, curve: int) -> dict[str, Any]:
    value = 0.5 + abs(number - 1) / 10
    params = {"units": (16, 32, 64)[number % 3], "learning_rate": 0.001 * (1 + number)}
    points = [[10 * k, value + 1 / (1 + k)] for k in range(curve)]
    return {
        "number": number,
        "value": value,
        "params": params,
        "curve": points,
    }


def _seed(seed: int, curve: int) -> dict[str, Any]:
    points = [
        [10 * k, 0.3 + 1 / (1 + k) + seed / 50, 0.4 + 1 / (1 + k) + seed / 50] for k in range(curve)
    ]
    best = points[-1] if points else [0, None, None]
    return {
        "seed": seed,
        "status": "ok",
        "reason": "",
        "best_step": best[0],
        "validation_loss": best[2],
        "curve": points,
    }


def forecasts(error: float, horizon: int, origins: int, seeds: int) -> pd.DataFrame:
    """Hourly forecasts of one series, an origin every `horizon` hours, in three blocks."""
    parts = []
    for seed in range(seeds):
        for origin in range(origins):
            cutoff = pd.Timestamp("2025-01-01") + pd.Timedelta(hours=origin * horizon)
            ds = pd.date_range(cutoff, periods=horizon + 1, freq="1h")[1:]
            y = 10 + 4 * np.sin(2 * np.pi * ds.hour.to_numpy() / 24)
            block = ("validation", "calibration", "test")[min(2, 3 * origin // max(origins, 1))]
            keys = {
                "unique_id": "dublin",
                "cutoff": cutoff,
                "step": np.arange(1, horizon + 1),
                "ds": ds,
            }
            y_hat = y + error * np.sin(np.arange(horizon) + origin + seed)
            parts.append(
                pd.DataFrame(
                    {
                        **keys,
                        "block": block,
                        "seed": seed,
                        "y": y,
                        "y_hat": y_hat,
                        "volatility": 1.0,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def write_comparison(
    root: Path,
    dataset: str,
    candidates: tuple[str, ...],
    *,
    horizon: int,
    seeds: int,
    failed: tuple[str, ...] = (),
) -> None:
    folder = root / "data" / "compared" / dataset
    chosen = {ranking: _best(candidates, ranking, failed) for ranking in RANKINGS.values()}
    board, steps = [], []
    for number, candidate in enumerate(candidates):
        rows = _board(
            dataset,
            candidate,
            1.0 / (1 + number),
            seeds,
            candidate in chosen.values(),
            candidate in failed,
        )
        board += rows
        if candidate not in failed:
            steps += _steps(candidate, 1.0 / (1 + number), horizon)
    files.write_text(folder / "leaderboard.csv", _csv(COLUMNS, board))
    files.write_text(
        folder / "by_step.csv",
        _csv(("model", "ranking", "seed", "step", "mae", "rmse", "mase", "skill"), steps),
    )
    networks = [candidate.partition(".") for candidate in candidates if "." in candidate]
    bands = [
        {"model": model, "ranking": RANKINGS[skip], **row}
        for model, _, skip in networks
        for row in INTERVALS
    ]
    files.write_frame(
        folder / "intervals.parquet",
        pd.DataFrame(bands, columns=["model", "ranking", *INTERVALS[0]]),
    )
    columns = ["model", "ranking", "series", "crps", "scaled_crps"]
    files.write_frame(folder / "crps.parquet", pd.DataFrame(columns=columns))
    files.write_text(
        folder / "distributions.csv", "model,ranking,head,series,metric,level,value,n\n"
    )
    tests = [
        _test(candidate, family)
        for candidate in candidates
        if "." in candidate
        for family in ("bar", "skip")
    ]
    sentences = [
        f"On {dataset} the network chosen on validation is better than the naive forecast."
    ]
    names = {ranking: str(name).partition(".")[0] for ranking, name in chosen.items() if name}
    files.write_json(
        folder / "verdicts.json",
        {"dataset": dataset, "chosen": names, "tests": tests, "sentences": sentences},
    )


def _best(candidates: tuple[str, ...], ranking: str, failed: tuple[str, ...]) -> str | None:
    mine = [
        c for c in candidates if RANKINGS.get(c.partition(".")[2]) == ranking and c not in failed
    ]
    return mine[-1] if mine else None


def _board(
    dataset: str, candidate: str, error: float, seeds: int, chosen: bool, failed: bool
) -> list[dict[str, Any]]:
    model, _, skip = candidate.partition(".")
    base = {
        "dataset": dataset,
        "model": model,
        "ranking": RANKINGS.get(skip, "baseline"),
        "skip": skip,
    }
    if failed:
        return [{**base, "seed": "mean", "status": "failed", "chosen": False}]
    scores = {name: error * (1 + k / 10) for k, name in enumerate(METRICS)}
    scores |= {
        "status": "ok",
        "n_params": 1234 if skip else 0,
        "n_origins": 100,
        "validation_mase": 0.9 * error,
    }
    names = [*(str(seed) for seed in range(seeds)), "mean", "std"] if skip else ["0", "mean"]
    return [{**base, **scores, "seed": name, "chosen": chosen and name == "mean"} for name in names]


def _steps(candidate: str, error: float, horizon: int) -> list[dict[str, Any]]:
    model, _, skip = candidate.partition(".")
    base = {"model": model, "ranking": RANKINGS.get(skip, "baseline"), "seed": "mean"}
    growing = [(step, error * (0.5 + step / horizon)) for step in range(1, horizon + 1)]
    return [
        {**base, "step": step, "mae": e, "rmse": 1.2 * e, "mase": 0.8 * e, "skill": 1 - e}
        for step, e in growing
    ]


def paired_test(model: str, family: TestFamily, word: TestWord, **changed: Any) -> PairedTest:
    """A test as shipped against naive, without numbers but for those in `changed`."""
    content = {"ranking": "shipped", "against": "naive", **changed}
    return PairedTest(model=model, family=family, word=word, **content)


def _test(candidate: str, family: str) -> dict[str, Any]:
    model, _, skip = candidate.partition(".")
    return {
        "ranking": RANKINGS[skip],
        "family": family,
        "model": model,
        "against": "naive" if family == "bar" else "ridge",
        "p": 0.001,
        "p_holm": 0.002,
        "mean_difference": -0.2,
        "relative_difference": -0.3,
        "ci_low": -0.3,
        "ci_high": -0.1,
        "n": 100,
        "detectable": 0.05,
        "word": "better",
    }


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
