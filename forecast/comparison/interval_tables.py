"""What the compare stage writes about the intervals of one dataset: scores, reliability and the bands themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast.comparison import uncertainty
from forecast.comparison.comparing import Scored
from forecast.comparison.uncertainty import GRID, METHODS, Blocks, Method
from forecast.config.datasets import Dataset
from forecast.config.models import NAIVE
from forecast.data.panel import with_series

SHOWN = (NAIVE, "seasonal_naive", "ridge")


@dataclass(frozen=True)
class IntervalTables:
    """`methods`: every method's scores (`uncertainty.COLUMNS`); `intervals`: those of the method that is shown.

    `reliability`: both methods over `GRID`, all steps pooled, of the chosen models and the references; `bands`: the
    shown intervals of the chosen models on test. `decision` and `refused` go into verdicts.json.
    """

    intervals: pd.DataFrame
    methods: pd.DataFrame
    reliability: pd.DataFrame
    bands: pd.DataFrame
    decision: dict[str, Any]
    refused: list[dict[str, Any]]


def interval_tables(
    scored: list[Scored],
    last: Mapping[str, pd.Series],
    dataset: Dataset,
    levels: Sequence[float],
    chosen: Mapping[str, str],
) -> IntervalTables:
    """`last`: actuals by series and time; `chosen`: the model chosen on validation, by ranking."""
    usable = [candidate for candidate in scored if candidate.forecasts is not None]
    best = [candidate for candidate in usable if _is_chosen(candidate, chosen)]
    judges = [*best, *(candidate for candidate in usable if candidate.name == NAIVE and candidate not in best)]
    held = dataset.stride_in("calibration")
    decision = uncertainty.rehearsed([_blocks(c, last, dataset, held) for c in judges], levels)
    method: Method = decision["method"]
    parts, refused = [], []
    for candidate in usable:
        table, without = uncertainty.interval_scores(_blocks(candidate, last, dataset, dataset.stride), levels)
        parts.append(table)
        refused += without
    methods = _joined(parts)
    drawn = [*best, *(c for c in usable if c.name in SHOWN and c not in best)]
    return IntervalTables(
        intervals=methods[methods["method"] == method],
        methods=methods,
        reliability=_joined([_reliability(_blocks(c, last, dataset, dataset.stride)) for c in drawn]),
        bands=_joined([_bands(c, last, dataset, levels, method) for c in best]),
        decision=decision,
        refused=uncertainty.grouped(refused),
    )


def _is_chosen(candidate: Scored, chosen: Mapping[str, str]) -> bool:
    """A baseline is chosen in whichever ranking it leads."""
    record = candidate.record
    if record["ranking"] == "baseline":
        return record["model"] in chosen.values()
    return chosen.get(record["ranking"]) == record["model"]


def _blocks(candidate: Scored, last: Mapping[str, pd.Series], dataset: Dataset, stride: int) -> Blocks:
    assert candidate.forecasts is not None
    held = uncertainty.calibration_cubes(candidate.forecasts, last)
    return Blocks(candidate.record, held, candidate.cubes, stride, {name: _transform(name, dataset) for name in last})


def _transform(series: str, dataset: Dataset) -> str:
    """Of the target that `series` (named by `panel.with_series`) is."""
    if len(dataset.target) == 1:
        return dataset.target[0].transform
    return next(column.transform for column in dataset.target if series.endswith(f"/{column.column}"))


def _reliability(blocks: Blocks) -> pd.DataFrame:
    """Nominal against empirical coverage, pooled over the steps; the levels the calibration block supports."""
    table, _ = uncertainty.interval_scores(blocks, GRID, METHODS)
    return table[table["step"] == 0].drop(columns=["step", "winkler"])


def _bands(
    candidate: Scored, last: Mapping[str, pd.Series], dataset: Dataset, levels: Sequence[float], method: Method
) -> pd.DataFrame:
    assert candidate.forecasts is not None
    test = with_series(candidate.forecasts[candidate.forecasts["block"] == "test"])
    cutoffs = {str(name): pd.Index(sorted(rows.unique())) for name, rows in test.groupby("series")["cutoff"]}
    return uncertainty.bands(_blocks(candidate, last, dataset, dataset.stride), levels, method, cutoffs)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Empty tables left out, unless there is nothing else: their columns have no type."""
    filled = [part for part in parts if not part.empty] or parts[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
