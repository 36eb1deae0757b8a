"""The moments at which an audited pipeline is cut, and where its rows are not those of the source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecast.audit.findings import Finding
from forecast.audit.sandbox import Project
from forecast.config.datasets import Dataset, load_dataset
from forecast.data import calendars
from forecast.data.panel import Panel

RANDOM = 6
BESIDE_GAPS = 6
MENDED = 4


def pick(project: Project, base: Panel, ends: dict[str, pd.Timestamp], *, seed: int = 0) -> list[pd.Timestamp]:
    """Moments to cut at: block ends, some between, and where the pipeline may have looked ahead.

    That is at the starts of gaps, where a value is filled if any is, and where `base` has another value than the
    source. In the order of time.
    """
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
    mended = sorted({at for _, at, _ in other_values(project, base)})
    if len(mended) > MENDED:
        mended = [mended[i] for i in sorted(rng.choice(len(mended), MENDED, replace=False))]
    first, last = pd.Timestamp(times[0]), pd.Timestamp(times[-1])
    wanted = {pd.Timestamp(moment) for moment in (*some, *borders, *beside, *mended)}
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


def other_values(project: Project, base: Panel) -> Iterator[tuple[str, pd.Timestamp, str]]:
    """(series, time, column) of every value of the source that the prepared rows lack or hold otherwise.

    Columns of the source by their own names; prices that are adjusted are meant to differ.
    """
    if project.settings.source.adjustment != "none":
        return
    raw = {str(uid): rows.set_index("ds") for uid, rows in project.frame.groupby("unique_id", sort=False)}
    for series in base.series:
        rows = raw.get(series.unique_id)
        for position, column in enumerate(base.dataset.columns):
            if rows is None or column.column not in rows:
                continue
            wanted = rows[column.column].dropna()
            found = pd.Series(series.values[:, position], pd.DatetimeIndex(series.ds)).reindex(wanted.index)
            for at in wanted.index[found.to_numpy() != wanted.to_numpy(dtype=np.float64)]:
                yield series.unique_id, pd.Timestamp(at), column.column


def actuals(project: Project, base: Panel) -> Iterator[Finding]:
    """What forecasts are scored against is what the source says, with no value mended, bounded or left out."""
    targets = [column.column for column in base.dataset.target]
    for name in targets:
        found = [(uid, at) for uid, at, column in other_values(project, base) if column == name]
        if found:
            uid, at = found[0]
            text = f"{len(found)} values of {name} are not those of the source, such as series {uid} at {at}"
            yield Finding("actuals", "comparison with the source", name, text)
