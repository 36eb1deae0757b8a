"""Rows of the test block that stand among the training rows, as they are or a little altered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecast.audit.findings import Finding
from forecast.data.panel import Panel

STRETCH = 12
DISTINCT = 8
LONG = 24
ALIKE = 0.02
"""A stretch is a copy when what its best match leaves unexplained is under this share of what it leaves at best
between stretches of the train block itself. The best of unrelated stretches differ by a factor of two or three."""
PERIODIC = 1e-9
PAIRS = 100_000_000


def repeated(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Stretches of the test block that stand, value for value, in train rows of any series.

    Nothing measured repeats a dozen values exactly. A series that is periodic by construction does so everywhere,
    which is no leak: where more than half of the train rows' stretches repeat among themselves, nothing is said.
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
        text = f"{len(found)} stretches of {STRETCH} test values stand in the training rows, such as {uid} from {at}"
        yield Finding("repeated", "search for equal stretches", uid, text)


def alike(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Stretches of the test block that match train rows up to level, scale and a little noise, far better than the

    two halves of the train block match each other.
    """
    train: list[np.ndarray] = []
    early: list[np.ndarray] = []
    late: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for series in panel.series:
        values, until = series.values[:, 0], int((series.ds <= ends["train"].to_datetime64()).sum())
        since = int((series.ds <= ends["calibration"].to_datetime64()).sum())
        train.append(_shapes(values[:until]))
        early.append(_shapes(values[: until // 2]))
        late.append(_shapes(values[until // 2 : until]))
        test.append(_shapes(values[since:]))
    usual = _unexplained(np.concatenate(early), np.concatenate(late))
    found = _unexplained(np.concatenate(train), np.concatenate(test))
    if found < ALIKE * usual and usual > PERIODIC:
        text = (
            f"a stretch of {LONG} test values matches train rows {usual / max(found, 1e-12):.0f} times as closely as "
            "stretches of the train block match each other"
        )
        yield Finding("repeated", "search for alike stretches", panel.series[0].unique_id, text)


def _shapes(values: np.ndarray) -> np.ndarray:
    """(n, LONG) every stretch without a gap, centred and of length one; those with few distinct values left out."""
    if len(values) < LONG:
        return np.empty((0, LONG))
    stretches = np.lib.stride_tricks.sliding_window_view(values, LONG)
    stretches = stretches[np.isfinite(stretches).all(axis=1)]
    varied = (np.diff(np.sort(stretches, axis=1), axis=1) != 0).sum(axis=1) >= LONG // 2
    centred = stretches[varied] - stretches[varied].mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def _unexplained(one: np.ndarray, two: np.ndarray) -> float:
    """The least share of a stretch of `two` that its best match in `one` leaves unexplained; 1 without a pair."""
    if not len(one) or not len(two):
        return 1.0
    step = max(1, -(-len(one) * len(two) // PAIRS))  # a copy is longer than one stretch, so some may be left out
    best = max(
        float(np.abs(part @ one.T).max()) for part in np.array_split(two[::step], -(-len(two) // 512)) if len(part)
    )
    return 1.0 - best**2
