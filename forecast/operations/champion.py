"""The local store of model versions, which `forecast predict` reads without MLflow and TensorFlow.

    .forecast/champions/<dataset>/
        aliases.json     {"champion": 3, "previous": 2, "challenger": 4}
        history.jsonl    one `HistoryEvent` per line
        <version>/       the ensemble, and its card in champion.json; every file has a digest

The store is a copy of the newest versions in the MLflow registry (`prune_versions`) that works
without it. A version's folder is written whole and never changes, unless it is damaged and replaced
whole. `forecast.operations.registry` changes versions and aliases; it and `operations.pending`
write events. Damaged files raise `DamagedError`, but unreadable lines of the history are left out.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.config.paths import ProjectPaths
from forecast.config.task import format_time
from forecast.operations.records import ChampionCard, HistoryEvent
from forecast.operations.worktree import copy_whole
from forecast.system import files
from forecast.system.errors import DamagedError, ForecastError, InputError, one_line

if TYPE_CHECKING:
    # imports pandas, which `status` must not
    from forecast.forecaster.ensemble import Ensemble

SCHEMA = 3
"""Format number of champion.json; a file with another number is refused."""
CARD_FILE = "champion.json"
REGISTERED = "registered"
"""A local alias: the champion of the registry, while it has not heard of a rollback made here."""
KEPT_VERSIONS = 3
"""How many of the newest versions stay on disk in any case (`prune_versions`)."""


@dataclass(frozen=True)
class Champion:
    """A loaded version."""

    version: int
    ensemble: Ensemble
    card: ChampionCard
    notice: str = ""
    """A sentence where the previous version stands in for the champion, else empty."""


def load(root: Path, dataset: str) -> Champion:
    """The champion, or the previous version with a notice where the champion cannot be loaded.

    Raises `InputError` where the dataset has no champion, and the error of `load_folder` where the
    previous version cannot be loaded either.
    """
    aliases = read_aliases(root, dataset)
    if "champion" not in aliases:
        raise InputError(
            f"Dataset {dataset!r} has no champion: `forecast run`, then `forecast promote"
            f" {dataset}`."
        )
    try:
        return load_version(root, dataset, aliases["champion"])
    except ForecastError as error:
        return _load_previous(root, dataset, aliases, error)


def _load_previous(
    root: Path, dataset: str, aliases: Mapping[str, int], error: ForecastError
) -> Champion:
    """The previous version, with a notice, where the champion cannot be loaded because of `error`.

    Raises an error of the same class where there is no previous version or it fails as well.
    """
    repair = f"`forecast promote {dataset}` makes a new one."
    version = aliases.get("previous")
    if version is None or version == aliases["champion"]:
        raise type(error)(f"{error} There is no previous version. {repair}") from None
    try:
        previous = load_version(root, dataset, version)
    except ForecastError as second:
        message = f"{error} The previous version fails as well: {second} {repair}"
        raise type(error)(message) from None
    notice = (
        f"Version {aliases['champion']} cannot be used: {error} Forecasting with version {version}"
        f" instead. {repair}"
    )
    return Champion(version, previous.ensemble, previous.card, notice)


def load_version(root: Path, dataset: str, version: int) -> Champion:
    """Load a stored version and check every file against its digest."""
    return load_folder(version_folder(root, dataset, version), version)


def load_folder(folder: Path, version: int) -> Champion:
    """Load a version from `folder`, stored or downloaded, and check every file.

    Raises `ForecastError` for whatever hinders this: a damaged file, another schema, a library that
    is missing here, a folder that may not be read.
    """
    from forecast.forecaster.ensemble import MANIFEST, Ensemble

    try:
        card, model_sha256 = _read_card_and_digest(folder)
        ensemble = Ensemble.load(folder)
        _require_same(folder / MANIFEST, model_sha256)
    except ForecastError:
        raise
    except Exception as error:
        raise ForecastError(
            f"{folder}: version {version} cannot be loaded here ({type(error).__name__}:"
            f" {one_line(error)}). Install the library, free the memory or give the permission that"
            " it lacks."
        ) from error
    return Champion(version, ensemble, card)


def verify_version(root: Path, dataset: str, version: int) -> None:
    """Check a stored version by digests and format numbers alone, which takes milliseconds.

    Raises what `load_version` would for a missing or damaged file or another format.
    """
    folder = version_folder(root, dataset, version)
    manifest = folder / "ensemble.json"
    _require_same(manifest, _read_card_and_digest(folder)[1])
    for name, digest in files.read_saved(manifest, files.ENSEMBLE_SCHEMA)["files"].items():
        _require_same(folder / name, digest)


def read_card(root: Path, dataset: str, version: int) -> ChampionCard:
    """The card of a stored version, without loading its model."""
    return _read_card_and_digest(version_folder(root, dataset, version))[0]


def find_card(root: Path, dataset: str, version: int | None) -> ChampionCard | None:
    """The card of a version; None for one that is damaged or not stored here (any more)."""
    if version is None:
        return None
    try:
        return read_card(root, dataset, version)
    except ForecastError:
        return None


def find_score(root: Path, dataset: str, version: int | None) -> tuple[int | None, float | None]:
    """The version whose test score stands for this one, and its skill on the test block.

    For a refit on all data that is the version whose recipe was fitted again. (None, None) where
    its card is damaged, not stored here any more or of another model, since a clone may have had
    versions of the same numbers before it joined a server.
    """
    card = find_card(root, dataset, version)
    if card and card.refit_of:
        version = card.refit_of
        scored = find_card(root, dataset, version)
        card = scored if scored and scored.expected == card.expected else None
    return (version, card.metrics.get("skill")) if card else (None, None)


def store_version(root: Path, dataset: str, version: int, folder: Path) -> None:
    """Copy a version that `write_version` made in `folder` into the store. No alias moves."""
    copy_whole(folder, version_folder(root, dataset, version))


def write_version(folder: Path, ensemble: Ensemble, card: ChampionCard) -> None:
    """Write the ensemble and champion.json into `folder`, which is also the registry's artifact."""
    from forecast.forecaster.ensemble import MANIFEST

    ensemble.save(folder)
    content = {
        "schema": SCHEMA,
        "card": card.to_json(),
        "model_sha256": files.sha256(folder / MANIFEST),
    }
    files.write_json(folder / CARD_FILE, {**content, "digest": files.sha256_of(content)})


def read_aliases(root: Path, dataset: str) -> dict[str, int]:
    """Alias → version on this machine; empty before the first registration.

    Raises `DamagedError` for a file that cannot be read.
    """
    path = version_folder(root, dataset) / "aliases.json"
    try:
        return {str(name): int(version) for name, version in files.read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{path}: cannot be read ({one_line(error)}). "
            "`forecast doctor --repair` takes it from the registry."
        ) from None


def write_aliases(root: Path, dataset: str, aliases: Mapping[str, int]) -> None:
    """Write aliases.json atomically; this changes which version forecasts."""
    files.write_json(version_folder(root, dataset) / "aliases.json", dict(aliases))


def stored_versions(root: Path, dataset: str) -> list[int]:
    """The stored versions, oldest first; a folder such as `3.bak`, a user's copy, is none."""
    names = [path.parent.name for path in version_folder(root, dataset).glob(f"*/{CARD_FILE}")]
    return sorted(int(name) for name in names if name.isdecimal())


def prune_versions(root: Path, dataset: str) -> None:
    """Remove old stored versions from this folder; the registry keeps its copies of all.

    The newest `KEPT_VERSIONS` stay, and the versions that an alias names, with those whose test
    score stands for them.
    """
    aliased = read_aliases(root, dataset).values()
    scored = [find_score(root, dataset, version)[0] for version in aliased]
    for version in stored_versions(root, dataset)[:-KEPT_VERSIONS]:
        if version not in [*aliased, *scored]:
            shutil.rmtree(version_folder(root, dataset, version))


def version_folder(root: Path, dataset: str, version: int | None = None) -> Path:
    """The folder of one version, or without `version` the dataset's folder of all versions."""
    folder = ProjectPaths.of(root).champions(dataset)
    return folder if version is None else folder / str(version)


def _read_card_and_digest(folder: Path) -> tuple[ChampionCard, str]:
    """The card in champion.json of `folder`, and the digest of the model's manifest.

    Raises `DamagedError` for a file that is missing or not what was saved, `InputError` for one of
    another schema.
    """
    path = folder / CARD_FILE
    try:
        content = files.read_saved(path, SCHEMA)
    except DamagedError:
        content = {}
    if content.pop("digest", None) != files.sha256_of(content):
        raise _damage_error(path)
    return ChampionCard.parse(content["card"], path), str(content["model_sha256"])


def _require_same(path: Path, sha256: str) -> None:
    """Raises `DamagedError` for a file that is missing or has another digest."""
    if not path.exists() or files.sha256(path) != sha256:
        raise _damage_error(path)


def _damage_error(path: Path) -> DamagedError:
    """The error for a file that is missing or has another digest."""
    return DamagedError(
        f"{path}: missing, or not the file that was saved (its sha256 differs). `forecast"
        " doctor --repair` takes it from the registry."
    )


HISTORY = "history.jsonl"
HISTORY_TIMEOUT = 10.0
MAX_EVENTS = 1000
"""How many of the newest events are kept: three years of daily ones."""


def record_event(root: Path, dataset: str, event: HistoryEvent) -> None:
    """Append one event to the history, atomically; lines that cannot be read here stay.

    Raises `BusyError` while another process writes the history for longer than `HISTORY_TIMEOUT`
    seconds.
    """
    folder = version_folder(root, dataset)
    with files.hold_lock(
        ProjectPaths.of(root).lock(f"history-{dataset}"),
        purpose=f"Writing the history of {dataset!r}",
        timeout=HISTORY_TIMEOUT,
    ):
        files.remove_leftovers(folder, HISTORY)
        lines = [*_read_history(root, dataset), json.dumps(event.to_json(), sort_keys=True)]
        files.write_text(folder / HISTORY, "\n".join(lines[-MAX_EVENTS:]) + "\n")


def read_events(root: Path, dataset: str) -> list[HistoryEvent]:
    """All events, oldest first; unreadable lines are left out."""
    events = []
    for line in _read_history(root, dataset):
        with contextlib.suppress(ValueError):
            events.append(HistoryEvent.model_validate_json(line))
    return events


def find_last_move(root: Path, dataset: str) -> HistoryEvent | None:
    """The event of the champion's last change; None where there is none in the history."""
    moves = [event for event in read_events(root, dataset) if not event.decision]
    return moves[-1] if moves else None


def _read_history(root: Path, dataset: str) -> list[str]:
    """The lines of the history, oldest first."""
    path = version_folder(root, dataset) / HISTORY
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


@dataclass(frozen=True)
class HistoryRow:
    """One event as `forecast history` prints it.

    Model, cutoff and skill are empty for a version whose card is damaged or not stored here.
    """

    at: str
    event: str
    version: int | None
    replaced: int | None
    model: str
    training_cutoff: str
    scored_version: int | None
    """The version that `test_skill` belongs to (`find_score`)."""
    test_skill: float | None
    reason: str


def history_rows(root: Path, dataset: str, calendar_kind: str) -> list[HistoryRow]:
    """All events, oldest first, each with the card of its version."""
    rows = []
    for event in read_events(root, dataset):
        card = find_card(root, dataset, event.version)
        scored_version, skill = find_score(root, dataset, event.version)
        rows.append(
            HistoryRow(
                **event.model_dump(exclude={"decision"}),
                model=card.candidate if card else "",
                training_cutoff=format_time(calendar_kind, card.training_cutoff, 10)
                if card
                else "",
                scored_version=scored_version,
                test_skill=skill,
            )
        )
    return rows
