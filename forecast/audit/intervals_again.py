"""The published intervals once more: margins from the calibration block by the audit's own code, scores from these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from forecast.audit.findings import Finding
from forecast.audit.sandbox import Sandbox
from forecast.data.panel import Panel, series_name
from forecast.system import files

KEYS = ["model", "ranking", "series", "level"]
SCORES = ("coverage", "width", "winkler")
UNITS: dict[str, Any] = {"log": (np.log, np.exp), "logdiff": (np.log, np.exp), "log1p": (np.log1p, np.expm1)}
EXACT = 1e-6
Key = tuple[str, str, str, float]


def intervals_again(base: Sandbox, panel: Panel, detector: str) -> Iterator[Finding]:
    """Split intervals of every candidate, those shown of the chosen ones, and that the shown rows are of their method.

    Pooled over the steps. An interval wants both ends of its own series; the calibration block of another would do
    as well for a check of ranges.
    """
    methods, shown = (_table(base, f"{name}.csv") for name in ("interval_methods", "intervals"))
    if methods.empty:
        return
    split = _pooled(methods[methods["method"] == "split"])
    for path in sorted(base.trained.glob("*/record.json")):
        record = files.read_json(path)
        own = {key: row for key, row in split.items() if key[:2] == (record["model"], record["ranking"])}
        table = pd.read_parquet(path.parent / "forecasts.parquet") if own else pd.DataFrame()
        for key, row in own.items():
            yield from _unlike(row, _split(table, panel, key[2], key[3]), key, "split", detector)
    method = str(_verdicts(base).get("interval_method", {}).get("method"))
    wanted = methods[methods["method"] == method].set_index([*KEYS, "step"])[list(SCORES)].sort_index()
    found = shown.set_index([*KEYS, "step"])[list(SCORES)].sort_index()
    if not wanted.index.equals(found.index) or not np.allclose(wanted, found, rtol=EXACT, equal_nan=True):
        text = f"the intervals shown are not those of the method that was decided on, {method}"
        yield Finding("scores", detector, "intervals.csv", text)
    yield from _bands(base, panel, shown, detector)


def _split(table: pd.DataFrame, panel: Panel, name: str, level: float) -> dict[str, float]:
    uid, output, transform = _about(panel, name)
    own = table[(table["unique_id"] == uid) & (table["output"] == output)]
    mean = own.groupby(["block", "cutoff", "step"], sort=True)[["y", "y_hat"]].mean()
    to, back = UNITS.get(transform, (np.asarray, np.asarray))
    held, test = (mean.loc[block].unstack("step") for block in ("calibration", "test"))
    outside = np.abs(to(held["y"].to_numpy()) - to(held["y_hat"].to_numpy()))
    margin = []
    for column in outside.T:
        known = np.sort(column[np.isfinite(column)])
        margin.append(known[math.ceil(round((len(known) + 1) * level, 9)) - 1])
    centre = to(test["y_hat"].to_numpy())
    return _scored(test["y"].to_numpy(), back(centre - margin), back(centre + margin), level)


def _scored(y: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float) -> dict[str, float]:
    """Pooled over origins and steps; a missing actual is left out of coverage and score."""
    known = np.isfinite(y)
    missed = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
    score = (upper - lower) + 2 / (1 - level) * missed
    inside = (y >= lower) & (y <= upper)
    return {"coverage": float(inside[known].mean()), "winkler": float(score[known].mean())}


def _bands(base: Sandbox, panel: Panel, shown: pd.DataFrame, detector: str) -> Iterator[Finding]:
    path = base.compared / "bands.parquet"
    bands = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    pooled = _pooled(shown)
    for key, row in pooled.items() if len(bands) else ():
        mine = bands["series"].eq(key[2]) & bands["level"].eq(key[3])
        rows = bands[mine & bands["model"].eq(key[0]) & bands["ranking"].eq(key[1])]
        if len(rows):
            uid, output, _ = _about(panel, key[2])
            position = [column.column for column in panel.dataset.target].index(output)
            series = panel.by_id[uid]
            ahead = np.searchsorted(series.ds, rows["cutoff"].to_numpy()) + rows["step"].to_numpy()
            made = _scored(series.values[ahead, position], rows["lower"].to_numpy(), rows["upper"].to_numpy(), key[3])
            yield from _unlike(row, made, key, "shown", detector)


def _pooled(table: pd.DataFrame) -> dict[Key, dict[str, float]]:
    """The scores over all steps, by model, ranking, series and level."""
    rows = table[table["step"] == 0]
    found: dict[Key, dict[str, float]] = {}
    for row in rows.to_dict("records"):
        key = (str(row["model"]), str(row["ranking"]), str(row["series"]), float(row["level"]))
        found[key] = {name: float(row[name]) for name in SCORES}
    return found


def _unlike(row: dict[str, float], made: dict[str, float], key: Key, what: str, detector: str) -> Iterator[Finding]:
    for name, value in made.items():
        if not np.isclose(float(row[name]), value, rtol=EXACT, equal_nan=True):
            about = f"{name} of the {what} {100 * float(key[3]):g} % intervals of {key[0]} ({key[1]}), {key[2]}, "
            yield Finding("scores", detector, str(key[0]), f"{about}is {row[name]:.6g}; made again it is {value:.6g}")
            return


def _about(panel: Panel, name: str) -> tuple[str, str, str]:
    """unique_id, target column and transform of a series by its name in the published tables."""
    targets = panel.dataset.target
    for series in panel.series:
        for column in targets:
            if series_name(series.unique_id, column.column, [c.column for c in targets]) == name:
                return series.unique_id, column.column, column.transform
    raise KeyError(name)


def _table(base: Sandbox, name: str) -> pd.DataFrame:
    path = base.compared / name
    return pd.read_csv(path, dtype={"series": str, "model": str}) if path.exists() else pd.DataFrame()


def _verdicts(base: Sandbox) -> dict[str, Any]:
    path = base.compared / "verdicts.json"
    found: dict[str, Any] = files.read_json(path) if path.exists() else {}
    return found
