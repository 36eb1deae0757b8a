"""All checks by the rules of the dataset's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data.quality import prices, steps, values
from forecast.data.quality.finding import Finding
from forecast.system.errors import ForecastError, InputError

SHOWN_SERIES = 3

Check = Callable[[pd.DataFrame, Dataset, float], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "ohlc_order": prices.ohlc_order,
    "positive_prices": prices.positive_prices,
    "unadjusted_split": prices.unadjusted_split,
    "flat_bars": prices.flat_bars,
    "dividends": prices.dividends,
    "spikes": values.spikes,
    "stale_repeats": values.stale_repeats,
    "units": values.units,
    "missing_share": values.missing_share,
    "missing_cells": values.missing_cells,
    "shared_columns": values.shared_columns,
    "gaps": steps.missing_steps,
    "clock_change": steps.clock_change,
}


def findings(frame: pd.DataFrame, dataset: Dataset, *, as_of: pd.Timestamp) -> list[Finding]:
    """What breaks a rule that is not off, refusing ones first. `frame`: checked, adjusted, all of its columns."""
    checks: dict[str, Any] = {**CHECKS, "freshness": partial(steps.freshness, as_of=as_of)}
    found = []
    for name, check in checks.items():
        rule = getattr(dataset.quality, name)
        if rule.action != "off":
            found += [Finding(**{**f.to_json(), "action": rule.action}) for f in check(frame, dataset, rule.limit)]
    return sorted(found, key=lambda finding: finding.action != "refuse")


def enforce(found: list[Finding], *, where: str, error: type[ForecastError] = InputError) -> None:
    """Raises `error` with every finding of a rule that refuses."""
    refused = [finding for finding in found if finding.action == "refuse"]
    if refused:
        lines = "; ".join(sentence(finding) for finding in refused)
        raise error(
            f"{where}: {lines} Nothing was taken. Correct the data, or set `quality.{refused[0].rule}: warn` in "
            "configs/datasets.yaml."
        )


def sentences(found: list[Finding]) -> list[str]:
    """`warn (freshness): series 'a', 'b' and 7 more, column 'ds': …`: one line for all series of which it is true."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for f in found:
        groups.setdefault((f.action, f.rule, f.column, f.sentence), []).append(f.series)
    lines = []
    for (action, rule, column, text), series in groups.items():
        more = f" and {len(series) - SHOWN_SERIES} more" if len(series) > SHOWN_SERIES else ""
        named = ", ".join(map(repr, series[:SHOWN_SERIES])) + more
        place = [f"series {named}"] if any(series) else []
        place += [f"column {column!r}"] if column else []
        where = f"{', '.join(place)}: " if place else ""
        lines.append(f"{action} ({rule}): {where}{text}")
    return lines


def sentence(finding: Finding) -> str:
    """`series 'a', column 'temp': …` for people."""
    place = [f"series {finding.series!r}"] if finding.series else []
    place += [f"column {finding.column!r}"] if finding.column else []
    return f"{', '.join(place)}: {finding.sentence}" if place else finding.sentence
