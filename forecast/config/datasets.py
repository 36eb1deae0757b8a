"""configs/datasets.yaml: one entry is one `Dataset`.

A `Dataset` has its source, calendar, columns, spans, splits, data checks and licence; its `task` is
the part that a model needs. A key or a combination of keys that makes no sense is refused here,
before any data are read; whether the data have the columns is checked in `data`. A new key of an
entry is a field here; a key that models need is also passed on by `task`.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    field_validator,
    model_validator,
)

from forecast.config.reading import EACH_ONCE, Config, load_config, require_plain_names
from forecast.config.sources import Source
from forecast.config.task import (
    Calendar,
    CalendarFeature,
    FutureInput,
    Holidays,
    Point,
    RegularCalendar,
    StaticColumn,
    Task,
    TaskColumn,
    TransformName,
    static_input_names,
)
from forecast.config.transforms import TRANSFORMS
from forecast.system.errors import quote_names, require_known

MAX_STEPS = 100_000
"""The longest horizon, season or step; a longer one is a typing error, and would exhaust the
memory.
"""


def _read_off(value: Any) -> Any:
    """The text `off`, which YAML reads as false where it has no quotes."""
    return "off" if value is False else value


class QualityRule(Config):
    """`action`: what a finding does. `limit`: the number that the check compares with; its meaning
    is beside each rule of `Quality`.
    """

    action: Annotated[Literal["off", "warn", "refuse"], BeforeValidator(_read_off)]
    limit: float = Field(ge=0.0)


class Quality(Config):
    """The rules by name, each a function of `data/quality/checks.py`, with their defaults."""

    # distance of a jump from a ratio 2:1, 3:1, ..., as a share
    unadjusted_split: QualityRule = QualityRule(action="warn", limit=0.03)
    # the smaller step to both neighbours, in multiples of the 99 % quantile of all steps
    spikes: QualityRule = QualityRule(action="warn", limit=15)
    # equal consecutive values, other than zero
    stale_repeats: QualityRule = QualityRule(action="warn", limit=12)
    # consecutive zeros, in a target that is hardly ever zero
    zero_runs: QualityRule = QualityRule(action="warn", limit=2)
    # the lowest earlier value, divided by the last value
    partial_end: QualityRule = QualityRule(action="warn", limit=3)
    # the share of a later target's unexplained variance that an input leaves unexplained
    leaks: QualityRule = QualityRule(action="warn", limit=0.01)
    # rows with an empty cell
    missing_cells: QualityRule = QualityRule(action="warn", limit=0)
    # missing steps inside a series
    gaps: QualityRule = QualityRule(action="warn", limit=0)
    # hours missing where local clocks are put forward
    clock_change: QualityRule = QualityRule(action="warn", limit=0)
    # steps of the calendar since the last row
    freshness: QualityRule = QualityRule(action="warn", limit=3)
    # the share of a series' stored rows that a fetch loses at its end; or at its beginning, less
    # the rows that it gains elsewhere
    shrinkage: QualityRule = QualityRule(action="refuse", limit=0.05)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, value: Any) -> Any:
        """A rule with only an action or a limit keeps the default of the other; a bare word is an
        action.
        """
        if not isinstance(value, dict):
            return value
        rules = {}
        for name, rule in value.items():
            defaults = (
                cls.model_fields[name].default.model_dump() if name in cls.model_fields else {}
            )
            rules[name] = defaults | (rule if isinstance(rule, dict) else {"action": rule})
        return rules


class JoinedColumn(Config):
    """A column of another series: at each row its last value known then, at most `max_age_days`
    old.
    """

    dataset: str = Field(
        "", description="that has the series; empty: this one, so that each row sees a neighbour"
    )
    series: str
    column: str
    max_age_days: float = Field(7.0, gt=0)


class Column(Config):
    """One column of the target or the past. `difference_inputs`: networks see its changes instead
    of its level.

    `minimum`, `maximum`: for a target, the bounds of forecasts and intervals. `point`: for a target
    with a transform, whether the forecast is the median or the mean. How far back columns are read
    is one number for all, selected on validation from `Task.candidate_lags`.
    """

    column: str
    transform: TransformName = "none"
    difference_inputs: bool = False
    minimum: float | None = None
    maximum: float | None = None
    point: Point = "median"
    max_missing: float = Field(0.0, ge=0.0, lt=1.0)
    unit: str = ""
    joined: JoinedColumn | None = None

    @property
    def task(self) -> TaskColumn:
        """What a model needs to know of this column."""
        return TaskColumn(
            name=self.column,
            transform=self.transform,
            difference_inputs=self.difference_inputs,
            may_be_missing=self.max_missing > 0,
            minimum=self.minimum,
            maximum=self.maximum,
            point=self.point,
        )


class FutureColumn(Config):
    """An input over the horizon; a model sees its value at every step. It is either `known_ahead`,
    where the data hold it for later rows too, or `issued`, where stored forecasts of it are read,
    each with its time of issue.
    """

    column: str
    known_ahead: bool = False
    issued: bool = False
    transform: Literal["none", "log", "log1p"] = "none"
    max_missing: float = Field(
        0.0, ge=0.0, lt=1.0, description="of `issued`: rows without a forecast, as a share"
    )
    unit: str = ""

    @model_validator(mode="after")
    def _origin_is_stated(self) -> FutureColumn:
        """Refuses a column that is neither known ahead nor issued, or both, and `max_missing` of a
        column known ahead.
        """
        if self.known_ahead == self.issued:
            raise ValueError(
                f"future_exogenous {self.column!r}: state one of `known_ahead: true` (calendars,"
                " prices, plans) and `issued: true` (forecasts with a time of issue). What is only"
                " measured belongs to `past_exogenous`"
            )
        if self.known_ahead and self.max_missing:
            raise ValueError(
                f"future_exogenous {self.column!r}: `max_missing` is of `issued` alone. What is"
                " known ahead may have any gap in the past, and none in the horizon of a forecast;"
                " drop it"
            )
        return self

    def as_input(self, horizon: int) -> FutureInput:
        """What a model that forecasts `horizon` steps needs to know of this column."""
        return FutureInput(
            name=self.column,
            transform=self.transform,
            may_be_missing=self.max_missing > 0,
            steps=horizon,
        )


def _planned_column(name: str) -> FutureColumn:
    """A column known ahead with default settings."""
    return FutureColumn(column=name, known_ahead=True, max_missing=0.0)


class Splits(Config):
    """The last day (inclusive, UTC) of each block; a block starts where the one before ends."""

    train_end: date
    validation_end: date
    calibration_end: date
    test_end: date

    @model_validator(mode="after")
    def _dates_rise(self) -> Splits:
        """Refuses dates that do not rise from block to block."""
        ends = [self.train_end, self.validation_end, self.calibration_end, self.test_end]
        if ends != sorted(set(ends)):
            raise ValueError(
                "the dates must rise: train_end < validation_end < calibration_end < test_end,"
                f" found {', '.join(map(str, ends))}"
            )
        return self


class FractionSplits(Config):
    """Blocks as shares of the time steps."""

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    calibration: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _shares_leave_a_test(self) -> FractionSplits:
        """Refuses shares that leave none for the test block."""
        total = self.train + self.validation + self.calibration
        if total >= 1:
            raise ValueError(
                f"train + validation + calibration = {total:g} leaves nothing to test on; wanted"
                " below 1"
            )
        return self


def _kind_of_splits(value: object) -> str:
    """`dates` for a mapping with the key of a date, else `shares`: so the messages fit what was
    meant.
    """
    names = value if isinstance(value, dict) else vars(value) if isinstance(value, Config) else {}
    return "dates" if names.keys() & Splits.model_fields.keys() else "shares"


AnySplits = Annotated[
    Annotated[Splits, Tag("dates")] | Annotated[FractionSplits, Tag("shares")],
    Discriminator(_kind_of_splits),
]


class Licence(Config):
    """The terms of use of the data, and the attribution."""

    name: str
    attribution: str
    note: str = ""


class Dataset(Config):
    """One dataset: series of one kind, forecast by one global model.

    `step_size`: rows between two origins of validation and test. `calibration_step_size`: the same
    in the calibration block, where more origins make interval widths steadier; by default that of
    the other blocks. `static`: inputs that never change in a series, such as the kind of a shop.
    `hierarchy`: columns of groups, largest first, such as [region, shop], whose sums are forecast
    too and add up.
    """

    title: str
    source: SerializeAsAny[Source]
    calendar: Calendar
    grid: str = Field("", description="of configs/models.yaml; empty: the one that `grid` is there")
    target: tuple[Column, ...] = Field(min_length=1)
    past_exogenous: tuple[Column, ...] = ()
    future_exogenous: tuple[FutureColumn, ...] = ()
    holidays: Holidays | None = None
    calendar_features: Annotated[tuple[CalendarFeature, ...], EACH_ONCE] = ()
    static: tuple[StaticColumn, ...] = ()
    hierarchy: tuple[str, ...] = ()
    horizon: int = Field(ge=1, le=MAX_STEPS)
    lookback: int = Field(ge=1)
    season_length: int = Field(ge=1, le=MAX_STEPS)
    step_size: int = Field(1, ge=1, le=MAX_STEPS)
    calibration_step_size: int | None = Field(None, ge=1, le=MAX_STEPS)
    splits: AnySplits
    licence: Licence
    quality: Quality = Field(default_factory=Quality)

    @field_validator("target", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        """One target may be written without a list; refuses the bare name of a column."""
        if isinstance(value, str):
            raise ValueError(f"found {value!r}, wanted {{column: {value}}}")
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _columns_can_be_read(self) -> Dataset:
        """Refuses a column with the name of a key column, and a future one that is named twice, is
        issued although its source keeps no forecasts, or is a target known ahead.
        """
        static_names = [column.column for column in self.static]
        for name in (*self._series_columns, *static_names):
            if name in ("unique_id", "ds"):
                raise ValueError(
                    f"column {name!r} names the series and times; wanted another. Map the file's"
                    f" under another name, such as `source.columns: {{value: {name}}}`"
                )
        future_names = [future.column for future in self.future_exogenous]
        if len(set(future_names)) < len(future_names):
            raise ValueError(
                f"future_exogenous: {quote_names(future_names)}; wanted each name once"
            )
        for future in self.future_exogenous:
            if future.issued and future.column not in self.vintage_columns:
                raise ValueError(
                    f"future_exogenous: no forecasts of {future.column!r} are kept."
                    f" Kept are {quote_names(self.source.vintage_columns) or 'none'}; wanted a"
                    " variable of a source with `forecast_url` or `previous_runs_url`, or one of"
                    " the `issued_columns` of a file"
                )
            if future.known_ahead and future.column in self.units:
                raise ValueError(
                    f"future_exogenous {future.column!r} is the target, not known ahead. Drop it"
                )
        return self

    @model_validator(mode="after")
    def _bounds_are_of_targets(self) -> Dataset:
        """Refuses bounds of an input, `point: mean` of an input or without a transform, and a
        minimum that is not below the maximum.
        """
        for column in self.past_exogenous:
            if column.minimum is not None or column.maximum is not None:
                raise ValueError(
                    f"past_exogenous {column.column!r}: `minimum` and `maximum` are of a target,"
                    " whose forecasts keep to them. Drop them"
                )
        for column in self.columns:
            if column.point == "mean" and (
                TRANSFORMS[column.transform].has_raw_units or column not in self.target
            ):
                raise ValueError(
                    f"column {column.column!r}: `point: mean` is of a target with a transform such"
                    " as log1p; without one a model's loss decides. Drop it"
                )
        for column in self.target:
            low, high = column.task.limits
            if not low < high:  # also for NaN
                raise ValueError(
                    f"target {column.column!r}: found minimum {low:g} and maximum {high:g}; wanted"
                    " the minimum below the maximum"
                )
        return self

    @model_validator(mode="after")
    def _static_columns_can_be_read(self) -> Dataset:
        """Refuses static columns where the source has no files, and one with a second role."""
        names = [column.column for column in self.static]
        if names and not self.source.files:
            raise ValueError("static: such columns are read from a source `file`. Drop the key")
        for name in names:
            if names.count(name) > 1 or name in self._series_columns:
                raise ValueError(
                    f"static {name!r}: found twice in the entry; wanted once. Drop one"
                )
        return self

    @property
    def _series_columns(self) -> list[str]:
        """The targets, then the columns of the past and the future that are inputs."""
        columns: list[Column | FutureColumn] = [*self.columns, *self.future_exogenous]
        return [column.column for column in columns]

    @model_validator(mode="after")
    def _sums_can_be_made(self) -> Dataset:
        """Refuses a hierarchy without a file, with several targets, or with bounds that a sum
        cannot keep.
        """
        if not self.hierarchy:
            return self
        if not self.source.files or len(self.target) > 1:
            raise ValueError("hierarchy: sums are made of one target of a source `file`. Drop it")
        if self.target[0].maximum is not None or self.target[0].minimum not in (None, 0.0):
            raise ValueError(
                f"target {self.target[0].column!r}: bounds of a series are not those of a sum."
                " With `hierarchy` use `minimum: 0` or no bound"
            )
        return self

    @model_validator(mode="after")
    def _holidays_fit(self) -> Dataset:
        """Refuses holidays for rows without dates, and beside a column of the same name."""
        if self.holidays is None:
            return self
        if self.calendar.counts_rows:
            raise ValueError("holidays: rows without dates have none. Drop the key")
        for name in self.holidays.columns:
            if name in self._series_columns:
                raise ValueError(
                    f"holidays: {name!r} is a column of the data too. Drop one, or map the file's"
                    " column to another name under `source.columns`"
                )
        return self

    @property
    def vintage_columns(self) -> tuple[str, ...]:
        """The columns whose forecasts by the provider are stored: targets and `issued` columns,
        where the source keeps forecasts of them.
        """
        columns: list[Column | FutureColumn] = [*self.target, *self.issued]
        names = dict.fromkeys(column.column for column in columns)
        return tuple(name for name in names if name in self.source.vintage_columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Targets first, then the past exogenous columns."""
        return (*self.target, *self.past_exogenous)

    @property
    def future_columns(self) -> tuple[FutureColumn, ...]:
        """All inputs over the horizon: `future_exogenous`, then the columns of `holidays`."""
        names = self.holidays.columns if self.holidays else ()
        computed = [_planned_column(name) for name in names]
        return (*self.future_exogenous, *computed)

    @property
    def issued(self) -> list[FutureColumn]:
        """The future inputs that are forecasts of the provider."""
        return [column for column in self.future_exogenous if column.issued]

    @property
    def known_ahead(self) -> list[str]:
        """The future inputs that the data hold for later rows too."""
        return [column.column for column in self.future_exogenous if column.known_ahead]

    @property
    def static_names(self) -> list[str]:
        """The columns of the prepared frame with the inputs of the static columns."""
        return static_input_names(self.static)

    @property
    def source_columns(self) -> list[str]:
        """The columns that the source has to give: all that are not joined or issued."""
        observed = [column.column for column in self.columns if column.joined is None]
        return [*observed, *self.known_ahead, *self.static_names]

    @property
    def units(self) -> dict[str, str]:
        """The unit of each target, empty where none is given."""
        return {column.column: column.unit for column in self.target}

    @property
    def task(self) -> Task:
        """The part of this entry that a model needs."""
        return Task(
            target=tuple(column.task for column in self.target),
            past_exogenous=tuple(column.task for column in self.past_exogenous),
            future_exogenous=tuple(column.as_input(self.horizon) for column in self.future_columns),
            holidays=self._local_holidays(),
            calendar_features=self.calendar_features,
            time_zone=self._local_zone(),
            static=self.static,
            hierarchy=self.hierarchy,
            calendar=self.calendar,
            horizon=self.horizon,
            lookback=self.lookback,
            season_length=self.season_length,
            step_size=self.step_size,
            calibration_step_size=self.calibration_step_size or self.step_size,
        )

    def _local_zone(self) -> str | None:
        """The time zone of the source's times, else of the opening hours, which may be "UTC"; None
        where neither is given, or times are local dates.
        """
        if self.calendar.keeps_wall_clock:
            return None
        calendar = self.calendar
        hours = calendar.opening_hours if isinstance(calendar, RegularCalendar) else None
        return self.source.local_zone or (hours.time_zone if hours else None)

    def _local_holidays(self) -> Holidays | None:
        """The holidays, with the source's time zone where they have none."""
        if self.holidays is None or self.holidays.time_zone is not None:
            return self.holidays
        return self.holidays.model_copy(update={"time_zone": self._local_zone()})

    def with_columns_of(self, task: Task) -> Dataset:
        """This entry with the columns and the calendar of a fitted model's task, so that the model
        still forecasts after the entry was changed. A column that the entry no longer has is read
        from the source as it is.
        """
        entry_columns = {column.column: column for column in self.columns}
        future = {column.column: column for column in self.future_exogenous}

        def column_of(fitted: TaskColumn) -> Column:
            """The entry's column of this name, else one with the defaults."""
            max_missing = 1 - 1e-9 if fitted.may_be_missing else 0.0
            return entry_columns.get(
                fitted.name, Column(column=fitted.name, max_missing=max_missing)
            )

        steps = [column.steps for column in task.future_exogenous]
        return self.model_copy(
            update={
                "target": tuple(map(column_of, task.target)),
                "past_exogenous": tuple(map(column_of, task.past_exogenous)),
                "future_exogenous": tuple(
                    future.get(name) or _planned_column(name) for name in task.plans
                ),
                "holidays": task.holidays,
                "static": task.static,
                "horizon": max(steps, default=self.horizon),
                "calendar": task.calendar,
            }
        )


class Datasets(Config):
    """The whole file; `run` names the datasets of `dvc repro`."""

    run: tuple[str, ...] = Field(min_length=1)
    datasets: Annotated[dict[str, Dataset], require_plain_names("dataset")]

    @model_validator(mode="after")
    def _names_are_known(self) -> Datasets:
        """Refuses a join to a dataset without an entry, and one in `run`."""
        for name, dataset in self.datasets.items():
            for column in dataset.columns:
                if column.joined and column.joined.dataset:
                    joins = f"datasets.{name}, column {column.column!r} is joined from unknown"
                    require_known(
                        column.joined.dataset, self.datasets, f"{joins} dataset", ValueError
                    )
        for name in self.run:
            require_known(name, self.datasets, "`run` names unknown dataset", ValueError)
        return self


def load_datasets(folder: Path | str) -> Datasets:
    """configs/datasets.yaml of `folder`; `InputError` for a fault in it."""
    return load_config(Datasets, Path(folder) / "datasets.yaml")


def load_dataset(name: str, folder: Path | str = "configs") -> Dataset:
    """One entry; `InputError` with the nearest name where it is unknown."""
    datasets = load_datasets(folder).datasets
    require_known(name, datasets, "Unknown dataset")
    return datasets[name]
