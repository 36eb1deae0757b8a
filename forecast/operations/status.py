"""The state of each dataset in under a second: read from small files of this machine, no model
loaded.

`read_status` gives a `DatasetStatus`, whose `state` is `good` or names every fault: no champion; a
damaged file of the champion, of issued forecasts or of data; a champion that is stale, forecasts
poorly or knows a series that is gone; a newest observation that is stale; a source file that is
gone or was changed since its snapshot. Nothing is repaired here (`forecast.operations.repair` does)
and the registry is not asked. Drift and the last run are what retraining wrote into its newest
decision; the next run is what the scheduler planned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
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
    one_line,
    quote_names,
    suggest,
)

DAY = timedelta(days=1)
MIN_OBSERVATION_AGE = timedelta(days=7)
"""Observations may always be so old: weekends, holidays, providers that deliver days later."""
NOT_LIVE = LiveAccuracy(version=0, issues=0, scored=0, error=None, skill=None)
"""Of a champion none of whose forecasts was kept."""
TOTAL = "total"
"""`forecast.data.hierarchy` has it once more, but loads pandas."""
MIN_SCORED_FORECASTS = 8
"""From so many scored forecasts on the mean live error is judged as it stands."""


@dataclass(frozen=True)
class DatasetStatus:
    """One dataset. Times are ISO 8601 in UTC.

    scored_version: the champion, or the version whose recipe it is, fitted again on all data;
    skill: of that version in the test block. live_error: of the issued forecasts
    (`live_accuracy`), over the error in the test block (1: as expected). It counts in `state`; a
    retraining is due by `evidence.measure_live_error` instead.
    """

    dataset: str
    champion: int | None
    model: str
    age_days: float | None
    training_cutoff: str
    data_as_of: str
    last_observation: str
    last_observation_age_h: float | None
    scored_version: int | None
    skill: float | None
    live_error: float | None
    live_skill: float | None
    live_coverage: Mapping[str, float]
    live_issues: int
    drift: str
    last_run: str
    next_run: str
    state: str

    @property
    def is_good(self) -> bool:
        """Whether no fault was found."""
        return self.state == "good"


@dataclass(frozen=True)
class LocalChampion:
    """The champion as this machine's files have it: its version and card, None where there is none,
    and what is wrong with the files.
    """

    version: int | None = None
    card: ChampionCard | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetEntry:
    """What an entry of configs/datasets.yaml says, unchecked; empty texts and 0 where it does not:
    `forecast check` names what is wrong.
    """

    calendar_kind: str = ""
    source_kind: str = ""
    horizon: int = 0
    targets: tuple[str, ...] = ()
    source_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class NewestData:
    """The snapshot that a forecast would be made from, as its pointer and record say; texts are
    empty where they do not.
    """

    as_of: str = ""
    """When the snapshot was known."""
    last: str = ""
    """The time of its newest row."""
    known: str = ""
    """When that row became known: of a session its close."""
    step: timedelta = timedelta()
    """Mean time between two rows of a series."""
    file_digests: Sequence[str] = ()
    """Of the files that the snapshot was read from, as they were then."""
    series: Sequence[str] = ()
    unplanned: Sequence[str] = ()
    """Holes of its plans in the horizon, for which a forecast is refused."""
    damaged: Path | None = None
    """The one of the two that is not as it was written."""


def read_status(root: Path, dataset: str, *, now: datetime) -> DatasetStatus:
    """What this machine knows of one dataset; a fault stands in `state` and is never raised.

    `now` with its zone.
    """
    local = read_champion(root, dataset)
    entry = read_entry(root, dataset)
    card = local.card
    kind = entry.calendar_kind
    data = _read_newest_data(newest_data_root(root, dataset), dataset)
    as_of = data.last if kind == "index" else data.as_of
    scores = read_live_scores(root, dataset).live
    live = next((accuracy for accuracy in scores if accuracy.version == local.version), NOT_LIVE)
    faults = []
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
        age_days = round(_age(card.created_at, now) / DAY, 1)
    scored_version, skill = champion.find_score(root, dataset, local.version)
    faults += _find_faults(root, dataset, entry, local, data)
    if card is not None:
        faults += _find_lost_series(dataset, card, data)
        faults += _find_other_task(root, dataset, entry, local.version)
    faults += _find_stale_data(dataset, entry, data, now)
    try:
        rules = load_retraining(dataset, ProjectPaths.of(root).configs)
        if card is not None:
            faults += _find_stale_champion(dataset, entry, card, data, decisions, rules, now)
        faults += _find_poor(dataset, live, rules)
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


def _find_faults(
    root: Path,
    dataset: str,
    entry: DatasetEntry,
    local: LocalChampion,
    data: NewestData,
) -> Iterator[str]:
    """A sentence for each fault of the files: of the champion, the data and issued forecasts."""
    yield from local.faults
    if not local.faults and local.version is None:
        yield (
            f"no champion here; `forecast promote {dataset}`, or `forecast status --registry`"
            " takes one"
        )
    yield from data.unplanned
    if data.damaged is not None:
        yield (
            f"{data.damaged.name} is damaged, so no data are found: restore it from git, or delete"
            f" it and `forecast fetch {dataset}`"
        )
    if ProjectPaths.of(root).taking(dataset).exists():  # a colleague's clone has snapshots alone
        for path in entry.source_files:
            if not (root / path).exists():
                yield f"gone: {path}; restore it, or correct `source` in configs/datasets.yaml"
    changed = files.find_changed(root, entry.source_files, data.file_digests)
    if changed is not None:
        advice = f"`forecast fetch {dataset}`"
        if not (root / changed).resolve().is_relative_to(root.resolve()):
            advice = f"copy it to data/, name that as `source` and {advice}"
        yield f"stale: {changed} was changed since its snapshot was taken; {advice}"
    if damage := find_damaged_issues(root, dataset):
        yield damage


def _read_newest_data(project: Path, dataset: str) -> NewestData:
    """What the pointer below `project` and the record of its snapshot say; nothing where one of
    them is absent, which `forecast fetch` makes.
    """
    path = ProjectPaths.of(project).pointer(dataset)
    try:
        pointer = files.read_json(path)
        snapshot = project / pointer["snapshot"]
        path = snapshot.with_suffix(".json")
        record = read_snapshot_record(path)
        # an absent one is read from its source again
        if snapshot.exists() and not _is_whole_parquet(snapshot):
            return NewestData(damaged=snapshot)
        span = datetime.fromisoformat(record["last"]) - datetime.fromisoformat(record["first"])
        known = record.get("known", record["last"])
        step = span / max(record["rows"] / len(record["series"]) - 1, 1)
        digests = record.get("file_sha256", "").split()
        findings = [hole for hole in record.get("findings", ()) if hole["rule"] == "plan"]
        holes = [
            f"plan: series {list_first([hole['series'] for hole in findings], 3, repr)}:"
            f" {str(hole['sentence']).removesuffix('.')}"
            for hole in findings[:1]
        ]
        return NewestData(
            str(pointer["as_of"]),
            record["last"],
            known,
            step,
            digests,
            record["series"],
            holes,
        )
    except FileNotFoundError:
        return NewestData()
    except (DamagedError, LookupError, OSError, TypeError, ValueError, ZeroDivisionError):
        return NewestData(damaged=path)


def _is_whole_parquet(path: Path) -> bool:
    """Whether the file begins and ends as Parquet does: not cut off, nor something else. A digest
    of its content would take longer than all of `status`.
    """
    with path.open("rb") as file:
        begin = file.read(4)
        file.seek(-min(4, len(begin)), os.SEEK_END)
        return begin == file.read(4) == b"PAR1"


def read_champion(root: Path, dataset: str) -> LocalChampion:
    """The champion as this machine's files have it; nothing is raised."""
    try:
        aliases = champion.read_aliases(root, dataset)
        if "champion" not in aliases:
            return LocalChampion()
        card = champion.read_card(root, dataset, aliases["champion"])
        faults = []
        if champion.REGISTERED in aliases:
            faults.append("rolled back on this machine alone; `forecast status --registry`")
        for alias in ("champion", "previous"):
            try:  # digests of small files: it costs nothing
                if alias in aliases:
                    champion.verify_version(root, dataset, aliases[alias])
            except ForecastError as error:
                faults.append(f"{alias}: {error}")
        return LocalChampion(aliases["champion"], card, tuple(faults))
    except ForecastError as error:
        return LocalChampion(faults=(str(error),))


def find_damaged_issues(root: Path, dataset: str) -> str:
    """Why the issued forecasts cannot be read, so that none is kept any more; empty where they
    can.

    Read are those that changed since they were scored: pandas takes longer than all of `status`.
    """
    path = ProjectPaths.of(root).live_forecasts(dataset)
    scored = read_live_scores(root, dataset).issues_sha256
    if not path.exists() or files.sha256(path) == scored:
        return ""
    import pyarrow.parquet

    try:
        pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:  # an Arrow error is a ValueError
        return (
            f"{path}: cannot be read ({one_line(error)}); no forecast is kept or scored any more."
            " `forecast doctor --repair` moves it away"
        )
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
    """A sentence where the champion is stale: at least `max_age_days` older than the newest row
    (than now where rows have no dates), with rows after its data. A retraining asks no gate twice
    about the same rows, so the sentence has what was decided about them.

    The newest row of a service is taken to be of now, since nothing is fetched here. Data that came
    with a package never get newer.
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
    yield f"stale: {subject} {age.days} days old, {rules.max_age_days:g} allowed; {advice}"


def _find_lost_series(dataset: str, card: ChampionCard, data: NewestData) -> Iterator[str]:
    """A sentence where the snapshot has no row of a series that the champion forecasts, with the
    new name that is nearest. The champion's names may have a target behind them, or be sums.
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
    """A sentence where the champion forecasts another horizon or target than the entry asks for."""
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
    """`a/b/c` itself, `a/b` and `a`."""
    parts = name.split("/")
    return {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}


def _find_stale_data(
    dataset: str, entry: DatasetEntry, data: NewestData, now: datetime
) -> Iterator[str]:
    """A sentence where the newest observation is so old that no forecast from it reaches beyond
    now, and older than `MIN_OBSERVATION_AGE`, or is of a later day. Data that came with a package
    never get newer.
    """
    if not data.known or entry.calendar_kind == "index" or entry.source_kind == "packaged":
        return
    reach = max(MIN_OBSERVATION_AGE, entry.horizon * data.step)
    age = _age(data.known, now)
    if _age(data.last, now) < -DAY:  # a day of New Zealand begins before that of UTC
        yield (
            f"ahead: the last observation is of {data.last[:10]}, later than now; is its period"
            " unfinished, or the clock slow?"
        )
    elif age > reach:
        rows = f", once newer rows are in {entry.source_files[0]}" if entry.source_files else ""
        yield (
            f"stale: the last observation is {age / DAY:.0f} days old, {reach.days} allowed;"
            f" `forecast fetch {dataset}`{rows}"
        )


def _find_poor(dataset: str, live: LiveAccuracy, rules: Retraining) -> Iterator[str]:
    """A sentence where the mean live error is `live_error` of configs/retraining.yaml or more.

    mean = error * min(scored, 8) / 8 with `MIN_SCORED_FORECASTS` = 8: of fewer scored forecasts the
    missing ones count as error 0, the least that they could bring.
    """
    if live.error is None:
        return
    least_mean = live.error * min(live.scored, MIN_SCORED_FORECASTS) / MIN_SCORED_FORECASTS
    if not least_mean < rules.live_error:
        yield (
            f"poor: the live error is {live.error:.2f} x what was expected, {rules.live_error:g}"
            " allowed; see whether the newest rows are right, then `forecast retrain"
            f" {dataset}`"
        )


def _describe_drift(decision: Decision | None) -> str:
    """What had drifted at the newest decision, and its day; in words where there is none."""
    if decision is None:
        return "not examined yet"
    return f"{', '.join(decision.drifted) or 'none'} ({decision.at[:10]})"


def _describe_runs(root: Path, dataset: str, decision: Decision | None) -> tuple[str, str]:
    """The last retraining (a scheduled run that ended without a decision or still runs, else the
    newest decision) and the next planned one, in words.

    A scheduler that was killed leaves a heartbeat that says it runs; its process tells.
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
    # it ended without a decision, or still runs
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
    """The jobs of configs/schedule.yaml that retrain the dataset; none of a wrong file, which
    `check` names.
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


def run_datasets(root: Path) -> list[str]:
    """The datasets of `run` in configs/datasets.yaml; none where it cannot be read, which `check`
    names.
    """
    names = read_datasets_yaml(root).get("run")
    return [str(name) for name in names] if isinstance(names, list) else []


def read_entry(root: Path, dataset: str) -> DatasetEntry:
    """A dataset's entry of configs/datasets.yaml, read without pandas; what it lacks is `check`'s
    to tell.
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
