"""Every published score and choice once more, from the prepared rows and the forecasts alone.

A perturbation shows what a number depends on, not whether it is the number it says it is: a score over the easier
origins, against shifted actuals, of the luckier seed, or a choice by something else than validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast import files
from forecast.audit.findings import Finding
from forecast.audit.origins import unlike
from forecast.audit.sandbox import Sandbox
from forecast.panel import Panel, Series, series_name

EXACT = 1e-8
BLOCKS = ("validation", "calibration", "test")
Ends = dict[str, pd.Timestamp]


@dataclass(frozen=True)
class Errors:
    """Absolute errors of one candidate, series and block: (seeds, n, H) and of the seeds' mean (n, H)."""

    seeds: tuple[int, ...]
    each: np.ndarray
    ensemble: np.ndarray


def rescored(base: Sandbox, panel: Panel, ends: Ends, seeds: list[int], detector: str) -> list[Finding]:
    """Forecasts complete and against the true actuals; scores on test and validation those of these forecasts.

    A later question is asked only where the one before it found nothing: its answer would be a consequence.
    """
    tables = {}
    for path in sorted(base.trained.glob("*/record.json")):
        record = files.read_json(path)
        if record["status"] == "ok":
            tables[path.parent.name] = record, pd.read_parquet(path.parent / "forecasts.parquet")
    found = []
    for name, (record, table) in tables.items():
        wanted = seeds if record["kind"] == "network" else [0]
        found += list(_complete(table, panel, ends, wanted, name, detector))
    if found:
        return found
    about = {(str(r["model"]), str(r["ranking"])): table for r, table in tables.values()}
    tested = {(*key, name): errors for key, t in about.items() for name, errors in _of(t, panel, "test")}
    held = {key: dict(_of(t, panel, "validation")) for key, t in about.items()}
    return list(_scores(base, tested, detector)) or list(_validation(base, held, detector))


def _of(table: pd.DataFrame, panel: Panel, block: str) -> Iterator[tuple[str, Errors]]:
    """The errors of every series, by its name in the published tables."""
    for series in panel.series:
        for output, target in enumerate(c.column for c in panel.dataset.target):
            name = series_name(series.unique_id, target, panel.dataset.target)
            own = (table["unique_id"] == series.unique_id) & (table["output"] == target) & (table["block"] == block)
            yield name, _errors(table[own], series, output)


def _complete(
    table: pd.DataFrame, panel: Panel, ends: Ends, seeds: list[int], name: str, detector: str
) -> Iterator[Finding]:
    """Every seed forecasts every origin of the grid of every block, and `y` is the value at `ds`, `step` rows on."""
    dataset = panel.dataset
    for series in panel.series:
        own = table[table["unique_id"] == series.unique_id]
        cutoff, ahead = (np.searchsorted(series.ds, own[column].to_numpy()) for column in ("cutoff", "ds"))
        position = {c.column: i for i, c in enumerate(dataset.target)}
        outputs = own["output"].map(position).to_numpy()
        actual = series.values[np.minimum(ahead, len(series) - 1), outputs]
        wrong = (ahead - cutoff != own["step"].to_numpy()) | unlike(actual, own["y"].to_numpy())
        if wrong.any():
            text = f"{int(wrong.sum())} of {len(own)} forecasts of {name} are scored against a value of another time"
            yield Finding("origins", detector, name, text)
        for block in BLOCKS:
            grid = set(_origins(series, block, ends, dataset.horizon, dataset.lookback, dataset.stride_in(block)))
            part = (own["block"] == block).to_numpy()
            for seed in seeds:
                made = set(cutoff[part & (own["seed"] == seed).to_numpy()].tolist())
                if made != grid:
                    text = f"{name}, seed {seed}: {len(made)} origins in {block}, {len(grid)} on the grid"
                    yield Finding("origins", detector, name, text)


def _origins(series: Series, block: str, ends: Ends, horizon: int, lookback: int, stride: int) -> list[int]:
    names = list(ends)
    start, stop = (
        int((series.ds <= ends[name].to_datetime64()).sum()) for name in (names[names.index(block) - 1], block)
    )
    return [row for row in range(start - 1, stop - horizon, stride) if row >= lookback - 1]


def _errors(rows: pd.DataFrame, series: Series, output: int) -> Errors:
    rows = rows.sort_values(["seed", "cutoff", "step"], kind="stable")
    seeds, steps = tuple(sorted(int(seed) for seed in rows["seed"].unique())), max(rows["step"].nunique(), 1)
    shape = (max(len(seeds), 1), -1, steps)
    at = np.minimum(np.searchsorted(series.ds, rows["ds"].to_numpy()), len(series) - 1)
    y, y_hat = series.values[at, output].reshape(shape), rows["y_hat"].to_numpy().reshape(shape)
    return Errors(seeds, np.abs(y - y_hat), np.abs(y[0] - y_hat.mean(axis=0)))


def _scores(base: Sandbox, tested: dict[tuple[str, str, str], Errors], detector: str) -> Iterator[Finding]:
    """MAE, origins and skill of every seed and ensemble in by_series.csv."""
    table = _read(base, "by_series.csv")
    if table.empty:
        return
    published = table.set_index(["model", "ranking", "series", "seed"]).to_dict("index")
    for (model, ranking, name), errors in tested.items():
        rows = dict(zip(map(str, errors.seeds), errors.each, strict=False))
        if len(errors.seeds) > 1:
            rows["ensemble"] = errors.ensemble
        naive = tested.get(("naive", "baseline", name))
        for seed, wanted in rows.items():
            row = published.get((model, ranking, name, seed), {})
            expected = {"mae": _mean(wanted), "n_origins": float(len(wanted))}
            if naive is not None and np.isfinite(wanted).all():
                expected["skill"] = 1 - _mean(wanted) / _mean(naive.each)
            for metric, value in expected.items():
                if not np.isclose(float(row.get(metric, np.nan)), value, rtol=EXACT, atol=EXACT, equal_nan=True):
                    text = f"{metric} of {model} ({ranking}), {name}, seed {seed}, is {row.get(metric)}; "
                    yield Finding("scores", detector, model, text + f"its forecasts have {value:g}")


def _validation(base: Sandbox, held: dict[tuple[str, str], dict[str, Errors]], detector: str) -> Iterator[Finding]:
    """The validation scores that the choice rests on, at the scale that by_series.csv divides by."""
    board, table = _read(base, "leaderboard.csv"), _read(base, "by_series.csv")
    if board.empty or table.empty:
        return
    scale = (table["mae"] / table["mase"]).groupby(table["series"]).first()
    means = board[(board["seed"] == "mean") & (board["status"] == "ok")].set_index(["model", "ranking"])
    for about, errors in held.items():
        if about not in means.index:
            continue
        each = [_mean(seed) / scale.get(name, np.nan) for name, e in errors.items() for seed in e.each]
        wanted, found = float(np.mean(each)), float(means["validation_mase"].to_dict()[about])
        if np.isfinite(wanted) and not np.isclose(found, wanted, rtol=1e-6):
            text = f"the validation score of {about[0]} ({about[1]}) is {found:.6g}; its forecasts have {wanted:.6g}"
            yield Finding("choice", detector, about[0], text)


def kept_the_best(base: Sandbox, detector: str) -> Iterator[Finding]:
    """Of every study the trial, and of every training the step, with the lowest validation loss; no other."""
    for path in sorted(base.tuned.glob("*.json")):
        study = files.read_json(path)
        values = {t["number"]: t["value"] for t in study.get("trials", []) if t.get("value") is not None}
        best = study.get("best")
        if best and values and values.get(best["number"]) != min(values.values()):
            text = f"trial {best['number']} was kept with {values.get(best['number'])}, not the lowest of {path.stem}"
            yield Finding("tuning", detector, path.stem, text)
    for path in sorted(base.trained.glob("*/record.json")):
        for seed in files.read_json(path).get("seeds", []):
            looks = {step: loss for step, _, loss in seed.get("curve") or [] if loss is not None}
            if looks and looks.get(seed["best_step"]) != min(looks.values()):
                text = f"seed {seed['seed']} of {path.parent.name} kept step {seed['best_step']}, not the lowest"
                yield Finding("training", detector, path.parent.name, text)


def _read(base: Sandbox, name: str) -> pd.DataFrame:
    path = base.compared / name
    return pd.read_csv(path, dtype={"seed": str, "series": str}) if path.exists() else pd.DataFrame()


def _mean(errors: np.ndarray) -> float:
    known: Any = errors[np.isfinite(errors)]
    return float(known.mean()) if known.size else float("nan")
