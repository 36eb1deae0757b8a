"""Which origins are fresh, what each model lost on them, and the ledger in which every origin is counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.config.datasets import Dataset, FractionSplits
from forecast.config.task import Task
from forecast.data.panel import Panel, from_frame
from forecast.data.splits import Borders, cut, origins_of
from forecast.forecaster.ensemble import Ensemble
from forecast.operations.gate import Evidence, Fresh
from forecast.system import files
from forecast.system.errors import DataError, ForecastError

YEAR = pd.Timedelta(365, "D")


def blocks(ds: pd.Series, name: str, dataset: Dataset, *, fresh_steps: int) -> dict[str, str]:
    """`splits` for data at the times `ds`: the newest `fresh_steps` origins for the gate, before them calibration and
    validation as long as they are configured, everything earlier for training.

    Blocks end with a day. `DataError` when too little is left to train on.
    """
    steps = pd.DatetimeIndex(np.unique(ds.to_numpy()))
    first = max(len(steps) - (fresh_steps + dataset.horizon - 1), 0)
    ends = [steps[-1].normalize(), steps[first].normalize() - pd.Timedelta(1, "D")]
    for length in _lengths(dataset, steps):
        ends.append((ends[-1] - length).normalize())
    trained = int((steps < ends[-1] + pd.Timedelta(1, "D")).sum())
    if trained < dataset.lookback + 2 * dataset.horizon:
        raise DataError(
            f"Dataset {name!r} has {len(steps)} time steps; {fresh_steps} for the gate and what validation and "
            f"calibration take leave {trained} to train on, too few. Lower `fresh_steps` in configs/retraining.yaml, "
            "shorten the blocks in configs/datasets.yaml, or wait for more data."
        )
    names = ("test_end", "calibration_end", "validation_end", "train_end")
    return {key: f"{end:%Y-%m-%d}" for key, end in reversed(list(zip(names, ends, strict=True)))}


def _lengths(dataset: Dataset, steps: pd.DatetimeIndex) -> tuple[pd.Timedelta, pd.Timedelta]:
    """How long calibration and validation are: as many days as configured, or the shares of what there is."""
    splits = dataset.splits
    if isinstance(splits, FractionSplits):
        span = steps[-1] - steps[0]
        return splits.calibration * span, splits.validation * span
    ends = [pd.Timestamp(day) for day in (splits.train_end, splits.validation_end, splits.calibration_end)]
    return ends[2] - ends[1], ends[1] - ends[0]


@dataclass(frozen=True)
class Case:
    """The prepared data of one gate. `scale`: per series and target what errors are divided by."""

    task: Task
    panel: Panel
    borders: Borders
    scale: Mapping[tuple[str, int], float]

    @classmethod
    def read(cls, project: Path, name: str, task: Task) -> Case:
        """What stage `prepare` wrote below `project`."""
        folder = project / "data" / "prepared" / name
        frame = files.read_frame(folder / "frame.parquet")
        panel = from_frame(frame, name, task)
        borders = Borders.from_json(files.read_json(folder / "borders.json"))
        return cls(task, panel, borders, _scales(panel, borders, task))

    def rows(self, after: Sequence[pd.Timestamp]) -> dict[str, np.ndarray]:
        """Per series the origins of the test block whose first target lies after every moment of `after`."""
        found = {}
        last = max(after, default=pd.Timestamp(0))
        for series in self.panel.series:
            rows = origins_of(self.task, cut(series, self.borders), "test")
            found[series.unique_id] = rows[series.ds[rows + 1] > np.datetime64(last)] if len(rows) else rows
        return found

    def loss(self, ensemble: Ensemble, rows: Mapping[str, np.ndarray]) -> pd.Series:
        """Mean scaled absolute error over horizon, targets and series at each origin, indexed by its time.

        An unknown actual is left out; what a model cannot forecast is NaN, never left out.
        """
        with np.errstate(all="ignore"):
            forecasts = ensemble.predict(self.panel, rows)
        return self._mean(forecasts, rows)

    def naive_loss(self, rows: Mapping[str, np.ndarray]) -> pd.Series:
        """The same of repeating the last observed value."""
        horizon, outputs = self.task.horizon, self.panel.outputs
        forecasts = {}
        for uid, at in rows.items():
            known = pd.DataFrame(self.panel.by_id[uid].values[:, :outputs]).ffill().to_numpy()
            forecasts[uid] = np.repeat(known[at][:, None, :], horizon, axis=1)
        return self._mean(forecasts, rows)

    def _mean(self, forecasts: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> pd.Series:
        parts = []
        for uid, at in rows.items():
            series = self.panel.by_id[uid]
            ahead = at[:, None] + np.arange(1, self.task.horizon + 1)
            actual = series.values[ahead][:, :, : self.panel.outputs]
            scale = np.array([self.scale[uid, output] for output in range(self.panel.outputs)])
            error = np.where(np.isfinite(actual), np.abs(actual - forecasts[uid]) / scale, 0.0).sum(axis=(1, 2))
            count = np.isfinite(actual).sum(axis=(1, 2))
            known = count > 0
            parts.append(pd.Series(error[known] / count[known], index=series.ds[at[known]]))
        return pd.concat(parts).groupby(level=0).agg(lambda values: values.mean(skipna=False)).sort_index()


def _scales(panel: Panel, borders: Borders, task: Task) -> dict[tuple[str, int], float]:
    found = {}
    for series in panel.series:
        train = series.values[: cut(series, borders).train[1]]
        for output in range(panel.outputs):
            scale = metrics.insample_scale(train[:, output], season_length=task.season_length).value
            if not scale > 0:
                raise DataError(f"Series {series.unique_id!r} is constant in training; its errors have no scale.")
            found[series.unique_id, output] = float(scale)
    return found


def fresh(case: Case, challenger: Ensemble, champion: Ensemble | None, seen: Sequence[pd.Timestamp]) -> pd.DataFrame:
    """Losses on the fresh origins: index cutoff, columns challenger, naive and, if there is one, champion.

    `seen`: the last target that each model used in fitting, early stopping, tuning or calibration.
    """
    rows = case.rows(seen)
    own = {} if champion is None else {"champion": case.loss(champion, rows)}
    return pd.DataFrame({"challenger": case.loss(challenger, rows), "naive": case.naive_loss(rows), **own})


def as_fresh(losses: pd.DataFrame) -> Fresh:
    own = losses["champion"].to_numpy() if "champion" in losses else None
    return Fresh(losses["challenger"].to_numpy(), losses["naive"].to_numpy(), own)


def can_be_judged(champion: Ensemble, task: Task) -> bool:
    """Whether the champion forecasts what the configuration asks for now: the same columns, steps and lookback."""
    same = ("target", "past_exogenous", "calendar_features", "horizon", "lookback", "calendar")
    return all(getattr(champion.task, name) == getattr(task, name) for name in same)


class Ledger:
    """Every origin that a gate has counted, once: `.forecast/retrain/<dataset>/ledger.json`.

    A row is (origin, champion version, recipe, losses of both, when). Which model stood against which at an origin was
    settled before its targets were known, so the differences are evidence however often they are looked at.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            try:
                self.rows = files.read_json(path)["rows"]
            except (ValueError, KeyError, TypeError):
                raise ForecastError(f"{path}: cannot be read. Delete it: evidence is then gathered anew.") from None

    def add(self, losses: pd.DataFrame, *, version: int, recipe: str, at: pd.Timestamp) -> None:
        """Count the origins of `losses` that are newer than any this pair has counted."""
        own = self._own(version, recipe)
        last = max((pd.Timestamp(row["origin"]) for row in own), default=pd.Timestamp.min)
        pair = {"version": version, "recipe": recipe, "at": at.isoformat()}
        finite = losses[np.isfinite(losses[["champion", "challenger"]]).all(axis=1)]
        for origin, row in finite[finite.index > last].iterrows():
            both = {"champion": float(row["champion"]), "challenger": float(row["challenger"])}
            self.rows.append({"origin": pd.Timestamp(str(origin)).isoformat(), **both, **pair})

    def evidence(self, *, version: int, recipe: str) -> Evidence | None:
        """What one pair has gathered, None when nothing.

        `test` counts the pairs begun in the year before it began, itself included; two models that lost the same at
        every origin were never told apart, so they are no test.
        """
        own = self._own(version, recipe)
        if not own:
            return None
        begun: dict[tuple[int, str], pd.Timestamp] = {}
        for row in self.rows:
            if row["champion"] != row["challenger"]:
                begun.setdefault((row["version"], row["recipe"]), pd.Timestamp(row["at"]))
        mine = pd.Timestamp(own[0]["at"])
        test = sum(1 for pair, at in begun.items() if mine - YEAR < at <= mine and pair != (version, recipe)) + 1
        first = sum(1 for row in own if row["at"] == own[0]["at"])
        champion, challenger = (np.array([row[name] for row in own]) for name in ("champion", "challenger"))
        return Evidence(champion, challenger, test=test, first=first)

    def save(self) -> None:
        files.write_json(self.path, {"rows": self.rows})

    def _own(self, version: int, recipe: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["version"] == version and row["recipe"] == recipe]
