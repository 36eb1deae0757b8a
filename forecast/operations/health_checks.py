"""Faults of locks, MLflow's paths and champions, found and repaired: what `forecast doctor` shows and calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from forecast.config.paths import ProjectPaths
from forecast.operations import champion
from forecast.system import processes
from forecast.system.errors import ForecastError
from forecast.tracking import place, store
from forecast.tracking.place import former_folders

Finding = tuple[str, str, str]
REPAIR = "`forecast doctor --repair`"


def findings(root: Path, tracking_uri: str) -> Iterator[Finding]:
    """(what, found, repair) for locks, MLflow's paths and champions; an empty repair means that all is well."""
    stale = stale_locks(root)
    yield "locks", f"{len(stale)} name processes that are gone" if stale else "none is stale", REPAIR if stale else ""
    yield _paths(root, tracking_uri)
    for dataset in datasets(root, tracking_uri):
        yield _champion(root, dataset)


def repaired(root: Path, tracking_uri: str) -> Iterator[str]:
    """Repairs what `findings` names; a sentence for each thing done or not possible."""
    from forecast.operations import registry

    for path in stale_locks(root):
        path.unlink(missing_ok=True)
        yield f"Removed {path.relative_to(root)}: its process is gone"
    where = place(root, tracking_uri)
    if former_folders(where):
        with store.opened(where):
            yield "MLflow's paths lead into this folder again"
    for dataset in datasets(root, tracking_uri):
        try:
            yield from registry.repaired(root, dataset, tracking_uri=tracking_uri)
        except ForecastError as error:
            yield f"{dataset}: not repaired: {error}"


def _paths(root: Path, tracking_uri: str) -> Finding:
    try:
        former = former_folders(place(root, tracking_uri))
    except ForecastError as error:
        return "MLflow's paths", str(error), REPAIR
    named = f"lead into {', '.join(map(str, former))}: this project was copied or moved from there"
    return "MLflow's paths", named if former else "lead into this folder", "`forecast sync`" if former else ""


def stale_locks(root: Path) -> list[Path]:
    """Notes of lock holders that ended without taking them away; the locks themselves end with their processes."""
    notes = [*ProjectPaths.of(root).locks.glob("*.pid"), *root.glob("*.pid")]
    return [path for path in notes if not _alive(path)]


def datasets(root: Path, tracking_uri: str) -> list[str]:
    """The datasets that have a champion here, or only in the registry."""
    here = {path.name for path in ProjectPaths.of(root).all_champions.glob("*") if path.is_dir()}
    elsewhere = [name for name in running(root) if name not in here and _registered(root, name, tracking_uri)]
    return sorted({*here, *elsewhere})


def _registered(root: Path, dataset: str, tracking_uri: str) -> bool:
    """Whether the registry has a champion; no when it does not answer, which is a finding of its own."""
    from forecast.operations import registry

    database = place(root, tracking_uri).database
    if database is not None and not database.exists():
        return False
    try:
        return "champion" in registry.aliases(root, dataset, tracking_uri=tracking_uri)
    except ForecastError:
        return False


def running(root: Path) -> list[str]:
    """The datasets of `run` in configs/datasets.yaml, the rest of which `forecast check` examines."""
    try:
        content = yaml.safe_load(ProjectPaths.of(root).datasets_yaml.read_text(encoding="utf-8"))
        return [str(name) for name in content["run"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []


def _champion(root: Path, dataset: str) -> Finding:
    what = f"champion {dataset}"
    try:
        named = champion.aliases(root, dataset)
        for alias in ("champion", "previous"):
            if alias in named:
                champion.verify(root, dataset, named[alias])
    except ForecastError as error:
        return what, str(error), REPAIR
    if "champion" not in named:
        return what, "not on this machine", REPAIR
    return what, f"version {named['champion']}, intact", ""


def _alive(note: Path) -> bool:
    try:
        return processes.alive(int(note.read_text().strip()), by=note.stat().st_mtime)
    except (OSError, ValueError):
        return False
