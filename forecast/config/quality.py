"""Which data checks warn and which refuse a snapshot; `spikes: refuse` is short for `spikes: {action: refuse}`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from forecast.config.reading import Config


class Rule(Config):
    """`limit`: what the check compares with; what it means stands beside each rule of `Quality`."""

    action: Literal["off", "warn", "refuse"]
    limit: float = Field(ge=0.0)


DEFAULTS: dict[str, Rule] = {
    "ohlc_order": Rule(action="warn", limit=0),  # sessions with Low > Open, Close or High < Open, Close
    "positive_prices": Rule(action="refuse", limit=0),  # prices at or below zero
    "unadjusted_split": Rule(action="warn", limit=0.03),  # distance of a jump from 2:1, 3:1, ... as a share
    "flat_bars": Rule(action="warn", limit=0),  # sessions whose open, high, low and close are one number
    "stale_repeats": Rule(action="warn", limit=12),  # equal values in a row, zeros not counted
    "spikes": Rule(action="warn", limit=15),  # a step there and back, in 99th percentiles of a step
    "units": Rule(action="warn", limit=0),  # values that another unit explains better
    "missing_share": Rule(action="warn", limit=0.05),  # steps without a value, as a share
    "missing_cells": Rule(action="warn", limit=0),  # rows with an empty cell
    "gaps": Rule(action="warn", limit=0),  # missing steps inside a series
    "clock_change": Rule(action="warn", limit=0),  # hours missing where local clocks are put forward
    "shared_columns": Rule(action="warn", limit=0.001),  # share of steps on which two series may differ
    "dividends": Rule(action="warn", limit=0),  # prices of a file that carries no dividends
    "freshness": Rule(action="warn", limit=3),  # steps of the calendar since the last row
}


class Quality(Config):
    """Rules by name; those not named have their default."""

    ohlc_order: Rule
    positive_prices: Rule
    unadjusted_split: Rule
    flat_bars: Rule
    stale_repeats: Rule
    spikes: Rule
    units: Rule
    missing_share: Rule
    missing_cells: Rule
    gaps: Rule
    clock_change: Rule
    shared_columns: Rule
    dividends: Rule
    freshness: Rule

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {name: _as_rule(rule) for name, rule in value.items()}
        filled: dict[str, Any] = {name: rule.model_dump() for name, rule in DEFAULTS.items()}
        for name, rule in given.items():
            known = filled.get(name, {})
            filled[name] = {**known, **rule} if isinstance(rule, dict) else rule
        return filled


def _as_rule(value: Any) -> Any:
    """A bare word is an action; YAML reads a bare `off` as false."""
    if isinstance(value, dict):
        return {key: "off" if key == "action" and item is False else item for key, item in value.items()}
    return {"action": "off" if value is False else value}
