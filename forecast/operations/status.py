"""The state of each dataset in under a second: read from small files of this machine, nothing
loaded; and faults of locks, MLflow's paths and champions, found and repaired for `forecast doctor`.

Drift and the last run are what retraining wrote into its newest decision; the next run is what the
scheduler planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from forecast.config.operation import load_schedule
from forecast.config.paths import ProjectPaths
from forecast.config.reading import read_yaml
from forecast.config.task import format_time
from forecast.operations import champion
from forecast.operations.records import (
    ChampionCard,
    Decision,
    Heartbeat,
    JobRun,
    read_decisions,
    read_if_valid,
    read_live_scores,
)
from forecast.operations.worktree import newest_data_root
from forecast.system import files, processes
from forecast.system.errors import ForecastError, InputError
from forecast.tracking import mlflow_client, moved_database, tracking_store


@dataclass(frozen=True)
class DatasetStatus:
    """One dataset. Times are ISO 8601 in UTC; `live_error` is relative to the test block (1: as
    expected).
    """

    dataset: str
    champion: int | None
    model: str
    age_days: float | None
    training_cutoff: str
    data_as_of: str
    last_observation: str
    last_observation_age_h: float | None
    skill: float | None
    live_error: float | None
    live_skill: float | None
    live_issues: int
    drift: str
    last_run: str
    next_run: str
    state: str

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with the champion's files."""
        return self.state == "good"


def read_status(root: Path, dataset: str, *, now: datetime) -> DatasetStatus:
    """What this machine knows of one dataset; a fault stands in `state` and is never raised.

    `now` with its zone.
    """
    aliases, card, faults = _read_local(root, dataset)
    version = aliases.get("champion")
    if not faults and version is None:
        faults.append(
            f"no champion here; `forecast promote {dataset}`, or `forecast status --registry`"
            " takes one"
        )
    newest, kind = newest_data_root(root, dataset), calendar_kind(root, dataset)
    pointer = files.read_note(ProjectPaths.of(newest).pointer(dataset))
    last, known = _last_observation(newest, pointer)
    as_of = last if kind == "index" else str(pointer.get("as_of", ""))
    scores = read_live_scores(root, dataset).live
    live = next((entry for entry in scores if entry.version == version), None)
    decisions = read_decisions(root, dataset)
    decision = max(decisions, key=lambda earlier: earlier.at, default=None)
    last_run, next_run = _describe_runs(root, dataset, decision)
    observation_age = None
    if known and kind != "index":
        observation_age = round(24 * _days_since(known, now), 1)
    return DatasetStatus(
        dataset=dataset,
        champion=version,
        model=card.candidate if card else "",
        age_days=round(_days_since(card.created_at, now), 1) if card else None,
        training_cutoff=format_time(kind, card.training_cutoff, 19) if card else "",
        data_as_of=format_time(kind, as_of),
        last_observation=format_time(kind, last),
        last_observation_age_h=observation_age,
        skill=card.metrics.get("skill") if card else None,
        live_error=live.error if live else None,
        live_skill=live.skill if live else None,
        live_issues=live.issues if live else 0,
        drift=_describe_drift(decision),
        last_run=last_run,
        next_run=next_run,
        state="; ".join(faults) or "good",
    )


def calendar_kind(root: Path, dataset: str) -> str:
    """The kind of a dataset's calendar; empty where its entry does not say it, which is `check`'s
    to tell.
    """
    try:
        return str(_yaml(root, "datasets.yaml")["datasets"][dataset]["calendar"]["kind"])
    except (KeyError, TypeError):
        return ""


def _last_observation(project: Path, pointer: Mapping[str, Any]) -> tuple[str, str]:
    """The time of the newest row of the pointed snapshot and when it became known (a session: its
    close); both empty where its record does not say them.
    """
    name = str(pointer.get("snapshot", ""))
    content = files.read_note((project / name).with_suffix(".json")) if name else {}
    return str(content.get("last", "")), str(content.get("known", content.get("last", "")))


def _read_local(root: Path, dataset: str) -> tuple[dict[str, int], ChampionCard | None, list[str]]:
    """Aliases, the champion's card and what is wrong with the files, as this machine has them."""
    try:
        aliases = champion.read_aliases(root, dataset)
        if "champion" not in aliases:
            return aliases, None, []
        card = champion.read_card(root, dataset, aliases["champion"])
        return aliases, card, _find_damage(root, dataset, aliases)
    except ForecastError as error:
        return {}, None, [str(error)]


def _find_damage(root: Path, dataset: str, aliases: Mapping[str, int]) -> list[str]:
    """What would make a forecast fail; digests of small files, so it costs nothing."""
    faults = []
    for alias in {"champion", "previous"} & aliases.keys():
        try:
            champion.verify_version(root, dataset, aliases[alias])
        except ForecastError as error:
            faults.append(f"{alias}: {error}")
    return sorted(faults)


def _describe_drift(decision: Decision | None) -> str:
    if decision is None:
        return "not examined yet"
    drifted = [shift.what for shift in decision.drift if shift.drifted]
    return f"{', '.join(drifted) or 'none'} ({decision.at[:10]})"


def _describe_runs(root: Path, dataset: str, decision: Decision | None) -> tuple[str, str]:
    """The newest scheduled or recorded retraining, and the next planned one."""
    folder = ProjectPaths.of(root).schedule
    jobs = _retraining_jobs(root, dataset)
    job_files = [read_if_valid(JobRun, folder / f"{name}.json") for name in jobs]
    runs = [run for run in job_files if run is not None]
    newest = max(runs, key=lambda run: run.started, default=None)
    last = "none"
    # it ended without a decision, or still runs
    if newest is not None and (decision is None or newest.started > decision.at):
        outcome = "running" if newest.code is None else f"exit {newest.code}"
        last = f"{newest.started[:19]}: {outcome}"
    elif decision is not None:
        last = f"{decision.at[:19]}: {decision.word} ({decision.reason})"
    heartbeat = read_if_valid(Heartbeat, folder / "heartbeat.json")
    if heartbeat is None or heartbeat.state != "running":
        return last, "none planned: no scheduler runs"
    planned = [moment for name, moment in heartbeat.next.items() if name in jobs]
    if not planned:
        return last, "none planned: no scheduler runs"
    return last, min(planned)[:19]


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


def _days_since(earlier: str, now: datetime) -> float:
    elapsed = now - datetime.fromisoformat(earlier).replace(tzinfo=now.tzinfo)
    return elapsed.total_seconds() / 86400


def _yaml(root: Path, name: str) -> dict[str, Any]:
    try:
        content = read_yaml(ProjectPaths.of(root).configs / name)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


Finding = tuple[str, str, str]
REPAIR = "`forecast doctor --repair`"


def find_faults(root: Path, tracking_uri: str) -> Iterator[Finding]:
    """(what, found, repair) for locks, MLflow's paths and champions; an empty repair means that all
    is well.
    """
    stale = stale_locks(root)
    yield (
        "locks",
        f"{len(stale)} name processes that are gone" if stale else "none is stale",
        REPAIR if stale else "",
    )
    yield _check_paths(root, tracking_uri)
    for dataset in champion_datasets(root, tracking_uri):
        yield _check_champion(root, dataset)


def repair_faults(root: Path, tracking_uri: str) -> Iterator[str]:
    """Repairs what `findings` names; a sentence for each thing done or not possible."""
    from forecast.operations import registry

    for path in stale_locks(root):
        path.unlink(missing_ok=True)
        yield f"Removed {path.relative_to(root)}: its process is gone"
    where = tracking_store(root, tracking_uri)
    if moved_database.former_folders(where):
        with mlflow_client.connect(where):
            yield "MLflow's paths lead into this folder again"
    for dataset in champion_datasets(root, tracking_uri):
        try:
            yield from registry.repair_registry(root, dataset, tracking_uri=tracking_uri)
        except ForecastError as error:
            yield f"{dataset}: not repaired: {error}"


def _check_paths(root: Path, tracking_uri: str) -> Finding:
    try:
        former = moved_database.former_folders(tracking_store(root, tracking_uri))
    except ForecastError as error:
        return "MLflow's paths", str(error), REPAIR
    if not former:
        return "MLflow's paths", "lead into this folder", ""
    fault = f"lead into {', '.join(map(str, former))}: this project was copied or moved from there"
    return "MLflow's paths", fault, "`forecast sync`"


def stale_locks(root: Path) -> list[Path]:
    """Notes of lock holders that ended without taking them away; the locks themselves end with
    their processes.
    """

    notes = [*ProjectPaths.of(root).locks.glob("*.pid"), *root.glob("*.pid")]
    return [note for note in notes if not _is_held(note)]


def _is_held(note: Path) -> bool:
    """Whether the process that a lock's note names still works."""
    try:
        return processes.is_alive(int(note.read_text().strip()), noted_at=note.stat().st_mtime)
    except (OSError, ValueError):
        return False


def champion_datasets(root: Path, tracking_uri: str) -> list[str]:
    """The datasets that have a champion here, or only in the registry."""
    local = {path.name for path in ProjectPaths.of(root).all_champions.glob("*") if path.is_dir()}
    registered = [
        name
        for name in run_datasets(root)
        if name not in local and _registered(root, name, tracking_uri)
    ]
    return sorted({*local, *registered})


def _registered(root: Path, dataset: str, tracking_uri: str) -> bool:
    """Whether the registry has a champion; no when it does not answer, which is a finding of its
    own.
    """
    from forecast.operations import registry

    database = tracking_store(root, tracking_uri).database
    if database is not None and not database.exists():
        return False
    try:
        return "champion" in registry.registry_aliases(root, dataset, tracking_uri=tracking_uri)
    except ForecastError:
        return False


def run_datasets(root: Path) -> list[str]:
    """The datasets of `run` in configs/datasets.yaml, the rest of which `forecast check`
    examines.
    """
    try:
        return [str(name) for name in _yaml(root, "datasets.yaml")["run"]]
    except (KeyError, TypeError):
        return []


def _check_champion(root: Path, dataset: str) -> Finding:
    aliases, _, faults = _read_local(root, dataset)
    if faults or "champion" not in aliases:
        return f"champion {dataset}", "; ".join(faults) or "not on this machine", REPAIR
    return f"champion {dataset}", f"version {aliases['champion']}, intact", ""
