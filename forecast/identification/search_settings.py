"""What the search for a NARX model is given, and how large it may be for so many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forecast.identification.experiment import Experiment, count_columns, input_memory
from forecast.identification.narx import Narx
from forecast.system.errors import InputError
from forecast.training import levenberg_marquardt as lm

Order = tuple[int, int, int, int]
"""y delays, first u delay, u delays, hidden units."""

SHORT: tuple[Order, ...] = ((2, 0, 3, 6), (3, 0, 4, 6), (3, 1, 3, 8), (5, 0, 6, 6))
# Half of them linear: some hundred rows determine few weights, and the held-out blocks say whether
# they are enough.
BRIEF: tuple[Order, ...] = ((3, 0, 6, 0), (3, 0, 4, 4), (2, 2, 4, 0), (2, 0, 3, 6))
BRIEF_ROWS = 250
# The largest first, for very long experiments leave time for few starts.
LONG: tuple[Order, ...] = ((5, 0, 10, 10), (5, 0, 6, 6), (3, 0, 4, 6), (2, 0, 3, 6))
# of all experiments together: enough for the largest order's 186 weights with one input and output
LONG_ROWS = 5_000

StateOrder = tuple[int, int]
"""Order of the linear model that the states begin as, hidden units."""

# Without hidden units it is the ARX model, trained on its free run.
STATES: tuple[StateOrder, ...] = ((3, 0), (2, 4), (2, 8), (3, 6), (4, 6))
BRIEF_STATES: tuple[StateOrder, ...] = ((2, 0), (3, 0), (2, 4))
INTEGRATING: tuple[StateOrder, ...] = ((4, 4), (4, 4))
BRIEF_INTEGRATING: tuple[StateOrder, ...] = ((3, 0), (2, 4))
"""The same of the nets whose state drives the increments of y."""

# closed-loop iterations times rows, over all folds: longer experiments get fewer starts
ROW_ITERATIONS = 50_000_000
# An iteration of three outputs costs about twenty times that of one: it counts as the square of the
# outputs.


@dataclass(frozen=True)
class SearchSettings:
    """How large the search of `identify` is.

    `start`: rows of each experiment that only fill the delays, the same for every order, so that
    errors compare. `folds`: at most; fewer where a block would be shorter than eight times `start`.
    `starts`: random starts of nets on delays in a fold. `orders`: tried by these in turn; empty:
    `BRIEF`, `SHORT` or `LONG`, by the rows of the experiments, with as many input delays as
    `input_memory` finds where that is more. `coordinates`: of the past outputs, tried by these in
    turn (`identification.coordinates`). `states`: orders of the nets with a state of their own
    (`identification.states`), a start each; None: by the rows. `integrating`: of those that see the
    increments of y alone. `treatments`: of the record, tried beside it as it is
    (`identification.treatments`); None: all, where it is oversampled. `open_iterations`: of the
    one-step fit that nets on delays begin from. `rounds`: (iterations, how many of a family go on)
    of the halving. `refit_iterations`: then, thrice for the better.
    """

    start: int = 5
    folds: int = 5
    starts: int = 2
    orders: tuple[Order, ...] = ()
    open_iterations: int = 30
    rounds: tuple[tuple[int, int], ...] = ((10, 3), (20, 3), (30, 3))
    refit_iterations: int = 15
    coordinates: tuple[str, ...] = ("level", "differences", "increments")
    states: tuple[StateOrder, ...] | None = None
    integrating: tuple[StateOrder, ...] = INTEGRATING
    treatments: tuple[str, ...] | None = None


def delay_net(order: Order, settings: SearchSettings, experiment: Experiment) -> Narx:
    """A net on delays, of an order, without bounds and dead times."""
    y_order, first, width, hidden = order
    inputs, outputs = count_columns([experiment])
    y_delays = tuple(range(1, min(y_order, settings.start) + 1))
    u_delays = tuple(range(first, first + width)) if inputs else ()
    return Narx(inputs, outputs, y_delays, u_delays, hidden)


def count_iterations(settings: SearchSettings) -> int:
    """Of Levenberg-Marquardt in all folds, where one family is enough."""
    members = settings.starts + len((*(settings.states or ()), *settings.integrating))
    # one step ahead costs about a third of a free run
    iterations = settings.starts * settings.open_iterations // 3
    for round_iterations, survivors in settings.rounds:
        iterations += members * round_iterations
        members = survivors
    return settings.folds * (iterations + 2 * members * settings.refit_iterations)


def limit_work(settings: SearchSettings, experiments: list[Experiment]) -> SearchSettings:
    """With orders and states by the rows of the experiments where none are given, and without the
    orders too large for Levenberg-Marquardt; fewer folds, then fewer states, for many rows.
    """
    rows = sum(map(len, experiments))
    is_brief = rows < BRIEF_ROWS
    orders = settings.orders or _choose_orders(experiments)
    trainable = [
        order
        for order in orders
        if delay_net(order, settings, experiments[0]).n_weights <= lm.MAX_WEIGHTS
    ]
    states = settings.states
    if states is None:
        states = BRIEF_STATES if is_brief else STATES
    integrating = settings.integrating
    if is_brief and integrating == INTEGRATING:
        integrating = BRIEF_INTEGRATING
    settings = replace(
        settings,
        orders=tuple(trainable) or orders,  # none: the trainer says what is too large
        states=states,
        integrating=integrating,
    )
    work = rows * experiments[0].y.shape[1] ** 2
    while count_iterations(settings) * work > ROW_ITERATIONS and settings.folds > 2:
        settings = replace(settings, folds=settings.folds - 1)
    while count_iterations(settings) * work > ROW_ITERATIONS and len(states) > 2:
        states = states[:-1]
        settings = replace(settings, states=states)
    return settings


def limit_folds(settings: SearchSettings, experiments: Sequence[Experiment]) -> SearchSettings:
    """With no more folds than leave blocks long enough to judge a free run by; whole experiments
    stay whole. Raises `InputError` for fewer than two.
    """
    if settings.folds < 2:
        raise InputError(
            f"SearchSettings: folds is {settings.folds}; wanted 2 at least: one is held out."
        )
    if not experiments or len(experiments) >= settings.folds:
        return settings
    most = min(map(len, experiments)) // (8 * settings.start)
    return replace(settings, folds=max(2, min(settings.folds, most)))


def _choose_orders(experiments: list[Experiment]) -> tuple[Order, ...]:
    """By the rows, what they can tell apart; all with as many input delays as `input_memory` finds
    where that is more than any has.
    """
    rows = sum(map(len, experiments))
    orders = LONG if rows >= LONG_ROWS else SHORT
    if rows < BRIEF_ROWS:
        orders = BRIEF
    delays = input_memory(experiments)
    if delays <= max(first + width for _, first, width, _ in orders):
        return orders
    return tuple((y_order, first, delays - first, hidden) for y_order, first, _, hidden in orders)


def check_experiments(experiments: Sequence[Experiment], settings: SearchSettings) -> None:
    """`InputError` where the experiments differ in their columns, or one is too short for its
    folds.
    """
    count_columns(experiments)
    blocks = 1 if len(experiments) >= settings.folds else settings.folds
    needed = blocks * 4 * settings.start
    for number, experiment in enumerate(experiments):
        if len(experiment) < needed:
            raise InputError(
                f"Experiment {number} has {len(experiment)} rows; {settings.folds} folds that start"
                f" from {settings.start} measured rows need {needed}. Use fewer folds or a longer"
                " experiment."
            )
