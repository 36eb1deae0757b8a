"""The closed-form part of every forecast: `forecast = skip(past) + network(past)`.

- `none`: zero, the textbook architecture;
- `last`: the last observed value (random walk);
- `seasonal`: the value one season before;
- `linear`: ridge regression on the differences to the last value, the exogenous lags and the
  known-future inputs, that is on every input the networks get, fitted in float64 by the normal
  equations (Hoerl & Kennard 1970; NLinear of Zeng et al. 2023 is the same map without exogenous
  inputs). With `harmonics` also on products of the calendar with itself and with the newest rows,
  so that the coefficients differ by hour and season. `models.choice` settles penalty, lags,
  products and which of the past-only inputs are read.

All work in scaled units on `Windows` and return (B, H, O) float64.

`Skip` is a fitted skip or its shape, `fit_linear_map` fits the linear kind to a shape,
`FeatureName` says what each of its inputs is, and `Carry` takes past-only inputs over the horizon.
Fewer than two complete train windows are a `ModelError`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy  # its parts are loaded where they are first used: a saved map needs none

from forecast.config.reading import PlainValue
from forecast.config.task import CalendarFeature
from forecast.data.windows import Layout, Windows, fill_gaps
from forecast.system.errors import ModelError

SkipKind = Literal["none", "last", "seasonal", "linear"]
PENALTIES = tuple(10.0**k for k in range(-2, 6))
CALENDAR_HARMONICS: dict[CalendarFeature, int] = {
    "hour_of_day": 2,
    "day_of_week": 2,
    "day_of_year": 1,
    "month_of_year": 1,
}
"""Sine pairs of a calendar feature in products.

A second one of the year is fitted to one or two years' weather.
"""
PROFILE_HARMONICS: dict[CalendarFeature, int] = {
    "hour_of_day": 12,
    "day_of_week": 2,
    "day_of_year": 0,
    "month_of_year": 0,
}
"""Sine pairs that every map reads: any profile of 24 hours, smooth over the week. With two
of the hour the rest came from the same hour of past days, and their noise with it
(docs/research/linear-part.md).
"""
FIRST_WAVE = 2
"""Columns of the first sine pair."""
PRODUCT_LAGS = 25
"""Rows of the target that the calendar multiplies: a day of hours and the same hour before it."""
BENDS = (-0.7, 0.0, 0.7)
"""Where the slope of a plan may change, in standard deviations from its mean: about its quartiles.
"""

LONG_GAP = 6
"""Missing steps in a row; of more, as while an office is closed, no line says what would have been
(docs/research/linear-part.md).
"""
FADE = 0.25
"""So much of the range of a fit beyond it a level counts nothing
(docs/research/shares-by-series.md).
"""
MOST_LEVEL_ROWS = 2**20
"""Of a series, counted in each of the levels that they are in."""
DAMPING = 1e-6
"""Of the mean square of a term: an input that never moves has no slope."""
MAX_SOLVED_BYTES = 2**24
"""Of the ridges that are kept beside their moments."""
Examples = Callable[[], Iterable[tuple[Windows, np.ndarray]]]
"""Gives pairs of windows and their scaled targets (B, H, O); called once per pass over the data."""


@dataclass(frozen=True)
class Carry:
    """What a closed loop takes for past-only inputs after the cutoff: a forecast of each, fitted on
    the train rows.

        x[t + h] - x[t] = a_h (x[t + h - s] - x[t]) + b_h x[t] + c_h
        s: the season, as often as it takes

    A one-step map has learnt from measured inputs. Held constant for a day, an input with a daily
    cycle shows it what training never showed, and so does a growing time since the last
    observation: the map extrapolates, and each step feeds the next. Given the conditional mean
    instead, a linear map gives the conditional mean of its own forecast. A column with
    `difference_inputs` has no level to return to: its b and c are zero.

    coefficients (H, inputs, 3): of the change since the season before, of the last value, and the
    constant.
    """

    coefficients: np.ndarray
    season_length: int

    @staticmethod
    def sum_terms(past: np.ndarray, following: np.ndarray, season_length: int) -> np.ndarray:
        """What `of_sums` has to know of windows of inputs, past (B, L, inputs), and of what
        followed, (B, H, inputs), NaN allowed: (H, inputs, 3, 4), the products of the three terms
        with each other and with the change.
        """
        past_filled = fill_gaps(past)[0]
        change = following - past_filled[:, -1:]
        terms_by_step = [
            _carry_terms(past_filled, step, season_length)
            for step in range(1, following.shape[1] + 1)
        ]
        terms = np.stack(terms_by_step, axis=1) * np.isfinite(change)[..., None]
        gram = np.einsum("bhci,bhcj->hcij", terms, terms)
        cross = np.einsum("bhci,bhc->hci", terms, np.nan_to_num(change))
        return np.concatenate([gram, cross[..., None]], axis=-1)

    @classmethod
    def of_sums(cls, sums: np.ndarray, channels: Layout, season_length: int) -> Carry:
        """Least squares, from the `sum_terms` of all windows."""
        gram = sums[..., :-1]
        cross = sums[..., -1]
        is_fitted = np.ones((cross.shape[1], cross.shape[2]))
        is_fitted[np.array(channels.difference_inputs[channels.outputs :]), 1:] = 0.0
        gram = gram * is_fitted[:, :, None] * is_fitted[:, None, :]
        scale = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] * DAMPING + np.finfo(float).tiny
        damped_gram = gram + scale * np.eye(is_fitted.shape[1])
        return cls(
            np.linalg.solve(damped_gram, (cross * is_fitted)[..., None])[..., 0], season_length
        )

    def forecast_inputs(self, past: np.ndarray, horizon: int) -> np.ndarray:
        """(B, horizon, inputs): the scaled inputs forecast after the windows `past` (B, L, inputs),
        which may have NaN.

        At steps beyond those that it was fitted for, the row of a season before is repeated.
        """
        past_filled = rows = fill_gaps(past)[0]
        season = min(self.season_length, past_filled.shape[1])
        for step in range(1, horizon + 1):
            if step <= len(self.coefficients):
                terms = _carry_terms(past_filled, step, self.season_length)
                following = past_filled[:, -1] + (terms * self.coefficients[step - 1]).sum(axis=-1)
            else:
                following = rows[:, -season]
            rows = np.concatenate([rows, following[:, None]], axis=1)
        return rows[:, past_filled.shape[1] :]


def _carry_terms(past: np.ndarray, step: int, season_length: int) -> np.ndarray:
    """(B, inputs, 3): the terms of a `Carry`; a window without the season has no first one."""
    back = season_length * -(-step // season_length) - step
    last = past[:, -1]
    before = past[:, -1 - back] if back < past.shape[1] else last
    return np.stack([before - last, last, np.ones_like(last)], axis=-1)


def _of_each_window(
    windows: Windows, by_series: Mapping[str, Sequence[Any]], of_others: Sequence[Any]
) -> np.ndarray:
    """(B, ...): what the series of each window has."""
    return np.array([by_series.get(name, of_others) for name in windows.series.tolist()])


def _no_coefficients() -> np.ndarray:
    """Of a skip that is no linear map, or a shape that is not fitted yet."""
    return np.zeros((0, 0))


@dataclass(frozen=True)
class Skip:
    """A fitted skip, or the shape of one that is not fitted yet.

    Two of one shape are equal, whatever their coefficients. All fields after `season_length`
    belong to the kind `linear` alone.
    """

    kind: SkipKind
    horizon: int
    outputs: int
    season_length: int = 1
    lags: int = 0
    """Rows of the past that it reads."""
    calendar_steps: int = 1
    """Forecast steps whose calendar it reads."""
    penalty: float = 0.0
    profile: tuple[int, ...] = ()
    """Sine pairs per calendar feature that stand alone, of the first forecast step; empty: there is
    no calendar.
    """
    harmonics: tuple[int, ...] = ()
    """Sine pairs per calendar feature in products; empty: no products."""
    product_lags: int = 0
    """Rows of the targets in products."""
    leads: int = 0
    """How many columns that speak of later rows it reads (their newest row); 0 where it is better
    without.
    """
    plan_lags: int = 0
    """Rows of the past over which it reads what was known ahead of them; 0 where it is better
    without.
    """
    bent: tuple[int, ...] = ()
    """Channels of what is known ahead whose slope changes at each of `BENDS`: a load rises with the
    cold and with the heat.
    """
    unread: tuple[int, ...] = ()
    """Channels of past-only inputs that it leaves out."""
    reads_level: bool = True
    """Whether it reads the newest value of a target beside the differences to it."""
    mean_of: tuple[tuple[Skip, float], ...] = ()
    """The shapes, with their weights, whose mean it is; empty: it is one ridge."""
    change_weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict, compare=False)
    """By series, for each output the share of the forecast change that is added to the last value,
    0 to 1; 1 for a series that is not named.
    """
    level_ranges: Mapping[str, Sequence[Sequence[float]]] = field(
        default_factory=dict, compare=False
    )
    """By series, for each output the lowest, mean and highest level of the fit, beyond which its
    level counts less, and of how many rows a level is (`levels_of`); empty where none is read, or a
    closed loop stands on it.
    """
    coefficients: np.ndarray = field(default_factory=_no_coefficients, compare=False)
    """(features + 1, H * O), the intercept last."""
    carry: Carry | None = field(default=None, compare=False)
    """What a closed loop of it takes for the past-only inputs after the cutoff; None: it repeats
    the last ones.
    """

    def forecast(self, windows: Windows, channels: Layout) -> np.ndarray:
        """(B, H, O) in scaled units."""
        last = np.repeat(windows.last[:, None, :], self.horizon, axis=1)
        if self.kind == "none":
            return np.zeros_like(last)
        if self.kind == "seasonal":
            return _season_before(windows, channels, self.horizon, self.season_length)
        if self.kind == "linear":
            change = self._map(self.inputs(windows, channels))
            if self.level_ranges:
                change = self._without_unseen_pull(change, windows, channels)
            if self.change_weights:
                whole = (1.0,) * self.outputs
                change = _of_each_window(windows, self.change_weights, whole)[:, None] * change
            return last + change
        return last

    def _map(self, x: np.ndarray) -> np.ndarray:
        """(B, H, O): the change that the map makes of its inputs (B, features)."""
        change = x @ self.coefficients[:-1] + self.coefficients[-1]
        return change.reshape(len(x), self.horizon, self.outputs)

    def _without_unseen_pull(
        self, change: np.ndarray, windows: Windows, channels: Layout
    ) -> np.ndarray:
        """The `change` (B, H, O), where the level pulls it back of levels that are moved back by
        `unseen_shift`; what grows by a share of its level has no pull, and would fall without it.
        """
        unknown = ((-np.inf, 0.0, np.inf, 1.0),) * self.outputs
        ranges = _of_each_window(windows, self.level_ranges, unknown)
        shift = unseen_shift(windows, ranges)
        if not shift.any():
            return change
        known = self._map(self.inputs(windows.with_targets_moved(-shift, channels), channels))
        leads_on = (change - known) * shift[:, None] > 0.0
        return np.where(leads_on, change, known)

    def inputs(self, windows: Windows, channels: Layout) -> np.ndarray:
        """(B, features) of the linear map: the plain ones, what is said of later rows, the
        products.
        """
        plain = linear_features(
            windows,
            channels,
            lags=self.lags,
            horizon=self.horizon,
            unread=self.unread,
            reads_level=self.reads_level,
            calendar_steps=self.calendar_steps,
        )
        parts = [plain]
        if self.leads or self.plan_lags:
            parts += self._plan_features(windows, channels)
        if self.profile or self.harmonics:
            parts.append(
                calendar_products(
                    windows,
                    channels,
                    self.horizon,
                    (self.profile, self.harmonics),
                    self.product_lags,
                    self.unread,
                    self.reads_level,
                )
            )
        return np.concatenate(parts, axis=1)

    def _plan_features(self, windows: Windows, channels: Layout) -> list[np.ndarray]:
        """(B, columns) each: the plan of the horizon, that of past rows, and of both what is bent
        as far as it lies above each of `BENDS`.
        """
        past = windows.past.astype(np.float64)
        newest = past[:, -1, channels.future_channels[: self.leads]]
        earlier = past[:, len(past[0]) - self.plan_lags : -1, channels.plan_channels]
        plan = np.hstack([newest, earlier.reshape(len(past), -1)])
        is_bent = np.isin([name.channel for name in _plan_names(self, channels)], self.bent)
        return [plan, *(np.maximum(plan[:, is_bent] - bend, 0.0) for bend in BENDS)]

    def with_lags(self, lags: int) -> Skip:
        """The same over other lags."""
        product_lags = min(lags, PRODUCT_LAGS) if self.harmonics else 0
        plan_lags = min(lags, PRODUCT_LAGS) if self.plan_lags else 0
        return replace(self, lags=lags, product_lags=product_lags, plan_lags=plan_lags)

    def with_mean_of(self, weights: Mapping[Skip, float]) -> Skip:
        """The shape of a mean of the shapes in `weights`, which read no inputs but those of this
        one.
        """
        return replace(
            self,
            penalty=max(weights, key=weights.__getitem__).penalty,
            harmonics=max((part.harmonics for part in weights), key=len),
            leads=max(part.leads for part in weights),
            plan_lags=max(part.plan_lags for part in weights),
            bent=max((part.bent for part in weights), key=len),
            reads_level=any(part.reads_level for part in weights),
            unread=tuple(sorted(set.intersection(*({*part.unread} for part in weights)))),
            mean_of=tuple(weights.items()),
        ).with_lags(max(part.lags for part in weights))

    @functools.cached_property
    def unused_series(self) -> frozenset[str]:
        """The series whose change has no weight in any output; none where no other has one."""
        unused = frozenset(uid for uid, each in self.change_weights.items() if not any(each))
        return unused if len(unused) < len(self.change_weights) else frozenset()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its arrays, by name, for `from_saved`."""
        carried = {} if self.carry is None else {"carry": self.carry.coefficients}
        return {"coefficients": self.coefficients, **carried}

    def to_json(self) -> dict[str, PlainValue]:
        """All but the arrays, for `from_saved`."""
        shape = {name: getattr(self, name) for name in SHAPE_FIELDS}
        mean_of = [(part.to_json(), weight) for part, weight in self.mean_of]
        by_series = {name: dict(getattr(self, name)) for name in ("change_weights", "level_ranges")}
        return {**shape, **by_series, "mean_of": mean_of}

    @staticmethod
    def from_saved(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Skip:
        """The skip whose `to_json` gave `content` and whose `to_arrays` gave `arrays`."""
        shape = {name: content[name] for name in SHAPE_FIELDS}
        for name in ("profile", "harmonics", "unread", "bent"):
            shape[name] = tuple(content[name])
        parts = [(Skip.from_saved(part, {}), weight) for part, weight in content["mean_of"]]
        carry = Carry(arrays["carry"], shape["season_length"]) if "carry" in arrays else None
        change_weights = {uid: tuple(each) for uid, each in content["change_weights"].items()}
        return Skip(
            **shape,
            mean_of=tuple(parts),
            change_weights=change_weights,
            level_ranges=content["level_ranges"],
            coefficients=arrays.get("coefficients", _no_coefficients()),
            carry=carry,
        )

    @property
    def n_params(self) -> int:
        """Fitted coefficients."""
        return int(self.coefficients.size)


SHAPE_FIELDS = (
    "kind",
    "horizon",
    "outputs",
    "season_length",
    "lags",
    "calendar_steps",
    "penalty",
    "profile",
    "harmonics",
    "product_lags",
    "leads",
    "plan_lags",
    "bent",
    "unread",
    "reads_level",
)
"""Of `Skip`: what JSON keeps as it is."""


def linear_features(
    windows: Windows,
    channels: Layout,
    *,
    lags: int,
    horizon: int,
    unread: Sequence[int] = (),
    reads_level: bool = True,
    calendar_steps: int = 1,
) -> np.ndarray:
    """(B, features) float64: for a fixed-level target the differences to its last value and, with
    `reads_level`, that value itself, for a drifting one its changes; every other input over `lags`
    rows; calendar and static inputs of the first forecast steps, with the weight of `horizon` ones.

    The sine and cosine of a later step are those of the first one, turned: the ridge of one pair so
    scaled is that of a pair for every step.

    Values alone: a line through how long each has been missing, learnt from gaps of an hour, gives
    nonsense after a gap of two days.
    """
    past = windows.past[:, -lags:, :].astype(np.float64)
    others = past[:, :, read_channels(channels, unread)].reshape(len(past), -1)
    ahead = windows.future[:, -horizon:][:, :calendar_steps].reshape(len(past), -1)
    calendar = np.sqrt(horizon / calendar_steps) * ahead.astype(np.float64)
    targets = _target_features(past, channels, reads_level)
    return np.concatenate([*targets, others, calendar], axis=1)


def read_channels(channels: Layout, unread: Sequence[int]) -> list[int]:
    """The past-only inputs of a linear map: values but those of the targets, of columns that speak
    of later rows, and of `unread`.
    """
    return [channel for channel in channels.past_channels if channel not in unread]


def _target_features(past: np.ndarray, channels: Layout, reads_level: bool) -> list[np.ndarray]:
    """(B, columns) each, of every target in the rows `past` (B, lags, C): its changes where it
    drifts, else its differences to the newest row and, with `reads_level`, that row.
    """
    parts = []
    for i, channel in enumerate(channels.target_channels):
        if channels.difference_inputs[i]:
            parts.append(past[:, 1:, channel])
        else:
            parts.append(past[:, :-1, channel] - past[:, -1:, channel])
            if reads_level:
                parts.append(past[:, -1:, channel])
    return parts


def calendar_harmonics(
    calendar_features: Sequence[CalendarFeature],
    counts: Mapping[CalendarFeature, int] = CALENDAR_HARMONICS,
) -> tuple[int, ...]:
    """How many sine pairs each has by `counts`; none where there is no calendar."""
    return tuple(counts[name] for name in calendar_features)


def calendar_products(
    windows: Windows,
    channels: Layout,
    horizon: int,
    waves_of: tuple[tuple[int, ...], tuple[int, ...]],
    product_lags: int,
    unread: Sequence[int] = (),
    reads_level: bool = True,
) -> np.ndarray:
    """(B, features) float64: the calendar of the first forecast step, and that calendar times the
    newest rows.

    waves_of: `profile` and `harmonics` of a `Skip`. The terms of the profile; the waves of the
    harmonics, and the products of the first ones, times one, the last `product_lags` rows of each
    target (as in `inputs`) and the newest row of the others.
    """
    profile, harmonics = waves_of
    calendar = windows.future[:, -horizon].astype(np.float64)
    parts = calendar_terms(calendar, profile)
    if harmonics:
        past = windows.past[:, -product_lags:, :].astype(np.float64)
        newest = past[:, -1, read_channels(channels, unread)]
        targets = _target_features(past, channels, reads_level)
        state = np.concatenate([np.ones((len(past), 1)), *targets, newest], axis=1)
        turning = np.concatenate(calendar_terms(calendar, harmonics, FIRST_WAVE), axis=1)
        parts.append(_multiply_columns(turning, state))
    return np.concatenate(parts, axis=1)


def calendar_terms(
    calendar: np.ndarray, harmonics: tuple[int, ...], multiplied: int | None = None
) -> list[np.ndarray]:
    """(B, ...) each: the harmonics of every calendar feature in `calendar` (B, F), then their
    products by pairs; of each feature only the first `multiplied` columns (None: all) are in these.
    """
    waves = [_harmonics(calendar[:, 2 * i : 2 * i + 2], count) for i, count in enumerate(harmonics)]
    factors = [wave[:, :multiplied] for wave in waves]
    return [*waves, *(_multiply_columns(a, b) for a, b in itertools.combinations(factors, 2))]


def _harmonics(pair: np.ndarray, count: int) -> np.ndarray:
    """(B, 2 * count): sine and cosine of 1 .. count times the angle whose sine and cosine are
    `pair` (B, 2).
    """
    turn = pair[:, 1] + 1j * pair[:, 0]
    powers = turn[:, None] ** np.arange(1, count + 1)
    return np.stack([powers.imag, powers.real], axis=2).reshape(len(pair), 2 * count)


def _multiply_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B, A * C): every column of `a` (B, A) times every column of `b` (B, C)."""
    columns = a.shape[1] * b.shape[1]  # -1 is refused where there is no row
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), columns)


class Wave(NamedTuple):
    """The sine or cosine of `multiple` times the angle of a calendar feature, by its position."""

    feature: int
    multiple: int
    is_sine: bool


class FeatureName(NamedTuple):
    """What one input of the linear map is; inputs of one name have equal values.

    quantity: `change`, of a target: the row less the newest value, or, where the target drifts, the
    row's own change; `level`, the newest value of a target; `input`, a row of another column;
    `lead`, a row of a column that speaks of later rows; `calendar`, one; `clock`, the root of the
    horizon over the steps that are read (a static input is named as the wave that would follow).
    channel, lag: of the past; lag 0 is the cutoff, and -1 the first forecast step of a `clock`.
    waves: of the calendar at that step, at the first one elsewhere, which multiply it.
    above: only what lies above it, in scaled units.
    """

    quantity: Literal["change", "level", "input", "lead", "calendar", "clock"]
    channel: int = -1
    lag: int = 0
    waves: tuple[Wave, ...] = ()
    above: float | None = None


def feature_names(shape: Skip, channels: Layout, future_columns: int) -> list[FeatureName]:
    """The names of the columns of `Skip.inputs`, in their order; `future_columns`: calendar and
    static inputs of a row.
    """
    others = read_channels(channels, shape.unread)
    names = _target_names(channels, shape.lags, shape.reads_level)
    for lag in reversed(range(shape.lags)):
        names += [FeatureName("input", channel, lag) for channel in others]
    waves = [Wave(column // 2, 1, column % 2 == 0) for column in range(future_columns)]
    for step in range(shape.calendar_steps):
        names += [FeatureName("clock", lag=-1 - step, waves=(wave,)) for wave in waves]
    plan = _plan_names(shape, channels)
    names += plan
    for bend in BENDS:
        names += [name._replace(above=bend) for name in plan if name.channel in shape.bent]
    names += _calendar_names(shape.profile)
    if shape.harmonics:
        newest = [FeatureName("input", channel) for channel in others]
        targets = _target_names(channels, shape.product_lags, shape.reads_level)
        state = [FeatureName("calendar"), *targets, *newest]
        names += _multiplied_names(_calendar_names(shape.harmonics, FIRST_WAVE), state)
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


def _calendar_names(harmonics: Sequence[int], multiplied: int | None = None) -> list[FeatureName]:
    """Of `calendar_terms`."""
    waves = [_wave_names(feature, count) for feature, count in enumerate(harmonics)]
    pairs = itertools.combinations([wave[:multiplied] for wave in waves], 2)
    return list(itertools.chain(*waves, *(_multiplied_names(a, b) for a, b in pairs)))


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


class FeatureColumns:
    """Where the inputs of a shape stand among those of a larger one."""

    def __init__(self, largest: Skip, channels: Layout, future_columns: int) -> None:
        """Index the columns that `largest`, the skip with the most inputs, computes."""
        self._channels = channels
        self._future_columns = future_columns
        names = feature_names(largest, channels, future_columns)
        self._column_of = {name: column for column, name in enumerate(names)}
        self._columns_of: dict[Skip, np.ndarray] = {}

    def columns_of(self, shape: Skip) -> np.ndarray:
        """(features of `shape`,) column numbers; every input of `shape` is one of the larger."""
        if shape not in self._columns_of:
            names = feature_names(shape, self._channels, self._future_columns)
            self._columns_of[shape] = np.array([self._column_of[name] for name in names], np.int64)
        return self._columns_of[shape]


index_features = functools.lru_cache(maxsize=8)(FeatureColumns)
"""The `FeatureColumns` of a shape, named once for all refits."""


def fit_linear_map(sums: np.ndarray, channels: Layout, shape: Skip, future_columns: int) -> Skip:
    """The mean of ridges with the lags, inputs and penalties of `shape`, from the sum over the
    train rows of the `products_matrix` of its `design_of`; `future_columns` as in `feature_names`.
    """
    design = index_features(shape, channels, future_columns)
    parts = shape.mean_of or ((shape, 1.0),)
    outputs = shape.horizon * shape.outputs
    coefficients = mean_of_ridges(centre_sums(sums), design, parts, outputs)
    return replace(shape, coefficients=coefficients)


def mean_of_ridges(
    moments: Moments, design: FeatureColumns, parts: Sequence[tuple[Skip, float]], outputs: int
) -> np.ndarray:
    """(features of `design` + 1, outputs): the weighted mean of the ridges of `parts`."""
    coefficients = np.zeros((len(moments.means) - outputs + 1, outputs))
    solved_weight = 0.0
    for part, weight in parts:
        columns = design.columns_of(part)
        slopes = solve_ridge(moments, columns, part.penalty, outputs)
        # of collinear inputs a small penalty may have a solution on the folds and none here
        if not np.isfinite(slopes).all():
            continue
        solved_weight += weight
        # `add.at`: the calendar of the first step stands in a ridge with products twice
        np.add.at(coefficients, [*columns, -1], weight * slopes)
    return coefficients / (solved_weight or np.nan)


def products_matrix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The sums over rows of all products of inputs, outputs and one, in this order."""
    every = np.hstack([x, y, np.ones((len(x), 1))])
    return every.T @ every


class Moments(NamedTuple):
    """The inputs and outputs of a linear map over the rows of a fit, less their means: all that
    `solve_ridge` has to know.
    """

    products: np.ndarray
    """(columns, columns) sums over the rows, inputs before outputs."""
    means: np.ndarray
    """(columns,)."""
    solved: dict[tuple[bytes, float], np.ndarray]
    """The ridges of `solve_ridge`, by columns and penalty, up to `MAX_SOLVED_BYTES`: a search asks
    for those of its mean again.
    """


def centre_sums(sums: np.ndarray) -> Moments:
    """The moments in a `products_matrix`; `ModelError` below two complete rows."""
    count = sums[-1, -1]
    if count < 2:
        raise ModelError(
            f"A linear map found {count:.0f} complete train windows; at least 2 are needed."
        )
    means = sums[-1, :-1] / count
    return Moments(sums[:-1, :-1] - count * np.outer(means, means), means, {})


def solve_ridge(moments: Moments, columns: np.ndarray, penalty: float, outputs: int) -> np.ndarray:
    """(columns + 1, outputs): slopes of those `columns` of the inputs, then the intercept; NaN
    without a solution.
    """
    products, means, solved = moments
    key = (columns.tobytes(), penalty)
    if key in solved:
        return solved[key]
    rows = products[columns]
    gram = rows.take(columns, axis=1)
    gram.flat[:: len(columns) + 1] += penalty
    cross = rows[:, -outputs:]
    slopes = np.full_like(cross, np.nan)
    if len(columns):  # SciPy takes no empty matrix
        with contextlib.suppress(np.linalg.LinAlgError):
            factor = scipy.linalg.cho_factor(gram.T, overwrite_a=True, check_finite=False)
            slopes = scipy.linalg.cho_solve(factor, cross, check_finite=False)
    ridge = np.vstack([slopes, means[-outputs:] - means[columns] @ slopes])
    if len(solved) * ridge.nbytes < MAX_SOLVED_BYTES:
        solved[key] = ridge
    return ridge


def design_of(
    shape: Skip, windows: Windows, target: np.ndarray, channels: Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (B, features) of `shape`, which need not be fitted; the changes (B, H * O) of the
    target from the last value, missing steps filled; and which of them a fit may use, (B,) bool:
    not those of series whose change has no weight, nor, where `shape` reads future inputs, origins
    without one of them.
    """
    x = shape.inputs(windows, channels)
    y = (fill_missing_targets(windows.last, target) - windows.last[:, None, :]).reshape(len(x), -1)
    known = np.isfinite(y).all(axis=1) & ~np.isin(windows.series, [*shape.unused_series])
    if shape.leads:
        known &= np.isfinite(windows.z[:, -1, np.array(channels.step) > 0]).all(axis=1)
    return x, y, known


def mean_absolute_error(forecast: Callable[[Windows], np.ndarray], batches: Examples) -> float:
    """Of (B, H, O) forecasts over every observed target of the batches, in scaled units."""
    total = 0.0
    count = 0
    for windows, target in batches():
        missed = np.abs(target - forecast(windows))
        total += float(np.nansum(missed))
        count += int(np.isfinite(missed).sum())
    return total / count if count else float("nan")


def fill_missing_targets(last: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`target` (B, H, O) to learn from, `last` (B, O) before its first step. A missing step lies on
    the line between its observed neighbours; in a gap longer than `LONG_GAP`, and after the last
    observed one, it repeats the value before, as inputs do.

    NaN where no step of an output is observed. Without it 5 % of missing hours would leave 29 % of
    the days to learn from, and an office no window that ends while it is closed.
    """
    if np.isfinite(target).all():
        return target
    repeated, is_known, since = fill_gaps(np.concatenate([last[:, None], target], axis=1))
    length = repeated.shape[1]
    steps = np.arange(length)[None, :, None]
    after = np.minimum.accumulate(np.where(is_known, steps, length)[:, ::-1], axis=1)[:, ::-1]
    following = np.take_along_axis(repeated, np.minimum(after, length - 1), axis=1)
    gap = since + after - steps
    on_line = repeated + since / np.maximum(gap, 1) * (following - repeated)
    filled = np.where((after < length) & (gap <= LONG_GAP + 1), on_line, repeated)
    return np.where(is_known[:, 1:].any(axis=1, keepdims=True), filled[:, 1:], np.nan)


def levels_of(values: np.ndarray, rows: int) -> np.ndarray:
    """(..., n, O): of so many rows that follow each other in `values` (..., T, O) the mean without
    their lowest and highest quarter, from every row on or, of long `values`, evenly spread ones.

    Seasons tell a level that single rows, whose range is wider, do not; one wild row is no level.
    """
    spans = np.lib.stride_tricks.sliding_window_view(values, rows, axis=-2)
    every = 1 + values.shape[-2] * rows // MOST_LEVEL_ROWS
    cut = rows // 4
    return np.sort(spans[..., ::every, :, :])[..., cut : rows - cut].mean(axis=-1)


def unseen_shift(windows: Windows, ranges: np.ndarray) -> np.ndarray:
    """(B, O): how far the newest level lies from the mean of the fit's, 0 within their range, the
    whole way from `FADE` of it beyond: a level that the fit has not seen is no reason to expect a
    return. ranges (B or 1, O, 4): the lowest, mean and highest of the fit, and the rows of a level.
    """
    low, mean, high, rows = np.moveaxis(ranges, -1, 0)
    values = fill_gaps(windows.z[:, :, : ranges.shape[1]])[0]
    n_rows = int(rows.max())
    level = levels_of(values[:, -n_rows:], n_rows)[:, 0]
    overshoot = np.maximum(np.maximum(low - level, level - high), 0.0)
    width = np.maximum(FADE * (high - low), np.finfo(float).eps)
    return np.asarray(np.minimum(overshoot / width, 1.0) * (level - mean))


def joint_shift(parameters: Mapping[str, np.ndarray], windows: Windows) -> np.ndarray:
    """(B, O): `unseen_shift` beyond `levels` (O, 4) of all series together; 0 where each is of a
    single row.
    """
    levels = parameters["levels"]
    return unseen_shift(windows, levels[None]) * (levels[:, 3] > 1.0)


def _season_before(
    windows: Windows, channels: Layout, horizon: int, season_length: int
) -> np.ndarray:
    """(B, H, O) y[t + h - season * ceil(h / season)]: the same place of the last season.

    A step whose season-old value lies before the window gets the window's oldest value, which is
    nearest to a season ago.
    """
    values = fill_gaps(windows.z[:, :, : channels.outputs])[0]
    steps = np.arange(1, horizon + 1)
    back = season_length * -(-steps // season_length) - steps
    return values[:, np.maximum(values.shape[1] - 1 - back, 0), :]
