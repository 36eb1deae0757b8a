"""`forecast fetch`: ask a source for what is new, compare, check, store a snapshot, and move the pointer last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.sources import Service, YahooSource
from forecast.data import preparation, quality, snapshots, sources, vintages
from forecast.data.calendars import ended
from forecast.data.revisions import merged, revisions
from forecast.data.sources import Patience, RawFrame, Request
from forecast.system import files
from forecast.system.errors import DataError, InputError

SHOWN = 50


@dataclass(frozen=True)
class Fetched:
    """What happened. `rows_before` is 0 at the first fetch; `revised` is the table of `forecast.data.revisions`."""

    pointer: snapshots.Pointer
    rows_before: int
    rows: int
    revised: pd.DataFrame
    failed: dict[str, str] = field(default_factory=dict)
    findings: list[quality.Finding] = field(default_factory=list)
    restored: bool = False


@dataclass(frozen=True)
class Stored:
    """The pointed snapshot of before, as far as it can be continued."""

    frame: pd.DataFrame
    pointer: snapshots.Pointer
    provisional_from: pd.Timestamp | None
    same_question: bool


def fetch_new(
    name: str,
    dataset: Dataset,
    *,
    root: Path,
    now: pd.Timestamp,
    as_of: pd.Timestamp | None = None,
    environment: Mapping[str, str] | None = None,
    patience: Patience | None = None,
    advance: Callable[[str], None] = lambda name: None,
) -> Fetched:
    """A new snapshot as of `as_of` (UTC; None: now) and the pointer on it; on any error everything stays as it was.

    A snapshot that exists for exactly this `as_of` is restored without network. Raises `InputError` for the user's,
    `DataError` for the source's fault, `BusyError` when the dataset is being fetched already.
    """
    if as_of is not None and as_of > now:
        raise InputError(f"as_of {as_of} lies in the future (now: {now:%Y-%m-%d %H:%M} UTC). Wanted an earlier date.")
    with files.locked(root / ".forecast" / "locks" / f"fetch-{name}.lock", what=f"Fetching {name!r}"):
        kept = restored(name, root, as_of) if as_of is not None else None
        if kept is not None:
            return kept
        asked = as_of if as_of is not None or not isinstance(dataset.source, Service) else now.floor("s")
        request = Request(
            name, dataset, root, asked, environment=environment or {}, patience=patience, advance=advance
        )
        return _taken(request, now)


def restored(name: str, root: Path, as_of: pd.Timestamp) -> Fetched | None:
    """The pointer moved to the stored snapshot of exactly this `as_of`, or None when there is none."""
    for path in snapshots.snapshots(root, name):
        record = path.with_suffix(".json")
        if not record.exists() or pd.Timestamp(files.read_json(record)["as_of"]) != as_of:
            continue
        content = files.read_json(record)
        frame = snapshots.verify(path, content["sha256"], name)
        said = {key: content.get(key) for key in ("issued", "issued_sha256")}
        pointer = snapshots.Pointer(content["as_of"], content["sha256"], path.relative_to(root).as_posix(), **said)
        snapshots.move_pointer(root, name, pointer)
        return Fetched(pointer, len(frame), len(frame), _none(), restored=True)
    return None


def _taken(request: Request, now: pd.Timestamp) -> Fetched:
    dataset, root = request.dataset, request.root
    stored = _stored(request)
    since = _since(stored, dataset) if stored is not None else {}
    raw = sources.read(replace(request, since=since))
    fresh = preparation.checked_raw(raw, dataset, error=_blame(dataset))
    frame, revised = fresh, _none()
    if stored is not None:
        revised = revisions(stored.frame, fresh, since=since, provisional_from=stored.provisional_from)
        if isinstance(dataset.source, YahooSource) and since:
            raw, fresh, since = _again_whole(request, raw, fresh, since, revised)
            revised = revisions(stored.frame, fresh, since=since, provisional_from=stored.provisional_from)
        frame = merged(stored.frame, fresh, since=since, keep=_wanted_series(dataset))
    issues = vintages.accumulated(_issues_before(request, stored), raw.issued)
    whole = vintages.with_columns(frame, dataset, issues)
    preparation.prepare(whole, dataset, root=root, where=raw.where, error=_blame(dataset))
    found = quality.findings(preparation.comparable(whole, dataset), dataset, as_of=raw.as_of)
    quality.enforce(found, where=raw.where, error=_blame(dataset))
    pointer = _write(request, raw, frame, issues, revised, stored, found, now)
    return Fetched(pointer, 0 if stored is None else len(stored.frame), len(frame), revised, raw.failed, found)


def _again_whole(
    request: Request, raw: RawFrame, fresh: pd.DataFrame, since: dict[str, pd.Timestamp], revised: pd.DataFrame
) -> tuple[RawFrame, pd.DataFrame, dict[str, pd.Timestamp]]:
    """A ticker whose overlap was revised is read again from its start: older rows may have changed as well."""
    source = request.dataset.source
    assert isinstance(source, YahooSource)
    tickers = [ticker for ticker in source.tickers if ticker in set(revised["unique_id"])]
    if not tickers:
        return raw, fresh, since
    narrowed = request.dataset.model_copy(update={"source": source.model_copy(update={"tickers": tuple(tickers)})})
    whole = sources.read(replace(request, dataset=narrowed, since={}, advance=lambda name: None))
    again = preparation.checked_raw(whole, request.dataset, error=DataError)
    rest = fresh[~fresh["unique_id"].isin(set(again["unique_id"]))]
    failed = {**raw.failed, **whole.failed}
    combined = pd.concat([rest, again]).sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)
    kept = {series: first for series, first in since.items() if series not in set(again["unique_id"])}
    return RawFrame(combined, raw.as_of, raw.where, raw.provenance, failed), combined, kept


def _write(
    request: Request,
    raw: RawFrame,
    frame: pd.DataFrame,
    issues: pd.DataFrame,
    revised: pd.DataFrame,
    stored: Stored | None,
    found: list[quality.Finding],
    now: pd.Timestamp,
) -> snapshots.Pointer:
    """Revisions and forecasts of the service first, then the snapshot, the pointer last."""
    root, name = request.root, request.name
    sha = snapshots.content_sha256(frame)
    beside = snapshots.snapshot_path(name, raw.as_of, sha).with_suffix("")
    if not revised.empty:
        files.write_text(root / f"{beside}.revisions.csv", revised.to_csv(index=False))
    said = vintages.write(root, name, issues, as_of=raw.as_of)
    if stored is not None and stored.pointer.sha256 == sha:
        pointer = snapshots.Pointer(raw.as_of.isoformat(), sha, stored.pointer.snapshot, **said)
    else:
        shown = {"findings": [f.to_json() for f in found[:SHOWN]], **said}
        record = {**_record(request, raw, revised, stored, now), **shown}
        pointer = replace(snapshots.write_snapshot(root, name, frame, as_of=raw.as_of, provenance=record), **said)
    snapshots.move_pointer(root, name, pointer)
    return pointer


def _record(
    request: Request, raw: RawFrame, revised: pd.DataFrame, stored: Stored | None, now: pd.Timestamp
) -> dict[str, Any]:
    provisional = raw.provisional_from.isoformat() if raw.provisional_from is not None else None
    return {
        "retrieved_at": now.isoformat(),
        **raw.provenance,
        "licence": request.dataset.licence.model_dump(),
        "question": question(request.dataset),
        "previous": stored.pointer.sha256 if stored is not None else None,
        "revised_values": len(revised),
        "failed": raw.failed,
        "provisional_from": provisional,
    }


def question(dataset: Dataset) -> dict[str, Any]:
    """What decides whether a stored history answers the same question and can be continued."""
    content = dataset.source.model_dump(mode="json")
    names = ("kind", "base_url", "start", "variables", "places")
    said = {"said": [*dataset.said, content.get("previous_runs_url")]} if dataset.said else {}
    return {key: content[key] for key in names if key in content} | said


def _stored(request: Request) -> Stored | None:
    """The pointed snapshot up to `as_of`; None when there is none that can be read: then everything is asked anew."""
    name, root = request.name, request.root
    if not snapshots.pointer_path(root, name).exists():
        return None
    try:
        pointer = snapshots.read_pointer(root, name)
        frame = snapshots.read_pointed(root, name)
        record = snapshots.provenance(root, name)
    except DataError:
        return None
    if request.as_of is not None:
        frame = frame[ended(request.dataset.calendar, frame["ds"]) <= request.as_of]
    provisional = record.get("provisional_from")
    earlier = request.as_of is None or pd.Timestamp(pointer.as_of) <= request.as_of
    return Stored(
        frame,
        pointer,
        pd.Timestamp(provisional) if provisional else None,
        same_question=earlier and record.get("question") == question(request.dataset),
    )


def _issues_before(request: Request, stored: Stored | None) -> pd.DataFrame | None:
    """What was kept of the service's forecasts; None when another question was asked then."""
    if stored is None or not stored.same_question:
        return None
    before = vintages.kept(request.root, request.name)
    return before if request.as_of is None else before[before["issued_at"] <= request.as_of]


def _since(stored: Stored, dataset: Dataset) -> dict[str, pd.Timestamp]:
    """Per series where to ask from: the overlap before its last row, or earlier where rows were provisional."""
    source = dataset.source
    if not isinstance(source, Service) or not stored.same_question:
        return {}
    last = stored.frame.groupby("unique_id")["ds"].max() - pd.Timedelta(source.overlap_days, "D")
    bound = stored.provisional_from
    return {str(name): (moment if bound is None else min(moment, bound)).normalize() for name, moment in last.items()}


def _wanted_series(dataset: Dataset) -> set[str]:
    source = dataset.source
    return set(source.tickers) if isinstance(source, YahooSource) else set(getattr(source, "places", {}))


def _blame(dataset: Dataset) -> type[DataError] | type[InputError]:
    return DataError if isinstance(dataset.source, Service) else InputError


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=["unique_id", "ds", "column", "before", "after", "kind"])
