"""`Task`: the columns, calendar and spans of one dataset that a model computes with.

Stage `prepare` makes the task from the entry of configs/datasets.yaml. Panels, problems,
forecasters and saved models carry it, and cache keys contain it: a changed title, unit, licence or
quality limit changes no task, so it retrains nothing. It is in `config`, where both the entry and
every package that computes can import it.

A task has `TaskColumn`s (targets, past inputs), `FutureInput`s, whose `FutureStep`s are columns of
the prepared frame, a calendar, and possibly `Holidays`. Unknown names of exchanges, steps, zones
and countries are refused here.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import re
import warnings
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from forecast.config.reading import EACH_ONCE, Config, validate_config
from forecast.system.errors import quote_names, suggest
from forecast.system.files import read_json

if TYPE_CHECKING:
    import numpy as np

Point = Literal["median", "mean"]
TransformName = Literal["none", "log", "diff", "logdiff", "log1p", "logit"]
"""The names in `forecast.config.transforms`."""
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
DAY_NANOSECONDS = 86_400 * 10**9
CalendarFeature = Literal[
    "hour_of_day",
    "day_of_week",
    "day_of_month",
    "day_to_month_end",
    "day_of_year",
    "month_of_year",
]


def _require_known_zone(value: str) -> str:
    """The name itself; `ValueError` with the nearest one for an unknown time zone."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # only here, since listing all zones reads 600 files
        raise ValueError(
            f"unknown time zone.{suggest(value, available_timezones())} Wanted an IANA name such as"
            " Europe/Dublin"
        ) from None
    return value


TimeZone = Annotated[str, AfterValidator(_require_known_zone)]


def _require_clock_time(value: Any) -> str:
    """The time of day as text; `ValueError` for anything else. Without quotes, which DVC's edits do
    not write, YAML reads 16:00 as 16 · 60.
    """
    if isinstance(value, int) and 60 <= value < 24 * 60:
        return f"{value // 60:02}:{value % 60:02}"
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        return value
    raise ValueError("wanted a time of day in quotes, such as '09:30'")


def _require_known_exchange(value: str) -> str:
    """The code itself; `ValueError` for an exchange that the library of calendars does not have."""
    library = importlib.util.find_spec("exchange_calendars")
    for folder in (library and library.submodule_search_locations) or ():
        # a look at the file names, since importing the library takes a tenth of a second
        if value.isupper() and Path(folder, f"exchange_calendar_{value.lower()}.py").exists():
            return value
    import exchange_calendars

    names = exchange_calendars.get_calendar_names()
    if value not in names:
        raise ValueError(
            f"unknown exchange.{suggest(value, names)} Wanted an ISO 10383 code such as XNYS"
        )
    return value


Exchange = Annotated[str, AfterValidator(_require_known_exchange)]
ClockTime = Annotated[str, BeforeValidator(_require_clock_time)]


class CalendarBase(Config):
    """Base class of the calendars; `kind` tells them apart.

    A new kind has to be handled in `data.calendars` (`grid`, `known_from`, `default_features`),
    `data.guesses`, `data.columns`, `data.sources.file`, `data.quality.checks`, `api.frames`,
    `config.operation`, `report` and `audit`: search for `calendar.kind`, and for the names of these
    classes.
    """

    kind: str

    @property
    def counts_rows(self) -> bool:
        """Whether rows have no dates."""
        return self.kind == "index"

    @property
    def keeps_wall_clock(self) -> bool:
        """Whether steps are local dates, which are not converted to UTC."""
        return self.kind in ("sessions", "weekdays")


class SessionCalendar(CalendarBase):
    """Sessions of an exchange, an ISO MIC such as XNYS: a weekend or a holiday is no gap."""

    kind: Literal["sessions"]
    exchange: Exchange
    extra_closures: tuple[date, ...] = ()


class WeekdayCalendar(CalendarBase):
    """Every day of `days` except `closures`."""

    kind: Literal["weekdays"]
    days: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri")
    closures: tuple[date, ...] = ()


class YearWeekCalendar(CalendarBase):
    """Weeks counted from every 1 January, as in registers of diseases; the rhythm of seven days
    breaks at New Year.

    `weeks`: per year. The last of 52 has eight or nine days, the last of 53 one or two.
    """

    kind: Literal["year_weeks"]
    weeks: Literal[52, 53] = 52


class OpeningHours(Config):
    """The steps of a day with rows: from the one that begins at `first` (09:30) to that at `last`.
    `exchange`: without its holidays and what follows its close.
    """

    days: Annotated[tuple[Weekday, ...], EACH_ONCE] = Field(WEEKDAYS, min_length=1)
    first: ClockTime
    last: ClockTime
    time_zone: TimeZone = "UTC"
    exchange: Exchange | None = None

    @model_validator(mode="after")
    def _last_follows_first(self) -> Self:
        """Refuses hours that reach into the next day."""
        if self.first > self.last:
            raise ValueError(
                f"first: {self.first} is after last: {self.last}; wanted both on one day. Hours"
                " that pass midnight have no `opening_hours`"
            )
        return self

    def step_starts(self, freq: str) -> np.ndarray:
        """(steps of a day,) timedelta64: the beginnings of the steps of `freq`, from midnight."""
        import pandas as pd

        first, last = (pd.Timedelta(f"{clock}:00") for clock in (self.first, self.last))
        return pd.timedelta_range(first, last, freq=freq).to_numpy()


class RegularCalendar(CalendarBase):
    """A fixed step in UTC, such as `1h`, `1D`, `15min`, `1W`, `1MS`. `opening_hours`: there are no
    steps outside of them.

    `kind: index` is for rows without dates: row n is at n minutes after 1970-01-01, and is shown as
    `row n`.
    """

    kind: Literal["regular", "index"]
    freq: str
    opening_hours: OpeningHours | None = None

    @model_validator(mode="before")
    @classmethod
    def _index_counts_minutes(cls, value: Any) -> Any:
        """Rows without dates have a step of a minute, unless another is given."""
        return (
            {"freq": "1min", **value}
            if isinstance(value, dict) and value.get("kind") == "index"
            else value
        )

    @field_validator("freq")
    @classmethod
    def _is_a_step(cls, value: str) -> str:
        """Refuses unknown steps, negative ones, and those below a second."""
        from pandas.tseries.frequencies import to_offset

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # pandas still reads some former names, such as `d`
                step = to_offset(value)
        except (ValueError, Warning) as error:
            new_name = re.search(r"(?:use '|did you mean )([\w-]+)", str(error), re.IGNORECASE)
            # of `A` pandas says `Y`, which it calls `YE` itself
            renamed = (
                f" pandas calls it {re.sub('^Y(?!E|S)', 'YE', new_name[1])} now."
                if new_name
                else ""
            )
            raise ValueError(
                f"unknown step.{renamed} Wanted a pandas frequency such as 1h, 15min, 1D, 1W-MON or"
                " 1MS; rows without dates are `{kind: index}`"
            ) from None
        if step.n < 1 or (
            value.strip().lower().endswith(("ns", "us", "ms")) and not value.strip().endswith("MS")
        ):
            raise ValueError(
                f"a step of {value}: wanted one forward of a second or more, such as 15min, 1h"
                " or 1D"
            )
        return value

    @model_validator(mode="after")
    def _step_suits_opening_hours(self) -> Self:
        """Refuses opening hours for rows without dates, and with a step that is not shorter than a
        day or does not divide it.
        """
        if self.opening_hours and self.counts_rows:
            raise ValueError("opening_hours: rows without dates have none; leave it out")
        if self.opening_hours:
            from pandas.tseries.frequencies import to_offset
            from pandas.tseries.offsets import Tick

            step = to_offset(self.freq)
            # a step without a fixed length, such as a month, is no Tick
            if (
                not isinstance(step, Tick)
                or DAY_NANOSECONDS % step.nanos
                or step.nanos == DAY_NANOSECONDS
            ):
                raise ValueError(
                    f"opening_hours: a step of {self.freq}; wanted one shorter than a day that"
                    " divides it, such as 30min or 1h. Days are `{kind: weekdays, days: [mon,"
                    " tue]}`"
                )
        return self


Calendar = Annotated[
    SessionCalendar | WeekdayCalendar | YearWeekCalendar | RegularCalendar,
    Field(discriminator="kind"),
]


def format_time(kind: str, moment: str, places: int | None = None) -> str:
    """`moment` (ISO 8601) cut to `places` characters; `row 600` for the kind `index`."""
    if kind != "index" or not moment:
        return moment[:places]
    # row n is at n minutes after 1970, see `RegularCalendar`
    return f"row {datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() / 60:.0f}"


class Holidays(Config):
    """Public holidays of a country: inputs over the horizon that follow from the date alone.

    `country`: an ISO 3166 code, such as DE. `states`: codes of its parts, such as [BY, BW];
    `holiday` is then the share of them with a day off. `days_before`, `days_after`: the number of
    columns that tell of a holiday to come or in the past. `bridge_days`: a column of single working
    days between a holiday and a weekend. `time_zone`: whose dates count, for steps of less than a
    day (default UTC).
    """

    country: str
    states: tuple[str, ...] = ()
    days_before: int = Field(0, ge=0, le=7)
    days_after: int = Field(0, ge=0, le=7)
    bridge_days: bool = False
    time_zone: TimeZone | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_country_alone(cls, value: Any) -> Any:
        """`DE` is short for `{country: DE}`."""
        if isinstance(value, str | bool):
            value = {"country": value}
        if isinstance(value, dict) and value.get("country") is False:
            return {**value, "country": "NO"}  # YAML reads Norway's code as false
        return value

    @model_validator(mode="after")
    def _places_are_known(self) -> Holidays:
        """Refuses a country or state that the library does not have."""
        try:
            from holidays import list_supported_countries
        except ModuleNotFoundError:
            raise ValueError(
                "holidays need the package of that name. Install it: `pip install"
                " 'rolling-forecast[train]'`"
            ) from None
        known = list_supported_countries()
        if self.country not in known:
            raise ValueError(
                f"unknown country {self.country!r}.{suggest(self.country, known)} Wanted an ISO"
                " 3166 code such as DE"
            )
        states = known[self.country]
        for state in self.states:
            if state not in states:
                raise ValueError(
                    f"unknown state {state!r} of {self.country}.{suggest(state, states)} Known:"
                    f" {quote_names(states) or 'none'}"
                )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its inputs, in the order in which `data.columns` computes them."""
        names = ["holiday"]
        names += [f"holiday_in_{days}" for days in range(1, self.days_before + 1)]
        names += [f"holiday_{days}_ago" for days in range(1, self.days_after + 1)]
        return (*names, "bridge_day") if self.bridge_days else tuple(names)


class TaskColumn(Config):
    """One column as a model sees it.

    `difference_inputs`: networks see its changes instead of its level. `may_be_missing`: it has a
    mask and the time since the last observation as further inputs. `minimum`, `maximum`: for a
    target, the bounds of forecasts and intervals (None: no bound). `point`: for a target, whether
    the forecast is the median, which is the same in transformed units, or the mean
    (`forecaster.reconciliation`).
    """

    name: str
    transform: TransformName
    difference_inputs: bool
    may_be_missing: bool
    minimum: float | None = None
    maximum: float | None = None
    point: Point = "median"

    @property
    def frame_name(self) -> str:
        """Its column in the prepared frame."""
        return self.name

    @property
    def limits(self) -> tuple[float, float]:
        """`minimum` and `maximum`, infinite where there is no bound."""
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return low, high

    @property
    def is_price(self) -> bool:
        """Whether it is modelled as a price: by its returns, or as a logarithm with a drifting
        level. An index that returns to a mean is none, and its direction can be forecast.
        """
        # imported here, since it needs NumPy, which `status` does without
        from forecast.config.transforms import TRANSFORMS

        transform = TRANSFORMS[self.transform]
        return transform.is_log and (transform.takes_changes or self.difference_inputs)


def future_frame_name(name: str, step: int) -> str:
    """The column of the prepared frame with the values of a future input `step` steps after each
    row.
    """
    return f"{name}+{step}"


class FutureStep(TaskColumn):
    """One step of a future input: at each row the value `step` rows later, as known at the row."""

    step: int = Field(ge=1)

    @property
    def frame_name(self) -> str:
        """Its column in the prepared frame."""
        return future_frame_name(self.name, self.step)


class FutureInput(Config):
    """A column that is known over the horizon: a calendar, a plan, a provider's forecast.

    `steps`: the rows after the cutoff that a model reads, the horizon it was fitted for.
    `may_be_missing`: a forecast is possible without its values over the horizon. Past values may
    always have gaps.
    """

    name: str
    transform: TransformName
    may_be_missing: bool
    steps: int = Field(ge=1)

    @property
    def columns(self) -> tuple[FutureStep, ...]:
        """One for every step, the next first."""
        return _future_steps(self)


@lru_cache(maxsize=256)
def _future_steps(column: FutureInput) -> tuple[FutureStep, ...]:
    """The columns of a future input; cached, since every batch of windows needs them."""
    return tuple(
        FutureStep(
            name=column.name,
            transform=column.transform,
            difference_inputs=False,
            may_be_missing=column.may_be_missing,
            step=step,
        )
        for step in range(1, column.steps + 1)
    )


class StaticColumn(Config):
    """A column that never changes in a series, such as the kind or the size of a shop.

    `categories`: of a text column; each is an input of 0 or 1. Without categories the column holds
    numbers, and its input is (value - centre) / scale.
    """

    column: str
    categories: tuple[str, ...] = ()
    centre: float = 0.0
    scale: float = Field(default=1.0, gt=0)

    @property
    def frame_names(self) -> tuple[str, ...]:
        """The columns of a prepared frame with its inputs."""
        by_category = tuple(f"{self.column}={category}" for category in self.categories)
        return by_category or (f"{self.column} (scaled)",)


def static_input_names(columns: Iterable[StaticColumn]) -> list[str]:
    """The columns of a prepared frame with the inputs of static columns, in their order."""
    return list(itertools.chain.from_iterable(column.frame_names for column in columns))


class Task(Config):
    """One forecasting task.

    Spans are in time steps. `season_length`: the lag of the seasonal naive forecast and of MASE's
    scale. `step_size`: the rows between two origins of validation and test;
    `calibration_step_size`: the same in the calibration block.
    """

    target: tuple[TaskColumn, ...] = Field(min_length=1)
    past_exogenous: tuple[TaskColumn, ...]
    future_exogenous: tuple[FutureInput, ...]
    holidays: Holidays | None = None
    """From these the inputs over the horizon are computed that the data do not hold."""
    calendar_features: tuple[CalendarFeature, ...]
    time_zone: TimeZone | None = None
    """The zone of the calendar features; None: that of the times."""
    static: tuple[StaticColumn, ...] = ()
    hierarchy: tuple[str, ...] = ()
    """The columns of groups, largest first, that name the series and whose sums are
    forecast too.
    """
    calendar: Calendar
    horizon: int = Field(ge=1)
    lookback: int = Field(ge=1)
    season_length: int = Field(ge=1)
    step_size: int = Field(ge=1)
    calibration_step_size: int = Field(ge=1)

    @property
    def columns(self) -> tuple[TaskColumn, ...]:
        """Targets, past exogenous columns, then every step of the future ones: the order of columns
        everywhere.
        """
        return (*self.target, *self.past_exogenous, *self.future_steps)

    @property
    def future_steps(self) -> tuple[FutureStep, ...]:
        """The future inputs column by column, each with its steps 1, 2, ... in turn."""
        return tuple(itertools.chain.from_iterable(c.columns for c in self.future_exogenous))

    @property
    def frame_names(self) -> list[str]:
        """The columns of a prepared frame, in the order of `columns`."""
        return [column.frame_name for column in self.columns]

    @property
    def targets(self) -> list[str]:
        """The names of the target columns."""
        return [column.name for column in self.target]

    @property
    def observed_names(self) -> list[str]:
        """The columns of a prepared frame that are measured: targets and past inputs."""
        return [column.name for column in (*self.target, *self.past_exogenous)]

    @property
    def first_step_names(self) -> list[str]:
        """The columns of a prepared frame, with the first step alone of each future input."""
        first_steps = [column.columns[0].frame_name for column in self.future_exogenous]
        return [*self.observed_names, *first_steps]

    @property
    def plans(self) -> list[str]:
        """The future inputs whose values the data or the caller must give, which those of holidays
        need not.
        """
        computed = self.holidays.columns if self.holidays else ()
        return [column.name for column in self.future_exogenous if column.name not in computed]

    @property
    def plan_columns(self) -> dict[str, slice]:
        """By plan, the slice of `columns` with its steps."""
        slices = {}
        start = len(self.observed_names)
        for column in self.future_exogenous:
            slices[column.name] = slice(start, start + column.steps)
            start += column.steps
        return {name: slices[name] for name in self.plans}

    @property
    def static_names(self) -> list[str]:
        """The columns of a prepared frame with the inputs of the static columns."""
        return static_input_names(self.static)

    @property
    def n_calendar_inputs(self) -> int:
        """The number of calendar inputs: sine and cosine of each feature."""
        return 2 * len(self.calendar_features)

    @property
    def n_step_inputs(self) -> int:
        """The number of inputs that are known for all times: calendar features, static inputs, and
        their products.
        """
        n_static = len(self.static_names)
        return self.n_calendar_inputs * (1 + n_static) + n_static

    @property
    def asks_mean(self) -> bool:
        """Whether the forecast of a target is to be its mean."""
        return any(column.point == "mean" for column in self.target)

    @property
    def rows_per_origin(self) -> int:
        """The rows that a forecast sees, and those that it forecasts."""
        return self.lookback + self.horizon

    def candidate_lags(self) -> list[int]:
        """The numbers of lags that a linear model may have, from which validation selects: the
        lookback and its halvings down to two, five in all at most.
        """
        lags = {self.lookback}
        while min(lags) // 2 >= 2 and len(lags) < 5:
            lags.add(min(lags) // 2)
        return sorted(lags)

    def with_whole_season(self) -> Task:
        """The task with a lookback of at least a season."""
        return self.model_copy(update={"lookback": max(self.lookback, self.season_length)})

    def step_size_in(self, block: str) -> int:
        """Rows between two origins of `block`; in train every row is one."""
        return {"train": 1, "calibration": self.calibration_step_size}.get(block, self.step_size)


def load_task(path: Path) -> Task:
    """The task that stage `prepare` wrote; `InputError` for a file that holds something else."""
    return validate_config(Task, read_json(path), where=str(path))
