"""What a source says differently from what is stored: a table that is recorded, never silently replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from forecast.data.schema import KEYS

RELATIVE = 1e-5  # services send prices as 32-bit floats; what differs less is the same number
COLUMNS = ("unique_id", "ds", "column", "before", "after", "kind")


def merged(
    stored: pd.DataFrame, fresh: pd.DataFrame, *, since: Mapping[str, pd.Timestamp], keep: Collection[str]
) -> pd.DataFrame:
    """`stored` continued by `fresh`: per series the fresh rows replace everything from `since` on.

    A series that is in `keep` but not in `fresh` stays as it is; one in neither goes. Values that differ by
    rounding only keep their stored digits, so an unchanged history keeps its digest.
    """
    known = set(fresh["unique_id"])
    parts = [_settled(stored, fresh)]
    for name, rows in stored.groupby("unique_id", sort=False):
        if name not in known and name in keep:
            parts.append(rows)
        elif name in known and name in since:
            parts.append(rows[rows["ds"] < since[str(name)]])
    columns = [*KEYS, *(c for c in fresh.columns if c not in KEYS)]
    result = pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)
    return result.sort_values(list(KEYS), kind="stable", ignore_index=True)


def revisions(
    stored: pd.DataFrame,
    fresh: pd.DataFrame,
    *,
    since: Mapping[str, pd.Timestamp],
    provisional_from: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row per value of the stored history that `fresh` changes: `unique_id, ds, column, before, after, kind`.

    kind: `changed`, `vanished` (the source has the row no more), `appeared` (a row inside the stored range that was
    not there), or `provisional` when the value was stored as such.
    """
    names = [c for c in stored.columns if c not in KEYS and c in fresh.columns]
    before = _long(_overlap(stored, fresh, since), names, "before")
    ends = stored.groupby("unique_id")["ds"].max()
    inside = fresh[fresh["ds"] <= fresh["unique_id"].map(ends)]
    both = before.join(_long(inside, names, "after"), how="outer")
    changed = both[~_same(both["before"].to_numpy(), both["after"].to_numpy())].reset_index()
    if changed.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    gone, new = changed["in_after"].isna(), changed["in_before"].isna()
    kind = np.select([gone, new], ["vanished", "appeared"], "changed")
    if provisional_from is not None:
        kind = np.where(changed["ds"] >= provisional_from, "provisional", kind)
    return changed.assign(kind=kind)[list(COLUMNS)].sort_values(["unique_id", "ds", "column"], ignore_index=True)


def _overlap(stored: pd.DataFrame, fresh: pd.DataFrame, since: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    """The stored rows that the fresh answer should repeat."""
    known = stored["unique_id"].isin(set(fresh["unique_id"]))
    first = pd.to_datetime(stored["unique_id"].map(dict(since)))
    return stored[known & (first.isna() | (stored["ds"] >= first))]


def _long(frame: pd.DataFrame, names: list[str], side: str) -> pd.DataFrame:
    """One row per value, indexed by series, time and column; `in_<side>` tells an absent row from a missing value."""
    table = frame.melt(id_vars=list(KEYS), value_vars=names, var_name="column", value_name=side)
    return table.assign(**{f"in_{side}": 1.0}).set_index([*KEYS, "column"])


def _same(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    close = np.abs(old - new) <= RELATIVE * np.maximum(np.abs(old), np.abs(new))
    return close | (np.isnan(old) & np.isnan(new))


def _settled(stored: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """`fresh` with the stored digits wherever the two are the same number."""
    known = fresh[list(KEYS)].merge(stored, on=list(KEYS), how="left")
    result = fresh.reset_index(drop=True).copy()
    for name in (c for c in stored.columns if c not in KEYS and c in fresh.columns):
        old, new = known[name].to_numpy(), result[name].to_numpy()
        result[name] = np.where(_same(old, new), old, new)
    return result
