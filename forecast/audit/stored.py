"""Audits stored results and repeats fits.

`audit_stored_results` checks that the project's stored results are those of its models, data and
settings; only this finds a result that was edited or exchanged after its run. The other functions
repeat fits: without the rows after validation (`refit_without_later_rows`), with the order of test
errors reversed (`run_with_reversed_test_errors`), and the smallest network with all its training
steps (`audit_at_full_budget`).
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from forecast import models
from forecast.audit import Finding, rescored, runs
from forecast.audit.changes import reverse_order_of_test_errors
from forecast.audit.sandbox import Project, Sandbox, continue_stages, run_isolated
from forecast.backtest.backtest import load_tensorflow
from forecast.backtest.candidates import Candidate
from forecast.backtest.timeline import CandidateFitter, RefitSchedule
from forecast.comparison.comparing import compare_candidates, table_text
from forecast.config.models import load_evaluation, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.data import splits
from forecast.data.panel import Panel, from_frame
from forecast.data.records import RunRecord, SeedFit, StudyRecord, newest_weights
from forecast.data.results import PARQUET_TABLES, parse_table
from forecast.forecaster import Budget, FitResult, Forecaster, Problem
from forecast.system import files
from forecast.system.errors import ForecastError, ModelError

REFIT_DETECTOR = "fit without the later rows"
STORED_DETECTOR = "stored results computed again"
CUTOFFS_PER_BLOCK = 3
FORECAST_KEYS = ["unique_id", "output", "cutoff", "step"]
TABLE_TOLERANCE = 1e-6
FORECAST_TOLERANCE = 1e-5
"""Relative to the target's deviation; batches of another size change the last digits."""


def reason_not_to_audit(project: Project) -> str:
    """Why the project's stored results cannot be audited; empty where they can."""
    trained = project.paths.trained(project.dataset)
    if not (trained / "naive" / "record.json").exists():
        return (
            "The project holds no finished run of this dataset; only the audit's own runs were"
            " examined."
        )
    task = project.settings.task.model_dump(mode="json")
    for path in trained.glob("*/seed-*/spec.json"):
        if files.read_json(path).get("task") != task:
            name = path.parent.parent.name
            return f"{name} was trained with other settings; run `dvc repro` to have it looked at."
    return ""


def audit_stored_results(
    project: Project, panel: Panel, ends: dict[str, pd.Timestamp]
) -> list[Finding]:
    """Check the project's stored results; panel: what the stages now make of the snapshot."""
    base = Sandbox(project.paths, project.dataset)
    seeds = list(load_tuning(project.paths.configs).seeds)
    return [
        *run_isolated(_audit_saved_models, base, panel, splits.Borders(*ends.values())),
        *rescored.check_forecasts(base, panel, ends, seeds, STORED_DETECTOR),
        *rescored.check_best_kept(base, STORED_DETECTOR),
        *run_isolated(_repeat_comparison, base),
    ]


def _repeat_comparison(base: Sandbox) -> list[Finding]:
    """Repeat the compare stage; findings for each table and choice that differs from the stored."""
    results = base.results
    if not results.is_compared:
        return []
    evaluation = load_evaluation(base.paths.configs)
    tuning = load_tuning(base.paths.configs)
    try:
        repeated = compare_candidates(
            results, results.frame, results.task, results.borders, evaluation, tuning
        )
    except ForecastError as fault:
        return [Finding("stored", STORED_DETECTOR, "verdicts.json", str(fault))]
    findings = []
    for name, table in repeated.tables.items():
        expected = table
        if name not in PARQUET_TABLES:
            expected = parse_table(io.StringIO(table_text(table)))
        try:
            pd.testing.assert_frame_equal(results.read_table(name), expected, rtol=TABLE_TOLERANCE)
        except AssertionError:
            findings.append(
                Finding(
                    "scores",
                    STORED_DETECTOR,
                    name,
                    f"the table {name} is not what the forecasts give",
                )
            )
    chosen = results.verdicts.chosen
    if chosen != repeated.verdicts.chosen:
        findings.append(
            Finding(
                "choice",
                STORED_DETECTOR,
                "verdicts.json",
                f"{chosen} was selected; the forecasts give {repeated.verdicts.chosen}",
            )
        )
    return findings


def _audit_saved_models(base: Sandbox, panel: Panel, borders: splits.Borders) -> list[Finding]:
    """Check the settings of every candidate, the weighted mean of every combination, and for each
    seed the scaling and some forecasts, which are made again (by the newest fit after a refit).
    """
    scaling = Problem.of(panel, borders, ("train",)).scaling
    findings: list[Finding] = []
    for candidate, record in base.results.records.items():
        if record.has_failed:
            continue
        findings += _compare_settings(
            record, base.tuned / f"{candidate}.json", base.trained / candidate
        )
        table = base.results.forecasts(candidate)
        findings += _check_weighted_mean(candidate, record, table, base)
        for folder in sorted((base.trained / candidate).glob("seed-*")):
            forecaster = Forecaster.load(folder)
            name = f"{candidate}/{folder.name}"
            for uid in scaling.centre:
                saved = forecaster.scaling
                if not (
                    np.allclose(saved.centre[uid], scaling.centre[uid], rtol=1e-9)
                    and np.allclose(saved.scale[uid], scaling.scale[uid], rtol=1e-9)
                ):
                    findings.append(
                        Finding(
                            "scaling",
                            STORED_DETECTOR,
                            name,
                            f"the scaling of {name} for series {uid} is not that of the train"
                            " block",
                        )
                    )
            seed = int(folder.name.removeprefix("seed-"))
            seed_rows = table[table["seed"] == seed]
            if record.refits:
                newest = folder.with_name(f"newest-{seed}")
                seed_rows = _rows_before_refits(seed_rows, record)
                forecaster = Forecaster.load(newest if newest.exists() else folder)
            findings += _compare_forecasts(forecaster, seed_rows, panel, name)
    return findings


def _rows_before_refits(table: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """The forecasts in the test block before the first refit there, which the newest fit before the
    block has made.
    """
    test = table[table["block"] == "test"]
    spec = models.spec(record.params, where="record.json: params")
    schedule = RefitSchedule.of(spec.refit_frequency, np.sort(table["cutoff"].unique()))
    later_moments = schedule.after(test["cutoff"].min())
    return test[test["cutoff"] < later_moments[0]] if later_moments else test


def run_with_reversed_test_errors(
    project: Project, base: Sandbox, folder: Path, *, models: tuple[str, ...] = ()
) -> Sandbox:
    """Repeat the run `base` from its finished fits on, with the order of their test errors reversed
    (`changes.reverse_order_of_test_errors`).
    """
    shutil.copytree(base.paths.root, folder)
    sandbox = Sandbox(ProjectPaths.of(folder), project.dataset)
    reverse_order_of_test_errors(sandbox.paths.memo)
    return continue_stages(
        project, sandbox, ("train", "compare"), models, 1, "with the order of test errors reversed"
    )


def refit_without_later_rows(
    base: Sandbox, end: pd.Timestamp, budget: Budget, folder: Path
) -> list[Finding]:
    """Fit the models of `base` again from the rows up to `end`, the end of validation: all but
    failed ones, combinations, and those that need vintages.

    A finding for each fit or learning curve that differs from the saved one, which must then have
    used later rows.
    """
    results = base.results
    frame = results.frame
    panel = from_frame(frame[frame["ds"] <= end], base.dataset, results.task)
    problem = Problem.of(panel, results.borders, ("train", "validation"))
    findings: list[Finding] = []
    for name, record in results.records.items():
        if record.has_failed or record.members:
            continue
        spec = models.spec(record.params, where=f"record of {name}")
        if spec.needs_vintages:
            continue
        if spec.is_trained_by_gradient:
            load_tensorflow()
        candidate = Candidate(record.model, spec, record.ranking, record.skip)
        for entry in record.seeds:
            try:
                fits = CandidateFitter(candidate, entry.seed, budget).fit_both(problem)
            except (ModelError, LookupError, ValueError) as error:
                # any of these may be raised by a fit that lacks the rows it needs
                kind = "skip" if spec.fitted_as == "ridge" else "training"
                findings.append(
                    Finding(kind, REFIT_DETECTOR, name, f"{name} needs later rows: {error}")
                )
                continue
            findings += _compare_with_saved(
                fits, entry, base.trained / name, folder / f"{name}-{entry.seed}"
            )
    return findings


def audit_at_full_budget(
    project: Project, base: Sandbox, end: pd.Timestamp, folder: Path
) -> list[Finding]:
    """`refit_without_later_rows` and `rescored.check_best_kept` for the smallest network that is
    trained by gradient, which is tuned with few steps and trained in `folder` with all the training
    steps and evaluations of the project; nothing without such a network.

    Its skip is the last value and not a fitted one: on a fitted skip the first step is often the
    best one.
    """
    sizes = {
        record.model: record.n_params
        for record in base.results.records.values()
        if record.cost.gradient_steps
    }
    if not sizes:
        return []
    shutil.copytree(base.paths.root, folder)
    sandbox = Sandbox(ProjectPaths.of(folder), base.dataset)
    tuning = load_tuning(project.paths.configs)
    tuning_change = {"final_steps": tuning.final_steps, "evaluate_every": tuning.evaluate_every}
    for name, change in (
        ("tuning.yaml", tuning_change),
        ("models.yaml", {"rankings": ["architecture"]}),
    ):
        path = sandbox.paths.configs / name
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        files.write_text(path, yaml.safe_dump({**content, **change}))
    smallest = min(sizes, key=sizes.__getitem__)
    run_isolated(
        continue_stages,
        project,
        sandbox,
        ("tune", "train"),
        (smallest,),
        1,
        "as they are, with all of its steps",
    )
    findings = run_isolated(
        refit_without_later_rows,
        sandbox,
        end,
        Budget(tuning.final_steps, tuning.evaluate_every),
        folder / "again",
    )
    return [*rescored.check_best_kept(sandbox, "validation losses of trials and steps"), *findings]


def _compare_with_saved(
    fits: tuple[FitResult, FitResult], entry: SeedFit, saved: Path, folder: Path
) -> Iterator[Finding]:
    """Compare two fits, the first one (on train) and the final one (also on validation), with the
    saved ones in `saved` and the learning curve in `entry`; folder: an empty folder.
    """
    change_text = (
        f"{saved.name}, seed {entry.seed}, differs when it is fitted without the rows after"
        " validation"
    )
    for fitted, kind in zip(fits, ("chosen", "seed"), strict=True):
        saved_fit = saved / f"{kind}-{entry.seed}"
        if saved_fit.exists():  # a model whose final fit is the first one has no folder `chosen-`
            fitted.forecaster.save(folder / kind)
            for name in runs.differing_files(saved_fit, folder / kind):
                yield Finding(
                    runs.FINDING_KIND_BY_FILE[name],
                    REFIT_DETECTOR,
                    saved.name,
                    f"{name} of {change_text}",
                )
    curve = files.json_number(fits[0].curve)
    if curve != files.json_number(entry.curve) or fits[0].steps_by_fold != entry.steps_by_fold:
        yield Finding(
            "training", REFIT_DETECTOR, saved.name, f"the validation curve of {change_text}"
        )


def _compare_settings(record: RunRecord, study: Path, folder: Path) -> Iterator[Finding]:
    """Yield a finding where the record's tuned values are not the best of its study, and for each
    saved model with other settings than the record.
    """
    name = folder.name
    best = (StudyRecord.read(study).best_params or {}) if study.exists() else {}
    if record.tuned != best:
        yield Finding(
            "stored",
            STORED_DETECTOR,
            name,
            f"the record of {name} says it was tuned to {record.tuned}; its study found {best}",
        )
    for path in sorted(folder.glob("seed-*/spec.json")):
        if files.read_json(path)["spec"] != record.params:
            yield Finding(
                "stored",
                STORED_DETECTOR,
                name,
                f"the model saved in {name}/{path.parent.name} has other settings than its record",
            )


def _check_weighted_mean(
    name: str, record: RunRecord, table: pd.DataFrame, base: Sandbox
) -> Iterator[Finding]:
    """Check that a combination's forecasts after validation are the weighted means of its members'
    forecasts, and that its weights in service were learnt before the test block.
    """
    if not record.members:
        return
    means: dict[str, pd.Series] = {}
    for member in set().union(*(dated.weights for dated in record.weights)):
        rows = base.results.forecasts(member)
        later_rows = rows[rows["block"] != "validation"]
        means[member] = later_rows.groupby(FORECAST_KEYS, sort=True)["y_hat"].mean()
    expected = 0 * next(iter(means.values()))
    cutoffs = expected.index.get_level_values("cutoff")
    for number, dated in enumerate(record.weights):
        mean = sum(weight * means[member] for member, weight in dated.weights.items())
        is_earlier = (cutoffs < dated.learnt_until) & (number > 0)
        expected = expected.where(is_earlier, mean)
    stored_forecasts = (
        table[table["block"] != "validation"].set_index(FORECAST_KEYS)["y_hat"].sort_index()
    )
    if not (
        stored_forecasts.index.equals(expected.index)
        and np.allclose(stored_forecasts, expected, rtol=1e-9)
    ):
        yield Finding(
            "stored",
            STORED_DETECTOR,
            name,
            f"the forecasts kept of {name} are not the weighted mean of its members' forecasts",
        )
    test_start = table.loc[table["block"] == "test", "cutoff"].min()
    serving = {member.candidate: member.weight for member in record.members}
    if serving != newest_weights(record.weights, test_start).weights:
        yield Finding(
            "stored",
            STORED_DETECTOR,
            name,
            f"the weights that serve in {name} are not the last ones learnt before the test block",
        )


def _compare_forecasts(
    forecaster: Forecaster, table: pd.DataFrame, panel: Panel, name: str
) -> Iterator[Finding]:
    """Check that the saved model makes the forecasts in `table`, those of one seed, again: at the
    first, the last and a middle origin of each block after validation.
    """
    for series in panel.series:
        series_rows = table[table["unique_id"] == series.unique_id]
        # without validation, whose forecasts are those of an earlier fit
        series_rows = series_rows[series_rows["block"] != "validation"]
        if series_rows.empty:
            continue
        selected = []
        for _, of_block in series_rows.groupby("block"):
            origins = np.sort(of_block["cutoff"].unique())
            numbers = np.linspace(0, len(origins) - 1, min(CUTOFFS_PER_BLOCK, len(origins)))
            selected.append(origins[np.unique(numbers.astype(int))])
        cutoffs = np.sort(np.concatenate(selected))
        rows = np.searchsorted(series.ds, cutoffs)
        new_forecasts = forecaster.predict(panel, {series.unique_id: rows})[series.unique_id]
        stored_rows = series_rows[series_rows["cutoff"].isin(cutoffs)]
        stored_rows = stored_rows.assign(order=stored_rows["output"].map(panel.task.targets.index))
        stored_values = stored_rows.sort_values(["cutoff", "step", "order"])["y_hat"].to_numpy()
        new_values = new_forecasts.ravel()
        spread = float(np.nanstd(series.values[:, : panel.outputs])) or 1.0
        if len(stored_values) != len(new_values) or not np.allclose(
            stored_values, new_values, rtol=FORECAST_TOLERANCE, atol=FORECAST_TOLERANCE * spread
        ):
            yield Finding(
                "stored",
                STORED_DETECTOR,
                name,
                f"the forecasts kept of {name} for series {series.unique_id} are not those of the"
                " saved model",
            )
