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
from forecast.audit.changes import count_rows_until
from forecast.audit.origins import bits_differ
from forecast.audit.sandbox import Sandbox
from forecast.comparison.losses import LEARNT
from forecast.config.experiment import Combination
from forecast.config.task import Task
from forecast.data.panel import Panel, Series, series_name
from forecast.data.records import RunRecord, StudyRecord

SCORE_TOLERANCE = 1e-8
SCORED_BLOCKS = ("validation", "calibration", "test")
NAIVE, SERVICE = "naive", "service"
BlockEnds = dict[str, pd.Timestamp]
INTERVAL_SCORES = ("coverage", "width", "winkler")
TRANSFORMS: dict[str, Any] = {
    "log": (np.log, np.exp),
    "logdiff": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
    "logit": (lambda y: np.log(y / (1 - y)), lambda x: 1 / (1 + np.exp(-x))),
}
INTERVAL_TOLERANCE = 1e-6
IntervalKey = tuple[str, str, str, float]


@dataclass(frozen=True)
class Errors:
    """Absolute errors of one candidate, series and block: (seeds, n, H), of the seeds' mean (n, H),
    made at (n,).
    """

    seeds: tuple[int, ...]
    by_seed: np.ndarray
    ensemble: np.ndarray
    cutoffs: np.ndarray


ErrorsByRow = dict[tuple[str, str], dict[str, Errors]]
"""(model, ranking) to the errors of every series on one block."""


def rescore(
    base: Sandbox, panel: Panel, ends: BlockEnds, seeds: list[int], detector: str
) -> list[Finding]:
    """Forecasts complete and against the true actuals; scores on test and validation those of these
    forecasts.

    A later question is asked only where the one before it found nothing: its answer would be a
    consequence.
    """
    tables = {
        name: (r, base.forecasts(name)) for name, r in base.records().items() if not r.has_failed
    }
    findings = []
    for name, (record, table) in tables.items():
        expected_seeds = seeds if record.is_network else [0]
        findings += list(_check_forecasts(table, panel, ends, expected_seeds, name, detector))
    if findings:
        return findings
    tables_by_row: dict[tuple[str, str], pd.DataFrame] = {
        (r.model, r.ranking): table for r, table in tables.values()
    }
    test_errors = {
        (*key, name): errors
        for key, t in tables_by_row.items()
        for name, errors in _errors_by_series(t, panel, "test")
    }
    validation_errors = {
        key: dict(_errors_by_series(t, panel, "validation")) for key, t in tables_by_row.items()
    }
    findings += _check_naive(tables, panel, detector)
    findings += list(_check_scores(base, test_errors, detector)) or [
        *_check_leaderboard(base, detector),
        *_check_validation_scores(base, validation_errors, detector),
    ]
    findings += _check_choice(base, validation_errors, detector)
    return findings


def _errors_by_series(
    table: pd.DataFrame, panel: Panel, block: str
) -> Iterator[tuple[str, Errors]]:
    """The errors of every series, by its name in the published tables."""
    for name, (series, output) in _series_by_name(panel).items():
        is_in_block = (table["unique_id"] == series.unique_id) & (table["block"] == block)
        yield (
            name,
            _absolute_errors(
                table[is_in_block & (table["output"] == panel.task.targets[output])], series, output
            ),
        )


def _series_by_name(panel: Panel) -> dict[str, tuple[Series, int]]:
    """Series and place of its target by the name of the two in the published tables."""
    series_and_outputs = [
        (series, output) for series in panel.series for output in range(len(panel.task.target))
    ]
    targets = panel.task.targets
    return {
        series_name(series.unique_id, targets[output], targets): (series, output)
        for series, output in series_and_outputs
    }


def _check_forecasts(
    table: pd.DataFrame, panel: Panel, ends: BlockEnds, seeds: list[int], name: str, detector: str
) -> Iterator[Finding]:
    """Every seed forecasts every origin of the grid of every block, and `y` is the value at `ds`,
    `step` rows on.
    """
    task = panel.task
    for series in panel.series:
        series_rows = table[table["unique_id"] == series.unique_id]
        cutoff, ahead = (
            np.searchsorted(series.ds, series_rows[column].to_numpy())
            for column in ("cutoff", "ds")
        )
        position = {name: i for i, name in enumerate(task.targets)}
        outputs = series_rows["output"].map(position).to_numpy()
        actual = series.values[np.minimum(ahead, len(series) - 1), outputs]
        wrong = (ahead - cutoff != series_rows["step"].to_numpy()) | bits_differ(
            actual, series_rows["y"].to_numpy()
        )
        if wrong.any():
            text = (
                f"{int(wrong.sum())} of {len(series_rows)} forecasts of {name} are scored against a"
                " value of another time"
            )
            yield Finding("origins", detector, name, text)
        for block in SCORED_BLOCKS:
            previous_block = list(ends)[list(ends).index(block) - 1]
            start, stop = (
                count_rows_until(series.ds, ends[end]) for end in (previous_block, block)
            )
            last = range(start - 1, stop - task.horizon, task.step_size_in(block))
            grid = {row for row in last if row >= task.lookback - 1}
            is_in_block = (series_rows["block"] == block).to_numpy()
            for seed in seeds:
                scored_rows = set(
                    cutoff[is_in_block & (series_rows["seed"] == seed).to_numpy()].tolist()
                )
                if scored_rows != grid:
                    text = (
                        f"{name}, seed {seed}: {len(scored_rows)} origins in {block}, {len(grid)}"
                        " on the grid"
                    )
                    yield Finding("origins", detector, name, text)


def _check_naive(
    tables: dict[str, tuple[RunRecord, pd.DataFrame]], panel: Panel, detector: str
) -> Iterator[Finding]:
    """What every skill is measured against does repeat the last observed value (of differences the
    last change).
    """
    table = tables[NAIVE][1] if NAIVE in tables else pd.DataFrame()
    for series, output in _series_by_name(panel).values() if len(table) else ():
        column = panel.task.target[output]
        if "diff" in column.transform:
            continue
        series_rows = table[
            (table["unique_id"] == series.unique_id) & (table["output"] == column.name)
        ]
        last = (
            pd.Series(series.values[:, output], series.ds)
            .ffill()
            .reindex(series_rows["cutoff"])
            .to_numpy()
        )
        wrong = ~np.isclose(series_rows["y_hat"].to_numpy(), last, rtol=1e-6, equal_nan=True)
        if wrong.any():
            text = (
                f"{int(wrong.sum())} of {len(series_rows)} forecasts of {NAIVE} are not the value"
                " last observed"
            )
            yield Finding("scores", detector, NAIVE, text)


def _absolute_errors(rows: pd.DataFrame, series: Series, output: int) -> Errors:
    rows = rows.sort_values(["seed", "cutoff", "step"], kind="stable")
    seeds, steps = (
        tuple(sorted(int(seed) for seed in rows["seed"].unique())),
        max(rows["step"].nunique(), 1),
    )
    shape = (max(len(seeds), 1), -1, steps)
    target_rows = np.minimum(np.searchsorted(series.ds, rows["ds"].to_numpy()), len(series) - 1)
    y, y_hat = (
        series.values[target_rows, output].reshape(shape),
        rows["y_hat"].to_numpy().reshape(shape),
    )
    cutoffs = rows["cutoff"].to_numpy().reshape(shape)[0, :, 0]
    return Errors(seeds, np.abs(y - y_hat), np.abs(y[0] - y_hat.mean(axis=0)), cutoffs)


def _check_scores(
    base: Sandbox, test_errors: dict[tuple[str, str, str], Errors], detector: str
) -> Iterator[Finding]:
    """MAE, origins and skill of every seed, and of their mean, in by_series.parquet."""
    table = base.table("by_series.parquet")
    if table.empty:
        return
    published = table.set_index(["model", "ranking", "series", "seed"]).to_dict("index")
    for (model, ranking, name), errors in test_errors.items():
        rows = dict(zip(map(str, errors.seeds), errors.by_seed, strict=False))
        if len(errors.seeds) > 1:
            rows["mean"] = errors.ensemble
        naive = test_errors.get(("naive", "baseline", name))
        for seed, errors_of_seed in rows.items():
            row = published.get((model, ranking, name, seed), {})
            expected = {"mae": _mean(errors_of_seed), "n_origins": float(len(errors_of_seed))}
            if naive is not None and np.isfinite(errors_of_seed).all() and _mean(naive.by_seed) > 0:
                expected["skill"] = 1 - _mean(errors_of_seed) / _mean(naive.by_seed)
            for metric, value in expected.items():
                if not np.isclose(
                    float(row.get(metric, np.nan)),
                    value,
                    rtol=SCORE_TOLERANCE,
                    atol=SCORE_TOLERANCE,
                    equal_nan=True,
                ):
                    text = (
                        f"{metric} of {model} ({ranking}), {name}, seed {seed}, is"
                        f" {row.get(metric)}; "
                    )
                    yield Finding("scores", detector, model, text + f"its forecasts have {value:g}")


def _check_leaderboard(base: Sandbox, detector: str) -> Iterator[Finding]:
    """The leaderboard is the mean over the series of by_series.parquet; its row `mean` is that of
    the seeds' mean.

    The skill of several series is that of their mean MASE; of one, that of its errors, also where
    MASE has no scale.
    """
    board, table = base.table("leaderboard.csv"), base.table("by_series.parquet")
    if board.empty or table.empty:
        return
    is_single_series = table["series"].nunique() == 1
    names = ["mase", "skill", *(["mae", "rmse"] if is_single_series else [])]
    means = table.groupby(["model", "ranking", "seed"])[names].mean()
    naive = means.loc[means.index.get_level_values("model") == NAIVE, "mase"]
    if not is_single_series:
        means["skill"] = (
            1 - means["mase"] / naive.iloc[0] if len(naive) and naive.iloc[0] > 0 else np.nan
        )
    last = (
        means.groupby(level=["model", "ranking"]).tail(1).reset_index("seed", drop=True)
    )  # `mean`
    mean = last.assign(seed="mean").set_index("seed", append=True)
    expected = pd.concat([means.drop(index=mean.index.intersection(means.index)), mean])
    published = board[board["status"] == "ok"].set_index(["model", "ranking", "seed"])[names]
    common_rows = expected.index.intersection(published.index)
    is_equal = np.isclose(
        expected.loc[common_rows],
        published.loc[common_rows],
        rtol=SCORE_TOLERANCE,
        atol=SCORE_TOLERANCE,
        equal_nan=True,
    ).all(axis=1)
    for position in np.flatnonzero(~np.asarray(is_equal)):
        model, ranking, seed = common_rows[int(position)]
        text = f"the row {seed} of {model} ({ranking}) in leaderboard.csv is not that of its series"
        yield Finding("scores", detector, str(model), text)


def _check_validation_scores(
    base: Sandbox, validation_errors: ErrorsByRow, detector: str
) -> Iterator[Finding]:
    """The validation scores that the choice rests on, at the scale that by_series.parquet divides
    by.
    """
    board, table = base.table("leaderboard.csv"), base.table("by_series.parquet")
    if board.empty or table.empty:
        return
    scale = _scale_by_series(table)
    means = board[(board["seed"] == "mean") & (board["status"] == "ok")].set_index(
        ["model", "ranking"]
    )
    for row, errors in validation_errors.items():
        if row not in means.index:
            continue
        scaled_errors = [_mean(e.ensemble) / scale.get(name, np.nan) for name, e in errors.items()]
        expected, published = (
            float(np.mean(scaled_errors)),
            float(means["validation_mase"].to_dict()[row]),
        )
        if np.isfinite(expected) and not np.isclose(published, expected, rtol=1e-6):
            text = (
                f"the validation score of {row[0]} ({row[1]}) is {published:.6g}; its forecasts"
                f" have {expected:.6g}"
            )
            yield Finding("choice", detector, row[0], text)


def _check_choice(
    base: Sandbox, validation_errors: ErrorsByRow, detector: str
) -> Iterator[Finding]:
    """The chosen model of each ranking has the lowest validation loss of those that may be chosen,
    or, where the comparison says that it preferred another, of the baselines or of the combinations
    with learnt weights instead of all, of the combinations instead of single rows.
    """
    chosen, scale = base.verdicts.chosen, _scale_by_series(base.table("by_series.parquet"))
    losses = {
        row: _validation_loss(errors, scale)
        for row, errors in validation_errors.items()
        if row[0] != SERVICE
    }
    baselines = {model for model, ranking in losses if ranking == "baseline"}
    rules = {
        record.model: record.params
        for record in base.records().values()
        if record.kind == Combination.kind
    }
    learnt = {name for name, rule in rules.items() if Combination(**rule).is_learnt}
    for ranking, model in chosen.items():
        losses_in_ranking = {
            m: loss
            for (m, r), loss in losses.items()
            if r in (ranking, "baseline") and np.isfinite(loss)
        }
        best = min(losses_in_ranking, key=lambda name: losses_in_ranking[name], default=model)
        preference = base.verdicts.preferred.get(ranking)
        may_replace = model in rules or best not in baselines
        if preference is not None and preference.instead_of == best and may_replace:
            combined = learnt if preference.because == LEARNT else set(rules)
            group = combined if model in combined and best not in combined else baselines
            losses_in_ranking = {m: loss for m, loss in losses_in_ranking.items() if m in group}
            best = min(losses_in_ranking, key=lambda name: losses_in_ranking[name], default=model)
        if model not in losses_in_ranking or losses_in_ranking[model] > losses_in_ranking[best] * (
            1 + SCORE_TOLERANCE
        ):
            text = (
                f"{model} was chosen with {losses_in_ranking.get(model)} on validation; {best} has"
                f" {losses_in_ranking.get(best)}"
            )
            yield Finding("choice", detector, ranking, text)


def _scale_by_series(table: pd.DataFrame) -> pd.Series:
    """What by_series.parquet divides the errors of each series by."""
    return (
        (table["mae"] / table["mase"]).groupby(table["series"]).first()
        if len(table)
        else pd.Series(dtype=float)
    )


def _validation_loss(errors: dict[str, Errors], scale: pd.Series) -> float:
    """Of the seeds' mean, over the horizon, the series of an origin, the origins; not finite where
    one is not.
    """
    parts = []
    for name, e in errors.items():
        divisor = float(scale.get(name, np.nan))
        if np.isfinite(divisor):
            known = np.isfinite(e.ensemble)
            with np.errstate(invalid="ignore"):
                loss_by_cutoff = (
                    np.where(known, e.ensemble, 0.0).sum(axis=1) / known.sum(axis=1) / divisor
                )
            parts.append(pd.Series(loss_by_cutoff, e.cutoffs))
    return (
        float(pd.concat(parts).groupby(level=0).mean().mean(skipna=True)) if parts else float("nan")
    )


def check_best_kept(base: Sandbox, detector: str) -> Iterator[Finding]:
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


def check_intervals(base: Sandbox, panel: Panel, detector: str) -> Iterator[Finding]:
    """The intervals of every candidate from its forecasts and the rows before them, and those drawn
    of the chosen.

    Pooled over the steps. An interval wants both ends of its own series; the calibration block of
    another would do as well for a check of ranges.
    """
    published = base.table("intervals.parquet")
    if published.empty:
        return
    pooled = _pooled_scores(published)
    for name, record in base.records().items():
        rows_of_candidate = {
            key: row for key, row in pooled.items() if key[:2] == (record.model, record.ranking)
        }
        table = base.forecasts(name) if rows_of_candidate else pd.DataFrame()
        for key, row in rows_of_candidate.items():
            yield from _compare_interval_scores(
                row, _score_intervals(table, panel, key[2], key[3]), key, detector
            )
    yield from _check_drawn_intervals(base, panel, published, detector)


def _score_intervals(
    table: pd.DataFrame, panel: Panel, name: str, level: float
) -> dict[str, float]:
    series, output = _series_by_name(panel)[name]
    column = panel.task.target[output]
    target_rows = table[(table["unique_id"] == series.unique_id) & (table["output"] == column.name)]
    mean = target_rows.groupby(["block", "cutoff", "step"], sort=True)[["y", "y_hat"]].mean()
    transform, invert = TRANSFORMS.get(column.transform, (np.asarray, np.asarray))
    calibration, test = (mean.loc[block].unstack("step") for block in ("calibration", "test"))
    widths = _widths(
        transform(series.values[:, output]),
        panel.task,
        [series.ds.searchsorted(m.index) for m in (calibration, test)],
    )
    outside = (
        np.abs(transform(calibration["y"].to_numpy()) - transform(calibration["y_hat"].to_numpy()))
        / widths[0]
    )
    ranked = [
        np.sort(outside_of_step[np.isfinite(outside_of_step)]) for outside_of_step in outside.T
    ]
    margin = widths[1] * [
        outside_of_step[math.ceil(round((len(outside_of_step) + 1) * level, 9)) - 1]
        for outside_of_step in ranked
    ]
    centre = transform(test["y_hat"].to_numpy())
    low, high = column.limits
    lower = np.clip(invert(centre - margin), low, high)
    upper = np.clip(invert(centre + margin), low, high)
    return _interval_scores(test["y"].to_numpy(), lower, upper, level)


def _widths(y: np.ndarray, task: Task, rows: list[np.ndarray]) -> list[np.ndarray]:
    """(n, 1) for the calibration block and for the test block: (a v^2 / t^2 + 1 - a)^(3/8) with a =
    L / (L + 5), v^2 the mean squared seasonal difference inside the L rows before an origin, t^2
    the mean of calibration.
    """
    season = task.season_length if task.season_length < task.lookback else 1
    squares = pd.Series(y).diff(season).to_numpy() ** 2
    squares_before = [
        [squares[max(row + 1 - task.lookback + season, 0) : row + 1] for row in block]
        for block in rows
    ]
    means = [np.array([_mean(values) for values in block])[:, None] for block in squares_before]
    typical, share = _mean(means[0]), task.lookback / (task.lookback + 5)
    ratios = [values / typical if typical > 0 else np.ones_like(values) for values in means]
    return [
        (share * np.where(np.isfinite(values), values, 1.0) + 1 - share) ** 0.375
        for values in ratios
    ]


def _interval_scores(
    y: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float
) -> dict[str, float]:
    """Pooled over origins and steps; a missing actual is left out of coverage and score."""
    known = np.isfinite(y)
    missed = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
    score = (upper - lower) + 2 / (1 - level) * missed
    is_covered = (y >= lower) & (y <= upper)
    return {"coverage": float(is_covered[known].mean()), "winkler": float(score[known].mean())}


def _check_drawn_intervals(
    base: Sandbox, panel: Panel, published: pd.DataFrame, detector: str
) -> Iterator[Finding]:
    bands = base.table("bands.parquet")
    for key, row in _pooled_scores(published).items() if len(bands) else ():
        is_drawn = bands["series"].eq(key[2]) & bands["level"].eq(key[3])
        rows = bands[is_drawn & bands["model"].eq(key[0]) & bands["ranking"].eq(key[1])]
        if len(rows):
            series, output = _series_by_name(panel)[key[2]]
            target_rows = (
                np.searchsorted(series.ds, rows["cutoff"].to_numpy()) + rows["step"].to_numpy()
            )
            new_scores = _interval_scores(
                series.values[target_rows, output],
                rows["lower"].to_numpy(),
                rows["upper"].to_numpy(),
                key[3],
            )
            yield from _compare_interval_scores(row, new_scores, key, detector)


def _pooled_scores(table: pd.DataFrame) -> dict[IntervalKey, dict[str, float]]:
    """The scores over all steps, by model, ranking, series and level."""
    rows = table[table["step"] == 0].set_index(["model", "ranking", "series", "level"])
    scores_by_key: dict[IntervalKey, dict[str, float]] = rows[list(INTERVAL_SCORES)].to_dict(
        "index"
    )  # type: ignore[assignment]
    return scores_by_key


def _compare_interval_scores(
    row: dict[str, float], new_scores: dict[str, float], key: IntervalKey, detector: str
) -> Iterator[Finding]:
    for name, value in new_scores.items():
        if not np.isclose(float(row[name]), value, rtol=INTERVAL_TOLERANCE, equal_nan=True):
            subject = (
                f"{name} of the shown {100 * float(key[3]):g} % intervals of {key[0]} ({key[1]}),"
                f" {key[2]}, "
            )
            yield Finding(
                "scores",
                detector,
                str(key[0]),
                f"{subject}is {row[name]:.6g}; made again it is {value:.6g}",
            )
            return
