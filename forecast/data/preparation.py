"""From a stored snapshot to the frame that the pipeline works on, for stage `prepare`, `forecast
check`, `forecast predict` and a fetch. The steps, in order:

1. `read_snapshot` reads the stored rows; `check_raw` checks the rows of a source.
2. `add_looked_up` adds columns of other datasets, the steps of what is known ahead, and the
   provider's forecasts.
3. `prepare` adjusts prices, cuts off rows with plans alone and computes columns; `check_prepared`
   then checks calendar and missing shares.
4. `prepare_frame`, before training, also finds the blocks and checks the transforms.
   `prepare_dataset` is the stage, which writes the result.

A column that misses more than its `max_missing` is refused, with the line that would allow it.
Where that concerns at most 1 % of the series, these are left out instead and named. Series
without any value of a target are left out and named the same way, however many, unless all are.
No value is filled in.
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
    count_steps_by_series,
    format_times,
    known_from,
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
"""The share of the series that may be left out for missing values; beyond it the data are
refused.
"""


NOTHING_PLANNED = (
    "known ahead, but without a value after the last row. If the past values were measured (as"
    " rain is) and not planned, all errors assume a perfect forecast of them: then give the"
    " forecasts of then, with their times of issue (`issued_path`, `issued: true`; docs/data.md),"
    " or take them as `past_exogenous`."
)


@dataclass(frozen=True)
class PreparedDataset:
    """The result of stage `prepare`; its frames have all columns of `Task.frame_names`."""

    frame: pd.DataFrame
    """The scored series: `unique_id, ds` and columns, each series in order of time."""
    served: pd.DataFrame
    """Also the series that lack a block, which a fit on all rows includes; without those shorter
    than a lookback and a horizon.
    """
    borders: Borders
    findings: list[Violation]
    """Series that are left out or not scored, and findings of the data checks."""
    quality: QualityFile
    """The content of quality.json: the findings, and by series its rows and missing values."""

    @property
    def tuning_frame(self) -> pd.DataFrame:
        """The rows that tuning may see: up to the end of each series' validation block."""
        return rows_until(self.frame, self.borders, "validation_end")


def rows_until(frame: pd.DataFrame, borders: Borders, end: str) -> pd.DataFrame:
    """The rows of a long frame up to each series' `end`, which is a field of `Borders`."""
    series = frame["unique_id"]
    ends = {name: getattr(borders.of_series(name), end) for name in series.unique()}
    return frame[frame["ds"] <= series.map(ends)]


def prepare_dataset(paths: ProjectPaths, dataset: str) -> None:
    """Stage `prepare`: writes frame.parquet, tuning.parquet (rows up to the end of validation),
    borders, task and quality as JSON, and a copy of the provider's forecasts of stage `fetch`,
    issued.parquet.
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
    """Prepare a raw frame and find its blocks.

    A series that lacks a block is not in the result's `frame` and has a finding. `InputError` for
    data that break a rule, and where every series is too short.
    """
    rows = adjusted_observations(raw, settings)
    # as of the last row: `forecast fetch` and `forecast data` report how fresh the data are
    as_of = known_from(settings.calendar, [rows["ds"].max()])[0]
    violations = quality.find_violations(rows, settings, as_of=as_of)
    frame, left_out = prepare(raw, settings, where=f"data/raw/{dataset}.parquet")
    del raw, rows  # to free their memory
    borders, too_short = borders_of(frame, dataset, settings)
    findings = left_out + violations + too_short
    unfitted = [finding for finding in too_short if finding.action == "left out"]
    served = without_series(frame, unfitted)
    check_transforms(served, settings.task)
    frame = without_series(served, too_short)
    described = quality.summarise(frame, settings)
    described["findings"] = [asdict(finding) for finding in findings]
    return PreparedDataset(frame, served, borders, findings, described)


def take_snapshot(
    name: str, dataset: Dataset, *, root: Path, as_of: pd.Timestamp | None = None
) -> snapshots.Pointer:
    """Read a source without network, check its rows and store them as a snapshot; the pointer is
    not moved.
    """
    raw = sources.read(Request(name=name, dataset=dataset, root=root, as_of=as_of))
    frame, known_forecasts = check_raw(raw, dataset), vintages.merge_vintages(None, raw.vintages)
    with_lookups = add_looked_up(frame, dataset, known_forecasts, root=root, where=raw.where)
    prepare(with_lookups, dataset, where=raw.where)
    record: SnapshotRecord = {
        "licence": dataset.licence.model_dump(),
        **raw.provenance,
        **last_observation(frame, dataset),
    }
    pointer = snapshots.write_snapshot(root, name, frame, as_of=raw.as_of, provenance=record)
    return replace(pointer, **vintages.write_vintages(root, name, known_forecasts, as_of=raw.as_of))


def last_observation(frame: pd.DataFrame, dataset: Dataset) -> SnapshotRecord:
    """The time of the last observation and when it became known, for the snapshot's record;
    `forecast status` shows its age.
    """
    last = trim_to_observed(frame, dataset)["ds"].max()
    return {"last": last.isoformat(), "known": known_from(dataset.calendar, [last])[0].isoformat()}


def read_snapshot(name: str, dataset: Dataset, *, root: Path) -> pd.DataFrame:
    """The pointed snapshot, verified. Where its file is missing and the source needs no network, it
    is made again; `DataError` where its content is then another. `InputError` where it was taken
    with another `hierarchy`.
    """
    pointer = snapshots.read_pointer(root, name)
    if (
        not snapshots.path_in_store(root, pointer.snapshot).exists()
        and not dataset.source.is_remote
    ):
        remade = take_snapshot(name, dataset, root=root, as_of=pd.Timestamp(pointer.as_of))
        if remade.sha256 != pointer.sha256:
            raise DataError(
                f"Dataset {name!r}: {dataset.source.described_as} now gives content sha256"
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
    """`InputError` where the snapshot was taken with another `hierarchy` than the entry has now. A
    snapshot that the audit made has no parameters.
    """
    groups = snapshots.read_provenance(root, name).get("parameters", {}).get("hierarchy")
    if groups not in (None, list(dataset.hierarchy)):
        raise InputError(
            f"Dataset {name!r}: `hierarchy` is {list(dataset.hierarchy)}, its snapshot was taken"
            f" with {groups}. Run `forecast fetch {name}`."
        )


def add_looked_up(
    frame: pd.DataFrame, dataset: Dataset, known_forecasts: pd.DataFrame, *, root: Path, where: str
) -> pd.DataFrame:
    """A raw frame with the columns of other datasets, the steps of what is known ahead, and the
    provider's forecasts (`known_forecasts`, a table of vintages).
    """
    frame = add_known_ahead(add_joined(frame, dataset, root=root, where=where), dataset)
    return vintages.add_issued(frame, dataset, known_forecasts)


def prepare(
    raw: pd.DataFrame, dataset: Dataset, *, where: str, error: type[ForecastError] = InputError
) -> tuple[pd.DataFrame, list[Violation]]:
    """The prepared frame, and findings: series that were left out with the reason, and missing
    values of plans. `raw` has the columns of `add_looked_up`. The frame has `unique_id, ds`,
    `Task.frame_names` and the sums of a hierarchy. Raises `error` for data that break a rule.
    """
    frame = derive_and_select(adjusted_observations(raw, dataset), dataset, where=where)
    unobserved = _find_unobserved(raw["unique_id"], frame, dataset.task)
    frame = without_series(frame, unobserved)
    incomplete = check_prepared(frame, dataset, where=where, error=error)
    frame = without_series(frame, incomplete)
    findings = [*unobserved, *incomplete, *_find_holes_of_plans(frame, dataset)]
    return add_sums(frame, dataset.task), findings


def _find_holes_of_plans(frame: pd.DataFrame, dataset: Dataset) -> Iterator[Violation]:
    """A finding for each series whose plan misses a step of the horizon, so that no forecast is
    possible. A series without any plan has none: its plan comes with the forecast, or the series
    has ended.
    """
    task = dataset.task
    steps = [step.frame_name for step in task.future_steps if step.name in dataset.known_ahead]
    last_rows = frame.groupby("unique_id").tail(1)
    last_rows = last_rows[last_rows[steps].notna().any(axis=1)]
    if last_rows.empty:
        return
    for series in from_frame(last_rows, "plans", task).series:
        if hole := find_hole_of_plan(task, series):
            yield Violation("plan", series.unique_id, "", 1, hole[1])


def find_unplanned(frame: pd.DataFrame, dataset: Dataset) -> list[Violation]:
    """One finding for all inputs known ahead that have no planned value in a prepared frame, as if
    they had been measured; empty where all have one.
    """
    last_rows = frame.groupby("unique_id").tail(1)
    planned = {
        step.name for step in dataset.task.future_steps if last_rows[step.frame_name].notna().any()
    }
    unplanned = [name for name in dataset.known_ahead if name not in planned]
    if not unplanned:
        return []
    sentence = f"{quote_names(unplanned)}: {NOTHING_PLANNED}"
    return [Violation("perfect_plan", "", "", len(unplanned), sentence)]


def _find_unobserved(series: pd.Series, frame: pd.DataFrame, task: Task) -> list[Violation]:
    """A finding for each of the `series` that lacks all values of some target in `frame`, about the
    first such target; none where that would leave out every series.
    """
    counts = frame.groupby("unique_id")[task.targets].count().reindex(series.unique(), fill_value=0)
    empty = counts[counts.min(axis=1) == 0].idxmin(axis=1)
    if len(empty) == len(counts):
        return []
    return [
        Violation("missing", str(name), str(target), 0, f"has no value of {target!r}", "left out")
        for name, target in empty.items()
    ]


def without_series(frame: pd.DataFrame, left_out: list[Violation]) -> pd.DataFrame:
    """The rows of the series that the findings do not name."""
    if not left_out:
        return frame.reset_index(drop=True)  # shares the columns, which a selection would copy
    is_left_out = frame["unique_id"].isin([violation.series for violation in left_out])
    return frame[~is_left_out].reset_index(drop=True)


def adjusted_observations(raw: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """All columns of a raw frame with adjusted prices, without rows that hold plans alone."""
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
    """The prepared frame of one dataset and findings, after all checks of `forecast check`:
    pointer, snapshot, schema, calendar, missing shares.

    plan: a file whose rows replace those after the last observations. files_may_differ: use the
    stored snapshot although its file has changed since; else that is an `InputError`. as_of: apply
    the rules for suspicious values as of this time, too; None: do not.
    """
    if not files_may_differ and (changed := describe_changed_files(name, dataset, root)):
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
        # before they are joined, which numbers the rows anew
        check_calendar(pd.concat([raw, rows]), dataset.calendar, where=str(plan))
        observed = measured_columns(raw, dataset)
        raw = append_plan(raw, rows, observed, dataset.horizon, dataset.calendar, where=str(plan))
    known_forecasts = vintages.read_vintages(root, name)
    with_lookups = add_looked_up(raw, dataset, known_forecasts, root=root, where=where)
    frame, left_out = prepare(with_lookups, dataset, where=where)
    return frame, left_out + findings


def check_raw(raw: RawFrame, dataset: Dataset) -> pd.DataFrame:
    """The checked rows of a source: columns and types, then the calendar. Raises
    `Source.error_class` with the row of the file or answer.
    """
    error = dataset.source.error_class
    names = raw.frame.columns.drop(list(KEY_COLUMNS), errors="ignore")
    require_columns(names, dataset, where=raw.where)
    frame = check_frame(raw.frame, names, where=raw.where, error=error)
    times = raw.frame.assign(ds=raw.frame["ds"].astype("datetime64[ns]"))
    check_calendar(times, dataset.calendar, where=raw.where, error=error)
    return frame


def check_prepared(
    frame: pd.DataFrame, dataset: Dataset, *, where: str, error: type[ForecastError] = InputError
) -> list[Violation]:
    """Findings for columns that miss more than their `max_missing`, whose series are to be left
    out. Raises `error` where these are more than `MAX_LEFT_OUT_SHARE` of the series, and for a time
    that is not in the calendar.
    """
    check_calendar(frame, dataset.calendar, where=where, error=error)
    lengths = count_steps_by_series(frame, dataset.calendar)
    groups = frame.groupby("unique_id", sort=True)
    counts = groups.count()
    # plans may have any gaps in the past; `require_rows` checks them in the horizon
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
            edges = groups["ds"].get_group(unique_id).iloc[[0, -1]]  # a mistyped year shows there
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
    """A finding for each series that lacks a block and is not scored; where none can be scored, one
    with the reason.
    """
    try:
        return borders_of(frame, name, dataset)[1]
    except InputError as fault:
        return [Violation("length", "", "", len(frame), str(fault))]


def describe_changed_files(
    name: str, dataset: Dataset, root: Path, *, checkout: Path | None = None
) -> str:
    """A sentence about the first file of the dataset that was edited after its snapshot was taken;
    empty where there is none.

    checkout: where the files are, if not below `root`, which has the snapshot.
    """
    recorded = snapshots.read_provenance(root, name).get("file_sha256", "")
    changed = files.find_changed(checkout or root, dataset.source.files, recorded.split())
    if changed is None:
        return ""
    return f"{changed}: changed since its snapshot was taken; the pipeline still sees the old one."


def _describe_missing(
    where: str, findings: list[Violation], shares: list[float], columns: list[str]
) -> str:
    """The message about columns that miss too much: the worst series of each, and the line of the
    entry that would allow it.

    shares, columns: for each finding, the missing share and the column's name in the entry.
    """
    faults = []
    lines = []
    hopeless = []
    for name, number in pd.Series(shares).groupby(columns, sort=False).idxmax().items():
        worst = findings[number]
        faults.append(f"series {worst.series!r}: column {worst.column!r} {worst.sentence[:-1]}")
        allowed = math.ceil(100 * shares[number]) / 100
        if allowed < 1:
            lines.append(f"{{column: {name}, max_missing: {allowed:g}}}")
        else:
            hopeless.append(str(name))
    start = f"{where}, {'; '.join(faults)}. Complete the data, start later, or"
    if not lines:
        return f"{start} take the column out in configs/datasets.yaml."
    rest = f"; take {quote_names(hopeless)} out" if hopeless else ""
    return (
        f"{start} raise `max_missing` in configs/datasets.yaml, beside what else is set:"
        f" {', '.join(lines)}{rest}."
    )
