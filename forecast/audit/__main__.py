"""`python -m forecast.audit DATASET`: the leak audit of one dataset.

`audit` runs all checks in their order: it runs the stages on the unchanged data and on changed
copies and calls the other modules of this package. It is a process of its own, since it runs the
code that it examines.

There is no quicker form. The time goes into five runs of the stages (`audit`,
`_audit_fits_and_test`, `_audit_other_fits`), the fits that are repeated (`stored`), and a
preparation and forecasts for each moment (`origins.select_moments`). A single check is left out by
taking its call out of these functions. An option for fewer moments would be an argument of `audit`,
an option here and one of the command (`cli.check.audit`), which hands it on; two moments leave some
of `origins.ROW_CHANGES` untried.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from forecast import models as model_families
from forecast.audit import (
    Audit,
    Finding,
    data_checks,
    order_findings,
    origins,
    rescored,
    runs,
    stored,
)
from forecast.audit.changes import block_ends, cut_around_borders, nudge
from forecast.audit.sandbox import (
    SMALL_BUDGET,
    Project,
    Sandbox,
    import_libraries,
    import_stages,
    run_beside,
    run_isolated,
    run_stages,
)
from forecast.backtest.timeline import RefitSchedule
from forecast.config.models import RefitFrequency
from forecast.config.paths import ProjectPaths
from forecast.data.panel import Panel, from_frame
from forecast.forecaster import Budget
from forecast.system import cluster, files
from forecast.system.errors import UNHEALTHY, ForecastError, InputError
from forecast.system.progress import show_nothing
from forecast.system.stage import split_names

LogProgress = Callable[[str], None]

REVISED_HISTORY = (
    "The history was revised, so stored results were not looked at; only the audit's own runs were"
    " examined."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the audit and print it; returns 0 without a leak, 5 (`UNHEALTHY`) for a leak or a run
    that is out of date, and the error's exit code where the audit could not be made.
    """
    options = _parser().parse_args(arguments)
    log_progress = show_nothing if options.json else partial(print, file=sys.stderr, flush=True)
    try:
        with files.scratch_folder() as folder:
            finished_audit = audit(
                Path(options.root),
                options.dataset,
                folder,
                models=options.models,
                jobs=options.jobs,
                log_progress=log_progress,
            )
    except ForecastError as error:
        print(f"audit: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(finished_audit.to_json(), indent=1))
    else:
        print("\n".join(finished_audit.describe()))
    return 0 if finished_audit.is_clean and not finished_audit.outdated_file else UNHEALTHY


def _parser() -> argparse.ArgumentParser:
    """The argument parser of the audit."""
    parser = argparse.ArgumentParser(
        prog="forecast audit", description="Look for leaks in the pipeline of a dataset."
    )
    parser.add_argument("dataset")
    parser.add_argument("--root", default=".")
    parser.add_argument("--models", default=(), type=split_names)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--json", action="store_true", help="print the findings as JSON, and no progress"
    )
    return parser


def audit(
    root: Path,
    dataset: str,
    folder: Path,
    *,
    models: tuple[str, ...],
    jobs: int,
    log_progress: LogProgress,
) -> Audit:
    """Audit a dataset of the project in `root`.

    The project's trained forecasters are examined as they are; without any, those of the first run.
    Fits are repeated on a part of the data with few steps, since the rows that a fit uses do not
    depend on the number of its steps.

    folder: an empty folder for the audit's runs. models: only these entries of the grid; () means
    all. Raises `InputError` where the blocks of series are shares of their own rows, and where a
    stage fails.
    """
    project = Project.of(root, dataset)
    if cluster.cluster_address():
        jobs = max(jobs, 2)  # a single job would run in this process and not on the cluster
    whole_ends = block_ends(project.frame, project.settings)
    small_frame = cut_around_borders(project.frame, project.settings, whole_ends)
    ends = block_ends(small_frame, project.settings)
    log_progress(
        "the pipeline on the data as they are and with the rows after the validation block changed"
    )
    opened = import_stages(project, folder, models)
    run_pipeline = partial(run_stages, project, small_frame, models=models)
    base, changed_run = _run_unchanged_and_changed(run_pipeline, ends["validation"], folder, jobs)
    base.opened_files += opened
    findings = _compare_changed_after_validation(base, changed_run, ends["validation"])
    findings += _audit_fits_and_test(run_pipeline, base, ends, folder, jobs, log_progress)
    findings += _audit_other_fits(project, base, ends, folder, models, jobs, log_progress)
    whole_panel = run_isolated(
        origins.prepare_panel, project, project.frame, folder / "whole", None
    ).panel
    moments = origins.select_moments(project, whole_panel, whole_ends)
    trained = project.paths.trained(dataset)
    if not any(trained.glob("*/seed-*")):
        trained = base.trained
    log_progress(f"forecasts at {len(moments)} moments, everything after each changed")
    whole = Sandbox(ProjectPaths.of(folder / "whole"), dataset)
    audit_results = partial(_audit_results, project, base, ends, whole, whole_panel, whole_ends)
    with run_beside(jobs, audit_results, log_progress) as receive_results:
        findings += origins.audit_changed_moments(
            project, whole_panel, moments, trained, folder / "origins"
        )
        findings += origins.audit_cut_moments(
            project, whole_panel, moments[-2:], trained, folder / "origins"
        )
        in_results, outdated_file, reason = receive_results()
    findings += in_results
    notes = _describe_unaudited(base)
    if reason:
        notes.append(reason)
    notes += data_checks.describe_strong_plans(whole_panel)
    checked = _count_checked(base, trained, len(moments))
    return Audit(dataset, order_findings(findings), checked, tuple(notes), outdated_file)


def _run_unchanged_and_changed(
    run_pipeline: Callable[..., Sandbox], moment: pd.Timestamp, folder: Path, jobs: int
) -> tuple[Sandbox, Sandbox]:
    """The run on the data as they are, and one with all rows after `moment` changed.

    All runs of an audit come first, each in a process forked from this one, which has not run the
    audited code yet and so has nothing of it in memory. With several jobs two go on at a time.

    run_pipeline: makes a run in a folder. Raises `InputError` where the blocks of series are shares
    of their own rows.
    """
    run_changed = partial(run_pipeline, folder / "later", after=moment, jobs=max(jobs - 1, 1))
    with run_beside(jobs, run_changed) as receive_changed:
        # one job, so that every file that it opens is recorded
        base = run_isolated(run_pipeline, folder / "base")
        if base.results.borders.by_series:
            raise InputError(
                "Each series numbers its rows by itself here, and an audit changes all rows after"
                " one moment. Audit the series one by one."
            )
        import_libraries(base)
        return base, receive_changed()


def _audit_other_fits(
    project: Project,
    base: Sandbox,
    ends: dict[str, pd.Timestamp],
    folder: Path,
    models: tuple[str, ...],
    jobs: int,
    log_progress: LogProgress,
) -> list[Finding]:
    """Find choices that follow test errors, by reversing the order of the models' test errors, and
    fits that need later rows, by fitting without them.
    """
    log_progress(
        "members, weights, choices and intervals with the order of test errors reversed, and fits"
        " without the rows after the validation block, one of them with all of its steps"
    )
    small_budget = Budget(SMALL_BUDGET["final_steps"], SMALL_BUDGET["evaluate_every"])
    end = ends["validation"]
    refit = partial(stored.refit_without_later_rows, base, end, small_budget, folder / "withheld")
    with run_beside(jobs, refit) as receive_refits:
        reversed_run = run_isolated(
            stored.run_with_reversed_test_errors, project, base, folder / "turned", models=models
        )
        at_full_budget = stored.audit_at_full_budget(project, base, end, folder / "full")
        detector = "test errors in the reversed order"
        return [
            *runs.compare_choices(base, reversed_run, ends["calibration"], detector),
            *runs.compare_calibrations(base, reversed_run, ends["calibration"], detector),
            *receive_refits(),
            *at_full_budget,
        ]


def _audit_results(
    project: Project,
    base: Sandbox,
    ends: dict[str, pd.Timestamp],
    whole: Sandbox,
    whole_panel: Panel,
    whole_ends: dict[str, pd.Timestamp],
    log_progress: LogProgress,
) -> tuple[list[Finding], str, str]:
    """Check the first run, the data and the stored results.

    Returns the findings, the file that is out of date (`data_checks.find_outdated_file`) or "", and
    why the stored results were not audited, or "" where they were or a file is out of date.
    """
    findings = [
        *_audit_first_run(base, ends),
        *data_checks.check_history(project),
        *data_checks.check_actuals(project, whole_panel),
        *data_checks.check_columns(whole_panel),
        *data_checks.check_future_inputs(whole_panel),
        *(
            list(data_checks.find_repeated_stretches(whole_panel, whole_ends))
            or data_checks.find_copied_stretches(whole_panel, whole_ends)
        ),
    ]
    outdated_file = data_checks.find_outdated_file(project, whole)
    if outdated_file:
        return findings, outdated_file, ""
    is_revised = any(finding.kind == "history" for finding in findings)
    reason = REVISED_HISTORY if is_revised else stored.reason_not_to_audit(project)
    if not reason:
        log_progress("the stored results of the project")
        findings += stored.audit_stored_results(project, whole_panel, whole_ends)
    return findings, "", reason


def _audit_first_run(base: Sandbox, ends: dict[str, pd.Timestamp]) -> list[Finding]:
    """Check the run on the unchanged data by itself."""
    results = base.results
    panel = from_frame(results.frame, base.dataset, results.dataset.task)
    return [
        *(
            Finding(
                "beside",
                "files opened meanwhile",
                path,
                f"the stages opened {path} of the project itself, beside the data they were given",
            )
            for path in base.opened_files[:1]
        ),
        *runs.check_tuning_slice(base, ends),
        *runs.check_origins(base, panel, ends),
        *runs.check_requested_targets(base, panel, ends),
        *runs.check_folds(base, panel.task),
        *rescored.rescore(base, panel, ends, SMALL_BUDGET["seeds"]),
        *rescored.check_best_kept(base, "validation losses of trials and steps"),
        *runs.check_calibration_rows(base, panel, ends),
    ]


def _compare_changed_after_validation(
    base: Sandbox, changed_run: Sandbox, moment: pd.Timestamp
) -> list[Finding]:
    """Compare the unchanged run with one whose rows after `moment`, the end of validation, are
    changed: fits, choices and forecasts up to then must be equal.
    """
    detector = "change after the validation block"
    return [
        *runs.compare_fits(base, changed_run, runs.list_fit_folders(base), moment, detector),
        *runs.compare_choices(base, changed_run, moment, detector),
        *runs.compare_forecasts(base, changed_run, moment, detector),
    ]


def _audit_fits_and_test(
    run_pipeline: Callable[..., Sandbox],
    base: Sandbox,
    ends: dict[str, pd.Timestamp],
    folder: Path,
    jobs: int,
    log_progress: LogProgress,
) -> list[Finding]:
    """Compare the first run with two runs on changed data, which use the first run's studies: one
    with all rows after the train block nudged, one with a later part of the test block changed.

    run_pipeline: makes such a run.
    """
    log_progress(
        "the pipeline with the rows after the train block moved by a ten-millionth, and with the"
        " later part of the test block changed"
    )
    stages_of_fits = ("fetch", "prepare", "train")
    # the two runs share this machine's cores, but not those of a cluster
    jobs_per_run = jobs if cluster.cluster_address() else max(jobs // 2, 1)
    run = partial(run_pipeline, tuned=base.tuned, jobs=jobs_per_run)
    train_end = ends["train"]
    moment = _moment_in_test_block(base, ends)
    nudged = partial(run, folder / "nudged", after=train_end, change=nudge, stages=stages_of_fits)
    with run_beside(jobs, nudged) as receive_nudged:
        test_run = run_isolated(
            run, folder / "test", after=moment, stages=(*stages_of_fits, "compare")
        )
        nudged_run = receive_nudged()
    fit_folders = runs.list_fit_folders(base)
    refitted_folders = {
        folder.replace("/chosen-", "/seed-") for folder in fit_folders if "/chosen-" in folder
    }
    # of a model that was fitted again only its first fit is compared
    first_fit_folders = [folder for folder in fit_folders if folder not in refitted_folders]
    nudge_detector = "nudge after the train block"
    detector = "change inside the test block"
    return [
        *runs.compare_fits(base, nudged_run, first_fit_folders, train_end, nudge_detector),
        *runs.compare_calibrations(base, test_run, moment, detector),
        *runs.compare_forecasts(base, test_run, moment, detector),
    ]


def _moment_in_test_block(base: Sandbox, ends: dict[str, pd.Timestamp]) -> pd.Timestamp:
    """The moment after which the test block is changed: the first cutoff there at which models are
    fitted again, by the first refit frequency that a model has, so that a refit which reads one row
    too many reads a changed one. Without such a cutoff, a quarter into the block's cutoffs; where
    nothing is forecast there, the end of calibration.
    """
    table = base.results.forecasts("naive")
    cutoffs = np.sort(table.loc[table["block"] == "test", "cutoff"].unique())
    if not len(cutoffs):
        return ends["calibration"]
    frequencies = (record.params.get("refit", "never") for record in base.results.records.values())
    frequency: RefitFrequency = next((f for f in frequencies if f != "never"), "never")
    schedule = RefitSchedule.of(frequency, np.sort(table["cutoff"].unique()))
    refit_cutoffs = cutoffs[np.isin(cutoffs, np.array(schedule.cutoffs, cutoffs.dtype))]
    if len(refit_cutoffs):
        return pd.Timestamp(refit_cutoffs[0])
    return pd.Timestamp(cutoffs[len(cutoffs) // 4])


def _count_checked(base: Sandbox, trained: Path, n_moments: int) -> dict[str, int]:
    """What was checked, and how often (`Audit.checked`)."""
    return {
        "candidates": len(base.results.records),
        "forecasters": len(list(trained.glob("*/seed-*"))),
        "moments": n_moments,
        "calls for targets": len(base.target_requests),
        "calibration calls": len(base.calibration_calls),
    }


def _describe_unaudited(base: Sandbox) -> list[str]:
    """Sentences about what the run could not show."""
    records = base.results.records
    notes = [f"{remark}." for remark in model_families.describe_pretrained(records.values())]
    failed = [name for name, record in records.items() if record.has_failed]
    if failed:
        notes.append(f"Not fitted within the audit's budget, so not audited: {', '.join(failed)}.")
    if not base.calibration_calls:
        notes.append(
            "No interval was calibrated in this pipeline; there was nothing to audit there."
        )
    return notes


if __name__ == "__main__":
    sys.exit(main())
