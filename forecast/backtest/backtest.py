"""One candidate and seed: fit, forecast every origin of the scored blocks, keep everything under
its key.

The fit on the train rows forecasts the validation block, on which penalties, lags, steps and trees
are chosen; a network forecasts each stretch of it with the weights of the step that the other
stretches choose, so that it is ranked on data that did not stop it. With what the whole block chose
a row is fitted once more, on train and validation together: that model forecasts the later blocks,
and serves.

A row is fitted again later by its policy (`refit` in configs/models.yaml):

    never      not again
    monthly    again at the first origin of every calendar month
    k          again at every k-th origin

`expanding` fits on everything from the first row on, `sliding` on as many rows as the first fit on
train and validation had. A fit at an origin is given a panel that ends there, so nothing later can
enter it. What the first fit chose on validation (lags, penalties, steps, trees) and its units stay.
What is saved, and serves, is the newest fit that the first origin of the test block knows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import PreparedData
from forecast.data.panel import Panel, from_frame
from forecast.data.records import SeedFit
from forecast.data.splits import Blocks
from forecast.forecaster import (
    Budget,
    Fitted,
    Forecaster,
    Problem,
    fit,
    fit_again,
    log_density,
    predict_quantiles,
    rise_probability,
)
from forecast.forecaster.distributions import FILE as DISTRIBUTIONS
from forecast.forecaster.distributions import LEVELS, LOG_DENSITY, RISE, quantile_column
from forecast.forecaster.intervals import volatility
from forecast.models.base import ModelSpec
from forecast.models.problem import stretch_starts
from forecast.system import files
from forecast.system.errors import ModelFailure

Question = Callable[[Forecaster, Panel, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""(forecaster, panel, rows by series) -> answers by series, the first axis that of the rows."""
SCORED = ("validation", "calibration", "test")
Part = slice | None
Since = tuple[np.datetime64, Forecaster]
"""The first cutoff that a forecaster forecasts from, and the forecaster."""
FIRST, NEVER = np.datetime64(1 - 2**63, "ns"), np.datetime64(2**63 - 1, "ns")


@lru_cache(maxsize=2)
def load_problem(place: PreparedData, needed: tuple[str, ...] = ("train", *SCORED)) -> Problem:
    """The prepared frame as a problem, once per process."""
    rows = place.load()
    panel = from_frame(rows.frame, place.dataset, rows.task)
    return Problem.of(panel, rows.borders, needed)


def load_engine() -> None:
    """Import and set up TensorFlow, once per process: one thread, every operation deterministic."""
    from forecast.networks.layers import prepare_runtime

    prepare_runtime(threads=1)
    import forecast.training.gradient  # noqa: F401


def fit_and_forecast(
    place: PreparedData,
    candidate: Candidate,
    seed: int,
    budget: Budget,
    folder: Path,
    start: Path | None,
    part: Part,
) -> dict[str, Any]:
    """Fill `folder` with the forecaster (seed/), forecasts.parquet and fit.json; returns the cost.

    `start`: a weights.npz that gradient descent begins with. `part`: of the series, of which
    nothing else is fitted. A head that says more than a point leaves distributions.parquet
    (`with_distributions`) as well.

    A model that cannot be fitted or gives forecasts that are not finite leaves fit.json with its
    reason alone.
    """
    problem = load_problem(place)
    if candidate.spec.needs_vintages:
        problem = replace(problem, vintages=pd.read_parquet(place.paths.vintages(place.dataset)))
    wall, cpu = time.perf_counter(), time.process_time()
    with files.atomic_directory(folder) as temporary:
        try:
            warm = files.read_arrays(start) if start is not None else None
            again = partial(fit_twice, candidate=candidate, seed=seed, budget=budget)
            fits = all_stages(
                problem,
                candidate.spec,
                lambda known, **k: again(known.only(part), **k),
                initial=warm,
            )
            problem = problem.only(part)
            forecasts = forecast_blocks(fits.stages, problem, seed)
            distributions = with_distributions(fits.stages, problem, forecasts, seed=seed)
        except ModelFailure as error:
            failed = SeedFit(seed=seed, status="failed", reason=str(error))
            failed.write(temporary / "fit.json")
        else:
            _keep(temporary, seed, fits, problem, forecasts, distributions)
    return {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}


def _keep(
    folder: Path,
    seed: int,
    fits: Fits,
    problem: Problem,
    forecasts: pd.DataFrame,
    distributions: pd.DataFrame | None,
) -> None:
    """Everything that `fit_and_forecast` leaves of a fit that succeeded."""
    first, final = fits.first, fits.final
    final.forecaster.save(folder / "seed")
    if final is not first:
        first.forecaster.save(folder / "chosen")
    if fits.newest is not None:
        fits.newest.save(folder / "newest")
    files.write_frame(folder / "forecasts.parquet", forecasts)
    if distributions is not None:
        files.write_frame(folder / DISTRIBUTIONS, distributions)
    train = [cut.train for cut in (problem if final is first else problem.joined).blocks.values()]
    record = SeedFit(
        seed=seed,
        reason=first.note,
        best_step=first.best_step,
        repeated_steps=0 if final is first else first.best_step,
        steps_by_fold=first.steps_elsewhere,
        validation_loss=first.validation_loss,
        curve=tuple(first.curve),
        n_params=final.forecaster.n_params,
        refits=fits.refits,
        rows_seen=sum(stop - start for start, stop in train),
    )
    record.write(folder / "fit.json")


def fit_twice(
    problem: Problem,
    candidate: Candidate,
    *,
    seed: int,
    budget: Budget,
    initial: dict[str, np.ndarray] | None = None,
    first: Fitted | None = None,
) -> tuple[Fitted, Fitted]:
    """On the train rows, validation choosing (or `first`, which was fitted so); and with these
    choices on both. Equal where nothing is fitted again.
    """
    about: dict[str, Any] = {
        "skip": candidate.skip,
        "seed": seed,
        "budget": budget,
        "initial": initial,
    }
    announce = partial(tell, f"{candidate.name} seed {seed}")
    first = first or fit(problem, candidate.spec, announce=announce, **about)
    return first, fit_again(problem, candidate.spec, first, **about)


def tell(name: str, said: str) -> None:
    """To the terminal of the run; a machine's speed must not reach a record."""
    print(f"{name}: {said}", file=sys.stderr, flush=True)


def forecast_blocks(fits: list[Stage], problem: Problem, seed: int) -> pd.DataFrame:
    """Long frame `unique_id, cutoff, step, ds, block, seed, output, y, y_hat, volatility` over
    every scored origin.
    """
    parts = []
    for block in SCORED:
        rows = {
            series.unique_id: problem.rows(series.unique_id, block)
            for series in problem.panel.series
        }
        found = ask_staged(fits, problem.panel, rows, Forecaster.predict)
        for uid, values in found.items():
            if lost := int((~np.isfinite(values)).any(axis=(1, 2)).sum()):
                told = f"{lost} of {len(values)} forecasts of series {uid!r} in the {block} block"
                raise ModelFailure(f"{told} are not finite: the model diverged.")
        parts.append(_long(problem, block, rows, found, seed))
    return pd.concat(parts, ignore_index=True)


def _long(
    problem: Problem,
    block: str,
    rows: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
    seed: int,
) -> pd.DataFrame:
    names, steps = problem.panel.task.targets, np.arange(1, problem.panel.task.horizon + 1)
    asked = [(problem.panel.by_id[uid], own, own[:, None] + steps) for uid, own in rows.items()]
    cutoffs = np.concatenate([series.ds[own] for series, own, _ in asked])
    times = np.concatenate([series.ds[ahead] for series, _, ahead in asked])
    before = [
        np.repeat(volatility(s.values, own, problem.panel.task), len(steps), axis=0)
        for s, own, _ in asked
    ]
    count = len(names)
    return pd.DataFrame(
        {
            "unique_id": (
                pd.array(list(rows), dtype="str").repeat([values.size for values in found.values()])
            ),
            "cutoff": np.repeat(cutoffs, len(steps) * count),
            "step": np.tile(np.repeat(steps, count), len(cutoffs)).astype(np.int32),
            "ds": np.repeat(times.ravel(), count),
            "block": block,
            "seed": np.int32(seed),
            "output": pd.array(names, dtype="str").take(np.tile(np.arange(count), times.size)),
            "y": np.concatenate(
                [series.values[ahead, :count].ravel() for series, _, ahead in asked]
            ),
            "y_hat": np.concatenate([values.ravel() for values in found.values()]),
            "volatility": np.concatenate([values.ravel() for values in before]),
        }
    )


@dataclass(frozen=True)
class Stage:
    """A forecaster, and the first cutoff it forecasts from; None: the first of all.

    `after` and `until`: by series a cutoff before which it forecasts nothing there, and one from
    which on.
    """

    forecaster: Forecaster
    since: np.datetime64 | None = None
    after: Mapping[str, np.datetime64] = field(default_factory=dict)
    until: Mapping[str, np.datetime64] = field(default_factory=dict)

    def begin(self, unique_id: str) -> np.datetime64:
        """From when on it forecasts a series, up to where another begins."""
        begin = max(FIRST if self.since is None else self.since, self.after.get(unique_id, FIRST))
        return begin if begin < self.until.get(unique_id, NEVER) else NEVER


def refit_moments(problem: Problem, spec: ModelSpec) -> list[np.datetime64]:
    """The cutoffs at which `spec` is fitted again, rising."""
    if not spec.refitted:
        return []
    series = problem.panel.series
    cutoffs = np.unique(
        np.concatenate([s.ds[problem.rows(s.unique_id, b)] for s in series for b in SCORED])
    )
    return spec.refit_moments(cutoffs)


@dataclass(frozen=True)
class Fits:
    """The fit on the train rows, that on train and validation, and the stages made of them and of
    `refits` more; `newest`: the last that has seen no target of the test block, where that is one
    of these.
    """

    first: Fitted
    final: Fitted
    stages: list[Stage]
    refits: int
    newest: Forecaster | None = None


def all_stages(
    problem: Problem,
    spec: ModelSpec,
    again: Callable[..., tuple[Fitted, Fitted]],
    *,
    initial: dict[str, np.ndarray] | None = None,
) -> Fits:
    """Of two fits by `again` the first forecasts the validation block, each stretch as the others
    chose, the second what follows it in each series; one more stage from each moment of the policy
    on, fitted `again` on what is known there. A network that keeps its weights has those of its
    time, and from each moment on a newer linear part.
    """
    first, final = again(problem, initial=initial)
    moments = refit_moments(problem, spec)
    validated, calibrated = (
        {
            uid: problem.panel.by_id[uid].ds[cut.range(block)[1] - 1]
            for uid, cut in problem.blocks.items()
        }
        for block in ("validation", "calibration")
    )
    ends = {} if final is first else validated
    begin, stop = min(validated.values()), max(ends.values(), default=NEVER)

    def later(moment: np.datetime64, chosen: Forecaster) -> Forecaster:
        known = replace(first, forecaster=chosen)
        return again(known_at(problem, spec, moment), first=known)[1].forecaster

    inside = list(zip(stretch_starts(problem), first.elsewhere, strict=False))
    behind, anew = [(begin, final.forecaster)] if ends else [], list[Since]()
    if spec.keeps_weights:
        before, beyond = (
            [m for m in moments if m < stop],
            [m for m in moments if ends and m > begin],
        )
        inside = _newer_linear_parts(first.forecaster, inside, before, later)
        behind = _newer_linear_parts(final.forecaster, behind, beyond, later)
    else:  # from the first moment on a later fit forecasts
        inside = [(since, one) for since, one in inside if since < min(moments, default=NEVER)]
        anew = [(moment, later(moment, first.forecaster)) for moment in moments]
    found = [Stage(one, since, until=ends) for since, one in inside]
    found += [Stage(one, since, after=ends) for since, one in behind] + [
        Stage(one, since) for since, one in anew
    ]
    stages = [Stage(first.forecaster), *sorted(found, key=attrgetter("since"))]
    known = [
        one
        for one in stages
        if not one.until and (one.since is None or one.since <= min(calibrated.values()))
    ]
    newest = (
        known[-1].forecaster if moments and known[-1].forecaster is not final.forecaster else None
    )
    return Fits(first, final, stages, len(moments), newest)


def _newer_linear_parts(
    first: Forecaster,
    rest: list[Since],
    moments: list[np.datetime64],
    later: Callable[..., Forecaster],
) -> list[Since]:
    """The rising `rest`, and one more from each moment on; each with the linear part of the last
    moment.
    """
    found = []
    for since in sorted({*moments, *[begin for begin, _ in rest]}):
        own = next((one for begin, one in reversed(rest) if begin <= since), first)
        newer = [moment for moment in moments if moment <= since]
        found.append((since, later(newer[-1], own) if newer else own))
    return found


def known_at(problem: Problem, spec: ModelSpec, moment: np.datetime64) -> Problem:
    """The problem as it was at `moment`, what a fit reads in one block, with the same choices and
    units.
    """
    series, blocks = [], {}
    for whole in problem.panel.series:
        stop, then = int((whole.ds <= moment).sum()), problem.blocks[whole.unique_id]
        length = then.validation[1] - then.train[0] if spec.slides else stop
        beyond = len(whole.future) - len(whole)
        seen = replace(
            whole,
            ds=whole.ds[:stop],
            values=whole.values[:stop],
            future=whole.future[: stop + beyond],
        )
        series.append(seen)
        blocks[whole.unique_id] = Blocks((max(stop - length, 0), stop), *[(stop, stop)] * 3)
    panel = replace(problem.panel, series=tuple(series))
    return problem.with_rows(panel, blocks, (moment, spec.slides))


def ask_staged(
    fits: list[Stage], panel: Panel, rows: dict[str, np.ndarray], ask: Question
) -> dict[str, np.ndarray]:
    """(n, ...) by series: what `ask` finds at its `rows`, each of the newest stage known there."""
    newest, parts = dict[str, np.ndarray](), dict[str, list[np.ndarray]]({uid: [] for uid in rows})
    for uid, at in rows.items():
        begins = np.array([stage.begin(uid) for stage in fits])
        order = np.argsort(begins, kind="stable")
        newest[uid] = order[
            np.searchsorted(begins[order], panel.by_id[uid].ds[at], side="right") - 1
        ]
    for number, stage in enumerate(fits):
        own = {uid: at[newest[uid] == number] for uid, at in rows.items()}
        own = {uid: at for uid, at in own.items() if len(at) or not number}
        for uid, answer in ask(stage.forecaster, panel, own).items():
            parts[uid].append(answer)
    return {
        uid: np.concatenate(one)[np.argsort(np.argsort(newest[uid], kind="stable"))]
        for uid, one in parts.items()
    }


def with_distributions(
    fits: list[Stage], problem: Problem, forecasts: pd.DataFrame, *, seed: int
) -> pd.DataFrame | None:
    """`forecasts` of one seed without `y_hat`, and with the columns of its head; None for a point
    head.

    `ModelFailure` where what was drawn diverged, though the point forecast did not.
    """
    head = fits[0].forecaster.head
    if head is None:
        return None
    quantiles = partial(predict_quantiles, levels=LEVELS, seed=seed)
    parts = []
    for (uid, _), rows in forecasts.groupby(["unique_id", "block"], sort=False):
        origins = np.searchsorted(
            problem.panel.by_id[str(uid)].ds, rows["cutoff"].drop_duplicates().to_numpy()
        )
        ask = partial(ask_staged, fits, problem.panel, {str(uid): origins})
        columns = {RISE: ask(partial(rise_probability, seed=seed))[str(uid)]}
        if head.head.has_distribution:
            grid = ask(quantiles)[str(uid)]
            if not np.isfinite(grid).all():
                raise ModelFailure(
                    f"Quantiles of series {uid!r} are not finite: the paths of the model diverge."
                )
            columns |= {
                quantile_column(level): grid[..., place] for place, level in enumerate(LEVELS)
            }
            columns[LOG_DENSITY] = ask(log_density)[str(uid)]
        own = {name: values.ravel() for name, values in columns.items()}
        parts.append(rows.drop(columns=["y_hat", "volatility"]).assign(**own))
    return pd.concat(parts, ignore_index=True)
