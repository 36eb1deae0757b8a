"""What every input of the linear skip is, by name: the columns of `Skip.inputs`, in their order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

from forecast.data.windows import Layout
from forecast.models.skip import BENDS, Skip, read_channels


class Wave(NamedTuple):
    """The sine or cosine of `multiple` times the angle of a calendar feature, by its position."""

    feature: int
    multiple: int
    is_sine: bool


class FeatureName(NamedTuple):
    """What one input of the linear map is; inputs of one name have equal values.

    quantity: `change`, of a target: the row less the newest value, or, where the target drifts, the
    row's own change; `level`, the newest value of a target; `input`, a row of another column;
    `lead`, a row of a column that speaks of later rows; `calendar`, one.
    channel, lag: of the past; lag 0 is the cutoff.
    waves: of the calendar at forecast step `step`, which multiply it.
    above: only what lies above it, in scaled units.
    """

    quantity: Literal["change", "level", "input", "lead", "calendar"]
    channel: int = -1
    lag: int = 0
    waves: tuple[Wave, ...] = ()
    step: int = 1
    above: float | None = None


def feature_names(shape: Skip, channels: Layout, future_columns: int) -> list[FeatureName]:
    """The names of the columns of `Skip.inputs`, in their order; `future_columns`: known-future
    inputs of a row, a sine and a cosine for each calendar feature.
    """
    others = read_channels(channels, shape.unread)
    names = _target_names(channels, shape.lags, shape.reads_level)
    for lag in reversed(range(shape.lags)):
        names += [FeatureName("input", channel, lag) for channel in others]
    for step in range(1, shape.horizon + 1):
        for column in range(future_columns):
            wave = Wave(column // 2, 1, is_sine=column % 2 == 0)
            names.append(FeatureName("calendar", waves=(wave,), step=step))
    plan = _plan_names(shape, channels)
    names += plan
    for bend in BENDS:
        names += [name._replace(above=bend) for name in plan if name.channel in shape.bent]
    if shape.harmonics:
        names += _product_names(shape, channels, others)
    return names


def _plan_names(shape: Skip, channels: Layout) -> list[FeatureName]:
    """Of the plan of the horizon, then of that of past rows from the oldest on."""
    names = [FeatureName("lead", channel) for channel in channels.future_channels[: shape.leads]]
    for lag in reversed(range(1, shape.plan_lags)):
        names += [FeatureName("lead", channel, lag) for channel in channels.plan_channels]
    return names


def _target_names(channels: Layout, lags: int, reads_level: bool) -> list[FeatureName]:
    """Names of the columns of `_target_features` over `lags` rows, in their order: of each target
    the changes from the oldest row on, then its level where it has one.
    """
    names = []
    for channel, drifts in zip(channels.target_channels, channels.difference_inputs, strict=False):
        newest = 0 if drifts else 1
        oldest = lags - 2 if drifts else lags - 1
        names += [FeatureName("change", channel, lag) for lag in range(oldest, newest - 1, -1)]
        if reads_level and not drifts:
            names.append(FeatureName("level", channel))
    return names


def _product_names(shape: Skip, channels: Layout, others: Sequence[int]) -> list[FeatureName]:
    """Of `calendar_products`."""
    waves = [_wave_names(feature, count) for feature, count in enumerate(shape.harmonics)]
    names = list(itertools.chain(*waves))
    turning = list(names)
    for a, b in itertools.combinations(waves, 2):
        names += _multiplied_names(a, b)
        turning += _multiplied_names(a[:2], b[:2])
    newest = [FeatureName("input", channel) for channel in others]
    state = [*_target_names(channels, shape.product_lags, shape.reads_level), *newest]
    return names + _multiplied_names(turning, state)


def _wave_names(feature: int, count: int) -> list[FeatureName]:
    """Of `_harmonics`."""
    waves = itertools.product(range(1, count + 1), (True, False))
    return [FeatureName("calendar", waves=(Wave(feature, k, sine),)) for k, sine in waves]


def _multiplied_names(
    calendar: Sequence[FeatureName], factors: Sequence[FeatureName]
) -> list[FeatureName]:
    """Of `_multiply_columns`: every name of `calendar` times every one of `factors`."""
    pairs = itertools.product(calendar, factors)
    return [factor._replace(waves=wave.waves + factor.waves) for wave, factor in pairs]
