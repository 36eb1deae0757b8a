"""Prepared rows, inputs and forecasts at single moments, when everything later is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.audit import Finding, data
from forecast.audit.changes import (
    block_ends,
    known_at,
    mirrored,
    rows_until,
    shaken,
    shrunk,
    thinned,
    with_plans,
)
from forecast.audit.sandbox import Change, Project, file_access, isolated, run
from forecast.config.datasets import load_dataset
from forecast.data import calendars, splits
from forecast.data.columns import observed
from forecast.data.panel import Panel, Series, from_frame
from forecast.data.scaling import Scaling
from forecast.forecaster import Forecaster
from forecast.system.errors import InputError

CHANGES = (shaken, mirrored, shrunk, thinned)
RANDOM = 6
BESIDE_GAPS = 6
MENDED = 4
CALLS = 25
"""Of the scaling, the last of which counts: one may be honest as often as a run asks for it."""


@dataclass(frozen=True)
class Prepared:
    """The panel that the stages make of some rows, and the scaling of its train block where that
    was asked for.
    """

    panel: Panel
    scaling: Scaling | None = None


def moments(project: Project, base: Panel, ends: dict[str, pd.Timestamp]) -> list[pd.Timestamp]:
    """Moments to cut at: block ends, some between, and where the pipeline may have looked ahead.

    That is at the ends of gaps, whose every row a look ahead would fill, of the longest stretches
    in which nothing new of a joined dataset is known, and where `base` has another value than the
    source. In the order of time.
    """
    seen = observed(project.frame, project.settings)
    times = np.sort(seen["ds"].unique())
    scored = times[(times > ends["train"].to_datetime64()) & (times < times[-1])]
    rng = np.random.default_rng(0)
    some = rng.choice(scored, min(RANDOM, len(scored)), replace=False) if len(scored) else scored
    borders = [ends[name] for name in ("train", "validation", "calibration")]
    # The last moment of every run of missing rows or cells, before the value that follows it.
    missing = seen.drop(columns=["unique_id", "ds"]).isna()
    ends_of = missing & ~missing.groupby(seen["unique_id"], sort=False).shift(-1, fill_value=False)
    rows = {gap.last for gap in calendars.gaps(seen, project.settings.calendar)}
    beside = _some(sorted(rows | set(seen["ds"][ends_of.any(axis=1)])), BESIDE_GAPS, rng)
    others = sorted(set(project.raw) - {project.dataset})
    beside += [at for name in others for at in stale(project, name)[: BESIDE_GAPS // len(others)]]
    mended = _some(sorted({at for _, at, _ in data.other_values(project, base)}), MENDED, rng)
    first, last = pd.Timestamp(times[0]), pd.Timestamp(times[-1])
    wanted = {pd.Timestamp(moment) for moment in (*some, *borders, *beside, *mended)}
    return sorted(moment for moment in wanted if first < moment < last)


def _some(found: list[pd.Timestamp], most: int, rng: np.random.Generator) -> list[pd.Timestamp]:
    """At most so many of them, in order."""
    return (
        found
        if len(found) <= most
        else [found[i] for i in sorted(rng.choice(len(found), most, replace=False))]
    )


def stale(project: Project, other: str) -> list[pd.Timestamp]:
    """The last rows of the stretches in which no row of a joined dataset becomes known, the longest
    first.
    """
    times = pd.DatetimeIndex(np.sort(observed(project.frame, project.settings)["ds"].unique()))
    calendar = load_dataset(other, project.paths.configs).calendar
    known = np.unique(known_at(calendar, project.raw[other].dropna()["ds"]))
    rows = np.searchsorted(known, known_at(project.settings.calendar, times), side="right")
    last = np.flatnonzero(np.diff(rows, append=rows[-1:] + 1))
    length = np.diff(last, prepend=-1)
    return [times[last[place]] for place in np.argsort(-length, kind="stable") if length[place] > 1]


def audit_origins(
    project: Project, base: Panel, moments: list[pd.Timestamp], trained: Path, folder: Path
) -> Iterator[Finding]:
    """Every moment: all later rows changed, then prepared rows, known-future inputs, scaling and
    forecasts compared.

    `base`: the panel of the data as they are; `trained`: the folder of saved forecasters.
    """

    def changed(number: int, moment: pd.Timestamp, borders: splits.Borders | None) -> Prepared:
        """In one way after the other, where rows stay valid so."""
        for change in (CHANGES[number % len(CHANGES)], shaken):
            place = folder / f"origin-{number}" / change.__name__
            with contextlib.nullcontext() if change is shaken else contextlib.suppress(InputError):
                return isolated(prepared, project, project.frame, place, moment, change, borders)
        raise AssertionError("not reached")

    yield from _examined(project, base, moments, changed, trained)


def audit_ends(
    project: Project, base: Panel, moments: list[pd.Timestamp], trained: Path, folder: Path
) -> Iterator[Finding]:
    """The same with the later rows not changed but absent, as on the day itself."""

    def short(number: int, moment: pd.Timestamp, borders: splits.Borders | None) -> Prepared | None:
        frame = project.frame[project.frame["ds"] <= moment].reset_index(drop=True)
        frame = with_plans(frame, project.frame, project.settings, moment)
        # one too short for the blocks, or with too large a share of gaps: no pipeline for that day
        with contextlib.suppress(InputError):
            return isolated(
                prepared, project, frame, folder / f"end-{number}", None, borders=borders
            )
        return None

    yield from _examined(project, base, moments, short, trained)


def _examined(
    project: Project,
    base: Panel,
    moments: list[pd.Timestamp],
    make: Callable[[int, pd.Timestamp, splits.Borders | None], Prepared | None],
    trained: Path,
) -> Iterator[Finding]:
    """`make`: what the stages make at a moment; with the borders, where the train block has ended,
    its scaling too.
    """
    known = set(project.frame.set_index(["unique_id", "ds"]).stack().dropna().index)
    ends = block_ends(project.frame, project.settings)
    borders = isolated(splits.resolve, base, project.settings.splits)
    made = [
        (m, make(number, m, borders if m >= ends["train"] else None))
        for number, m in enumerate(moments)
    ]
    same = []
    for moment, other in made:
        if other is None:
            continue
        found = [
            finding
            for series in base.series
            for finding in _inputs(
                project, series, other.panel.by_id.get(series.unique_id), moment, known
            )
        ]
        yield from found
        # a forecast from inputs that differ must differ; that is no second leak
        if not found:
            same.append((moment, other))
    yield from _scalings(isolated(_scaling, base, borders), same)
    panels = [(moment, other.panel) for moment, other in same]
    yield from isolated(_forecasts, project.paths.root, trained, base, panels, ends["validation"])


def _scalings(one: Scaling, others: list[tuple[pd.Timestamp, Prepared]]) -> Iterator[Finding]:
    """Centres and spreads of the train block, whatever comes after it and however much that is
    changed.
    """
    for moment, other in others:
        two = other.scaling
        if two is None:
            continue
        for uid in one.centre:
            if (
                unlike(one.centre[uid], two.centre[uid]).any()
                or unlike(one.scale[uid], two.scale[uid]).any()
            ):
                text = (
                    f"the scaling of series {uid} changes with rows after {moment:%Y-%m-%d %H:%M}"
                )
                yield Finding("scaling", "change after an origin", uid, text)
                return


def _scaling(panel: Panel, borders: splits.Borders) -> Scaling:
    blocks = splits.cut_panel(panel, borders, ("train",))
    return [Scaling.fit(panel, blocks) for _ in range(CALLS)][-1]


def prepared(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    moment: pd.Timestamp | None,
    change: Change = shaken,
    borders: splits.Borders | None = None,
) -> Prepared:
    """What the stages fetch and prepare make of `frame`, with what is later than `moment` changed;
    with `borders` the scaling as well. To be `isolated`, all in one process, which knows no other
    frame.
    """
    sandbox = run(project, frame, folder, after=moment, change=change, stages=("fetch", "prepare"))
    panel = from_frame(
        pd.read_parquet(sandbox.prepared / "frame.parquet"), project.dataset, project.settings.task
    )
    return Prepared(panel, None if borders is None else _scaling(panel, borders))


def _inputs(
    project: Project,
    one: Series,
    two: Series | None,
    moment: pd.Timestamp,
    known: set[tuple[str, pd.Timestamp, str]],
) -> Iterator[Finding]:
    detector = f"change after {moment:%Y-%m-%d %H:%M}"
    rows = rows_until(one.ds, moment)
    if two is None or len(two) < rows or not np.array_equal(one.ds[:rows], two.ds[:rows]):
        text = f"series {one.unique_id} has other rows when later ones change"
        yield Finding("features", "change after an origin", one.unique_id, text)
        return
    for position, column in enumerate(project.settings.columns):
        differ = unlike(one.values[:rows, position], two.values[:rows, position])
        if differ.any():
            row = int(np.flatnonzero(differ)[-1])
            at = pd.Timestamp(one.ds[row])
            missing = (
                column.column in project.frame and (one.unique_id, at, column.column) not in known
            )
            text = (
                f"{column.column} at {at}{', missing in the source,' * missing} uses rows after it:"
                f" {detector}"
            )
            yield Finding(
                "gap" if missing else "features", "change after an origin", column.column, text
            )
    both = min(len(one.future), len(two.future))
    if unlike(one.future[:both], two.future[:both]).any():
        text = f"the inputs known in advance change with observations: {detector}"
        yield Finding("known future", "change after an origin", one.unique_id, text)


def load(trained: Path) -> dict[str, Forecaster]:
    """Every saved forecaster below `trained`, and each network once more with its weights moved
    away from zero.
    """
    found = {}
    for path in sorted(trained.glob("*/seed-*")):
        name = path.relative_to(trained).as_posix()
        found[name] = Forecaster.load(path)
        if found[name].network is not None:
            found[f"{name}, stirred"] = stirred(found[name])
    return found


def _forecasts(
    root: Path,
    trained: Path,
    base: Panel,
    others: list[tuple[pd.Timestamp, Panel]],
    fitted_until: pd.Timestamp,
) -> list[Finding]:
    """Forecasts up to each moment are the same, and one made a lookback later is not."""
    found, detector = [], "change after an origin"
    for name, forecaster in load(trained).items():
        followed = not forecaster.spec.reads_history or not others
        with file_access(root, trained) as opened:
            for moment, other in others:
                differ, later = _unlike_at(forecaster, base, other, moment, fitted_until)
                followed |= later
                if differ:
                    text = (
                        f"{differ} forecasts of {name} made at or before {moment} change with the"
                        " rows after it"
                    )
                    found.append(Finding("forecast", detector, name, text))
        if opened:
            text = f"forecasting with {name} opened {opened[0]}, beside the rows it was given"
            found.append(Finding("beside", "files opened meanwhile", name, text))
        if not followed:
            text = (
                f"no forecast of {name} changes with the rows before its cutoff, so nothing can be"
                " said about it"
            )
            found.append(Finding("forecast", "change before an origin", name, text))
    return found


def _unlike_at(
    forecaster: Forecaster,
    base: Panel,
    other: Panel,
    moment: pd.Timestamp,
    fitted_until: pd.Timestamp,
) -> tuple[int, bool]:
    """How many forecasts made up to `moment` differ, and whether one made later does (or none could
    be made).

    A statistical model's state begins where its fit ends; it forecasts from no earlier row.
    """
    lookback, horizon = base.task.lookback, base.task.horizon
    before, after = {}, {}
    for series in base.series:
        last = rows_until(series.ds, moment) - 1
        wanted = np.array([last - horizon, last - 1, last])
        held = forecaster.spec.starts_at_train_end
        fitted = rows_until(series.ds, fitted_until) if held else 0
        first = max(lookback, fitted) - 1
        before[series.unique_id] = wanted[wanted >= first]
        end = min(len(series), len(other.by_id[series.unique_id])) - 1
        after[series.unique_id] = np.array(
            [min(last + lookback, end)] if end > last >= first else [], dtype=int
        )
    one, two = forecaster.predict(base, before), forecaster.predict(other, before)
    differ = sum(int(unlike(one[uid], two[uid]).any(axis=(1, 2)).sum()) for uid in one)
    one, two = forecaster.predict(base, after), forecaster.predict(other, after)
    late = [unlike(one[uid], two[uid]).any() for uid in one if len(one[uid])]
    return differ, not late or any(late)


def stirred(forecaster: Forecaster) -> Forecaster:
    """The same network with weights away from zero: an untrained read-out is zero and would hide
    what it reads.
    """
    rng = np.random.default_rng(0)
    weights = {
        name: (value + rng.normal(0, 0.05, value.shape)).astype(value.dtype)
        for name, value in sorted(forecaster.weights.items())
    }
    return replace(forecaster, weights=weights)


def unlike(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Where the bits differ; NaN equals NaN."""
    return ~((one == two) | (np.isnan(one) & np.isnan(two)))
