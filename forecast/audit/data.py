"""Leaks that stand in the data themselves, where no change of later rows can show them.

A revised history, a column that tells the target in advance, targets that are not the source's,
rows of the test block that stand among the training rows.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import rows_until
from forecast.audit.sandbox import Project, Sandbox
from forecast.data import snapshots
from forecast.data.columns import observed
from forecast.data.panel import Panel
from forecast.data.snapshots import revisions
from forecast.system import files

LAGS = 24
LEFT = 0.05
"""Share of what the past leaves unexplained of a later value.

Honest columns of real series leave 90 % and more, an input that drives a system 15 %; a column that
leaves under 5 % is taken to contain the value.
"""
SAME = 0.9
"""Correlation of changes from which a column is taken for the later target itself; honest ones have
below 0.3.
"""
LEVELS = 12
"""Most values of a column that is read as a few classes; each has to occur `OFTEN` times to be
believed.
"""
OFTEN = 10
STRETCH = 12
DISTINCT = 8
LONG = 24
ALIKE = 0.02
"""A stretch is a copy when what its best match leaves unexplained is under this share of what it
leaves at best between stretches of the train block itself. The best of unrelated stretches differ
by a factor of two or three.
"""
PERIODIC = 1e-9
PAIRS = 100_000_000


def history(project: Project) -> Iterator[Finding]:
    """Snapshots of one dataset agree on what both hold, except for values stored as provisional."""
    root = project.paths.root
    pointed = snapshots.inside(root, snapshots.read_pointer(root, project.dataset).snapshot)
    for path in snapshots.snapshots(root, project.dataset):
        record = path.with_suffix(".json")
        content = files.noted(record)
        if record.exists() and not content:
            text = (
                f"{record.name} cannot be read: whether {path.name} is as it was taken is not known"
            )
            yield Finding("history", "digest of the snapshot", record.name, text)
            continue
        frame = pd.read_parquet(path)
        if content.get("sha256") and snapshots.content_sha256(frame) != content["sha256"]:
            text = f"{path.name} was changed after it was taken"
            yield Finding("history", "digest of the snapshot", path.name, text)
        if path == pointed:
            continue
        since = (
            pd.Timestamp(content["provisional_from"]) if content.get("provisional_from") else None
        )
        older, newer = sorted((frame, project.frame), key=lambda one: one["ds"].max())
        changed = revisions(
            observed(older, project.settings), newer, since={}, provisional_from=since
        )
        final = changed[changed["kind"] != "provisional"]
        if len(final):
            row = final.iloc[0]
            text = (
                f"{len(final)} values differ between {path.name} and {pointed.name}, such as"
                f" {row['column']} at {row['ds']}: {row['before']:g}, then {row['after']:g}; not"
                " known at the time"
            )
            yield Finding("history", "comparison of snapshots", str(row["column"]), text)


def same_frame(project: Project, again: Sandbox) -> Iterator[Finding]:
    """What the stages wrote is what they make of the snapshot now; a file edited in between is
    not.
    """
    for name in ("raw", "frame"):
        path, made = (
            getattr(paths, name)(project.dataset) for paths in (project.paths, again.paths)
        )
        if path.exists():
            one, two = pd.read_parquet(path), pd.read_parquet(made)
            same = list(one.columns) == list(two.columns)
            if not same or snapshots.content_sha256(one) != snapshots.content_sha256(two):
                part = path.relative_to(project.paths.root).as_posix()
                text = (
                    f"{part} is not what the stages make of the snapshot; run `dvc repro` before"
                    " the audit"
                )
                yield Finding("history", "the stages run again", part, text)


def columns(panel: Panel) -> Iterator[Finding]:
    """Past inputs that, with their own past and the target's, give a later target value nearly
    exactly.

    Compared with what the target's past alone leaves unexplained, by least squares over every
    series and step ahead. A system without noise that is driven by such an input looks the same;
    then the finding is to be judged by hand.
    """
    task = panel.task
    for series in panel.series:
        target = series.values[:, 0]
        for position in range(len(task.target), len(task.columns)):
            name, column = task.frame_names[position], series.values[:, position]
            shift = _is_target(target, column)
            if shift is not None:
                text = (
                    f"{name} of series {series.unique_id} is {task.target[0].name} {shift} steps"
                    " later"
                )
                yield Finding("target", "correlation with later values", name, text)
            ahead = next(
                (k for k in range(1, min(task.horizon, LAGS) + 1) if _decides(target, column, k)),
                None,
            )
            if ahead is not None:
                about = f"{name} of series {series.unique_id}"
                text = f"{about} decides how {task.target[0].name} changes over {ahead} steps"
                yield Finding("column", "classes against later changes", name, text)
            for what, one, two in _views(target, column):
                told = _tells(one, two, min(task.horizon, LAGS))
                if told is not None:
                    step, left = told
                    text = (
                        f"{name} of series {series.unique_id} explains all but {100 * left:.2g} %"
                        f" of what the past leaves unexplained of {what}{task.target[0].name}"
                        f" {step} steps later"
                    )
                    yield Finding("column", "regression on later values", name, text)
                    break


def _views(target: np.ndarray, column: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Target and column as they are, by their ranks (any rising or falling map), and the size of
    the target's changes.

    The size of a change stands at the row it leads to, as the target does.
    """
    yield "", target, column
    target_ranks, ranks = (
        pd.Series(values).rank().to_numpy(dtype=float) for values in (target, column)
    )
    yield "the rank of ", target_ranks, ranks
    yield "the size of the change of ", np.abs(np.diff(target, prepend=np.nan)), column


def _is_target(target: np.ndarray, column: np.ndarray) -> int | None:
    """The shift at which the changes of a column are those of the later target, up to a factor;
    None without one.
    """
    changes = np.diff(target), np.diff(column)
    known = range(-LAGS, LAGS + 1)
    strength = {shift: abs(_correlation(*changes, shift)) for shift in known}
    best = max(known, key=lambda shift: strength[shift])
    later = best > 0 and strength[best] > max(SAME, *(strength[s] for s in known if s <= 0))
    return best if later else None


def _correlation(target: np.ndarray, column: np.ndarray, shift: int) -> float:
    """Of column[t] and target[t + shift]; 0 where too little is known or one of them stands
    still.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = pd.Series(target).shift(-shift).corr(pd.Series(column), min_periods=LAGS)
    return 0.0 if np.isnan(found) else float(found)


def _decides(target: np.ndarray, column: np.ndarray, steps: int) -> bool:
    """Whether each of a few values of the column goes with one sign of the change that follows, and
    not all with one;

    or with sizes of it that no other value goes with. Not said where the sign of the last change
    already decides it.
    """
    if len(target) <= 2 * steps:
        return False
    change, known = target[steps:] - target[:-steps], column[:-steps]
    use = np.isfinite(change) & np.isfinite(known) & (change != 0)
    sign, last = np.sign(change), np.sign(np.r_[np.full(steps, np.nan), change[:-steps]])
    by_sign = _each_has_one(known[use], sign[use]) and not _each_has_one(last[use], sign[use])
    sizes = _ranges(known[use], np.abs(change[use]))
    apart = len(sizes) > 1 and all(one[1] < two[0] for one, two in itertools.pairwise(sizes))
    return by_sign or apart


def _each_has_one(classes: np.ndarray, signs: np.ndarray) -> bool:
    ranges = _ranges(classes, signs)
    return all(low == high for low, high in ranges) and len(set(ranges)) > 1


def _ranges(classes: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """From the least to the greatest value of each of a few classes that occur often, in order;
    else none.
    """
    own = pd.Series(values).groupby(classes).agg(["min", "max", "size"])
    if not 2 <= len(own) <= LEVELS or own["size"].min() < OFTEN:
        return []
    return sorted(own[["min", "max"]].itertuples(index=False, name=None))


def _tells(target: np.ndarray, column: np.ndarray, steps: int) -> tuple[int, float] | None:
    lags = min(LAGS, max(2, len(target) // 20))
    usable = np.arange(lags, len(target) - steps)
    if len(usable) < 4 * lags:
        return None
    own = np.stack([target[usable - lag] for lag in range(lags)], axis=1)
    both = np.concatenate(
        [own, np.stack([column[usable - lag] for lag in range(lags)], axis=1)], axis=1
    )
    later = np.stack([target[usable + step] for step in range(1, steps + 1)], axis=1)
    known = np.isfinite(both).all(axis=1) & np.isfinite(later).all(axis=1)
    if known.sum() < 4 * lags:
        return None
    alone, with_column = (
        _unexplained(own[known], later[known]),
        _unexplained(both[known], later[known]),
    )
    # a target that its own past gives nearly exactly leaves nothing for a column to tell
    open_questions = alone > 1e-6 * np.var(later[known], axis=0)
    share = np.where(open_questions, with_column / np.where(alone > 0, alone, 1.0), 1.0)
    step = int(np.argmin(share))
    return (step + 1, float(share[step])) if share[step] < LEFT else None


def _unexplained(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Residual variance of each output on all inputs."""
    x = inputs - inputs.mean(axis=0)
    spread = x.std(axis=0)
    x = x / np.where(spread > 0, spread, 1.0)
    y = outputs - outputs.mean(axis=0)
    coefficients = np.linalg.lstsq(x, y, rcond=1e-10)[0]
    return np.asarray(np.var(y - x @ coefficients, axis=0))


def other_values(project: Project, base: Panel) -> Iterator[tuple[str, pd.Timestamp, str]]:
    """(series, time, column) of every value of the source that the prepared rows lack or hold
    otherwise.

    Columns of the source by their own names; prices that are adjusted are meant to differ.
    """
    if project.settings.source.adjustment != "none":
        return
    raw = {
        str(uid): rows.set_index("ds")
        for uid, rows in project.frame.groupby("unique_id", sort=False)
    }
    for series in base.series:
        rows = raw.get(series.unique_id)
        for position, column in enumerate(base.task.frame_names):
            if rows is None or column not in rows:
                continue
            wanted = rows[column].dropna()
            found = pd.Series(series.values[:, position], pd.DatetimeIndex(series.ds)).reindex(
                wanted.index
            )
            for at in wanted.index[found.to_numpy() != wanted.to_numpy(dtype=np.float64)]:
                yield series.unique_id, pd.Timestamp(at), column


def actuals(project: Project, base: Panel) -> Iterator[Finding]:
    """What forecasts are scored against is what the source says, with no value mended, bounded or
    left out.
    """
    targets = base.task.targets
    for name in targets:
        found = [(uid, at) for uid, at, column in other_values(project, base) if column == name]
        if found:
            uid, at = found[0]
            text = (
                f"{len(found)} values of {name} are not those of the source, such as series {uid}"
                f" at {at}"
            )
            yield Finding("actuals", "comparison with the source", name, text)


def repeated(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Stretches of the test block that stand, value for value, in train rows of any series.

    Nothing measured repeats a dozen values exactly. A series that is periodic by construction does
    so everywhere, which is no leak: where more than half of the train rows' stretches repeat among
    themselves, nothing is said.
    """
    train: Counter[bytes] = Counter()
    test: list[tuple[str, pd.Timestamp, bytes]] = []
    for series in panel.series:
        values = series.values[:, 0]
        for row in range(len(values) - STRETCH + 1):
            stretch = values[row : row + STRETCH]
            if not np.isfinite(stretch).all() or len(np.unique(stretch)) < DISTINCT:
                continue
            if series.ds[row + STRETCH - 1] <= ends["train"].to_datetime64():
                train[stretch.tobytes()] += 1
            elif series.ds[row] > ends["calibration"].to_datetime64():
                test.append((series.unique_id, pd.Timestamp(series.ds[row]), stretch.tobytes()))
    found = [(uid, at) for uid, at, stretch in test if stretch in train]
    periodic = sum(count for count in train.values() if count > 1) > train.total() / 2
    if found and not periodic:
        uid, at = found[0]
        text = (
            f"{len(found)} stretches of {STRETCH} test values stand in the training rows, such as"
            f" {uid} from {at}"
        )
        yield Finding("repeated", "search for equal stretches", uid, text)


def alike(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Stretches of the test block that match train rows, level and scale aside, far better than
    train's halves do.
    """
    shapes = []
    for series in panel.series:
        values = series.values[:, 0]
        until, since = (rows_until(series.ds, ends[name]) for name in ("train", "calibration"))
        parts = (slice(until // 2), slice(until // 2, until), slice(until), slice(since, None))
        shapes.append([_shapes(values[part]) for part in parts])
    early, late, train, test = map(np.concatenate, zip(*shapes, strict=True))
    usual, found = _best_match(early, late), _best_match(train, test)
    if found < ALIKE * usual and usual > PERIODIC:
        text = (
            f"a stretch of {LONG} test values matches train rows {usual / max(found, 1e-12):.0f}"
            " times as closely as stretches of the train block match each other"
        )
        yield Finding("repeated", "search for alike stretches", panel.series[0].unique_id, text)


def _shapes(values: np.ndarray) -> np.ndarray:
    """(n, LONG) every stretch without a gap, centred and of length one; those with few distinct
    values left out.
    """
    if len(values) < LONG:
        return np.empty((0, LONG))
    stretches = np.lib.stride_tricks.sliding_window_view(values, LONG)
    stretches = stretches[np.isfinite(stretches).all(axis=1)]
    varied = (np.diff(np.sort(stretches, axis=1), axis=1) != 0).sum(axis=1) >= LONG // 2
    centred = stretches[varied] - stretches[varied].mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def _best_match(one: np.ndarray, two: np.ndarray) -> float:
    """The least share of a stretch of `two` that its best match in `one` leaves unexplained; 1
    without a pair.
    """
    if not len(one) or not len(two):
        return 1.0
    # a copy is longer than one stretch, so some may be left out
    step = max(1, -(-len(one) * len(two) // PAIRS))
    best = max(
        float(np.abs(part @ one.T).max())
        for part in np.array_split(two[::step], -(-len(two) // 512))
        if len(part)
    )
    return 1.0 - best**2
