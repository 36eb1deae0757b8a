"""Forecasts as they were issued, kept, and scored when their actuals arrive: the champion's live
accuracy.

    .forecast/issued/<dataset>.parquet      every issue, the newest `KEPT`; what was issued once
    never changes .forecast/issued/<dataset>.json         its scores against the newest data that
    any command has seen

An issue is the champion's forecast over its trained horizon with every level its calibration
supports, whatever `forecast predict` was asked to show. `last` holds the last observed value: what
repeating it would have forecast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from forecast.config.paths import ProjectPaths
from forecast.config.task import format_time
from forecast.data.calendars import row_numbers
from forecast.data.panel import with_series
from forecast.operations import champion
from forecast.operations.champion import Champion, ChampionCard, LiveAccuracy, read_live_accuracy
from forecast.operations.worktree import newest_data_root
from forecast.system import files
from forecast.system.errors import DataError, ForecastError

if TYPE_CHECKING:
    from forecast.report.page import LiveDataset

KEPT_ISSUES = 2000
"""Issues kept per dataset, newest first: years of daily ones."""
TIMEOUT = 10.0
"""Seconds to wait for another process that keeps an issue."""


def store_issue(
    root: Path,
    found: Champion,
    table: pd.DataFrame,
    last: Mapping[str, float],
    *,
    now: pd.Timestamp,
) -> None:
    """Add one issue; the same cutoff and version again changes nothing.

    table: `forecast.forecaster.ensemble.latest` over the trained horizon; last: series → last
    observed value.
    """
    dataset = found.card.dataset
    issue = with_series(table)
    label = f"{table['cutoff'].max().isoformat()} v{found.version}"
    issue = issue.assign(last=issue["series"].map(dict(last)), version=found.version)
    issue = issue.assign(issue=label, issued_at=now.floor("s"))
    lock = ProjectPaths.of(root).lock(f"issued-{dataset}")
    with files.locked(lock, what=f"Keeping a forecast of {dataset!r}", timeout=TIMEOUT):
        kept = read_issues(root, dataset)
        if len(kept) and (kept["issue"] == label).any():
            return
        every = pd.concat([kept, issue], ignore_index=True) if len(kept) else issue
        newest = every["issue"].drop_duplicates().tail(KEPT_ISSUES)
        files.write_frame(
            ProjectPaths.of(root).live_forecasts(dataset), every[every["issue"].isin(newest)]
        )


def read_issues(root: Path, dataset: str) -> pd.DataFrame:
    """Every kept issue, in the order they were issued; empty when there is none, `DataError` for a
    damaged file.
    """
    path = ProjectPaths.of(root).live_forecasts(dataset)
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:  # an Arrow error is a ValueError
        cause = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read ({cause}). Move it away: keeping begins anew."
        ) from None


def join_actuals(known: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Every value of the `known` issues with an actual in `frame` (the newest prepared one): their
    columns and `y`.
    """
    if known.empty:
        return known
    targets = [name for name in known["output"].unique() if name in frame.columns]
    values = frame.set_index(["unique_id", "ds"])[targets].rename_axis(columns="output")
    actual = pd.Series(values.stack(), name="y").reset_index()
    text = {"unique_id": object, "output": object}
    joined = known.astype(text).merge(actual.astype(text), on=["unique_id", "output", "ds"])
    return joined[joined["y"].notna()].reset_index(drop=True)


def score_versions(root: Path, dataset: str, frame: pd.DataFrame) -> list[LiveAccuracy]:
    """Live accuracy per version, oldest first."""
    every = read_issues(root, dataset)
    if every.empty:
        return []
    table, found = join_actuals(every, frame), []
    counts: dict[int, int] = every.groupby("version")["issue"].nunique().to_dict()  # type: ignore[assignment]
    for version, count in counts.items():
        rows = table[table["version"] == version]
        error = _against_expected(rows, champion.find_card(root, dataset, version))
        found.append(
            LiveAccuracy(
                version, count, rows["cutoff"].nunique(), error, _skill(rows), _coverage(rows)
            )
        )
    return found


def score_issues(root: Path, dataset: str, frame: pd.DataFrame) -> pd.DataFrame:
    """`cutoff, version, error, naive` per issue with known actuals, relative to the test error at
    the same steps.

    Issues of a version about which nothing was expected, or nothing is known here any more, are
    left out.
    """
    table, parts = join_actuals(read_issues(root, dataset), frame), []
    for _, rows in table.groupby("issue", sort=False) if len(table) else ():
        version = int(rows["version"].iloc[0])
        meta = champion.find_card(root, dataset, version)
        naive, error = (
            _against_expected(rows.assign(y_hat=rows["last"]), meta),
            _against_expected(rows, meta),
        )
        parts.append(
            {"cutoff": rows["cutoff"].max(), "version": version, "error": error, "naive": naive}
        )
    return pd.DataFrame(parts, columns=["cutoff", "version", "error", "naive"]).dropna()


def with_row_numbers(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Of rows without dates (calendar `index`) their numbers as `cutoff` and `ds`: row n stands n
    minutes after 1970-01-01. Any other table as it is.
    """
    times = [name for name in ("cutoff", "ds") if name in table and kind == "index"]
    return table.assign(**{name: row_numbers(table[name]) for name in times})


def update_live_accuracy(
    root: Path, dataset: str, frame: pd.DataFrame, *, as_of: str
) -> list[LiveAccuracy]:
    """`live`, written down with the data's `as_of`, so that `status` need not read a snapshot."""
    found = score_versions(root, dataset, frame)
    content = {"as_of": as_of, "live": [asdict(entry) for entry in found]}
    files.write_json(ProjectPaths.of(root).live_forecasts(dataset).with_suffix(".json"), content)
    return found


def _against_expected(rows: pd.DataFrame, meta: ChampionCard | None) -> float | None:
    """Mean over series of MAE / expected MAE at the same steps; None where nothing was expected."""
    ratios = []
    for series, own in rows.groupby("series"):
        steps = (meta.expected.get(str(series)) or []) if meta else []
        known = own[own["step"] <= len(steps)]
        wanted = [steps[step - 1] for step in known["step"]]
        if wanted and None not in wanted and sum(wanted):  # type: ignore[arg-type]
            ratios.append(float((known["y"] - known["y_hat"]).abs().sum() / sum(wanted)))  # type: ignore[arg-type]
    return sum(ratios) / len(ratios) if ratios else None


def _skill(rows: pd.DataFrame) -> float | None:
    """Mean over series of 1 - MAE / MAE of the last value, at the same cutoffs and steps."""
    values = []
    for _, own in rows[rows["last"].notna()].groupby("series"):
        naive = float((own["y"] - own["last"]).abs().sum())
        if naive > 0:
            values.append(1 - float((own["y"] - own["y_hat"]).abs().sum()) / naive)
    return sum(values) / len(values) if values else None


def _coverage(rows: pd.DataFrame) -> dict[str, float]:
    levels = [column.removeprefix("lo_") for column in rows.columns if column.startswith("lo_")]
    known = {level: rows[rows[f"lo_{level}"].notna()] for level in levels}
    inside = {
        level: own["y"].between(own[f"lo_{level}"], own[f"hi_{level}"])
        for level, own in known.items()
    }
    return {level: float(share.mean()) for level, share in inside.items() if len(share)}


def write_page(root: Path, datasets: Sequence[str]) -> Path:
    """reports/live.html of these datasets; one whose data cannot be read is shown with what was
    scored before.
    """
    from forecast.report.page import render_live

    path = ProjectPaths.of(root).reports / "live.html"
    files.write_text(path, render_live([_live_dataset(root, dataset) for dataset in datasets]))
    return path


def _live_dataset(root: Path, dataset: str) -> LiveDataset:
    from forecast.config.datasets import load_dataset
    from forecast.data import preparation, snapshots
    from forecast.report.page import LiveDataset

    settings = load_dataset(dataset, ProjectPaths.of(root).configs)
    try:
        place = newest_data_root(root, dataset)
        frame = preparation.check_data(dataset, settings, root=place)
        as_of = snapshots.read_pointer(place, dataset).as_of
        found = update_live_accuracy(root, dataset, frame, as_of=as_of)
        issues = with_row_numbers(score_issues(root, dataset, frame), settings.calendar.kind)
        as_of = frame["ds"].max().isoformat() if settings.calendar.kind == "index" else as_of
    except ForecastError:
        as_of, found = read_live_accuracy(root, dataset)
        issues = pd.DataFrame(columns=["cutoff", "version", "error", "naive"])
    metas = [champion.find_card(root, dataset, entry.version) for entry in found]
    names = [meta.candidate if meta else "no longer here" for meta in metas]
    versions = [{**asdict(entry), "model": name} for entry, name in zip(found, names, strict=True)]
    return LiveDataset(
        dataset, settings.title, format_time(settings.calendar.kind, as_of), issues, versions
    )
