"""The local champion store: what `forecast predict` reads, without MLflow and without TensorFlow.

    .forecast/champions/<dataset>/aliases.json          {"champion": 3, "previous": 2, "challenger":
    4} .forecast/champions/<dataset>/history.jsonl         what became of the versions: {"at",
    "event", "version", ...} .forecast/champions/<dataset>/<version>/            the ensemble, every
    file with its digest, and in
                                                        champion.json what is known about it
                                                        (`Meta`)

The MLflow registry is the record; this store is a copy that survives without it. A version's folder
appears whole and never changes; `aliases.json` is the only thing that moves, in one rename.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.config.paths import ProjectPaths
from forecast.config.task import format_time
from forecast.system import files
from forecast.system.errors import DataError, ForecastError, InputError

if TYPE_CHECKING:
    import pandas as pd

    # with it comes pandas, which `status` does without
    from forecast.forecaster.ensemble import Ensemble

SCHEMA = 1
CARD_FILE = "champion.json"
KEPT_VERSIONS = 3
"""Newest versions that stay on disk besides those an alias names."""


@dataclass(frozen=True)
class ChampionCard:
    """What is known about one version. Times are UTC in ISO 8601.

    training_cutoff: the last row that choices and weights saw, not what `refit` added;
    last_target_used: the last actual of fit, tuning or calibration; metrics: the test scores of the
    ensemble as in the leaderboard; expected: per series the test MAE by step (H,), and `naive` that
    of the last value: what live errors are set against; refit_of: the version whose recipe was
    fitted again on all data, unscored.
    """

    dataset: str
    candidate: str
    model: str
    training_cutoff: str
    last_target_used: str
    as_of: str
    data_sha256: str
    config_hash: str
    git_revision: str
    created_at: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, list[float | None]] = field(default_factory=dict)
    naive: Mapping[str, list[float | None]] = field(default_factory=dict)
    refit_of: int | None = None

    def registry_tags(self) -> dict[str, str]:
        """For the registry: everything that is one value."""
        plain = {k: v for k, v in asdict(self).items() if not isinstance(v, dict) and v is not None}
        scores = {f"test_{name}": f"{value:.6g}" for name, value in self.metrics.items()}
        return {name: str(value) for name, value in {**plain, **scores}.items()}


@dataclass(frozen=True)
class Champion:
    """A loaded version. `notice`: a sentence when it is not the one that was wanted, else empty."""

    version: int
    ensemble: Ensemble
    card: ChampionCard
    notice: str = ""


@dataclass(frozen=True)
class LiveAccuracy:
    """One version's live accuracy over the actuals known so far.

    error: mean over series of the MAE over that of the test block at the same steps (1: as on
    test). skill: against the last value. coverage: level in percent → share of actuals inside.
    """

    version: int
    issues: int
    scored: int
    error: float | None
    skill: float | None
    coverage: Mapping[str, float] = field(default_factory=dict)


def load(root: Path, dataset: str) -> Champion:
    """The champion; when its files are damaged, the previous one with a notice.

    `InputError` when the dataset has none, or when every copy is of another schema; `DataError`
    when none is intact.
    """
    named = read_aliases(root, dataset)
    if "champion" not in named:
        raise InputError(
            f"Dataset {dataset!r} has no champion: `forecast run`, then `forecast promote"
            f" {dataset}`."
        )
    try:
        return load_version(root, dataset, named["champion"])
    except ForecastError as error:
        previous = named.get("previous")
        if previous is None or previous == named["champion"]:
            raise type(error)(f"{error} There is no previous version. {_repair(dataset)}") from None
        try:
            found = load_version(root, dataset, previous)
        except ForecastError as second:
            raise type(error)(
                f"{error} The previous version fails as well: {second} {_repair(dataset)}"
            ) from None
        notice = (
            f"Version {named['champion']} cannot be used: {error} Forecasting with version"
            f" {previous} instead."
        )
        return Champion(found.version, found.ensemble, found.card, f"{notice} {_repair(dataset)}")


def load_version(root: Path, dataset: str, version: int) -> Champion:
    """One stored version, every file checked against its digest."""
    from forecast.forecaster.ensemble import MANIFEST, Ensemble

    folder = version_folder(root, dataset, version)
    content = _described(folder)
    ensemble = Ensemble.load(folder)
    _require_same(folder / MANIFEST, content["model_sha256"])
    return Champion(version, ensemble, files.remade(ChampionCard, content["meta"]))


def verify_version(root: Path, dataset: str, version: int) -> None:
    """Raises what `load_version` would for a missing or damaged file, from digests alone:
    milliseconds.
    """
    folder = version_folder(root, dataset, version)
    _require_same(folder / "ensemble.json", _described(folder)["model_sha256"])
    for name, wanted in files.read_json(folder / "ensemble.json")["files"].items():
        _require_same(folder / name, wanted)


def read_card(root: Path, dataset: str, version: int) -> ChampionCard:
    """What is known about a stored version, without loading its model."""
    return files.remade(ChampionCard, _described(version_folder(root, dataset, version))["meta"])


def find_card(root: Path, dataset: str, version: object) -> ChampionCard | None:
    """The same; None for a version that is not here: one that was pruned, which the registry still
    has.
    """
    try:
        return read_card(root, dataset, version) if isinstance(version, int) else None
    except ForecastError:
        return None


def store_version(
    root: Path, dataset: str, version: int, ensemble: Ensemble, card: ChampionCard
) -> None:
    """Write one version whole. No alias moves."""
    with files.atomic_directory(version_folder(root, dataset, version)) as temporary:
        write_version(temporary, ensemble, card)


def write_version(folder: Path, ensemble: Ensemble, card: ChampionCard) -> None:
    """The ensemble and champion.json; this is also what the registry's artifact holds."""
    from forecast.forecaster.ensemble import MANIFEST

    ensemble.save(folder)
    content = {
        "schema": SCHEMA,
        "meta": asdict(card),
        "model_sha256": files.sha256(folder / MANIFEST),
    }
    files.write_json(folder / CARD_FILE, {**content, "digest": files.sha256_of(content)})


def read_aliases(root: Path, dataset: str) -> dict[str, int]:
    """Alias → version as this machine knows it; empty before the first registration."""
    path = version_folder(root, dataset) / "aliases.json"
    try:
        return {str(name): int(version) for name, version in files.read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read ({' '.join(str(error).split())}). "
            "`forecast doctor --repair` takes it from the registry."
        ) from None


def write_aliases(root: Path, dataset: str, aliases: Mapping[str, int]) -> None:
    """The one step that changes which version forecasts; atomic."""
    files.write_json(version_folder(root, dataset) / "aliases.json", dict(aliases))


def stored_versions(root: Path, dataset: str) -> list[int]:
    """The stored versions, oldest first."""
    return sorted(
        int(path.parent.name) for path in version_folder(root, dataset).glob(f"[0-9]*/{CARD_FILE}")
    )


def prune_versions(root: Path, dataset: str) -> None:
    """Remove stored versions that no alias names, except the newest `KEPT`; the registry keeps them
    all.
    """
    for version in set(stored_versions(root, dataset)[:-KEPT_VERSIONS]) - set(
        read_aliases(root, dataset).values()
    ):
        shutil.rmtree(version_folder(root, dataset, version))


def version_folder(root: Path, dataset: str, version: int | None = None) -> Path:
    folder = ProjectPaths.of(root).champions(dataset)
    return folder if version is None else folder / str(version)


def _described(folder: Path) -> dict[str, Any]:
    path = folder / CARD_FILE
    content = files.read_saved(path, SCHEMA)
    digest = content.pop("digest", None)
    if digest != files.sha256_of(content):
        raise DataError(f"{path}: not the file that was saved (its digest differs).")
    return content


def _require_same(path: Path, sha256: str) -> None:
    if not path.exists() or files.sha256(path) != sha256:
        raise DataError(f"{path}: missing, or not the file that was saved (its sha256 differs).")


def _repair(dataset: str) -> str:
    return (
        f"`forecast doctor --repair` takes it from the registry; `forecast promote {dataset}` makes"
        " a new one."
    )


HISTORY = "history.jsonl"
MAX_EVENTS = 1000
"""Events kept: three years of daily ones."""


def record_event(root: Path, dataset: str, event: Mapping[str, Any], *, now: pd.Timestamp) -> None:
    """Append one event; the file is replaced whole, so a kill leaves the old one or the new one."""
    lines = [*read_events(root, dataset), {"at": now.floor("s").isoformat(), **event}][-MAX_EVENTS:]
    text = "".join(json.dumps(line, sort_keys=True, default=str) + "\n" for line in lines)
    files.write_text(version_folder(root, dataset) / HISTORY, text)


def read_events(root: Path, dataset: str) -> list[dict[str, Any]]:
    """All events, oldest first; a line that cannot be read is left out."""
    path = version_folder(root, dataset) / HISTORY
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def history_rows(root: Path, dataset: str, kind: str) -> list[dict[str, Any]]:
    """The events as rows of equal columns, with what is known about the version of each. kind: of
    the calendar.
    """
    rows = []
    for event in read_events(root, dataset):
        meta = find_card(root, dataset, event.get("version"))
        skill = meta.metrics.get("skill") if meta else None
        rows.append(
            {
                "at": event.get("at", ""),
                "event": event.get("event", ""),
                "version": event.get("version"),
                "from": event.get("from"),
                "model": meta.candidate if meta else "",
                "training_cutoff": format_time(kind, meta.training_cutoff, 10) if meta else "",
                "test_skill": round(skill, 4) if skill is not None else None,
                "reason": event.get("reason", ""),
            }
        )
    return rows


def read_live_accuracy(root: Path, dataset: str) -> tuple[str, list[LiveAccuracy]]:
    """The scores as last written, and the `as_of` of their data; empty when there are none."""
    content = files.noted(ProjectPaths.of(root).live_forecasts(dataset).with_suffix(".json"))
    try:
        return str(content["as_of"]), [
            files.remade(LiveAccuracy, entry) for entry in content["live"]
        ]
    except (TypeError, KeyError):
        return "", []
