"""Experiments, the measured sequences that a user gives to every function of this package.

`Experiment` checks u (T, I) and y (T, O), where y may be missing (NaN); `Standardization` scales
them. `saturation`, `split_fold`, `step_inputs` and `simulation_starts` serve the search of
`identify` and the judging of free runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]

AT_BOUND = 1e-4  # of the range of y: a value nearer to an extreme lies on it
BOUND_SHARE = 0.01  # of the rows on an extreme, between two others there, make it a bound
BOUND_MARGIN = 1.0  # ranges beyond the data where an output without a bound is clipped
CONSTANT_SCALE = 1e200  # of a constant input: any value divided by it vanishes, and is not denormal
EVEN_SHARE = 0.1  # of the median step: months and the clock of a logger differ by less
LONGEST_STEP = 1.9  # median steps of an index: a longer step leaves out rows
MOST_GAPS = 0.05  # of the steps: more long steps than these are nights or weekends
FEW_LEVELS = 6  # of an input: with fewer, y between them is a guess
ROUNDED = 1e-9  # of a correlation: nearer to 1 two columns differ by rounding


@dataclass(frozen=True, repr=False)
class Experiment:
    """One measured sequence: u (T, I), None without inputs; y (T, O), NaN where missing; a single
    column also as (T,).

    `weight` (T, O) or (T,) multiplies the squared errors (MATLAB's EW). No delay reaches from one
    experiment into another. `names`: of the columns of "u" and "y" where these are frames;
    `is_vector`: y was given as (T,).
    """

    u: Array
    y: Array
    weight: Array | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_vector: bool = False

    def __init__(
        self, u: npt.ArrayLike | None, y: npt.ArrayLike, weight: npt.ArrayLike | None = None
    ) -> None:
        """Raises `InputError` for tables that do not fit each other, as `check_index`, for gaps in
        u, and for a column of y without values.
        """
        outputs = as_columns("y", y)
        inputs = np.zeros((len(outputs), 0)) if u is None else as_columns("u", u)
        require_equal_rows(u=inputs, y=outputs)
        check_index(u, y, weight)
        if not outputs.size:
            raise InputError(
                f"y has no rows or no columns, its shape is {outputs.shape}. Give a record with a"
                " row for every time and an output."
            )
        if len(outputs) < outputs.shape[1]:
            raise InputError(
                f"y has shape {outputs.shape}: fewer rows than columns. Time runs down the rows;"
                " give the record transposed, y.T."
            )
        refuse_gaps(inputs)
        if not np.isfinite(outputs).any(axis=0).all():
            raise InputError("A column of y has no observed value at all. Leave it out.")
        if weight is not None:
            weight = weight_columns(weight, outputs)
        names = {"u": column_names(u), "y": column_names(y)}
        is_vector = np.ndim(y) == 1
        # the class is frozen
        self.__dict__.update(u=inputs, y=outputs, weight=weight, names=names, is_vector=is_vector)

    def __repr__(self) -> str:
        """Its shapes, without the numbers."""
        return f"<Experiment u {self.u.shape}, y {self.y.shape}>"

    def __len__(self) -> int:
        """T, the rows."""
        return len(self.y)

    @property
    def error_weights(self) -> Array:
        """(T, O): the weight of each squared error, 0 where y is missing."""
        observed = np.isfinite(self.y).astype(np.float64)
        return observed if self.weight is None else observed * self.weight

    def with_arrays(self, **arrays: Array | None) -> Experiment:
        """The experiment with other arrays u, y or weight, which are not checked."""
        experiment = object.__new__(Experiment)
        experiment.__dict__.update(vars(self) | arrays)
        return experiment

    def part(self, rows: slice) -> Experiment:
        """The rows of a slice, in which y may be missing; `InputError` for a slice without rows or
        with a step.
        """
        is_slice = isinstance(rows, slice) and rows.step in (None, 1)
        if not is_slice or not range(len(self))[rows]:
            raise InputError(
                f"{rows} chooses none of the rows 0 to {len(self) - 1}, or not one after the other."
                " Give such as `slice(0, 100)`; what is not to count may be missing in y."
            )
        return self.take(rows)

    def take(self, rows: Any) -> Experiment:
        """The chosen rows (a slice or a mask), as if they followed each other."""
        weight = None if self.weight is None else self.weight[rows]
        return self.with_arrays(u=self.u[rows], y=self.y[rows], weight=weight)


def require_equal_rows(**tables: Array) -> None:
    """`InputError` with the rows of each table by its name, unless all have equally many."""
    rows = [len(table) for table in tables.values()]
    if len(set(rows)) > 1:
        listed = ", of ".join(f"{name}: {count}" for name, count in zip(tables, rows, strict=True))
        raise InputError(
            f"Rows of {listed}; wanted one of each for every time, down the rows: give a record"
            " along the columns transposed, as u.T."
        )


def check_index(*tables: Any) -> None:
    """`InputError` where frames differ in their index, since rows are matched by position, and
    where the times or numbers of the index go back, leave out rows or are in uneven steps.
    """
    indices = [table.index for table in tables if hasattr(table, "iloc")]
    if not all(index.equals(indices[0]) for index in indices):
        raise InputError(
            "The index of u is not that of y or `weight`, and their rows are matched by position."
            " Give them the same rows in the same order, as by `u.loc[y.index]`; or arrays,"
            " `u.to_numpy()`, if the order is right."
        )
    if not indices or len(indices[0]) < 2 or indices[0].dtype.kind not in "ifmM":
        return
    index = indices[0]
    steps = index.to_series().diff().to_numpy()[1:].astype(np.float64)
    middle = np.median(steps)
    is_odd = (steps <= 0) | (np.abs(steps - middle) > EVEN_SHARE * middle)
    is_long = steps > LONGEST_STEP * middle
    if (steps > 0).all() and is_long.mean() > MOST_GAPS:
        # long steps of several rows are nights and weekends
        is_odd &= ~is_long | (np.median(steps[is_long]) < 2.5 * middle)
    for row in np.flatnonzero(is_odd)[:1]:
        raise InputError(
            f"Rows {row} and {row + 1} are those of {index[row]} and {index[row + 1]}, one of"
            f" {is_odd.sum()} of {len(steps)} steps that go back or are off their median by more"
            f" than {EVEN_SHARE:.0%}: rows must follow each other in time in even steps. Sort them;"
            " fill in those left out, with u and an empty y; cut there into several experiments;"
            " take u and y at even times (`numpy.interp`, or `resample` of pandas); or leave the"
            " times out, as by `reset_index(drop=True)`, or of the file, if they are only rounded."
        )


def column_names(table: Any) -> tuple[str, ...]:
    """The names of a frame's columns; () for other tables, and unless all are unique texts."""
    columns = tuple(getattr(table, "columns", ()))
    is_named = len(set(columns)) == len(columns) and all(isinstance(each, str) for each in columns)
    return columns if is_named else ()


def order_columns(name: str, values: Any, names: tuple[str, ...]) -> Any:
    """A frame with its columns in the order of `names`, another table as it is; `InputError` for
    other names.
    """
    given = column_names(values)
    if not given or not names:
        return values
    if set(given) != set(names):
        raise InputError(
            f"`{name}` has the columns {list(given)}; the net was trained on {list(names)}. Name"
            f" them so, or give `{name}.to_numpy()` if they are the same in that order."
        )
    return values[list(names)]


def require_same_names(names: Iterable[Mapping[str, tuple[str, ...]]]) -> None:
    """`InputError` where experiments name their columns differently or in another order."""
    for table in ("u", "y"):
        variants = {each[table] for each in names if each.get(table)}
        if len(variants) > 1:
            raise InputError(
                f"The columns of {table} are {sorted(map(list, variants))}; wanted the same in one"
                f" order in all experiments: `frame[{list(min(variants))}]`. Or give `to_numpy()`"
                " of each, if they are the same in their order."
            )


def as_columns(name: str, values: npt.ArrayLike) -> Array:
    """A table (T,) or (T, columns) as (T, columns) float64, with NaN for masked values;
    `InputError` for other ranks, for text and for infinite values.
    """
    try:
        # NumPy would turn dates into nanoseconds, and drop imaginary parts
        if np.asarray(values).dtype.kind in "mMc":
            raise TypeError("dates, times or complex numbers")
        # `asarray` also turns a np.matrix into an array
        table = np.asarray(np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`{name}` is no table of numbers ({error}). Give one row of numbers per time; of a"
            " cell array from MATLAB `numpy.hstack(cells.ravel()).T`."
        ) from error
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2:
        raise InputError(
            f"`{name}` has shape {table.shape}; wanted (rows, columns) or (rows,), each sequence"
            " alone."
        )
    if np.isinf(table).any():
        raise InputError(
            f"`{name}` has infinite values; wanted numbers, or NaN for a missing y. Clean it first."
        )
    return table


def error_columns(name: str, values: npt.ArrayLike) -> Array:
    """Errors as `as_columns`; `InputError` for as many columns as rows, which y (T,) minus a
    forecast (T, 1) gives by broadcasting.
    """
    table = as_columns(name, values)
    if table.shape[0] == table.shape[1] > 1:
        raise InputError(
            f"`{name}` has shape {table.shape}, as many columns as rows: a vector (T,) minus a"
            " column (T, 1) gives that. Give both the same shape before subtracting."
        )
    return table


def single_column(name: str, values: npt.ArrayLike) -> Array:
    """The only column (T,) of `error_columns`; `InputError` for several, as of a row (1, T)."""
    table = error_columns(name, values)
    if table.shape[1] != 1:
        raise InputError(
            f"`{name}` has {table.shape[1]} columns; wanted one, with time down the rows. Choose"
            f" it, {name}[:, [0]], or give a row as {name}.T."
        )
    return table[:, 0]


def refuse_gaps(u: Array) -> None:
    """`InputError` that names the first missing input."""
    if np.isnan(u).any():
        row, column = np.argwhere(np.isnan(u))[0]
        raise InputError(
            f"u is missing in row {row}, column {column}; only y may have gaps. Fill it, or cut"
            " there."
        )


def weight_columns(weight: npt.ArrayLike, y: Array) -> Array:
    """The weight in the shape of y (T, O); `InputError` for another shape, and for a weight that is
    missing or below 0.
    """
    table = as_columns("weight", weight)
    if table.shape == (len(y), 1):
        table = np.repeat(table, y.shape[1], axis=1)
    if np.isnan(table).any() or (table < 0).any():
        raise InputError("`weight` has a value below 0 or missing; wanted numbers from 0 up.")
    if table.shape != y.shape:
        raise InputError(f"`weight` has shape {table.shape}; wanted {y.shape} or ({len(y)},).")
    return table


def require_whole(least: int, **numbers: Any) -> None:
    """`InputError` for a number that is not whole or is below `least`."""
    for name, value in numbers.items():
        if not is_whole(value, least):
            raise InputError(f"`{name}` is {value!r}; wanted a whole number from {least} up.")


def is_whole(value: Any, least: int) -> bool:
    """Whether it is a whole number from `least` up; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return int(value) >= least


def count_columns(experiments: Sequence[Experiment]) -> tuple[int, int]:
    """(inputs, outputs) of all experiments; `InputError` where these or the names of columns
    differ, and without any experiment.
    """
    if other := [type(e).__name__ for e in experiments if not isinstance(e, Experiment)]:
        raise InputError(
            f"Got {other[0]} where an experiment was wanted. Give `Experiment(u, y)`; several are"
            " several arguments, of a list `*experiments`."
        )
    sizes = {(e.u.shape[1], e.y.shape[1]) for e in experiments}
    if not sizes:
        raise InputError(
            "There is nothing to train on; wanted at least one experiment. Give `Experiment(u, y)`."
        )
    if len(sizes) > 1:
        raise InputError(
            f"The experiments have (inputs, outputs) {sorted(sizes)}; wanted the same for all."
        )
    require_same_names([e.names for e in experiments])
    return sizes.pop()


def join_rows(experiments: Collection[Experiment]) -> tuple[Array, Array]:
    """u and y of all experiments, one after the other."""
    return np.concatenate([e.u for e in experiments]), np.concatenate([e.y for e in experiments])


def normalise_weights(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The experiments with weights whose mean over all of them is 1 where they are above 0, so that
    only their ratios act; `InputError` where no value counts, and as in `count_columns`.
    """
    count_columns(experiments)
    weights = np.concatenate([e.error_weights.ravel() for e in experiments])
    if not any(np.isfinite(e.y).any() for e in experiments):
        raise InputError("No value of y is observed. Choose rows in which y is measured.")
    if not weights.any():
        raise InputError("No value of y counts: every weight is 0. Give some a weight above 0.")
    mean = float(weights.sum()) / np.count_nonzero(weights)
    return [e.with_arrays(weight=e.error_weights / mean) for e in experiments]


def describe_cautions(
    experiments: Sequence[Experiment],
    n_weights: int,
    *,
    has_delay_0: bool = True,
    cure: str = "a longer record would show more",
) -> list[str]:
    """Cautions about the rows that a model of `n_weights` weights is trained on, a sentence each.

    `has_delay_0`: whether it sees u[t] where it forecasts y[t]; `cure`: advice where there are too
    few rows.
    """
    u, y = join_rows(experiments)
    n_values = sum(int(np.count_nonzero(e.error_weights)) for e in experiments)
    cautions = [
        f"Input {column} is constant in the rows that train: nothing is learnt of it."
        for column in np.flatnonzero(np.ptp(u, axis=0) == 0)
    ]
    cautions += [
        f"Input {column} has {count} levels in the rows that train: y between them is a guess."
        for column, count in enumerate(len(np.unique(values)) for values in u.T)
        if 1 < count < FEW_LEVELS
    ]
    cautions += [
        f"Output {output} is a straight line of input {column} in every row: if that is the output"
        " measured again, the model only copies it."
        for output in range(y.shape[1])
        for column in range(u.shape[1] if has_delay_0 else 0)
        if _is_straight_line(u[:, column], y[:, output])
    ]
    if n_values < n_weights:
        cautions.append(f"{n_values} values of y train {n_weights} weights: {cure}.")
    return cautions


def _is_straight_line(u: Array, y: Array) -> bool:
    """Whether the output (T,), where observed, is a linear function of the input (T,) but for
    rounding.
    """
    is_known = np.isfinite(y)
    known_u, known_y = u[is_known], y[is_known]
    if len(known_y) < 3 or np.ptp(known_u) == 0 or np.ptp(known_y) == 0:
        return False
    return bool(abs(np.corrcoef(known_u, known_y)[0, 1]) > 1 - ROUNDED)


@dataclass(frozen=True, eq=False)
class Standardization:
    """The mean and deviation of every input (I,) and output (O,); a constant input has the
    deviation `CONSTANT_SCALE`, so that it never acts.
    """

    u_mean: Array
    u_scale: Array
    y_mean: Array
    y_scale: Array

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal; a dataclass would compare arrays as a whole."""
        return isinstance(other, Standardization) and all(
            np.array_equal(value, vars(other)[name]) for name, value in vars(self).items()
        )

    @classmethod
    def fit(cls, experiments: Sequence[Experiment]) -> Standardization:
        """The scaling by the rows of all experiments; `InputError` for an output that is constant
        or never observed.
        """
        u, y = join_rows(experiments)
        if not np.isfinite(y).any(axis=0).all():
            raise InputError(
                "A column of y has no observed value among the rows that train. Divide them"
                " otherwise."
            )
        for column in np.flatnonzero(np.nanmax(y, axis=0) == np.nanmin(y, axis=0)):
            raise InputError(
                f"Output {column} is constant in the rows that train: there is nothing to identify."
                " Take rows in which it moves, or leave it out."
            )
        # rounding gives a constant a deviation, too
        u_scale = np.where(np.ptp(u, axis=0) > 0, u.std(axis=0), CONSTANT_SCALE)
        return cls(u.mean(axis=0), u_scale, np.nanmean(y, axis=0), np.nanstd(y, axis=0))

    def scale_u(self, u: Array | float) -> Array:
        """u (T, I) in standard deviations from the mean."""
        return (u - self.u_mean) / self.u_scale

    def scale_y(self, y: Array | float) -> Array:
        """y (..., O) in standard deviations from the mean."""
        return (y - self.y_mean) / self.y_scale

    def unscale_y(self, y: Array) -> Array:
        """The inverse of `scale_y`."""
        return y * self.y_scale + self.y_mean

    def scale(self, experiment: Experiment) -> Experiment:
        """The experiment with u and y in standard deviations from the mean."""
        return experiment.with_arrays(u=self.scale_u(experiment.u), y=self.scale_y(experiment.y))


def saturation(
    experiments: Sequence[Experiment], margin: float = BOUND_MARGIN
) -> tuple[Array, Array]:
    """Bounds low (O,) and high (O,) of y: an extreme of the data that the output sits on, else
    `margin` ranges beyond the data, which only keeps a diverging free run finite.
    """
    _, y = join_rows(experiments)
    least = np.nanmin(y, axis=0)
    most = np.nanmax(y, axis=0)
    span = most - least
    low_end = least + AT_BOUND * span
    high_end = most - AT_BOUND * span
    low = np.where(_is_bound([e.y <= low_end for e in experiments]), low_end, least - margin * span)
    high = np.where(
        _is_bound([e.y >= high_end for e in experiments]), high_end, most + margin * span
    )
    return low, high


def _is_bound(at_extreme: list[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """(O,): whether an output sits on its extreme; `at_extreme`: the rows (T, O) of each experiment
    that are there.

    The first and last row of a stay do not count, since a free output, too, stays for some rows at
    the top of a smooth swing: 10 of 1,000 rows on a bound make one if they are inside of longer
    stays.
    """
    is_inside = [rows[:-2] & rows[1:-1] & rows[2:] for rows in at_extreme]
    all_rows = np.concatenate(at_extreme)
    n_inside = np.concatenate(is_inside).sum(axis=0)
    return (n_inside >= BOUND_SHARE * len(all_rows)) & ~all_rows.all(axis=0)


def delay_inputs(u: Array, lags: Sequence[int] | npt.NDArray[np.int64]) -> Array:
    """u (T, I) with column i delayed by lags[i] rows; before the first row u is as there."""
    columns = np.arange(u.shape[1])
    rows = np.arange(len(u))[:, None] - np.asarray(lags, np.int64)
    return u[np.maximum(rows, 0), columns]


def following_rows(table: Array, steps: int) -> Array:
    """(T - steps, steps, columns): in row t the next `steps` rows of the table (T, columns)."""
    return sliding_window_view(table[1:], steps, axis=0).swapaxes(1, 2)


def step_inputs(u: Array, rows: int) -> Array:
    """(rows, I): random steps of 25 rows between the extremes of u (T, I)."""
    rng = np.random.default_rng(0)  # fixed: the same inputs for every net
    levels = rng.uniform(u.min(axis=0), u.max(axis=0), size=(rows // 25 + 1, u.shape[1]))
    return np.repeat(levels, 25, axis=0)[:rows]


def enlarge_inputs(u: Array, factor: float) -> Array:
    """u (T, I) at `factor` times its distance from its mean."""
    middle = u.mean(axis=0)
    return middle + factor * (u - middle)


def split_fold(
    experiments: list[Experiment], fold: int, folds: int, start: int
) -> tuple[list[Experiment], list[Experiment]]:
    """(train, held out): all experiments with all rows. y is set missing in the first in block
    `fold` of every experiment, in the second everywhere else, except for the `start` rows that a
    free run begins with. Of as many experiments as folds, or more, a block is whole experiments.
    """
    train: list[Experiment] = []
    held_out: list[Experiment] = []
    for number, experiment in enumerate(experiments):
        rows = np.arange(len(experiment))
        is_free = rows >= start
        block = np.full(len(rows), number % folds)
        if len(experiments) < folds:
            # counted in observed rows: a block in a long gap would judge nothing
            observed = np.cumsum(is_free & np.isfinite(experiment.y).any(axis=1))
            block = (observed - 1) * folds // observed[-1]
        for part, is_hidden in ((train, block == fold), (held_out, block != fold)):
            hidden_rows = (is_hidden & is_free)[:, None]
            part.append(experiment.with_arrays(y=np.where(hidden_rows, np.nan, experiment.y)))
    return train, held_out


def simulation_starts(experiment: Experiment, start: int) -> npt.NDArray[np.intp]:
    """The rows at which a free run can begin: y is measured in `start` rows from there."""
    is_missing = np.isnan(experiment.y).any(axis=1)
    missing_before = np.concatenate([[0], np.cumsum(is_missing)])
    return np.flatnonzero(missing_before[start:] == missing_before[: len(missing_before) - start])


def begin_where_measured(experiments: Iterable[Experiment], start: int) -> list[Experiment]:
    """The experiments, each from the first row at which a free run can begin; without experiments
    that have none.
    """
    firsts = [(e, simulation_starts(e, start)[:1]) for e in experiments]
    return [e.part(slice(int(first[0]), None)) for e, first in firsts if len(first)]
