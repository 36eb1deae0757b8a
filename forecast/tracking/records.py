"""The records that the stages leave, read for publishing; nothing here knows MLflow."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forecast.system import files
from forecast.system.errors import DataError

DIGEST_LENGTH = 16
FORMAT = 2
"""Part of every digest: raise it when published runs should be made anew from the same records."""

IN_PLACE = ("chosen",)
"""Leaderboard columns that other candidates can change; they are refreshed on the run that is there."""


@dataclass(frozen=True)
class Record:
    """One trained candidate of one dataset, with its rows of the comparison.

    `rows` maps the leaderboard's seed (`0`, `mean`, `std`, `ensemble`, ...) to its row, all values as text;
    `by_step` holds the rows of by_step.csv that stand for the candidate; `tests` its verdicts; `residuals` what its
    one-step errors still contain, per series; `distributions` its rows of distributions.csv, as by_step's;
    `intervals` the rows of interval_methods.csv over all steps.
    """

    content: dict[str, Any]
    folder: Path
    digest: str
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    by_step: tuple[dict[str, str], ...] = ()
    tests: tuple[dict[str, Any], ...] = ()
    cost: dict[str, float] = field(default_factory=dict)
    residuals: tuple[dict[str, Any], ...] = ()
    distributions: tuple[dict[str, str], ...] = ()
    intervals: tuple[dict[str, str], ...] = ()

    @property
    def dataset(self) -> str:
        return str(self.content["dataset"])

    @property
    def candidate(self) -> str:
        return str(self.content["candidate"])

    @property
    def name(self) -> str:
        """What a reader of a list sees: the model, and the ranking where it is not the default one."""
        alone = self.content.get("ranking") == "architecture"
        return f"{self.content['model']} (architecture alone)" if alone else str(self.content["model"])

    @property
    def failed(self) -> bool:
        return self.content.get("status") != "ok"

    @property
    def main_row(self) -> dict[str, str]:
        """The mean over the seeds; a candidate with one seed has that row only."""
        return self.rows.get("mean") or next(iter(self.rows.values()), {})

    @property
    def chosen(self) -> bool:
        return any(row.get("chosen", "").lower() in ("true", "1") for row in self.rows.values())


@dataclass(frozen=True)
class Comparison:
    """data/compared/<dataset>/, or empty when the dataset has not been compared yet."""

    leaderboard: tuple[dict[str, str], ...] = ()
    by_step: tuple[dict[str, str], ...] = ()
    tests: tuple[dict[str, Any], ...] = ()
    sentences: tuple[str, ...] = ()
    residuals: tuple[dict[str, Any], ...] = ()
    distributions: tuple[dict[str, str], ...] = ()
    intervals: tuple[dict[str, str], ...] = ()


def datasets(root: Path) -> list[str]:
    """The datasets below `root` that have records."""
    return sorted({path.parent.parent.name for path in (root / "data" / "trained").glob("*/*/record.json")})


def read_records(root: Path, dataset: str) -> list[Record]:
    """Every record of `dataset`, the best validation error last, failed and unscored ones first."""
    comparison = read_comparison(root, dataset)
    folders = sorted(path.parent for path in (root / "data" / "trained" / dataset).glob("*/record.json"))
    records = [_record(root, dataset, folder, comparison) for folder in folders]
    return sorted(records, key=lambda record: -_number(record.main_row.get("validation_mase")))


def read_comparison(root: Path, dataset: str) -> Comparison:
    folder = root / "data" / "compared" / dataset
    if not (folder / "verdicts.json").exists():
        return Comparison()
    verdicts = _json(folder / "verdicts.json")
    return Comparison(
        _table(folder / "leaderboard.csv"),
        _table(folder / "by_step.csv"),
        tuple(verdicts.get("tests", ())),
        tuple(verdicts.get("sentences", ())),
        tuple(_json(folder / "residuals.json")) if (folder / "residuals.json").exists() else (),
        _table(folder / "distributions.csv"),
        tuple(row for row in _table(folder / "interval_methods.csv") if row["step"] == "0"),
    )


def _record(root: Path, dataset: str, folder: Path, comparison: Comparison) -> Record:
    content = _json(folder / "record.json")
    mine = (str(content["model"]), str(content["ranking"]))
    rows = {row["seed"]: row for row in comparison.leaderboard if (row["model"], row["ranking"]) == mine}
    by_step, distributions = (
        _standing_for([row for row in rows if (row["model"], row["ranking"]) == mine])
        for rows in (comparison.by_step, comparison.distributions)
    )
    tests, residuals, intervals = (
        tuple(row for row in rows if (row["model"], row["ranking"]) == mine)
        for rows in (comparison.tests, comparison.residuals, comparison.intervals)
    )
    cost = root / ".forecast" / "cost" / dataset / f"{folder.name}.json"
    forecasts = folder / "forecasts.parquet"
    told = {"distributions": distributions} if distributions else {}
    digest = files.sha256_of({
        **told,
        "format": FORMAT,
        "record": content,
        "forecasts": files.sha256(forecasts) if forecasts.exists() else None,
        "rows": {seed: {k: row[k] for k in row if k not in IN_PLACE} for seed, row in rows.items()},
        "by_step": by_step,
        "residuals": residuals,
        "intervals": intervals,
    })  # fmt: skip
    costs, short = _json(cost) if cost.exists() else {}, digest[:DIGEST_LENGTH]
    return Record(content, folder, short, rows, by_step, tests, costs, residuals, distributions, intervals)


def _standing_for(rows: Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """One row per step: the mean over the seeds where there is one."""
    seeds = {row["seed"] for row in rows}
    seed = next((name for name in ("mean", "ensemble") if name in seeds), min(seeds, default=""))
    return tuple(row for row in rows if row["seed"] == seed)


def _number(text: str | None) -> float:
    try:
        value = float(text or "inf")
    except ValueError:
        return float("inf")
    return value if value == value else float("inf")  # NaN sorts nowhere


def _json(path: Path) -> Any:
    try:
        return files.read_json(path)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}). Remove it and run `dvc repro` to make it again.") from None


def _table(path: Path) -> tuple[dict[str, str], ...]:
    if not path.exists():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
