"""The checks of `forecast doctor` on MLflow's database, champions and issued forecasts
(`find_faults`), and their repair (`repair_faults`).

A damaged database and damaged issued forecasts are moved aside and never deleted; a damaged version
is replaced by the registry's copy. What cannot be restored (MLflow's runs, versions that only the
registry had) is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.config.paths import ProjectPaths
from forecast.operations import champion
from forecast.operations.live_accuracy import lock_issues
from forecast.operations.status import (
    find_damaged_live_forecasts,
    list_champion_datasets,
    read_champion,
)
from forecast.system import files
from forecast.system.errors import ForecastError, HealthCheck
from forecast.tracking import TrackingStore, database_file, mlflow_client, tracking_store

if TYPE_CHECKING:
    import pandas as pd

REPAIR = "`forecast doctor --repair`"


def find_faults(root: Path, tracking_uri: str) -> Iterator[HealthCheck]:
    """Check MLflow's paths and each dataset's champion; damaged issued forecasts are listed too."""
    yield _check_paths(root, tracking_uri)
    for dataset in list_champion_datasets(root):
        yield _check_champion(root, dataset)
        if damage := find_damaged_live_forecasts(root, dataset):
            yield HealthCheck(f"issued forecasts {dataset}", damage, REPAIR)


def repair_faults(root: Path, tracking_uri: str, now: pd.Timestamp) -> Iterator[str]:
    """Repair what `find_faults` finds; yields a sentence for each change and each failure.

    A damaged database and damaged issued forecasts are moved aside, MLflow's paths are corrected,
    and each dataset's local store and registry are made to agree. A failure with one dataset does
    not stop the others.
    """
    from forecast.operations import registry

    store = tracking_store(root, tracking_uri)
    yield from _set_damaged_database_aside(root, store)
    if database_file.former_folders(store):
        with mlflow_client.connect(store):  # connecting corrects the paths
            yield "MLflow's paths lead into this folder again"
    for dataset in list_champion_datasets(root):
        try:
            with lock_issues(root, dataset):
                if find_damaged_live_forecasts(root, dataset):
                    moved = files.move_aside(ProjectPaths.of(root).live_forecasts(dataset))
                    yield (
                        f"{dataset}: damaged issued forecasts moved to {moved.name}; storing starts"
                        " again"
                    )
            yield from registry.repair_registry(root, dataset, now=now, tracking_uri=tracking_uri)
        except ForecastError as error:
            yield f"{dataset}: not repaired: {error}"


def _set_damaged_database_aside(root: Path, store: TrackingStore) -> Iterator[str]:
    """Move a damaged database of this project aside; yields a sentence for that, and one for each
    dataset that lost versions.
    """
    # locked: a database that another process is just making looks damaged
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
    """Check that the paths in MLflow's database lie in this folder, and that it can be read."""
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


def _check_champion(root: Path, dataset: str) -> HealthCheck:
    """Check the files of the champion and of the version before it, and that no rollback is left to
    pass on to the registry.
    """
    local = read_champion(root, dataset)
    what = f"champion {dataset}"
    if local.faults or local.version is None:
        return HealthCheck(what, "; ".join(local.faults) or "not on this machine", REPAIR)
    return HealthCheck(what, f"version {local.version}, intact")
