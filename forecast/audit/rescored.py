"""Computes scores and choices again from prepared rows and forecasts, with code of the audit's own.

Changing rows shows on which rows a number depends, but not whether the number is right: a score may
leave out difficult origins, use shifted actuals, or be that of the best seed, and a choice may not
follow validation.

Computed again are MAE, number of origins, skill, validation MASE and the choice; no interval,
coverage or distribution, no squared score, and no test. Actuals must agree bit for bit, test scores
within `SCORE_TOLERANCE`, validation scores within `VALIDATION_TOLERANCE`. The project's stored
results, which another processor may have computed, are compared by `stored` with wider tolerances
of its own (`TABLE_TOLERANCE`, `FORECAST_TOLERANCE`). A change of `comparison.losses` or
`comparison.scores` has to be made here once more, on purpose in other code.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import count_rows_until
from forecast.audit.origins import bits_differ
from forecast.audit.sandbox import Sandbox
from forecast.config.models import Combination
from forecast.data.panel import Panel, add_series_names
from forecast.data.records import StudyRecord
from forecast.data.results import Results

SCORE_TOLERANCE = 1e-8
VALIDATION_TOLERANCE = 1e-6
DETECTOR = "scores computed again"
NAIVE = "naive"
SERVICE = "service"
BlockEnds = dict[str, pd.Timestamp]


ErrorsByCandidate = dict[tuple[str, str], pd.DataFrame]
"""(model, ranking) → the absolute errors on one block (`_absolute_errors`)."""


def check_forecasts(
    base: Sandbox, panel: Panel, ends: BlockEnds, seeds: list[int], detector: str
) -> list[Finding]:
    """Check that the forecasts of every candidate that has not failed are complete and have the
    right actuals.
    """
    findings: list[Finding] = []
    for name, record in base.results.records.items():
        if not record.has_failed:
            expected_seeds = seeds if record.is_network else [0]
            table = base.results.forecasts(name)
            findings += _check_candidate(table, panel, ends, expected_seeds, name, detector)
    return findings


def rescore(base: Sandbox, panel: Panel, ends: BlockEnds, seeds: list[int]) -> list[Finding]:
    """`check_forecasts`; then check that the published scores are those of the forecasts, and that
    the choice follows the validation scores.

    After wrong forecasts nothing else is checked, after a wrong test score no validation score.
    """
    findings = check_forecasts(base, panel, ends, seeds, DETECTOR)
    results = base.results
    if findings or not results.is_compared:
        return findings
    test_errors: ErrorsByCandidate = {}
    validation_errors: ErrorsByCandidate = {}
    for name, record in results.records.items():
        if not record.has_failed:
            candidate = (record.model, record.ranking)
            validation_errors[candidate] = _absolute_errors(results.forecasts(name), "validation")
            test_errors[candidate] = _absolute_errors(results.forecasts(name), "test")
    by_series = results.by_series
    # the scale by which the published table divides the errors of each series
    scale = (by_series["mae"] / by_series["mase"]).groupby(by_series["series"]).first()
    wrong_scores = list(_check_scores(by_series, test_errors)) or list(
        _check_validation_scores(results.leaderboard, scale, validation_errors)
    )
    return [*wrong_scores, *_check_choice(results, scale, validation_errors)]


def _absolute_errors(table: pd.DataFrame, block: str) -> pd.DataFrame:
    """The absolute errors of one candidate's forecasts in a block.

    Indexed by series, cutoff and step, with a column per seed, and "mean" for the mean of the
    seeds' forecasts.
    """
    rows = add_series_names(table[table["block"] == block])
    keys = ["series", "cutoff", "step"]
    y_hat = rows.pivot(index=keys, columns="seed", values="y_hat")
    y_hat.columns = y_hat.columns.astype(str)
    y_hat["mean"] = y_hat.mean(axis=1)
    return y_hat.rsub(rows.groupby(keys)["y"].first(), axis=0).abs()


def _check_candidate(
    table: pd.DataFrame, panel: Panel, ends: BlockEnds, seeds: list[int], name: str, detector: str
) -> Iterator[Finding]:
    """Check that every seed forecasts from the cutoffs of each block's grid, and that `y` is the
    value at `ds`, `step` rows after the cutoff.
    """
    task = panel.task
    for series in panel.series:
        series_rows = table[table["unique_id"] == series.unique_id]
        cutoff = np.searchsorted(series.ds, series_rows["cutoff"].to_numpy())
        ahead = np.searchsorted(series.ds, series_rows["ds"].to_numpy())
        outputs = series_rows["output"].map(task.targets.index).to_numpy()
        actual = series.values[np.minimum(ahead, len(series) - 1), outputs]
        wrong = (ahead - cutoff != series_rows["step"].to_numpy()) | bits_differ(
            actual, series_rows["y"].to_numpy()
        )
        if wrong.any():
            yield Finding(
                "origins",
                detector,
                name,
                f"{int(wrong.sum())} of {len(series_rows)} forecasts of {name} are scored against a"
                " value of another time",
            )
        labels = [series_rows[label].to_numpy() for label in ("block", "seed")]
        rows_by_block_and_seed = pd.Series(cutoff).groupby(labels).agg(set)
        for previous_block, block in pairwise(ends):
            start = count_rows_until(series.ds, ends[previous_block])
            stop = count_rows_until(series.ds, ends[block])
            cutoffs = range(start - 1, stop - task.horizon, task.step_size_in(block))
            grid = {row for row in cutoffs if row >= task.lookback - 1}
            for seed in seeds:
                scored_rows = rows_by_block_and_seed.get((block, seed), set())
                if scored_rows != grid:
                    yield Finding(
                        "origins",
                        detector,
                        name,
                        f"{name}, seed {seed}: {len(scored_rows)} origins in {block}, {len(grid)}"
                        " on the grid",
                    )


def _check_scores(table: pd.DataFrame, test_errors: ErrorsByCandidate) -> Iterator[Finding]:
    """Yield a finding for each MAE, number of origins and skill in by_series.parquet that is not
    that of the forecasts, for every seed and, with several seeds, their mean.
    """
    published = table.set_index(["model", "ranking", "series", "seed"]).to_dict("index")
    naive = {}
    if (NAIVE, "baseline") in test_errors:
        naive = test_errors[NAIVE, "baseline"]["mean"].groupby(level="series").mean().to_dict()
    for (model, ranking), errors in test_errors.items():
        by_seed = errors.drop(columns="mean") if len(errors.columns) == 2 else errors
        for name, of_series in by_seed.groupby(level="series"):
            n_origins = of_series.index.get_level_values("cutoff").nunique()
            for seed, of_seed in of_series.items():
                scores = published.get((model, ranking, name, seed), {})
                expected = {"mae": float(of_seed.mean()), "n_origins": float(n_origins)}
                if of_seed.notna().all() and naive.get(name, 0.0) > 0:
                    expected["skill"] = 1 - expected["mae"] / naive[name]
                for metric, value in expected.items():
                    score = float(scores.get(metric, np.nan))
                    if not np.isclose(
                        score, value, rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE, equal_nan=True
                    ):
                        yield Finding(
                            "scores",
                            DETECTOR,
                            model,
                            f"{metric} of {model} ({ranking}), {name}, seed {seed}, is"
                            f" {scores.get(metric)}; its forecasts have {value:g}",
                        )


def _check_validation_scores(
    board: pd.DataFrame, scale: pd.Series, validation_errors: ErrorsByCandidate
) -> Iterator[Finding]:
    """Yield a finding for each validation score of the leaderboard that is not that of the
    forecasts.

    scale: by series, what its errors are divided by. Candidates with a series that has no scale are
    not checked.
    """
    means = board[(board["seed"] == "mean") & (board["status"] == "ok")]
    published_scores = means.set_index(["model", "ranking"])["validation_mase"].to_dict()
    for candidate, errors in validation_errors.items():
        if candidate not in published_scores:
            continue
        by_series = errors["mean"].groupby(level="series").mean()
        expected = float((by_series / scale.reindex(by_series.index)).mean(skipna=False))
        published = float(published_scores[candidate])
        if np.isfinite(expected) and not np.isclose(published, expected, rtol=VALIDATION_TOLERANCE):
            yield Finding(
                "choice",
                DETECTOR,
                candidate[0],
                f"the validation score of {candidate[0]} ({candidate[1]}) is {published:.6g}; its"
                f" forecasts have {expected:.6g}",
            )


def _check_choice(
    results: Results, scale: pd.Series, validation_errors: ErrorsByCandidate
) -> Iterator[Finding]:
    """Yield a finding for each ranking whose selected model does not have the lowest validation
    loss: among the combinations with learnt weights, or where there are none among all models.
    """
    losses = {
        row: _validation_loss(errors, scale)
        for row, errors in validation_errors.items()
        if row[0] != SERVICE
    }
    learnt = {
        record.model
        for record in results.records.values()
        if record.kind == Combination.kind and Combination(**record.params).is_learnt
    }
    for ranking, model in results.verdicts.chosen.items():
        losses_in_ranking = {
            m: loss
            for (m, r), loss in losses.items()
            if r in (ranking, "baseline") and np.isfinite(loss)
        }
        losses_of_learnt = {m: loss for m, loss in losses_in_ranking.items() if m in learnt}
        losses_in_ranking = losses_of_learnt or losses_in_ranking
        best = min(losses_in_ranking, key=losses_in_ranking.__getitem__, default=model)
        limit = losses_in_ranking.get(best, np.inf) * (1 + SCORE_TOLERANCE)
        if not losses_in_ranking.get(model, np.nan) <= limit:
            yield Finding(
                "choice",
                DETECTOR,
                ranking,
                f"{model} was selected with {losses_in_ranking.get(model)} on validation; {best}"
                f" has {losses_in_ranking.get(best)}",
            )


def _validation_loss(errors: pd.DataFrame, scale: pd.Series) -> float:
    """The mean scaled error over all origins of the series that have a scale."""
    by_origin = errors["mean"].groupby(level=["series", "cutoff"]).mean()
    scaled = by_origin / scale.reindex(by_origin.index.get_level_values("series")).to_numpy()
    return float(scaled.mean())


def check_best_kept(base: Sandbox, detector: str) -> Iterator[Finding]:
    """Yield a finding for each study that did not keep the trial with the lowest validation loss,
    and each training that did not keep such a step.
    """
    for path in sorted(base.tuned.glob("*.json")):
        study = StudyRecord.read(path)
        values = {trial.number: trial.value for trial in study.trials if trial.value is not None}
        best = study.best
        if best is not None and values and values.get(best) != min(values.values()):
            yield Finding(
                "tuning",
                detector,
                path.stem,
                f"trial {best} was kept with {values.get(best)}, not the lowest of {path.stem}",
            )
    for name, record in base.results.records.items():
        for fit in record.seeds:
            losses = {step: loss for step, _, loss in fit.curve if loss is not None}
            if losses and losses.get(fit.best_step) != min(losses.values()):
                yield Finding(
                    "training",
                    detector,
                    name,
                    f"seed {fit.seed} of {name} kept step {fit.best_step}, not the lowest",
                )
