"""The real stages, run in a folder of their own on data of the audit's making, with a budget of a few steps."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from forecast import models
from forecast.audit.changes import block_ends, known_at
from forecast.audit.subprocess_isolation import overheard
from forecast.config.datasets import Dataset, load_dataset
from forecast.data import snapshots, vintages
from forecast.data.columns import other_datasets
from forecast.models.problem import Purpose, recorded_by
from forecast.system import files
from forecast.system.code_closure import code_digest
from forecast.system.errors import InputError

BUDGET: dict[str, Any] = {
    "n_trials": 2,
    "trial_steps": 2,
    "final_steps": 3,
    "evaluate_every": 1,
    "seeds": [0, 1],
    "base_seed": 0,
}
REFIT = 0.6
"""Share of the origins of validation and calibration between two fits of a model with a refit policy: seldom, but one
fit is made before the test block, whose rows it may not see."""
STAGES = ("fetch", "prepare", "tune", "train", "compare")
Change = Callable[[pd.DataFrame, pd.Timestamp], pd.DataFrame]


@dataclass(frozen=True)
class Project:
    """The project under audit: what its pointers name, read once."""

    root: Path
    dataset: str
    settings: Dataset
    raw: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, root: Path, dataset: str) -> Project:
        settings = load_dataset(dataset, root / "configs")
        names = [dataset, *other_datasets(settings)]
        return cls(root, dataset, settings, {name: snapshots.read_pointed(root, name) for name in names})

    @property
    def frame(self) -> pd.DataFrame:
        return self.raw[self.dataset]


@dataclass(frozen=True)
class Asked:
    """Targets of rows up to `last` of a series known for `rows` rows, on behalf of a stage's skip or training."""

    stage: str
    by: str
    rows: int
    last: int


@dataclass
class Sandbox:
    """One run: `root` with configs and store, and what it did.

    It is the run's `Recorder`: `calibrated` is what every conformal fit was given, `asked` for which rows a fit, a
    penalty or a validation loss asked for targets; processes beside this one tell nothing. `opened`: what the run read
    or wrote outside of `root`. `stage`: the one that is running.
    """

    root: Path
    dataset: str
    calibrated: list[dict[str, np.ndarray]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    stage: str = ""

    def targets_given(self, purpose: Purpose, length: int, last: int) -> None:
        self.asked.append(Asked(self.stage, purpose, length, last))

    def calibration_given(self, y: np.ndarray, lower: np.ndarray) -> None:
        self.calibrated.append({"y": y, "lower": lower})

    def __truediv__(self, part: str) -> Path:
        return self.root / "data" / part

    @property
    def prepared(self) -> Path:
        return self / "prepared" / self.dataset

    @property
    def trained(self) -> Path:
        return self / "trained" / self.dataset

    @property
    def compared(self) -> Path:
        return self / "compared" / self.dataset

    @property
    def tuned(self) -> Path:
        return self / "tuned" / self.dataset


def load(project: Project, own: Path) -> list[str]:
    """Imports the stages and reads their code, once for all runs; returns what that opened of the project."""
    with overheard(project.root, own) as opened:
        for name in STAGES:
            importlib.import_module(f"pipelines.{name}")
        models.catalogue()
        code_digest([f"pipelines.{name}" for name in STAGES])  # remembered by file, for the runs' own digests
    return list(dict.fromkeys(opened))


def run(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    *,
    after: pd.Timestamp | None = None,
    change: Change | None = None,
    stages: tuple[str, ...] = STAGES,
    models: tuple[str, ...] = (),
    jobs: int = 1,
) -> Sandbox:
    """`stages` on `frame`, in `folder`. `change` is applied to everything that became known after `after`."""
    _lay_out(project, frame, folder, after, change)
    sandbox = Sandbox(folder, project.dataset)
    with overheard(project.root, folder) as opened, recorded_by(sandbox):
        for name in stages:
            sandbox.stage = name
            options: dict[str, Any] = {"root": str(folder)}
            if name in ("tune", "train"):
                options |= {"state": str(folder / ".forecast"), "models": models, "jobs": jobs}
            # found by name, as DVC does: the package must not depend on its stages
            stage = importlib.import_module(f"pipelines.{name}")
            try:
                stage.main(project.dataset, **options)
            except Exception as error:
                state = "as they are" if change is None else f"changed after {after}"
                raise InputError(
                    f"The stage {name} of {project.dataset} failed on the data {state}: "
                    f"{type(error).__name__}: {error}. "
                    "Nothing can be said about leaks; make the stage run first."
                ) from error
    sandbox.opened += dict.fromkeys(opened)
    return sandbox


def _lay_out(
    project: Project, frame: pd.DataFrame, folder: Path, after: pd.Timestamp | None, change: Change | None
) -> None:
    shutil.copytree(project.root / "configs", folder / "configs")
    files.write_text(folder / "configs" / "tuning.yaml", yaml.safe_dump(BUDGET))
    _refit_seldom(folder / "configs" / "models.yaml", _origins_between_fits(frame, project.settings))
    if (project.root / "requirements.lock").exists():
        shutil.copy(project.root / "requirements.lock", folder / "requirements.lock")
    for name, stored in project.raw.items():
        own = frame if name == project.dataset else stored
        if change is not None and after is not None:
            moment = after if name == project.dataset else _last_known(project, name, after)
            own = change(own, moment)
        as_of = pd.Timestamp(snapshots.read_pointer(project.root, name).as_of)
        pointer = snapshots.write_snapshot(folder, name, own, as_of=as_of, provenance={})
        known = _known(project, after) if change is not None and after is not None else None
        beside = vintages.write(folder, name, _vintages(project.root, name, known), as_of=as_of)
        snapshots.move_pointer(folder, name, replace(pointer, **beside))


def _vintages(root: Path, name: str, after: pd.Timestamp | None) -> pd.DataFrame:
    """The provider's own forecasts; those issued after `after` are nonsense."""
    table = vintages.kept(root, name)
    if after is not None and len(table):
        values = table.columns.drop(vintages.KEYS)
        later = table["issued_at"] > after
        table.loc[later, values] = 1000.0 - table.loc[later, values]
    return table


def _origins_between_fits(frame: pd.DataFrame, dataset: Dataset) -> int:
    ends = block_ends(frame, dataset)
    times = frame["ds"].drop_duplicates()
    origins = 0
    for start, block in (("train", "validation"), ("validation", "calibration")):
        origins += int(((times > ends[start]) & (times <= ends[block])).sum()) // dataset.stride_in(block)
    return max(2, int(REFIT * origins))


def _refit_seldom(path: Path, origins: int) -> None:
    """Models that are fitted again in a backtest: as seldom as shows what a later fit may see."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for entry in content["models"].values():
        if entry.get("refit", "never") != "never":
            entry["refit"] = origins
    files.write_text(path, yaml.safe_dump(content, sort_keys=False))


def _known(project: Project, after: pd.Timestamp) -> pd.Timestamp:
    """When the audited dataset's last row up to `after`, which need not be a step of its calendar, was known."""
    rows = project.frame["ds"][project.frame["ds"] <= after]
    return pd.Timestamp(known_at(project.settings.calendar, [rows.max() if len(rows) else after])[0])


def _last_known(project: Project, other: str, after: pd.Timestamp) -> pd.Timestamp:
    """The last row of a joined dataset that was known when row `after` of the audited one was."""
    known = _known(project, after)
    calendar = load_dataset(other, project.root / "configs").calendar
    times = project.raw[other]["ds"]
    before = times[np.asarray(known_at(calendar, times) <= known)]
    return pd.Timestamp(before.max()) if len(before) else times.min() - pd.Timedelta(1, "ns")
