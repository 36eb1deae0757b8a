"""From the forecasts of a dataset to tidy scores: of each candidate a row for every seed, one for
the mean of the seeds' forecasts, and one for the spread of the seeds' scores.

Errors of different series are never pooled in their units: a dataset of several series has MASE,
RMSSE and skill averaged over the series, and no MAE or RMSE of its own (per series they are in
by_series.csv). Skill is everywhere 1 - MASE / MASE of naive on the same actuals, both averaged over
the series first: its sign is the order by MASE.

`score_candidates` makes a `ScoredCandidate` of each record, for `comparing`; a failed one has no
forecasts and no scores. `ForecastCube` is one series of one block as arrays, `Reference` what
errors are divided by. Without forecasts of naive nothing can be scored (`InputError`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.config.models import NAIVE
from forecast.config.task import Task
from forecast.data.panel import add_series_names, series_name
from forecast.data.records import RunRecord
from forecast.data.results import MEAN, SPREAD, Results
from forecast.data.schema import rows_by_series
from forecast.data.splits import BLOCKS, Borders
from forecast.system.errors import InputError
from forecast.system.processes import return_memory

SEED_ROUNDING = 1e-9
"""The part of a score by which two seeds of equal forecasts may differ."""


@dataclass(frozen=True)
class Reference:
    """What errors are measured against, per series: MASE and RMSSE scales of the train part
    (`scale`, `squared_scale`), actuals at the cutoffs (`last`), and the MAE of the naive forecast
    on the scored origins of one block: over all its actuals (`naive_error`), and per step (H,).
    """

    scale: Mapping[str, float]
    squared_scale: Mapping[str, float]
    last: Mapping[str, pd.Series]
    naive_error_by_step: Mapping[str, np.ndarray]
    naive_error: Mapping[str, float]

    def of_block(self, naive: pd.DataFrame, block: str) -> Reference:
        """With the errors of the forecasts `naive` on the origins of `block`."""
        cubes = series_forecasts(naive[naive["block"] == block], self.last)
        by_step = {c.series: np.array(metrics.errors_by_step(c.y, c.y_hat[0])[0]) for c in cubes}
        whole = {c.series: metrics.mae(c.y, c.y_hat[0]) for c in cubes}
        return replace(self, naive_error_by_step=by_step, naive_error=whole)

    def naive_mase(self, scores: pd.DataFrame) -> list[float]:
        """Naive's MASE for every row of `scores`: on the row's series, at its `step` where there is
        such a column, else over the whole block; NaN where the row has no MASE.
        """
        if "step" in scores:
            rows = zip(scores["series"], scores["step"], strict=True)
            errors = [self.naive_error_by_step[name][step - 1] for name, step in rows]
        else:
            errors = [self.naive_error[name] for name in scores["series"]]
        scale = np.array([self.scale[name] for name in scores["series"]], dtype=float)
        return list(np.where(scores["mase"].notna(), np.array(errors) / scale, np.nan))


@dataclass(frozen=True)
class ForecastCube:
    """One candidate's forecasts of one series: y (n, H), y_hat (seeds, n, H), last (n,), which
    seeds, cutoffs (n,), the series' volatility (n,) before each, and the times (n, H) of y.
    """

    series: str
    y: np.ndarray
    y_hat: np.ndarray
    last: np.ndarray
    seeds: tuple[int, ...]
    cutoffs: np.ndarray
    volatility: np.ndarray
    ds: np.ndarray

    @property
    def seed_mean(self) -> np.ndarray:
        """(n, H): the mean of the seeds' forecasts."""
        return np.asarray(self.y_hat.mean(axis=0))


def series_forecasts(forecasts: pd.DataFrame, last: Mapping[str, pd.Series]) -> list[ForecastCube]:
    """The long frame of one candidate and block as arrays, origins in time order."""
    rows = add_series_names(forecasts)
    codes, names = pd.factorize(rows["series"], sort=True)
    keys = [rows[name].to_numpy() for name in ("step", "cutoff", "seed")]
    order = np.lexsort([*keys, codes])
    values = (rows[name].to_numpy() for name in ("y", "y_hat", "volatility", "ds"))
    steps, cutoffs, seeds, y, y_hat, volatility, ds = (a[order] for a in (*keys, *values))
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
    result = []
    for name, (start, stop) in zip(names.astype(str), itertools.pairwise(edges), strict=True):
        series_rows = slice(start, stop)
        known, horizon = np.unique(seeds[series_rows]), len(np.unique(steps[series_rows]))
        shape = (len(known), (stop - start) // (len(known) * horizon), horizon)
        origins = cutoffs[series_rows].reshape(shape)[0, :, 0].copy()
        before = volatility[series_rows].reshape(shape)[0, :, 0].copy()
        result.append(
            ForecastCube(
                series=name,
                y=y[series_rows].reshape(shape)[0].copy(),
                y_hat=y_hat[series_rows].reshape(shape),
                last=last[name].reindex(origins).to_numpy(dtype=float),
                seeds=tuple(known.tolist()),
                cutoffs=origins,
                volatility=before,
                ds=ds[series_rows].reshape(shape)[0].copy(),
            )
        )
    return result


def seeds_and_mean(cube: ForecastCube) -> Iterator[tuple[str, np.ndarray]]:
    """Seeds one by one, then the mean of their forecasts where there are several."""
    for seed, y_hat in zip(cube.seeds, cube.y_hat, strict=True):
        yield str(seed), y_hat
    if len(cube.y_hat) > 1:
        yield MEAN, cube.seed_mean


def reference_of_block(
    frame: pd.DataFrame, naive: pd.DataFrame, task: Task, borders: Borders, block: str
) -> Reference:
    """The scales of the train rows of each series, which are the same for every block; its last
    known value at every time; and the errors of the naive forecast on the origins of `block`.
    """
    scale, squared, last = {}, {}, {}
    targets = list(task.targets)
    known = frame.groupby("unique_id", sort=False)[targets].ffill()
    for uid, rows in sorted(rows_by_series(frame).items()):
        times = pd.Index(frame["ds"].to_numpy()[rows])
        is_train = times <= borders.of_series(uid).train_end
        for target in targets:
            name = series_name(uid, target, targets)
            train = frame[target].to_numpy()[rows][is_train]
            scale[name] = metrics.insample_scale(train, season_length=task.season_length)
            squared[name] = metrics.insample_scale(
                train, season_length=task.season_length, squared=True
            )
            last[name] = pd.Series(known[target].to_numpy()[rows], index=times)
    return Reference(scale, squared, last, {}, {}).of_block(naive, block)


def series_scores(forecasts: Iterable[ForecastCube], reference: Reference) -> pd.DataFrame:
    """One row per series and seed, and of the seeds' mean: every metric in the series' own unit."""
    rows = []
    for cube in forecasts:
        y, name = cube.y, cube.series
        scales = reference.scale[name], reference.squared_scale[name]
        known = (cube.last[:, None], *scales, reference.naive_error[name])
        for seed, y_hat in seeds_and_mean(cube):
            sample = metrics.Sample(y, y_hat, *known, metrics.mae(y, y_hat), metrics.rmse(y, y_hat))
            rows.append((name, seed, *_values(sample, metrics.METRICS), len(y)))
    return pd.DataFrame(
        rows, columns=["series", "seed", *(metric.name for metric in metrics.METRICS), "n_origins"]
    )


def step_scores(forecasts: Iterable[ForecastCube], reference: Reference) -> pd.DataFrame:
    """The same per horizon step, for the plots: the metrics that are scored by step."""
    metrics_by_step = [metric for metric in metrics.METRICS if metric.by_step]
    rows = []
    for cube in forecasts:
        scales = reference.scale[cube.series], reference.squared_scale[cube.series]
        naive = reference.naive_error_by_step[cube.series].tolist()
        for seed, y_hat in seeds_and_mean(cube):
            errors = zip(
                naive, *metrics.errors_by_step(cube.y, y_hat), cube.y.T, y_hat.T, strict=True
            )
            for step, (base, mae, rmse, y, forecast) in enumerate(errors, 1):
                sample = metrics.Sample(y, forecast, cube.last, *scales, base, mae, rmse)
                rows.append((cube.series, seed, step, *_values(sample, metrics_by_step)))
    return pd.DataFrame(
        rows, columns=["series", "seed", "step", *(metric.name for metric in metrics_by_step)]
    )


def _values(sample: metrics.Sample, metric_list: Iterable[metrics.Metric]) -> list[float]:
    """The metrics in their order; NaN where one says nothing."""
    values = (metric.of(sample) for metric in metric_list)
    return [np.nan if value is None else value for value in values]


def average_over_series(scores: pd.DataFrame, by: list[str], reference: Reference) -> pd.DataFrame:
    """The mean over the series of what may be averaged; with one series every metric stays as it
    is. A series without a MASE is compared by no test, so no metric of several counts it.

    Skill is taken of the mean MASE: the mean of the series' skills could call a model better than
    naive that has the higher MASE.
    """
    if scores["series"].nunique() == 1:
        return scores.drop(columns="series")
    numbers = [c for c in scores.columns if c not in ("series", *by)]
    is_compared = scores["series"].isin(scores.loc[scores["mase"].notna(), "series"])
    if is_compared.any():
        scores = scores[is_compared]
    scores = scores.assign(naive_mase=reference.naive_mase(scores))
    mean = scores.groupby(by, sort=False, as_index=False)[[*numbers, "naive_mase"]].mean()
    mean["skill"] = [
        metrics.skill(model_mase, naive_mase)
        for model_mase, naive_mase in zip(mean["mase"], mean.pop("naive_mase"), strict=True)
    ]
    if "n_origins" in mean:
        mean["n_origins"] = mean["n_origins"].astype(int)
    return mean.assign(**{m.name: np.nan for m in metrics.METRICS if m.in_units and m.name in mean})


def add_mean_and_spread(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """`scores` with a row for each seed, one for `mean` and, of several seeds, one for `std`: the
    standard deviation (n - 1) of their scores.

    `mean` is no average of scores: it is what the mean of the seeds' forecasts scores, and that is
    what serves. Several seeds have it already; of one seed it is that seed's row again.
    """
    seeds = scores[scores["seed"] != MEAN]
    numbers = [c for c in scores.columns if c not in ("seed", *by)]
    if len(seeds) == len(scores):
        added = scores.assign(seed=MEAN)
    else:
        by_key = seeds.assign(seed=SPREAD).groupby(["seed", *by], sort=False)[numbers]
        spread = by_key.std()
        # seeds of equal forecasts differ by the rounding of the processes that fitted them
        is_rounding = spread < SEED_ROUNDING * by_key.max().abs()
        added = spread.mask(is_rounding, 0.0).reset_index()
    result = pd.concat([scores, added], ignore_index=True)
    if "n_origins" in result:
        result["n_origins"] = int(seeds["n_origins"].iloc[0])
    return result[list(scores.columns)]


@dataclass(frozen=True)
class ScoredCandidate:
    """One candidate: its record and, where it did not fail, its forecasts by block and its scores
    on test.
    """

    record: RunRecord
    blocks: Mapping[str, tuple[ForecastCube, ...]] = field(default_factory=dict)
    board: pd.DataFrame | None = None
    by_step: pd.DataFrame | None = None
    by_series: pd.DataFrame | None = None
    validation: pd.DataFrame | None = None
    """Test scores: `board` over the series, `by_series`, `by_step`; `validation` is what the choice
    looks at.
    """

    @property
    def name(self) -> str:
        """The candidate, as its folder is named."""
        return self.record.candidate


def score_candidates(
    results: Results, frame: pd.DataFrame, task: Task, borders: Borders
) -> tuple[list[ScoredCandidate], Mapping[str, Reference]]:
    """All candidates scored on test, and on validation for the choice; by block the `Reference`
    that errors are measured against; `InputError` without forecasts of naive.
    """
    naive = results.records.get(NAIVE)
    if naive is None or naive.has_failed:
        raise InputError(
            f"{results.paths.trained(results.name)} has no forecasts of {NAIVE!r}; every score is"
            " taken against it. Put `naive` into the grid of configs/models.yaml."
        )
    on_test = reference_of_block(frame, results.forecasts(NAIVE, "test"), task, borders, "test")
    on_validation = on_test.of_block(results.forecasts(NAIVE, "validation"), "validation")
    reference = {"test": on_test, "validation": on_validation}
    return [
        _score_candidate(record, results, reference) for record in results.records.values()
    ], reference


def _score_candidate(
    record: RunRecord, results: Results, reference: Mapping[str, Reference]
) -> ScoredCandidate:
    """The candidate of `record` with its forecasts by block, its scores on test, and those on
    validation; without any where it failed. `reference` by block.
    """
    if record.has_failed:
        return ScoredCandidate(record)
    on_test = reference["test"]
    blocks = {
        b: tuple(series_forecasts(results.forecasts(record.candidate, b), on_test.last))
        for b in BLOCKS[1:]
    }
    by_series = series_scores(blocks["test"], on_test)
    by_step = step_scores(blocks["test"], on_test)
    on_validation = series_scores(blocks["validation"], reference["validation"])
    return_memory()
    return ScoredCandidate(
        record=record,
        blocks=blocks,
        board=add_mean_and_spread(average_over_series(by_series, ["seed"], on_test), []),
        by_step=add_mean_and_spread(
            average_over_series(by_step, ["seed", "step"], on_test), ["step"]
        ),
        by_series=by_series,
        validation=add_mean_and_spread(
            average_over_series(on_validation, ["seed"], reference["validation"]), []
        ),
    )
