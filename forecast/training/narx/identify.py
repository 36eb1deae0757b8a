"""System identification with NARX nets: from records to a free-running model, everything chosen on the given records.

1. Scale on the records; find outputs that sit on a bound (a full tank, a stop), the dead time of every input and how
   far back the inputs matter.
2. Cut every record into blocks. Each fold holds one block out (of five records or more, whole records): several delay
   orders and random starts are trained one step ahead, then on their own free run; the free-run error on what is held
   out halves the field round by round.
3. The winners of every fold are trained on all records with Bayesian regularisation (no rows left to stop on).
4. Nets that leave the bounds under bounded inputs they have not seen are dropped; where most do, the system does, and
   only those that leave them under a record run backwards.
5. The model is the median of the free runs of the nets that remain: one net that goes astray moves it little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from forecast.system.errors import InputError, ModelFailure
from forecast.training import levenberg_marquardt as lm
from forecast.training.narx.narx import Narx, Record
from forecast.training.narx.narx_problems import ClosedLoop, OpenLoop
from forecast.training.narx.narx_signals import Scaling, dead_times, delayed, memory, saturation, unseen_inputs

Array = npt.NDArray[np.float64]

Order = tuple[int, int, int, int]
"""y delays, first u delay, u delays, hidden units."""

SHORT: tuple[Order, ...] = ((2, 0, 3, 6), (3, 0, 4, 6), (3, 1, 3, 8), (5, 0, 6, 6))
# The largest first, for very long records leave time for few starts.
LONG: tuple[Order, ...] = ((5, 0, 10, 10), (5, 0, 6, 6), (3, 0, 4, 6), (2, 0, 3, 6))
LONG_ROWS = 5_000  # of all records together: enough for the largest order's 186 weights with one input and output

ROW_ITERATIONS = 50_000_000  # closed-loop iterations times rows, over all folds: longer records get fewer starts


@dataclass(frozen=True)
class Settings:
    """`orders`: tried in turn by the starts of a fold; empty: `SHORT` or `LONG`, by the rows of the records, their
    inputs taken further back where the records ask for it.

    `rounds`: (closed-loop iterations, how many go on) of the successive halving.
    """

    start: int = 5
    folds: int = 5
    starts: int = 6
    orders: tuple[Order, ...] = ()
    open_iterations: int = 30
    rounds: tuple[tuple[int, int], ...] = ((10, 3), (20, 2), (40, 2))
    refit_iterations: int = 25


@dataclass(frozen=True)
class Member:
    """One net of the ensemble and its free-run RMSE on its held-out block, in the units of y (mean over outputs)."""

    net: Narx
    weights: Array
    held_out_rmse: float


@dataclass(frozen=True)
class Identified:
    """The model: `simulate` is its free run. `dropped`: nets refused as unstable; `stable` False: none passed."""

    members: tuple[Member, ...]
    scaling: Scaling
    lags: tuple[int, ...]
    start: int
    dropped: int = 0
    stable: bool = True
    notes: tuple[str, ...] = field(default=())

    def simulate(self, u: Array, y_start: Array) -> Array:
        """(T, O) in the units of y under u (T, I): the first rows repeat y_start (start, O), the rest is free run."""
        if len(y_start) < self.start or len(u) < len(y_start):
            raise InputError(
                f"The free run needs the first {self.start} measured rows of y and u for every row; got "
                f"{len(y_start)} rows of y and {len(u)} of u."
            )
        z = delayed(self.scaling.scale_u(u), self.lags)
        begin = self.scaling.scale_y(y_start)
        runs = [member.net.bounded(member.net.free_run(member.weights, z, begin)) for member in self.members]
        run = self.scaling.unscale_y(np.median(runs, axis=0))
        run[: len(y_start)] = y_start
        return run


def identify(
    records: Sequence[Record],
    *,
    seed: int,
    settings: Settings | None = None,
    announce: Callable[[str], None] | None = None,
) -> Identified:
    """Fit on the records, in raw units; y may have gaps, u none. `start` of the settings replaces that of the records.

    `announce` receives the predicted memory and time before the work starts. `ModelFailure` when no net follows any
    held-out block.
    """
    settings = settings or Settings()
    _check(records, settings)
    scaling = Scaling.fit(records)
    scaled = [part for r in records for part in _part(_scaled(r, scaling, settings.start), 0, len(r.u))]
    with threadpool_limits(1):  # as in every training: narrow matrices
        lags = dead_times(scaled)
        scaled = [replace(record, u=delayed(record.u, lags)) for record in scaled]
        settings = _affordable(settings, scaled)
    low, high = saturation(scaled)
    search = _Search(scaled, settings, low, high, np.random.default_rng(seed))
    if announce is not None:
        announce(
            f"System identification with {settings.folds} folds of {settings.starts} starts: {search.estimate()}."
        )
    winners = [member for fold in range(settings.folds) for member in search.fold(fold)]
    if not winners:
        raise ModelFailure("No NARX net follows any held-out block in free run; the records may need other inputs.")
    members = [search.refit(member) for member in winners]
    tried = list(unseen_inputs(scaled))
    kept = [member for member in members if _stays_within(member, scaled, tried)]
    if 2 * len(kept) < len(members):  # it is the system that leaves them: the record backwards has to do
        kept = [member for member in members if _stays_within(member, scaled, tried[:1])]
    size = float(np.mean(scaling.y_scale))
    chosen = tuple(replace(m, held_out_rmse=m.held_out_rmse * size) for m in kept or members)
    return Identified(chosen, scaling, lags, settings.start, len(members) - len(chosen), bool(kept))


class _Search:
    """The folds of one identification; every random number comes from one generator, in a fixed order."""

    def __init__(
        self, records: list[Record], settings: Settings, low: Array, high: Array, rng: np.random.Generator
    ) -> None:
        self.records, self.settings, self.rng = records, settings, rng
        self.low, self.high = tuple(map(float, low)), tuple(map(float, high))

    def net(self, number: int) -> Narx:
        order = self.settings.orders[number % len(self.settings.orders)]
        net = _net(order, self.settings, self.records[0].u.shape[1], self.records[0].y.shape[1])
        return replace(net, low=self.low, high=self.high)

    def estimate(self) -> lm.Estimate:
        """Peak memory and time of the whole search, from its largest net."""
        settings = self.settings
        nets = [self.net(number) for number in range(len(settings.orders))]
        largest = max(nets, key=lambda net: net.n_weights)
        one = lm.estimate(ClosedLoop(largest, self.records), lm.Options(max_iterations=1))
        return lm.Estimate(one.bytes, one.seconds * _iterations(settings))

    def fold(self, number: int) -> list[Member]:
        """The nets that follow the held-out block best."""
        train, held_out = _cut(self.records, number, self.settings.folds, self.settings.start)
        field_: list[tuple[float, Narx, Array]] = []
        for start in range(self.settings.starts):
            net = self.net(start)
            options = lm.Options(max_iterations=self.settings.open_iterations)
            weights = lm.minimise(OpenLoop(net, train, held_out), initial(net, self.rng), options).weights
            field_.append((np.inf, net, weights))
        for iterations, keep in self.settings.rounds:
            field_ = sorted((_closed(net, w, train, held_out, iterations) for _, net, w in field_), key=lambda f: f[0])
            field_ = [entry for entry in field_ if np.isfinite(entry[0])][:keep]
        return [Member(net, weights, float(np.sqrt(score))) for score, net, weights in field_]

    def refit(self, member: Member) -> Member:
        """The same net, on from its weights over all records, the weight decay set by the evidence."""
        options = lm.Options(max_iterations=self.settings.refit_iterations, bayesian=True)
        try:
            found = lm.minimise(ClosedLoop(member.net, self.records), member.weights, options)
        except ModelFailure:  # it diverges on a block it has not seen: it stays as the fold left it
            return member
        return replace(member, weights=found.weights)


def _net(order: Order, settings: Settings, inputs: int, outputs: int) -> Narx:
    y_order, first, width, hidden = order
    y_delays = tuple(range(1, min(y_order, settings.start) + 1))
    return Narx(inputs, outputs, y_delays, tuple(range(first, first + width)), hidden)


def initial(net: Narx, rng: np.random.Generator) -> Array:
    """Random hidden units over inputs of about unit size, a small read-out, no linear path yet."""
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    b1 = rng.uniform(-1.0, 1.0, size=net.hidden)
    w2 = 0.1 * rng.normal(size=net.outputs * net.hidden)
    return np.concatenate([w1, b1, w2, np.zeros(net.n_weights - len(w1) - len(b1) - len(w2))])


def _closed(
    net: Narx, weights: Array, train: list[Record], held_out: list[Record], iterations: int
) -> tuple[float, Narx, Array]:
    options = lm.Options(max_iterations=iterations, patience=max(iterations, 30))
    try:
        found = lm.minimise(ClosedLoop(net, train, held_out), weights, options)
    except ModelFailure:
        return np.inf, net, weights
    return found.score, net, found.weights


def _cut(records: list[Record], number: int, folds: int, start: int) -> tuple[list[Record], list[Record]]:
    """Block `number` of every record held out; what lies before and after it are records of their own.

    Where there is a record for every fold, whole records are held out instead.
    """
    if len(records) >= folds:
        return [r for k, r in enumerate(records) if k % folds != number], records[number::folds]
    train, held_out = [], []
    for record in records:
        edges = np.linspace(0, len(record.u), folds + 1).astype(int)
        left, right = edges[number], edges[number + 1]
        held_out += _part(record, left, right)
        train += _part(record, 0, left) + _part(record, right, len(record.u))
    if not train or not held_out:
        raise InputError(
            f"Fold {number + 1} of {folds} finds no stretch with y observed in {start} rows to start from."
        )
    return train, held_out


def _part(record: Record, first: int, last: int) -> list[Record]:
    """Rows [first, last) from the first place where a free run can start; nothing when too little is left."""
    missing = np.isnan(record.y[first:last]).any(axis=1).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(missing)])
    starts = np.flatnonzero(before[record.start :] == before[: -record.start])
    if not len(starts) or last - first - starts[0] <= 3 * record.start:
        return []
    first += int(starts[0])
    weight = None if record.weight is None else record.weight[first:last]
    return [Record(record.u[first:last], record.y[first:last], record.start, weight)]


def _scaled(record: Record, scaling: Scaling, start: int) -> Record:
    return Record(scaling.scale_u(record.u), scaling.scale_y(record.y), start, record.weight)


def _stays_within(member: Member, records: list[Record], inputs: Sequence[Array]) -> bool:
    """Whether the free run never reaches the outer bounds under bounded inputs that the net has not seen."""
    net = member.net
    low, high = np.array(net.low), np.array(net.high)
    y = np.concatenate([record.y for record in records])
    safety = (np.nanmax(y, axis=0) < high) & (np.nanmin(y, axis=0) > low)  # bounds no record has ever reached
    for u in inputs:
        v = net.free_run(member.weights, u, records[0].y[: records[0].start])
        left = (v < low) | (v > high)
        if not np.isfinite(v).all() or left[:, safety].any():
            return False
    return True


def _iterations(settings: Settings) -> int:
    survivors = [settings.starts, *(keep for _, keep in settings.rounds)]
    searched = sum(count * iterations for count, (iterations, _) in zip(survivors, settings.rounds, strict=False))
    opened = settings.starts * settings.open_iterations // 3  # one step ahead costs about a third of a free run
    return settings.folds * (opened + searched + survivors[-1] * settings.refit_iterations)


def _affordable(settings: Settings, records: list[Record]) -> Settings:
    """Without the orders too large for Levenberg-Marquardt; fewer folds, then fewer starts, where records are long."""
    rows = sum(len(record.u) for record in records)
    settings = replace(settings, orders=settings.orders or _orders(LONG if rows >= LONG_ROWS else SHORT, records))
    inputs, outputs = records[0].u.shape[1], records[0].y.shape[1]
    small = [order for order in settings.orders if _net(order, settings, inputs, outputs).n_weights <= lm.MAX_WEIGHTS]
    settings = replace(settings, orders=tuple(small) or settings.orders)  # none: the trainer says what is too large
    while _iterations(settings) * rows > ROW_ITERATIONS and settings.folds > 2:
        settings = replace(settings, folds=settings.folds - 1)
    while _iterations(settings) * rows > ROW_ITERATIONS and settings.starts > 2:
        settings = replace(settings, starts=settings.starts - 1)
    return settings


def _orders(orders: tuple[Order, ...], records: list[Record]) -> tuple[Order, ...]:
    """As they are, or all with the memory of the records where that is longer than any of theirs."""
    taps = memory(records)
    if taps <= max(first + width for _, first, width, _ in orders):
        return orders
    return tuple((feedback, first, taps - first, hidden) for feedback, first, _, hidden in orders)


def _check(records: Sequence[Record], settings: Settings) -> None:
    blocks = 1 if len(records) >= settings.folds else settings.folds
    need = blocks * 4 * settings.start
    for number, record in enumerate(records):
        if len(record.u) != len(record.y) or len(record.u) < need:
            raise InputError(
                f"Record {number} has {len(record.u)} rows of u and {len(record.y)} of y; {settings.folds} folds that "
                f"start from {settings.start} measured rows need {need} of both. Use fewer folds or a longer record."
            )
        if not np.isfinite(record.y).any(axis=0).all():
            raise InputError(f"Record {number}: an output has no observed value at all. Leave it out.")
        if not np.isfinite(record.u).all():
            raise InputError(f"Record {number}: u has missing values. Fill them before; only y may have gaps.")
    if not records:
        raise InputError("System identification needs at least one record with u (T, I) and y (T, O).")
