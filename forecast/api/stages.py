"""Runs the stages prepare, tune, train and compare in memory, for `fit` and `compare`.

They are the stages of `dvc repro`, so equal data and settings give equal numbers. Files are written
only by the workers that fit, into a temporary folder. `model_entries` and `tuning_budget` check the
caller's models and budget.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from numbers import Integral
from pathlib import Path
from typing import Literal

import pandas as pd

from forecast.api.frame_dataset import FrameDataset
from forecast.api.frames import NAME, WHERE, caller_words, list_entries, require_whole, warn_of
from forecast.api.installation import installation_folder, require_installed
from forecast.backtest.all_rows import refit_on_all_rows
from forecast.backtest.backtest import BlockForecasts, forecast_table
from forecast.backtest.candidates import plan_candidates
from forecast.backtest.prepared_data import DataInMemory, PreparedFile, PreparedRows
from forecast.backtest.setup import Setup
from forecast.backtest.training import train_candidates
from forecast.backtest.tuning import tune_candidates
from forecast.comparison.comparing import Comparison, compare_candidates, table_text
from forecast.comparison.sentences import compose_untrained_sentence
from forecast.config.datasets import Dataset
from forecast.config.models import (
    COMBINATION,
    NAIVE,
    Models,
    Tuning,
    load_evaluation,
    load_models,
    load_tuning,
)
from forecast.config.paths import ProjectPaths
from forecast.config.reading import Entry, PlainValue, validate_config
from forecast.config.usual_names import require_model
from forecast.data import quality
from forecast.data.comparison_records import Verdicts
from forecast.data.guesses.spans import SHORT_ROWS
from forecast.data.panel import from_frame
from forecast.data.preparation import PreparedDataset, prepare_frame, rows_until
from forecast.data.quality import QualityFile
from forecast.data.results import PARQUET_TABLES, Results, parse_table
from forecast.data.splits import origins_of, split_series
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.models import catalogue, spec
from forecast.models.base import ModelSpec
from forecast.system.errors import ForecastError, InputError, ModelError, plural, require_known
from forecast.system.stage import default_jobs

BUDGET_FOLDERS = {"quick": "demo", "full": "."}
"""Name of a budget → folder of its tuning.yaml in the installed configs. A new folder also needs a
line under `data-files` in pyproject.toml, or the installed package lacks it.
"""
EXTRA_PACKAGES = {"statistical": ["statsforecast"], "regression": ["lightgbm", "sklearn"]}
"""Kind of model → the packages that its families may import, which are checked before fitting."""
WARNED_RULES = ("spikes", "clock_change", "leaks", "partial_end")
"""Rules of data quality whose findings are shown as a `UserWarning`."""
RESERVED_NAMES = ("unique_id", "ds", "cutoff", "y", "output", "p", "alarm_level", "alarm")
"""Column names of returned frames, which cannot be the name of a model."""


@dataclass(frozen=True)
class FitSettings:
    """How a model was fitted, so that it can be fitted again on other rows."""

    entry: Entry
    """The model's entry of models.yaml."""
    tuning: Tuning
    is_tuned: bool
    n_jobs: int | None


@dataclass(frozen=True)
class FrameResults(Results):
    """The results of stages that ran in memory; only the fitted models are in a folder."""

    settings: Dataset
    prepared: PreparedDataset
    comparison: Comparison | None = None
    """The results of stage `compare`; None before it."""

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset's settings."""
        return self.settings

    @cached_property
    def quality(self) -> QualityFile:
        """The data quality, as in quality.json."""
        return self.prepared.quality

    @cached_property
    def verdicts(self) -> Verdicts:
        """The outcomes of the tests, in numbers and sentences."""
        return self._comparison.verdicts

    def read_table(self, name: str) -> pd.DataFrame:
        """A table of stage `compare`, rounded as its file would be."""
        table = self._comparison.tables[name]
        if name in PARQUET_TABLES:
            return table
        return parse_table(StringIO(table_text(table)))

    @property
    def _comparison(self) -> Comparison:
        assert self.comparison is not None
        return self.comparison


def model_entries(models: str | Sequence[str | Entry]) -> dict[str, Entry]:
    """Name → entry of the caller's models, which are names of the catalogue or of families, or
    entries of models.yaml.

    The name of an entry is its key `name`, or else its family. Raises `InputError` for an unknown
    model, a faulty entry, a name that no file could have, and two models of one name.
    """
    catalogued = load_models(installation_folder() / "configs").models
    entries: dict[str, Entry] = {}
    for model in list_entries(models):
        name, entry = _named_entry(model, catalogued)
        if not re.fullmatch(r"\w[^/\\\0]{0,63}", name) or name in RESERVED_NAMES:
            raise InputError(
                f"Model name {name!r}: wanted letters, digits, '_' and '-', and no column's name."
            )
        if entries.setdefault(name, entry) != entry:
            raise InputError(
                f"Two models are called {name!r}; wanted a name each. Give an entry its own:"
                " `name`."
            )
    specs_to_fit(entries)  # reports a wrong key with the nearest right one
    return entries


def specs_to_fit(entries: Mapping[str, Entry]) -> dict[str, ModelSpec]:
    """Name → spec of each entry that is no combination; `InputError` for a faulty entry."""
    return {
        name: spec(entry, where=f"model {name!r}")
        for name, entry in entries.items()
        if entry.get("family") != COMBINATION
    }


def _named_entry(model: str | Entry, catalogued: Mapping[str, Entry]) -> tuple[str, Entry]:
    """The name and entry of a model; `InputError` for an unknown name or another type."""
    if isinstance(model, str):
        require_model(model, {*catalogued, *catalogue()})
        return model, catalogued.get(model, {"family": model})
    if not isinstance(model, Mapping) or "family" not in model:
        raise InputError(
            f"Model {model!r}: wanted a name such as 'gru', or an entry such as {{'family':"
            " 'gru', 'units': 16}. Several models go to `forecast.compare`."
        )
    name = str(model.get("name", model["family"]))
    return name, {key: value for key, value in model.items() if key != "name"}


def tuning_budget(tuning: str | Entry | None, **usual: PlainValue) -> Tuning:
    """The checked content of tuning.yaml for the budget `quick` or `full` (also for None), or
    `full` with the keys of a mapping.

    usual: values that override the file's, but not those of `tuning`. A single number for `seeds`
    is one seed, not their number. Whether trials are run is decided by the caller. Raises
    `InputError` for an unknown budget or key.
    """
    changes: Entry = {}
    folder = "."
    if isinstance(tuning, Mapping):
        changes = tuning
    elif tuning is not None:
        require_known(str(tuning), BUDGET_FOLDERS, "tuning: unknown budget")
        folder = BUDGET_FOLDERS[str(tuning)]
    defaults = load_tuning(installation_folder() / "configs" / folder).model_dump()
    content = {**defaults, **usual, **changes}
    if isinstance(content["seeds"], Integral):
        content["seeds"] = [content["seeds"]]
    return validate_config(Tuning, content, where="tuning")


def fit_ensemble(
    name: str, dataset: FrameDataset, recipe: FitSettings, *, rows: Literal["scored", "all"]
) -> tuple[Ensemble, pd.DataFrame]:
    """Fit one model by the stages; returns its ensemble of seeds, and the forecasts at all origins
    (`Results.forecasts`).

    rows: `scored` returns the fit that made these forecasts; `all` returns its recipe fitted again
    on all rows (`backtest.all_rows`), with intervals from the errors of these forecasts. Raises
    `ModelError` where the model cannot be fitted, `InputError` for a combination.
    """
    if recipe.entry.get("family") == COMBINATION:
        raise InputError(
            f"Model {name!r} is a combination of fitted models and has no fit of its own. Pass it"
            " to `forecast.compare` beside its members, whose board has it fitted:"
            f" `board.model({name!r}).predict()`."
        )
    with tempfile.TemporaryDirectory(prefix="forecast-") as folder:
        results = run_stages(
            Path(folder),
            dataset,
            {name: recipe.entry},
            recipe.tuning,
            n_jobs=recipe.n_jobs,
            is_tuned=recipe.is_tuned,
        )
        ((candidate, record),) = results.records.items()
        if record.is_untrained:
            sentence = compose_untrained_sentence([name], [record.skip_model or NAIVE])
            warnings.warn(f"{WHERE}: {sentence}", stacklevel=3)
        if rows == "scored" or record.has_failed:
            ensemble = trained_ensemble(results, candidate)  # which says why it failed
        else:
            ensemble = _refit_on_all_rows(results, candidate, recipe)
        return ensemble, results.forecasts(candidate)


def fit_with_default_splits(name: str, dataset: FrameDataset, recipe: FitSettings) -> Ensemble:
    """Fit one model on all rows, with intervals from errors on the newest rows.

    With few rows a simple or statistical model is tested on a shorter horizon, with a warning.
    """
    horizon = dataset.settings.task.horizon
    tested_horizon = dataset.longest_horizon
    family = catalogue().get(str(recipe.entry["family"]))  # None for a combination
    kind = getattr(family, "kind", COMBINATION)
    if horizon > tested_horizon and kind in ("baseline", "statistical"):
        warnings.warn(
            f"{WHERE}: {dataset.n_steps} rows are too few to test {horizon} steps ahead. Errors are"
            f" of {plural(tested_horizon, 'step')}; those beyond, and their margins, which grow"
            " as of a random walk, are untested.",
            stacklevel=3,
        )
        if kind == "statistical" and dataset.n_steps < SHORT_ROWS:
            recipe = replace(recipe, entry={**recipe.entry, "refit": 1})
        dataset = dataset.choose_options(dataset.frame, tested_horizon)
    dataset = dataset.with_test_block(dataset.least_test_steps)
    ensemble, _ = fit_ensemble(name, dataset, recipe, rows="all")
    return ensemble.with_horizon(horizon)


def forecast_windows(
    name: str, dataset: FrameDataset, recipe: FitSettings, *, n_test_steps: int
) -> tuple[Ensemble, pd.DataFrame]:
    """Fit a model on the rows before the last `n_test_steps` steps, the test block of `dataset`;
    returns it with its forecasts at all origins there, as in `Results.forecasts`, but with the mean
    of the seeds as seed 0.

    Series that begin too late for an earlier block are forecast too.
    """
    settings = dataset.settings
    with caller_words(dataset.names, settings.calendar):
        prepared = prepare_frame(dataset.frame, NAME, settings)
    # set in steps: as a share of the steps since a late series began, the block would be shorter
    borders = prepared.borders.with_calibration_end(
        from_frame(prepared.served, NAME, settings.task), n_test_steps
    )
    before = dataset.choose_options(
        rows_until(dataset.frame, borders, "calibration_end"), settings.task.horizon
    )
    ensemble = fit_with_default_splits(name, before, recipe)
    panel = from_frame(prepared.served, NAME, ensemble.task)
    rows = {
        series.unique_id: origins_of(settings.task, split_series(series, borders), "test")
        for series in panel.series
        if series.unique_id in ensemble.scaling.centre
    }
    values = ensemble.predict(panel, rows)
    parts = [BlockForecasts("test", uid, rows[uid], values[uid]) for uid in rows]
    return ensemble, forecast_table(panel, ensemble.scaling, parts, seed=0)


def _refit_on_all_rows(results: FrameResults, candidate: str, recipe: FitSettings) -> Ensemble:
    data = _data_in_memory(results.paths.root, "frame.parquet", results.settings, results.prepared)
    target = results.paths.root / "all_rows"
    with _restored_environment():
        try:
            refit_on_all_rows(
                data,
                results.prepared.served,
                results.folder(candidate),
                target,
                recipe.tuning,
                jobs=_count_jobs(recipe.n_jobs),
            )
        except ForecastError as fault:
            model = results.records[candidate].model
            raise ModelError(f"Model {model!r} could not be fitted on all rows: {fault}") from None
    return load_trained_ensemble(target)


def trained_ensemble(results: Results, candidate: str) -> Ensemble:
    """The trained ensemble of a candidate; `ModelError` with the reason where it failed."""
    record = results.records[candidate]
    if record.has_failed:
        raise ModelError(f"Model {record.model!r} could not be fitted: {record.reason}")
    return load_trained_ensemble(results.folder(candidate))


def run_stages(
    folder: Path,
    dataset: FrameDataset,
    entries: Mapping[str, Entry],
    tuning: Tuning,
    *,
    n_jobs: int | None,
    is_tuned: bool,
) -> FrameResults:
    """Prepare the frame, tune (where `is_tuned`) and train the models of `entries`.

    folder: an empty folder for the fitted models. Raises `InputError` for a model that does not
    suit the data or needs a package that is not installed.
    """
    settings = dataset.settings
    with caller_words(dataset.names, settings.calendar), _restored_environment():
        catalogued = load_models(installation_folder() / "configs")
        models = catalogued.model_copy(
            update={
                "grid": "asked",
                "grids": {"asked": tuple(entries)},
                "rankings": ("shipped",),
                "refit": "never",
                # all entries: a combination may name models that are not fitted
                "models": {**catalogued.models, **entries},
            }
        )
        _, unsuited = plan_candidates(models, season_length=settings.season_length)
        for name, reason in unsuited.items():
            raise InputError(
                f"Model {name!r} does not suit these data: {reason}. Leave it out, or pass"
                " `season_length`."
            )
        _require_model_packages(models, is_tuned=is_tuned)
        jobs = _count_jobs(n_jobs)
        prepared = prepare_frame(dataset.frame, NAME, settings)
        if left_out := quality.describe_left_out(prepared.findings):
            warnings.warn(f"{WHERE}: {left_out}", stacklevel=5)
        warned = [finding for finding in prepared.findings if finding.rule in WARNED_RULES]
        warn_of(warned, dataset.names, settings.calendar)
        setup = Setup(
            data=_data_in_memory(folder, "frame.parquet", settings, prepared),
            task=settings.task,
            borders=prepared.borders.to_json(),
            models=models,
            tuning=tuning,
            n_series=prepared.frame["unique_id"].nunique(),
        )
        if is_tuned:
            studied = replace(
                setup,
                data=_data_in_memory(folder, "tuning.parquet", settings, prepared),
                models_with_fixed_values=[
                    name for name in entries if entries[name] != catalogued.models.get(name)
                ],
            )
            tune_candidates(studied, jobs=jobs)
        train_candidates(setup, jobs=jobs)
    return FrameResults(ProjectPaths.of(folder), NAME, settings, prepared)


def _count_jobs(n_jobs: int | None) -> int:
    """The number of fits at a time; None, 0 and -1 stand for every core (`default_jobs`).
    `InputError` for another number below 1, and for what is no whole number.
    """
    if n_jobs in (None, 0, -1):
        return default_jobs(os.environ)
    require_whole(n_jobs=n_jobs)
    return n_jobs


def compare_results(results: FrameResults, tuning: Tuning) -> FrameResults:
    """Run stage `compare` with the installed evaluation settings; returns the results with it.

    tuning: the budget, which the comparison reports.
    """
    prepared = results.prepared
    comparison = compare_candidates(
        results,
        prepared.frame,
        results.settings.task,
        prepared.borders,
        load_evaluation(installation_folder() / "configs"),
        tuning,
    )
    return replace(results, comparison=comparison)


def _data_in_memory(
    folder: Path, file: PreparedFile, settings: Dataset, prepared: PreparedDataset
) -> DataInMemory:
    """The rows that stage `prepare` would write to `file`, as data that are sent to workers.

    folder: that of this call's results, all made of the same rows; nothing is written here.
    """
    frame = prepared.frame
    if file == "tuning.parquet":
        frame = prepared.tuning_frame
    return DataInMemory(
        ProjectPaths.of(folder),
        NAME,
        file,
        digest="",  # the folder has no results of other rows
        rows=PreparedRows(frame, settings.task, prepared.borders),
    )


def _require_model_packages(models: Models, *, is_tuned: bool) -> None:
    """Raises `InputError` where a model needs a package that is not installed."""
    for name, entry in models.entries_to_fit().items():
        family = catalogue()[str(entry["family"])]
        packages = list(EXTRA_PACKAGES.get(family.kind, ()))
        if family.is_network:
            packages = ["tensorflow", "numba"]
        if is_tuned and (family.has_skip or family.kind == "regression"):
            packages.append("optuna")
        for package in packages:
            require_installed(package, f"Model {name!r}")


@contextlib.contextmanager
def _restored_environment() -> Iterator[None]:
    """Restore the environment variables at the end of the block: stages set some for their own
    process, such as one thread for BLAS.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        # not cleared first, since other threads may read it
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
