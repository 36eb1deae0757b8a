"""Every published score, choice and interval once more, from the prepared rows and the forecasts
alone.

A perturbation shows what a number depends on, not whether it is the number it says it is: a score
over the easier origins, against shifted actuals, of the luckier seed, or a choice by something else
than validation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import rows_until
from forecast.audit.origins import unlike
from forecast.audit.sandbox import Sandbox
from forecast.comparison.losses import LEARNT
from forecast.config.experiment import Combination
from forecast.config.task import Task
from forecast.data.panel import Panel, Series, series_name
from forecast.data.records import RunRecord, StudyRecord

EXACT = 1e-8
BLOCKS = ("validation", "calibration", "test")
NAIVE, SERVICE = "naive", "service"
Ends = dict[str, pd.Timestamp]
SCORES = ("coverage", "width", "winkler")
UNITS: dict[str, Any] = {
    "log": (np.log, np.exp),
    "logdiff": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
}
EXACT_INTERVALS = 1e-6
Key = tuple[str, str, str, float]


@dataclass(frozen=True)
class Errors:
    """Absolute errors of one candidate, series and block: (seeds, n, H), of the seeds' mean (n, H),
    made at (n,).
    """

    seeds: tuple[int, ...]
    each: np.ndarray
    ensemble: np.ndarray
    cutoffs: np.ndarray


Held = dict[tuple[str, str], dict[str, Errors]]
"""(model, ranking) to the errors of every series on one block."""


def rescored(
    base: Sandbox, panel: Panel, ends: Ends, seeds: list[int], detector: str
) -> list[Finding]:
    """Forecasts complete and against the true actuals; scores on test and validation those of these
    forecasts.

    A later question is asked only where the one before it found nothing: its answer would be a
    consequence.
    """
    tables = {
        name: (r, base.forecasts(name)) for name, r in base.records().items() if not r.has_failed
    }
    found = []
    for name, (record, table) in tables.items():
        wanted = seeds if record.is_network else [0]
        found += list(_complete(table, panel, ends, wanted, name, detector))
    if found:
        return found
    about: dict[tuple[str, str], pd.DataFrame] = {
        (r.model, r.ranking): table for r, table in tables.values()
    }
    tested = {
        (*key, name): errors for key, t in about.items() for name, errors in _of(t, panel, "test")
    }
    held = {key: dict(_of(t, panel, "validation")) for key, t in about.items()}
    found += _naive(tables, panel, detector)
    found += list(_scores(base, tested, detector)) or [
        *_board(base, detector),
        *_validation(base, held, detector),
    ]
    found += _choice(base, held, detector)
    return found


def _of(table: pd.DataFrame, panel: Panel, block: str) -> Iterator[tuple[str, Errors]]:
    """The errors of every series, by its name in the published tables."""
    for name, (series, output) in _named(panel).items():
        own = (table["unique_id"] == series.unique_id) & (table["block"] == block)
        yield (
            name,
            _errors(table[own & (table["output"] == panel.task.targets[output])], series, output),
        )


def _named(panel: Panel) -> dict[str, tuple[Series, int]]:
    """Series and place of its target by the name of the two in the published tables."""
    known = [
        (series, output) for series in panel.series for output in range(len(panel.task.target))
    ]
    targets = panel.task.targets
    return {
        series_name(one.unique_id, targets[output], targets): (one, output) for one, output in known
    }


def _complete(
    table: pd.DataFrame, panel: Panel, ends: Ends, seeds: list[int], name: str, detector: str
) -> Iterator[Finding]:
    """Every seed forecasts every origin of the grid of every block, and `y` is the value at `ds`,
    `step` rows on.
    """
    task = panel.task
    for series in panel.series:
        own = table[table["unique_id"] == series.unique_id]
        cutoff, ahead = (
            np.searchsorted(series.ds, own[column].to_numpy()) for column in ("cutoff", "ds")
        )
        position = {name: i for i, name in enumerate(task.targets)}
        outputs = own["output"].map(position).to_numpy()
        actual = series.values[np.minimum(ahead, len(series) - 1), outputs]
        wrong = (ahead - cutoff != own["step"].to_numpy()) | unlike(actual, own["y"].to_numpy())
        if wrong.any():
            text = (
                f"{int(wrong.sum())} of {len(own)} forecasts of {name} are scored against a value"
                " of another time"
            )
            yield Finding("origins", detector, name, text)
        for block in BLOCKS:
            before = list(ends)[list(ends).index(block) - 1]
            start, stop = (rows_until(series.ds, ends[end]) for end in (before, block))
            last = range(start - 1, stop - task.horizon, task.step_size_in(block))
            grid = {row for row in last if row >= task.lookback - 1}
            part = (own["block"] == block).to_numpy()
            for seed in seeds:
                made = set(cutoff[part & (own["seed"] == seed).to_numpy()].tolist())
                if made != grid:
                    text = (
                        f"{name}, seed {seed}: {len(made)} origins in {block}, {len(grid)} on the"
                        " grid"
                    )
                    yield Finding("origins", detector, name, text)


def _naive(
    tables: dict[str, tuple[RunRecord, pd.DataFrame]], panel: Panel, detector: str
) -> Iterator[Finding]:
    """What every skill is measured against does repeat the last observed value (of differences the
    last change).
    """
    table = tables[NAIVE][1] if NAIVE in tables else pd.DataFrame()
    for series, output in _named(panel).values() if len(table) else ():
        column = panel.task.target[output]
        if "diff" in column.transform:
            continue
        own = table[(table["unique_id"] == series.unique_id) & (table["output"] == column.name)]
        last = (
            pd.Series(series.values[:, output], series.ds).ffill().reindex(own["cutoff"]).to_numpy()
        )
        wrong = ~np.isclose(own["y_hat"].to_numpy(), last, rtol=1e-6, equal_nan=True)
        if wrong.any():
            text = (
                f"{int(wrong.sum())} of {len(own)} forecasts of {NAIVE} are not the value last"
                " observed"
            )
            yield Finding("scores", detector, NAIVE, text)


def _errors(rows: pd.DataFrame, series: Series, output: int) -> Errors:
    rows = rows.sort_values(["seed", "cutoff", "step"], kind="stable")
    seeds, steps = (
        tuple(sorted(int(seed) for seed in rows["seed"].unique())),
        max(rows["step"].nunique(), 1),
    )
    shape = (max(len(seeds), 1), -1, steps)
    at = np.minimum(np.searchsorted(series.ds, rows["ds"].to_numpy()), len(series) - 1)
    y, y_hat = series.values[at, output].reshape(shape), rows["y_hat"].to_numpy().reshape(shape)
    cutoffs = rows["cutoff"].to_numpy().reshape(shape)[0, :, 0]
    return Errors(seeds, np.abs(y - y_hat), np.abs(y[0] - y_hat.mean(axis=0)), cutoffs)


def _scores(
    base: Sandbox, tested: dict[tuple[str, str, str], Errors], detector: str
) -> Iterator[Finding]:
    """MAE, origins and skill of every seed, and of their mean, in by_series.parquet."""
    table = base.table("by_series.parquet")
    if table.empty:
        return
    published = table.set_index(["model", "ranking", "series", "seed"]).to_dict("index")
    for (model, ranking, name), errors in tested.items():
        rows = dict(zip(map(str, errors.seeds), errors.each, strict=False))
        if len(errors.seeds) > 1:
            rows["mean"] = errors.ensemble
        naive = tested.get(("naive", "baseline", name))
        for seed, wanted in rows.items():
            row = published.get((model, ranking, name, seed), {})
            expected = {"mae": _mean(wanted), "n_origins": float(len(wanted))}
            if naive is not None and np.isfinite(wanted).all() and _mean(naive.each) > 0:
                expected["skill"] = 1 - _mean(wanted) / _mean(naive.each)
            for metric, value in expected.items():
                if not np.isclose(
                    float(row.get(metric, np.nan)), value, rtol=EXACT, atol=EXACT, equal_nan=True
                ):
                    text = (
                        f"{metric} of {model} ({ranking}), {name}, seed {seed}, is"
                        f" {row.get(metric)}; "
                    )
                    yield Finding("scores", detector, model, text + f"its forecasts have {value:g}")


def _board(base: Sandbox, detector: str) -> Iterator[Finding]:
    """The leaderboard is the mean over the series of by_series.parquet; its row `mean` is that of
    the seeds' mean.

    The skill of several series is that of their mean MASE; of one, that of its errors, also where
    MASE has no scale.
    """
    board, table = base.table("leaderboard.csv"), base.table("by_series.parquet")
    if board.empty or table.empty:
        return
    one = table["series"].nunique() == 1
    names = ["mase", "skill", *(["mae", "rmse"] if one else [])]
    each = table.groupby(["model", "ranking", "seed"])[names].mean()
    naive = each.loc[each.index.get_level_values("model") == NAIVE, "mase"]
    if not one:
        each["skill"] = (
            1 - each["mase"] / naive.iloc[0] if len(naive) and naive.iloc[0] > 0 else np.nan
        )
    last = each.groupby(level=["model", "ranking"]).tail(1).reset_index("seed", drop=True)  # `mean`
    mean = last.assign(seed="mean").set_index("seed", append=True)
    wanted = pd.concat([each.drop(index=mean.index.intersection(each.index)), mean])
    found = board[board["status"] == "ok"].set_index(["model", "ranking", "seed"])[names]
    both = wanted.index.intersection(found.index)
    same = np.isclose(
        wanted.loc[both], found.loc[both], rtol=EXACT, atol=EXACT, equal_nan=True
    ).all(axis=1)
    for position in np.flatnonzero(~np.asarray(same)):
        model, ranking, seed = both[int(position)]
        text = f"the row {seed} of {model} ({ranking}) in leaderboard.csv is not that of its series"
        yield Finding("scores", detector, str(model), text)


def _validation(base: Sandbox, held: Held, detector: str) -> Iterator[Finding]:
    """The validation scores that the choice rests on, at the scale that by_series.parquet divides
    by.
    """
    board, table = base.table("leaderboard.csv"), base.table("by_series.parquet")
    if board.empty or table.empty:
        return
    scale = _scale(table)
    means = board[(board["seed"] == "mean") & (board["status"] == "ok")].set_index(
        ["model", "ranking"]
    )
    for about, errors in held.items():
        if about not in means.index:
            continue
        each = [_mean(e.ensemble) / scale.get(name, np.nan) for name, e in errors.items()]
        wanted, found = float(np.mean(each)), float(means["validation_mase"].to_dict()[about])
        if np.isfinite(wanted) and not np.isclose(found, wanted, rtol=1e-6):
            text = (
                f"the validation score of {about[0]} ({about[1]}) is {found:.6g}; its forecasts"
                f" have {wanted:.6g}"
            )
            yield Finding("choice", detector, about[0], text)


def _choice(base: Sandbox, held: Held, detector: str) -> Iterator[Finding]:
    """The chosen model of each ranking has the lowest validation loss of those that may be chosen,
    or, where the comparison says that it preferred another, of the baselines or of the combinations
    with learnt weights instead of all, of the combinations instead of single rows.
    """
    chosen, scale = base.verdict("chosen"), _scale(base.table("by_series.parquet"))
    losses = {about: _loss(errors, scale) for about, errors in held.items() if about[0] != SERVICE}
    baselines = {model for model, ranking in losses if ranking == "baseline"}
    rules = {
        record.model: record.params
        for record in base.records().values()
        if record.kind == Combination.kind
    }
    learnt = {name for name, rule in rules.items() if Combination(**rule).is_learnt}
    preferred = base.verdict("preferred") or base.verdict("simpler") or {}
    for ranking, model in chosen.items():
        own = {
            m: loss
            for (m, r), loss in losses.items()
            if r in (ranking, "baseline") and np.isfinite(loss)
        }
        best = min(own, key=lambda name: own[name], default=model)
        said = preferred.get(ranking, {})
        if said.get("instead_of") == best and (model in rules or best not in baselines):
            combined = learnt if said.get("because") == LEARNT else set(rules)
            alike = combined if model in combined and best not in combined else baselines
            own = {m: loss for m, loss in own.items() if m in alike}
            best = min(own, key=lambda name: own[name], default=model)
        if model not in own or own[model] > own[best] * (1 + EXACT):
            text = (
                f"{model} was chosen with {own.get(model)} on validation; {best} has"
                f" {own.get(best)}"
            )
            yield Finding("choice", detector, ranking, text)


def _scale(table: pd.DataFrame) -> pd.Series:
    """What by_series.parquet divides the errors of each series by."""
    return (
        (table["mae"] / table["mase"]).groupby(table["series"]).first()
        if len(table)
        else pd.Series(dtype=float)
    )


def _loss(errors: dict[str, Errors], scale: pd.Series) -> float:
    """Of the seeds' mean, over the horizon, the series of an origin, the origins; not finite where
    one is not.
    """
    parts = []
    for name, e in errors.items():
        divisor = float(scale.get(name, np.nan))
        if np.isfinite(divisor):
            known = np.isfinite(e.ensemble)
            with np.errstate(invalid="ignore"):
                each = np.where(known, e.ensemble, 0.0).sum(axis=1) / known.sum(axis=1) / divisor
            parts.append(pd.Series(each, e.cutoffs))
    return (
        float(pd.concat(parts).groupby(level=0).mean().mean(skipna=True)) if parts else float("nan")
    )


def kept_the_best(base: Sandbox, detector: str) -> Iterator[Finding]:
    """Of every study the trial, and of every training the step, with the lowest validation loss; no
    other.
    """
    for path in sorted(base.tuned.glob("*.json")):
        study = StudyRecord.read(path)
        values = {trial.number: trial.value for trial in study.trials if trial.value is not None}
        best = study.best
        if best is not None and values and values.get(best) != min(values.values()):
            text = f"trial {best} was kept with {values.get(best)}, not the lowest of {path.stem}"
            yield Finding("tuning", detector, path.stem, text)
    for name, record in base.records().items():
        for fit in record.seeds:
            looks = {step: loss for step, _, loss in fit.curve if loss is not None}
            if looks and looks.get(fit.best_step) != min(looks.values()):
                text = f"seed {fit.seed} of {name} kept step {fit.best_step}, not the lowest"
                yield Finding("training", detector, name, text)


def _mean(errors: np.ndarray) -> float:
    known: Any = errors[np.isfinite(errors)]
    return float(known.mean()) if known.size else float("nan")


def intervals_again(base: Sandbox, panel: Panel, detector: str) -> Iterator[Finding]:
    """The intervals of every candidate from its forecasts and the rows before them, and those drawn
    of the chosen.

    Pooled over the steps. An interval wants both ends of its own series; the calibration block of
    another would do as well for a check of ranges.
    """
    shown = base.table("intervals.parquet")
    if shown.empty:
        return
    pooled = _pooled(shown)
    for name, record in base.records().items():
        mine = {
            key: row for key, row in pooled.items() if key[:2] == (record.model, record.ranking)
        }
        table = base.forecasts(name) if mine else pd.DataFrame()
        for key, row in mine.items():
            yield from _unlike(row, _split(table, panel, key[2], key[3]), key, detector)
    yield from _bands(base, panel, shown, detector)


def _split(table: pd.DataFrame, panel: Panel, name: str, level: float) -> dict[str, float]:
    series, output = _named(panel)[name]
    column = panel.task.target[output]
    own = table[(table["unique_id"] == series.unique_id) & (table["output"] == column.name)]
    mean = own.groupby(["block", "cutoff", "step"], sort=True)[["y", "y_hat"]].mean()
    to, back = UNITS.get(column.transform, (np.asarray, np.asarray))
    held, test = (mean.loc[block].unstack("step") for block in ("calibration", "test"))
    widths = _widths(
        to(series.values[:, output]),
        panel.task,
        [series.ds.searchsorted(m.index) for m in (held, test)],
    )
    outside = np.abs(to(held["y"].to_numpy()) - to(held["y_hat"].to_numpy())) / widths[0]
    ranked = [np.sort(one[np.isfinite(one)]) for one in outside.T]
    margin = widths[1] * [one[math.ceil(round((len(one) + 1) * level, 9)) - 1] for one in ranked]
    centre = to(test["y_hat"].to_numpy())
    return _scored(test["y"].to_numpy(), back(centre - margin), back(centre + margin), level)


def _widths(y: np.ndarray, task: Task, rows: list[np.ndarray]) -> list[np.ndarray]:
    """(n, 1) for the calibration block and for the test block: (a v^2 / t^2 + 1 - a)^(3/8) with a =
    L / (L + 5), v^2 the mean squared seasonal difference inside the L rows before an origin, t^2
    the mean of calibration.
    """
    season = task.season_length if task.season_length < task.lookback else 1
    squares = pd.Series(y).diff(season).to_numpy() ** 2
    before = [
        [squares[max(row + 1 - task.lookback + season, 0) : row + 1] for row in block]
        for block in rows
    ]
    means = [np.array([_mean(own) for own in block])[:, None] for block in before]
    typical, share = _mean(means[0]), task.lookback / (task.lookback + 5)
    ratios = [own / typical if typical > 0 else np.ones_like(own) for own in means]
    return [(share * np.where(np.isfinite(own), own, 1.0) + 1 - share) ** 0.375 for own in ratios]


def _scored(y: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float) -> dict[str, float]:
    """Pooled over origins and steps; a missing actual is left out of coverage and score."""
    known = np.isfinite(y)
    missed = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
    score = (upper - lower) + 2 / (1 - level) * missed
    inside = (y >= lower) & (y <= upper)
    return {"coverage": float(inside[known].mean()), "winkler": float(score[known].mean())}


def _bands(base: Sandbox, panel: Panel, shown: pd.DataFrame, detector: str) -> Iterator[Finding]:
    bands = base.table("bands.parquet")
    for key, row in _pooled(shown).items() if len(bands) else ():
        mine = bands["series"].eq(key[2]) & bands["level"].eq(key[3])
        rows = bands[mine & bands["model"].eq(key[0]) & bands["ranking"].eq(key[1])]
        if len(rows):
            series, output = _named(panel)[key[2]]
            ahead = np.searchsorted(series.ds, rows["cutoff"].to_numpy()) + rows["step"].to_numpy()
            made = _scored(
                series.values[ahead, output],
                rows["lower"].to_numpy(),
                rows["upper"].to_numpy(),
                key[3],
            )
            yield from _unlike(row, made, key, detector)


def _pooled(table: pd.DataFrame) -> dict[Key, dict[str, float]]:
    """The scores over all steps, by model, ranking, series and level."""
    rows = table[table["step"] == 0].set_index(["model", "ranking", "series", "level"])
    found: dict[Key, dict[str, float]] = rows[list(SCORES)].to_dict("index")  # type: ignore[assignment]
    return found


def _unlike(
    row: dict[str, float], made: dict[str, float], key: Key, detector: str
) -> Iterator[Finding]:
    for name, value in made.items():
        if not np.isclose(float(row[name]), value, rtol=EXACT_INTERVALS, equal_nan=True):
            about = (
                f"{name} of the shown {100 * float(key[3]):g} % intervals of {key[0]} ({key[1]}),"
                f" {key[2]}, "
            )
            yield Finding(
                "scores",
                detector,
                str(key[0]),
                f"{about}is {row[name]:.6g}; made again it is {value:.6g}",
            )
            return
