"""The finished results that a project holds: are they those of its models, data and settings, to
the last digit?

Whether forecasts are complete and against the true actuals is asked as in `rescored`; all tables of
the compare stage, and the choice, are made again by its own code.

The audit's own runs show what the code does; a file edited or mixed up after its run shows only
here (`audit_stored_results`). And fits made once more: from rows that end with the validation block
(`refit_without_later_rows`), with the test errors of all fits in the reversed order
(`run_with_reversed_test_errors`), and of the smallest network with all its steps
(`audit_at_full_budget`). That one network alone is trained with as many steps as the project took;
the other fits take few.
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
"""Of the spread of a forecast: batches of another size change its last digits."""


def reason_not_to_audit(project: Project) -> str:
    """Why the results that the project holds cannot be looked at; empty where they can."""
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
    """What in the finished results is not that of the project's models, data and settings; `panel`
    is what the stages make of the snapshot now.
    """
    base = Sandbox(project.paths, project.dataset)
    seeds = list(load_tuning(project.paths.configs).seeds)
    return [
        *run_isolated(_audit_saved_models, base, panel, splits.Borders(*ends.values())),
        *rescored.check_forecasts(base, panel, ends, seeds, STORED_DETECTOR),
        *rescored.check_best_kept(base, STORED_DETECTOR),
        *run_isolated(_repeat_comparison, base),
    ]


def _repeat_comparison(base: Sandbox) -> list[Finding]:
    """A finding for each table of the compare stage that is not the one of the forecasts, and for
    a choice that does not follow from them.
    """
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
                f"{chosen} was chosen; from the forecasts follows {repeated.verdicts.chosen}",
            )
        )
    return findings


def _audit_saved_models(base: Sandbox, panel: Panel, borders: splits.Borders) -> list[Finding]:
    """Findings on every candidate that did not fail: on its settings; on its weighted mean, where
    it is a combination; and for each seed on the scaling and on some forecasts made again (by the
    fit that serves, where it was fitted again).
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
    """What a row that is fitted again forecasts in the test block with the fit that serves."""
    test = table[table["block"] == "test"]
    spec = models.spec(record.params, where="record.json: params")
    schedule = RefitSchedule.of(spec.refit_frequency, np.sort(table["cutoff"].unique()))
    later_moments = schedule.after(test["cutoff"].min())
    return test[test["cutoff"] < later_moments[0]] if later_moments else test


def run_with_reversed_test_errors(
    project: Project, base: Sandbox, folder: Path, *, models: tuple[str, ...] = ()
) -> Sandbox:
    """`base` once more from its finished fits on, whose order by test error is reversed
    (`audit.reverse_order_of_test_errors`).
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
    """Fit every model of `base` once more from rows that end with the validation block, at `end`;
    findings where one is not the saved model of its seed, with its learning curve. The new fit
    cannot look at later rows, so where they differ the saved one did.
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
        if spec.is_network:
            load_tensorflow()
        candidate = Candidate(record.model, spec, record.ranking, record.skip)
        for entry in record.seeds:
            try:
                fits = CandidateFitter(candidate, entry.seed, budget).fit_both(problem)
            except (ModelError, LookupError, ValueError) as error:
                # whatever a fit says that misses its rows
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
    """`refit_without_later_rows` of the smallest network, tuned and trained in `folder` with all
    the steps and looks of the project.

    It begins at the last value, not on a fitted skip: there trials differ and a step beyond the
    first is kept.
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
    """`fits`, the first one (on train) and the final one (on validation as well), against the files
    in `saved` and the curve in the record; `folder` is an empty one.
    """
    change_text = (
        f"{saved.name}, seed {entry.seed}, differs when it is fitted without the rows after"
        " validation"
    )
    for fitted, kind in zip(fits, ("chosen", "seed"), strict=True):
        saved_fit = saved / f"{kind}-{entry.seed}"
        if saved_fit.exists():  # one that is not fitted again has no first fit beside it
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
    """A finding where the record's tuned values are not the best of its study, and for each saved
    model whose settings are not the record's.
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
    """Whether a combination's forecasts after validation are the weighted means of its members'
    forecasts, and whether the weights that serve have seen no target of the test block.
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
    """At a few origins of every later block the saved model forecasts what stands in the table of
    one seed.
    """
    for series in panel.series:
        series_rows = table[table["unique_id"] == series.unique_id]
        # of the model before it was fitted on that block too
        series_rows = series_rows[series_rows["block"] != "validation"]
        if series_rows.empty:
            continue
        picked = []
        for _, of_block in series_rows.groupby("block"):
            origins = np.sort(of_block["cutoff"].unique())
            # the first, the last and some between
            places = np.linspace(0, len(origins) - 1, min(CUTOFFS_PER_BLOCK, len(origins)))
            picked.append(origins[np.unique(places.astype(int))])
        cutoffs = np.sort(np.concatenate(picked))
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
