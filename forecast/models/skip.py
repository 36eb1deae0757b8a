"""The skip, which is the closed-form part of a network's forecast: `forecast = skip(past) +
network(past)`. Alone it is the model `ridge`, `arx`, `naive` or `seasonal_naive`.

- `none`: zero, the textbook architecture;
- `last`: the last observed value (random walk);
- `seasonal`: the value one season before;
- `linear`: ridge regression on the differences to the last value, the exogenous lags and the
  known-future inputs, that is on every input that networks get, but for masks and times since
  observations (Hoerl & Kennard 1970; NLinear of Zeng et al. 2023 is the same map without exogenous
  inputs). With `harmonics` also on products of the calendar with itself and with the newest rows,
  so that the coefficients differ by hour and season. `models.choice` chooses penalty, lags,
  products and inputs.

`Skip` is a fitted skip, or the shape of one that is not fitted yet; `fit_linear_map` fits the
linear kind. `FeatureName` names each of its inputs. `Carry` forecasts past-only inputs for closed
loops. Skips read `Windows` and return (B, H, O) float64, both in scaled units.

For a long lookback `models.long_windows` makes the same sums of the regression from rows instead of
windows. So another input, or a weight for each row, has to be given to both. `models.choice` has
sums of its own for what it compares; those of a long lookback come from `long_windows`, too.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
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
    "day_of_week": 3,
    "day_of_month": 0,
    "day_to_month_end": 0,
    "day_of_year": 1,
    "month_of_year": 1,
}
"""Sine pairs of each calendar feature in products. Seven days need three: two leave a third of what
a day that is closed differs by. A second pair of the year would be fitted to the weather of one or
two years.
"""
PROFILE_HARMONICS: dict[CalendarFeature, int] = {
    "hour_of_day": 12,
    "day_of_week": 3,
    "day_of_month": 15,
    "day_to_month_end": 15,
    "day_of_year": 0,
    "month_of_year": 0,
}
"""Sine pairs of each calendar feature that stand alone: any profile of 24 hours, of seven days and
of a month, whose products with the weekday tell the last workday (docs/research/day-of-month.md).
With two pairs of the hour, the map took the rest from the same hour of past days, with their
noise (docs/research/linear-part.md).
"""
MIN_WEEK_ROWS = 240
"""A third sine pair of the weekday is read from so many train rows on, those of a series of 400
rows: on fewer its products with the newest rows are fitted to noise
(docs/research/quarter-hour.md).
"""
FIRST_PAIR_COLUMNS = 2
"""Columns of the first sine pair."""
PRODUCT_LAGS = 25
"""Rows of the target that the calendar multiplies: a day of hours and the same hour before it."""
BENDS = (-0.7, 0.0, 0.7)
"""Values at which the slope of a plan may change, in standard deviations from its mean: about its
quartiles.
"""

LONG_GAP = 6
"""A gap of more missing steps is not interpolated, such as days on which an office is closed
(docs/research/linear-part.md).
"""
FADE = 0.25
"""A level that lies this share of the fitted range outside of it has no influence any more
(docs/research/shares-by-series.md).
"""
MOST_LEVEL_ROWS = 2**20
"""The most values that `levels_of` sorts for a series; a longer series has fewer levels."""
DAMPING = 1e-6
"""Ridge penalty of a `Carry`, as a share of the mean square of its terms: an input that never
changes gets no slope.
"""
MAX_SOLVED_BYTES = 2**24
"""The most bytes of solved ridges that are kept with their moments."""


@dataclass(frozen=True)
class Carry:
    """Forecasts of the past-only inputs for a closed loop, fitted by least squares on the train
    rows.

        x[t + h] - x[t] = a_h (x[t + h - s] - x[t]) + b_h x[t] + c_h
        s: the smallest number of whole seasons that is at least h

    A one-step map was fitted to measured inputs. An input with a daily cycle that is held constant
    for a day would be unlike all train rows, the map would extrapolate, and errors would grow from
    step to step. Given the conditional mean of the inputs, a linear map gives the conditional mean
    of its forecast. A column with `difference_inputs` has no level: its b and c are zero.

    coefficients (H, inputs, 3): a, b and c.
    """

    coefficients: np.ndarray
    season_length: int

    @staticmethod
    def sum_terms(past: np.ndarray, following: np.ndarray, season_length: int) -> np.ndarray:
        """The sums (H, inputs, 3, 4) over windows that `of_sums` needs: the products of the three
        terms with each other and with the change. past (B, L, inputs) and following (B, H, inputs):
        the inputs of the windows and of their horizons, NaN where missing.
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
        """The least-squares fit from the `sum_terms` of all windows."""
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
        """Forecasts (B, horizon, inputs) of the scaled inputs after the windows `past` (B, L,
        inputs), NaN where missing. Steps beyond the fitted ones repeat the row of a season before.
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
    """The terms (B, inputs, 3) of a `Carry`; the first is 0 for windows shorter than a season."""
    back = season_length * -(-step // season_length) - step
    last = past[:, -1]
    before = past[:, -1 - back] if back < past.shape[1] else last
    return np.stack([before - last, last, np.ones_like(last)], axis=-1)


def _look_up_by_series(
    windows: Windows, by_series: Mapping[str, Sequence[Any]], default: Sequence[Any]
) -> np.ndarray:
    """(B, ...): the value in `by_series` for the series of each window, or `default`."""
    return np.array([by_series.get(name, default) for name in windows.series.tolist()])


def _no_coefficients() -> np.ndarray:
    """The coefficients of a skip that is not linear or not fitted."""
    return np.zeros((0, 0))


@dataclass(frozen=True)
class Skip:
    """A fitted skip, or the shape of one that is not fitted yet.

    Skips of one shape are equal whatever their coefficients. All fields after `season_length` are
    for the kind `linear` alone.
    """

    kind: SkipKind
    horizon: int
    outputs: int
    season_length: int = 1
    lags: int = 0
    """How many newest rows it reads."""
    calendar_steps: int = 1
    """For how many forecast steps it reads the calendar."""
    penalty: float = 0.0
    profile: tuple[int, ...] = ()
    """Sine pairs per calendar feature that stand alone, at the first forecast step; empty without a
    calendar.
    """
    harmonics: tuple[int, ...] = ()
    """Sine pairs per calendar feature in products; empty: no products."""
    reads_plans: bool = False
    """Whether it reads the known-future inputs over the horizon."""
    reads_past_plans: bool = False
    """Whether it reads the known-future inputs at rows before the horizon (`plan_lags`)."""
    bent: tuple[int, ...] = ()
    """Channels of known-future inputs whose slope changes at each of `BENDS`: a load rises with the
    cold and with the heat.
    """
    unread: tuple[int, ...] = ()
    """Channels of past-only inputs that it leaves out."""
    reads_level: bool = True
    """Whether it reads the newest value of a target beside the differences to it."""
    mean_of: tuple[tuple[Skip, float], ...] = ()
    """The shapes and their weights where it is a weighted mean of ridges; empty: it is one ridge.
    """
    change_weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict, compare=False)
    """By series, for each output the share (0 to 1) of the forecast change that is added to the
    last value; 1 for other series.
    """
    level_ranges: Mapping[str, Sequence[Sequence[float]]] = field(
        default_factory=dict, compare=False
    )
    """By series, for each output the lowest, mean and highest level of the fit, outside of which
    the level has less influence, and the number of rows of a level (`levels_of`). Empty where
    levels are not limited.
    """
    coefficients: np.ndarray = field(default_factory=_no_coefficients, compare=False)
    """(features + 1, H * O), the intercept last."""
    carry: Carry | None = field(default=None, compare=False)
    """Forecasts of the past-only inputs for closed loops; None: their last values are repeated."""

    @property
    def product_lags(self) -> int:
        """How many newest rows of the targets are in products."""
        return min(self.lags, PRODUCT_LAGS) if self.harmonics else 0

    @property
    def plan_lags(self) -> int:
        """It reads the known-future inputs at the `plan_lags` - 1 rows before the newest; the plan
        of the newest row is that of the horizon.
        """
        return min(self.lags, PRODUCT_LAGS) if self.reads_past_plans else 0

    def forecast(self, windows: Windows, channels: Layout) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units."""
        last = np.repeat(windows.last[:, None, :], self.horizon, axis=1)
        if self.kind == "none":
            return np.zeros_like(last)
        if self.kind == "seasonal":
            return _season_before(windows, channels, self.horizon, self.season_length)
        if self.kind == "linear":
            change = self._forecast_change(windows, channels)
            if self.level_ranges:
                change = self._remove_pull_back(change, windows, channels)
            if self.change_weights:
                whole = (1.0,) * self.outputs
                change = _look_up_by_series(windows, self.change_weights, whole)[:, None] * change
            return last + change
        return last

    def _forecast_change(self, windows: Windows, channels: Layout) -> np.ndarray:
        """(B, H, O): the change from the last value by the linear map."""
        x = self.inputs(windows, channels)
        change = x @ self.coefficients[:-1] + self.coefficients[-1]
        return change.reshape(len(x), self.horizon, self.outputs)

    def _remove_pull_back(
        self, change: np.ndarray, windows: Windows, channels: Layout
    ) -> np.ndarray:
        """The `change` (B, H, O) of the linear map from the last value, without the pull back to
        the fitted levels that an unseen level causes: there it is the change of the same windows
        moved back by `unseen_shift`. Where the unseen level causes a change away from the fitted
        ones, as in a series that grows by a share of its level, it stays.
        """
        unbounded = ((-np.inf, 0.0, np.inf, 1.0),) * self.outputs
        ranges = _look_up_by_series(windows, self.level_ranges, unbounded)
        shift = unseen_shift(windows, ranges)
        if not shift.any():
            return change
        moved = self._forecast_change(windows.with_targets_moved(-shift, channels), channels)
        leads_away = (change - moved) * shift[:, None] > 0.0
        return np.where(leads_away, change, moved)

    def inputs(self, windows: Windows, channels: Layout) -> np.ndarray:
        """The inputs (B, features) of the linear map, in this order: `linear_features` (lags and
        level, past-only inputs, the plain calendar and static inputs), the known-future inputs
        (`_plan_features`), and `calendar_products`. `feature_names` names them in this order.
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
        if self.reads_plans or self.reads_past_plans:
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
        """(B, columns) each: the known-future inputs of the horizon and of past rows; then for each
        of `BENDS` how far the `bent` ones lie above it, 0 below.
        """
        past = windows.past.astype(np.float64)
        newest = past[:, -1, channels.future_channels if self.reads_plans else []]
        earlier = past[:, len(past[0]) - self.plan_lags : -1, channels.plan_channels]
        plan = np.hstack([newest, earlier.reshape(len(past), -1)])
        is_bent = np.isin([name.channel for name in _plan_names(self, channels)], self.bent)
        return [plan, *(np.maximum(plan[:, is_bent] - bend, 0.0) for bend in BENDS)]

    def with_mean_of(self, weights: Mapping[Skip, float]) -> Skip:
        """The shape that is the weighted mean of the shapes in `weights`; it reads all inputs that
        any of them reads, and is named by the `penalty` of the one with the largest weight.
        """
        widest = {name: max(getattr(part, name) for part in weights) for name in WIDENED_FIELDS}
        unread = set.intersection(*({*part.unread} for part in weights))
        return replace(
            self,
            **widest,
            penalty=max(weights, key=weights.__getitem__).penalty,
            unread=tuple(sorted(unread)),
            mean_of=tuple(weights.items()),
        )

    @functools.cached_property
    def unused_series(self) -> frozenset[str]:
        """The series whose change has weight 0 in all outputs; empty where that is every series."""
        unused = frozenset(uid for uid, each in self.change_weights.items() if not any(each))
        return unused if len(unused) < len(self.change_weights) else frozenset()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, for `from_saved`."""
        carried = {} if self.carry is None else {"carry": self.carry.coefficients}
        return {"coefficients": self.coefficients, **carried}

    def to_json(self) -> dict[str, PlainValue]:
        """Everything but the arrays, as values that JSON has, for `from_saved`."""
        names = [each.name for each in fields(self) if each.name not in ARRAY_FIELDS]
        mean_of = [(part.to_json(), weight) for part, weight in self.mean_of]
        return {**{name: getattr(self, name) for name in names}, "mean_of": mean_of}

    @staticmethod
    def from_saved(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Skip:
        """The skip whose `to_json` gave `content` and whose `to_arrays` gave `arrays`. Without
        arrays it has no coefficients and is a shape to be fitted, as the members of a mean are.
        """
        tuples = {name: tuple(content[name]) for name in ("profile", "harmonics", "unread", "bent")}
        parts = [(Skip.from_saved(part, {}), weight) for part, weight in content["mean_of"]]
        change_weights = {uid: tuple(each) for uid, each in content["change_weights"].items()}
        carry = Carry(arrays["carry"], content["season_length"]) if "carry" in arrays else None
        saved = content | tuples | {"mean_of": tuple(parts), "change_weights": change_weights}
        coefficients = arrays.get("coefficients", _no_coefficients())
        return Skip(**saved, coefficients=coefficients, carry=carry)


WIDENED_FIELDS = (
    "lags",
    "harmonics",
    "reads_plans",
    "reads_past_plans",
    "bent",
    "reads_level",
)
"""The fields of a `Skip` whose largest value reads all that the others read; the tuples are those
of one largest shape, or empty.
"""
ARRAY_FIELDS = ("coefficients", "carry")
"""The fields of a `Skip` that are saved as arrays; all others are saved as JSON."""


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
    """(B, features) float64 over the newest `lags` rows: of each target its differences to the last
    value and, with `reads_level`, that value (or its changes, where the target has
    `difference_inputs`); the other past-only inputs; the calendar and static inputs of the first
    `calendar_steps` forecast steps.

    The calendar of a later step is a rotation of that of the first one, so with the factor
    sqrt(horizon / calendar_steps) a penalty acts as if every step had its columns. The masks and
    the times since the last observation are no inputs: a slope that was fitted to gaps of an hour
    is meaningless after a gap of two days.
    """
    past = windows.past[:, -lags:, :].astype(np.float64)
    others = past[:, :, read_channels(channels, unread)].reshape(len(past), -1)
    first_steps = windows.future[:, -horizon:][:, :calendar_steps].reshape(len(past), -1)
    calendar = np.sqrt(horizon / calendar_steps) * first_steps.astype(np.float64)
    targets = _target_features(past, channels, reads_level)
    return np.concatenate([*targets, others, calendar], axis=1)


def read_channels(channels: Layout, unread: Sequence[int]) -> list[int]:
    """The channels of the past-only inputs that a linear map reads: all but `unread`."""
    return [channel for channel in channels.past_channels if channel not in unread]


def _target_features(past: np.ndarray, channels: Layout, reads_level: bool) -> list[np.ndarray]:
    """(B, columns) each, for every target in the rows `past` (B, lags, C): its changes where it has
    `difference_inputs`, else its differences to the newest row and, with `reads_level`, that row.
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
    train_rows: int,
    counts: Mapping[CalendarFeature, int] = CALENDAR_HARMONICS,
) -> tuple[int, ...]:
    """The sine pairs per calendar feature by `counts`, of the weekday at most two on fewer than
    `MIN_WEEK_ROWS` rows; empty without a calendar.
    """
    pairs = dict(counts)
    if train_rows < MIN_WEEK_ROWS:
        pairs["day_of_week"] = min(pairs["day_of_week"], 2)
    return tuple(pairs[name] for name in calendar_features)


def calendar_products(
    windows: Windows,
    channels: Layout,
    horizon: int,
    waves_of: tuple[tuple[int, ...], tuple[int, ...]],
    product_lags: int,
    unread: Sequence[int] = (),
    reads_level: bool = True,
) -> np.ndarray:
    """(B, features) float64: the calendar terms of the first forecast step by `profile`, and its
    terms by `harmonics` multiplied by the newest rows.

    waves_of: `profile` and `harmonics` of a `Skip`. The second terms are multiplied by one, by the
    features of the last `product_lags` rows of each target, and by the newest row of the other
    inputs.
    """
    profile, harmonics = waves_of
    calendar = windows.future[:, -horizon].astype(np.float64)
    parts = calendar_terms(calendar, profile)
    if harmonics:
        past = windows.past[:, -product_lags:, :].astype(np.float64)
        newest = past[:, -1, read_channels(channels, unread)]
        targets = _target_features(past, channels, reads_level)
        state = np.concatenate([np.ones((len(past), 1)), *targets, newest], axis=1)
        terms = np.concatenate(calendar_terms(calendar, harmonics, FIRST_PAIR_COLUMNS), axis=1)
        parts.append(_multiply_columns(terms, state))
    return np.concatenate(parts, axis=1)


def calendar_terms(
    calendar: np.ndarray, harmonics: tuple[int, ...], multiplied: int | None = None
) -> list[np.ndarray]:
    """(B, columns) each: the harmonics of every calendar feature in `calendar` (B, F), then the
    products of the harmonics of each two features. Only the first `multiplied` columns of each
    feature (None: all) are in products.
    """
    waves = [_harmonics(calendar[:, 2 * i : 2 * i + 2], count) for i, count in enumerate(harmonics)]
    factors = [wave[:, :multiplied] for wave in waves]
    return [*waves, *(_multiply_columns(a, b) for a, b in itertools.combinations(factors, 2))]


def _harmonics(pair: np.ndarray, count: int) -> np.ndarray:
    """(B, 2 * count): sine and cosine of 1 .. count times the angle whose sine and cosine are
    `pair` (B, 2).
    """
    on_circle = pair[:, 1] + 1j * pair[:, 0]
    powers = on_circle[:, None] ** np.arange(1, count + 1)
    waves = np.empty((len(pair), 2 * count))
    waves[:, 0::2] = powers.imag
    waves[:, 1::2] = powers.real
    return waves


def _multiply_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B, A * C): every column of `a` (B, A) times every column of `b` (B, C)."""
    columns = a.shape[1] * b.shape[1]  # reshape takes no -1 where there are no rows
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), columns)


class Wave(NamedTuple):
    """The sine or cosine of `multiple` times the angle of a calendar feature, by its position."""

    feature: int
    multiple: int
    is_sine: bool


class FeatureName(NamedTuple):
    """The name of one input of the linear map; inputs of one name have equal values.

    quantity: `change` of a target: the row minus the newest value, or the change of the row where
    the target has `difference_inputs`; `level`: the newest value of a target; `input`: a row of a
    past-only input; `lead`: a row of a known-future input; `calendar`: one; `clock`: the factor
    sqrt(horizon / calendar_steps) (a static input is named as a further wave of the calendar).
    channel, lag: the channel of the past and the row; lag 0 is the cutoff, -1 the first forecast
    step of a `clock`. waves: the calendar terms that multiply it, at the step of a `clock`, else at
    the first step. above: only the part above this value, in scaled units.
    """

    quantity: Literal["change", "level", "input", "lead", "calendar", "clock"]
    channel: int = -1
    lag: int = 0
    waves: tuple[Wave, ...] = ()
    above: float | None = None


def feature_names(shape: Skip, channels: Layout) -> list[FeatureName]:
    """The names of the columns of `Skip.inputs`, in their order."""
    others = read_channels(channels, shape.unread)
    names = _target_names(channels, shape.lags, shape.reads_level)
    for lag in reversed(range(shape.lags)):
        names += [FeatureName("input", channel, lag) for channel in others]
    waves = [Wave(column // 2, 1, column % 2 == 0) for column in range(channels.n_step_inputs)]
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
        names += _multiplied_names(_calendar_names(shape.harmonics, FIRST_PAIR_COLUMNS), state)
    return names


def _plan_names(shape: Skip, channels: Layout) -> list[FeatureName]:
    """The names of the known-future inputs: of the horizon, then of past rows, oldest first."""
    names = []
    if shape.reads_plans:
        names += [FeatureName("lead", channel) for channel in channels.future_channels]
    for lag in reversed(range(1, shape.plan_lags)):
        names += [FeatureName("lead", channel, lag) for channel in channels.plan_channels]
    return names


def _target_names(channels: Layout, lags: int, reads_level: bool) -> list[FeatureName]:
    """The names of the columns of `_target_features` over `lags` rows: for each target its changes,
    oldest first, then its level where that is read.
    """
    names = []
    for channel, is_differenced in zip(
        channels.target_channels, channels.difference_inputs, strict=False
    ):
        newest = 0 if is_differenced else 1
        oldest = lags - 2 if is_differenced else lags - 1
        names += [FeatureName("change", channel, lag) for lag in range(oldest, newest - 1, -1)]
        if reads_level and not is_differenced:
            names.append(FeatureName("level", channel))
    return names


def _calendar_names(harmonics: Sequence[int], multiplied: int | None = None) -> list[FeatureName]:
    """The names of the columns of `calendar_terms`."""
    waves = [_wave_names(feature, count) for feature, count in enumerate(harmonics)]
    pairs = itertools.combinations([wave[:multiplied] for wave in waves], 2)
    return list(itertools.chain(*waves, *(_multiplied_names(a, b) for a, b in pairs)))


def _wave_names(feature: int, count: int) -> list[FeatureName]:
    """The names of the columns of `_harmonics`."""
    waves = itertools.product(range(1, count + 1), (True, False))
    return [FeatureName("calendar", waves=(Wave(feature, k, sine),)) for k, sine in waves]


def _multiplied_names(
    calendar: Sequence[FeatureName], factors: Sequence[FeatureName]
) -> list[FeatureName]:
    """The names of the columns of `_multiply_columns`."""
    pairs = itertools.product(calendar, factors)
    return [factor._replace(waves=wave.waves + factor.waves) for wave, factor in pairs]


@functools.lru_cache(maxsize=8)
def _number_features(shape: Skip, channels: Layout) -> dict[FeatureName, int]:
    """The columns of the inputs of `shape`, by name."""
    return {name: column for column, name in enumerate(feature_names(shape, channels))}


@functools.lru_cache(maxsize=256)
def find_columns(shape: Skip, largest: Skip, channels: Layout) -> np.ndarray:
    """The column numbers (features of `shape`,) of the inputs of `shape` among those of `largest`,
    which has all of them. Cached, as refits ask for the same ones.
    """
    column_of = _number_features(largest, channels)
    return np.array([column_of[name] for name in feature_names(shape, channels)], np.int64)


def fit_linear_map(sums: np.ndarray, channels: Layout, shape: Skip) -> Skip:
    """The linear skip of this `shape`, fitted: a ridge, or the weighted mean of several. sums: the
    `products_matrix` of `design_of`, summed over the train rows. `ModelError` for fewer than two
    complete train windows.
    """
    parts = shape.mean_of or ((shape, 1.0),)
    coefficients = mean_of_ridges(centre_sums(sums), shape, channels, parts)
    return replace(shape, coefficients=coefficients)


def mean_of_ridges(
    moments: Moments, largest: Skip, channels: Layout, parts: Iterable[tuple[Skip, float]]
) -> np.ndarray:
    """(features of `largest` + 1, H * O): the weighted mean of the ridges of `parts`, shapes with
    weights, on the inputs of `largest`; NaN where none has a solution.
    """
    outputs = largest.horizon * largest.outputs
    coefficients = np.zeros((len(moments.means) - outputs + 1, outputs))
    solved_weight = 0.0
    for part, weight in parts:
        columns = find_columns(part, largest, channels)
        slopes = solve_ridge(moments, columns, part.penalty, outputs)
        # with collinear inputs and a small penalty there may be a solution on the folds, none here
        if not np.isfinite(slopes).all():
            continue
        solved_weight += weight
        # add.at, because a ridge with products has the calendar of the first step twice
        np.add.at(coefficients, [*columns, -1], weight * slopes)
    return coefficients / (solved_weight or np.nan)


def products_matrix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The sums over rows of the products of all columns: of the inputs `x` (n, features), the
    outputs `y` (n, outputs) and a column of ones.
    """
    columns = np.hstack([x, y, np.ones((len(x), 1))])
    return columns.T @ columns


class Moments(NamedTuple):
    """The first and second moments of the inputs and outputs of a linear map, from which
    `solve_ridge` fits it.
    """

    products: np.ndarray
    """(columns, columns): the products of centred columns, summed over rows; inputs before outputs.
    """
    means: np.ndarray
    """(columns,)."""
    solved: dict[tuple[bytes, float], np.ndarray]
    """A cache of `solve_ridge` by columns and penalty, up to `MAX_SOLVED_BYTES`: a search needs the
    ridges of its mean again.
    """


def centre_sums(sums: np.ndarray) -> Moments:
    """The moments of a summed `products_matrix`; `ModelError` for fewer than two rows."""
    count = sums[-1, -1]
    if count < 2:
        raise ModelError(
            f"A linear map found {count:.0f} complete train windows; at least 2 are needed."
            " Give more rows, shorten `lookback` or `horizon`, or take another, such as 'naive'."
        )
    means = sums[-1, :-1] / count
    return Moments(sums[:-1, :-1] - count * np.outer(means, means), means, {})


def solve_ridge(moments: Moments, columns: np.ndarray, penalty: float, outputs: int) -> np.ndarray:
    """The ridge regression on these `columns` of the inputs: slopes and, last, the intercept
    (columns + 1, outputs); NaN without a solution. outputs: how many of the last columns of
    `moments` are outputs.
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
    """The regression of `shape` on a batch: inputs (B, features); outputs (B, H * O), the changes
    of the target from the last value with missing steps filled; and which rows a fit may use (B,).
    A fit uses no window without a target in some output or without a known-future input that
    `shape` reads, and none of `unused_series`.
    """
    x = shape.inputs(windows, channels)
    y = (fill_missing_targets(windows.last, target) - windows.last[:, None, :]).reshape(len(x), -1)
    known = np.isfinite(y).all(axis=1) & ~np.isin(windows.series, [*shape.unused_series])
    if shape.reads_plans:
        known &= np.isfinite(windows.z[:, -1, np.array(channels.step) > 0]).all(axis=1)
    return x, y, known


def fill_missing_targets(last: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`target` (B, H, O) with missing steps filled, for a fit. last (B, O): the value before the
    first step.

    A gap is interpolated linearly; a gap longer than `LONG_GAP`, and one at the end, repeats the
    value before it. NaN where no step of an output is observed. Without filling, 5 % of missing
    hours would leave 29 % of the days to fit.
    """
    if np.isfinite(target).all():
        return target
    repeated, is_known, since = fill_gaps(np.concatenate([last[:, None], target], axis=1))
    length = repeated.shape[1]
    steps = np.arange(length)[None, :, None]
    after = np.minimum.accumulate(np.where(is_known, steps, length)[:, ::-1], axis=1)[:, ::-1]
    following = np.take_along_axis(repeated, np.minimum(after, length - 1), axis=1)
    gap = since + after - steps
    interpolated = repeated + since / np.maximum(gap, 1) * (following - repeated)
    filled = np.where((after < length) & (gap <= LONG_GAP + 1), interpolated, repeated)
    return np.where(is_known[:, 1:].any(axis=1, keepdims=True), filled[:, 1:], np.nan)


def levels_of(values: np.ndarray, rows: int) -> np.ndarray:
    """The levels (..., n, O) of `values` (..., T, O): the mean of each `rows` consecutive rows
    without their lowest and highest quarter. They begin at every row, or at evenly spaced rows of
    long `values`.

    The mean over a season is a level; single rows have a wider range, and one wild row is no level.
    """
    spans = np.lib.stride_tricks.sliding_window_view(values, rows, axis=-2)
    every = 1 + values.shape[-2] * rows // MOST_LEVEL_ROWS
    cut = rows // 4
    return np.sort(spans[..., ::every, :, :])[..., cut : rows - cut].mean(axis=-1)


def unseen_shift(windows: Windows, ranges: np.ndarray) -> np.ndarray:
    """(B, O): how much of the newest level is unlike the levels of the fit: 0 inside their range;
    from `FADE` of its width outside on, the whole difference to their mean; rising in between.

    ranges (B or 1, O, 4): the lowest, mean and highest level of the fit, and the rows of a level,
    the same number everywhere.
    """
    low, mean, high, rows = np.moveaxis(ranges, -1, 0)
    n_rows = int(rows.max())
    newest = windows.z[:, -n_rows:, : ranges.shape[1]]
    if not np.isfinite(newest).all():  # a gap may begin before these rows
        newest = fill_gaps(windows.z[:, :, : ranges.shape[1]])[0][:, -n_rows:]
    level = levels_of(newest, n_rows)[:, 0]
    overshoot = np.maximum(np.maximum(low - level, level - high), 0.0)
    width = np.maximum(FADE * (high - low), np.finfo(float).eps)
    return np.minimum(overshoot / width, 1.0) * (level - mean)


def joint_shift(parameters: Mapping[str, np.ndarray], windows: Windows) -> np.ndarray:
    """The `unseen_shift` (B, O) from `levels` (O, 4), the levels of all series together; 0 where a
    level is a single row.
    """
    levels = parameters["levels"]
    if levels[0, 3] == 1.0:
        return np.zeros_like(windows.last)
    return unseen_shift(windows, levels[None])


def _season_before(
    windows: Windows, channels: Layout, horizon: int, season_length: int
) -> np.ndarray:
    """(B, H, O): y[t + h - season * ceil(h / season)], the value at the same position of the last
    season. A step whose value lies before the window has the oldest value of the window.
    """
    values = fill_gaps(windows.z[:, :, : channels.outputs])[0]
    steps = np.arange(1, horizon + 1)
    back = season_length * -(-steps // season_length) - steps
    return values[:, np.maximum(values.shape[1] - 1 - back, 0), :]
