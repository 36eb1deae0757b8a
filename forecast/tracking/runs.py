"""The content of MLflow's runs, computed from the records of the stages, without MLflow itself.

`read_candidate_runs` gives a `CandidateRun` per trained candidate of a dataset. From it come
parameters (`parameter_texts`), metrics (lists of `MetricPoint`), tags (`run_tags`, `verdict_tags`)
and a note. `forecast.tracking.writing` writes them.

MLflow draws a chart per metric, in sections by the part of its name before the `/`.

A new number is a point of `score_points` or of another `*_points`, from a table of `TABLES` or the
record; metrics of `comparison.metrics.METRICS` come by themselves. A run is found again by the
digest of its record, forecasts and rows. So where these stay equal, runs that are published
already get a new number or tag only by a raised `RUN_FORMAT`, and then are published anew
(`publishing` sets the old ones aside); only `verdict_tags` are updated in place. The columns that
MLflow's pages show are in `publishing`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forecast.config.paths import ProjectPaths
from forecast.data.comparison_records import PairedTest
from forecast.data.records import UNKNOWN_COST, CandidateCost, RunRecord, Trial
from forecast.system import files

if TYPE_CHECKING:
    import pandas as pd

RUN_FORMAT = 4
"""Part of every run's digest; raised where all runs must be published again from equal records."""


TextRow = dict[str, str]
"""A row of a table of stage `compare`, every value as text."""


TABLES = ("leaderboard", "by_step", "distributions")


@dataclass(frozen=True)
class CandidateRun:
    """One trained candidate of a dataset, with its results of stage `compare`."""

    record: RunRecord
    folder: Path
    """The candidate's folder in data/trained."""
    tables: Mapping[str, Sequence[TextRow]] = field(default_factory=dict)
    """Its rows of `TABLES` and `crps`, and its rows over all steps of `intervals`."""
    tests: Sequence[PairedTest] = ()
    cost: CandidateCost = UNKNOWN_COST

    @cached_property
    def digest(self) -> str:
        """A digest of its record, forecasts and rows, by which its published run is found again."""
        forecasts = self.folder / "forecasts.parquet"
        # without `chosen`, which depends on other candidates and is updated on the run
        board = [{**row, "chosen": ""} for row in self.table("leaderboard")]
        content = {
            "format": RUN_FORMAT,
            "record": self.record.to_json(),
            "forecasts": files.sha256(forecasts) if forecasts.exists() else None,
            "tables": {**self.tables, "leaderboard": board},
        }
        return files.sha256_of(content)[:16]

    def table(self, name: str) -> Sequence[TextRow]:
        """Its rows of one table; empty before stage `compare`."""
        return self.tables.get(name, ())

    @property
    def rows(self) -> dict[str, TextRow]:
        """Seed (`0`, `mean`, `std`, ...) → its row of the leaderboard."""
        return {row["seed"]: row for row in self.table("leaderboard")}

    @property
    def candidate(self) -> str:
        """The candidate's name, such as `lstm.linear`."""
        return self.record.candidate

    @property
    def name(self) -> str:
        """The run's name: the model, with the ranking where that is not the default one."""
        if self.record.ranking == "architecture":
            return f"{self.record.model} (architecture alone)"
        return self.record.model

    @property
    def main_row(self) -> TextRow:
        """The scores of the mean of all seeds' forecasts; empty before stage `compare`."""
        return self.rows.get("mean", {})

    @property
    def is_chosen(self) -> bool:
        """Whether validation selected it in its ranking."""
        return self.main_row.get("chosen") == "True"


def list_datasets(root: Path) -> list[str]:
    """The datasets below `root` that have records; a user's copy of such a folder is none."""
    records = {
        path.parent.parent.name: path
        for path in (root / "data" / "trained").glob("*/*/record.json")
    }
    return sorted(
        name for name, path in records.items() if files.read_note(path).get("dataset", name) == name
    )


def read_candidate_runs(root: Path, dataset: str) -> list[CandidateRun]:
    """The runs of all records of `dataset`, the lowest validation error last."""
    from forecast.data.results import Results, read_costs

    paths = ProjectPaths.of(root)
    results = Results(paths, dataset)
    costs = read_costs(paths, dataset)
    tables: dict[str, Sequence[TextRow]] = {}
    tests: Sequence[PairedTest] = ()
    if results.is_compared:
        tables = {name: results.text_rows(name) for name in TABLES}
        tables["intervals"] = _as_text_rows(results.intervals[results.intervals["step"] == 0])
        tables["crps"] = _as_text_rows(results.crps)
        tests = results.verdicts.tests
    candidate_runs = []
    for name, record in results.records.items():
        label = (record.model, record.ranking)
        candidate_run = CandidateRun(
            record,
            results.folder(name),
            {table: _rows_of(label, rows) for table, rows in tables.items()},
            [test for test in tests if (test.model, test.ranking) == label],
            costs.get(name, UNKNOWN_COST),
        )
        candidate_runs.append(candidate_run)
    return sorted(candidate_runs, key=_validation_error, reverse=True)


def _rows_of(label: tuple[str, str], rows: Sequence[TextRow]) -> list[TextRow]:
    return [row for row in rows if (row["model"], row["ranking"]) == label]


def _as_text_rows(table: pd.DataFrame) -> list[TextRow]:
    rows: Any = table.astype(str).to_dict("records")
    return list(rows)


def _validation_error(candidate_run: CandidateRun) -> float:
    error = _as_float(candidate_run.main_row.get("validation_mase"))
    return math.inf if error is None else error


def verdict_sentences(root: Path, dataset: str) -> tuple[str, ...]:
    """The dataset's verdict in sentences; empty before stage `compare`."""
    from forecast.data.results import Results

    results = Results(ProjectPaths.of(root), dataset)
    return results.verdicts.sentences if results.is_compared else ()


LOOP = ("reach", "exponent")
SAFE_LOOPS = ("stable", "marginal")
INTERVALS = ("coverage", "width", "winkler")
COSTS = ("cpu_seconds", "wall_seconds", "tuning_cpu_seconds")
"""Fields of `CandidateCost` that are metrics of a run."""
DIGEST_LENGTH = 12
UNTRAINED = (
    "**Did not train:** in no seed was a step better on validation than the model that the network"
    " stands on, so the forecasts are the same. It is not counted as a model."
)
MAX_TEXT = 500
"""The most characters of a parameter or tag; MLflow refuses much longer ones."""


CHARACTERS_UNKNOWN_TO_MLFLOW = re.compile(r"[^\w.\- /]")
"""Characters that MLflow does not allow in the name of a metric."""


class MetricPoint(NamedTuple):
    """One value of a metric; `step` is a horizon step, a gradient step, or 0."""

    name: str
    value: Any
    step: int = 0


def parameter_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Model parameters as text of at most `MAX_TEXT` characters.

    Nested parameters are named `outer.inner`; those that are None or empty are left out.
    """
    texts = {}
    for name, value in flatten(params):
        if value is not None and value != {}:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            texts[name] = text[:MAX_TEXT]
    return texts


def score_points(candidate_run: CandidateRun) -> list[MetricPoint]:
    """Test and validation errors, their spread over seeds, interval scores, size and cost."""
    main = candidate_run.main_row
    from forecast.comparison import metrics  # imports pandas, which `status` must not

    by_step = [metric.name for metric in metrics.METRICS if metric.by_step]
    points = [
        MetricPoint(f"test/{metric.name}", main.get(metric.name)) for metric in metrics.METRICS
    ]
    for row in candidate_run.table("by_step"):
        if row["seed"] == "mean":
            step = int(row["step"])
            points += [MetricPoint(f"test_by_step/{name}", row.get(name), step) for name in by_step]
    points += [
        MetricPoint(f"test_std/{name}", candidate_run.rows.get("std", {}).get(name))
        for name in by_step
    ]
    points.append(MetricPoint("validation/mase", main.get("validation_mase")))
    points.append(MetricPoint("n_origins", main.get("n_origins")))
    return finite_points(
        points
        + interval_points(candidate_run)
        + distribution_points(candidate_run)
        + count_points(candidate_run)
        + [MetricPoint(name, getattr(candidate_run.cost, name)) for name in COSTS]
    )


def interval_points(candidate_run: CandidateRun) -> list[MetricPoint]:
    """Coverage, width and interval score of each level over all steps, and the CRPS of the served
    intervals, of several series the scaled one; means over series.
    """
    values_by_name: dict[str, list[float]] = {}
    for row in candidate_run.table("intervals"):
        level = f"{float(row['level']):g}"
        for name in INTERVALS:
            value = _as_float(row[name])
            if value is not None:
                values_by_name.setdefault(f"test_intervals/{name}_{level}", []).append(value)
    rows = candidate_run.table("crps")
    name = "scaled_crps" if len(rows) > 1 else "crps"
    for row in rows:
        values_by_name.setdefault(f"test_intervals/{name}", []).append(float(row[name]))
    return [MetricPoint(name, sum(values) / len(values)) for name, values in values_by_name.items()]


def distribution_points(candidate_run: CandidateRun) -> list[MetricPoint]:
    """Scores of a head's distribution over the whole horizon: `distribution/crps`,
    `distribution/pinball_90`, ...

    With several series, whose units differ, the series is part of the name.
    """
    several = len({row["series"] for row in candidate_run.table("distributions")}) > 1
    points = []
    for row in candidate_run.table("distributions"):
        series = f"{CHARACTERS_UNKNOWN_TO_MLFLOW.sub('_', row['series'])}/" if several else ""
        level = f"_{float(row['level']):g}" if row["level"] else ""
        points.append(MetricPoint(f"distribution/{series}{row['metric']}{level}", row["value"]))
    return points


def count_points(candidate_run: CandidateRun) -> list[MetricPoint]:
    """The number of fitted parameters, rows, trials and seeds, and the counts of `TrainingCost`."""
    record = candidate_run.record
    counts = {
        "n_params": record.n_params,
        "rows_seen": record.rows_seen,
        **record.cost.to_json(),
        "n_trials": len(record.trials),
        "n_seeds": len(record.seeds),
    }
    return [MetricPoint(name, count) for name, count in counts.items()]


def diagnostic_points(candidate_run: CandidateRun) -> list[MetricPoint]:
    """The diagnostics of the first seed's network.

    The step of `diagnostics_by_lag/...` is the lag in rows, that of `diagnostics_free_run` the step
    of the closed loop.
    """
    examined = candidate_run.record.diagnostics
    if examined is None:
        return []
    loop = examined.loop
    arrays = examined.arrays
    points = []
    if loop is not None:
        points += [MetricPoint(f"diagnostics/loop_{name}", getattr(loop, name)) for name in LOOP]
    points += [
        MetricPoint("diagnostics_by_lag/gradient", v, lag)
        for lag, v in zip(arrays.lags, arrays.gradient, strict=True)
    ]
    points += [
        MetricPoint("diagnostics_free_run", v, step + 1) for step, v in enumerate(arrays.free_run)
    ]
    return finite_points(points)


def curve_points(record: RunRecord) -> list[MetricPoint]:
    """The learning curves of each seed: losses by gradient step."""
    points = []
    for fit in record.seeds:
        for step, train, validation in fit.curve:
            points += [
                MetricPoint(f"train_loss/seed_{fit.seed}", train, step),
                MetricPoint(f"validation_loss/seed_{fit.seed}", validation, step),
            ]
    return finite_points(points)


def trial_points(trial: Trial) -> list[MetricPoint]:
    """A trial's validation loss by gradient step, and its value for Optuna."""
    points = [MetricPoint("trial/value", trial.value)]
    points += [
        MetricPoint("trial/validation_loss", row[-1], int(row[0] or 0)) for row in trial.curve
    ]
    return finite_points(points)


def finite_points(points: list[MetricPoint]) -> list[MetricPoint]:
    """The points whose value is a finite number, as float."""
    return [
        point._replace(value=value)
        for point in points
        if (value := _as_float(point.value)) is not None
    ]


def run_tags(candidate_run: CandidateRun) -> dict[str, str]:
    """The tags of a run that never change; `verdict_tags` has the others."""
    record = candidate_run.record
    failed = [f"seed {fit.seed}: {fit.reason}" for fit in record.seeds if fit.status != "ok"]
    values = {
        "model": record.model,
        "family": record.family,
        "kind": record.kind,
        "ranking": record.ranking,
        "status": record.status,
        "reason": record.reason,
        "skip": record.skip or "none",
        "tuned": ", ".join(sorted(record.tuned)),
        "gradient_steps": record.cost.gradient_steps,
        "seeds": ", ".join(str(fit.seed) for fit in record.seeds),
        "failed_seeds": "; ".join(failed),
        "loop": loop_verdict(record),
        "did_not_train": "true" if record.is_untrained else "",
        "data_digest": record.digests.data[:DIGEST_LENGTH],
    }
    return {name: str(value)[:MAX_TEXT] for name, value in values.items() if value}


def loop_verdict(record: RunRecord) -> str:
    """How a recursive network behaves when fed with its own forecasts: stable, marginal, sensitive,
    drifting or unstable; "" for other models.
    """
    examined = record.diagnostics
    return "" if examined is None else examined.loop_verdict


def verdict_tags(candidate_run: CandidateRun) -> dict[str, str]:
    """The tags that depend on other candidates, and are updated on existing runs."""
    # against_bar, against_best, ...
    words = {f"against_{test.family}": test.word for test in candidate_run.tests}
    return {
        "chosen": str(candidate_run.is_chosen).lower(),
        **words,
        "mlflow.note.content": run_note(candidate_run),
    }


def run_note(candidate_run: CandidateRun) -> str:
    """The run's description in Markdown: whether it was selected, failed or did not train, the
    model, its members, an unsafe closed loop, and the outcomes of the tests.
    """
    from forecast.data.results import describe_members

    record = candidate_run.record
    loop = loop_verdict(record)
    is_unsafe = loop != "" and loop not in SAFE_LOOPS
    remarks = [
        (candidate_run.is_chosen, "**Selected on validation in its ranking.**"),
        (record.is_untrained, UNTRAINED),
        (record.has_failed, f"**Failed:** {record.reason}"),
        (record.description, record.description),
        (record.equation, f"`{record.equation}`"),
        (record.source, f"Source: {record.source}"),
        (record.members, f"Members: {describe_members(record)}"),
        (is_unsafe, f"**Closed loop {loop}**: see `diagnostics_free_run`."),
    ]
    lines = [sentence for applies, sentence in remarks if applies]
    return "\n\n".join([*lines, *(test.sentence for test in candidate_run.tests)])


def flatten(
    content: Mapping[str, Any], separator: str = ".", prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Every value in nested content, with its path as the name."""
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, separator, f"{prefix}{name}{separator}")
        else:
            yield f"{prefix}{name}", value


def _as_float(value: Any) -> float | None:
    """The value as a number; None where it is no number or not finite."""
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
