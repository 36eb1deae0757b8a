"""Scores every candidate of a dataset (`score_candidates`, for `comparing`): one row for each seed,
one for the mean of the seeds' forecasts, of several seeds one for the spread of their scores.

Errors of different series are never pooled in their units: a dataset of several series has the
metrics without a unit averaged over the series, and no MAE or RMSE (by_series has them by series).
Its skill is 1 - MASE / MASE of naive on the same actuals, both averaged over the series first, so
that it orders models as MASE does.

`ForecastCube` has the forecasts of one series and block as arrays; `Reference` has what their
errors are divided by.
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
"""The relative difference by which the scores of two seeds with equal forecasts may differ."""


@dataclass(frozen=True)
class Reference:
    """What the errors in one block are compared with, all by series."""

    scale: Mapping[str, float]
    """The denominator of MASE, from the train rows; also of the losses that select and are tested
    (`comparing.block_losses`).
    """
    squared_scale: Mapping[str, float]
    """The denominator of RMSSE, from the train rows; it divides scores only, no loss."""
    last: Mapping[str, pd.Series]
    """The newest known actual at every time of the series."""
    naive_error_by_step: Mapping[str, np.ndarray]
    """(H,): the MAE of the naive forecast by step."""
    naive_error: Mapping[str, float]
    """The MAE of the naive forecast over all actuals."""

    def of_block(self, naive: pd.DataFrame, block: str) -> Reference:
        """The reference for `block`, with the errors of the forecasts `naive` there."""
        cubes = series_forecasts(naive[naive["block"] == block], self.last)
        by_step = {c.series: np.array(metrics.errors_by_step(c.y, c.y_hat[0])[0]) for c in cubes}
        whole = {c.series: metrics.mae(c.y, c.y_hat[0]) for c in cubes}
        return replace(self, naive_error_by_step=by_step, naive_error=whole)


@dataclass(frozen=True)
class ForecastCube:
    """The forecasts of one candidate for one series, from the n cutoffs of a block."""

    series: str
    y: np.ndarray
    """(n, H): the actuals."""
    y_hat: np.ndarray
    """(seeds, n, H)."""
    last: np.ndarray
    """(n,): the newest known actual at each cutoff."""
    seeds: tuple[int, ...]
    cutoffs: np.ndarray
    """(n,)."""
    volatility: np.ndarray
    """(n,): how much the series changed before each cutoff."""
    ds: np.ndarray
    """(n, H): the times of the actuals."""

    @property
    def seed_mean(self) -> np.ndarray:
        """(n, H): the mean of the seeds' forecasts."""
        return self.y_hat.mean(axis=0)


def series_forecasts(forecasts: pd.DataFrame, last: Mapping[str, pd.Series]) -> list[ForecastCube]:
    """The forecasts of one candidate and block (long) by series, cutoffs in time order.

    last: the newest known actual at every time, by series
    """
    rows = add_series_names(forecasts)
    codes, names = pd.factorize(rows["series"], sort=True)
    keys = ("step", "cutoff", "seed")
    order = np.lexsort([*(rows[name].to_numpy() for name in keys), codes])
    columns = {
        name: rows[name].to_numpy()[order] for name in (*keys, "y", "y_hat", "volatility", "ds")
    }
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
    result = []
    for name, (start, stop) in zip(names.astype(str), itertools.pairwise(edges), strict=True):
        seeds = np.unique(columns["seed"][start:stop])
        horizon = len(np.unique(columns["step"][start:stop]))
        shape = (len(seeds), -1, horizon)
        cube = {column: values[start:stop].reshape(shape) for column, values in columns.items()}
        cutoffs = cube["cutoff"][0, :, 0].copy()
        result.append(
            ForecastCube(
                series=name,
                y=cube["y"][0].copy(),
                y_hat=cube["y_hat"],
                last=_find_known(last[name], cutoffs),
                seeds=tuple(seeds.tolist()),
                cutoffs=cutoffs,
                volatility=cube["volatility"][0, :, 0].copy(),
                ds=cube["ds"][0].copy(),
            )
        )
    return result


def _find_known(last: pd.Series, cutoffs: np.ndarray) -> np.ndarray:
    """(n,): the value of `last`, whose times rise, at each of the cutoffs; NaN where it has none.

    `reindex` gives the same, but takes ten times as long for the few cutoffs of one series.
    """
    times = last.index.to_numpy()
    places = np.minimum(np.searchsorted(times, cutoffs), len(times) - 1)
    return np.where(times[places] == cutoffs, last.to_numpy(dtype=float)[places], np.nan)


def seeds_and_mean(cube: ForecastCube) -> Iterator[tuple[str, np.ndarray]]:
    """The forecasts (n, H) of each seed, and of several seeds also their mean."""
    for seed, y_hat in zip(cube.seeds, cube.y_hat, strict=True):
        yield str(seed), y_hat
    if len(cube.y_hat) > 1:
        yield MEAN, cube.seed_mean


def reference_of_block(
    frame: pd.DataFrame, naive: pd.DataFrame, task: Task, borders: Borders, block: str
) -> Reference:
    """The `Reference` of every series for `block`; `naive`: the forecasts of naive, long."""
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
    """All metrics, one row per series and seed (or mean of the seeds), in units of the series; and
    `naive_mase`, the MASE of naive on the same actuals.
    """
    rows = []
    for cube in forecasts:
        for seed, y_hat in seeds_and_mean(cube):
            sample = metrics.Sample(
                y=cube.y,
                y_hat=y_hat,
                last=cube.last[:, None],
                scale=reference.scale[cube.series],
                squared_scale=reference.squared_scale[cube.series],
                naive_error=reference.naive_error[cube.series],
                mae=metrics.mae(cube.y, y_hat),
                rmse=metrics.rmse(cube.y, y_hat),
            )
            rows.append((cube.series, seed, *_values(sample, metrics.METRICS), len(cube.y)))
    metric_names = [metric.name for metric in metrics.METRICS]
    return pd.DataFrame(rows, columns=["series", "seed", *metric_names, "naive_mase", "n_origins"])


def step_scores(forecasts: Iterable[ForecastCube], reference: Reference) -> pd.DataFrame:
    """The metrics that are scored by step, and `naive_mase`: one row per series, seed (or mean of
    the seeds) and step.
    """
    metrics_by_step = [metric for metric in metrics.METRICS if metric.by_step]
    rows = []
    for cube in forecasts:
        naive = reference.naive_error_by_step[cube.series].tolist()
        for seed, y_hat in seeds_and_mean(cube):
            maes, rmses = metrics.errors_by_step(cube.y, y_hat)
            for number, (mae, rmse) in enumerate(zip(maes, rmses, strict=True)):
                sample = metrics.Sample(
                    y=cube.y[:, number],
                    y_hat=y_hat[:, number],
                    last=cube.last,
                    scale=reference.scale[cube.series],
                    squared_scale=reference.squared_scale[cube.series],
                    naive_error=naive[number],
                    mae=mae,
                    rmse=rmse,
                )
                rows.append((cube.series, seed, number + 1, *_values(sample, metrics_by_step)))
    metric_names = [metric.name for metric in metrics_by_step]
    return pd.DataFrame(rows, columns=["series", "seed", "step", *metric_names, "naive_mase"])


def _values(sample: metrics.Sample, metric_list: Iterable[metrics.Metric]) -> list[float]:
    """The values of the metrics, in their order, NaN where a metric does not exist; and the MASE of
    naive.
    """
    values = (metric.of(sample) for metric in metric_list)
    known = [np.nan if value is None else value for value in values]
    return [*known, sample.naive_error / sample.scale]


def average_over_series(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The means of the metrics over the series, for each group of the columns `by`, without
    `naive_mase`; with one series the scores stay as they are. Metrics in units of the series become
    NaN.

    Series without a MASE do not count, as no test compares them, unless no series has one. Skill is
    made from the mean MASE: the mean of the skills could be above zero for a model whose MASE is
    above that of naive.
    """
    if scores["series"].nunique() == 1:
        return scores.drop(columns=["series", "naive_mase"])
    is_compared = scores["series"].isin(scores.loc[scores["mase"].notna(), "series"])
    if is_compared.any():
        scores = scores[is_compared]
    known = scores.assign(naive_mase=scores["naive_mase"].where(scores["mase"].notna()))
    mean = known.drop(columns="series").groupby(by, sort=False, as_index=False).mean()
    mean["skill"] = [
        metrics.skill(model_mase, naive_mase)
        for model_mase, naive_mase in zip(mean["mase"], mean.pop("naive_mase"), strict=True)
    ]
    if "n_origins" in mean:
        mean["n_origins"] = mean["n_origins"].astype(int)
    return mean.assign(**{m.name: np.nan for m in metrics.METRICS if m.in_units and m.name in mean})


def add_mean_and_spread(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """`scores` with a row `mean`, and for several seeds a row `std`, the standard deviation
    (n - 1) of the scores of the seeds.

    `mean` is the score of the forecast that serves, the mean of the seeds' forecasts, not the mean
    of their scores. For several seeds it is in `scores` already; of one seed it is a copy.
    """
    seeds = scores[scores["seed"] != MEAN]
    if len(seeds) == len(scores):
        added = scores.assign(seed=MEAN)
    else:
        by_key = seeds.assign(seed=SPREAD).groupby(["seed", *by], sort=False)
        spread = by_key.std()
        # the scores of seeds with equal forecasts differ by rounding in their processes; where they
        # do, the greatest has the size of all, also of scores below zero
        is_rounding = spread < SEED_ROUNDING * by_key.max().abs()
        added = spread.mask(is_rounding, 0.0).reset_index()
    result = pd.concat([scores, added], ignore_index=True)
    if "n_origins" in result:
        result["n_origins"] = int(seeds["n_origins"].iloc[0])
    return result[list(scores.columns)]


@dataclass(frozen=True)
class ScoredCandidate:
    """One candidate with its forecasts and scores; a failed one has neither."""

    record: RunRecord
    blocks: Mapping[str, tuple[ForecastCube, ...]] = field(default_factory=dict)
    """The forecasts by block, one `ForecastCube` per series."""
    board: pd.DataFrame | None = None
    """The test scores over all series, and `validation_mase`, that of the validation block."""
    by_step: pd.DataFrame | None = None
    """The test scores over all series, by step."""
    by_series: pd.DataFrame | None = None
    """The test scores of each series."""

    @property
    def name(self) -> str:
        """The name of the candidate and of its folder."""
        return self.record.candidate


def score_candidates(
    results: Results, frame: pd.DataFrame, task: Task, borders: Borders
) -> tuple[list[ScoredCandidate], Reference]:
    """All candidates with their scores on the test and the validation block, and the `Reference` of
    the test block. `InputError` without forecasts of naive.
    """
    naive = results.records.get(NAIVE)
    if naive is None or naive.has_failed:
        raise InputError(
            f"{results.paths.trained(results.name)} has no forecasts of {NAIVE!r}; every score is"
            " taken against it. Put `naive` into the grid of configs/models.yaml."
        )
    on_test = reference_of_block(frame, results.forecasts(NAIVE, "test"), task, borders, "test")
    on_validation = on_test.of_block(results.forecasts(NAIVE, "validation"), "validation")
    scored = [
        _score_candidate(record, results, on_test, on_validation)
        for record in results.records.values()
    ]
    return scored, on_test


def _score_candidate(
    record: RunRecord, results: Results, on_test: Reference, on_validation: Reference
) -> ScoredCandidate:
    """Score the candidate of `record` against the references of both blocks."""
    if record.has_failed:
        return ScoredCandidate(record)
    blocks = {
        b: tuple(series_forecasts(results.forecasts(record.candidate, b), on_test.last))
        for b in BLOCKS[1:]
    }
    by_series = series_scores(blocks["test"], on_test)
    by_step = step_scores(blocks["test"], on_test)
    validation = series_scores(blocks["validation"], on_validation)
    return_memory()
    validation = average_over_series(validation, ["seed"])
    validation_mase = add_mean_and_spread(validation, []).set_index("seed")["mase"]
    board = add_mean_and_spread(average_over_series(by_series, ["seed"]), [])
    by_step = average_over_series(by_step, ["seed", "step"])
    return ScoredCandidate(
        record=record,
        blocks=blocks,
        board=board.assign(validation_mase=board["seed"].map(validation_mase)),
        by_step=add_mean_and_spread(by_step, ["step"]),
        by_series=by_series.drop(columns="naive_mase"),
    )


def sort_by_size(results: Results) -> list[str]:
    """The series with the largest mean of their test actuals first, equal ones by name, series that
    have ended last. With several targets, which have their own units, the order stays.
    """
    if len(results.dataset.target) > 1:
        return list(results.series)
    means = results.naive_on_test.groupby("unique_id")["y"].mean()
    means = means.reindex(sorted(results.series)).sort_values(ascending=False, kind="stable")
    return sorted(means.index, key=list_ended_series(results).__contains__)


def list_ended_series(results: Results) -> set[str]:
    """The series without an actual in the newest quarter of the test block."""
    tested = results.naive_on_test
    ends = tested.groupby("unique_id")["ds"].max()
    return set(ends.index[ends <= tested["ds"].quantile(0.75)])
