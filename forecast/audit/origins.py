"""Prepared rows, inputs and forecasts at single origins, when everything later is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast import calendars
from forecast.audit.changes import mirrored, shaken
from forecast.audit.findings import Finding
from forecast.audit.sandbox import Change, Project, run
from forecast.config.datasets import Dataset, load_dataset
from forecast.errors import InputError
from forecast.forecaster import Forecaster
from forecast.models.base import NetworkSpec
from forecast.panel import Panel, Series, from_frame

RANDOM = 6
BESIDE_GAPS = 6


def pick(project: Project, ends: dict[str, pd.Timestamp], *, seed: int = 0) -> list[pd.Timestamp]:
    """Moments to cut at: block ends, some between, and the starts of gaps, where a value is filled if any is."""
    times = np.sort(project.frame["ds"].unique())
    scored = times[(times > ends["train"].to_datetime64()) & (times < times[-1])]
    rng = np.random.default_rng(seed)
    some = rng.choice(scored, min(RANDOM, len(scored)), replace=False) if len(scored) else scored
    borders = [ends[name] for name in ("train", "validation", "calibration")]
    frames = project.raw.items()
    settings = {name: load_dataset(name, project.root / "configs") for name in project.raw}
    beside = sorted({moment for name, frame in frames for moment in beside_gaps(frame, settings[name])})
    if len(beside) > BESIDE_GAPS:
        beside = [beside[i] for i in sorted(rng.choice(len(beside), BESIDE_GAPS, replace=False))]
    first, last = pd.Timestamp(times[0]), pd.Timestamp(times[-1])
    wanted = {pd.Timestamp(moment) for moment in (*some, *borders, *beside)}
    return sorted(moment for moment in wanted if first < moment < last)


def beside_gaps(frame: pd.DataFrame, dataset: Dataset) -> list[pd.Timestamp]:
    """The first moment of every run of missing rows or cells that a value follows."""
    found = [gap.first for gap in calendars.gaps(frame, dataset.calendar)]
    names = frame.columns.drop(["unique_id", "ds"])
    for _, rows in frame.groupby("unique_id", sort=False):
        missing = rows[names].isna()
        starts = missing & ~missing.shift(1, fill_value=False)
        found += [pd.Timestamp(moment) for moment in rows["ds"][starts.any(axis=1)]]
    return sorted(set(found))


def audit_origins(
    project: Project, moments: list[pd.Timestamp], forecasters: dict[str, Forecaster], folder: Path
) -> Iterator[Finding]:
    """Every moment: all later rows changed, then prepared rows, known-future inputs and forecasts compared."""
    base = prepared(project, project.frame, folder / "base", None)
    known = set(_observed(project.frame))
    for number, moment in enumerate(moments):
        changed = _changed(project, folder / f"origin-{number}", moment, upside_down=bool(number % 2))
        clean = True
        for series in base.series:
            for finding in _inputs(project, series, changed.by_id.get(series.unique_id), moment, known):
                clean = False
                yield finding
        # a forecast from inputs that differ must differ; that is no second leak
        if clean:
            yield from _forecasts(forecasters, base, changed, moment)


def audit_ends(
    project: Project, moments: list[pd.Timestamp], forecasters: dict[str, Forecaster], folder: Path
) -> Iterator[Finding]:
    """The same with the later rows not changed but absent, as on the day itself."""
    base = prepared(project, project.frame, folder / "base-of-ends", None)
    known = set(_observed(project.frame))
    for number, moment in enumerate(moments):
        frame = project.frame[project.frame["ds"] <= moment].reset_index(drop=True)
        try:
            short = prepared(project, frame, folder / f"end-{number}", None)
        except InputError:
            continue  # too short for the blocks, or with too large a share of gaps: no pipeline for that day
        found = [
            finding
            for series in base.series
            for finding in _inputs(project, series, short.by_id.get(series.unique_id), moment, known)
        ]
        yield from found
        if not found:
            yield from _forecasts(forecasters, base, short, moment)


def _changed(project: Project, folder: Path, moment: pd.Timestamp, *, upside_down: bool) -> Panel:
    """The panel with what is later than `moment` mirrored, where its rows stay valid so, else shaken."""
    if upside_down:
        try:
            return prepared(project, project.frame, folder / "mirrored", moment, mirrored)
        except InputError:
            pass  # such as a low above its high
    return prepared(project, project.frame, folder / "shaken", moment)


def prepared(
    project: Project, frame: pd.DataFrame, folder: Path, moment: pd.Timestamp | None, change: Change = shaken
) -> Panel:
    """The panel that the stages fetch and prepare make of `frame`, with what is later than `moment` changed."""
    sandbox = run(project, frame, folder, after=moment, change=change, stages=("fetch", "prepare"))
    return from_frame(pd.read_parquet(sandbox.prepared / "frame.parquet"), project.dataset, project.settings)


def _inputs(
    project: Project, one: Series, two: Series | None, moment: pd.Timestamp, known: set[tuple[str, pd.Timestamp, str]]
) -> Iterator[Finding]:
    detector = f"change after {moment:%Y-%m-%d %H:%M}"
    rows = int((one.ds <= moment.to_datetime64()).sum())
    if two is None or len(two) < rows or not np.array_equal(one.ds[:rows], two.ds[:rows]):
        text = f"series {one.unique_id} has other rows when later ones change"
        yield Finding("features", "change after an origin", one.unique_id, text)
        return
    for position, column in enumerate(project.settings.columns):
        differ = unlike(one.values[:rows, position], two.values[:rows, position])
        if differ.any():
            row = int(np.flatnonzero(differ)[-1])
            at = pd.Timestamp(one.ds[row])
            missing = column.column in project.frame and (one.unique_id, at, column.column) not in known
            text = f"{column.column} at {at}{', missing in the source,' * missing} uses rows after it: {detector}"
            yield Finding("gap" if missing else "features", "change after an origin", column.column, text)
    both = min(len(one.future), len(two.future))
    if unlike(one.future[:both], two.future[:both]).any():
        text = f"the inputs known in advance change with observations: {detector}"
        yield Finding("known future", "change after an origin", one.unique_id, text)


def _forecasts(
    forecasters: dict[str, Forecaster], base: Panel, changed: Panel, moment: pd.Timestamp
) -> Iterator[Finding]:
    for name, forecaster in forecasters.items():
        lookback, horizon = base.dataset.lookback, base.dataset.horizon
        rows = {}
        for series in base.series:
            last = int((series.ds <= moment.to_datetime64()).sum()) - 1
            wanted = np.array([last - horizon, last - 1, last])
            rows[series.unique_id] = wanted[wanted >= lookback - 1]
        one, two = forecaster.predict(base, rows), forecaster.predict(changed, rows)
        differ = sum(int(unlike(one[uid], two[uid]).any(axis=(1, 2)).sum()) for uid in one)
        if differ:
            text = f"{differ} forecasts of {name} made at or before {moment} change with the rows after it"
            yield Finding("forecast", "change after an origin", name, text)


def stirred(forecaster: Forecaster, *, seed: int = 0) -> Forecaster:
    """The same network with weights away from zero: an untrained read-out is zero and would hide what it reads."""
    if not isinstance(forecaster.spec, NetworkSpec):
        return forecaster
    rng = np.random.default_rng(seed)
    weights = {
        name: (value + rng.normal(0, 0.05, value.shape)).astype(value.dtype)
        for name, value in sorted(forecaster.weights.items())
    }
    return replace(forecaster, weights=weights)


def _observed(frame: pd.DataFrame) -> Iterator[tuple[str, pd.Timestamp, str]]:
    for name in frame.columns.drop(["unique_id", "ds"]):
        rows = frame[frame[name].notna()]
        for uid, at in zip(rows["unique_id"], rows["ds"], strict=True):
            yield str(uid), pd.Timestamp(at), str(name)


def unlike(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Where the bits differ; NaN equals NaN."""
    return ~((one == two) | (np.isnan(one) & np.isnan(two)))
