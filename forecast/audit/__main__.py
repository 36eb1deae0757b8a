"""`python -m forecast.audit DATASET`: the audit in a process of its own, since it runs the code it
examines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.audit import Audit, Finding, data, ordered, origins, rescored, runs, stored
from forecast.audit.changes import block_ends, miniature, nudged, shaken
from forecast.audit.sandbox import BUDGET, Project, Sandbox, isolated, load, run
from forecast.backtest.timeline import Frequency, RefitSchedule
from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data.panel import Panel, from_frame
from forecast.forecaster import Budget
from forecast.system import cluster, files
from forecast.system.errors import ForecastError, InputError

LEAK = 1
BESIDE = "the stages opened {} of the project itself, beside the data they were given"
Say = Callable[[str], None]


def main(arguments: list[str] | None = None) -> int:
    """0 when no leak was found, 1 when one was, the error's code when the audit could not be
    made.
    """
    options = _parser().parse_args(arguments)
    say = (
        (lambda line: None)
        if options.quiet
        else (lambda line: print(line, file=sys.stderr, flush=True))
    )
    try:
        with files.scratch_folder() as folder:
            found = audit(
                Path(options.root),
                options.dataset,
                folder,
                models=options.models,
                jobs=options.jobs,
                say=say,
            )
    except ForecastError as error:
        print(f"audit: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(found.lines()))
    return 0 if found.clean else LEAK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="forecast audit", description="Look for leaks in the pipeline of a dataset."
    )
    parser.add_argument("dataset")
    parser.add_argument("--root", default=".")
    parser.add_argument(
        "--models", default=(), type=lambda text: tuple(part for part in text.split(",") if part)
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--quiet", action="store_true")
    return parser


def audit(
    root: Path,
    dataset: str,
    folder: Path,
    *,
    models: tuple[str, ...] = (),
    jobs: int = 1,
    say: Say = lambda line: None,
) -> Audit:
    """Audit the project in `root`; `folder` is an empty one for the runs, `models` narrows the
    grid.

    Trained forecasters of the project are examined as they are; fits are repeated on a part of the
    data with a budget of a few steps, since what a fit may see does not depend on how long it goes
    on.
    """
    project, least = Project.of(root, dataset), 2 if cluster.address() else 1
    small = miniature(project.frame, project.settings, block_ends(project.frame, project.settings))
    ends = block_ends(small, project.settings)
    # All runs come first, each forked from a process that has not used the audited code and so
    # remembers nothing.
    say("the pipeline on the data as they are")
    opened = load(project, folder, models)
    # one job, so that all it opens is noted
    base = isolated(run, project, small, folder / "base", models=models)
    base.opened += opened
    if "own" in files.read_json(base.prepared / "borders.json"):
        why = (
            "Blocks are shares of each series' own rows here, and an audit changes all rows after"
            " one moment."
        )
        raise InputError(f"{why} Audit the series one by one, or those that end together.")

    def changed(place: Path, **change: Any) -> Sandbox:
        return isolated(run, project, small, place, models=models, jobs=max(jobs, least), **change)

    found = _other_runs(changed, base, ends, folder, say)
    found += _other_fits(project, base, ends, folder, models, say)
    whole = isolated(origins.prepared, project, project.frame, folder / "whole", None).panel
    full = block_ends(project.frame, project.settings)
    cuts = origins.moments(project, whole, full)
    trained = project.paths.trained(dataset)
    trained = trained if any(trained.glob("*/seed-*")) else base.trained
    say(f"forecasts at {len(cuts)} moments, everything after each changed")
    found += origins.audit_origins(project, whole, cuts, trained, folder / "origins")
    found += origins.audit_ends(project, whole, cuts[-2:], trained, folder / "origins")
    found += _of_one_run(base, ends)
    found += _of_the_data(project, whole, full, Sandbox(ProjectPaths.of(folder / "whole"), dataset))
    told, said = list[Finding](), tuple[str, ...]()
    if not any(finding.kind == "history" for finding in found):
        say("the stored results of the project")
        told, said = stored.stored(project, whole, full)
    checked = {
        "candidates": len(base.records()),
        "forecasters": len(list(trained.glob("*/seed-*"))),
        "moments": len(cuts),
        "calls for targets": len(base.asked),
        "calibration calls": len(base.calibrated),
    }
    return Audit(dataset, ordered([*found, *told]), checked, _notes(base) + said)


def _other_fits(
    project: Project,
    base: Sandbox,
    ends: dict[str, pd.Timestamp],
    folder: Path,
    models: tuple[str, ...],
    say: Say,
) -> list[Finding]:
    """What was chosen when other fits are the better ones on test, and the fits once more without
    later rows.
    """
    say("members, weights, choices and intervals with the order of test errors reversed")
    turned = isolated(stored.turned, project, base, folder / "turned", models=models)
    found = list(
        runs.chosen_before(base, turned, ends["calibration"], "test errors in the reversed order")
    )
    found += runs.calibrated(base, turned, ends["calibration"], "test errors in the reversed order")
    say("fits without the rows after the validation block, one of them with all of its steps")
    few = Budget(BUDGET["final_steps"], BUDGET["evaluate_every"])
    found += isolated(stored.withheld, base, ends["validation"], few, folder / "withheld")
    found += stored.at_full_budget(project, base, ends["validation"], folder / "full")
    return found


def _of_one_run(base: Sandbox, ends: dict[str, pd.Timestamp]) -> list[Finding]:
    """What the run on the data as they are did and wrote."""
    frame = pd.read_parquet(base.prepared / "frame.parquet")
    panel = from_frame(frame, base.dataset, load_dataset(base.dataset, base.paths.configs).task)
    return [
        *(
            Finding("beside", "files opened meanwhile", path, BESIDE.format(path))
            for path in base.opened[:1]
        ),
        *runs.blocks_in_order(base, ends, "labels of the forecasts"),
        *runs.origins_in_order(base, panel, ends, "origins of every block"),
        *runs.targets_asked_for(base, panel, ends, "targets asked for"),
        *rescored.rescored(base, panel, ends, BUDGET["seeds"], "scores computed again"),
        *rescored.kept_the_best(base, "validation losses of trials and steps"),
        *rescored.intervals_again(base, panel, "intervals made again"),
        *runs.calibration_rows(base, panel, ends, "rows of the calibration calls"),
    ]


def _of_the_data(
    project: Project, whole: Panel, ends: dict[str, pd.Timestamp], again: Sandbox
) -> list[Finding]:
    """What stands in the data themselves; `again`: what the stages make of the snapshot now."""
    return [
        *data.history(project),
        *data.same_frame(project, again),
        *data.actuals(project, whole),
        *data.columns(whole),
        *(list(data.repeated(whole, ends)) or data.alike(whole, ends)),
    ]


def _other_runs(
    changed: Callable[..., Sandbox],
    base: Sandbox,
    ends: dict[str, pd.Timestamp],
    folder: Path,
    say: Say,
) -> list[Finding]:
    """The pipeline on three changed copies of the data, made by `changed`, each compared with the
    first run.
    """
    say("the pipeline with the rows after the train block moved by a ten-millionth")
    moment, fits = ends["train"], ("fetch", "prepare", "train")
    other = changed(folder / "nudged", after=moment, change=nudged, stages=fits, tuned=base.tuned)
    every = runs.every_fit(base)
    twice = {folder.replace("/chosen-", "/seed-") for folder in every if "/chosen-" in folder}
    # of what was fitted again the fit before
    first = [folder for folder in every if folder not in twice]
    found = list(runs.fitted_before(base, other, first, moment, "nudge after the train block"))
    say("the pipeline with the rows after the validation block changed")
    moment, detector = ends["validation"], "change after the validation block"
    other = changed(folder / "later", after=moment, change=shaken)
    found += runs.fitted_before(base, other, runs.every_fit(base), moment, detector)
    found += runs.chosen_before(base, other, moment, detector)
    found += runs.forecasts_before(base, other, moment, detector)
    say("the pipeline with the later part of the test block changed")
    moment, detector = _inside_test(base, ends), "change inside the test block"
    other = changed(
        folder / "test", after=moment, change=shaken, stages=(*fits, "compare"), tuned=base.tuned
    )
    found += runs.calibrated(base, other, moment, detector)
    found += runs.forecasts_before(base, other, moment, detector)
    return found


def _inside_test(base: Sandbox, ends: dict[str, pd.Timestamp]) -> pd.Timestamp:
    """The cutoff of an origin of the test block at which a model is fitted again, or of one in its
    first quarter: one row seen too many is then one changed.
    """
    table = pd.read_parquet(
        base.trained / "naive" / "forecasts.parquet", columns=["block", "cutoff"]
    )
    cutoffs = np.sort(table.loc[table["block"] == "test", "cutoff"].unique())
    if not len(cutoffs):
        return ends["calibration"]
    every = [
        record.params["refit"]
        for record in base.records().values()
        if record.params.get("refit", "never") != "never"
    ]
    frequency: Frequency = every[0] if every else "never"
    schedule = RefitSchedule.of(frequency, np.sort(table["cutoff"].unique()))
    known = cutoffs[np.isin(cutoffs, np.array(schedule.cutoffs, cutoffs.dtype))]
    return pd.Timestamp(known[0] if len(known) else cutoffs[len(cutoffs) // 4])


def _notes(base: Sandbox) -> tuple[str, ...]:
    failed = [name for name, record in base.records().items() if record.has_failed]
    notes = (
        [f"Not fitted within the audit's budget, so not audited: {', '.join(failed)}."]
        if failed
        else []
    )
    if not base.calibrated:
        notes.append(
            "No interval was calibrated in this pipeline; there was nothing to audit there."
        )
    return tuple(notes)


if __name__ == "__main__":
    sys.exit(main())
