"""Forecasts as they were issued, kept, and scored when their actuals arrive: the champion's live
accuracy.

    .forecast/issued/
        <dataset>.parquet    every issue, the newest `KEPT_ISSUES`; what was issued once never
                             changes
        <dataset>.json       its scores against the newest data that any command has seen

`store_issue` keeps one, `update_live_scores` scores all. A damaged file is an error that says how
to go on; it is never replaced without being asked.

The live error here is the error of the issued forecasts whose actuals are known, divided by the
test error at the same steps (1: as expected). The test error is first multiplied by `naive_growth`:
in a heating season repeating the last value errs more too. `status` shows the result.
Whether a retraining is due is decided by the same error of other forecasts
(`evidence.measure_live_error`): the champion's, made again at the newest cutoffs that it has not
seen, issued or not.

An issue is the champion's forecast over its trained horizon with every level its calibration
supports, whatever `forecast predict` was asked to show. `last` holds the last observed value: what
repeating it would have forecast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from forecast.config.paths import ProjectPaths
from forecast.data.calendars import row_numbers
from forecast.data.panel import add_series_names
from forecast.operations import champion
from forecast.operations.champion import Champion
from forecast.operations.records import (
    ChampionCard,
    LiveAccuracy,
    LiveScores,
)
from forecast.system import files
from forecast.system.errors import DamagedError, one_line

KEPT_ISSUES = 2000
"""Issues kept per dataset, newest first: years of daily ones."""
TIMEOUT = 10.0
"""Seconds to wait for another process that keeps an issue."""


def store_issue(
    root: Path,
    current: Champion,
    table: pd.DataFrame,
    last: Mapping[str, float],
    *,
    now: pd.Timestamp,
) -> None:
    """Add one issue; the same cutoff and version again changes nothing.

    table: `ensemble.forecast_latest` over the trained horizon; last: series → last
    observed value.
    """
    dataset = current.card.dataset
    issue = add_series_names(table)
    label = f"{table['cutoff'].max().isoformat()} v{current.version}"
    known = issue["series"].map(dict(last))
    issue = issue.assign(last=known, version=current.version, issue=label, issued_at=now.floor("s"))
    with hold_issues(root, dataset):
        earlier = read_issues(root, dataset)
        if len(earlier) and (earlier["issue"] == label).any():
            return
        every = pd.concat([earlier, issue], ignore_index=True) if len(earlier) else issue
        newest = every["issue"].drop_duplicates().tail(KEPT_ISSUES)
        files.write_frame(
            ProjectPaths.of(root).live_forecasts(dataset), every[every["issue"].isin(newest)]
        )


@contextmanager
def hold_issues(root: Path, dataset: str) -> Iterator[None]:
    """Hold the lock of the dataset's issued forecasts, and remove what a killed process left of
    them; `BusyError` after `TIMEOUT` seconds.
    """
    paths = ProjectPaths.of(root)
    purpose = f"Keeping a forecast of {dataset!r}"
    with files.hold_lock(paths.lock(f"issued-{dataset}"), purpose=purpose, timeout=TIMEOUT):
        files.remove_leftovers(paths.live_forecasts(dataset).parent, f"{dataset}.")
        yield


def read_issues(root: Path, dataset: str) -> pd.DataFrame:
    """Every kept issue, in the order they were issued; empty when there is none, `DamagedError` for
    a damaged file.
    """
    path = ProjectPaths.of(root).live_forecasts(dataset)
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:  # an Arrow error is a ValueError
        raise DamagedError(
            f"{path}: cannot be read ({one_line(error)}). `forecast doctor --repair` moves it away:"
            " storing starts anew."
        ) from None


def join_actuals(issues: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Every value of the `issues` with an actual in `frame` (the newest prepared one): their
    columns and `y`.
    """
    targets = [name for name in issues["output"].unique() if name in frame.columns]
    values = frame.set_index(["unique_id", "ds"])[targets].rename_axis(columns="output")
    actuals = pd.Series(values.stack(), name="y").reset_index()
    text = {"unique_id": object, "output": object}
    joined = issues.astype(text).merge(actuals.astype(text), on=["unique_id", "output", "ds"])
    return joined[joined["y"].notna()].reset_index(drop=True)


def score_versions(root: Path, dataset: str, frame: pd.DataFrame) -> list[LiveAccuracy]:
    """Live accuracy per version, oldest first."""
    issues = read_issues(root, dataset)
    if issues.empty:
        return []
    joined = join_actuals(issues, frame)
    scores = []
    for key, n_issues in issues.groupby("version")["issue"].nunique().items():
        version = int(str(key))
        rows = joined[joined["version"] == version]
        card = champion.find_card(root, dataset, version)
        scores.append(
            LiveAccuracy(
                version=version,
                issues=int(n_issues),
                scored=rows["cutoff"].nunique(),
                error=error_over_expected(rows, card) if card else None,
                skill=_skill(rows, card),
                coverage=_coverage(rows),
            )
        )
    return scores


def number_rows(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Of rows without dates (calendar `index`) their numbers as `cutoff` and `ds`: row n stands n
    minutes after 1970-01-01. Any other table as it is.
    """
    times = [name for name in ("cutoff", "ds") if name in table and kind == "index"]
    return table.assign(**{name: row_numbers(table[name]) for name in times})


def update_live_scores(root: Path, dataset: str, frame: pd.DataFrame, *, as_of: str) -> LiveScores:
    """The scores against `frame`, written down so that `status` need not read a snapshot."""
    path = ProjectPaths.of(root).live_forecasts(dataset)
    # before it is read: what is written or damaged later has another digest
    sha256 = files.sha256(path) if path.exists() else ""
    live = tuple(score_versions(root, dataset, frame))
    scores = LiveScores(as_of=as_of, live=live, issues_sha256=sha256)
    with hold_issues(root, dataset):
        scores.write(path.with_suffix(".json"))
    return scores


def error_over_expected(rows: pd.DataFrame, card: ChampionCard) -> float | None:
    """Mean over series of MAE / expected MAE at the same steps; the expected one grows with that of
    the last value. None where nothing was expected, NaN where a forecast is no number.

    rows: `series, step, y, y_hat, last`, the actuals known. Of the forecasts that were issued it is
    shown; of those made again for unseen rows it makes a retraining due.
    """
    ratios = []
    for series, series_rows in rows.groupby("series"):
        by_step = card.expected.get(str(series), [])
        known = series_rows[series_rows["step"] <= len(by_step)]
        expected = known["step"].map(dict(enumerate(by_step, 1)))
        if expected.notna().all() and expected.sum():
            error = (known["y"] - known["y_hat"]).abs().sum(skipna=False) / expected.sum()
            moved = known[known["last"].notna()]
            on_test = moved["step"].map(dict(enumerate(card.naive.get(str(series), []), 1))).sum()
            ratios.append(error / naive_growth((moved["y"] - moved["last"]).abs().sum(), on_test))
    return sum(ratios) / len(ratios) if ratios else None


def naive_growth(live: float, on_test: float) -> float:
    """How many times as much repeating the last value errs now as on the test block, at the same
    steps; 1 where it errs less, or made no error there.
    """
    return max(live / on_test, 1.0) if on_test > 0 else 1.0


def _skill(rows: pd.DataFrame, card: ChampionCard | None) -> float | None:
    """1 - MAE / MAE of the last value, at the same cutoffs and steps; None where no last value is
    known, or it made no error. Both are means over series, in units of what the last value errs on
    the test block: a mean of ratios would be that of one series that hardly moved.
    """
    model = naive = 0.0
    for series, known in rows[rows["last"].notna()].groupby("series"):
        unit = pd.Series(card.naive.get(str(series)) if card else None, dtype=float).sum()
        if unit > 0:
            naive += (known["y"] - known["last"]).abs().mean() / unit
            model += (known["y"] - known["y_hat"]).abs().mean() / unit
    return float(1 - model / naive) if naive > 0 else None


def _coverage(rows: pd.DataFrame) -> dict[str, float]:
    """By level in percent the share of known actuals inside the interval; a level that no row has
    is left out.
    """
    coverage = {}
    for low in rows.filter(regex="^lo_").columns:
        level = low.removeprefix("lo_")
        known = rows[rows[low].notna()]
        if len(known):
            coverage[level] = float(known["y"].between(known[low], known[f"hi_{level}"]).mean())
    return coverage
