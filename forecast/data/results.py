"""`Results`: the files that the stages wrote for one dataset, each read when it is first used.

The report, the terminal, MLflow records, `forecast compare` and the choice of a champion read them
here, and open no file of a run themselves, except tables of distributions. Beside the files there
are a few look-ups over several of them, such as the best network of a ranking.

A ranking is one leaderboard: networks as shipped (with their default skip), or their architecture
alone (skip: last). Baselines, which have no skip, are in both.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, TypeVar

import pandas as pd

from forecast.config.datasets import Dataset, load_dataset
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task, format_time, load_task
from forecast.data.comparison_records import (
    Alarm,
    PairedTest,
    TestFamily,
    Verdicts,
)
from forecast.data.panel import Panel, add_series_names, from_frame, target_number
from forecast.data.quality import QualityFile
from forecast.data.records import CandidateCost, RunRecord, read_run_records
from forecast.data.splits import Borders
from forecast.system.errors import DamagedError, InputError, one_line
from forecast.system.files import read_frame, read_json

BASELINE = "baseline"
"""The ranking of a candidate that is in all of them."""
RANKINGS = ("shipped", "architecture")
RANKING_TITLES = {"shipped": "as shipped", "architecture": "architecture alone"}
MEAN = "mean"
"""In the column `seed` of a table: the mean of the seeds' forecasts."""
SPREAD = "std"
"""In the column `seed` of a table: the standard deviation of the seeds' scores."""
DIGITS = 5
"""Significant digits in the committed reports; the files of stage `compare` have all digits."""
FORECAST_COLUMNS = ["unique_id", "cutoff", "step", "ds", "block", "seed", "y", "y_hat"]
PARQUET_TABLES = ("bands", "by_series", "crps", "intervals", "reliability")
"""Tables of stage `compare` with rows for every series, in Parquet; the others are CSV."""
TEXT_COLUMNS = {"seed": str, "model": str, "skip": str, "dataset": str, "series": str}

Content = TypeVar("Content")
Row = dict[str, str]
WHOLE_HORIZON = 0  # the step that means the whole horizon


def as_reported(value: float) -> float:
    """A measured value rounded as in the committed reports. Further rounding starts from it, so
    that a figure is the same from a run and from its reports.
    """
    return float(f"{value:.{DIGITS}g}")


def parse_table(source: Path | TextIO) -> pd.DataFrame:
    """A CSV table of stage `compare`; names and seeds are text."""
    return pd.read_csv(source, dtype=TEXT_COLUMNS)


def _table_property(name: str) -> cached_property[pd.DataFrame]:
    """A cached property of `Results`: the table `name` of stage `compare`."""

    def read(results: Results) -> pd.DataFrame:
        return results.read_table(name)

    return cached_property(read)


@dataclass(frozen=True)
class Results:
    """One dataset's results. A property whose file is missing raises `InputError` with the stage
    that writes it; a file that cannot be read raises `DamagedError`.
    """

    paths: ProjectPaths
    name: str

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset's entry in configs/datasets.yaml."""
        return load_dataset(self.name, self.paths.configs)

    # What stages `fetch` and `prepare` wrote.

    @cached_property
    def pointer(self) -> dict[str, Any]:
        """The pointer to the snapshot; empty where there is none."""
        path = self.paths.pointer(self.name)
        return _read_json_part(path, "fetch") if path.exists() else {}

    @property
    def frame(self) -> pd.DataFrame:
        """The prepared rows of all blocks; read each time, as they may be large."""
        frame: pd.DataFrame = read_frame(self.paths.frame(self.name))
        return frame

    @cached_property
    def task(self) -> Task:
        """The task that was trained for; the dataset's entry may have changed since."""
        return _read_part(self.paths.task(self.name), "prepare", load_task)

    @property
    def panel(self) -> Panel:
        """The series of `frame`."""
        return from_frame(self.frame, self.name, self.task)

    @cached_property
    def borders(self) -> Borders:
        """The ends of the blocks."""
        content: Any = _read_json_part(self.paths.borders(self.name), "prepare")
        return Borders.from_json(content)

    @cached_property
    def quality(self) -> QualityFile:
        """The description of the prepared frame (`quality.summarise`), with the findings of its
        checks.
        """
        content: Any = _read_json_part(self._compared_path("quality.json"), "compare")
        return content

    @property
    def as_of(self) -> str:
        """The day of the fetch; where no pointer has one the day of the last row, or its number
        where rows have no dates. `unknown` without rows.
        """
        last = max(
            (str(series["last"]) for series in self.quality.get("series", {}).values()), default=""
        )
        kind = self.dataset.calendar.kind
        snapshot_time = "" if kind == "index" else self.pointer.get("as_of")
        return format_time(kind, str(snapshot_time or last), 10) or "unknown"

    # What stage `train` wrote.

    @cached_property
    def records(self) -> dict[str, RunRecord]:
        """The record of every candidate by its name (`naive`, `lstm.linear`), sorted by name."""
        return read_run_records(self.paths.trained(self.name))

    def folder(self, candidate: str) -> Path:
        """The folder of `candidate` that stage `train` wrote."""
        return self.paths.trained(self.name) / candidate

    def forecasts(self, candidate: str, block: str = "") -> pd.DataFrame:
        """The forecasts of a candidate in raw units, of all blocks or of one: unique_id, output,
        cutoff, step, ds, block, seed, y, y_hat, and volatility in model units.
        """
        filters = [("block", "==", block)] if block else None
        frame: pd.DataFrame = read_frame(self.folder(candidate) / "forecasts.parquet", filters)
        return frame

    def forecasts_by_series(self, candidate: str) -> pd.DataFrame:
        """FORECAST_COLUMNS of `forecasts`; unique_id is series/column where there are several
        targets.
        """
        frame = add_series_names(self.forecasts(candidate))
        return frame.assign(unique_id=frame["series"])[FORECAST_COLUMNS]

    @cached_property
    def naive(self) -> pd.DataFrame:
        """The naive forecasts, which have every origin and actual of all blocks; empty without
        naive.
        """
        if "naive" not in self.records:
            return pd.DataFrame(columns=FORECAST_COLUMNS)
        return self.forecasts_by_series("naive")

    @property
    def naive_on_test(self) -> pd.DataFrame:
        """The rows of `naive` in the test block."""
        return self.naive[self.naive["block"] == "test"]

    @cached_property
    def series(self) -> tuple[str, ...]:
        """What is forecast: every series, or series/column where a dataset has several targets."""
        return tuple(self.naive["unique_id"].unique()) or tuple(self.quality["series"])

    # What stage `compare` wrote.

    @property
    def is_compared(self) -> bool:
        """Whether stage `compare` has run."""
        return self._compared_path("verdicts.json").exists()

    leaderboard = _table_property("leaderboard")
    by_step = _table_property("by_step")
    by_series = _table_property("by_series")
    intervals = _table_property("intervals")
    """Scores of the intervals by series, level and step; step 0 is the whole horizon."""
    reliability = _table_property("reliability")
    crps = _table_property("crps")
    """Of the served intervals, by series (`comparison.intervals.CRPS_COLUMNS`)."""
    distributions = _table_property("distributions")
    """Scores of quantiles, densities and probabilities."""
    levels = _table_property("levels")
    """The errors by level of a hierarchy (`comparison.levels`)."""
    bands = _table_property("bands")
    """Intervals of the selected models on test: model, ranking, series, level, cutoff, step, lower,
    upper.
    """

    @cached_property
    def verdicts(self) -> Verdicts:
        """What the tests decided, in numbers and sentences."""
        path = self._compared_path("verdicts.json")
        return Verdicts.parse(_read_json_part(path, "compare"), path)

    @property
    def explanation(self) -> pd.DataFrame:
        """Contributions to some test forecasts of the selected model (`comparison.explaining`);
        empty for a frame that was compared in Python.
        """
        is_there = self._compared_path("explanation.csv").exists()
        return self.read_table("explanation") if is_there else pd.DataFrame()

    def read_table(self, name: str) -> pd.DataFrame:
        """A table of stage `compare` by the name of its file."""
        if name in PARQUET_TABLES:
            return _read_part(self._compared_path(f"{name}.parquet"), "compare", pd.read_parquet)
        return _read_part(self._compared_path(f"{name}.csv"), "compare", parse_table)

    def text_rows(self, table: str) -> tuple[Row, ...]:
        """The rows of a CSV table as text, so that no digit is lost."""
        return _read_part(self._compared_path(f"{table}.csv"), "compare", _read_text_rows)

    def _compared_path(self, file: str) -> Path:
        return self.paths.compared(self.name) / file

    # Look-ups over several parts.

    @property
    def unit(self) -> str:
        """The unit of the first target; empty where the entry has none."""
        return self.dataset.target[0].unit

    def unit_of(self, series: str) -> str:
        """The unit of one of `series`."""
        units = self.dataset.units
        return [*units.values()][target_number(series, [*units])]

    @property
    def headline_metric(self) -> str:
        """The error that is shown first: MAE for one series (it orders models as MASE does), MASE
        for several, whose units cannot be averaged.
        """
        return "mae" if len(self.series) <= 1 else "mase"

    @property
    def rankings(self) -> tuple[str, ...]:
        """The leaderboards to show: as shipped, and architecture alone where networks were trained
        for it.
        """
        present = set(self.leaderboard["ranking"])
        return tuple(ranking for ranking in RANKINGS if ranking == "shipped" or ranking in present)

    def candidate(self, model: str, ranking: str) -> str | None:
        """The candidate of `model` in `ranking` (a baseline is in both); None without one."""
        return self.candidates(ranking).get(model)

    def candidates(self, ranking: str) -> dict[str, str]:
        """The candidate of each model in a ranking, by model; a baseline stands in both."""
        return {
            record.model: name
            for name, record in self.records.items()
            if record.ranking in (ranking, BASELINE)
        }

    def board(self, ranking: str) -> pd.DataFrame:
        """The leaderboard's rows of `ranking` and of the baselines."""
        return in_ranking(self.leaderboard, ranking)

    def score(self, model: str, ranking: str) -> dict[str, Any] | None:
        """The leaderboard's row of `model` in `ranking`; None where there is none or the model
        failed.
        """
        means = _means_of_fitted(self.board(ranking))
        known = means[means["model"] == model].dropna(subset=[self.headline_metric])
        scores: list[dict[str, Any]] = known.to_dict("records")  # type: ignore[assignment]
        return scores[0] if scores else None

    def selected_model(self, ranking: str) -> str | None:
        """The model that validation selected in `ranking`; None where there is none."""
        return self.verdicts.chosen.get(ranking)

    def best_network(self, ranking: str) -> str | None:
        """The network with the lowest validation error in `ranking`; None without one. It is shown
        where a baseline was selected.
        """
        return self._best_networks.get(ranking)

    @cached_property
    def _best_networks(self) -> dict[str, str]:
        """The best network on validation, by ranking."""
        board = _means_of_fitted(self.leaderboard).dropna(subset=["validation_mase"])
        networks = {record.model for record in self.records.values() if record.is_network}
        rows = board[board["model"].isin(networks)].sort_values(["validation_mase", "model"])
        return {
            str(ranking): str(model)
            for ranking, model in rows.groupby("ranking")["model"].first().items()
        }

    def combinations(self, ranking: str) -> dict[str, RunRecord]:
        """The records of the combinations in `ranking`, by model."""
        return {
            record.model: record
            for record in self.records.values()
            if record.members and record.ranking == ranking
        }

    def tests(self, ranking: str, family: TestFamily) -> dict[str, PairedTest]:
        """The significance tests of one family, by model; of several tests of a model against
        references the last.
        """
        return {
            test.model: test
            for test in self.verdicts.tests
            if test.family == family and test.ranking in (ranking, BASELINE)
        }

    def untrained(self, ranking: str) -> dict[str, str]:
        """By network that did not train, the model whose forecasts it repeats."""
        return {
            network.model: network.same_as
            for network in self.verdicts.untrained
            if network.ranking == ranking
        }

    def changes_from_bar(self, ranking: str) -> dict[str, float | None]:
        """By model, the relative difference of its mean loss from that of the bar, as its test has
        it; a network that did not train has that of the model which it repeats. None where the bar
        made no error.
        """
        changes: dict[str, float | None] = {self.verdicts.bar: 0.0}
        for model, test in self.tests(ranking, "bar").items():
            changes[model] = test.relative_difference
        for network, same_model in self.untrained(ranking).items():
            if same_model in changes:
                changes[network] = changes[same_model]
        return changes

    def tied(self, ranking: str) -> tuple[str, ...]:
        """The selected model of `ranking` and the models tied with it."""
        return self.verdicts.tied.get(ranking, ())

    def intervals_of(self, model: str, ranking: str) -> pd.DataFrame:
        """The rows of `intervals` of `model` in `ranking`."""
        return in_ranking(self.intervals[self.intervals["model"] == model], ranking)


def alarms_by_model(alarms: Iterable[Alarm], ranking: str) -> dict[str, list[Alarm]]:
    """The `alarms` (`verdicts.copies` or `verdicts.leaks`) of `ranking` and of baselines, by
    model.
    """
    by_model: dict[str, list[Alarm]] = {}
    for alarm in alarms:
        if alarm.ranking in (ranking, BASELINE):
            by_model.setdefault(alarm.model, []).append(alarm)
    return by_model


def describe_members(record: RunRecord) -> str:
    """`gru 0.60, ridge 0.40`: the members of a combination with their weights at the beginning of
    the test block; empty for any other record. Two members of one model are named by their
    candidates: `gru.linear 0.60, gru.last 0.40`.
    """
    candidates_of_model = Counter(member.model for member in record.members)
    parts = []
    for member in record.members:
        is_unique = candidates_of_model[member.model] == 1
        name = member.model if is_unique else member.candidate
        parts.append(f"{name} {member.weight:.2f}")
    # without the last date, as rows without dates have none
    times = len(record.weights)
    return ", ".join(parts) + (f", learnt {times} times" if times > 1 else "")


def _means_of_fitted(board: pd.DataFrame) -> pd.DataFrame:
    """The rows with the mean over seeds, of candidates that could be fitted."""
    return board[(board["seed"] == MEAN) & (board["status"] == "ok")]


def in_ranking(table: pd.DataFrame, ranking: str) -> pd.DataFrame:
    """The rows of `ranking` and of the baselines."""
    return table[table["ranking"].isin([ranking, BASELINE])]


def read_leaderboard(paths: ProjectPaths, dataset: str = "") -> pd.DataFrame:
    """The leaderboard of `dataset` that stage `compare` wrote, else that of all datasets in
    reports/leaderboard.csv; `InputError` where there is neither.
    """
    dataset_path = paths.compared(dataset) / "leaderboard.csv"
    try:
        return parse_table(dataset_path if dataset_path.exists() else paths.leaderboard)
    except FileNotFoundError:
        message = (
            f"{paths.leaderboard}: no such file: no whole run compared the models yet. Run"
            " `forecast run`. A dataset that was run alone: --dataset; a run with --model:"
            " `--root narrowed/<its folder>`."
        )
        raise InputError(message) from None


def read_costs(paths: ProjectPaths, dataset: str) -> dict[str, CandidateCost]:
    """The cost of every candidate by its name, where it was recorded."""
    files = sorted(paths.cost(dataset).glob("*.json"))
    trained = [path for path in files if not path.name.endswith(".tuning.json")]
    return {path.stem: CandidateCost.read(path) for path in trained}


def _read_text_rows(path: Path) -> tuple[Row, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _read_json_part(path: Path, stage: str) -> dict[str, Any]:
    """The mapping in a stage's JSON file; `DamagedError` where the file holds something else."""
    content = _read_part(path, stage, read_json)
    if not isinstance(content, dict):
        raise DamagedError(
            f"{path}: found {type(content).__name__}, wanted a mapping. Run stage `{stage}` again."
        )
    return content


def _read_part(path: Path, stage: str, reader: Callable[[Path], Content]) -> Content:
    """A stage's file as read by `reader`; `InputError` with the name of the stage where the file is
    absent, `DamagedError` where it cannot be read.
    """
    try:
        return reader(path)
    except FileNotFoundError:
        message = (
            f"{path}: no such file; stage `{stage}` makes it. Run `dvc repro` (or `forecast run`)"
            " first; a run with --model: `--root narrowed/<its folder>`."
        )
        raise InputError(message) from None
    except ValueError as error:  # so are the errors of pandas, Arrow and JSON
        raise DamagedError(
            f"{path}: cannot be read ({one_line(error)}). Delete it and run `dvc repro` to make it"
            " again."
        ) from None
