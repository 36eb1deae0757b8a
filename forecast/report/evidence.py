"""Everything the report knows about one dataset, read from the artifacts of the stages before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset, load_datasets
from forecast.system.errors import InputError
from forecast.system.files import read_json

RANKINGS = ("shipped", "architecture")
RANKING_TITLES = {"shipped": "as shipped", "architecture": "architecture alone"}
BLOCKS = ("train", "validation", "calibration", "test")
LEADERBOARD_COLUMNS = (
    "dataset", "model", "ranking", "skip", "seed", "status", "mae", "rmse", "mase", "rmsse", "smape", "direction",
    "direction_base", "skill", "n_params", "n_origins", "validation_mase", "chosen",
)  # fmt: skip
FORECAST_COLUMNS = ["unique_id", "cutoff", "step", "ds", "block", "seed", "y", "y_hat"]
FLAGS = {"copies": "copy", "leaks": "leak alarm"}


@dataclass(frozen=True)
class Evidence:
    """One dataset's results. `records` and `costs` are by candidate (`naive`, `lstm.linear`); costs may be empty."""

    name: str
    dataset: Dataset
    folder: Path
    compared: Path
    leaderboard: pd.DataFrame
    by_step: pd.DataFrame
    by_series: pd.DataFrame
    intervals: pd.DataFrame
    methods: pd.DataFrame
    reliability: pd.DataFrame
    changes: pd.DataFrame
    distributions: pd.DataFrame
    residuals: list[dict[str, Any]]
    verdicts: dict[str, Any]
    quality: dict[str, Any]
    pointer: dict[str, Any]
    records: dict[str, dict[str, Any]]
    costs: dict[str, dict[str, float]]

    @property
    def unit(self) -> str:
        return self.dataset.target[0].unit

    @property
    def private(self) -> bool:
        """Whether the data's terms forbid to show their values in a page that may be passed on."""
        return self.dataset.source.kind == "yahoo" or "personal use" in self.dataset.licence.name.lower()

    @cached_property
    def naive(self) -> pd.DataFrame:
        """The naive forecasts: every origin and every actual of all blocks; empty when naive was not run."""
        return self.forecasts("naive") if "naive" in self.records else pd.DataFrame(columns=FORECAST_COLUMNS)

    @cached_property
    def series(self) -> tuple[str, ...]:
        """What is forecast: every series, or series/column where a dataset has several targets."""
        return tuple(dict.fromkeys(self.naive["unique_id"])) or tuple(self.quality["series"])

    def unit_of(self, series: str) -> str:
        """The unit of one entry of `series`."""
        units = {column.column: column.unit for column in self.dataset.target}
        return units.get(series.rpartition("/")[2], self.unit)

    @property
    def headline(self) -> str:
        """The error that ranks: MAE for one series; MASE for several, whose units must not be pooled."""
        return "mae" if len(self.series) <= 1 else "mase"

    @property
    def as_of(self) -> str:
        """The day the data were taken, or the last row's when no pointer says it; never today."""
        lasts = [str(series["last"]) for series in self.quality.get("series", {}).values()]
        return str(self.pointer.get("as_of") or max(lasts, default="unknown"))[:10]

    def candidate(self, model: str, ranking: str) -> str | None:
        """The candidate that stands for `model` in `ranking` (a baseline stands in both), if there is one."""
        for name, record in self.records.items():
            if record["model"] == model and record["ranking"] in (ranking, "baseline"):
                return name
        return None

    @property
    def rankings(self) -> tuple[str, ...]:
        """The leaderboards to show: as shipped, and architecture alone where networks were trained for it."""
        own = set(self.leaderboard["ranking"])
        return tuple(ranking for ranking in RANKINGS if ranking == "shipped" or ranking in own)

    def board(self, ranking: str) -> pd.DataFrame:
        """The leaderboard's rows that stand in `ranking`: its own and the baselines."""
        return self.leaderboard[self.leaderboard["ranking"].isin([ranking, "baseline"])]

    def score(self, model: str, ranking: str) -> dict[str, Any] | None:
        """The leaderboard's row of `model` in `ranking`, mean over seeds; None when there is none or it failed."""
        board = self.board(ranking)
        rows = board[(board["model"] == model) & (board["seed"] == "mean") & (board["status"] == "ok")]
        found: list[dict[str, Any]] = rows.dropna(subset=[self.headline]).to_dict("records")  # type: ignore[assignment]
        return found[0] if found else None

    def chosen(self, ranking: str) -> str | None:
        """The model that validation chose in `ranking`."""
        name = self.verdicts.get("chosen", {}).get(ranking)
        return str(name) if name else None

    def best_network(self, ranking: str) -> str | None:
        """The network with the lowest validation error in `ranking`: what to look at when a baseline was chosen."""
        board = self.leaderboard
        rows = board[(board["ranking"] == ranking) & (board["seed"] == "mean") & (board["status"] == "ok")]
        rows = rows.dropna(subset=["validation_mase"]).sort_values(["validation_mase", "model"])
        return None if rows.empty else str(rows["model"].iloc[0])

    def tests(self, ranking: str, family: str) -> dict[str, dict[str, Any]]:
        """The significance tests of one family (`naive`, `skip`, `best`) by model; a missing number is None."""
        found = self.verdicts.get("tests", [])
        return {t["model"]: t for t in found if t["family"] == family and t["ranking"] in (ranking, "baseline")}

    def intervals_of(self, model: str, ranking: str) -> pd.DataFrame:
        """The scored intervals of `model` in `ranking`: one row per series, level and step, step 0 pooled."""
        table = self.intervals
        return table[(table["model"] == model) & table["ranking"].isin([ranking, "baseline"])]

    def tied(self, ranking: str) -> tuple[str, ...]:
        """The model confidence set of `ranking`: the models the data cannot tell from the best."""
        return tuple(self.verdicts.get("tied", {}).get(ranking, ()))

    def flags(self, kind: str, ranking: str) -> dict[str, list[dict[str, Any]]]:
        """The flags of one kind (`copies`, `leaks`) in `ranking` and of the baselines, by model."""
        found: dict[str, list[dict[str, Any]]] = {}
        for flag in self.verdicts.get(kind) or []:
            if flag["ranking"] in (ranking, "baseline"):
                found.setdefault(str(flag["model"]), []).append(flag)
        return found

    def changes_of(self, model: str, ranking: str) -> pd.DataFrame:
        """By step the change of the model's error against naive with its 95 % band: step, change, low, high."""
        table = self.changes
        mine = (table["model"] == model) & table["ranking"].isin([ranking, "baseline"])
        return table[mine].sort_values("step")

    @cached_property
    def bands(self) -> pd.DataFrame:
        """Intervals of the chosen models on test: model, ranking, series, level, cutoff, step, lower, upper."""
        return _parquet(self.compared / "bands.parquet", "compare")

    def own_skip(self, model: str, ranking: str) -> str:
        """What `model` is added to: the row it must beat to count."""
        name = self.candidate(model, ranking)
        row = self.records[name].get("skip_row") if name else None
        return str(row) if row else ("ridge" if ranking == "shipped" else "naive")

    def forecasts(self, candidate: str) -> pd.DataFrame:
        """The long frame of one candidate: unique_id, cutoff, step, ds, block, seed, y, y_hat (raw units).

        With several targets unique_id is series/column.
        """
        frame = _parquet(self.folder / candidate / "forecasts.parquet", "train")
        if "output" in frame and frame["output"].nunique() > 1:
            frame["unique_id"] = frame["unique_id"].astype(str) + "/" + frame["output"].astype(str)
        return frame[FORECAST_COLUMNS]


def running(root: Path | str = ".") -> tuple[str, ...]:
    """The datasets that configs/datasets.yaml tells to run."""
    return load_datasets(Path(root) / "configs").run


def read_evidence(root: Path | str, name: str) -> Evidence:
    """All artifacts of one dataset; `InputError` naming the file and the stage that makes it when one is missing."""
    root = Path(root)
    compared = root / "data" / "compared" / name
    trained = root / "data" / "trained" / name
    records = {path.parent.name: _json(path, "train") for path in sorted(trained.glob("*/record.json"))}
    costs = {path.stem: read_json(path) for path in sorted((root / ".forecast" / "cost" / name).glob("*.json"))}
    pointer = root / "data" / "pointers" / f"{name}.json"
    return Evidence(
        name=name,
        dataset=load_datasets(root / "configs").datasets[name],
        folder=trained,
        compared=compared,
        leaderboard=_table(compared / "leaderboard.csv"),
        by_step=_table(compared / "by_step.csv"),
        by_series=_table(compared / "by_series.csv"),
        intervals=_table(compared / "intervals.csv"),
        methods=_table(compared / "interval_methods.csv"),
        reliability=_table(compared / "reliability.csv"),
        changes=_table(compared / "change_by_step.csv"),
        distributions=_table(compared / "distributions.csv"),
        residuals=_list(compared / "residuals.json"),
        verdicts=_json(compared / "verdicts.json", "compare"),
        quality=_json(root / "data" / "prepared" / name / "quality.json", "prepare"),
        pointer=_json(pointer, "fetch") if pointer.exists() else {},
        records=records,
        costs=costs,
    )


def read_all(root: Path | str, names: Iterable[str]) -> list[Evidence]:
    return [read_evidence(root, name) for name in names]


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"seed": str, "model": str, "skip": str, "dataset": str, "series": str})
    except FileNotFoundError:
        raise InputError(_missing(path, "compare")) from None


def _parquet(path: Path, stage: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(_missing(path, stage)) from None


def _json(path: Path, stage: str) -> dict[str, Any]:
    content = _read(path, stage)
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, wanted a mapping. Run stage `{stage}` again.")
    return content


def _list(path: Path) -> list[dict[str, Any]]:
    content = _read(path, "compare")
    if not isinstance(content, list):
        raise InputError(f"{path}: found {type(content).__name__}, wanted a list. Run stage `compare` again.")
    return content


def _read(path: Path, stage: str) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise InputError(_missing(path, stage)) from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}). Delete it and run `dvc repro` again.") from None


def _missing(path: Path, stage: str) -> str:
    return f"{path}: no such file; stage `{stage}` makes it. Run `dvc repro` (or `make run`) first."
