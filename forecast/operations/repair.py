"""What `forecast doctor` finds in operation and how `--repair` mends it: MLflow's database and the
paths in it, champions and issued forecasts.

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
from forecast.operations.status import find_damaged_issues, read_champion
from forecast.system import files
from forecast.system.errors import ForecastError, HealthCheck
from forecast.tracking import TrackingStore, database_file, mlflow_client, tracking_store

REPAIR = "`forecast doctor --repair`"


def find_faults(root: Path, tracking_uri: str) -> Iterator[HealthCheck]:
    """A finding for MLflow's paths and for each dataset's champion, also where they are
    well; one for issued forecasts where they are damaged.
    """
    yield _check_paths(root, tracking_uri)
    for dataset in list_champion_datasets(root):
        yield _check_champion(root, dataset)
        if damage := find_damaged_issues(root, dataset):
            yield HealthCheck(f"issued forecasts {dataset}", damage, REPAIR)


def repair_faults(root: Path, tracking_uri: str) -> Iterator[str]:
    """Mend what `find_faults` names, and yield a sentence for each thing done or not possible:
    a damaged database is moved away, MLflow's paths corrected, damaged issued forecasts moved
    aside, and each champion and its registry made to agree. A dataset that cannot be mended keeps
    no other from it.
    """
    from forecast.operations import registry

    store = tracking_store(root, tracking_uri)
    yield from _replace_damaged_database(root, store)
    if database_file.former_folders(store):
        with mlflow_client.connect(store):
            yield "MLflow's paths lead into this folder again"
    for dataset in list_champion_datasets(root):
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
    with files.hold_lock(store.publisher_lock, purpose="A repair", timeout=mlflow_client.TIMEOUT):
        moved = database_file.move_damaged(store)
    if moved is None:
        return
    yield f"Moved the damaged database to {moved.name}; its runs: `forecast sync` publishes them"
    for dataset in list_champion_datasets(root):
        events = champion.read_events(root, dataset)
        known = {event.version for event in events if event.version}
        lost = sorted(known.difference(champion.stored_versions(root, dataset)))
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


def list_champion_datasets(root: Path) -> list[str]:
    """The datasets with a folder in the local champion store, sorted."""
    folders = ProjectPaths.of(root).all_champions.glob("*")
    return sorted(path.name for path in folders if path.is_dir())


def _check_champion(root: Path, dataset: str) -> HealthCheck:
    """Whether the champion's files are whole, and which version it is."""
    local = read_champion(root, dataset)
    what = f"champion {dataset}"
    if local.faults or local.version is None:
        return HealthCheck(what, "; ".join(local.faults) or "not on this machine", REPAIR)
    return HealthCheck(what, f"version {local.version}, intact")
