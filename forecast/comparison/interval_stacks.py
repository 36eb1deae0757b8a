"""Intervals of many series at once: those whose blocks have equal shapes stand side by side in one array.

One array operation then serves thousands of series; each keeps its own margins, one per horizon step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.comparison.scores import Cube
from forecast.forecaster.intervals import RAW, SCALES, Scale, SplitConformal, rank_of, root_mean, scores_of, widths
from forecast.system.errors import InputError

AT_ONCE = 200
"""Series of one stack at the most: its arrays hold every level, origin and step of each."""


@dataclass(frozen=True)
class Refusal:
    """A level that the calibration block of one series cannot support for one candidate, and why."""

    model: str
    ranking: str
    series: str
    level: float
    reason: str


@dataclass(frozen=True)
class Blocks:
    """One candidate's cubes of the calibration block and of the origins to cover.

    `transforms`: by series, that of the target.
    """

    record: Mapping[str, Any]
    calibration: Sequence[Cube]
    test: Sequence[Cube]
    lookback: int
    transforms: Mapping[str, str]

    @property
    def about(self) -> dict[str, str]:
        return {key: str(self.record[key]) for key in ("model", "ranking")}

    def pairs(self) -> list[tuple[Cube | None, Cube, Scale]]:
        """Of every series that has origins to cover."""
        known = {cube.series: cube for cube in self.calibration}
        return [(known.get(c.series), c, SCALES.get(self.transforms.get(c.series, ""), RAW)) for c in self.test]


@dataclass(frozen=True)
class Stack:
    """Series side by side whose blocks have equal shapes and support the same levels.

    `places`: their numbers among the candidate's. `held`, `shown`: actuals and ensemble forecasts (n, S * H) of the
    calibration block and of the origins to cover, in the units errors are taken in, with the width at each origin; `y`
    (S, n, H) in raw ones.
    """

    places: list[int]
    levels: tuple[float, ...]
    held: tuple[np.ndarray, np.ndarray, np.ndarray]
    shown: tuple[np.ndarray, np.ndarray, np.ndarray]
    y: np.ndarray
    back: Callable[[np.ndarray], np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        """(S, H): the calibration errors of each step."""
        return np.isfinite(self.held[0]).sum(axis=0).reshape(len(self.places), -1)

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of the intervals (L, S, n, H), in raw units."""
        series, _, horizon = self.y.shape
        fitted = SplitConformal.fit(*self.held[:2], widths=self.held[2], horizon=horizon)
        pairs = [fitted.interval(level, self.shown[1], widths=self.shown[2]) for level in self.levels]
        lower, upper = (np.stack(ends) for ends in zip(*pairs, strict=True))
        apart = (*lower.shape[:2], series, horizon)
        return np.moveaxis(self.back(lower).reshape(apart), 2, 1), np.moveaxis(self.back(upper).reshape(apart), 2, 1)


def stacks(blocks: Blocks, levels: Sequence[float]) -> tuple[list[Stack], list[Refusal]]:
    """The series of one candidate by shape, transform and the levels their calibration supports; what is refused."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    refused = []
    pairs = blocks.pairs()
    for place, (calibration, cube, scale) in enumerate(pairs):
        reasons = {level: _refusal(calibration, level) for level in levels}
        about = {**blocks.about, "series": cube.series}
        refused += [Refusal(**about, level=level, reason=why) for level, why in reasons.items() if why]
        kept = tuple(level for level, why in reasons.items() if not why)
        if calibration is not None and kept:
            groups.setdefault((kept, scale, calibration.y.shape, cube.y.shape, place // AT_ONCE), []).append(place)
    return [_stack(blocks, pairs, places, key[0], key[1]) for key, places in groups.items()], refused


def _stack(
    blocks: Blocks, pairs: list[tuple[Cube | None, Cube, Scale]], places: list[int], levels: Any, scale: Scale
) -> Stack:
    to, back = scale
    own = [pairs[place] for place in places]
    known, seen = [c for c, _, _ in own if c is not None], [c for _, c, _ in own]
    typical = root_mean(np.stack([cube.volatility**2 for cube in known], axis=1))

    def side_by_side(cubes: list[Cube]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = widths(np.stack([cube.volatility for cube in cubes], axis=1), typical, blocks.lookback)
        y, y_hat = (to(np.hstack(parts)) for parts in ([c.y for c in cubes], [ensemble(c) for c in cubes]))
        return y, y_hat, np.repeat(own, cubes[0].y.shape[1], axis=1)

    held, shown = side_by_side(known), side_by_side(seen)
    return Stack(places, levels, held, shown, np.stack([cube.y for cube in seen]), back)


def _refusal(calibration: Cube | None, level: float) -> str:
    """Why the calibration block of one series supports no interval of `level`; empty when it does."""
    try:
        if calibration is not None:
            scores_of(calibration.y, ensemble(calibration))
        rank_of(0 if calibration is None else int(np.isfinite(calibration.y).sum(axis=0).min()), level)
    except InputError as error:
        return str(error)
    return ""


def ensemble(cube: Cube) -> np.ndarray:
    """(n, H): the mean of the seeds' forecasts."""
    return np.asarray(cube.y_hat.mean(axis=0))
