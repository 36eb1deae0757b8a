"""One audit from the project to its findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.audit import data, origins, rescored, runs
from forecast.audit.changes import block_ends, miniature, nudged, shaken
from forecast.audit.findings import Audit, Finding, ordered
from forecast.audit.sandbox import BUDGET, Project, Sandbox, run
from forecast.forecaster import Forecaster
from forecast.panel import Panel, from_frame
from forecast.scaling import transform


def audit(
    root: Path,
    dataset: str,
    folder: Path,
    *,
    models: tuple[str, ...] = (),
    jobs: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Audit:
    """Audit the project in `root`; `folder` is an empty one for the runs, `models` narrows the grid.

    Trained forecasters of the project are examined as they are; fits are repeated on a part of the data with a
    budget of a few steps, since what a fit may see does not depend on how long it goes on.
    """
    project = Project.of(root, dataset)
    found: list[Finding] = list(data.history(project))
    say("the pipeline on the data as they are")
    small = miniature(project.frame, project.settings, block_ends(project.frame, project.settings))
    ends = block_ends(small, project.settings)
    base = run(project, small, folder / "base", models=models, jobs=1)  # in this process, where it is heard
    panel = from_frame(pd.read_parquet(base.prepared / "frame.parquet"), dataset, project.settings)
    found += runs.blocks_in_order(base, ends, "labels of the forecasts")
    found += runs.origins_in_order(base, panel, ends, "origins of every block")
    found += runs.best_on_validation(base, "validation scores of the leaderboard")
    found += runs.targets_asked_for(base, panel, ends, "targets asked for")
    found += rescored.rescored(base, panel, ends, BUDGET["seeds"], "scores computed again")
    found += rescored.kept_the_best(base, "validation losses of trials and steps")
    found += _calibration_rows(base, panel, ends)
    found += _other_runs(project, small, base, ends, folder, models=models, jobs=jobs, say=say)
    moments = origins.pick(project, block_ends(project.frame, project.settings))
    forecasters = load(root / "data" / "trained" / dataset) or load(base.trained)
    say(f"forecasts at {len(moments)} moments, everything after each changed")
    found += origins.audit_origins(project, moments, forecasters, folder / "origins")
    found += origins.audit_ends(project, moments[-2:], forecasters, folder / "origins")
    again = Sandbox(folder / "origins" / "base", dataset)
    found += data.same_frame(project, again)
    whole = from_frame(pd.read_parquet(again.prepared / "frame.parquet"), dataset, project.settings)
    found += data.columns(whole)
    found += data.repeated(whole, block_ends(project.frame, project.settings))
    checked = {
        "candidates": len(list(base.trained.glob("*/record.json"))),
        "forecasters": len(forecasters),
        "moments": len(moments),
        "calls for targets": len(base.asked),
        "calibration calls": len(base.calibrated),
    }
    return Audit(dataset, ordered(found), checked, _notes(base))


def _other_runs(
    project: Project,
    small: pd.DataFrame,
    base: Sandbox,
    ends: dict[str, pd.Timestamp],
    folder: Path,
    *,
    models: tuple[str, ...],
    jobs: int,
    say: Callable[[str], None],
) -> list[Finding]:
    """The pipeline on three changed copies of the data, each compared with the first run."""
    found: list[Finding] = []
    say("the pipeline with the rows after the train block moved by a ten-millionth")
    fits = ("fetch", "prepare", "tune", "train")
    after = ends["train"]
    other = run(project, small, folder / "nudged", after=after, change=nudged, stages=fits, models=models, jobs=jobs)
    found += runs.fitted_on_train(base, other, after, "nudge after the train block")
    say("the pipeline with the rows after the validation block changed")
    moment = ends["validation"]
    other = run(project, small, folder / "later", after=moment, change=shaken, models=models, jobs=jobs)
    detector = "change after the validation block"
    found += runs.fitted_on_train(base, other, moment, detector)
    found += runs.chosen_before(base, other, moment, detector)
    found += runs.forecasts_before(base, other, moment, detector)
    say("the pipeline with the later part of the test block changed")
    moment = _inside_test(base, ends)
    other = run(project, small, folder / "test", after=moment, change=shaken, models=models, jobs=jobs)
    found += runs.calibrated(base, other, moment, "change inside the test block")
    found += runs.forecasts_before(base, other, moment, "change inside the test block")
    return found


def _inside_test(base: Sandbox, ends: dict[str, pd.Timestamp]) -> pd.Timestamp:
    """The cutoff of an origin in the first quarter of the test block: one row seen too many is then one changed."""
    table = pd.read_parquet(base.trained / "naive" / "forecasts.parquet", columns=["block", "cutoff"])
    cutoffs = np.sort(table.loc[table["block"] == "test", "cutoff"].unique())
    return pd.Timestamp(cutoffs[len(cutoffs) // 4]) if len(cutoffs) else ends["calibration"]


def _calibration_rows(base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp]) -> list[Finding]:
    """In raw units and in those the target is modelled in: intervals may be made in either."""
    targets, ranges = [], []
    for series in panel.series:
        start, stop = (int((series.ds <= ends[name].to_datetime64()).sum()) for name in ("validation", "calibration"))
        for output, column in enumerate(panel.dataset.target):
            level = column.model_copy(update={"transform": column.transform.replace("diff", "") or "none"})
            targets += [series.values[:, output], transform(series.values[:, output], level)]
            ranges += [(start, stop)] * 2
    return list(runs.calibration_rows(base, targets, ranges, "rows of the calibration calls"))


def load(trained: Path) -> dict[str, Forecaster]:
    """Every saved forecaster below `trained`, and each network once more with its weights moved away from zero."""
    found = {}
    for path in sorted(trained.glob("*/seed-*")):
        name = path.relative_to(trained).as_posix()
        found[name] = Forecaster.load(path)
        found[f"{name}, stirred"] = origins.stirred(found[name])
    return {name: f for name, f in found.items() if not name.endswith("stirred") or f.network is not None}


def _notes(base: Sandbox) -> tuple[str, ...]:
    failed = [path.parent.name for path in sorted(base.trained.glob("*/record.json")) if _failed(path)]
    notes = [f"Not fitted within the audit's budget, so not audited: {', '.join(failed)}."] if failed else []
    if not base.calibrated:
        notes.append("No interval was calibrated in this pipeline; there was nothing to audit there.")
    return tuple(notes)


def _failed(record: Path) -> bool:
    from forecast import files

    return bool(files.read_json(record)["status"] != "ok")
