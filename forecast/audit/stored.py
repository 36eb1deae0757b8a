"""The finished results that a project holds: are they those of its models, data and settings, to
the last digit?

The audit's own runs show what the code does; a file edited or mixed up after its run shows only
here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from forecast import models
from forecast.audit import Finding, rescored, runs
from forecast.audit.changes import reordered
from forecast.audit.sandbox import Project, Sandbox, go_on, isolated
from forecast.backtest.backtest import fit_twice, load_engine
from forecast.backtest.candidates import Candidate
from forecast.backtest.timeline import RefitSchedule
from forecast.config.experiment import load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.task import load_task
from forecast.data import splits
from forecast.data.panel import Panel, from_frame
from forecast.data.records import RunRecord, SeedFit, StudyRecord, newest_weights
from forecast.forecaster import Budget, Fitted, Forecaster, Problem
from forecast.system import files
from forecast.system.errors import ModelFailure

WITHHELD = "fit without the later rows"
DETECTOR = "stored results computed again"
ORIGINS = 3
ORIGIN = ["unique_id", "output", "cutoff", "step"]
CLOSE = 1e-5
"""Of the spread of a forecast: batches of another size change its last digits."""


def stored(
    project: Project, whole: Panel, ends: dict[str, pd.Timestamp]
) -> tuple[list[Finding], tuple[str, ...]]:
    """Findings, and notes on what could not be looked at; `whole` is what the stages make of the
    snapshot now.
    """
    base = Sandbox(project.paths, project.dataset)
    if not (base.trained / "naive" / "record.json").exists():
        return [], (
            (
                "The project holds no finished run of this dataset; only the audit's own runs were"
                " examined."
            ),
        )
    task = project.settings.task.model_dump(mode="json")
    for path in base.trained.glob("*/seed-*/spec.json"):
        if files.read_json(path).get("task") != task:
            name = path.parent.parent.name
            return [], (
                f"{name} was trained with other settings; run `dvc repro` to have it looked at.",
            )
    if "volatility" not in base.forecasts("naive"):
        return [], (
            (
                "The finished run is of an earlier version, with other intervals; run `dvc repro`"
                " to repeat it."
            ),
        )
    found = [
        *isolated(_of_the_models, base, project, whole),
        *rescored.rescored(
            base, whole, ends, list(load_tuning(project.paths.configs).seeds), DETECTOR
        ),
        *rescored.kept_the_best(base, DETECTOR),
        *rescored.intervals_again(base, whole, DETECTOR),
    ]
    return found, ()


def _of_the_models(base: Sandbox, project: Project, whole: Panel) -> list[Finding]:
    scaling = Problem.of(whole, splits.resolve(whole, project.settings.splits), ("train",)).scaling
    found: list[Finding] = []
    for candidate, record in base.records().items():
        if record.has_failed:
            continue
        found += _settings(record, base.tuned / f"{candidate}.json", base.trained / candidate)
        table = base.forecasts(candidate)
        found += _averaged(candidate, record, table, base)
        for folder in sorted((base.trained / candidate).glob("seed-*")):
            forecaster = Forecaster.load(folder)
            name = f"{candidate}/{folder.name}"
            for uid in scaling.centre:
                parts = [
                    np.stack([one.centre[uid], one.scale[uid]])
                    for one in (forecaster.scaling, scaling)
                ]
                if not np.allclose(parts[0], parts[1], rtol=1e-9):
                    text = f"the scaling of {name} for series {uid} is not that of the train block"
                    found.append(Finding("scaling", DETECTOR, name, text))
            seed = int(folder.name.removeprefix("seed-"))
            own, newest = table[table["seed"] == seed], folder.with_name(f"newest-{seed}")
            if record.refits:
                own = _before_later_fits(own, record)
                forecaster = Forecaster.load(newest if newest.exists() else folder)
            found += _foretold(forecaster, own, whole, name)
    return found


def _before_later_fits(table: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """What a row that is fitted again forecasts in the test block with the fit that serves."""
    test = table[table["block"] == "test"]
    spec = models.spec(record.params, where="record.json: params")
    schedule = RefitSchedule.of_spec(spec, np.sort(table["cutoff"].unique()))
    later = schedule.after(test["cutoff"].min())
    return test[test["cutoff"] < later[0]] if later else test


def turned(
    project: Project, base: Sandbox, folder: Path, *, models: tuple[str, ...] = ()
) -> Sandbox:
    """`base` once more from its finished fits on, whose order by test error is reversed
    (`changes.reordered`).
    """
    shutil.copytree(base.paths.root, folder)
    sandbox = Sandbox(ProjectPaths.of(folder), project.dataset)
    reordered(sandbox.paths.memo)
    return go_on(
        project, sandbox, ("train", "compare"), models, 1, "with the order of test errors reversed"
    )


def withheld(base: Sandbox, end: pd.Timestamp, budget: Budget, folder: Path) -> list[Finding]:
    """Every model of `base` fitted once more from rows that end with the validation block, at
    `end`: it must be the one that was saved, of its seed, with its curve. What is not there cannot
    be looked at, however late.
    """
    frame, paths = pd.read_parquet(base.prepared / "frame.parquet"), base.paths
    panel = from_frame(frame[frame["ds"] <= end], base.dataset, load_task(paths.task(base.dataset)))
    borders = splits.Borders.from_json(files.read_json(paths.borders(base.dataset)))
    problem, found = Problem.of(panel, borders, ("train", "validation")), list[Finding]()
    for name, record in base.records().items():
        spec = None if record.members else models.spec(record.params, where=f"record of {name}")
        if record.has_failed or spec is None or spec.needs_vintages:
            continue
        if spec.uses_tensorflow:
            load_engine()
        candidate = Candidate(record.model, spec, record.ranking, record.skip)
        for entry in record.seeds:
            try:
                fits = fit_twice(problem, candidate, seed=entry.seed, budget=budget)
            except (ModelFailure, LookupError, ValueError) as error:
                # whatever a fit says that misses its rows
                kind, text = (
                    "skip" if spec.fitted_as == "ridge" else "training",
                    f"{name} needs later rows: {error}",
                )
                found.append(Finding(kind, WITHHELD, name, text))
                continue
            found += _as_saved(fits, entry, base.trained / name, folder / f"{name}-{entry.seed}")
    return found


def at_full_budget(
    project: Project, base: Sandbox, end: pd.Timestamp, folder: Path
) -> list[Finding]:
    """The same of the smallest network, tuned and trained in `folder` with all the steps and looks
    of the project.

    It begins at the last value, not on a fitted skip: there trials differ and a step beyond the
    first is kept.
    """
    sizes = {
        record.model: record.n_params
        for record in base.records().values()
        if record.cost.gradient_steps
    }
    if not sizes:
        return []
    shutil.copytree(base.paths.root, folder)
    own, tuning = Sandbox(ProjectPaths.of(folder), base.dataset), load_tuning(project.paths.configs)
    about = {"final_steps": tuning.final_steps, "evaluate_every": tuning.evaluate_every}
    for name, change in (("tuning.yaml", about), ("models.yaml", {"rankings": ["architecture"]})):
        path = own.paths.configs / name
        files.write_text(
            path, yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **change})
        )
    smallest = min(sizes, key=lambda name: sizes[name])
    isolated(
        go_on, project, own, ("tune", "train"), (smallest,), 1, "as they are, with all of its steps"
    )
    found = isolated(
        withheld, own, end, Budget(tuning.final_steps, tuning.evaluate_every), folder / "again"
    )
    return [*rescored.kept_the_best(own, "validation losses of trials and steps"), *found]


def _as_saved(
    fits: tuple[Fitted, Fitted], entry: SeedFit, saved: Path, folder: Path
) -> Iterator[Finding]:
    about = (
        f"{saved.name}, seed {entry.seed}, differs when it is fitted without the rows after"
        " validation"
    )
    for fitted, kept in zip(fits, ("chosen", "seed"), strict=True):
        twin = saved / f"{kept}-{entry.seed}"
        if twin.exists():  # one that is not fitted again has no first fit beside it
            fitted.forecaster.save(folder / kept)
            for name in runs.unlike_parts(twin, folder / kept):
                yield Finding(runs.PARTS[name], WITHHELD, saved.name, f"{name} of {about}")
    curve = files.json_number(fits[0].curve)
    if curve != files.json_number(entry.curve) or fits[0].steps_elsewhere != entry.steps_by_fold:
        yield Finding("training", WITHHELD, saved.name, f"the validation curve of {about}")


def _settings(record: RunRecord, study: Path, folder: Path) -> Iterator[Finding]:
    """The settings told are those tuning found and those of the saved models."""
    name = folder.name
    best = (StudyRecord.read(study).best_params or {}) if study.exists() else {}
    if record.tuned != best:
        text = f"the record of {name} says it was tuned to {record.tuned}; its study found {best}"
        yield Finding("stored", DETECTOR, name, text)
    for path in sorted(folder.glob("seed-*/spec.json")):
        if files.read_json(path)["spec"] != record.params:
            text = (
                f"the model saved in {name}/{path.parent.name} has other settings than its record"
            )
            yield Finding("stored", DETECTOR, name, text)


def _averaged(
    name: str, record: RunRecord, table: pd.DataFrame, base: Sandbox
) -> Iterator[Finding]:
    """Whether a combination's forecasts behind validation are the weighted means of its members'
    forecasts, and whether the weights that serve have seen no target of the test block.
    """
    if not record.members:
        return
    members = {member for dated in record.weights for member in dated.weights}
    means = {}
    for member in members:
        rows = base.forecasts(member)
        later = rows[rows["block"] != "validation"]
        means[member] = later.groupby(ORIGIN, sort=True)["y_hat"].mean()
    wanted = 0 * next(iter(means.values()))
    cutoffs = wanted.index.get_level_values("cutoff")
    for number, dated in enumerate(record.weights):
        mean = sum(weight * means[member] for member, weight in dated.weights.items())
        is_earlier = (cutoffs < dated.learnt_until) & (number > 0)
        wanted = wanted.where(is_earlier, mean)
    kept = table[table["block"] != "validation"].set_index(ORIGIN)["y_hat"].sort_index()
    if not (kept.index.equals(wanted.index) and np.allclose(kept, wanted, rtol=1e-9)):
        text = f"the forecasts kept of {name} are not the weighted mean of its members' forecasts"
        yield Finding("stored", DETECTOR, name, text)
    test_start = table.loc[table["block"] == "test", "cutoff"].min()
    serving = {member.candidate: member.weight for member in record.members}
    if serving != newest_weights(record.weights, test_start).weights:
        text = (
            f"the weights that serve in {name} are not the last ones learnt before the test block"
        )
        yield Finding("stored", DETECTOR, name, text)


def _foretold(
    forecaster: Forecaster, table: pd.DataFrame, whole: Panel, name: str
) -> Iterator[Finding]:
    """At a few origins of every later block the saved model forecasts what stands in the table of
    one seed.
    """
    for series in whole.series:
        mine = table[table["unique_id"] == series.unique_id]
        # of the model before it was fitted on that block too
        mine = mine[mine["block"] != "validation"]
        if mine.empty:
            continue
        ordered = (np.sort(rows["cutoff"].unique()) for _, rows in mine.groupby("block"))
        # the first, the last and some between
        some = [
            o[np.unique(np.linspace(0, len(o) - 1, min(ORIGINS, len(o))).astype(int))]
            for o in ordered
        ]
        cutoffs = np.sort(np.concatenate(some))
        rows = np.searchsorted(series.ds, cutoffs)
        made = forecaster.predict(whole, {series.unique_id: rows})[series.unique_id]
        kept = mine[mine["cutoff"].isin(cutoffs)].assign(
            order=lambda t: t["output"].map(whole.task.targets.index)
        )
        told, wanted = (
            kept.sort_values(["cutoff", "step", "order"])["y_hat"].to_numpy(),
            made.ravel(),
        )
        spread = float(np.nanstd(series.values[:, : whole.outputs])) or 1.0
        if len(told) != len(wanted) or not np.allclose(
            told, wanted, rtol=CLOSE, atol=CLOSE * spread
        ):
            text = (
                f"the forecasts kept of {name} for series {series.unique_id} are not those of the"
                " saved model"
            )
            yield Finding("stored", DETECTOR, name, text)
