"""The records that the stages leave, read for publishing; nothing here knows MLflow."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forecast.config.paths import ProjectPaths
from forecast.data.results import Results, read_costs
from forecast.system import files

FORMAT = 2
"""Part of every digest: raise it when published runs should be made anew from the same records."""

COMPARED = ("leaderboard", "by_step", "distributions", "tests", "residuals", "intervals")


@dataclass(frozen=True)
class Record:
    """One trained candidate of one dataset, with its rows of the comparison.

    `rows` maps the leaderboard's seed (`0`, `mean`, `std`, ...) to its row, all values as text;
    `by_step` holds the rows of by_step.csv that stand for the candidate; `tests` its verdicts; `residuals` its
    residual diagnostics, per series; `distributions` its rows of distributions.csv, as by_step's;
    `intervals` the rows of interval_methods.parquet over all steps.
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
        """What the mean of the seeds' forecasts scores; a candidate with one seed has that row only."""
        return self.rows.get("mean") or next(iter(self.rows.values()), {})

    @property
    def chosen(self) -> bool:
        return any(row.get("chosen", "").lower() in ("true", "1") for row in self.rows.values())


def datasets(root: Path) -> list[str]:
    """The datasets below `root` that have records."""
    return sorted({path.parent.parent.name for path in (root / "data" / "trained").glob("*/*/record.json")})


def read_records(root: Path, dataset: str) -> list[Record]:
    """Every record of `dataset`, the best validation error last, failed and unscored ones first."""
    paths = ProjectPaths.of(root)
    results, costs = Results(paths, dataset), read_costs(paths, dataset)
    compared = _compared(results) if results.compared else dict.fromkeys(COMPARED, ())
    records = [_record(results.folder(n), r, costs.get(n, {}), compared) for n, r in results.records.items()]
    return sorted(records, key=lambda record: -_number(record.main_row.get("validation_mase")))


def verdict_sentences(root: Path, dataset: str) -> tuple[str, ...]:
    """The verdict in words; none before stage `compare`."""
    results = Results(ProjectPaths.of(root), dataset)
    return tuple(results.verdicts.get("sentences", ())) if results.compared else ()


def _compared(results: Results) -> dict[str, Sequence[dict[str, Any]]]:
    """COMPARED of all candidates; the intervals are those over all steps."""
    pooled = results.interval_methods.loc[lambda table: table["step"] == 0]
    return {
        "leaderboard": results.text_rows("leaderboard"),
        "by_step": results.text_rows("by_step"),
        "distributions": results.text_rows("distributions"),
        "tests": results.verdicts.get("tests", ()),
        "residuals": results.residuals,
        "intervals": tuple(csv.DictReader(pooled.to_csv(index=False, float_format="%.12g").splitlines())),
    }


def _record(
    folder: Path, content: dict[str, Any], cost: dict[str, float], compared: Mapping[str, Sequence[dict[str, Any]]]
) -> Record:
    mine = (str(content["model"]), str(content["ranking"]))
    own = {key: tuple(row for row in rows if (row["model"], row["ranking"]) == mine) for key, rows in compared.items()}
    rows = {row["seed"]: row for row in own["leaderboard"]}
    by_step, distributions = _standing_for(own["by_step"]), _standing_for(own["distributions"])
    forecasts = folder / "forecasts.parquet"
    optional = {"distributions": distributions} if distributions else {}
    digest = files.sha256_of({
        **optional,
        "format": FORMAT,
        "record": content,
        "forecasts": files.sha256(forecasts) if forecasts.exists() else None,
        # Other candidates can change `chosen`; it is refreshed on the run that is there.
        "rows": {seed: {k: row[k] for k in row if k != "chosen"} for seed, row in rows.items()},
        "by_step": by_step,
        "residuals": own["residuals"],
        "intervals": own["intervals"],
    })  # fmt: skip
    tests, residuals, intervals = (own[name] for name in ("tests", "residuals", "intervals"))
    return Record(content, folder, digest[:16], rows, by_step, tests, cost, residuals, distributions, intervals)


def _standing_for(rows: Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """One row per step: of the mean of the seeds, where there is one."""
    seeds = {row["seed"] for row in rows}
    seed = "mean" if "mean" in seeds else min(seeds, default="")
    return tuple(row for row in rows if row["seed"] == seed)


def _number(text: str | None) -> float:
    try:
        value = float(text or "inf")
    except ValueError:
        return float("inf")
    return value if value == value else float("inf")  # NaN sorts nowhere
