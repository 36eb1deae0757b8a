"""Every published score, choice and interval once more, from the prepared rows and the forecasts
alone: by code of the audit's own, for its runs and for the finished results of a project.

`rescore` asks whether the forecasts are complete and against the true actuals, then whether the
tables hold their scores and the choice follows them; `check_best_kept` whether trials and steps
with the lowest validation loss were kept; `check_intervals` whether the intervals have the coverage
and the score that is published.

A perturbation shows what a number depends on, not whether it is the number it says it is: a score
over the easier origins, against shifted actuals, of the luckier seed, or a choice by something else
than validation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import count_rows_until
from forecast.audit.origins import bits_differ
from forecast.audit.sandbox import Sandbox
from forecast.config.experiment import Combination
from forecast.config.task import Task, TaskColumn
from forecast.data.calendars import season_positions
from forecast.data.panel import Panel, Series, add_series_names, series_name
from forecast.data.records import StudyRecord

SCORE_TOLERANCE = 1e-8
SCORED_BLOCKS = ("validation", "calibration", "test")
NAIVE = "naive"
SERVICE = "service"
BlockEnds = dict[str, pd.Timestamp]
INTERVAL_SCORES = ("coverage", "width", "winkler")
TRANSFORM_FORMULAS: dict[str, Any] = {
    "none": (np.asarray, np.asarray),
    "diff": (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "logdiff": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
    "logit": (lambda y: np.log(y / (1 - y)), lambda x: 1 / (1 + np.exp(-x))),
}
INTERVAL_TOLERANCE = 1e-6
IntervalKey = tuple[str, str, str, float]


ErrorsByRow = dict[tuple[str, str], pd.DataFrame]
"""(model, ranking) to the absolute errors on one block, see `_absolute_errors`."""


def rescore(
    base: Sandbox, panel: Panel, ends: BlockEnds, seeds: list[int], detector: str
) -> list[Finding]:
    """Forecasts complete and against the true actuals; scores on test and validation those of these
    forecasts.

    A later question is asked only where the one before it found nothing: its answer would be a
    consequence.
    """
    findings: list[Finding] = []
    records = {name: record for name, record in base.records().items() if not record.has_failed}
    tables = {name: base.forecasts(name) for name in records}
    for name, table in tables.items():
        expected_seeds = seeds if records[name].is_network else [0]
        findings += _check_forecasts(table, panel, ends, expected_seeds, name, detector)
    by_series = base.table("by_series.parquet")
    if findings or by_series.empty:
        return findings
    test_errors: ErrorsByRow = {}
    validation_errors: ErrorsByRow = {}
    for name, record in records.items():
        row = (record.model, record.ranking)
        validation_errors[row] = _absolute_errors(tables[name], "validation")
        test_errors[row] = _absolute_errors(tables[name], "test")
    if NAIVE in tables:
        findings += _check_naive(tables[NAIVE], hide_wild(panel, ends["train"]), detector)
    board = base.table("leaderboard.csv")
    # what the published table divides the errors of each series by
    scale = (by_series["mae"] / by_series["mase"]).groupby(by_series["series"]).first()
    findings += list(_check_scores(by_series, test_errors, detector)) or [
        *_check_leaderboard(board, by_series, detector),
        *_check_validation_scores(board, scale, validation_errors, detector),
    ]
    findings += _check_choice(base, scale, validation_errors, detector)
    return findings


def hide_wild(panel: Panel, train_end: pd.Timestamp) -> Panel:
    """The panel as models see it: without a value that alone lies 30 spans (95th less 5th
    percentile) of the train rows beyond them, where these are 20 and their middle half differs.
    """
    masked_series = []
    for series in panel.series:
        table = pd.DataFrame(series.values)
        train = table[: count_rows_until(series.ds, train_end)]
        low, first, third, high = train.quantile([0.05, 0.25, 0.75, 0.95]).to_numpy()
        reach = (30 * (high - low)) / ((train.count() >= 20) & (third > first))
        is_far = (table < low - reach) | (table > high + reach)
        is_alone = is_far & ~is_far.shift(fill_value=False)
        masked_series.append(replace(series, values=table.mask(is_alone).to_numpy()))
    return replace(panel, series=tuple(masked_series))


def _absolute_errors(table: pd.DataFrame, block: str) -> pd.DataFrame:
    """|y - y_hat| of one candidate's forecasts in a block: by series, cutoff and step, a column for
    each seed, and "mean" of the seeds' mean.
    """
    rows = add_series_names(table[table["block"] == block])
    keys = ["series", "cutoff", "step"]
    y_hat = rows.pivot(index=keys, columns="seed", values="y_hat")
    y_hat.columns = y_hat.columns.astype(str)
    y_hat["mean"] = y_hat.mean(axis=1)
    return y_hat.rsub(rows.groupby(keys)["y"].first(), axis=0).abs()


def _series_by_name(panel: Panel) -> dict[str, tuple[Series, int]]:
    """Series and place of its target by the name of the two in the published tables."""
    targets = panel.task.targets
    by_name = {}
    for series in panel.series:
        for output, target in enumerate(targets):
            by_name[series_name(series.unique_id, target, targets)] = (series, output)
    return by_name


def _rows_of(table: pd.DataFrame, series: Series, target: TaskColumn) -> pd.DataFrame:
    """The forecasts of one target of one series."""
    return table[(table["unique_id"] == series.unique_id) & (table["output"] == target.name)]


def _check_forecasts(
    table: pd.DataFrame, panel: Panel, ends: BlockEnds, seeds: list[int], name: str, detector: str
) -> Iterator[Finding]:
    """Every seed forecasts every origin of the grid of every block, and `y` is the value at `ds`,
    `step` rows on.
    """
    task = panel.task
    for series in panel.series:
        series_rows = table[table["unique_id"] == series.unique_id]
        cutoff = np.searchsorted(series.ds, series_rows["cutoff"].to_numpy())
        ahead = np.searchsorted(series.ds, series_rows["ds"].to_numpy())
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
            start = count_rows_until(series.ds, ends[previous_block])
            stop = count_rows_until(series.ds, ends[block])
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


def _check_naive(table: pd.DataFrame, panel: Panel, detector: str) -> Iterator[Finding]:
    """The forecasts of naive, which every skill is measured against, repeat the last observed
    value; of differences they repeat the last change, and are not looked at.
    """
    for series, output in _series_by_name(panel).values():
        column = panel.task.target[output]
        if "diff" in column.transform:
            continue
        series_rows = _rows_of(table, series, column)
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


def _check_scores(
    table: pd.DataFrame, test_errors: ErrorsByRow, detector: str
) -> Iterator[Finding]:
    """A finding for each MAE, number of origins and skill in by_series.parquet that is not the one
    of the forecasts, of every seed and, of several, of their mean (seed "mean").

    A row that is missing there is found by its origins.
    """
    published = table.set_index(["model", "ranking", "series", "seed"]).to_dict("index")
    naive = {}
    if (NAIVE, "baseline") in test_errors:
        naive = test_errors[NAIVE, "baseline"]["mean"].groupby(level="series").mean().to_dict()
    for (model, ranking), errors in test_errors.items():
        by_seed = errors.drop(columns="mean") if len(errors.columns) == 2 else errors
        for name, of_series in by_seed.groupby(level="series"):
            n_origins = of_series.index.get_level_values("cutoff").nunique()
            for seed, missed in of_series.items():
                row = published.get((model, ranking, name, seed), {})
                expected = {"mae": float(missed.mean()), "n_origins": float(n_origins)}
                if missed.notna().all() and naive.get(name, 0.0) > 0:
                    expected["skill"] = 1 - expected["mae"] / naive[name]
                for metric, value in expected.items():
                    if not _is_close(float(row.get(metric, np.nan)), value):
                        text = (
                            f"{metric} of {model} ({ranking}), {name}, seed {seed}, is"
                            f" {row.get(metric)}; its forecasts have {value:g}"
                        )
                        yield Finding("scores", detector, model, text)


def _is_close(published: Any, expected: Any) -> Any:
    """Whether scores are equal to `SCORE_TOLERANCE`; NaN equals NaN."""
    tolerance = SCORE_TOLERANCE
    return np.isclose(published, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def _check_leaderboard(
    board: pd.DataFrame, table: pd.DataFrame, detector: str
) -> Iterator[Finding]:
    """The leaderboard is the mean over the series of by_series.parquet; its row `mean` is that of
    the seeds' mean.

    The skill of several series is that of their mean MASE; of one, that of its errors, also where
    MASE has no scale.
    """
    is_single_series = table["series"].nunique() == 1
    names = ["mase", "skill"]
    if is_single_series:
        names += ["mae", "rmse"]
    means = table.groupby(["model", "ranking", "seed"])[names].mean()
    naive = means.loc[means.index.get_level_values("model") == NAIVE, "mase"]
    if not is_single_series:
        means["skill"] = np.nan
        if len(naive) and naive.iloc[0] > 0:
            means["skill"] = 1 - means["mase"] / naive.iloc[0]
    # the last row is `mean`, or the only seed
    last = means.groupby(level=["model", "ranking"]).tail(1).reset_index("seed", drop=True)
    mean = last.assign(seed="mean").set_index("seed", append=True)
    expected = pd.concat([means.drop(index=mean.index.intersection(means.index)), mean])
    published = board[board["status"] == "ok"].set_index(["model", "ranking", "seed"])[names]
    common_rows = expected.index.intersection(published.index)
    is_equal = _is_close(published.loc[common_rows], expected.loc[common_rows]).all(axis=1)
    for position in np.flatnonzero(~np.asarray(is_equal)):
        model, ranking, seed = common_rows[int(position)]
        text = f"the row {seed} of {model} ({ranking}) in leaderboard.csv is not that of its series"
        yield Finding("scores", detector, str(model), text)


def _check_validation_scores(
    board: pd.DataFrame, scale: pd.Series, validation_errors: ErrorsByRow, detector: str
) -> Iterator[Finding]:
    """The validation scores that the choice rests on, at the scale that by_series.parquet divides
    by.
    """
    means = board[(board["seed"] == "mean") & (board["status"] == "ok")]
    published_scores = means.set_index(["model", "ranking"])["validation_mase"].to_dict()
    for row, errors in validation_errors.items():
        if row not in published_scores:
            continue
        by_series = errors["mean"].groupby(level="series").mean()
        expected = float((by_series / scale.reindex(by_series.index)).mean(skipna=False))
        published = float(published_scores[row])
        if np.isfinite(expected) and not np.isclose(published, expected, rtol=1e-6):
            text = (
                f"the validation score of {row[0]} ({row[1]}) is {published:.6g}; its forecasts"
                f" have {expected:.6g}"
            )
            yield Finding("choice", detector, row[0], text)


def _check_choice(
    base: Sandbox, scale: pd.Series, validation_errors: ErrorsByRow, detector: str
) -> Iterator[Finding]:
    """The chosen model of each ranking has the lowest validation loss of the combinations with
    learnt weights, or of all that may be chosen where none of them is in the ranking.
    """
    losses = {
        row: _validation_loss(errors, scale)
        for row, errors in validation_errors.items()
        if row[0] != SERVICE
    }
    learnt = {
        record.model
        for record in base.records().values()
        if record.kind == Combination.kind and Combination(**record.params).is_learnt
    }
    for ranking, model in base.verdicts.chosen.items():
        losses_in_ranking = {
            m: loss
            for (m, r), loss in losses.items()
            if r in (ranking, "baseline") and np.isfinite(loss)
        }
        losses_of_learnt = {m: loss for m, loss in losses_in_ranking.items() if m in learnt}
        losses_in_ranking = losses_of_learnt or losses_in_ranking
        best = min(losses_in_ranking, key=losses_in_ranking.__getitem__, default=model)
        limit = losses_in_ranking.get(best, np.inf) * (1 + SCORE_TOLERANCE)
        if losses_in_ranking.get(model, np.inf) > limit or model not in losses_in_ranking:
            text = (
                f"{model} was chosen with {losses_in_ranking.get(model)} on validation; {best} has"
                f" {losses_in_ranking.get(best)}"
            )
            yield Finding("choice", detector, ranking, text)


def _validation_loss(errors: pd.DataFrame, scale: pd.Series) -> float:
    """The mean over all origins of the series with a scale."""
    by_origin = errors["mean"].groupby(level=["series", "cutoff"]).mean()
    scaled = by_origin / scale.reindex(by_origin.index.get_level_values("series")).to_numpy()
    return float(scaled.mean())


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
    """Of the finite ones; NaN without any."""
    known: Any = errors[np.isfinite(errors)]
    return float(known.mean()) if known.size else math.nan


def check_intervals(
    base: Sandbox, panel: Panel, ends: BlockEnds, detector: str
) -> Iterator[Finding]:
    """The intervals of every candidate from its forecasts and the rows before them, and those drawn
    of the chosen.

    Over all steps. Made again from the series' own errors: a check that coverage is plausible would
    pass with those of another.
    """
    published = base.table("intervals.parquet")
    if published.empty:
        return
    pooled = _pooled_scores(published)
    masked_panel = hide_wild(panel, ends["train"])
    for name, record in base.records().items():
        keys = [key for key in pooled if key[:2] == (record.model, record.ranking)]
        if not keys:
            continue
        errors_of = _short_together(_scaled_errors(base.forecasts(name), masked_panel))
        for key in keys:
            new_scores = _score_intervals(errors_of[key[2]], masked_panel.task, key[3])
            yield from _compare_interval_scores(pooled[key], new_scores, key, detector)
    yield from _check_drawn_intervals(base, panel, published, detector)


@dataclass(frozen=True)
class _Errors:
    """Of one series: what its intervals are made of, in the units of the transform."""

    column: TaskColumn
    scores: list[np.ndarray]
    """(n, H) and (m, H), of the calibration and the test block: absolute errors over the widths of
    their origins and the factors of their positions."""
    is_quiet: list[np.ndarray]
    """Whether these are at positions whose errors are ranked apart."""
    widths: np.ndarray
    """(m, H): widths times factors of the test block."""
    y: np.ndarray
    y_hat: np.ndarray
    """(m, H): the actuals and mean forecasts of the test block."""
    rows: np.ndarray
    """(m,): of its origins."""
    usual: float
    """The mean absolute error of the validation and the calibration block."""
    relative: np.ndarray | None = None
    """(N, H): where the calibration block is short, the scores of all series whose errors are
    ranked together, its own included, each over its usual error."""


def _scaled_errors(table: pd.DataFrame, panel: Panel) -> dict[str, _Errors]:
    """By series that has calibration and test errors, from the forecasts of a candidate."""
    errors_of = {}
    for name, (series, output) in _series_by_name(panel).items():
        column = panel.task.target[output]
        target_rows = _rows_of(table, series, column)
        mean = target_rows.groupby(["block", "cutoff", "step"], sort=True)[["y", "y_hat"]].mean()
        if {"calibration", "test"} <= set(mean.index.get_level_values("block")):
            errors_of[name] = _errors_of_series(mean, series, column, panel.task)
    return errors_of


def _errors_of_series(
    mean: pd.DataFrame, series: Series, column: TaskColumn, task: Task
) -> _Errors:
    """From its actuals and mean forecasts by block, cutoff and step."""
    transform, _ = TRANSFORM_FORMULAS[column.transform]
    before = mean[mean.index.get_level_values("block").isin(["validation", "calibration"])]
    blocks = [mean.loc[block].unstack("step") for block in ("calibration", "test")]
    origins = [series.ds.searchsorted(block.index) for block in blocks]
    values = series.values[:, task.targets.index(column.name)]
    widths = _widths(transform(values), task, origins)
    scores = []
    positions = []
    for block, rows, width in zip(blocks, origins, widths, strict=True):
        residuals = transform(block["y"].to_numpy()) - transform(block["y_hat"].to_numpy())
        scores.append(np.abs(residuals) / width)
        ds = series.ds[rows[:, None] + np.arange(1, task.horizon + 1)]
        positions.append(season_positions(task.calendar, ds, task.season_length))
    factor_of, quiet_positions = _compare_positions(scores[0], positions[0])
    for number, at in enumerate(positions):
        factors = np.vectorize(lambda position: factor_of.get(position, 1.0))(at)
        scores[number] = scores[number] / factors
        widths[number] = widths[number] * factors
    return _Errors(
        column=column,
        scores=scores,
        is_quiet=[np.isin(at, quiet_positions) for at in positions],
        widths=widths[1],
        y=blocks[1]["y"].to_numpy(),
        y_hat=blocks[1]["y_hat"].to_numpy(),
        rows=origins[1],
        usual=_mean(np.abs(transform(before["y"]) - transform(before["y_hat"]))),
    )


def _short_together(errors_of: dict[str, _Errors]) -> dict[str, _Errors]:
    """Each series with fewer than 19 calibration origins has the relative errors of all such series
    of its target, where ten or more of these have errors at every step.
    """
    short: dict[str, list[str]] = {}
    for name, errors in errors_of.items():
        has_errors = np.isfinite(errors.scores[0]).any(axis=0).all() and errors.usual > 0
        if len(errors.scores[0]) < 19 and has_errors:
            short.setdefault(errors.column.name, []).append(name)
    together = dict(errors_of)
    for names in short.values():
        if len(names) >= 10:
            of_series = [errors_of[name] for name in names]
            relative = np.concatenate([errors.scores[0] / errors.usual for errors in of_series])
            together |= {name: replace(errors_of[name], relative=relative) for name in names}
    return together


def _score_intervals(errors: _Errors, task: Task, level: float) -> dict[str, float]:
    """Coverage and interval score on test of the split conformal intervals of a series.

    A margin is an order statistic of the newest absolute errors over their widths (`_margins`), as
    many of a step as the calibration block has. Those of an origin count from the cutoff that knows
    all its targets, and are taken in when a fortieth of that number has come together.
    """
    if errors.relative is not None:
        known = [of_step[np.isfinite(of_step)] for of_step in errors.relative.T]
        margin = errors.usual * np.array([_order_statistic(each, level) for each in known])
    else:
        margin = _margins_in_turn(errors, task, level)
    margin = margin * errors.widths
    transform, invert = TRANSFORM_FORMULAS[errors.column.transform]
    centre = transform(errors.y_hat)
    low, high = errors.column.limits
    lower = np.clip(invert(centre - margin), low, high)
    upper = np.clip(invert(centre + margin), low, high)
    return _interval_scores(errors.y, lower, upper, level)


def _margins_in_turn(errors: _Errors, task: Task, level: float) -> np.ndarray:
    """(m, H) of the test block, by the newest errors that are known at each cutoff."""
    n_newest = len(errors.scores[0])
    n_known = np.searchsorted(errors.rows + task.horizon, errors.rows, side="right")
    n_known -= n_known % max(1, n_newest // 40)
    margin = np.empty_like(errors.scores[1])
    for n_later in np.unique(n_known):
        at = n_known == n_later
        others, quiet = _margins(
            np.concatenate([errors.scores[0], errors.scores[1][:n_later]]),
            np.concatenate([errors.is_quiet[0], errors.is_quiet[1][:n_later]]),
            n_newest,
            level,
        )
        margin[at] = np.where(errors.is_quiet[1][at], quiet, others)
    return margin


def _widths(y: np.ndarray, task: Task, rows: list[np.ndarray]) -> list[np.ndarray]:
    """(n, 1) for the calibration block and for the test block: (a v^2 / t^2 + 1 - a)^(3/8) with a =
    L / (L + 5), v^2 the mean squared seasonal difference inside the L rows before an origin, t^2
    the mean of calibration.
    """
    season = task.season_length if task.season_length < task.lookback else 1
    squares = pd.Series(y).diff(season).to_numpy() ** 2
    share = task.lookback / (task.lookback + 5)
    typical = math.nan
    reach = task.lookback - season - 1
    widths: list[np.ndarray] = []
    for block in rows:
        means = np.array([_mean(squares[max(row - reach, 0) : row + 1]) for row in block])
        if not widths:
            typical = _mean(means)
        ratios = means / typical if typical > 0 else np.ones_like(means)
        ratios = np.where(np.isfinite(ratios), ratios, 1.0)
        widths.append(((share * ratios + 1 - share) ** 0.375)[:, None])
    return widths


def _compare_positions(
    errors: np.ndarray, positions: np.ndarray
) -> tuple[dict[int, float], list[int]]:
    """Of each position in the season: the root of the mean error there, over that of its step, with
    sixty errors of the usual size beside; and the positions where sixty errors or more are below a
    third of the usual size.
    """
    long = pd.DataFrame({"position": positions.ravel(), "error": errors.ravel()})
    long["step"] = np.tile(np.arange(errors.shape[1]), len(errors))
    usual = long.groupby("step")["error"].transform("mean")
    long["ratio"] = long["error"] / usual.where(usual > 0, 1.0)
    ratios = long.groupby("position")["ratio"].agg(["sum", "count", "mean"])
    is_quiet = (ratios["mean"] < 1 / 3) & (ratios["count"] >= 60)
    factors = np.sqrt((ratios["sum"] + 60) / (ratios["count"] + 60))
    return dict(factors), list(ratios.index[is_quiet])


def _margins(
    errors: np.ndarray, is_quiet: np.ndarray, n_newest: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """(H,) of the newest errors of each step, at usual positions and at quiet ones, whose errors of
    all steps are ranked together; of all errors of a step where those of either are too few.
    """
    newest = []
    for of_step, is_quiet_of_step in zip(errors.T, is_quiet.T, strict=True):
        rows = np.flatnonzero(np.isfinite(of_step))[-n_newest:]
        newest.append((of_step[rows], is_quiet_of_step[rows]))
    pooled = np.concatenate([of_step[at_quiet] for of_step, at_quiet in newest])
    quiet = np.full(len(newest), _order_statistic(pooled, level))
    usual = np.array([_order_statistic(of_step[~at_quiet], level) for of_step, at_quiet in newest])
    together = np.array([_order_statistic(of_step, level) for of_step, _ in newest])
    is_apart = np.isfinite(usual + quiet)
    return np.where(is_apart, usual, together), np.where(is_apart, quiet, together)


def _order_statistic(errors: np.ndarray, level: float) -> float:
    """Number ceil((n + 1) level) of n errors in rising order; NaN beyond the last."""
    rank = math.ceil(round((len(errors) + 1) * level, 9))
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else math.nan


def _interval_scores(
    y: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float
) -> dict[str, float]:
    """Pooled over origins and steps; a missing actual is left out of coverage and score."""
    known = np.isfinite(y)
    missed = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
    score = (upper - lower) + 2 / (1 - level) * missed
    is_covered = (y >= lower) & (y <= upper)
    return {"coverage": _mean(is_covered[known].astype(float)), "winkler": _mean(score[known])}


def _check_drawn_intervals(
    base: Sandbox, panel: Panel, published: pd.DataFrame, detector: str
) -> Iterator[Finding]:
    """The intervals drawn of the selected models have the published coverage and score."""
    bands = base.table("bands.parquet")
    if bands.empty:
        return
    for key, row in _pooled_scores(published).items():
        is_drawn = bands["series"].eq(key[2]) & bands["level"].eq(key[3])
        rows = bands[is_drawn & bands["model"].eq(key[0]) & bands["ranking"].eq(key[1])]
        if len(rows):
            series, output = _series_by_name(panel)[key[2]]
            cutoffs = np.searchsorted(series.ds, rows["cutoff"].to_numpy())
            target_rows = cutoffs + rows["step"].to_numpy()
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
    """A finding for the first of `new_scores` that the published `row` does not have; nothing where
    all agree to `INTERVAL_TOLERANCE`.
    """
    for name, value in new_scores.items():
        if not np.isclose(float(row[name]), value, rtol=INTERVAL_TOLERANCE, equal_nan=True):
            model, ranking, series, level = key
            text = (
                f"{name} of the shown {100 * level:g} % intervals of {model} ({ranking}), {series},"
                f" is {row[name]:.6g}; made again it is {value:.6g}"
            )
            yield Finding("scores", detector, model, text)
            return
