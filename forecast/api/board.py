"""`forecast.compare`: fits several models on a frame, scores them at the same origins and tests the
differences.

It runs the stages prepare, tune, train and compare in memory (`forecast.api.stages`), as `dvc
repro` does on files, and returns a `Board`. The reference models that suit the data are added
(`backtest.candidates.REFERENCE_MODELS`), since the tests are against them. The validation block
selects a model; the test block selects nothing.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from forecast.api.export import RANKING, candidates, leaderboard
from forecast.api.frame_dataset import FrameDataset, TaskOptions, frame_dataset
from forecast.api.frames import NAME, require_whole
from forecast.api.installation import require_installed
from forecast.api.model import Model, windows_of
from forecast.api.stages import (
    FitSettings,
    FrameResults,
    compare_results,
    model_entries,
    run_stages,
    specs_to_fit,
    trained_ensemble,
    tuning_budget,
)
from forecast.backtest.candidates import REFERENCE_MODELS, linear_skip_model, reason_unsuited
from forecast.comparison import metrics
from forecast.comparison.sentences import describe_pair
from forecast.config.datasets import Dataset
from forecast.config.reading import Entry
from forecast.data.calendars import count_steps_by_series, usual_length
from forecast.data.comparison_records import TestFamily
from forecast.data.results import MEAN, read_costs
from forecast.data.splits import TESTED_HORIZONS, most_test_steps
from forecast.report import page
from forecast.report.leaderboard import scores_of_distributions
from forecast.system import files
from forecast.system.errors import InputError, require_known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEST_SHARE = 0.15
MIN_ORIGINS = 20
"""The fewest origins of the test block, where the series are long enough."""
SELECTED_LINE = {"color": "#d1495b", "linewidth": 2.0, "zorder": 3}
OTHER_LINE = {"linewidth": 1.0}
NUMBERS = ["vs_bar_change", "vs_bar_low", "vs_bar_high", "vs_bar_p"]
"""The columns of the leaderboard with the numbers of the tests against the bar."""
SHOWN_COLUMNS = [
    "model",
    "status",
    "mae",
    "mase",
    "skill",
    "crps",
    "scaled_crps",
    "chosen",
    "vs_bar",
    *NUMBERS,
    "vs_skip",
]
"""The columns of the leaderboard that are printed."""


class Board:
    """The results of `forecast.compare`: leaderboard, test verdicts, forecasts and fitted models.

    The results of training are in a temporary folder, which is removed when the board is
    garbage-collected.

    >>> board.leaderboard["model"].tolist()[:2], board.bar
    (['arx', 'ridge'], 'drift')
    >>> board.verdicts[0].startswith(f"As shipped: {board.chosen}")
    True
    >>> board.forecasts("ridge", levels=[80]).columns.tolist()
    ['unique_id', 'ds', 'cutoff', 'y', 'ridge', 'ridge-lo-80', 'ridge-hi-80']
    >>> board.compare("ridge", "naive")[0].startswith("ridge against naive: ")
    True
    >>> board.model("ridge")
    Model('ridge', horizon=3, lookback=168, series=1)
    >>> board.plot().savefig("errors.png")
    >>> path = board.report("report.html")
    >>> board.levels  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    InputError: These series have no levels. Pass `hierarchy` to `forecast.compare`.
    """

    def __init__(
        self, results: FrameResults, dataset: FrameDataset, recipes: Mapping[str, FitSettings]
    ) -> None:
        """recipes: model → its entry and budget, with which it can be fitted again."""
        self._results = results
        self._dataset = dataset
        self._recipes = recipes
        weakref.finalize(self, shutil.rmtree, results.paths.root, ignore_errors=True)

    def __repr__(self) -> str:
        """The selected model, and `SHOWN_COLUMNS` of the leaderboard to four digits."""
        return self._show(pd.DataFrame.to_string, "\n")

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        return self._show(pd.DataFrame.to_html, "<br>")

    def _show(self, table_text: Callable[..., str], line_break: str) -> str:
        table = self.leaderboard.filter(SHOWN_COLUMNS).dropna(axis=1, how="all")
        return (
            f"{self.chosen!r} was selected; errors on test, a network by the mean forecast of its"
            f" seeds:{line_break}{table_text(table, na_rep='', float_format='{:.4g}'.format)}"
        )

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row per model, lowest MASE first; columns are named as in reports/leaderboard.csv.

        Each row has the metrics on the test block (for a network of its seeds' mean forecast),
        `chosen`: whether validation selected it, `vs_bar` and `vs_skip`: the outcomes of the
        Holm-corrected tests against `bar` and against the network's own linear part,
        `vs_bar_change`: the relative difference of its error from the bar's (below 0 is better),
        `vs_bar_low`, `vs_bar_high`: the difference's uncorrected 95 % limits, and `vs_bar_p`: the
        p-value after Holm's correction. CRPS is known for the selected model, the references and
        models with a distribution.

        With several series only scale-free metrics have a column, since their units may differ.
        """
        scores = scores_of_distributions(self._results)
        rows = leaderboard(self._results).join(scores, on=["model", "ranking"])
        metric_names = [
            metric.name for metric in metrics.METRICS if rows[metric.name].notna().any()
        ]
        table = rows[["model", "status", *metric_names, "n_params", "n_origins"]]
        table = table.assign(chosen=rows["model"] == self.chosen)
        families: tuple[TestFamily, ...] = ("bar", "skip")
        for family in families:
            tests = self._results.tests(RANKING, family)
            words = {model: test.word for model, test in tests.items()}
            table[f"vs_{family}"] = [words.get(model, "") for model in rows["model"]]
        numbers = {
            model: (test.relative_difference, *(test.relative_limits or (None, None)), test.p_holm)
            for model, test in self._results.tests(RANKING, "bar").items()
        }
        against_bar = pd.DataFrame.from_dict(numbers, "index", dtype=float, columns=NUMBERS)
        table[NUMBERS] = against_bar.reindex(rows["model"]).to_numpy()
        table[scores.columns] = rows[scores.columns]
        return table

    @property
    def chosen(self) -> str | None:
        """The model that validation selected: the best combination with learnt weights, or else the
        model with the lowest error; None where none was selected.
        """
        return self._results.selected_model(RANKING)

    @property
    def bar(self) -> str:
        """The simple forecast to beat, such as `naive`: the one with the lowest error on validation
        (of those from which the selected model does not drift). "better" means better than it and
        than simple forecasts close to it.
        """
        return self._results.verdicts.bar

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The outcomes of the tests and important warnings, in sentences."""
        return (*self._results.verdicts.sentences, *self._results.verdicts.warnings)

    def compare(self, a: str, b: str) -> tuple[str, ...]:
        """The board's tests of two models in sentences, as `forecast compare` prints them, or one
        sentence that they were not tested against each other. Nothing is fitted.

        Raises `InputError` for a model that is not in the leaderboard.
        """
        for model in (a, b):
            require_known(model, {*self.leaderboard["model"]}, "Unknown model")
        return tuple(describe_pair(self._results.verdicts.tests, a, b, RANKING))

    @property
    def levels(self) -> pd.DataFrame:
        """MASE by model and level of a `hierarchy`: reconciled (`mase`), forecast independently
        (`mase_base`), and as sums of the series' forecasts (`mase_bottom_up`).

        Raises `InputError` without a hierarchy.
        """
        if not self._dataset.settings.hierarchy:
            raise InputError("These series have no levels. Pass `hierarchy` to `forecast.compare`.")
        return self._results.levels

    def forecasts(self, model: str, *, levels: float | Sequence[float] = ()) -> pd.DataFrame:
        """The model's forecasts at every origin of the test block: `unique_id, ds, cutoff, y,
        <model>, …`, as in `Model.cross_validation`.
        """
        (candidate,) = candidates(self._results, [model])
        return windows_of(self.model(model), self._results.forecasts(candidate), levels)

    def model(self, name: str | None = None) -> Model:
        """A compared model, fitted on the train and validation blocks (with `refit` on all rows
        before the test block); None means the selected one.

        To use all rows, fit it again: `forecast.fit(df, board.chosen, ...)`. A combination, such as
        `stacked`, can only be taken from here.
        """
        model = name or str(self.chosen)
        (candidate,) = candidates(self._results, [model])
        return Model(
            model,
            trained_ensemble(self._results, candidate),
            self._dataset.names,
            self._dataset,
            self._recipes[model],
        )

    def plot(self) -> Figure:
        """Mean absolute error on the test block by horizon step, a line per model; the selected one
        is coloured.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.subplots()
        table = self._results.by_step
        table = table[(table["seed"] == MEAN) & table["ranking"].isin([RANKING, "baseline"])]
        metric = "mae" if table["mae"].notna().any() else "mase"
        for model, rows in table.groupby("model"):
            style = SELECTED_LINE if model == self.chosen else OTHER_LINE
            axes.plot(rows["step"], rows[metric], label=str(model), **style)
        axes.set_xlabel("horizon step")
        axes.set_ylabel(metric.upper())
        axes.legend(fontsize=8, frameon=False)
        axes.grid(visible=True, alpha=0.3)
        return figure

    def report(self, path: str | Path) -> Path:
        """Write the report about these models to `path`, as one HTML file without external
        resources.
        """
        target = Path(path)
        costs = {NAME: read_costs(self._results.paths, NAME)}
        files.write_text(target, page.render([self._results], costs))
        return target


def compare(
    df: Any,
    models: str | Sequence[str | Entry],
    *,
    freq: str | int | Entry,
    horizon: int,
    lookback: int | None = None,
    season_length: int | None = None,
    past_exogenous: str | Sequence[str | Entry] = (),
    future_exogenous: str | Sequence[str | Entry] = (),
    calendar_features: Sequence[str] | None = None,
    holidays: str | Entry | None = None,
    static: str | Sequence[str | Entry] = (),
    hierarchy: str | Sequence[str] = (),
    transform: str = "none",
    minimum: float | None = None,
    difference_inputs: bool = False,
    point: str = "median",
    step_size: int | None = None,
    splits: Entry | None = None,
    tuning: str | Entry = "quick",
    n_jobs: int | None = None,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str | Sequence[str] = "y",
) -> Board:
    """Tune, fit and score several models at the same origins, by the stages of `dvc repro`.

    The models that they are tested against are added: naive forecasts, averages of the past, and
    linear models. The newest 15 % of the time steps, more of short series, are the test block (or
    `splits`, as in datasets.yaml), with an origin every `step_size` rows (default: a quarter of the
    horizon).
    tuning: `quick` (a minute), `full` (configs/tuning.yaml), or keys of tuning.yaml. The other
    options are those of `forecast.fit`.

    >>> board = forecast.compare(df, ["naive", "ridge"], freq="1h", horizon=3)
    """
    require_installed("arch", "`forecast.compare`")
    require_whole(step_size=step_size)
    dataset = frame_dataset(df, TaskOptions.of_call(locals()))
    if step_size:
        dataset = dataset.with_keys(step_size=int(step_size))
    if splits:
        dataset = dataset.with_keys(splits=splits)
    else:
        dataset = dataset.with_test_block(_n_test_steps(dataset))
    entries = model_entries(models)
    budget = tuning_budget(tuning)
    entries = {**_reference_entries(entries, dataset.settings), **entries}
    folder = Path(tempfile.mkdtemp(prefix="forecast-"))
    try:
        results = run_stages(folder, dataset, entries, budget, n_jobs=n_jobs, is_tuned=True)
        results = compare_results(results, budget)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    recipes = {name: FitSettings(entry, budget, True, n_jobs) for name, entry in entries.items()}
    return Board(results, dataset, recipes)


def _reference_entries(entries: Mapping[str, Entry], settings: Dataset) -> dict[str, Entry]:
    """Name → entry of the reference models that suit the data.

    `ridge` and `arx` get the refit schedule of the networks that have them as their skip: another
    one would be refused.
    """
    all_references = model_entries(REFERENCE_MODELS)
    references = {
        name: all_references[name]
        for name, model_spec in specs_to_fit(all_references).items()
        if not reason_unsuited(model_spec, settings.season_length, vintages=False)
    }
    for name, model_spec in specs_to_fit(entries).items():
        if model_spec.has_skip and "refit" in entries[name]:
            skip_model = linear_skip_model(model_spec)
            references[skip_model] = {**references[skip_model], "refit": entries[name]["refit"]}
    return references


def _n_test_steps(dataset: FrameDataset) -> int:
    """The length of the test block in steps: `TEST_SHARE` of all steps, but enough for
    `MIN_ORIGINS` origins and `TESTED_HORIZONS` separate horizons; less for short series.
    """
    settings = dataset.settings
    n_steps = usual_length(count_steps_by_series(dataset.frame, settings.calendar))
    least_steps = (
        round(TEST_SHARE * n_steps),
        settings.horizon + (MIN_ORIGINS - 1) * settings.step_size,
        TESTED_HORIZONS * settings.horizon,
    )
    return min(max(least_steps), most_test_steps(n_steps, settings.horizon, settings.season_length))
