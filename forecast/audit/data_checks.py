"""Leaks that stand in the data themselves, where no change of later rows can show them.

For the audit, as findings: a history that was revised between two snapshots (`check_history`), a
past column that tells the target in advance (`check_columns`), a future input that is the target
(`check_future_inputs`), targets that are not the source's (`check_actuals`), rows of the test block
that stand among the training rows (`find_repeated_stretches`, `find_copied_stretches`). The limits
were set on honest series; a system without noise can look like a leak, which its finding says.

Another such leak is a `check_*` or `find_*` here that yields `Finding`s, called by
`audit.__main__`, with its limit and honest series that stay below it.
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
"""Of what the past leaves unexplained of a later value, the share that is still unexplained with a
column.

Honest columns of real series leave 90 % and more, an input that drives a system 15 %; a column that
leaves under 5 % is taken to contain the value.
"""
SAME_CORRELATION = 0.9
"""Correlation of changes from which a column is taken for the later target itself; honest ones have
below 0.3.
"""
IDENTITY_LIMIT = 1e-4
"""Share of the target's variance below which a future input leaves too little to be another
quantity: one that drives the target leaves its season and its noise.
"""
MOST_CLASSES = 12
"""Most values of a column that is read as a few classes; each has to occur `FEWEST_PER_CLASS`
times to be believed.
"""
FEWEST_PER_CLASS = 10
REPEAT_LENGTH = 12
"""Rows of a stretch that is looked for value for value."""
FEWEST_DISTINCT = 8
"""Different values among them: of a plateau every stretch repeats."""
MATCH_LENGTH = 24
"""Rows of a stretch that is looked for up to level and scale."""
COPY_LIMIT = 0.02
"""A test stretch is a copy when its best match among the train rows leaves less than this share of
what the best match between the two halves of the train block leaves. Where nothing is copied, these
two differ by a factor of two or three.
"""
PERIODIC_LIMIT = 1e-9
"""What the best match between the two halves leaves at most of a periodic series, of which nothing
is said.
"""
MOST_PAIRS = 100_000_000
"""Pairs of stretches that are compared at most."""


def check_history(project: Project) -> Iterator[Finding]:
    """A finding for each stored snapshot of the dataset that is not what its record says, or that
    differs from the one pointed to in a value that both hold and that was not provisional.
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
        provisional_from = None
        if content.get("provisional_from"):
            provisional_from = pd.Timestamp(content["provisional_from"])
        older, newer = frame, project.frame
        if newer["ds"].max() < older["ds"].max():
            older, newer = newer, older
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
    """The file of raw rows, else that of prepared ones, that is not what its stages make of the
    snapshot now, as after a fetch without a run or after an edit; empty where each is, or is not
    there.
    """
    for name in ("raw", "frame"):
        path = getattr(project.paths, name)(project.dataset)
        repeated = getattr(repeated_run.paths, name)(project.dataset)
        if path.exists() and not pd.read_parquet(path).equals(pd.read_parquet(repeated)):
            return path.relative_to(project.paths.root).as_posix()
    return ""


def check_columns(panel: Panel) -> Iterator[Finding]:
    """Past inputs that speak of later values of the first target: those that are it, shifted; those
    whose classes decide its changes; and those that, with their own past and the target's, give a
    later value nearly exactly.

    The last is compared with what the target's past alone leaves unexplained, by least squares over
    every series and step ahead. A system without noise that is driven by such an input looks the
    same; then the finding is to be judged by hand. Inputs of the future are
    `check_future_inputs`'s.
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
    """Future inputs that *are* the target at the step they are declared for, up to a factor and a
    level.

    How strongly one drives the target is no leak: it is declared to be known by then, and what
    changes of later rows show of it is examined elsewhere.
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
    """A sentence for every future input that explains nearly all that the past leaves unexplained
    of the target, and is not the target itself: no change of data can tell whether it was known.
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
    """Per series and future input its name, the target (T,), and the input's value for the next
    row, (T,), as it is known at each row.
    """
    task = panel.task
    first = len(task.columns) - len(task.future_steps)
    for series in panel.series:
        for position, step in enumerate(task.future_steps, start=first):
            if step.step == 1:
                name = f"{step.name} of series {series.unique_id}"
                yield name, series.values[:, 0], series.values[:, position]


def _views(target: np.ndarray, column: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Target and column as they are, by their ranks (any rising or falling map), and the size of
    the target's changes.

    The size of a change stands at the row it leads to, as the target does.
    """
    yield "", target, column
    target_ranks = pd.Series(target).rank().to_numpy(dtype=float)
    yield "the rank of ", target_ranks, pd.Series(column).rank().to_numpy(dtype=float)
    yield "the size of the change of ", np.abs(np.diff(target, prepend=np.nan)), column


def _shift_to_target(target: np.ndarray, column: np.ndarray) -> int | None:
    """The shift at which the changes of a column are those of the later target, up to a factor;
    None without one.
    """
    changes = np.diff(target), np.diff(column)
    shifts = range(-MOST_LAGS, MOST_LAGS + 1)
    strength = {shift: abs(_correlation(*changes, shift)) for shift in shifts}
    best = max(shifts, key=strength.__getitem__)
    at_most_now = max(strength[shift] for shift in shifts if shift <= 0)
    is_ahead = best > 0 and strength[best] > max(SAME_CORRELATION, at_most_now)
    return best if is_ahead else None


def _correlation(target: np.ndarray, column: np.ndarray, shift: int) -> float:
    """The correlation of column[t] and target[t + shift]; 0 where too little is known or one of
    them stands still.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = pd.Series(target).shift(-shift).corr(pd.Series(column), min_periods=MOST_LAGS)
    return 0.0 if np.isnan(correlation) else float(correlation)


def _decides_change(target: np.ndarray, column: np.ndarray, steps: int) -> bool:
    """Whether a column of a few values tells the change over the `steps` that follow.

    It does by sign, where each value goes with one sign of the change, not all with the same, and
    the sign of the last change does not; or by size, where the sizes of the change that go with one
    value lie apart from those of every other.
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
    """The lowest and the highest value of each class, in rising order; none unless the classes are
    few and each occurs often.
    """
    statistics = pd.Series(values).groupby(classes).agg(["min", "max", "size"])
    if not 2 <= len(statistics) <= MOST_CLASSES or statistics["size"].min() < FEWEST_PER_CLASS:
        return []
    return sorted(statistics[["min", "max"]].itertuples(index=False, name=None))


def find_differing_values(project: Project, base: Panel) -> Iterator[tuple[str, pd.Timestamp, str]]:
    """(series, time, column) of every value of the source that the prepared rows lack or hold
    otherwise.

    Columns of the source by their own names. Nothing where prices are adjusted: they are meant to
    differ.
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
    """A finding for each target of which the prepared rows, by which forecasts are scored, lack a
    value of the source or hold another.
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
    """Stretches of the test block that stand, value for value, in train rows of any series.

    Nothing measured repeats a dozen values exactly. A series that is periodic by construction does
    so everywhere, which is no leak: where more than half of the train rows' stretches repeat among
    themselves, nothing is said.
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
    """Stretches of the test block that match train rows, level and scale aside, far more closely
    than stretches of the later half of train match its earlier half.
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
        yield Finding(
            "repeated",
            "search for alike stretches",
            panel.series[0].unique_id,
            f"a stretch of {MATCH_LENGTH} test values matches train rows"
            f" {usual_rest / max(least_rest, 1e-12):.0f} times as closely as stretches of the train"
            " block match each other",
        )


def _normed_stretches(values: np.ndarray) -> np.ndarray:
    """(n, MATCH_LENGTH) every stretch without a gap, centred and of length one; those with few
    distinct values are left out.
    """
    if len(values) < MATCH_LENGTH:
        return np.empty((0, MATCH_LENGTH))
    stretches = np.lib.stride_tricks.sliding_window_view(values, MATCH_LENGTH)
    stretches = stretches[np.isfinite(stretches).all(axis=1)]
    varied = (np.diff(np.sort(stretches, axis=1), axis=1) != 0).sum(axis=1) >= MATCH_LENGTH // 2
    centred = stretches[varied] - stretches[varied].mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def _unexplained_by_best_match(stretches: np.ndarray, others: np.ndarray) -> float:
    """The least share of a stretch of `others` that its best match in `stretches` leaves
    unexplained; 1 without a pair.
    """
    if not len(stretches) or not len(others):
        return 1.0
    # a copy is longer than one stretch, so some may be left out
    step = max(1, -(-len(stretches) * len(others) // MOST_PAIRS))
    best = 0.0
    for part in np.array_split(others[::step], -(-len(others) // 512)):
        if len(part):
            best = max(best, float(np.abs(part @ stretches.T).max()))
    return 1.0 - best**2
