"""Registers, promotes and rolls back versions of a dataset's model, in the MLflow registry and in
the local store together.

    selected_candidate    folder and card of the candidate that the last run selected
    register_candidate    makes a candidate a version
    register_refit        makes a refit on all data a version, which has no score
    promote               makes a version `champion`, the old one `previous`
    promote_selected      all of these for the last run's selection
    move_champion         carries out a `Promotion`, of a gate or by hand
    rollback              makes `previous` the champion again
    rollback_here         the same on this machine alone, while the registry does not answer
    take_over             makes the registry's champion that of this machine; only reads there
    repair_registry       makes registry and local store agree

Every step can be repeated. The registry's aliases change first and the local ones last, so that a
kill leaves a local champion that can be loaded. On all machines that share the store, one process
at a time changes a dataset's versions and aliases; another waits for `TIMEOUT` seconds (`take_over`
for none), then raises `BusyError`. tracking_uri: the value of MLFLOW_TRACKING_URI; empty means the
project's own database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.config.datasets import load_dataset
from forecast.config.models import NAIVE
from forecast.config.paths import ProjectPaths
from forecast.data import snapshots
from forecast.data.panel import add_series_names
from forecast.data.results import Results
from forecast.data.splits import Borders
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.operations import champion
from forecast.operations.predicting import read_newest_frame
from forecast.operations.records import ChampionCard, HistoryEvent
from forecast.system import files
from forecast.system.errors import DataError, ForecastError, InputError, quote_names
from forecast.system.postgres import CheckLock
from forecast.tracking import TrackingStore, hold_store_lock, model_registry, tracking_store
from forecast.tracking.model_registry import RegisteredModel

TIMEOUT = 120.0
"""Seconds to wait for another process that changes versions of the same dataset."""
CARD_METRICS = (*(metric.name for metric in metrics.METRICS), "n_origins")


Refit = Callable[[Path, Path], None]
"""Fits the recipe in a candidate's folder again on all data and writes the second folder."""


class ChampionChangedError(ForecastError):
    """Another version became the champion after a gate had decided for this one."""


def register_candidate(
    root: Path, dataset: str, trained_dir: Path, card: ChampionCard, *, tracking_uri: str = ""
) -> int:
    """Make the candidate in `trained_dir` (data/trained/<dataset>/<candidate>) a version; returns
    its number.

    It gets the alias `challenger`, unless it or its refit is the champion already. The same
    candidate again is the same version, whose damaged local copy is replaced. The copy in MLflow is
    first loaded and tried on the newest snapshot, where there is one. Raises `ForecastError` when
    MLflow cannot be written, `ModelError` when the copy's forecast is not finite.
    """
    ensemble = load_trained_ensemble(trained_dir)
    sample = _sample_request(root, dataset, ensemble)
    with _open_registry(root, dataset, tracking_uri) as opened, files.scratch_folder() as folder:
        opened.restore()
        model = folder / "champion"
        champion.write_version(model, ensemble, card)
        version = model_registry.register_version(
            opened.store,
            dataset,
            model,
            card.registry_tags(),
            sample=sample,
        )
        if not opened.is_intact(version):
            champion.store_version(root, dataset, version, model)
        serving = opened.registered.aliases.get("champion")
        if serving != version and not opened.is_refit(serving, version):
            opened.move_aliases([("challenger", version)])
            aliases = champion.read_aliases(root, dataset)
            champion.write_aliases(root, dataset, {**aliases, "challenger": version})
    return version


def register_refit(
    root: Path,
    dataset: str,
    folder: Path,
    scored_card: ChampionCard,
    scored_version: int,
    *,
    tracking_uri: str,
) -> int:
    """Make the refit on all data in `folder` a version; returns its number.

    scored_version, scored_card: the version whose recipe was fitted again. No data are left to
    score the refit on, so its card has no metrics, and its expected errors and intervals are those
    of the scored version.
    """
    borders = Borders.from_json(files.read_json(folder / "borders.json"))
    card = scored_card.model_copy(
        update={
            "training_cutoff": borders.validation_end.isoformat(),
            "last_target_used": borders.test_end.isoformat(),
            "metrics": {},
            "refit_of": scored_version,
        }
    )
    return register_candidate(root, dataset, folder, card, tracking_uri=tracking_uri)


@dataclass(frozen=True)
class SelectedPromotion:
    """The promotion of the last run's selection."""

    version: int
    """The champion."""
    refit_fault: str = ""
    """Why the refit failed, so that the scored version serves; else empty."""


def promote_selected(
    root: Path,
    dataset: str,
    *,
    now: pd.Timestamp,
    revision: str,
    refit: Refit | None,
    reason: str = "",
    tracking_uri: str = "",
) -> SelectedPromotion:
    """Make the candidate that the last run selected on validation the champion: its refit on all
    data, or the scored version without `refit` or where that fails.

    The same call again finds the same versions, and fits nothing where its refit is the champion.
    Raises `InputError` without a comparison.
    """
    folder, card = selected_candidate(root, dataset, now=now, revision=revision)
    scored = register_candidate(root, dataset, folder, card, tracking_uri=tracking_uri)
    version = scored
    fault = ""
    if refit is not None:
        current = champion.read_aliases(root, dataset).get("champion", 0)
        current_card = champion.find_card(root, dataset, current)
        if current_card is not None and current_card.refit_of == scored:
            return SelectedPromotion(current)
        with files.scratch_folder() as scratch:
            try:
                refit(folder, scratch / "refit")
            except ForecastError as error:
                fault = str(error)
            else:
                version = register_refit(
                    root, dataset, scratch / "refit", card, scored, tracking_uri=tracking_uri
                )
    promote(root, dataset, version, now=now, reason=reason, tracking_uri=tracking_uri)
    return SelectedPromotion(version, fault)


@dataclass(frozen=True)
class Promotion:
    """One change of a dataset's champion."""

    version: int
    reason: str
    event: str = "promoted"
    """The event's name in the history."""
    is_judged: bool = False
    """Whether a gate decided for it."""
    judged_against: int | None = None
    """The champion that the gate compared it with; None where there was none."""
    last_move: str | None = None
    """`Decision.last_move`; None for a refit, which follows its scored version at once."""


def promote(
    root: Path,
    dataset: str,
    version: int,
    *,
    now: pd.Timestamp,
    reason: str = "",
    tracking_uri: str = "",
) -> None:
    """Make `version` the champion by hand; see `move_champion`."""
    move_champion(root, dataset, Promotion(version, reason), now, tracking_uri)


def move_champion(
    root: Path, dataset: str, promotion: Promotion, now: pd.Timestamp, tracking_uri: str
) -> None:
    """Make the promotion's version the champion, and the old champion `previous`.

    The order is: the registry's aliases `previous`, `champion` and `challenger`, the local aliases,
    the history. Where the version is the champion already, `previous` stays as it is, and so does
    the history, unless it lacks this move, as after a kill. A retraining promotes two versions, the
    scored one and its refit. The scored one does not become `previous` where there is a `previous`
    already, so that a rollback takes back the whole retraining. Where its refit is the champion, a
    killed retraining had promoted both, and nothing is moved.

    Raises `InputError` for a version that is not registered, the error of `champion.load_version`
    for one that cannot be loaded here, `ChampionChangedError` where the champion is no longer the
    one that the gate compared with.
    """
    version = promotion.version
    with _open_registry(root, dataset, tracking_uri) as opened:
        opened.restore()
        registered = opened.registered
        if version not in registered.versions:
            raise InputError(
                f"Dataset {dataset!r} has no version {version}; registered are"
                f" {list(registered.versions) or 'none'}."
            )
        replaced = registered.aliases.get("champion")
        if promotion.is_judged:
            if opened.is_refit(replaced, version):
                return
            _require_same_champion(opened, promotion, now)
        if opened.is_intact(version):
            # it may need a library that is not installed here
            champion.load_version(root, dataset, version)
        else:
            opened.download(version)
        if replaced == version:
            replaced = None  # what it replaced before a kill is not known any more
        moves: list[tuple[str, int | None]] = [("champion", version)]
        is_own_refit = promotion.is_judged and opened.is_refit(version, replaced)
        previous = None if replaced and not is_own_refit else registered.aliases.get("previous")
        previous = previous or replaced
        if previous == version:
            moves.append(("previous", None))  # the champion before it was deleted
        elif previous:
            moves.insert(0, ("previous", previous))
        if registered.aliases.get("challenger") == version:
            moves.append(("challenger", None))
        opened.move_aliases(moves)
        aliases = {**registered.aliases, **dict(moves)}
        champion.write_aliases(
            root, dataset, {alias: number for alias, number in aliases.items() if number}
        )
        last_move = champion.find_last_move(root, dataset)
        if replaced or last_move is None or last_move.version != version:
            _record_move(root, dataset, promotion, replaced, now)
        champion.prune_versions(root, dataset)


def _require_same_champion(opened: OpenRegistry, promotion: Promotion, now: pd.Timestamp) -> None:
    """Raises `ChampionChangedError` where the registry's champion is not the version that the gate
    compared with, nor the promoted one, which a killed promotion may have made the champion; and
    where the version compared with became the champion again after the decision, by a rollback.

    Another champion is taken over first, since the next gate would compare with the wrong one
    again. Without a champion, as after its deletion on MLflow's page, nothing is replaced.
    """
    current = opened.registered.aliases.get("champion")
    against = promotion.judged_against
    if current in (None, promotion.version):
        return
    if current == against:
        last_move = champion.find_last_move(opened.root, opened.dataset)
        is_moved_back = (
            last_move is not None
            and last_move.version == against
            # not which moment is later: the clock may have been set back
            and promotion.last_move not in (None, last_move.at)
        )
        if is_moved_back:
            raise ChampionChangedError(
                f"version {current} became the champion again after this one was judged better"
            )
        return
    with suppress(ForecastError):  # `status --registry` says why it cannot be loaded here
        list(opened.adopt_registered(now))
    judged = f"against version {against}" if against else "while there was no champion"
    raise ChampionChangedError(
        f"version {current} became the champion in the meantime; this one was judged {judged}"
    )


def rollback(
    root: Path, dataset: str, *, now: pd.Timestamp, reason: str = "", tracking_uri: str = ""
) -> int:
    """Make the previous version the champion again; returns its number.

    Where the registry's champion is this machine's previous version already, as after a kill, the
    call finishes the rollback and does not undo it. Raises `InputError` where there is no previous
    version.
    """
    with _open_registry(root, dataset, tracking_uri) as opened:
        # a registry that was lost and made again knows no previous version
        opened.restore()
        local = opened.local_aliases
        aliases = {**local, **opened.registered.aliases}
        if aliases.get("champion") == local.get("previous") != local.get("champion"):
            previous = aliases["champion"]
        else:
            previous = _require_previous(root, dataset, aliases)
    move_champion(root, dataset, Promotion(previous, reason, "rolled back"), now, tracking_uri)
    return previous


def rollback_here(root: Path, dataset: str, *, now: pd.Timestamp, reason: str) -> int:
    """Make the previous version the champion on this machine alone; returns its number.

    The registry's aliases follow when it is used next, unless another version became the champion
    there meanwhile. Raises `InputError` where there is no previous version, the error of
    `champion.load_version` for one that cannot be loaded here.
    """
    lock = ProjectPaths.of(root).lock(f"champion-{dataset}")
    with files.hold_lock(lock, purpose=f"Rolling back {dataset!r}", timeout=TIMEOUT):
        aliases = champion.read_aliases(root, dataset)
        previous = _require_previous(root, dataset, aliases)
        champion.load_version(root, dataset, previous)
        replaced = aliases["champion"]
        aliases |= {"previous": replaced, "champion": previous}
        champion.write_aliases(root, dataset, {champion.REGISTERED: replaced, **aliases})
        _record_move(root, dataset, Promotion(previous, reason, "rolled back"), replaced, now)
    return previous


def _require_previous(root: Path, dataset: str, aliases: Mapping[str, int]) -> int:
    """The version that a rollback makes the champion; `InputError` where there is none."""
    previous = aliases.get("previous")
    if previous is None or aliases.get("champion", previous) == previous:
        versions = champion.stored_versions(root, dataset) or "none"
        raise InputError(
            f"Dataset {dataset!r} has no previous champion to go back to; its versions: {versions}."
            f" `forecast promote {dataset} --version N` takes another."
        )
    return previous


def _record_move(
    root: Path, dataset: str, promotion: Promotion, replaced: int | None, now: pd.Timestamp
) -> None:
    """Write into the history that the promotion's version became the champion after `replaced`."""
    event = HistoryEvent(
        at=now.floor("s").isoformat(),
        event=promotion.event,
        version=promotion.version,
        replaced=replaced,
        reason=promotion.reason,
    )
    champion.record_event(root, dataset, event)


def repair_registry(
    root: Path, dataset: str, *, now: pd.Timestamp, tracking_uri: str = ""
) -> list[str]:
    """Make registry and local store agree; returns a sentence for each change.

    Versions that the registry lost (its database was deleted) are registered again under their
    numbers; then as `take_over`.
    """
    with _open_registry(root, dataset, tracking_uri) as opened:
        return [*opened.restore(), *opened.adopt_registered(now)]


def take_over(root: Path, dataset: str, *, now: pd.Timestamp, tracking_uri: str) -> list[str]:
    """Make the registry's champion that of this machine; returns a sentence for each change.

    Champion and previous version are downloaded where the local copy is damaged, missing or another
    model. Aliases are taken over, except after a rollback that was made here alone. Nothing is
    written into the registry. Raises `BusyError` while another process holds the lock, the error of
    `champion.load_version` for a new champion that cannot be loaded here, `InputError` where the
    champion was deleted from the registry; the old one serves on.
    """
    with _open_registry(root, dataset, tracking_uri, timeout=0.0) as opened:
        if deleted := opened.describe_deleted():
            raise InputError(deleted)
        return list(opened.adopt_registered(now))


def _sample_request(root: Path, dataset: str, ensemble: Ensemble) -> pd.DataFrame | None:
    """The rows of a sample request from the newest snapshot; None without a snapshot that fits.

    Where the model needs a plan the sample ends one horizon earlier, since the plan after the last
    observation may be given only with each forecast.
    """
    try:
        settings = load_dataset(dataset, ProjectPaths.of(root).configs)
        frame = read_newest_frame(root, dataset, settings, ensemble)
    except ForecastError:
        return None
    if ensemble.task.plans:
        frame = frame.groupby("unique_id").head(-ensemble.task.horizon)
    known = ensemble.scaling.centre
    rows = ensemble.select_newest_rows(frame[frame["unique_id"].isin(known)])
    lengths = rows.groupby("unique_id").size()
    return rows if len(lengths) == len(known) and lengths.min() >= ensemble.task.lookback else None


@dataclass
class OpenRegistry:
    """The registered model of a dataset and its local store, while this process holds the lock of
    both.
    """

    root: Path
    dataset: str
    store: TrackingStore
    check_lock: CheckLock
    registered: RegisteredModel
    """As it was when the registry was opened, or after the last restoration."""

    @property
    def local_aliases(self) -> dict[str, int]:
        """The local aliases; empty where their file is damaged."""
        try:
            return champion.read_aliases(self.root, self.dataset)
        except DataError:
            return {}

    def is_refit(self, version: int | None, scored: int | None) -> bool:
        """Whether `version` is the refit of the version `scored` on all data."""
        return self.registered.versions.get(version or 0, {}).get("refit_of") == str(scored)

    def is_intact(self, version: int) -> bool:
        """Whether the local copy of a version is undamaged, and `is_registered`."""
        try:
            champion.verify_version(self.root, self.dataset, version)
        except Exception:  # noqa: BLE001  any fault of the copy makes the caller replace it
            return False
        return self.is_registered(version)

    def is_registered(self, version: int) -> bool:
        """Whether the local copy of a version, readable or not, is the registered model, where that
        has a digest; False without a copy.
        """
        folder = champion.version_folder(self.root, self.dataset, version)
        try:
            digest = model_registry.model_digest(folder)
        except FileNotFoundError:
            return False
        tags = self.registered.versions.get(version, {})
        return digest == tags.get(model_registry.MODEL_DIGEST, digest)

    @property
    def is_older(self) -> bool:
        """Whether the registry was restored from a backup that is older than the champion of this
        machine: it never had that version, and its own champion is one of this machine's.
        """
        is_new = self.local_aliases.get("champion", 0) > self.registered.newest
        return is_new and self.is_registered(self.registered.aliases.get("champion", 0))

    def move_aliases(self, moves: Sequence[tuple[str, int | None]]) -> None:
        """Move aliases in the registry, in this order; None removes one. With `previous` before
        `champion` a kill leaves the champion with its predecessor, the old or the new one.
        """
        predecessor = self.registered.aliases.get("previous", 0)
        model_registry.move_aliases(self.store, self.dataset, moves, self.check_lock, predecessor)

    def download(self, version: int) -> None:
        """Download one version into the local store; no alias moves."""
        with files.scratch_folder() as scratch:
            folder = model_registry.download_version(self.store, self.dataset, version, scratch)
            try:
                champion.load_folder(folder, version)
            except ForecastError as error:
                address = f"models:/{self.dataset}/{version}"
                raise type(error)(str(error).replace(str(folder), address)) from None
            champion.store_version(self.root, self.dataset, version, folder)

    def restore(self) -> list[str]:
        """Register the intact local versions that the registry lost again, under their numbers;
        returns a sentence for each change. A version that somebody deleted there stays deleted.

        The local aliases champion and previous are set in the registry too where it has no
        champion or `is_older`, or where a rollback was made here alone and the registry's champion
        has not changed since.
        """
        registered = self.registered
        numbers = {*registered.versions}
        sentences = []
        for version in champion.stored_versions(self.root, self.dataset):
            if version > registered.newest and self.is_intact(version):
                model = champion.version_folder(self.root, self.dataset, version)
                tags = champion.read_card(self.root, self.dataset, version).registry_tags()
                model_registry.register_version(
                    self.store, self.dataset, model, tags, number=version
                )
                sentences.append(f"{self.dataset}: version {version} registered again")
                numbers.add(version)
        aliases = self.local_aliases
        replaced = aliases.pop(champion.REGISTERED, None)
        if self.is_older or registered.aliases.get("champion") in (None, replaced):
            # champion last: a registry without it, left by a kill, is completed the next time
            for alias in ("previous", "champion"):
                version = aliases.get(alias, 0)
                if version in numbers and version != registered.aliases.get(alias):
                    self.move_aliases([(alias, version)])
                    sentences.append(
                        f"{self.dataset}: version {version} is {alias} in the registry too"
                    )
        if replaced:
            champion.write_aliases(self.root, self.dataset, aliases)
        if sentences:
            self.registered = model_registry.read_registry(self.store, self.dataset)
        return sentences

    def adopt_registered(self, now: pd.Timestamp) -> Iterator[str]:
        """Take over versions and aliases as the function `take_over` says, and yield a sentence for
        each change; a new champion enters the history.
        """
        yield from self._download_aliased()
        aliases = dict(self.registered.aliases)
        local = self.local_aliases
        serving = aliases.get("champion")
        replaced = local.get("champion")
        if aliases == local or serving == local.get(champion.REGISTERED, 0):
            return
        if self.is_older:
            yield (
                f"{self.dataset}: the registry does not have version {replaced}, which serves here;"
                " `forecast doctor --repair` registers it again"
            )
            return
        if serving is None and replaced:  # it lost the champion; its restoration may be half done
            if deleted := self.describe_deleted():
                yield deleted
            return
        if serving:
            champion.load_version(self.root, self.dataset, serving)  # raises where it cannot be
        champion.write_aliases(self.root, self.dataset, aliases)
        if serving not in (None, replaced):
            promotion = Promotion(serving, "the registry's champion", "taken over")
            _record_move(self.root, self.dataset, promotion, replaced, now)
        yield f"{self.dataset}: aliases taken from the registry: {aliases}"

    def _download_aliased(self) -> Iterator[str]:
        """Download champion and previous version where the local copy is damaged, missing or
        another model; yields a sentence for each, and one for a previous version that cannot be
        taken over, for whatever reason.

        Of a version that is the same here and there, in a format that this program does not read,
        nothing is said, even of the champion. Any other error of the champion is raised.
        """
        for alias in ("champion", "previous"):
            version = self.registered.aliases.get(alias, 0)
            if not version or self.is_intact(version):
                continue
            try:
                self.download(version)
                yield f"{self.dataset}: version {version} ({alias}) taken from the registry"
            except ForecastError as error:
                if isinstance(error, InputError) and self.is_registered(version):
                    continue  # of an old format: `status` and `doctor` say it of the copy here
                if alias == "champion":
                    raise
                yield f"{self.dataset}: the previous version is not taken over: {error}"

    def describe_deleted(self) -> str:
        """A sentence where the registry has no champion, because somebody deleted the version there
        that is this machine's champion; empty for another registry, and without a champion here.
        """
        serving = self.local_aliases.get("champion", 0)
        if (
            not serving
            or "champion" in self.registered.aliases
            or serving in self.registered.versions
            or serving > self.registered.newest
        ):
            return ""
        return (
            f"{self.dataset}: version {serving}, which serves here, was deleted from the registry;"
            " `forecast rollback` or `forecast promote` names another"
        )


@contextmanager
def _open_registry(
    root: Path, dataset: str, tracking_uri: str, timeout: float = TIMEOUT
) -> Iterator[OpenRegistry]:
    """Lock the dataset's versions on this machine and in the shared store, read the registered
    model, and remove what a killed process left here.

    Raises `InputError` where the registered model belongs to another project or program.
    """
    store = tracking_store(root, tracking_uri)
    name = f"champion-{dataset}"
    purpose = f"Moving the champion of {dataset!r}"
    with (
        files.hold_lock(ProjectPaths.of(root).lock(name), purpose=purpose, timeout=timeout),
        hold_store_lock(store, name, purpose=purpose, timeout=timeout) as check,
    ):
        registered = model_registry.read_registry(store, dataset)
        registered.require_owner(store, dataset)
        # versions and aliases.json, not history.jsonl, which has a lock of its own
        files.remove_leftovers(champion.version_folder(root, dataset), "[0-9a]")
        yield OpenRegistry(root, dataset, store, check, registered)


def selected_candidate(
    project: Path, dataset: str, *, now: pd.Timestamp, revision: str
) -> tuple[Path, ChampionCard]:
    """Folder and card of the candidate that validation selected in the ranking as shipped.

    Raises `InputError` without a comparison, where the entry changed since, and where no candidate
    is selected or the selected one has failed.
    """
    results = Results(ProjectPaths.of(project), dataset)
    if not results.is_compared:
        raise InputError(
            f"{dataset}: no whole run compared the models yet, and one with --model is kept apart"
            f" (narrowed/) and promotes none. Run `forecast run --dataset {dataset}`, with all"
            " models or with those of a shorter list under `grids:` in configs/models.yaml that"
            " `grid:` in the dataset's entry names."
        )
    entry = load_dataset(dataset, results.paths.configs).task
    if changed := [key for key, value in entry if value != getattr(results.task, key)]:
        raise InputError(
            f"configs/datasets.yaml: {quote_names(changed)} of {dataset!r} changed since the last"
            f" run. Run `forecast run --dataset {dataset}`, or take the change back."
        )
    model = results.selected_model("shipped")
    if model is None:
        raise InputError(
            f"{dataset}: no model is selected as shipped. {' '.join(results.verdicts.sentences)}"
        )
    name = results.candidate(model, "shipped")
    if name is None or results.records[name].has_failed:
        raise InputError(
            f"{dataset}: {model!r} is selected, but not in data/trained/{dataset}. Run `forecast"
            " run`."
        )
    return results.folder(name), make_card(results, name, now=now, revision=revision)


def make_card(
    results: Results, candidate: str, *, now: pd.Timestamp, revision: str
) -> ChampionCard:
    """The card of a trained candidate; `now` is UTC without time zone."""
    record = results.records[candidate]
    score = results.score(record.model, record.ranking) or {}
    # not the pointer alone: a fetch after the run has moved it
    rows = files.read_frame(results.paths.raw(results.name))
    pointer = snapshots.find_pointer(results.paths.root, results.name, rows)
    return ChampionCard(
        dataset=results.name,
        candidate=record.candidate,
        model=record.model,
        training_cutoff=results.borders.validation_end.isoformat(),
        last_target_used=results.borders.calibration_end.isoformat(),
        as_of=pointer.as_of,
        data_sha256=pointer.sha256,
        config_hash=record.digests.config,
        git_revision=revision,
        created_at=now.floor("s").isoformat(),
        metrics={
            name: score[name] for name in CARD_METRICS if np.isfinite(score.get(name, np.nan))
        },
        expected=_error_by_step(results, candidate),
        naive=_error_by_step(results, NAIVE),
    )


def _error_by_step(results: Results, candidate: str) -> dict[str, list[float | None]]:
    """Series (`uid/output` with several targets) → test MAE of the seeds' mean by step (H,)."""
    rows = add_series_names(results.forecasts(candidate, "test"))
    mean = rows.groupby(["series", "cutoff", "step"])[["y", "y_hat"]].mean()
    mae = (mean["y"] - mean["y_hat"]).abs().groupby(["series", "step"]).mean()
    by_series = mae.groupby(level="series")
    return {str(series): files.json_number(by_step.to_numpy()) for series, by_step in by_series}
