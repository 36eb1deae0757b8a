"""The stages prepare, tune, train and compare on settings and a frame in memory, for `fit` and
`compare`.

They are those of `dvc repro`, so the same data and settings give the same numbers. `run_stages`
gives `FrameResults`, which answers like the results of a project; files are written only by the
workers that fit, into the folder that the caller names. `model_entries` and `tuning_budget` turn
what a caller writes for models and budget into checked settings. A model that does not suit the
data, or that needs a package which is not installed, is refused before anything runs.

What `fit` and `compare` compute is decided in the stages; here is only what a file would hold.
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
from forecast.comparison.sentences import name_untrained
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
from forecast.system.errors import (
    ForecastError,
    InputError,
    ModelError,
    plural,
    require_known,
)
from forecast.system.stage import default_jobs

BUDGET_FOLDERS = {"quick": "demo", "full": "."}
"""Word for a budget → folder of the installed configs whose tuning.yaml it is. A new folder also
needs a line under `data-files` in pyproject.toml: without it the installed package lacks it.
"""
EXTRA_PACKAGES = {"statistical": ["statsforecast"], "regression": ["lightgbm", "sklearn"]}
"""Packages that a family of a kind may load; a missing one is named before anything is fitted."""
WARNED_RULES = ("spikes", "clock_change", "leaks", "partial_end")
"""Rules for suspicious values whose findings are a `UserWarning`: no option of a call tells."""
RESERVED_NAMES = ("unique_id", "ds", "cutoff", "y", "output", "p", "alarm_level", "alarm")
"""Columns of the frames that are returned, which no model may be called."""


@dataclass(frozen=True)
class FitSettings:
    """How a model was made, so that it can be made again on fewer rows."""

    entry: Entry
    """Its entry of models.yaml."""
    tuning: Tuning
    is_tuned: bool
    n_jobs: int | None


@dataclass(frozen=True)
class FrameResults(Results):
    """The results of stages that ran on a caller's frame.

    What was fitted lies in a temporary folder; all else is in memory.
    """

    settings: Dataset
    prepared: PreparedDataset
    comparison: Comparison | None = None
    """What stage `compare` made, once it has run."""

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset's settings."""
        return self.settings

    @cached_property
    def quality(self) -> QualityFile:
        """What stage `prepare` says of the data, as quality.json holds it."""
        return self.prepared.quality

    @cached_property
    def verdicts(self) -> Verdicts:
        """What the tests decided, in numbers and sentences."""
        return self._comparison.verdicts

    def read_table(self, name: str) -> pd.DataFrame:
        """A table of stage `compare`, with the digits and empty cells that its file would have."""
        table = self._comparison.tables[name]
        if name in PARQUET_TABLES:
            return table
        return parse_table(StringIO(table_text(table)))

    @property
    def _comparison(self) -> Comparison:
        assert self.comparison is not None
        return self.comparison


def model_entries(models: str | Sequence[str | Entry]) -> dict[str, Entry]:
    """Name → entry of models.yaml, of names of the installed catalogue and families, and of entries
    of the caller's own.

    An entry of the caller's own is named by its key `name`, else by its family. `InputError` for a
    name that no file could have, and for two models of one.
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
    fitted_specs(entries)  # reports a wrong key with the nearest right one
    return entries


def fitted_specs(entries: Mapping[str, Entry]) -> dict[str, ModelSpec]:
    """The checked entries by name, without combinations; `InputError` for one that is wrong."""
    return {
        name: spec(entry, where=f"model {name!r}")
        for name, entry in entries.items()
        if entry.get("family") != COMBINATION
    }


def _named_entry(model: str | Entry, catalogued: Mapping[str, Entry]) -> tuple[str, Entry]:
    """A model's name and entry; `InputError` for an unknown name and for what is neither."""
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
    """The checked tuning.yaml of `tuning`: `quick`, `full`, or a mapping of keys that win over
    those of `full`; None: `full` as it is. Whether any trial is run is decided by the caller.

    usual: values that win over the file's and lose to those of `tuning`. A single number as `seeds`
    is that seed, not how many. `InputError` for another word, and for a key that tuning.yaml does
    not have.
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
    """One model by the stages: all its seeds, and their forecasts of every origin.

    rows: `scored` gives the fit whose forecasts these are; `all` the same recipe fitted once more
    on every row (`backtest.all_rows`), whose intervals stand on the errors of those forecasts. The
    forecasts are those of `Results.forecasts`. Raises `ModelError` with the reason where the model
    cannot be fitted, `InputError` for a combination.
    """
    if recipe.entry.get("family") == COMBINATION:
        raise InputError(
            f"Model {name!r} is a combination of fitted rows and has no fit of its own. Pass it to"
            " `forecast.compare` beside its members, whose board has it fitted:"
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
            sentence = name_untrained([name], [record.skip_model or NAIVE])
            warnings.warn(f"{WHERE}: {sentence}", stacklevel=3)
        ensemble = trained_ensemble(results, candidate)
        if rows == "all":
            ensemble = _refit_on_all_rows(results, candidate, recipe)
        return ensemble, results.forecasts(candidate)


def fit_on_all_rows(name: str, dataset: FrameDataset, recipe: FitSettings) -> Ensemble:
    """One model on all rows, its intervals from errors on the newest rows. Of few rows a simple or
    statistical model is tested on fewer steps than `dataset` asks for, with a warning.
    """
    horizon = dataset.settings.task.horizon
    tested_horizon = dataset.longest_horizon
    family = catalogue().get(str(recipe.entry["family"]))  # None of a combination
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
    """`fit_on_all_rows` of the rows before the last `n_test_steps`, the test block of `dataset`,
    and its forecasts of every origin there, as `Results.forecasts` has them; of a series that lacks
    an earlier block too.
    """
    settings = dataset.settings
    with caller_words(dataset.names.time_col, settings.calendar):
        prepared = prepare_frame(dataset.frame, NAME, settings)
    # shares of the steps since a late series began would leave fewer to test on
    borders = prepared.borders.with_test_block(
        from_frame(prepared.served, NAME, settings.task), n_test_steps
    )
    before = dataset.choose_options(
        rows_until(dataset.frame, borders, "calibration_end"), settings.task.horizon
    )
    ensemble = fit_on_all_rows(name, before, recipe)
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
    data = _hold_in_memory(results.paths.root, "frame.parquet", results.settings, results.prepared)
    target = results.paths.root / "all_rows"
    with _restored_environment():
        try:
            refit_on_all_rows(
                data,
                results.prepared.served,
                results.folder(candidate),
                target,
                recipe.tuning,
                jobs=recipe.n_jobs or default_jobs(os.environ),
            )
        except ForecastError as fault:
            model = results.records[candidate].model
            raise ModelError(f"Model {model!r} could not be fitted on all rows: {fault}") from None
    return load_trained_ensemble(target)


def trained_ensemble(results: Results, candidate: str) -> Ensemble:
    """What training left of a candidate; `ModelError` with its reason where it failed."""
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

    folder: for what each fit leaves; empty before.

    `InputError` for a model that does not suit the data, with the reason.
    """
    settings = dataset.settings
    with caller_words(dataset.names.time_col, settings.calendar), _restored_environment():
        catalogued = load_models(installation_folder() / "configs")
        models = _models_to_run(catalogued, entries)
        _, unsuited = plan_candidates(models, season_length=settings.season_length)
        for name, reason in unsuited.items():
            raise InputError(
                f"Model {name!r} does not suit these data: {reason}. Leave it out, or pass"
                " `season_length`."
            )
        _require_model_packages(models, is_tuned=is_tuned)
        require_whole(n_jobs=None if n_jobs in (0, -1) else n_jobs)
        jobs = n_jobs or default_jobs(os.environ)
        prepared = prepare_frame(dataset.frame, NAME, settings)
        if left_out := quality.describe_left_out(prepared.findings):
            warnings.warn(f"{WHERE}: {left_out}", stacklevel=5)
        warned = [finding for finding in prepared.findings if finding.rule in WARNED_RULES]
        warn_of(warned, dataset.names.time_col, settings.calendar)
        setup = Setup(
            data=_hold_in_memory(folder, "frame.parquet", settings, prepared),
            task=settings.task,
            borders=prepared.borders.to_json(),
            models=models,
            tuning=tuning,
            n_series=prepared.frame["unique_id"].nunique(),
        )
        if is_tuned:
            studied = replace(
                setup,
                data=_hold_in_memory(folder, "tuning.parquet", settings, prepared),
                held_models=[
                    name for name in entries if entries[name] != catalogued.models.get(name)
                ],
            )
            tune_candidates(studied, jobs=jobs)
        train_candidates(setup, jobs=jobs)
    return FrameResults(ProjectPaths.of(folder), NAME, settings, prepared)


def compare_results(results: FrameResults, tuning: Tuning) -> FrameResults:
    """The results with what stage `compare` makes of them, by the installed evaluation settings.
    tuning: the budget, which the comparison shows.
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


def _models_to_run(catalogued: Models, entries: Mapping[str, Entry]) -> Models:
    """The installed models.yaml, `catalogued`, with these entries as its grid, as shipped alone and
    fitted once; its entries stay, as a combination may name models that are not to be fitted.
    """
    return catalogued.model_copy(
        update={
            "grid": "asked",
            "grids": {"asked": tuple(entries)},
            "rankings": ("shipped",),
            "refit": "never",
            # a combination may name models that are not to be fitted
            "models": {**catalogued.models, **entries},
        }
    )


def _hold_in_memory(
    folder: Path, file: PreparedFile, settings: Dataset, prepared: PreparedDataset
) -> DataInMemory:
    """The rows that stage `prepare` would write to `file` (of tuning.parquet its own, else the
    whole frame), as data that go to a worker with its task. Nothing is written here; results go to
    `folder`, which has to be new.
    """
    frame = prepared.frame
    if file == "tuning.parquet":
        frame = prepared.tuning_frame
    return DataInMemory(
        ProjectPaths.of(folder),
        NAME,
        file,
        digest="",  # the folder is new, so nothing in it was computed from other rows
        rows=PreparedRows(frame, settings.task, prepared.borders),
    )


def _require_model_packages(models: Models, *, is_tuned: bool) -> None:
    """`InputError` with what to type where a model needs a package that only an extra brings."""
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
    """What stages set for their own process, such as one thread for BLAS, is not left to the
    caller's.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        # not emptied first: other threads read it
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
