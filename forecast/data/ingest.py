"""`forecast fetch` and `forecast data`: take new rows from a source, and summarize what is stored.

`fetch_snapshot` asks the source for new rows and an overlap, compares the overlap with the stored
history, checks the result, stores a snapshot, and only then moves the pointer, which an error
before leaves as it was. Where the source can be asked for single series (`Source.narrowed_to`), one
with revised values is read again whole. A fault of a service is a
`DataError`, one of the user's file or entry an `InputError`. `summarize` describes a dataset's
stored data in one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.config.task import format_time
from forecast.data import preparation, quality, snapshots, sources, vintages
from forecast.data.calendars import known_from
from forecast.data.columns import add_joined, add_known_ahead, trim_to_observed
from forecast.data.quality import Violation
from forecast.data.quality.checks import PARTIAL_ADVICE, list_lost_series
from forecast.data.records import SnapshotRecord
from forecast.data.scaling import check_transforms
from forecast.data.snapshots import NO_REVISIONS, find_revisions, merge_history
from forecast.data.sources import RawFrame, Request
from forecast.system import files
from forecast.system.errors import DataError, ForecastError, InputError, hours_or_days

MAX_FINDINGS_STORED = 50
SHORT_STEP = pd.Timedelta(12, "h")
"""Values of shorter steps are measurements rather than sums, so the newest step need not be
over.
"""


@dataclass(frozen=True)
class FetchResult:
    """The result of a fetch. rows_before: the rows stored before it, 0 at the first fetch; for a
    restored snapshot, its own rows. revised: the table of `snapshots.find_revisions`. failed: the
    reason for each series that the source could not give or no longer has. is_restored: a stored
    snapshot of exactly this time was used, and no source was asked. is_unchanged: the rows are the
    same as before. new_observations: the number of new rows up to the last observation, including
    rows of a plan that now have values.
    """

    pointer: snapshots.Pointer
    rows_before: int
    rows: int
    revised: pd.DataFrame
    failed: dict[str, str] = field(default_factory=dict)
    findings: list[Violation] = field(default_factory=list)
    is_restored: bool = False
    is_unchanged: bool = False
    new_observations: int = 0


@dataclass(frozen=True)
class StoredHistory:
    """The pointed snapshot before a fetch.

    provisional_from: rows from this time on may change; None: none may. can_be_continued: whether
    the source is asked for new rows alone; else it is asked for everything.
    """

    frame: pd.DataFrame
    pointer: snapshots.Pointer
    provisional_from: pd.Timestamp | None
    can_be_continued: bool


def fetch_snapshot(request: Request, *, now: pd.Timestamp) -> FetchResult:
    """Take a new snapshot as of `request.as_of` (UTC; None: now, for data without a network when
    their last observation became known) and move the pointer to it. An error leaves the pointer as
    it was. A stored snapshot of exactly this `as_of` is restored without asking the source.

    Raises `InputError` for the user's fault, `DataError` for the source's, `BusyError` where the
    dataset is being fetched already.
    """
    name, as_of = request.name, request.as_of
    paths = ProjectPaths.of(request.root)
    with files.hold_lock(paths.lock(f"fetch-{name}"), purpose=f"Fetching {name!r}"):
        files.remove_leftovers(paths.snapshots / name)
        files.remove_leftovers(paths.pointer(name).parent, f"{name}.json-")
        if as_of is not None:
            restored = restore_snapshot(name, request.root, as_of)
            if restored is not None:
                return restored
        elif request.dataset.source.is_remote:
            request = replace(request, as_of=now.floor("s"))
        result = _take_new(request, now)
        if as_of is None:
            fetch_note = {"at": now.isoformat(), "snapshot": result.pointer.snapshot}
            files.write_json(paths.fetch_note(name), fetch_note)
        return result


def restore_snapshot(name: str, root: Path, as_of: pd.Timestamp) -> FetchResult | None:
    """Moves the pointer to the stored snapshot of exactly this `as_of`; None where there is
    none.
    """
    for path in snapshots.list_snapshots(root, name):
        record = files.read_note(path.with_suffix(".json"))
        if not record or pd.Timestamp(record["as_of"]) != as_of:
            continue
        frame = snapshots.read_verified(path, record["sha256"], name)
        snapshot = path.relative_to(root).as_posix()
        pointer = snapshots.POINTER.validate_python({**record, "snapshot": snapshot})
        snapshots.move_pointer(root, name, pointer)
        return FetchResult(pointer, len(frame), len(frame), NO_REVISIONS, is_restored=True)
    return None


@dataclass(frozen=True)
class ComparedAnswer:
    """The answer of a source, compared with the stored history.

    fresh: its checked rows. since: by series the first time that was asked for; a series that is
    not in it was asked for whole. revised: the table of `snapshots.find_revisions`.
    """

    raw: RawFrame
    fresh: pd.DataFrame
    since: Mapping[str, pd.Timestamp]
    revised: pd.DataFrame


def _take_new(request: Request, now: pd.Timestamp) -> FetchResult:
    """Ask the source, merge its answer with the stored rows, check and store them; the pointer is
    moved last.
    """
    stored = _read_stored(request)
    if stored is None:
        raw, fresh = _read_source(request)
        answer, frame = ComparedAnswer(raw, fresh, {}, NO_REVISIONS), fresh
    else:
        answer = _compare_with_stored(request, stored)
        frame = merge_history(
            stored.frame,
            answer.fresh,
            since=answer.since,
            keep=request.dataset.source.series,
        )
    issued = _known_vintages(request, answer.raw, stored, now)
    violations = _check_history(request, answer.raw, frame, issued, stored, now)
    pointer = _store_history(request, answer, frame, issued, stored, violations, now)
    snapshots.move_pointer(request.root, request.name, pointer)
    frame_before = frame[:0] if stored is None else stored.frame
    lost_series = list_lost_series(
        {*frame_before["unique_id"].unique()}, {*frame["unique_id"].unique()}
    )
    n_observations = [
        len(trim_to_observed(rows, request.dataset)) for rows in (frame_before, frame)
    ]
    return FetchResult(
        pointer,
        len(frame_before),
        len(frame),
        answer.revised,
        dict.fromkeys(lost_series, "no row of it any more") | answer.raw.failed,
        violations,
        is_unchanged=stored is not None and stored.pointer.sha256 == pointer.sha256,
        new_observations=n_observations[1] - n_observations[0],
    )


def _read_source(request: Request) -> tuple[RawFrame, pd.DataFrame]:
    """The source's answer, and its rows, checked."""
    raw = sources.read(request)
    return raw, preparation.check_raw(raw, request.dataset)


def _compare_with_stored(request: Request, stored: StoredHistory) -> ComparedAnswer:
    """The answer with new rows and the overlap. A series with revised values in the overlap is read
    again from its start, since older rows may have changed too, where the source can be asked for
    single series.
    """
    dataset = request.dataset
    since = _first_times(stored, dataset)
    raw, fresh = _read_source(replace(request, since=since))
    observed = trim_to_observed(stored.frame, dataset)
    compare = partial(find_revisions, observed, provisional_from=stored.provisional_from)
    revised = compare(fresh, since=since)
    # provisional values are expected to change, and unanswered ones did not change
    is_unexpected = ~revised["kind"].isin(["provisional", "unanswered"])
    narrowed = dataset.source.narrowed_to(set(revised.loc[is_unexpected, "unique_id"]))
    if narrowed is None or not since:
        return ComparedAnswer(raw, fresh, since, revised)
    whole_raw, reread = _read_source(
        replace(
            request,
            dataset=dataset.model_copy(update={"source": narrowed}),
            since={},
            advance=sources.ignore_progress,
        )
    )
    reread_series = set(reread["unique_id"])
    other_rows = fresh[~fresh["unique_id"].isin(reread_series)]
    fresh = pd.concat([other_rows, reread]).sort_values(
        ["unique_id", "ds"], kind="stable", ignore_index=True
    )
    since = {name: first for name, first in since.items() if name not in reread_series}
    raw = replace(raw, failed={**raw.failed, **whole_raw.failed})
    return ComparedAnswer(raw, fresh, since, compare(fresh, since=since))


def _known_vintages(
    request: Request, raw: RawFrame, stored: StoredHistory | None, now: pd.Timestamp
) -> pd.DataFrame:
    """The provider's forecasts that were issued by `request.as_of`: the new ones, and those stored
    where the history can be continued.
    """
    stored_vintages = None
    if stored is not None and stored.can_be_continued and request.dataset.source.is_remote:
        stored_vintages = vintages.read_vintages(request.root, request.name)
    issued = vintages.merge_vintages(stored_vintages, raw.vintages)
    if request.as_of is not None and request.as_of < now.floor("s"):
        issued = issued[issued["issued_at"] <= request.as_of].reset_index(drop=True)
    return issued


def _check_history(
    request: Request,
    raw: RawFrame,
    frame: pd.DataFrame,
    issued: pd.DataFrame,
    stored: StoredHistory | None,
    now: pd.Timestamp,
) -> list[Violation]:
    """The findings of the data checks. Raises `Source.error_class` where a rule refuses the rows,
    or the pipeline could not use them.
    """
    dataset, error_class = request.dataset, request.dataset.source.error_class
    vintages.require_issued_before_known(issued, dataset, where=raw.where)
    with_issued = vintages.add_issued(frame, dataset, issued)
    joined = add_joined(with_issued, dataset, root=request.root, where=raw.where)
    complete = add_known_ahead(joined, dataset)
    prepared, violations = preparation.prepare(
        complete, dataset, where=raw.where, error=error_class
    )
    too_short = preparation.find_short_series(prepared, request.name, dataset)
    violations += too_short
    observations = preparation.adjusted_observations(with_issued, dataset)
    stored_rows = None
    if stored is not None and stored.can_be_continued:
        stored_rows = trim_to_observed(stored.frame, dataset)
        file_stem = Path(raw.where).stem
        if {*stored_rows["unique_id"]} == {file_stem} and file_stem not in {*frame["unique_id"]}:
            stored_rows = None  # series were named by the file until the entry named their column
    violations += quality.find_violations(
        observations, dataset, as_of=raw.as_of, stored=stored_rows
    )
    last = trim_to_observed(frame, dataset)["ds"].max()
    violations += _compare_with_clock(last, dataset, now)
    quality.refuse_violations(violations, where=raw.where, error=error_class)
    try:
        check_transforms(preparation.without_series(prepared, too_short), dataset.task)
    except InputError as wrong:
        raise error_class(f"{raw.where}: {wrong} Nothing was taken.") from None
    return violations


def _compare_with_clock(
    last: pd.Timestamp, dataset: Dataset, now: pd.Timestamp
) -> Iterator[Violation]:
    """A finding where the `last` observation is later than `now`, or where its step is longer than
    `SHORT_STEP` and may not be over.
    """
    action = dataset.quality.freshness.action
    if last > now and action != "off":
        sentence = (
            f"the last row is of {last}, later than this clock's {now:%Y-%m-%d %H:%M} UTC; is its"
            " period unfinished, the clock slow, or does `source` lack a `time_zone`?"
        )
        yield Violation("freshness", "", "ds", 1, sentence, action)
    end, action = known_from(dataset.calendar, [last])[0], dataset.quality.partial_end.action
    if last <= now < end and end - last > SHORT_STEP and action != "off":
        # no stronger words: a week may be labelled by its last day
        sentence = f"the newest step, {last:%Y-%m-%d}, may go on until {end} UTC. {PARTIAL_ADVICE}"
        yield Violation("partial_end", "", "ds", 1, sentence, action)


def _store_history(
    request: Request,
    answer: ComparedAnswer,
    frame: pd.DataFrame,
    issued: pd.DataFrame,
    stored: StoredHistory | None,
    violations: list[Violation],
    now: pd.Timestamp,
) -> snapshots.Pointer:
    """Store the provider's forecasts, and the snapshot with its record and revisions unless its
    content is that of the pointed one. Returns the pointer to the snapshot, which is not moved yet.
    Where a file was written anew with equal rows, the record gets its new digest.
    """
    dataset, raw = request.dataset, answer.raw
    sha = snapshots.content_sha256(frame)
    path = snapshots.snapshot_path(request.name, raw.as_of, sha)
    vintage_fields = vintages.write_vintages(request.root, request.name, issued, as_of=raw.as_of)
    pointer = snapshots.Pointer(raw.as_of.isoformat(), sha, path.as_posix(), **vintage_fields)
    if stored is not None and stored.pointer.sha256 == pointer.sha256:
        pointer = replace(pointer, snapshot=stored.pointer.snapshot)
    else:
        # unanswered values stay as they were
        changes = answer.revised[answer.revised["kind"] != "unanswered"]
        if not changes.empty:
            table = changes.to_csv(index=False, lineterminator="\n")
            files.write_text(request.root / path.with_suffix(".revisions.csv"), table)
        provisional = raw.provisional_from
        record: SnapshotRecord = {
            "retrieved_at": now.isoformat(),
            **raw.provenance,
            "licence": dataset.licence.model_dump(),
            "question": dataset.source.identity(dataset.vintage_columns),
            "previous": None if stored is None else stored.pointer.sha256,
            "revised_values": len(changes),
            "failed": raw.failed,
            "provisional_from": None if provisional is None else provisional.isoformat(),
            "findings": [asdict(violation) for violation in violations[:MAX_FINDINGS_STORED]],
            "issued": pointer.issued,
            "issued_sha256": pointer.issued_sha256,
            **preparation.last_observation(frame, dataset),
        }
        snapshots.write_snapshot(
            request.root, request.name, frame, as_of=raw.as_of, provenance=record
        )
    # the same rows in a file that was written anew
    path = (request.root / pointer.snapshot).with_suffix(".json")
    digest = raw.provenance.get("file_sha256")
    stored_record = files.read_note(path)
    if digest and digest != stored_record.get("file_sha256"):
        files.write_json(path, {**stored_record, "file_sha256": digest})
    return pointer


def _read_stored(request: Request) -> StoredHistory | None:
    """The stored history up to `as_of`, which cannot be continued where the snapshot is newer, or
    where the entry now asks the source for something else. None where nothing was stored or known
    by then, or the snapshot is damaged: then everything is fetched.
    """
    name, root = request.name, request.root
    if not ProjectPaths.of(root).pointer(name).exists():
        return None
    try:
        pointer = snapshots.read_pointer(root, name)
        frame = snapshots.read_pointed(root, name)
    except DataError:
        return None
    # not caught: a damaged record hides which rows are provisional
    record = snapshots.read_provenance(root, name)
    if request.as_of is not None:
        frame = frame[known_from(request.dataset.calendar, frame["ds"]) <= request.as_of]
        if frame.empty:
            return None
    provisional = record.get("provisional_from")
    is_earlier = request.as_of is None or pd.Timestamp(pointer.as_of) <= request.as_of
    has_same_question = record.get("question") == request.dataset.source.identity(
        request.dataset.vintage_columns
    )
    return StoredHistory(
        frame,
        pointer,
        pd.Timestamp(provisional) if provisional else None,
        is_earlier and has_same_question,
    )


def _first_times(stored: StoredHistory, dataset: Dataset) -> dict[str, pd.Timestamp]:
    """By series, the day from which new rows are asked for: that of the overlap before its last
    row, or of the first provisional row where that is earlier. Empty, so that everything is asked
    for, where the source is read whole or the history cannot be continued.
    """
    overlap = dataset.source.overlap
    if overlap is None or not stored.can_be_continued:
        return {}
    last = stored.frame.groupby("unique_id")["ds"].max() - pd.Timedelta(overlap)
    provisional_from = stored.provisional_from
    return {
        str(name): (first if provisional_from is None else min(first, provisional_from)).normalize()
        for name, first in last.items()
    }


@dataclass(frozen=True)
class SnapshotSummary:
    """The row of a dataset in `forecast data`; None where unknown, and `state` gives the reason.

    first, last, as_of: times, or row numbers of rows without dates, which have no age. revised: the
    number of values that the fetch of this snapshot changed. warnings: the number of findings.
    """

    dataset: str
    source: str | None = None
    series: int | None = None
    rows: int | None = None
    first: str | None = None
    last: str | None = None
    gaps: int | None = None
    age: str | None = None
    as_of: str | None = None
    sha256: str | None = None
    snapshots: int | None = None
    revised: int | None = None
    warnings: int | None = None
    state: str = "good"


def summarize(
    name: str, dataset: Dataset, *, root: Path, now: pd.Timestamp
) -> tuple[SnapshotSummary, list[Violation]]:
    """One row of `forecast data`, and the findings of the data checks; no findings where the data
    cannot be read.
    """
    if not ProjectPaths.of(root).pointer(name).exists():
        return SnapshotSummary(name, rows=0, state=f"not fetched; run `forecast fetch {name}`"), []
    kind = dataset.calendar.kind
    try:
        pointer = snapshots.read_pointer(root, name)
        as_of = pd.Timestamp(pointer.as_of)
        if kind != "index" and dataset.source.has_new_rows:
            as_of = max(as_of, now)  # else a file is as old as its last row
        frame, violations = preparation.check_data(name, dataset, root=root, as_of=as_of)
        record = snapshots.read_provenance(root, name)
    except ForecastError as error:
        return SnapshotSummary(name, state=str(error)), []
    described = quality.summarise(frame, dataset)
    violations += preparation.find_short_series(frame, name, dataset)
    last = format_time(kind, frame["ds"].max().isoformat())
    failed = record.get("failed")
    summary = SnapshotSummary(
        dataset=name,
        source=dataset.source.kind,
        series=len(described["series"]),
        rows=described["rows"],
        first=format_time(kind, frame["ds"].min().isoformat()),
        last=last,
        gaps=described["gaps"],
        age=None if kind == "index" else age_in_words(dataset, frame["ds"].max(), now),
        as_of=last if kind == "index" else pointer.as_of,
        sha256=pointer.sha256[:12],
        snapshots=len(snapshots.list_snapshots(root, name)),
        revised=record.get("revised_values", 0),
        warnings=len(violations),
        state=f"kept without {', '.join(failed)}" if failed else "good",
    )
    return summary, violations


def age_in_words(dataset: Dataset, last: pd.Timestamp, now: pd.Timestamp) -> str:
    """How long ago the last row became known, or how far the data are ahead of the clock."""
    age = now - known_from(dataset.calendar, [last])[0]
    words = hours_or_days(abs(age) / pd.Timedelta(1, "h"))
    return f"{words} ahead" if age < pd.Timedelta(0) else words
