"""What `forecast doctor` finds in operation and how `--repair` mends it: MLflow's database and the
paths in it, notes of locks, champions and issued forecasts.

`find_faults` only reads; `repair_faults` changes what can be made again, in an order in which each
step can rely on those before. A damaged file is moved aside and never deleted. What cannot be
brought back (runs of MLflow, versions that the registry alone had) is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from forecast.config.paths import ProjectPaths
from forecast.operations import champion
from forecast.operations.live_accuracy import hold_issues
from forecast.operations.status import find_damaged_issues, read_champion, run_datasets
from forecast.system import files, processes
from forecast.system.errors import ForecastError, HealthCheck, plural
from forecast.tracking import TrackingStore, database_file, mlflow_client, tracking_store

REPAIR = "`forecast doctor --repair`"


def find_faults(root: Path, tracking_uri: str) -> Iterator[HealthCheck]:
    """A finding for locks, for MLflow's paths and for each dataset's champion, also where they are
    well; one for issued forecasts where they are damaged.
    """
    stale = find_stale_notes(root)
    if stale:
        yield HealthCheck("locks", f"{plural(len(stale), 'note')} whose process is gone", REPAIR)
    else:
        yield HealthCheck("locks", "none is stale")
    yield _check_paths(root, tracking_uri)
    for dataset in list_champion_datasets(root, tracking_uri):
        yield _check_champion(root, dataset)
        damage = find_damaged_issues(root, dataset)
        if damage:
            yield HealthCheck(f"issued forecasts {dataset}", damage, REPAIR)


def repair_faults(root: Path, tracking_uri: str) -> Iterator[str]:
    """Mend what `find_faults` names, and yield a sentence for each thing done or not possible:
    stale notes of locks are removed, a damaged database moved away, MLflow's paths corrected,
    damaged issued forecasts moved aside, and each champion and its registry made to agree. A
    dataset that cannot be mended keeps no other from it.
    """
    from forecast.operations import registry

    for path in find_stale_notes(root):
        path.unlink(missing_ok=True)
        yield f"Removed {path.relative_to(root)}: its process is gone"
    store = tracking_store(root, tracking_uri)
    yield from _replace_damaged_database(root, store)
    if database_file.former_folders(store):
        with mlflow_client.connect(store):
            yield "MLflow's paths lead into this folder again"
    for dataset in list_champion_datasets(root, tracking_uri):
        try:
            with hold_issues(root, dataset):
                if find_damaged_issues(root, dataset):
                    moved = files.move_aside(ProjectPaths.of(root).live_forecasts(dataset))
                    yield (
                        f"{dataset}: damaged issued forecasts moved to {moved.name}; storing starts"
                        " again"
                    )
            yield from registry.repair_registry(root, dataset, tracking_uri=tracking_uri)
        except ForecastError as error:
            yield f"{dataset}: not repaired: {error}"


def _replace_damaged_database(root: Path, store: TrackingStore) -> Iterator[str]:
    """Move a damaged database of this project away; the registry is then made anew by what
    follows. A sentence for it, and one for each dataset that lost versions.
    """
    # a database that another process is just making is not whole yet
    with files.hold_lock(store.lock, purpose="A repair", timeout=mlflow_client.TIMEOUT):
        moved = database_file.move_damaged(store)
    if moved is None:
        return
    yield f"Moved the damaged database to {moved.name}; its runs: `forecast sync` publishes them"
    for dataset in _list_stored_datasets(root):
        events = champion.read_events(root, dataset)
        known = {event.version for event in events if event.version is not None}
        lost = sorted(known - set(champion.stored_versions(root, dataset)))
        if lost:
            numbers = ", ".join(map(str, lost))
            yield f"{dataset}: lost, because only the registry had them: versions {numbers}"


def _check_paths(root: Path, tracking_uri: str) -> HealthCheck:
    """Whether MLflow's database leads into this folder; a damaged or locked one is a fault too."""
    try:
        former = database_file.former_folders(tracking_store(root, tracking_uri))
    except ForecastError as error:
        return HealthCheck("MLflow's paths", str(error), REPAIR)
    if not former:
        return HealthCheck("MLflow's paths", "lead into this folder")
    return HealthCheck(
        "MLflow's paths",
        f"lead into {', '.join(map(str, former))}: this project was copied or moved from there",
        "`forecast sync`",
    )


def find_stale_notes(root: Path) -> list[Path]:
    """Notes of lock holders that ended without taking them away; the locks themselves end with
    their processes.
    """
    notes = [*ProjectPaths.of(root).locks.glob("*.pid"), *root.glob("*.pid")]
    return [note for note in notes if not _is_held(note)]


def _is_held(note: Path) -> bool:
    """Whether the process that a lock's note names still works."""
    try:
        return processes.is_alive(
            int(note.read_text("utf-8").strip()), noted_at=note.stat().st_mtime
        )
    except (OSError, ValueError):
        return False


def list_champion_datasets(root: Path, tracking_uri: str) -> list[str]:
    """The datasets with a folder in the local champion store, and those of `run` in datasets.yaml
    that have a champion in the registry alone; sorted.
    """
    local = _list_stored_datasets(root)
    others = [name for name in run_datasets(root) if name not in local]
    registered = [name for name in others if _is_registered(root, name, tracking_uri)]
    return sorted([*local, *registered])


def _list_stored_datasets(root: Path) -> list[str]:
    """The datasets with a folder in the local champion store."""
    return [path.name for path in ProjectPaths.of(root).all_champions.glob("*") if path.is_dir()]


def _is_registered(root: Path, dataset: str, tracking_uri: str) -> bool:
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


def _check_champion(root: Path, dataset: str) -> HealthCheck:
    """Whether the champion's files are whole, and which version it is."""
    local = read_champion(root, dataset)
    what = f"champion {dataset}"
    if local.faults or local.version is None:
        return HealthCheck(what, "; ".join(local.faults) or "not on this machine", REPAIR)
    return HealthCheck(what, f"version {local.version}, intact")
