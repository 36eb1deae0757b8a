"""From a stored snapshot to the frame that the pipeline works on.

Stage `prepare`, `forecast check`, `forecast predict` and a fetch come this way. In this order:

1. `read_snapshot` reads the stored rows; `check_raw` checks what a source gave.
2. `add_looked_up`: columns of other datasets, what is known ahead spread over the horizon, and the
   provider's forecasts.
3. `prepare`: prices adjusted, rows of a plan alone cut off, computed columns derived; then
   `check_prepared` checks calendar and missing shares.
4. `prepare_frame`, before training alone: step 3, then the lengths of the blocks and the
   transforms are checked. `prepare_dataset` is the stage, which stores what it gives.

A column that lacks more than its `max_missing` is refused with the line that would allow it; where
that is so of at most 1 % of the series, those are left out instead, and named. Nothing is filled
in.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from forecast.config.datasets import Column, Dataset, FutureColumn, load_dataset
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.data import quality, snapshots, sources, vintages
from forecast.data.calendars import (
    check_calendar,
    format_times,
    known_from,
    series_lengths,
)
from forecast.data.columns import (
    add_joined,
    add_known_ahead,
    adjust_prices,
    append_plan,
    derive_and_select,
    measured_columns,
    require_columns,
    trim_to_observed,
)
from forecast.data.hierarchy import add_sums
from forecast.data.panel import from_frame
from forecast.data.quality import QualityFile, Violation
from forecast.data.records import SnapshotRecord
from forecast.data.scaling import check_transforms
from forecast.data.schema import KEY_COLUMNS, MAPPING_HINT, check_frame
from forecast.data.sources import RawFrame, Request
from forecast.data.sources.file import read_plan
from forecast.data.splits import Borders, borders_of
from forecast.data.windows import find_hole_of_plan
from forecast.system import files
from forecast.system.errors import DataError, ForecastError, InputError, quote_names

MAX_LEFT_OUT_SHARE = 0.01
"""Of the series: so many may lack more than they may, and the others go on without them."""


NOTHING_PLANNED = (
    "known ahead, but without a value after the last row. If the past values were measured (as"
    " rain is) and not planned, all errors assume a perfect forecast of them: then give the"
    " forecasts of then, with their times of issue (`issued_path`, `issued: true`; docs/data.md),"
    " or take them as `past_exogenous`."
)


@dataclass(frozen=True)
class PreparedDataset:
    """What stage `prepare` makes of a raw frame; `frame` has all of `Task.frame_names`, the
    steps of the future ones too.
    """

    frame: pd.DataFrame
    """`unique_id, ds, *Dataset.columns`, every series in order of time."""
    served: pd.DataFrame
    """The same with the series that lack a block, which a fit on all rows takes."""
    borders: Borders
    findings: list[Violation]
    """Series left out of the frame, and what the rules for suspicious values found."""
    quality: QualityFile
    """The content of quality.json: the findings, and by series its rows and missing values."""

    @property
    def tuning_frame(self) -> pd.DataFrame:
        """The rows that tuning may see: up to the end of each series' validation block."""
        return rows_until(self.frame, self.borders, "validation_end")


def rows_until(frame: pd.DataFrame, borders: Borders, end: str) -> pd.DataFrame:
    """The rows of a long frame up to each series' `end`, a field of `Borders`."""
    series = frame["unique_id"]
    ends = {name: getattr(borders.of_series(name), end) for name in series.unique()}
    return frame[frame["ds"] <= series.map(ends)]


def prepare_dataset(paths: ProjectPaths, dataset: str) -> None:
    """Stage `prepare`: frame.parquet, tuning.parquet (rows up to validation_end); borders, task,
    quality as JSON; issued.parquet as stage `fetch` left it.
    """
    settings = load_dataset(dataset, paths.configs)
    prepared = prepare_frame(files.read_frame(paths.raw(dataset)), dataset, settings)
    if left_out := quality.describe_left_out(prepared.findings):
        print(f"prepare {dataset}: {left_out}", flush=True)
    with files.atomic_directory(paths.prepared(dataset)) as folder:
        files.write_frame(folder / "frame.parquet", prepared.frame)
        files.write_frame(folder / "tuning.parquet", prepared.tuning_frame)
        files.write_json(folder / "borders.json", prepared.borders.to_json())
        files.write_json(folder / "task.json", settings.task.model_dump(mode="json"))
        files.write_json(folder / "quality.json", prepared.quality)
        shutil.copyfile(paths.raw_vintages(dataset), folder / "issued.parquet")


def prepare_frame(raw: pd.DataFrame, dataset: str, settings: Dataset) -> PreparedDataset:
    """Check a raw frame against the dataset's rules and split its time axis.

    A series that lacks a block is left out of the frame and named by a finding. Raises `InputError`
    for data that break a rule, and where every series is too short.
    """
    rows = adjusted_observations(raw, settings)
    # As of its own last row: how fresh the data are is for `forecast fetch` and `forecast data` to
    # tell.
    as_of = known_from(settings.calendar, [rows["ds"].max()])[0]
    violations = quality.find_violations(rows, settings, as_of=as_of)
    frame, left_out = prepare(raw, settings, where=f"data/raw/{dataset}.parquet")
    del raw, rows  # they may be large
    borders, too_short = borders_of(frame, dataset, settings)
    findings = left_out + violations + too_short
    unfitted = [finding for finding in too_short if finding.action == "left out"]
    served = without_series(frame, unfitted)
    check_transforms(served, settings.task)
    frame = without_series(served, too_short)
    described = quality.describe(frame, settings)
    described["findings"] = [asdict(finding) for finding in findings]
    return PreparedDataset(frame, served, borders, findings, described)


def take_snapshot(
    name: str, dataset: Dataset, *, root: Path, as_of: pd.Timestamp | None = None
) -> snapshots.Pointer:
    """Read a source that needs no network, check what it gave, store it; the pointer is not
    moved.
    """
    raw = sources.read(Request(name=name, dataset=dataset, root=root, as_of=as_of))
    frame, known_forecasts = check_raw(raw, dataset), vintages.merge_vintages(None, raw.vintages)
    whole = add_looked_up(frame, dataset, known_forecasts, root=root, where=raw.where)
    prepare(whole, dataset, where=raw.where)
    record: SnapshotRecord = {
        "licence": dataset.licence.model_dump(),
        **raw.provenance,
        **last_observation(frame, dataset),
    }
    pointer = snapshots.write_snapshot(root, name, frame, as_of=raw.as_of, provenance=record)
    return replace(pointer, **vintages.write_vintages(root, name, known_forecasts, as_of=raw.as_of))


def last_observation(frame: pd.DataFrame, dataset: Dataset) -> SnapshotRecord:
    """The last observation, for a snapshot's record, and when it became known, whose age `forecast
    status` shows.
    """
    last = trim_to_observed(frame, dataset)["ds"].max()
    return {"last": last.isoformat(), "known": known_from(dataset.calendar, [last])[0].isoformat()}


def read_snapshot(name: str, dataset: Dataset, *, root: Path) -> pd.DataFrame:
    """The pointed snapshot, verified.

    An absent one is made again where that needs no network, and must be equal: else `DataError`.
    """
    pointer = snapshots.read_pointer(root, name)
    if (
        not snapshots.path_in_store(root, pointer.snapshot).exists()
        and not dataset.source.is_remote
    ):
        remade = take_snapshot(name, dataset, root=root, as_of=pd.Timestamp(pointer.as_of))
        if remade.sha256 != pointer.sha256:
            raise DataError(
                f"Dataset {name!r}: {dataset.source.origin} now gives content sha256"
                f" {remade.sha256[:12]}…, wanted {pointer.sha256[:12]}…"
                f" (data/pointers/{name}.json). Results would not be comparable; to accept it:"
                f" `forecast fetch {name}`."
            )
    _require_same_groups(name, dataset, root)
    frame = snapshots.read_pointed(root, name)
    return check_frame(
        frame, frame.columns.drop(list(KEY_COLUMNS)), where=pointer.snapshot, error=DataError
    )


def _require_same_groups(name: str, dataset: Dataset, root: Path) -> None:
    """`InputError` where the series of the snapshot were named by other groups than the entry's.

    A snapshot that the audit planted has no parameters.
    """
    parameters = snapshots.read_provenance(root, name).get("parameters", {})
    groups = parameters.get("hierarchy")
    if groups not in (None, list(dataset.hierarchy)):
        raise InputError(
            f"Dataset {name!r}: `hierarchy` is {list(dataset.hierarchy)}, its snapshot was taken"
            f" with {groups}. Run `forecast fetch {name}`."
        )


def add_looked_up(
    frame: pd.DataFrame, dataset: Dataset, known_forecasts: pd.DataFrame, *, root: Path, where: str
) -> pd.DataFrame:
    """A raw frame with the columns that come from other datasets, from what is known ahead and from
    `known_forecasts`, the provider's.
    """
    frame = add_known_ahead(add_joined(frame, dataset, root=root, where=where), dataset)
    return vintages.add_issued(frame, dataset, known_forecasts)


def prepare(
    raw: pd.DataFrame, dataset: Dataset, *, where: str, error: type[ForecastError] = InputError
) -> tuple[pd.DataFrame, list[Violation]]:
    """`unique_id, ds` and `Task.frame_names` of a raw frame that `add_looked_up` has been
    over, checked against the dataset's rules, with the sums of its hierarchy; the series that were
    left out of it, with the reason, and the holes of plans.
    """
    frame = derive_and_select(adjusted_observations(raw, dataset), dataset, where=where)
    unobserved = _find_unobserved(raw["unique_id"], frame, dataset.task)
    frame = without_series(frame, unobserved)
    incomplete = check_prepared(frame, dataset, where=where, error=error)
    frame = without_series(frame, incomplete)
    findings = [*unobserved, *incomplete, *_find_holes_of_plans(frame, dataset)]
    return add_sums(frame, dataset.task), findings


def _find_holes_of_plans(frame: pd.DataFrame, dataset: Dataset) -> Iterator[Violation]:
    """Series whose plan misses a step of the horizon, for which a forecast is refused.

    A series of whose horizon nothing is planned is left alone: its plan comes with each forecast,
    or it has ended.
    """
    task = dataset.task
    steps = [step.frame_name for step in task.future_steps if step.name in dataset.known_ahead]
    last_rows = frame[~frame["unique_id"].duplicated(keep="last")]
    last_rows = last_rows[last_rows[steps].notna().any(axis=1)]
    if last_rows.empty:
        return
    for series in from_frame(last_rows, "plans", task).series:
        if hole := find_hole_of_plan(task, series):
            yield Violation("plan", series.unique_id, "", 1, hole[1])


def find_unplanned(frame: pd.DataFrame, dataset: Dataset) -> list[Violation]:
    """The inputs known ahead of which nothing is planned in a prepared frame, as of what was
    measured, as one finding; none where all have a plan.
    """
    last_rows = frame[~frame["unique_id"].duplicated(keep="last")]
    planned = {
        step.name
        for step in dataset.task.future_steps
        if step.name in dataset.known_ahead and last_rows[step.frame_name].notna().any()
    }
    unplanned = [name for name in dataset.known_ahead if name not in planned]
    if not unplanned:
        return []
    sentence = f"{quote_names(unplanned)}: {NOTHING_PLANNED}"
    return [Violation("perfect_plan", "", "", len(unplanned), sentence)]


def _find_unobserved(series: pd.Series, frame: pd.DataFrame, task: Task) -> list[Violation]:
    """Which of the `series` have no value of a target in `frame`; none where all are so."""
    counts = frame.groupby("unique_id")[task.targets].count()
    counts = counts.reindex(series.unique(), fill_value=0)
    empty = counts[counts.min(axis=1) == 0].idxmin(axis=1)
    if len(empty) == len(counts):
        return []
    return [
        Violation("missing", str(name), str(target), 0, f"has no value of {target!r}", "left out")
        for name, target in empty.items()
    ]


def without_series(frame: pd.DataFrame, left_out: list[Violation]) -> pd.DataFrame:
    """The rows of the series that are not left out."""
    if not left_out:
        return frame.reset_index(drop=True)  # shares the columns; a selection would copy them
    is_left_out = frame["unique_id"].isin([violation.series for violation in left_out])
    return frame[~is_left_out].reset_index(drop=True)


def adjusted_observations(raw: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """All columns of a raw frame, splits and dividends applied as the dataset says, without rows of
    a plan alone.
    """
    return trim_to_observed(adjust_prices(raw, dataset.source.adjustment), dataset)


def check_data(
    name: str,
    dataset: Dataset,
    *,
    root: Path,
    plan: Path | None = None,
    files_may_differ: bool = False,
    as_of: pd.Timestamp | None = None,
) -> tuple[pd.DataFrame, list[Violation]]:
    """The prepared frame of one dataset and the series left out of it, with every check that
    `forecast check` names: pointer, snapshot, schema, calendar, missing shares.

    `plan`: a file whose rows stand after the last observations instead of what the snapshot has
    there. `files_may_differ`: the stored snapshot serves although the file it was taken from has
    changed; otherwise that is an `InputError`. `as_of`: what the rules for suspicious values find
    as of then stands after the series left out; None: they are not asked.
    """
    changed = describe_changed_files(name, dataset, root)
    if changed and not files_may_differ:
        raise InputError(
            f"{changed} Run `forecast fetch {name}` to take the new data, or restore the file."
        )
    raw = read_snapshot(name, dataset, root=root)
    where = snapshots.read_pointer(root, name).snapshot
    findings: list[Violation] = []
    if as_of is not None:
        observations = adjusted_observations(raw, dataset)
        findings = quality.find_violations(observations, dataset, as_of=as_of)
    mend = (
        f"If the entry asks for it only since the last fetch, run `forecast fetch {name}`."
        f" Otherwise: {MAPPING_HINT}"
    )
    require_columns(raw.columns, dataset, where=where, mend=mend)
    if plan is not None:
        rows = read_plan(plan, dataset, raw["unique_id"].unique())
        raw = append_plan(raw, rows, measured_columns(raw, dataset))
        check_calendar(raw, dataset.calendar, where=str(plan))
    known_forecasts = vintages.read_vintages(root, name)
    whole = add_looked_up(raw, dataset, known_forecasts, root=root, where=where)
    frame, left_out = prepare(whole, dataset, where=where)
    return frame, left_out + findings


def check_raw(raw: RawFrame, dataset: Dataset) -> pd.DataFrame:
    """Structure, then calendar: a fault (`Source.fault`) names the row of the origin."""
    error = dataset.source.fault
    names = raw.frame.columns.drop(list(KEY_COLUMNS), errors="ignore")
    require_columns(names, dataset, where=raw.where)
    frame = check_frame(raw.frame, names, where=raw.where, error=error)
    times = raw.frame.assign(ds=raw.frame["ds"].astype("datetime64[ns]"))
    check_calendar(times, dataset.calendar, where=raw.where, error=error)
    return frame


def check_prepared(
    frame: pd.DataFrame, dataset: Dataset, *, where: str, error: type[ForecastError] = InputError
) -> list[Violation]:
    """Raises `error` for a time off the calendar and for a column with more missing steps than it
    allows.

    Where that is true of at most `MAX_LEFT_OUT_SHARE` of the series they are left out instead, and
    returned by name.
    """
    check_calendar(frame, dataset.calendar, where=where, error=error)
    lengths = series_lengths(frame, dataset.calendar)
    groups = frame.groupby("unique_id", sort=True)
    counts = groups.count()
    # what is known ahead may have any gap of the past; of the horizon `require_rows` tells
    entries: dict[str, Column | FutureColumn] = {c.column: c for c in dataset.columns}
    for column in dataset.issued:
        entries |= {step.frame_name: column for step in column.as_input(dataset.horizon).columns}
    findings = []
    shares = []
    for name, entry in entries.items():
        missing = lengths - counts[name]
        for unique_id in lengths.index[missing > entry.max_missing * lengths]:
            count, steps = int(missing[unique_id]), int(lengths[unique_id])
            share = count / steps
            edges = groups["ds"].get_group(unique_id).iloc[[0, -1]]  # a mistyped year is one
            sentence = (
                f"misses {count} of {steps} steps ({share:.2%}), wanted at most"
                f" {entry.max_missing:.2%}; first and last row:"
                f" {format_times(edges, dataset.calendar)}."
            )
            findings.append(Violation("missing", str(unique_id), name, count, sentence, "left out"))
            shares.append(share)
    if len({finding.series for finding in findings}) > MAX_LEFT_OUT_SHARE * len(lengths):
        columns = [entries[finding.column].column for finding in findings]
        raise error(_describe_missing(where, findings, shares, columns))
    return findings


def find_short_series(frame: pd.DataFrame, name: str, dataset: Dataset) -> list[Violation]:
    """The series of a prepared frame that lack a block and will not be scored; where no run is
    possible, a warning why not.
    """
    try:
        return borders_of(frame, name, dataset)[1]
    except InputError as fault:
        return [Violation("length", "", "", len(frame), str(fault))]


def describe_changed_files(name: str, dataset: Dataset, root: Path) -> str:
    """A sentence on the first of the dataset's files that was edited after its snapshot was taken,
    which results then leave out in silence; empty where there is none.
    """
    recorded = snapshots.read_provenance(root, name).get("file_sha256", "")
    changed = files.find_changed(root, dataset.source.files, recorded.split())
    if changed is None:
        return ""
    return f"{changed}: changed since its snapshot was taken; the pipeline still sees the old one."


def _describe_missing(
    where: str, findings: list[Violation], shares: list[float], columns: list[str]
) -> str:
    """Every column that lacks too much: its worst series, and the line that would allow it.

    shares, columns: of each finding how much is missing, and the column as the entry names it.
    """
    faults = []
    lines = []
    for name, place in pd.Series(shares).groupby(columns, sort=False).idxmax().items():
        worst = findings[place]
        faults.append(f"series {worst.series!r}: column {worst.column!r} {worst.sentence[:-1]}")
        allowed = math.ceil(100 * shares[place]) / 100
        if allowed < 1:
            lines.append(f"{{column: {name}, max_missing: {allowed:g}}}")
    start = f"{where}, {'; '.join(faults)}. Complete the data, start later, or"
    if not lines:
        return f"{start} take the column out in configs/datasets.yaml."
    return (
        f"{start} raise `max_missing` in configs/datasets.yaml, beside what else is set:"
        f" {', '.join(lines)}."
    )
