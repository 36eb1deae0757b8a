"""The settings and data of stages `tune` and `train` (`Setup`).

The stages read them from a project's files (`read_tuning_setup`, `read_training_setup`);
`forecast.fit` and `compare` make them in memory. `forecast.backtest.candidates` plans the
candidates from the field `models`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from forecast.backtest.prepared_data import PreparedData
from forecast.config.datasets import load_dataset
from forecast.config.models import Models, Tuning, load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task, load_task
from forecast.data.splits import BordersFile
from forecast.forecaster import Budget
from forecast.system import files


@dataclass(frozen=True)
class Setup:
    """The settings and the data of one dataset's tuning or training."""

    data: PreparedData
    task: Task
    borders: BordersFile
    """The end of each block, as from `Borders.to_json`; a part of every cache key."""
    models: Models
    tuning: Tuning
    n_series: int = 1
    """How many series training fits; tuning does not use it."""
    storage: str = ""
    """URL of the database that machines share; empty: studies are journal files."""
    models_with_fixed_values: Collection[str] = ()
    """Models of which tuning does not change the fields that their entry sets. In a project there
    are none: a search begins at the values of the entry.
    """

    @property
    def has_vintages(self) -> bool:
        """Whether the provider's own forecasts are stored, so that they can be a candidate."""
        return bool(self.data.vintages)

    @property
    def trial_budget(self) -> Budget:
        """The budget of one trial of tuning."""
        tuning = self.tuning
        return Budget(tuning.trial_steps, tuning.evaluate_every, chooses_by_fold=False)

    @property
    def training_budget(self) -> Budget:
        """The budget of one seed of a network in training."""
        return Budget(self.tuning.final_steps, self.tuning.evaluate_every)

    @property
    def n_series_to_split(self) -> int:
        """The number of series that a training job may share out; 1: a job is never split."""
        # corrections of the forecasts are learnt from all series together
        is_one_part = self.task.hierarchy or self.task.asks_mean
        return 1 if is_one_part else self.n_series


def read_tuning_setup(paths: ProjectPaths, dataset: str) -> Setup:
    """The setup of stage `tune`, from the files of earlier stages."""
    digest = files.sha256(paths.prepared(dataset) / "tuning.parquet")
    return _setup(PreparedData(paths, dataset, "tuning.parquet", digest))


def read_training_setup(paths: ProjectPaths, dataset: str) -> Setup:
    """The setup of stage `train`, from the files of earlier stages."""
    vintages = ""
    if load_dataset(dataset, paths.configs).vintage_columns:
        vintages = files.sha256(paths.vintages(dataset))
    frame_digest = files.sha256(paths.frame(dataset))
    data = PreparedData(paths, dataset, "frame.parquet", frame_digest, vintages)
    n_series = len(files.read_json(paths.quality(dataset))["series"])
    return replace(_setup(data), n_series=n_series)


def _setup(data: PreparedData) -> Setup:
    """The setup on `data`, with the settings of its project."""
    paths = data.paths
    dataset = data.dataset
    return Setup(
        data=data,
        task=load_task(paths.task(dataset)),
        borders=files.read_json(paths.borders(dataset)),
        models=load_models(paths.configs, load_dataset(dataset, paths.configs).grid),
        tuning=load_tuning(paths.configs),
    )
