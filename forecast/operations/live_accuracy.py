"""Stores issued forecasts and scores them once their actuals are known.

    .forecast/issued/
        <dataset>.parquet    the newest `KEPT_ISSUES` issues, as they were issued
        <dataset>.json       their scores against the newest data

An issue is the champion's forecast over its trained horizon, with those levels of
configs/evaluation.yaml that its calibration supports (`predicting._store_issue`) and with `last`,
the last observed value. The live error is the error of issued forecasts relative to the test error
at the same steps (`error_over_expected`).

All issues are scored again after every forecast (`predicting`) and every `forecast fetch`
(`cli.data`). `forecast status` shows the live error and calls the champion poor from `live_error`
of configs/retraining.yaml on; fewer than `status.MIN_SCORED_FORECASTS` scored forecasts count as
less. Whether a retraining is due is judged by forecasts that are made again
(`evidence.measure_live_error`), by the same limit. No hook is told.
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
"""How many of the newest issues of a dataset are kept: years of daily ones."""
TIMEOUT = 10.0
"""Seconds to wait for another process that writes issues."""


def store_issue(
    root: Path,
    current: Champion,
    table: pd.DataFrame,
    last: Mapping[str, float],
    *,
    now: pd.Timestamp,
) -> None:
    """Store an issue; one with the same cutoff and model as a stored one changes nothing.

    table: of `ensemble.forecast_latest` over the trained horizon. last: series → last observed
    value.
    """
    dataset = current.card.dataset
    issue = add_series_names(table)
    label = f"{table['cutoff'].max().isoformat()} {_model_label(current.version, current.card)}"
    last_values = issue["series"].map(dict(last))
    issue = issue.assign(
        last=last_values, version=current.version, issue=label, issued_at=now.floor("s")
    )
    with lock_issues(root, dataset):
        earlier = read_issues(root, dataset)
        if len(earlier) and (earlier["issue"] == label).any():
            return
        issues = pd.concat([earlier, issue], ignore_index=True) if len(earlier) else issue
        newest = issues["issue"].drop_duplicates().tail(KEPT_ISSUES)
        path = ProjectPaths.of(root).live_forecasts(dataset)
        files.write_frame(path, issues[issues["issue"].isin(newest)])


def _model_label(version: int, card: ChampionCard) -> str:
    """The version and when it was made: before a clone joined a server, it had versions of the same
    numbers.
    """
    return f"v{version} of {card.created_at}"


@contextmanager
def lock_issues(root: Path, dataset: str) -> Iterator[None]:
    """Hold the lock of the dataset's issued forecasts, and remove what a killed process left.

    Raises `BusyError` after `TIMEOUT` seconds.
    """
    paths = ProjectPaths.of(root)
    purpose = f"Keeping a forecast of {dataset!r}"
    with files.hold_lock(paths.lock(f"issued-{dataset}"), purpose=purpose, timeout=TIMEOUT):
        files.remove_leftovers(paths.live_forecasts(dataset).parent, f"{dataset}.")
        yield


def read_issues(root: Path, dataset: str) -> pd.DataFrame:
    """All stored issues, oldest first; empty where there are none.

    Raises `DamagedError` for a damaged file.
    """
    path = ProjectPaths.of(root).live_forecasts(dataset)
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:  # an Arrow error is a ValueError
        raise DamagedError(
            f"{path}: cannot be read ({one_line(error)}), so no forecast is kept or scored."
            " `forecast doctor --repair` moves it away: storing starts anew."
        ) from None


def join_actuals(issues: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `issues` whose actual is known in the prepared `frame`, with it as column `y`."""
    targets = [name for name in issues["output"].unique() if name in frame.columns]
    values = frame.set_index(["unique_id", "ds"])[targets].rename_axis(columns="output")
    actuals = pd.Series(values.stack(), name="y").reset_index()
    text = {"unique_id": object, "output": object}
    joined = issues.astype(text).merge(actuals.astype(text), on=["unique_id", "output", "ds"])
    return joined[joined["y"].notna()].reset_index(drop=True)


def score_versions(root: Path, dataset: str, frame: pd.DataFrame) -> list[LiveAccuracy]:
    """The live accuracy of each version, oldest first, without issues of another model that had its
    number here.
    """
    issues = read_issues(root, dataset)
    if issues.empty:
        return []
    joined = join_actuals(issues, frame)
    scores = []
    for key, issued in issues.groupby("version"):
        version = int(str(key))
        card = champion.find_card(root, dataset, version)
        if card:
            issued = issued[issued["issue"].str.endswith(_model_label(version, card))]
        rows = joined[joined["issue"].isin(issued["issue"])]
        scores.append(
            LiveAccuracy(
                version=version,
                issues=issued["issue"].nunique(),
                scored=rows["cutoff"].nunique(),
                error=error_over_expected(rows, card) if card else None,
                skill=_skill(rows, card),
                coverage=_coverage(rows),
            )
        )
    return scores


def times_to_row_numbers(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The table with row numbers for the times in `cutoff` and `ds`, where rows have no dates
    (calendar kind `index`): there row n has the time n minutes after 1970-01-01.
    """
    times = [name for name in ("cutoff", "ds") if name in table and kind == "index"]
    return table.assign(**{name: row_numbers(table[name]) for name in times})


def update_live_scores(root: Path, dataset: str, frame: pd.DataFrame) -> LiveScores:
    """Score all issues against `frame` and save the scores, which `status` reads."""
    path = ProjectPaths.of(root).live_forecasts(dataset)
    # computed before the file is read, so that a later change of the file is noticed
    sha256 = files.sha256(path) if path.exists() else ""
    live = tuple(score_versions(root, dataset, frame))
    scores = LiveScores(live=live, issues_sha256=sha256)
    with lock_issues(root, dataset):
        scores.write(path.with_suffix(".json"))
    return scores


def error_over_expected(rows: pd.DataFrame, card: ChampionCard) -> float | None:
    """Mean over series of MAE / expected MAE at the same steps; 1 means as on the test block.

    The expected MAE is the test MAE times `naive_growth`: in a season in which repeating the last
    value errs more, a larger error is expected too. None where no series has a test MAE, NaN where
    a forecast is not a number. rows: columns series, step, y, y_hat, last; actuals are known.
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
    """The error of repeating the last value, relative to its error on the test block at the same
    steps; at least 1, and 1 where it made no error on the test block.
    """
    return max(live / on_test, 1.0) if on_test > 0 else 1.0


def _skill(rows: pd.DataFrame, card: ChampionCard | None) -> float | None:
    """1 - MAE / MAE of the last value at the same cutoffs and steps; None where no last value is
    known, it made no error, or its error on the test block is not in `card`.

    Each series' MAE is divided by the last value's error on the test block, and both are averaged
    over series before they are compared: one series that hardly moved must not decide the ratio.
    """
    model = naive = 0.0
    for series, known in rows[rows["last"].notna()].groupby("series"):
        unit = pd.Series(card.naive.get(str(series)) if card else None, dtype=float).sum()
        if unit > 0:
            naive += (known["y"] - known["last"]).abs().mean() / unit
            model += (known["y"] - known["y_hat"]).abs().mean() / unit
    return float(1 - model / naive) if naive > 0 else None


def _coverage(rows: pd.DataFrame) -> dict[str, float]:
    """Level in percent → share of actuals inside the interval; only levels that some row has."""
    coverage = {}
    for low in rows.filter(regex="^lo_").columns:
        level = low.removeprefix("lo_")
        known = rows[rows[low].notna()]
        if len(known):
            coverage[level] = float(known["y"].between(known[low], known[f"hi_{level}"]).mean())
    return coverage
