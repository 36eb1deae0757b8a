"""Finds leaks in the data themselves, which no change of later rows can show.

These are a history that was revised between two snapshots, a past column that contains later
targets, a future input that is the target, targets that are not the source's, and rows of the test
block among the training rows. The limits were set on series without leaks; a system without noise
can look like a leak, which its finding says.

A past column and a future input are not compared with the same rows of the target
(`_future_inputs`): a past column leaks where it explains targets of later rows, while a plan may
explain the target of its own row, of which it is then noted that it is strong
(`describe_strong_plans`), no finding. So declaring a plan as a past column makes no leak of it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import count_rows_until
from forecast.audit.sandbox import Project, Sandbox
from forecast.data import snapshots
from forecast.data.columns import trim_to_observed
from forecast.data.leaks import MOST_LAGS, explain_later_target, residual_variance
from forecast.data.panel import Panel
from forecast.data.snapshots import find_revisions
from forecast.system import files

UNEXPLAINED_LIMIT = 0.05
"""A column leaks where a regression on the past and on the column has less than this share of the
residual variance of one on the past alone, for a later target. Columns of real series without a
leak leave 90 % and more, an input that drives a system 15 %. The rule `leaks` of stage `prepare`
warns by a limit of its own (`quality` in configs/datasets.yaml).
"""
SAME_CORRELATION = 0.9
"""A column is the later target itself where their changes have at least this correlation; without a
leak it is below 0.3.
"""
IDENTITY_LIMIT = 1e-4
"""A future input is the target itself where a regression on it leaves at most this share of the
target's variance; an input that drives the target leaves its season and its noise.
"""
MOST_CLASSES = 12
"""The most different values of a column that is examined as classes."""
FEWEST_PER_CLASS = 10
"""How often each class must occur at least."""
REPEAT_LENGTH = 12
"""The length, in rows, of stretches that are compared value for value."""
FEWEST_DISTINCT = 8
"""The fewest different values in such a stretch; the stretches of a plateau are all equal."""
MATCH_LENGTH = 24
"""The length, in rows, of stretches that are compared up to level and scale."""
COPY_LIMIT = 0.02
"""A test stretch is a copy where its best match in the train rows leaves less unexplained than this
share of what the best match between the two halves of the train block leaves. Without a copy these
two differ by a factor of two or three.
"""
PERIODIC_LIMIT = 1e-9
"""A series is periodic, and no copy is looked for, where the best match between the two halves of
the train block leaves at most this share unexplained.
"""
MOST_PAIRS = 100_000_000
"""The most pairs of stretches that are compared."""


def check_history(project: Project) -> Iterator[Finding]:
    """Yield a finding for each stored snapshot of the dataset whose content differs from its
    record, or that has other values than the current snapshot, except provisional ones.
    """
    root = project.paths.root
    pointed = snapshots.path_in_store(root, snapshots.read_pointer(root, project.dataset).snapshot)
    for path in snapshots.list_snapshots(root, project.dataset):
        record = path.with_suffix(".json")
        content = files.read_note(record)
        if record.exists() and not content:
            yield Finding(
                "history",
                "digest of the snapshot",
                record.name,
                f"{record.name} cannot be read, so it is not known whether {path.name} was changed",
            )
            continue
        frame = pd.read_parquet(path)
        if content.get("sha256") and snapshots.content_sha256(frame) != content["sha256"]:
            yield Finding(
                "history",
                "digest of the snapshot",
                path.name,
                f"{path.name} was changed after it was fetched",
            )
        if path == pointed:
            continue
        older, newer, record_of_older = frame, project.frame, content
        if newer["ds"].max() < older["ds"].max():
            older, newer = newer, older
            record_of_older = files.read_note(pointed.with_suffix(".json"))
        provisional_from = None
        if record_of_older.get("provisional_from"):
            provisional_from = pd.Timestamp(record_of_older["provisional_from"])
        changed = find_revisions(
            trim_to_observed(older, project.settings),
            newer,
            since={},
            provisional_from=provisional_from,
        )
        final = changed[changed["kind"] != "provisional"]
        if len(final):
            row = final.iloc[0]
            yield Finding(
                "history",
                "comparison of snapshots",
                str(row["column"]),
                f"{len(final)} values differ between {path.name} and {pointed.name}, such as"
                f" {row['column']} at {row['ds']}: {row['before']:g}, then {row['after']:g}; not"
                " known at the time",
            )


def find_outdated_file(project: Project, repeated_run: Sandbox) -> str:
    """The project's file of raw or prepared rows that the stages would now write differently, as
    after a fetch without a run; "" where both are up to date or missing.
    """
    for name in ("raw", "frame"):
        path = getattr(project.paths, name)(project.dataset)
        repeated = getattr(repeated_run.paths, name)(project.dataset)
        if path.exists() and not pd.read_parquet(path).equals(pd.read_parquet(repeated)):
            return path.relative_to(project.paths.root).as_posix()
    return ""


def check_columns(panel: Panel) -> Iterator[Finding]:
    """Yield a finding for each past input that contains later values of the first target.

    Such an input is the shifted target; or has classes that decide the target's changes; or
    explains, with its own past and the target's past, a later target nearly exactly (by least
    squares, per series and step ahead). A system without noise that is driven by an input looks the
    same, so a finding may have to be judged by hand.
    """
    task = panel.task
    n_observed = len(task.columns) - len(task.future_steps)
    target_name = task.target[0].name
    for series in panel.series:
        target = series.values[:, 0]
        for position in range(len(task.target), n_observed):
            name = task.frame_names[position]
            subject = f"{name} of series {series.unique_id}"
            column = series.values[:, position]
            shift = _shift_to_target(target, column)
            if shift is not None:
                yield Finding(
                    "target",
                    "correlation with later values",
                    name,
                    f"{subject} is {target_name} {shift} steps later",
                )
            furthest = min(task.horizon, MOST_LAGS)
            for ahead in range(1, furthest + 1):
                if _decides_change(target, column, ahead):
                    yield Finding(
                        "column",
                        "classes against later changes",
                        name,
                        f"{subject} decides how {target_name} changes over {ahead} steps",
                    )
                    break
            for view, target_view, column_view in _views(target, column):
                explained = explain_later_target(
                    target_view, column_view, furthest, UNEXPLAINED_LIMIT
                )
                if explained is not None:
                    step, unexplained = explained
                    yield Finding(
                        "column",
                        "regression on later values",
                        name,
                        f"{subject} explains all but {100 * unexplained:.2g} % of what the past"
                        f" leaves unexplained of {view}{target_name} {step} steps later",
                    )
                    break


def check_future_inputs(panel: Panel) -> Iterator[Finding]:
    """Yield a finding for each future input that is the first target of its step, up to a factor
    and a level.

    An input that only drives the target is no leak, however strongly: it is declared to be known.
    """
    for name, target, column in _future_inputs(panel):
        if _is_same_quantity(target, column):
            yield Finding(
                "target",
                "regression on the step declared",
                name,
                f"{name} is {panel.task.target[0].name} of that step, up to a factor and a level",
            )


def describe_strong_plans(panel: Panel) -> tuple[str, ...]:
    """A sentence for each future input that explains the first target nearly exactly but is not
    this target; whether it was known in time only the user can tell.
    """
    notes = []
    for name, target, column in _future_inputs(panel):
        explained = explain_later_target(target, column, 1, UNEXPLAINED_LIMIT)
        if explained is not None and not _is_same_quantity(target, column):
            notes.append(
                f"Strong: {name} explains all but {100 * explained[1]:.2g} % of what the past"
                f" leaves unexplained of {panel.task.target[0].name}. It is declared to be known"
                " then; whether it was, only you can say."
            )
    return tuple(dict.fromkeys(notes))


def _is_same_quantity(target: np.ndarray, column: np.ndarray) -> bool:
    """Whether the input for the next row is the target of that row up to a factor, a level and
    rounding.
    """
    later_target, plan = target[1:], column[:-1]
    is_known = np.isfinite(later_target) & np.isfinite(plan)
    if is_known.sum() < FEWEST_PER_CLASS:
        return False
    rest = residual_variance(plan[is_known, None], later_target[is_known])
    return bool(rest <= IDENTITY_LIMIT * np.var(later_target[is_known]))


def _future_inputs(panel: Panel) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield for each series and future input its name, the first target (T,), and the plan (T,), in
    which row t has the value of row t + 1. So the target one step later has the time of the plan's
    value and may be explained by it, whereas a past input that explains a later target is a leak.
    """
    task = panel.task
    first = len(task.columns) - len(task.future_steps)
    for series in panel.series:
        for position, step in enumerate(task.future_steps, start=first):
            if step.step == 1:
                name = f"{step.name} of series {series.unique_id}"
                yield name, series.values[:, 0], series.values[:, position]


def _views(target: np.ndarray, column: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (words, target, column) in three versions: unchanged, as ranks (for any monotonic
    relation), and with the absolute change of the target to each row.
    """
    yield "", target, column
    target_ranks = pd.Series(target).rank().to_numpy(dtype=float)
    yield "the rank of ", target_ranks, pd.Series(column).rank().to_numpy(dtype=float)
    yield "the size of the change of ", np.abs(np.diff(target, prepend=np.nan)), column


def _shift_to_target(target: np.ndarray, column: np.ndarray) -> int | None:
    """The shift (rows) by which a column is ahead of the target with the same changes, up to a
    factor; None where there is none.
    """
    changes = np.diff(target), np.diff(column)
    shifts = range(-MOST_LAGS, MOST_LAGS + 1)
    strength = {shift: abs(_correlation(*changes, shift)) for shift in shifts}
    best = max(shifts, key=strength.__getitem__)
    at_most_now = max(strength[shift] for shift in shifts if shift <= 0)
    is_ahead = best > 0 and strength[best] > max(SAME_CORRELATION, at_most_now)
    return best if is_ahead else None


def _correlation(target: np.ndarray, column: np.ndarray, shift: int) -> float:
    """The correlation of column[t] and target[t + shift]; 0 where fewer than `MOST_LAGS` pairs are
    known or one of the two is constant.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = pd.Series(target).shift(-shift).corr(pd.Series(column), min_periods=MOST_LAGS)
    return 0.0 if np.isnan(correlation) else float(correlation)


def _decides_change(target: np.ndarray, column: np.ndarray, steps: int) -> bool:
    """Whether a column with few different values decides the target's change over the next `steps`.

    By sign: each value of the column has one sign of the change, and not all values the same one;
    the sign of the last change must not decide it as well. Or by size: the ranges of the change's
    size do not overlap between values of the column.
    """
    if len(target) <= 2 * steps:
        return False
    change = target[steps:] - target[:-steps]
    last_sign = np.sign(np.r_[np.full(steps, np.nan), change[:-steps]])
    classes = column[:-steps]
    is_usable = np.isfinite(change) & np.isfinite(classes) & (change != 0)
    change, last_sign, classes = change[is_usable], last_sign[is_usable], classes[is_usable]
    sign = np.sign(change)
    is_by_sign = _has_one_sign_per_class(classes, sign)
    is_by_sign = is_by_sign and not _has_one_sign_per_class(last_sign, sign)
    sizes = _ranges_by_class(classes, np.abs(change))
    is_by_size = len(sizes) > 1 and all(
        smaller[1] < larger[0] for smaller, larger in itertools.pairwise(sizes)
    )
    return is_by_sign or is_by_size


def _has_one_sign_per_class(classes: np.ndarray, signs: np.ndarray) -> bool:
    ranges = _ranges_by_class(classes, signs)
    return all(low == high for low, high in ranges) and len(set(ranges)) > 1


def _ranges_by_class(classes: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """The lowest and highest value of each class, in the order of these values; empty, which means
    not judged, where there are too many classes or one is too rare.
    """
    statistics = pd.Series(values).groupby(classes).agg(["min", "max", "size"])
    if not 2 <= len(statistics) <= MOST_CLASSES or statistics["size"].min() < FEWEST_PER_CLASS:
        return []
    return sorted(statistics[["min", "max"]].itertuples(index=False, name=None))


def find_differing_values(project: Project, base: Panel) -> Iterator[tuple[str, pd.Timestamp, str]]:
    """Yield (series, time, column) of every value of the source that the prepared rows `base` lack
    or change, of the series in `base`; none where prices are adjusted, which changes them on
    purpose.
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
            source_values = rows[column].dropna()
            times = pd.DatetimeIndex(series.ds)
            all_prepared = pd.Series(series.values[:, position], times)
            prepared_values = all_prepared.reindex(source_values.index).to_numpy()
            differs = prepared_values != source_values.to_numpy(dtype=np.float64)
            for time in source_values.index[differs]:
                yield series.unique_id, pd.Timestamp(time), column


def check_actuals(project: Project, base: Panel) -> Iterator[Finding]:
    """Yield a finding for each target whose prepared values, by which forecasts are scored, are not
    those of the source.
    """
    all_differing = list(find_differing_values(project, base))
    for name in base.task.targets:
        differing = [(uid, time) for uid, time, column in all_differing if column == name]
        if differing:
            uid, time = differing[0]
            yield Finding(
                "actuals",
                "comparison with the source",
                name,
                f"{len(differing)} values of {name} are not those of the source, such as series"
                f" {uid} at {time}",
            )


def find_repeated_stretches(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Yield a finding where stretches of the first target in the test block are in the train rows,
    value for value.

    Measurements do not repeat a dozen values exactly. A periodic series does, which is no leak:
    without a finding where more than half of the stretches repeat within the train rows.
    """
    train: Counter[bytes] = Counter()
    test: list[tuple[str, pd.Timestamp, bytes]] = []
    for series in panel.series:
        values = series.values[:, 0]
        for row in range(len(values) - REPEAT_LENGTH + 1):
            stretch = values[row : row + REPEAT_LENGTH]
            if not np.isfinite(stretch).all() or len(np.unique(stretch)) < FEWEST_DISTINCT:
                continue
            if series.ds[row + REPEAT_LENGTH - 1] <= ends["train"].to_datetime64():
                train[stretch.tobytes()] += 1
            elif series.ds[row] > ends["calibration"].to_datetime64():
                test.append((series.unique_id, pd.Timestamp(series.ds[row]), stretch.tobytes()))
    repeats = [(uid, time) for uid, time, stretch in test if stretch in train]
    is_periodic = sum(count for count in train.values() if count > 1) > train.total() / 2
    if repeats and not is_periodic:
        uid, time = repeats[0]
        yield Finding(
            "repeated",
            "search for equal stretches",
            uid,
            f"{len(repeats)} stretches of {REPEAT_LENGTH} test values are also in the training"
            f" rows, such as {uid} from {time}",
        )


def find_copied_stretches(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Yield a finding where a stretch of the first target in the test block matches train rows, up
    to level and scale, far more closely than any stretch of the later half of train matches the
    earlier half.
    """
    shapes = []
    for series in panel.series:
        values = series.values[:, 0]
        until = count_rows_until(series.ds, ends["train"])
        since = count_rows_until(series.ds, ends["calibration"])
        parts = (slice(until // 2), slice(until // 2, until), slice(until), slice(since, None))
        shapes.append([_normed_stretches(values[part]) for part in parts])
    early, late, train, test = map(np.concatenate, zip(*shapes, strict=True))
    usual_rest = _unexplained_by_best_match(early, late)
    least_rest = _unexplained_by_best_match(train, test)
    if least_rest < COPY_LIMIT * usual_rest and usual_rest > PERIODIC_LIMIT:
        n_series = len(panel.series)
        yield Finding(
            "repeated",
            "search for alike stretches",
            panel.series[0].unique_id if n_series == 1 else f"one of {n_series} series",
            f"a stretch of {MATCH_LENGTH} test values matches train rows"
            f" {usual_rest / max(least_rest, 1e-12):.0f} times as closely as stretches of the train"
            " block match each other",
        )


def _normed_stretches(values: np.ndarray) -> np.ndarray:
    """All stretches without a gap and with enough different values, centred and with norm 1:
    (n, MATCH_LENGTH).
    """
    if len(values) < MATCH_LENGTH:
        return np.empty((0, MATCH_LENGTH))
    stretches = np.lib.stride_tricks.sliding_window_view(values, MATCH_LENGTH)
    stretches = stretches[np.isfinite(stretches).all(axis=1)]
    varied = (np.diff(np.sort(stretches, axis=1), axis=1) != 0).sum(axis=1) >= MATCH_LENGTH // 2
    centred = stretches[varied] - stretches[varied].mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def _unexplained_by_best_match(stretches: np.ndarray, others: np.ndarray) -> float:
    """The lowest share of variance of a stretch in `others` that its best match in `stretches`
    leaves unexplained; 1 without any pair. All stretches are normed (`_normed_stretches`).
    """
    if not len(stretches) or not len(others):
        return 1.0
    # a copy contains many stretches, so some may be left out
    step = max(1, -(-len(stretches) * len(others) // MOST_PAIRS))
    best = 0.0
    for part in np.array_split(others[::step], -(-len(others) // 512)):
        if len(part):
            best = max(best, float(np.abs(part @ stretches.T).max()))
    return 1.0 - best**2
