"""Automatic identification of a NARX model: everything is chosen on the given experiments.

1. Standardize; find outputs that saturate, the dead time of every input and how far back the inputs act.
2. Cut every experiment into blocks. Each fold holds one block out (of five experiments or more, whole ones): models of
   four families (linear ones trained on their free run, nets on delays of y, nets with a state of their own, nets with
   a state that drives the increments of y) and several orders are trained from random starts on their own free run,
   with Bayesian regularisation (MacKay 1992); successive halving by the held-out free-run error (Jamieson & Talwalkar
   2016) keeps the best of every family, and a family that is clearly worse over all folds so far is given up: one
   block is too short to tell, where a system integrates above all. In the end those families are taken whose nets
   together follow the blocks best, or a linear model alone where that is not clearly worse.
3. The survivors of every fold are trained on all experiments, the better half of a family for longer. Those that do
   not follow them then are left out.
4. Nets that leave the bounds under bounded inputs they have not seen are dropped. Where half do, it is the system that
   leaves them, and only nets that leave them under a measured input run backwards are dropped.
5. The model is the trimmed mean of the free runs of the nets that remain: one that diverges moves it little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from forecast.system.errors import InputError, ModelFailure
from forecast.training import levenberg_marquardt as lm
from forecast.training.narx.experiment import Array, Experiment, Standardization, dead_times, delayed, unseen_inputs
from forecast.training.narx.search import Member, Search
from forecast.training.narx.search_settings import SearchSettings, affordable, check, folded

LOST = (1.1, 2.0)  # times the error of the best net over the whole record: it never found the system
LOST_ROWS = 250  # over the rows, added to 1, is the limit between them: few rows do not tell nets apart
FEWEST = 3  # nets, where as many are within the larger limit: their median bears one that is lost elsewhere


@dataclass(frozen=True)
class Identified:
    """What was found; `notes`: what was chosen."""

    members: tuple[Member, ...]
    scaling: Standardization
    start: int
    notes: tuple[str, ...] = ()


def identify(
    experiments: Sequence[Experiment],
    *,
    seed: int,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: lm.Watch | None = None,
) -> Identified:
    """Fit on the experiments, in raw units, y (T, O) with NaN where missing.

    `announce` receives the predicted memory and time before the work starts, and after every fold the families and
    the time that are left. With a `watch`, Ctrl-C ends the search and what was found until then is the result.
    `ModelFailure` when no net follows any held-out block.
    """
    settings = folded(settings or SearchSettings(), experiments)
    check(experiments, settings)
    scaling = Standardization.fit(experiments)
    for column in np.flatnonzero([np.nanmax(y) == np.nanmin(y) for y in np.concatenate([e.y for e in experiments]).T]):
        raise InputError(f"Output {column} is constant: there is nothing to identify. Leave it out.")
    scaled = _startable([scaling.scale(e) for e in experiments], settings.start)
    with threadpool_limits(1):  # as in every training: narrow matrices
        held = dead_times(scaled)
        settings = affordable(settings, [e.changed(u=delayed(e.u, held)) for e in scaled])
    search = Search(scaled, settings, np.random.default_rng(seed), held, watch)
    if announce is not None:
        starts, need = settings.starts + len(search.states), search.estimate()
        announce(
            f"System identification with {settings.folds} folds of {starts} starts: about {need.bytes / 2**20:.0f} MB "
            f"and {need.seconds:.1f} s."
        )
    winners = search.winners(announce or (lambda text: None))
    if not winners:
        raise ModelFailure("No NARX net follows any held-out block in free run; other inputs may be missing.")
    members = _refitted(search, winners)
    kept, notes = _bounded(members, scaled, settings.start)
    chosen = tuple(replace(m, held_out_rmse=m.held_out_rmse * float(np.mean(scaling.y_scale))) for m in kept)
    return Identified(chosen, scaling, settings.start, (*_notes(members, held, search.interrupted), *notes))


def _refitted(search: Search, winners: list[Member]) -> list[Member]:
    """Those that follow all experiments after training on them, the better half of every family for longer."""
    rows, once = sum(map(len, search.experiments)), search.settings.refit_iterations
    members: list[Member] = []
    for family in sorted({member.family for member in winners}):
        own = sorted((search.refit(m, once) for m in winners if m.family == family), key=lambda m: m.expected(rows))
        members += [search.refit(m, 2 * once) for m in own[: max(3, (len(own) + 1) // 2)]]
    errors = np.array([member.expected(rows) for member in members])
    most = errors.min() * np.clip(1 + LOST_ROWS / rows, *LOST)
    third = min(np.sort(errors)[:FEWEST][-1], LOST[1] * errors.min())
    return [member for member, error in zip(members, errors, strict=True) if error <= max(most, third)]


def _bounded(members: list[Member], experiments: list[Experiment], start: int) -> tuple[list[Member], list[str]]:
    """Those that keep their bounds under inputs not measured, or all where none does; and a note where some do not."""
    tried = list(unseen_inputs(experiments))
    kept = [member for member in members if _stays_within(member, experiments, tried, start)]
    if 2 * len(kept) <= len(members):  # the system leaves them: only a measured input backwards can tell
        kept = [member for member in members if _stays_within(member, experiments, tried[:1], start)]
    if not kept:
        note = "Every net leaves its bounds under inputs not measured; trust it on inputs like those measured."
        return members, [note]
    dropped = len(members) - len(kept)
    return kept, [f"{dropped} nets were dropped: they left their bounds under inputs not measured."] if dropped else []


def _notes(members: list[Member], held: tuple[int, ...], interrupted: bool) -> list[str]:
    """What was chosen, for the user."""
    shares = ", ".join(f"{count} on {kind}" for kind, count in Counter(m.kind for m in members).items())
    notes = [f"Of {len(members)} nets, those that followed the held-out blocks best, {shares}."]
    if any(held):
        notes.append(f"Dead times found beside the delays, per input: {held} steps.")
    if interrupted:
        notes.append("The search was interrupted: these are the best nets so far.")
    return notes


def _startable(experiments: list[Experiment], start: int) -> list[Experiment]:
    """The experiments from the first place where a free run can start, without those with too few rows behind it."""
    found = []
    for e in experiments:
        missing = np.concatenate([[0], np.cumsum(np.isnan(e.y).any(axis=1))])
        starts = np.flatnonzero(missing[start:] == missing[:-start])
        part = e.part(slice(int(starts[0]) if len(starts) else len(e), None))
        if np.isfinite(part.y).any(axis=1).sum() > 3 * start:
            found.append(part)
    if not found:
        gaps = ((np.flatnonzero(np.isnan(e.y).any(axis=1)), len(e)) for e in experiments)
        longest = max(int(np.diff(rows, prepend=-1, append=end).max()) - 1 for rows, end in gaps)
        raise InputError(
            f"y is observed in at most {longest} rows in a row; a free run starts from {start}, with {2 * start} more "
            "behind. Fill the gaps, or lower `start` of `SearchSettings`."
        )
    return found


def _stays_within(member: Member, experiments: list[Experiment], inputs: Sequence[Array], start: int) -> bool:
    """Whether the free run never reaches the outer bounds under bounded inputs that the net has not seen."""
    net, low, high = member.net, np.array(member.net.low), np.array(member.net.high)
    y, seen = np.concatenate([e.y for e in experiments]), net.measured_outputs
    never_reached = (np.nanmin(y, axis=0) > low[:seen]) & (np.nanmax(y, axis=0) < high[:seen])
    for u in inputs:
        v = net.free_run(member.weights, u, experiments[0].y[:start])
        left = ((v < low) | (v > high))[:, :seen]
        if not np.isfinite(v).all() or left[:, never_reached].any():
            return False
    return True
