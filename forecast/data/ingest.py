"""`forecast fetch`: ask a source for what is new, compare, check, store a snapshot, and move the
pointer last.

`forecast data`: summary and plot of what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.config.sources import Source
from forecast.config.task import format_time
from forecast.data import preparation, quality, snapshots, sources, vintages
from forecast.data.calendars import grid, known_from, row_numbers
from forecast.data.columns import add_joined, add_known_ahead, trim_to_observed
from forecast.data.quality import Violation
from forecast.data.snapshots import NO_REVISIONS, find_revisions, merge_history
from forecast.data.sources import RawFrame, Request
from forecast.data.web import Deadline
from forecast.system import files
from forecast.system.errors import DataError, ForecastError, InputError, plural

MAX_FINDINGS_STORED = 50
MAX_PLOT_SERIES, MAX_PLOT_POINTS = 6, 100_000
"""Of a plot."""


@dataclass(frozen=True)
class FetchResult:
    """What happened. `rows_before` is 0 at the first fetch; `revised` is the table of
    `snapshots.revisions`.
    """

    pointer: snapshots.Pointer
    rows_before: int
    rows: int
    revised: pd.DataFrame
    failed: dict[str, str] = field(default_factory=dict)
    findings: list[Violation] = field(default_factory=list)
    is_restored: bool = False


@dataclass(frozen=True)
class StoredHistory:
    """The pointed snapshot of before, as far as it can be continued."""

    frame: pd.DataFrame
    pointer: snapshots.Pointer
    provisional_from: pd.Timestamp | None
    can_be_continued: bool


def fetch_snapshot(
    name: str,
    dataset: Dataset,
    *,
    root: Path,
    now: pd.Timestamp,
    as_of: pd.Timestamp | None = None,
    environment: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
    advance: Callable[[str], None] = lambda name: None,
) -> FetchResult:
    """A new snapshot as of `as_of` (UTC; None: now) and the pointer on it; on any error everything
    stays as it was.

    A snapshot that exists for exactly this `as_of` is restored without network. Raises `InputError`
    for the user's, `DataError` for the source's fault, `BusyError` when the dataset is being
    fetched already.
    """
    if as_of is not None and as_of > now:
        raise InputError(
            f"as_of {as_of} lies in the future (now: {now:%Y-%m-%d %H:%M} UTC). Wanted an earlier"
            " date."
        )
    with files.hold_lock(ProjectPaths.of(root).lock(f"fetch-{name}"), purpose=f"Fetching {name!r}"):
        paths = ProjectPaths.of(root)
        files.remove_leftovers(paths.snapshots / name)
        files.remove_leftovers(paths.pointer(name).parent, f"{name}.json-")
        kept = restore_snapshot(name, root, as_of) if as_of is not None else None
        if kept is not None:
            return kept
        asked = now.floor("s") if as_of is None and dataset.source.is_remote else as_of
        return _take_new(
            Request(name, dataset, root, asked, {}, deadline, environment or {}, advance), now
        )


def restore_snapshot(name: str, root: Path, as_of: pd.Timestamp) -> FetchResult | None:
    """The pointer moved to the stored snapshot of exactly this `as_of`, or None when there is
    none.
    """
    for path in snapshots.list_snapshots(root, name):
        content = files.read_note(path.with_suffix(".json"))
        if not content or pd.Timestamp(content["as_of"]) != as_of:
            continue
        frame = snapshots.read_verified(path, content["sha256"], name)
        beside = {key: content.get(key) for key in ("issued", "issued_sha256")}
        pointer = snapshots.Pointer(
            content["as_of"], content["sha256"], path.relative_to(root).as_posix(), **beside
        )
        snapshots.move_pointer(root, name, pointer)
        return FetchResult(pointer, len(frame), len(frame), NO_REVISIONS, is_restored=True)
    return None


def _take_new(request: Request, now: pd.Timestamp) -> FetchResult:
    dataset, root = request.dataset, request.root
    stored = _read_stored(request)
    since = _first_times(stored, dataset) if stored is not None else {}
    raw = sources.read(replace(request, since=since))
    fresh = preparation.check_raw(raw, dataset, error=_fault_class(dataset))
    frame, revised = fresh, NO_REVISIONS
    if stored is not None:
        compared = partial(
            find_revisions,
            trim_to_observed(stored.frame, dataset),
            provisional_from=stored.provisional_from,
        )
        revised = compared(fresh, since=since)
        final = revised[~revised["kind"].isin(["provisional", "unanswered"])]
        again = dataset.source.narrowed_to(set(final["unique_id"])) if since else None
        if again is not None:
            raw, fresh, since = _reread_revised(request, again, raw, fresh, since)
            revised = compared(fresh, since=since)
        frame = merge_history(stored.frame, fresh, since=since, keep=dataset.source.series)
    before = (
        vintages.read_vintages(root, request.name)
        if stored and stored.can_be_continued and dataset.source.is_remote
        else None
    )
    known = vintages.merge_vintages(before, raw.vintages)
    if request.as_of is not None and request.as_of < now.floor("s"):
        known = known[known["issued_at"] <= request.as_of].reset_index(drop=True)
    vintages.require_issued_before_known(
        known, dataset, where=raw.where, error=_fault_class(dataset)
    )
    whole = vintages.add_issued(frame, dataset, known)
    looked_up = add_known_ahead(
        add_joined(whole, dataset, root=root, where=raw.where), dataset, where=raw.where
    )
    _, left_out = preparation.prepare(
        looked_up, dataset, where=raw.where, error=_fault_class(dataset)
    )
    found = left_out + quality.find_violations(
        preparation.adjusted_observations(whole, dataset), dataset, as_of=raw.as_of
    )
    if (last := trim_to_observed(frame, dataset)["ds"].max()) > now and (
        action := dataset.quality.freshness.action
    ) != "off":
        text = (
            f"the last row is of {last}, later than this clock's {now:%Y-%m-%d %H:%M} UTC; is it"
            " slow, or does "
        )
        found.append(
            Violation("freshness", "", "ds", 1, f"{text}`source` lack a `time_zone`?", action)
        )
    quality.refuse_violations(found, where=raw.where, error=_fault_class(dataset))
    pointer = _write(request, raw, frame, known, revised, stored, found, now)
    return FetchResult(
        pointer, 0 if stored is None else len(stored.frame), len(frame), revised, raw.failed, found
    )


def _reread_revised(
    request: Request,
    source: Source,
    raw: RawFrame,
    fresh: pd.DataFrame,
    since: dict[str, pd.Timestamp],
) -> tuple[RawFrame, pd.DataFrame, dict[str, pd.Timestamp]]:
    """The series of `source`, whose overlap was revised, read from their start: older rows may have
    changed too.
    """
    narrowed = request.dataset.model_copy(update={"source": source})
    whole = sources.read(replace(request, dataset=narrowed, since={}, advance=lambda name: None))
    again = preparation.check_raw(whole, request.dataset, error=DataError)
    rest = fresh[~fresh["unique_id"].isin(set(again["unique_id"]))]
    combined = pd.concat([rest, again]).sort_values(
        ["unique_id", "ds"], kind="stable", ignore_index=True
    )
    kept = {
        series: first for series, first in since.items() if series not in set(again["unique_id"])
    }
    return replace(raw, failed={**raw.failed, **whole.failed}), combined, kept


def _write(
    request: Request,
    raw: RawFrame,
    frame: pd.DataFrame,
    known: pd.DataFrame,
    revised: pd.DataFrame,
    stored: StoredHistory | None,
    found: list[Violation],
    now: pd.Timestamp,
) -> snapshots.Pointer:
    """Revisions and vintages first, then the snapshot, the pointer last."""
    root, name = request.root, request.name
    sha = snapshots.content_sha256(frame)
    if not revised.empty:
        label = snapshots.snapshot_path(name, raw.as_of, sha).with_suffix("")
        files.write_text(root / f"{label}.revisions.csv", revised.to_csv(index=False))
    beside = vintages.write_vintages(root, name, known, as_of=raw.as_of)
    if stored is not None and stored.pointer.sha256 == sha:
        pointer = snapshots.Pointer(raw.as_of.isoformat(), sha, stored.pointer.snapshot, **beside)
    else:
        record = {
            "retrieved_at": now.isoformat(),
            **raw.provenance,
            "licence": request.dataset.licence.model_dump(),
            "question": request.dataset.source.identity(request.dataset.vintage_columns),
            "previous": stored.pointer.sha256 if stored is not None else None,
            "revised_values": len(revised),
            "failed": raw.failed,
            "provisional_from": (
                raw.provisional_from.isoformat() if raw.provisional_from is not None else None
            ),
            "findings": [asdict(f) for f in found[:MAX_FINDINGS_STORED]],
            **beside,
            **preparation.last_observation(frame, request.dataset),
        }
        pointer = replace(
            snapshots.write_snapshot(root, name, frame, as_of=raw.as_of, provenance=record),
            **beside,
        )
    path, digest = (root / pointer.snapshot).with_suffix(".json"), raw.provenance.get("file_sha256")
    # the same rows, written otherwise now
    if digest and digest != files.read_note(path).get("file_sha256"):
        files.write_json(path, {**files.read_note(path), "file_sha256": digest})
    snapshots.move_pointer(root, name, pointer)
    return pointer


def _read_stored(request: Request) -> StoredHistory | None:
    """The pointed snapshot up to `as_of`; None when there is none that can be read: then everything
    is asked anew.
    """
    name, root = request.name, request.root
    if not ProjectPaths.of(root).pointer(name).exists():
        return None
    try:
        pointer = snapshots.read_pointer(root, name)
        frame = snapshots.read_pointed(root, name)
    except DataError:
        return None
    # a damaged one would hide which forecasts and provisional rows are kept
    record = snapshots.read_provenance(root, name)
    if request.as_of is not None:
        frame = frame[known_from(request.dataset.calendar, frame["ds"]) <= request.as_of]
    provisional = record.get("provisional_from")
    earlier = request.as_of is None or pd.Timestamp(pointer.as_of) <= request.as_of
    same = record.get("question") == request.dataset.source.identity(
        request.dataset.vintage_columns
    )
    return StoredHistory(
        frame, pointer, pd.Timestamp(provisional) if provisional else None, earlier and same
    )


def _first_times(stored: StoredHistory, dataset: Dataset) -> dict[str, pd.Timestamp]:
    """Per series where to ask from: the overlap before its last row, or earlier where rows were
    provisional.
    """
    overlap = dataset.source.overlap
    if overlap is None or not stored.can_be_continued:
        return {}
    last = stored.frame.groupby("unique_id")["ds"].max() - pd.Timedelta(overlap)
    bound = stored.provisional_from
    return {
        str(name): (moment if bound is None else min(moment, bound)).normalize()
        for name, moment in last.items()
    }


def _fault_class(dataset: Dataset) -> type[DataError] | type[InputError]:
    return DataError if dataset.source.is_remote else InputError


def summarize(
    name: str, dataset: Dataset, *, root: Path, now: pd.Timestamp
) -> tuple[dict[str, Any], list[Violation]]:
    """One row of `forecast data`, and what the data checks find; of data that cannot be read
    nothing is found.
    """
    if not ProjectPaths.of(root).pointer(name).exists():
        return _empty_summary(name, state=f"not fetched; run `forecast fetch {name}`"), []
    try:
        frame = preparation.check_data(name, dataset, root=root)
        raw = preparation.read_snapshot(name, dataset, root=root)
        pointer, record = snapshots.read_pointer(root, name), snapshots.read_provenance(root, name)
    except ForecastError as error:
        return _empty_summary(name, state=str(error)), []
    described = quality.describe(frame, dataset)
    found = quality.find_violations(
        preparation.adjusted_observations(raw, dataset), dataset, as_of=pd.Timestamp(pointer.as_of)
    )
    last, kind = frame["ds"].max(), dataset.calendar.kind
    row = {
        "dataset": name,
        "source": dataset.source.kind,
        "series": len(described["series"]),
        "rows": described["rows"],
        "first": format_time(kind, frame["ds"].min().isoformat()),
        "last": format_time(kind, last.isoformat()),
        "gaps": described["gaps"],
        "age": None if kind == "index" else age_in_words(dataset, last, now),
        "as_of": format_time(kind, last.isoformat()) if kind == "index" else pointer.as_of,
        "sha256": pointer.sha256[:12],
        "snapshots": len(snapshots.list_snapshots(root, name)),
        "revised": record.get("revised_values", 0),
        "warnings": len(found),
        "state": (
            "good" if not record.get("failed") else f"kept without {', '.join(record['failed'])}"
        ),
    }
    return row, found


def age_in_words(dataset: Dataset, last: pd.Timestamp, now: pd.Timestamp) -> str:
    """How long ago the last row became known, in words."""
    old = now - known_from(dataset.calendar, [last])[0]
    days = old / pd.Timedelta(1, "D")
    return plural(days, "day") if days >= 2 else plural(old / pd.Timedelta(1, "h"), "hour")


def plot(name: str, dataset: Dataset, *, root: Path, path: Path) -> Path:
    """A PNG with one panel per column and one line per series (the first six), missing steps left
    open.

    Kept out of reports/ on purpose: prices under personal-use terms must not travel with a report.
    """
    from matplotlib.figure import Figure

    frame = preparation.check_data(name, dataset, root=root)
    shown = [column for column in dataset.frame_columns if column.step <= 1]
    names = [column.name for column in shown]
    figure = Figure(figsize=(11, 2.2 * len(names) + 0.6), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for column, panel in zip(shown, panels, strict=True):
        _draw(panel, frame, dataset, column.name)
        label = f"{column.name}\n{column.entry.unit}".strip()
        panel.set_ylabel(label, fontsize=9, parse_math=False)
    count = frame["unique_id"].nunique()
    some = f" (the first {MAX_PLOT_SERIES} of {count} series)" if count > MAX_PLOT_SERIES else ""
    title = f"{dataset.title}{some}. {dataset.licence.attribution}"
    panels[0].set_title(title, fontsize=9, loc="left", parse_math=False)
    if count > 1:  # below everything: over a panel it would hide lines
        lines, names = panels[0].get_legend_handles_labels()
        legend = figure.legend(
            lines,
            names,
            fontsize=8,
            ncols=MAX_PLOT_SERIES,
            loc="outside lower center",
            frameon=False,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path


def _draw(panel: Any, frame: pd.DataFrame, dataset: Dataset, column: str) -> None:
    for series in sorted(frame["unique_id"].unique())[:MAX_PLOT_SERIES]:
        values = frame[frame["unique_id"] == series].set_index("ds")[column]
        full = values.reindex(grid(dataset.calendar, values.index[0], values.index[-1]))
        thinned = full.iloc[:: max(1, len(full) // MAX_PLOT_POINTS)]
        at = row_numbers(thinned.index) if dataset.calendar.kind == "index" else thinned.index
        panel.plot(at, thinned.to_numpy(), linewidth=0.7, label=str(series))
    panel.grid(visible=True, alpha=0.3)


def _empty_summary(name: str, *, state: str) -> dict[str, Any]:
    columns = (
        "source",
        "series",
        "rows",
        "first",
        "last",
        "gaps",
        "age",
        "as_of",
        "sha256",
        "snapshots",
        "revised",
    )
    return {"dataset": name, **dict.fromkeys((*columns, "warnings")), "state": state}
