"""The settings of the search of `identify`, and how they are fitted to a record.

`SearchSettings` has the numbers that a user may change, with the `Candidate`s. `limit_folds`,
`limit_rows`, `limit_iterations` and `cut_to_measured` fit a search to the rows there are, before it
begins; they refuse experiments that are too short or differ in their columns.

A new kind of candidate needs a name in `Kind`, a sentence in `Candidate`, rows of `CANDIDATES`, and
a branch where `.kind` is asked for in `search` and `search_training`. A new term of the model's
equation belongs to `narx.Narx`, `nets.Net`, `export` and docs/identification.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from forecast.identification.delays import LONGEST_DEAD_TIME
from forecast.identification.experiment import (
    Experiment,
    begin_where_measured,
    count_columns,
    join_rows,
    require_whole,
    simulation_starts,
)
from forecast.system.errors import InputError

Kind = Literal["delays", "states", "linear states", "one signal", "polynomial", "arx"]


@dataclass(frozen=True)
class Candidate:
    """A model that the search trains in every fold, with `hidden` tanh units. By kind:

    "delays": a net on delays of y and u; `order`: the most delays of y.
    "polynomial": a sum of products of delayed y and u; `order`: the most delays of y.
    "arx": a linear model on delays, fitted one step ahead and never on its free run; `order`: the
    most delays of y, and the most of u.
    "states": a net on y, u and states of its own, begun as a linear model (`states`); `order`: of
    that model, lower where several outputs would make many states.
    "linear states": the linear model of "states" alone.
    "one signal": as "states", its tanh units all see one signal (`states.OneSignal`).
    """

    kind: Kind
    order: int
    hidden: int = 0

    def __post_init__(self) -> None:
        """Raises `InputError` for an unknown kind and for sizes that are no whole numbers."""
        if self.kind not in get_args(Kind):
            raise InputError(
                f"There is no candidate of kind {self.kind!r}; wanted one of {get_args(Kind)}."
            )
        require_whole(1, order=self.order)
        require_whole(0, hidden=self.hidden)


CANDIDATES = (
    Candidate("linear states", 6),
    Candidate("states", 2, 4),
    Candidate("states", 3, 6),
    Candidate("states", 2, 8),
    Candidate("polynomial", 3),
    Candidate("arx", 8),
    Candidate("one signal", 4, 6),
    Candidate("delays", 4, 8),
)

AHEAD_CANDIDATES = (
    Candidate("delays", 20),
    Candidate("delays", 40),
    Candidate("delays", 3, 4),
    Candidate("delays", 10, 6),
    Candidate("delays", 20, 6),
    Candidate("delays", 40, 4),
    Candidate("polynomial", 3),
    Candidate("polynomial", 6),
)

SEARCH_ROWS = 8_000  # searched of a longer record; all rows train what was chosen
REFIT_ROW_ITERATIONS = 1_000_000  # rows times iterations of the last training of each model


@dataclass(frozen=True)
class SearchSettings:
    """How large the search of `identify` is.

    `start`: measured rows that a free run begins with in the search, the same for every candidate,
    so that errors compare; 1 where y is never observed in as many rows in succession.
    `most_start`: the same in the result where its nets have states, which settle in these rows
    (fewer where y has gaps); counted in means where these are searched (`averaging`).
    `folds`: at most; fewer where a block would be shorter than eight times `start`, and two instead
    of the default for several outputs and more than `SEARCH_ROWS` rows.
    `ahead_candidates`: of kinds "delays" and "polynomial", tried on series without inputs alone,
    fitted one step ahead and judged by forecasts of several steps; () for none.
    `fold_iterations`: of each training in a fold.
    `refit_iterations`: of the training on all searched rows, and of the last training on all rows;
    where both are the same rows, models from before and after the last training stay.
    `longest_dead_time`: of an input, in rows (1: u acts on the next y).
    """

    start: int = 5
    most_start: int = 20
    folds: int = 5
    candidates: tuple[Candidate, ...] = CANDIDATES
    ahead_candidates: tuple[Candidate, ...] = AHEAD_CANDIDATES
    fold_iterations: int = 20
    refit_iterations: tuple[int, int] = (25, 50)
    longest_dead_time: int = LONGEST_DEAD_TIME

    def __post_init__(self) -> None:
        """Raises `InputError` for settings of the wrong kind or size."""
        kinds = {type(candidate) for candidate in (*self.candidates, *self.ahead_candidates)}
        if kinds - {Candidate} or np.shape(self.refit_iterations) != (2,):
            raise InputError(
                f"`candidates` is {self.candidates!r}, `refit_iterations` is"
                f" {self.refit_iterations!r}; wanted a tuple of `Candidate`s, and two numbers."
            )
        if others := {c.kind for c in self.ahead_candidates} - {"delays", "polynomial"}:
            raise InputError(
                f"`ahead_candidates` has {sorted(others)}; wanted 'delays' and 'polynomial', which"
                " are fitted one step ahead. Give the others as `candidates`."
            )
        require_whole(
            1, start=self.start, most_start=self.most_start, candidates=len(self.candidates)
        )
        require_whole(2, folds=self.folds)
        require_whole(
            0, fold_iterations=self.fold_iterations, longest_dead_time=self.longest_dead_time
        )
        for iterations in self.refit_iterations:
            require_whole(0, refit_iterations=iterations)


def limit_folds(settings: SearchSettings, experiments: Sequence[Experiment]) -> SearchSettings:
    """The settings with fewer folds where blocks would be too short to judge a free run, unless
    there are as many experiments as folds, which are held out whole; with two folds instead of
    the default number for long records of several outputs, whose training is slow.

    `InputError` for experiments that differ in their columns, for one that is too short, which
    names settings that would do, and for inputs of which none moves.
    """
    if not isinstance(settings, SearchSettings):
        raise InputError(f"`settings` is {settings!r}; wanted `SearchSettings(...)`.")
    _, outputs = count_columns(experiments)
    is_slow = outputs > 1 and sum(map(len, experiments)) > SEARCH_ROWS
    if is_slow and settings.folds == SearchSettings.folds:
        settings = replace(settings, folds=2)
    shortest = min(map(len, experiments))
    if len(experiments) < settings.folds:
        most = shortest // (8 * settings.start)
        settings = replace(settings, folds=max(2, min(settings.folds, most)))
    blocks = 1 if len(experiments) >= settings.folds else settings.folds
    needed = 4 * blocks * settings.start
    if shortest < needed:
        raise InputError(
            f"An experiment has {shortest} rows; {settings.folds} folds that start from"
            f" {settings.start} measured rows need {needed}. Give a longer experiment, or"
            f" `SearchSettings(start={shortest // (4 * blocks)})` if that is above 0."
        )
    u, _ = join_rows(experiments)
    if u.size and not np.ptp(u, axis=0).any():
        raise InputError(
            "No input ever moves: nothing can be learnt of what it does. Give a record in which it"
            " does, or y alone, `Experiment(None, y)`."
        )
    return settings


def limit_rows(experiments: Sequence[Experiment], start: int) -> list[Experiment]:
    """The rows to search, `SEARCH_ROWS` of all experiments together at most: of a long experiment
    the stretch in which y moves most, among those that begin with `start` measured rows, as a free
    run does.
    """
    most = SEARCH_ROWS // len(experiments)
    parts = []
    for experiment in experiments:
        starts = simulation_starts(experiment, start)
        firsts = [0, *starts[starts <= len(experiment) - most][::most]]
        stretches = [experiment.part(slice(first, first + most)) for first in firsts]
        parts.append(max(stretches, key=lambda part: np.nan_to_num(part.y).std(axis=0).min()))
    return parts


def cut_to_measured(experiments: Sequence[Experiment], start: int) -> tuple[list[Experiment], int]:
    """The experiments, each from the first row where a free run can begin, and the measured rows
    that it begins with: `start`, or 1 where y is never observed in as many rows in succession.
    `InputError` where too few rows are left.
    """
    for rows in (start, 1):
        begun = begin_where_measured(experiments, rows)
        parts = [part for part in begun if np.isfinite(part.y).any(axis=1).sum() > 3 * rows]
        if parts:
            return parts, rows
    raise InputError(
        "No record has y observed in more than 3 rows after the first; wanted more. Give a longer"
        " record."
    )


def limit_iterations(experiments: Sequence[Experiment], iterations: int) -> int:
    """`iterations`, or fewer for many rows: three, or what `REFIT_ROW_ITERATIONS` allows."""
    return min(iterations, max(REFIT_ROW_ITERATIONS // sum(map(len, experiments)), 3))
