"""The state of each dataset for `forecast status`, read from small files of this machine, without
loading a model and without asking the registry. It takes under a second, and one more for pandas
where a market's sessions look stale or the file of issued forecasts has changed.

`read_status` finds, among others: no champion; damaged files of champion, decisions, issued
forecasts or data; a champion that is stale, forecasts poorly, has another task or knows a series
that is gone; a stale newest observation; a source file that is gone or was changed since its
snapshot. Drift comes from the newest decision, the last run from that or from a later run of a job
that retrains, the next run of such a job from the scheduler's heartbeat.

A further value is a field of `DatasetStatus`, from a file that is there already; `--format json`
then has it, the table where `cli.operation._status_lines` has a line for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

from forecast.config.operation import Retraining, load_retraining, load_schedule
from forecast.config.paths import ProjectPaths
from forecast.config.reading import read_yaml
from forecast.config.task import format_time
from forecast.data.records import read_snapshot_record
from forecast.operations import champion
from forecast.operations.records import (
    ChampionCard,
    Decision,
    Heartbeat,
    JobRun,
    LiveAccuracy,
    not_due_file,
    read_decisions,
    read_if_valid,
    read_live_scores,
)
from forecast.operations.worktree import newest_data_root
from forecast.system import files, processes
from forecast.system.errors import (
    DamagedError,
    ForecastError,
    InputError,
    list_first,
    plural,
    quote_names,
    suggest,
)

DAY = timedelta(days=1)
NEVER_STALE_AGE = timedelta(days=7)
"""Observations of this age are never stale: weekends, holidays, slow providers."""
NOT_LIVE = LiveAccuracy(version=0, issues=0, scored=0, error=None, skill=None)
"""The live accuracy of a champion without issued forecasts."""
TOTAL = "total"
"""A copy of the constant in `forecast.data.hierarchy`, which imports pandas."""
MIN_SCORED_FORECASTS = 8
"""With fewer scored forecasts the mean live error counts as less (`_find_poor_live_error`)."""


@dataclass(frozen=True)
class DatasetStatus:
    """The status of one dataset. Times are ISO 8601 in UTC."""

    dataset: str
    champion: int | None
    model: str
    age_days: float | None
    """Since the version was made; `evidence.judge_due` and the state "stale" instead count from
    its data, where rows have dates.
    """
    training_cutoff: str
    data_as_of: str
    last_observation: str
    last_observation_age_h: float | None
    scored_version: int | None
    """The version whose test score stands for the champion (`champion.find_score`)."""
    skill: float | None
    """That version's skill on the test block."""
    live_error: float | None
    """The error of issued forecasts over their expected error (`LiveAccuracy`)."""
    live_skill: float | None
    live_coverage: Mapping[str, float]
    live_issues: int
    drift: str
    last_run: str
    next_run: str
    state: str
    """`good`, or a sentence for each fault."""

    @property
    def is_good(self) -> bool:
        """Whether no fault was found."""
        return self.state == "good"


@dataclass(frozen=True)
class LocalChampion:
    """The champion in this machine's store, None where there is none, and faults of its files."""

    version: int | None = None
    card: ChampionCard | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetEntry:
    """Values of an entry in configs/datasets.yaml, unchecked; empty or 0 where they are missing."""

    calendar_kind: str = ""
    source_kind: str = ""
    horizon: int = 0
    targets: tuple[str, ...] = ()
    source_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class NewestData:
    """The newest snapshot according to its pointer and record; empty where there is none."""

    as_of: str = ""
    """The moment up to which its data were known."""
    last: str = ""
    """The time of its newest row."""
    known: str = ""
    """When that row became known; for a trading session that is its close."""
    step: timedelta = timedelta()
    """Mean time between two rows of a series."""
    file_digests: Sequence[str] = ()
    """The digests of its source files when they were read."""
    series: Sequence[str] = ()
    unplanned: str = ""
    """A sentence about gaps of its plans in the horizon, for which a forecast is refused."""
    damaged: Path | None = None
    """The damaged file among pointer, record and snapshot."""


def read_status(
    root: Path, dataset: str, *, now: datetime, known_faults: Sequence[str] = ()
) -> DatasetStatus:
    """The status of one dataset on this machine; faults are in `state` and never raised.

    now: with its time zone. known_faults: sentences about faults that were found before.
    """
    local = read_champion(root, dataset)
    entry = read_entry(root, dataset)
    card = local.card
    kind = entry.calendar_kind
    data = _read_newest_data(newest_data_root(root, dataset), dataset)
    as_of = data.last if kind == "index" else data.as_of
    scores = read_live_scores(root, dataset).live
    live = next((accuracy for accuracy in scores if accuracy.version == local.version), NOT_LIVE)
    faults = [*known_faults]
    if not entry.source_kind:
        faults.append(
            "configs/datasets.yaml has no entry that can be read: restore it (its fault is named by"
            " `forecast check`), or, where the dataset is not wanted any more, take it out of `run`"
            f" and remove {champion.version_folder(root, dataset)}"
        )
    decisions = []
    try:
        decisions = read_decisions(root, dataset)
    except DamagedError as error:
        faults.append(str(error))
    not_due = read_if_valid(Decision, not_due_file(root, dataset))
    decision = max(filter(None, [*decisions, not_due]), key=attrgetter("at"), default=None)
    last_run, next_run = _describe_runs(root, dataset, decision)
    observation_age = None
    if data.known and kind != "index":
        observation_age = round(_age(data.known, now) / timedelta(hours=1), 1)
    model = training_cutoff = ""
    age_days = None
    if card is not None:
        model = card.candidate
        training_cutoff = format_time(kind, card.training_cutoff, 19)
        # a clock that was set back is before the moment at which it was made
        age_days = max(round(_age(card.created_at, now) / DAY, 1), 0.0)
    scored_version, skill = champion.find_score(root, dataset, local.version)
    faults += _find_file_faults(root, dataset, entry, local, data)
    if card is not None:
        faults += _find_lost_series(dataset, card, data)
        faults += _find_other_task(root, dataset, entry, local.version)
    faults += _find_stale_data(root, dataset, entry, data, now)
    try:
        rules = load_retraining(dataset, ProjectPaths.of(root).configs)
        if card is not None:
            faults += _find_stale_champion(dataset, entry, card, data, decisions, rules, now)
        faults += _find_poor_live_error(dataset, live, rules)
    except ForecastError as error:
        faults.append(str(error))
    return DatasetStatus(
        dataset=dataset,
        champion=local.version,
        model=model,
        age_days=age_days,
        training_cutoff=training_cutoff,
        data_as_of=format_time(kind, as_of),
        last_observation=format_time(kind, data.last),
        last_observation_age_h=observation_age,
        scored_version=scored_version,
        skill=skill,
        live_error=live.error,
        live_skill=live.skill,
        live_coverage=live.coverage,
        live_issues=live.issues,
        drift=_describe_drift(decision),
        last_run=last_run,
        next_run=next_run,
        state="; ".join(faults) or "good",
    )


def _find_file_faults(
    root: Path,
    dataset: str,
    entry: DatasetEntry,
    local: LocalChampion,
    data: NewestData,
) -> Iterator[str]:
    """Yield a sentence for each fault of the files of the champion, the data and the issues."""
    yield from local.faults
    if not local.faults and local.version is None:
        yield (
            f"no champion here; `forecast promote {dataset}`, or `forecast status --registry`"
            " takes one"
        )
    if data.unplanned:
        yield data.unplanned
    if data.damaged is not None:
        yield (
            f"{data.damaged.name} is damaged, so no data are found: restore it from git, or delete"
            f" it and `forecast fetch {dataset}`"
        )
    # a colleague's clone has no note, and snapshots alone
    if ProjectPaths.of(root).fetch_note(dataset).exists():
        for path in entry.source_files:
            if not (root / path).exists():
                yield f"gone: {path}; restore it, or correct `source` in configs/datasets.yaml"
    changed = files.find_changed(root, entry.source_files, data.file_digests)
    if changed is not None:
        advice = f"`forecast fetch {dataset}`"
        if not (root / changed).resolve().is_relative_to(root.resolve()):
            advice = f"copy it to data/, name that as `source` and {advice}"
        yield f"stale: {changed} was changed since its snapshot was taken; {advice}"
    if damage := find_damaged_live_forecasts(root, dataset):
        yield damage


def _read_newest_data(project: Path, dataset: str) -> NewestData:
    """The newest snapshot below `project`; empty where the pointer or the record is missing."""
    path = ProjectPaths.of(project).pointer(dataset)
    try:
        pointer = files.read_json(path)
        snapshot = project / pointer["snapshot"]
        path = snapshot.with_suffix(".json")
        record = read_snapshot_record(path)
        # a missing snapshot is no fault: it is read from its source again
        if snapshot.exists() and not _has_parquet_marks(snapshot):
            return NewestData(damaged=snapshot)
        span = datetime.fromisoformat(record["last"]) - datetime.fromisoformat(record["first"])
        known = record.get("known", record["last"])
        step = span / max(record["rows"] / len(record["series"]) - 1, 1)
        digests = record.get("file_sha256", "").split()
        findings = [hole for hole in record.get("findings", ()) if hole["rule"] == "plan"]
        unplanned = ""
        if findings:
            unplanned = (
                f"plan: series {list_first([hole['series'] for hole in findings], 3, repr)}:"
                f" {str(findings[0]['sentence']).removesuffix('.')}"
            )
        return NewestData(
            str(pointer["as_of"]),
            record["last"],
            known,
            step,
            digests,
            record["series"],
            unplanned,
        )
    except FileNotFoundError:
        return NewestData()
    except (DamagedError, LookupError, OSError, TypeError, ValueError, ZeroDivisionError):
        return NewestData(damaged=path)


def _has_parquet_marks(path: Path) -> bool:
    """Whether the file begins and ends with Parquet's mark, so that it is not cut off.

    A digest of its content would take longer than all of `status`.
    """
    with path.open("rb") as file:
        begin = file.read(4)
        file.seek(-min(4, len(begin)), os.SEEK_END)
        return begin == file.read(4) == b"PAR1"


def read_champion(root: Path, dataset: str) -> LocalChampion:
    """The champion in this machine's store; faults are returned and not raised."""
    try:
        aliases = champion.read_aliases(root, dataset)
        if "champion" not in aliases:
            return LocalChampion()
        card = champion.read_card(root, dataset, aliases["champion"])
        faults = []
        if champion.REGISTERED in aliases:
            faults.append("rolled back on this machine alone; `forecast doctor --repair`")
        for alias in ("champion", "previous"):
            try:
                if alias in aliases:
                    champion.verify_version(root, dataset, aliases[alias])
            except ForecastError as error:
                faults.append(f"{alias}: {error}")
        return LocalChampion(aliases["champion"], card, tuple(faults))
    except ForecastError as error:
        return LocalChampion(faults=(str(error),))


def find_damaged_live_forecasts(root: Path, dataset: str) -> str:
    """Why the file of issued forecasts cannot be read; empty where it can.

    A file that has not changed since it was scored is not read, which takes longer than all of
    `status`.
    """
    path = ProjectPaths.of(root).live_forecasts(dataset)
    scored = read_live_scores(root, dataset).issues_sha256
    if not path.exists() or files.sha256(path) == scored:
        return ""
    from forecast.operations.live_accuracy import read_issues  # imports pandas

    try:
        read_issues(root, dataset)
    except DamagedError as error:
        return str(error)
    return ""


def _find_stale_champion(
    dataset: str,
    entry: DatasetEntry,
    card: ChampionCard,
    data: NewestData,
    decisions: Sequence[Decision],
    rules: Retraining,
    now: datetime,
) -> Iterator[str]:
    """Yield a sentence where the champion is stale: its data are at least `max_age_days` older than
    the newest row; with source files only where these have later rows.

    The newest row of a service counts as of now, since nothing is fetched here; without dates the
    champion's own age counts. Data that come with a package never get newer. Where the newest rows
    were decided on already, the sentence says what was decided, since a retraining would not ask
    the gate again.
    """
    is_dated = entry.calendar_kind != "index"
    newest = now.replace(tzinfo=None)
    if entry.source_kind == "packaged" or (entry.source_files and data.known <= card.as_of):
        return
    if entry.source_files and is_dated:
        newest = datetime.fromisoformat(data.known)
    age = card.age(newest, counts_rows=not is_dated)
    if age < timedelta(days=rules.max_age_days):
        return
    subject = "the champion's snapshot is" if is_dated else "the champion is"
    advice = f"`forecast retrain {dataset}`"
    if decisions and data.last <= (newest_decision := decisions[-1]).data_end:
        advice = (
            f"decided on {newest_decision.at[:10]}: {newest_decision.word}"
            f" ({newest_decision.reason}); with newer rows {advice}"
        )
    yield (
        f"stale: {subject} {plural(age.days, 'day')} old, {rules.max_age_days:g} allowed; {advice}"
    )


def _find_lost_series(dataset: str, card: ChampionCard, data: NewestData) -> Iterator[str]:
    """Yield a sentence where the snapshot lacks series that the champion forecasts.

    A name of the champion may be a series, `series/target`, or a sum of series.
    """
    if not data.series:
        return
    present = set(data.series)
    with_sums = {TOTAL}.union(*map(_list_prefixes, present))
    champion_names = {name: _list_prefixes(name) for name in card.expected}
    lost = [
        name
        for name, prefixes in champion_names.items()
        if name not in with_sums and not prefixes & present
    ]
    if lost:
        new_names = present.difference(*champion_names.values())
        yield (
            f"lost: no row any more of series {quote_names(lost)}.{suggest(lost[0], new_names)}"
            f" Restore them and `forecast fetch {dataset}`, or `forecast retrain {dataset}` without"
            " them"
        )


def _find_other_task(
    root: Path, dataset: str, entry: DatasetEntry, version: int | None
) -> Iterator[str]:
    """Yield a sentence where the champion's horizon or target is not the configured one."""
    task = files.read_note(
        champion.version_folder(root, dataset, version) / "forecaster-0/spec.json"
    ).get("task")
    if not task or not entry.horizon:
        return
    served_targets = quote_names(column["name"] for column in task["target"])
    served_task = f"horizon {task['horizon']} and target {served_targets}"
    asked_task = f"horizon {entry.horizon} and target {quote_names(entry.targets)}"
    if served_task != asked_task:
        yield (
            f"other task: the champion has {served_task}, configs/datasets.yaml {asked_task};"
            f" `forecast run --dataset {dataset}`, then `forecast promote {dataset}`"
        )


def _list_prefixes(name: str) -> set[str]:
    """`{"a", "a/b", "a/b/c"}` of `a/b/c`."""
    parts = name.split("/")
    return {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}


def _find_stale_data(
    root: Path, dataset: str, entry: DatasetEntry, data: NewestData, now: datetime
) -> Iterator[str]:
    """Yield a sentence where the newest observation has been known for longer than a horizon and
    than `NEVER_STALE_AGE`, or is of more than a day after now. Packaged data and rows without dates
    do not get old.
    """
    if not data.known or entry.calendar_kind == "index" or entry.source_kind == "packaged":
        return
    allowed = max(NEVER_STALE_AGE, entry.horizon * data.step)
    age = _age(data.known, now)
    if age > allowed and entry.calendar_kind == "sessions":
        # its market may have been closed for longer; imported here, since it takes a second
        from forecast.config.datasets import load_dataset
        from forecast.data.calendars import next_steps

        with suppress(InputError):  # a faulty entry, or sessions that are not known so far ahead
            calendar = load_dataset(dataset, ProjectPaths.of(root).configs).calendar
            sessions = next_steps(calendar, data.last, entry.horizon)
            allowed = max(allowed, sessions[-1] - datetime.fromisoformat(data.last))
    if _age(data.last, now) < -DAY:  # a day of New Zealand begins before that of UTC
        yield (
            f"ahead: the last observation is of {data.last[:10]}, later than now; is its period"
            " unfinished, or the clock slow?"
        )
    elif age > allowed:
        rows = f", once newer rows are in {entry.source_files[0]}" if entry.source_files else ""
        yield (
            f"stale: the last observation is {age / DAY:.0f} days old, {allowed.days} allowed;"
            f" `forecast fetch {dataset}`{rows}"
        )


def _find_poor_live_error(dataset: str, live: LiveAccuracy, rules: Retraining) -> Iterator[str]:
    """Yield a sentence where the mean live error is at least `live_error` of
    configs/retraining.yaml.

    With fewer than `MIN_SCORED_FORECASTS` scored forecasts the missing ones count as error 0, the
    least that they could have.
    """
    if live.error is None:
        return
    least_mean = live.error * min(live.scored, MIN_SCORED_FORECASTS) / MIN_SCORED_FORECASTS
    if least_mean >= rules.live_error:
        yield (
            f"poor: the live error is {live.error:.2f} x what was expected, {rules.live_error:g}"
            " allowed; see whether the newest rows are right, then `forecast retrain"
            f" {dataset}`"
        )


def _describe_drift(decision: Decision | None) -> str:
    """What had drifted at the newest decision, and the decision's day."""
    if decision is None:
        return "not examined yet"
    drifted = ", ".join(decision.drifted) or ("none" if decision.drift else "not measured")
    return f"{drifted} ({decision.at[:10]})"


def _describe_runs(root: Path, dataset: str, decision: Decision | None) -> tuple[str, str]:
    """The last retraining and the next planned one, in words.

    The last one is a scheduled run that still runs or ended without a decision, else the newest
    decision. Whether the scheduler runs is told by its process, since a killed one leaves a
    heartbeat that says `running`.
    """
    folder = ProjectPaths.of(root).schedule
    jobs = _retraining_jobs(root, dataset)
    job_files = (read_if_valid(JobRun, folder / f"{name}.json") for name in jobs)
    newest = max(filter(None, job_files), key=attrgetter("started"), default=None)
    last = "none"
    heartbeat_file = folder / "heartbeat.json"
    heartbeat = read_if_valid(Heartbeat, heartbeat_file)
    is_running = (
        heartbeat is not None
        and heartbeat.state == "running"
        and processes.is_alive(heartbeat.pid, noted_at=heartbeat_file.stat().st_mtime)
    )
    if newest is not None and (decision is None or newest.started > decision.at):
        outcome = f"exit {newest.code}"
        if newest.code is None:
            outcome = "running" if is_running else "its end was not recorded"
        last = f"{newest.started[:19]}: {outcome}"
    elif decision is not None:
        last = f"{decision.at[:19]}: {decision.word} ({decision.reason})"
    if heartbeat is None or not is_running:
        return last, "none planned: no scheduler runs"
    planned = [moment[:19] for name, moment in heartbeat.next.items() if name in jobs]
    return last, min(planned, default="none planned: no job retrains it")


def _retraining_jobs(root: Path, dataset: str) -> list[str]:
    """The jobs of configs/schedule.yaml that retrain the dataset; empty for a faulty file, which
    `forecast check` reports.
    """
    try:
        schedule = load_schedule(ProjectPaths.of(root).configs)
    except (ForecastError, OSError):
        return []
    return [
        name
        for name, job in schedule.jobs.items()
        if job.run[0] == "retrain" and dataset in job.run
    ]


def _age(moment: str, now: datetime) -> timedelta:
    """How long ago `moment` (UTC, ISO 8601) was."""
    return now - datetime.fromisoformat(moment).replace(tzinfo=now.tzinfo)


def list_operated_datasets(root: Path) -> list[str]:
    """The datasets under `run` in configs/datasets.yaml, then others that have a champion; empty
    for a faulty file, which `forecast check` reports.
    """
    names = read_datasets_yaml(root).get("run")
    if not isinstance(names, list) or not names:
        return []
    return list(dict.fromkeys([*map(str, names), *list_champion_datasets(root)]))


def list_champion_datasets(root: Path) -> list[str]:
    """The datasets with a folder in the local champion store, sorted. One without an entry in
    configs/datasets.yaml has a champion of its own name, which a user's copy of a folder lacks.
    """
    names = sorted(path.name for path in ProjectPaths.of(root).all_champions.glob("*"))
    return [
        name
        for name in names
        if read_entry(root, name).source_kind
        or ((card := read_champion(root, name).card) and card.dataset == name)
    ]


def read_entry(root: Path, dataset: str) -> DatasetEntry:
    """A dataset's entry of configs/datasets.yaml, read without pandas; empty for a faulty entry,
    which `forecast check` reports.
    """
    try:
        entry = read_datasets_yaml(root)["datasets"][dataset]
        source = entry["source"]
        paths = tuple(Path(source[key]) for key in ("path", "issued_path") if source.get(key))
        kind = str(entry["calendar"]["kind"])
        targets = entry["target"] if isinstance(entry["target"], list) else [entry["target"]]
        names = tuple(str(target["column"]) for target in targets)
        return DatasetEntry(kind, str(source["kind"]), int(entry["horizon"]), names, paths)
    except (KeyError, TypeError, ValueError, AttributeError):
        return DatasetEntry()


def read_datasets_yaml(root: Path) -> dict[str, Any]:
    """The content of configs/datasets.yaml; empty where it cannot be read."""
    try:
        content = read_yaml(ProjectPaths.of(root).datasets_yaml)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}
