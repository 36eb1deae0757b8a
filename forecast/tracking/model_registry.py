"""MLflow's model registry: a registered model per dataset, its versions with tags, and aliases.

`forecast.operations.registry` decides which version is the champion and keeps processes and
machines apart; here are the calls of MLflow. A version's artifact is a folder that
`forecaster.serving` loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.system import files
from forecast.system.addresses import public_address
from forecast.system.errors import DamagedError, InputError, ModelError
from forecast.system.postgres import CheckLock, check_nothing
from forecast.tracking import mlflow_client
from forecast.tracking.stores import PROJECT, TrackingStore
from forecast.tracking.writing import CANDIDATE, CURRENT, TRIAL, save_model

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

MODEL_DIGEST = "model_sha256"
NEWEST = "newest_version"
"""The tag of a registered model with the highest number given so far, also to a version that was
deleted since. MLflow gives no number twice.
"""
PREDECESSOR = "predecessor"
"""The tag of a version with the champion before it, written before the version itself becomes
`previous`.
"""
FILLER = "filler"
ARTIFACT = "artifacts"


@dataclass(frozen=True)
class RegisteredModel:
    """The registered model of one dataset."""

    versions: Mapping[int, Mapping[str, str]]
    """Number → tags, oldest first; the tag `MODEL_DIGEST` is the `model_digest` of its ensemble."""
    aliases: Mapping[str, int]
    """Alias → version. Where `champion` and `previous` are one version, as after a kill between two
    moves, `previous` is the champion's `PREDECESSOR`, if that is there.
    """
    project: str = ""
    """`stores.find_project_tag` of the project that registers its versions; empty for none."""
    newest: int = 0
    """The highest number that any version had; 0 where the registry was lost."""

    def require_owner(self, store: TrackingStore, name: str) -> None:
        """Raises `InputError` where the model belongs to a project with another first commit or
        folder in its repository, or where another program has registered all of its versions.
        """
        project = store.project
        refusal = f"The registered model {name!r} at {public_address(store.uri)} belongs to another"
        if project and self.project not in ("", project):
            raise InputError(
                f"{refusal} project (first commit {self.project}, here {project}). Give the dataset"
                f" another name; if the project is the same, set the model's tag {PROJECT!r} to"
                f" {project}."
            )
        if self.versions and not any(MODEL_DIGEST in tags for tags in self.versions.values()):
            raise InputError(
                f"{refusal} program, which made all of its versions. Give the dataset another name."
            )


def register_version(
    store: TrackingStore,
    name: str,
    model: Path,
    tags: Mapping[str, str],
    *,
    sample: pd.DataFrame | None = None,
    number: int | None = None,
) -> int:
    """Make the saved ensemble in the folder `model` a version of `name`; returns its number.

    An existing version with the same digest is returned, unless somebody removed its files from the
    store or `number` is given. sample: a request on which the logged copy is tried first;
    `ModelError` when its forecast is not finite.
    number: the version must get this number, as in a registry that was lost and is made again.
    """
    digest = model_digest(model)
    with mlflow_client.connect(store) as client:
        mlflow_client.ensure_model(client, name, f"Champions and challengers of dataset {name}")
        if store.project:
            client.set_registered_model_tag(name, PROJECT, store.project)
        versions = _list_versions(client, name)
        for known, known_tags in versions.items():
            is_same = number is None and known_tags.get(MODEL_DIGEST) == digest
            if is_same and _find_files(client, store, name, known):
                return known
        # The registry numbers versions itself and never reuses a number: the numbers before
        # `number` are used up by versions that are deleted at once. The tag tells a repair after a
        # kill which are.
        newest = max([int(client.get_registered_model(name).tags.get(NEWEST, 0)), *versions])
        for _ in range(newest + 1, number or 0):
            filler = client.create_model_version(name, mlflow_client.NOWHERE, tags={FILLER: "true"})
            client.set_registered_model_tag(name, NEWEST, filler.version)
            client.delete_model_version(name, filler.version)
        run_id = _find_run(client, store, name, tags.get(CANDIDATE, ""))
        model_copy = _log_model_copy(client, store, name, model, sample, run_id)
        # A server needs the model's id to accept its source. With a database as the store the id is
        # left out, since MLflow would look it up in its global store, which may be another one.
        model_id = model_copy.model_id if store.artifact_root is None else None
        if number is None:
            # before there is a version: one that a kill left without the tag could be deleted by
            # hand, and would be taken for lost
            client.set_registered_model_tag(name, NEWEST, newest + 1)
        version = client.create_model_version(
            name,
            model_copy.artifact_location,
            run_id,
            tags={**tags, MODEL_DIGEST: digest},
            model_id=model_id,
        )
        client.set_registered_model_tag(name, NEWEST, version.version)
        return int(version.version)


def read_registry(store: TrackingStore, name: str) -> RegisteredModel:
    """The registered model of a dataset; without versions and aliases where there is none."""
    with mlflow_client.connect(store) as client:
        versions = _list_versions(client, name)
        for model in client.search_registered_models(f"name = '{name}'"):
            aliases = {alias: int(version) for alias, version in model.aliases.items()}
            if aliases.get("previous") == aliases.get("champion", 0):
                predecessor = int(versions[aliases.pop("previous")].get(PREDECESSOR, 0))
                if predecessor in versions:
                    aliases["previous"] = predecessor
            newest = max([int(model.tags.get(NEWEST, 0)), *versions])
            return RegisteredModel(versions, aliases, model.tags.get(PROJECT, ""), newest)
        return RegisteredModel(versions, {})


def move_aliases(
    store: TrackingStore,
    name: str,
    moves: Sequence[tuple[str, int | None]],
    check_lock: CheckLock = check_nothing,
    predecessor: int = 0,
) -> None:
    """Set each alias to its version (None removes the alias), in the given order.

    predecessor: the version that was `previous`, 0 for none. The next one is tagged with it.
    check_lock: called before each alias. Raises `ForecastError` for a version that does not exist,
    and for whatever else the store refuses.
    """
    with mlflow_client.connect(store) as client:
        for alias, version in moves:
            check_lock()
            if version is None:
                client.delete_registered_model_alias(name, alias)
                continue
            if alias == "previous" and version != predecessor:
                client.set_model_version_tag(name, str(version), PREDECESSOR, str(predecessor))
            client.set_registered_model_alias(name, alias, str(version))


def download_version(store: TrackingStore, name: str, version: int, target: Path) -> Path:
    """Copy the version's ensemble below `target`; returns its folder.

    Raises `DamagedError` where the artifact has no ensemble.
    """
    import mlflow.artifacts

    with mlflow_client.connect(store) as client:
        uri = _find_files(client, store, name, version)
        if uri:
            mlflow.artifacts.download_artifacts(uri, dst_path=str(target), tracking_uri=store.uri)
    folders = sorted(path.parent for path in target.glob(f"**/{ARTIFACT}/*/ensemble.json"))
    if not folders:
        raise DamagedError(
            f"Model {name!r}, version {version}: the store has no saved ensemble of it (any more)."
            f" `forecast promote {name}` registers the selected model again."
        )
    return folders[0]


def _find_files(client: MlflowClient, store: TrackingStore, name: str, version: int) -> str:
    """The address of a version's artifact; empty where somebody removed it."""
    import mlflow.artifacts

    uri = client.get_model_version_download_uri(name, str(version))
    return uri if mlflow.artifacts.list_artifacts(uri, tracking_uri=store.uri) else ""


def _find_run(
    client: MlflowClient, store: TrackingStore, dataset: str, candidate: str
) -> str | None:
    """The id of the candidate's current run, whose page will link to the version; None where this
    project has published none.
    """
    experiment = client.get_experiment_by_name(dataset)
    if experiment is None:
        return None
    current = client.search_runs(
        [experiment.experiment_id],
        f"tags.{CANDIDATE} = '{candidate}' AND tags.{CURRENT} = 'true' AND tags.kind != '{TRIAL}'",
    )
    return next((str(run.info.run_id) for run in current if store.owns_run(run)), None)


def _log_model_copy(
    client: MlflowClient,
    store: TrackingStore,
    name: str,
    ensemble_folder: Path,
    sample: pd.DataFrame | None,
    run_id: str | None,
) -> LoggedModel:
    """Log a copy of a saved ensemble as an MLflow model, after trying it on `sample`.

    run_id: the run that the ensemble comes from.
    """
    experiment = mlflow_client.ensure_experiment(client, name, store)
    with files.scratch_folder() as folder:
        model_folder = folder / "model"
        save_model(ensemble_folder, model_folder, example=sample)
        if sample is not None:
            _try_forecast(model_folder, sample)
        model_copy = client.create_logged_model(
            experiment.experiment_id, name="champion-candidate", source_run_id=run_id
        )
        client.log_model_artifacts(model_copy.model_id, str(model_folder))
        return client.finalize_logged_model(model_copy.model_id, "READY")


def _try_forecast(model_folder: Path, sample: pd.DataFrame) -> None:
    """Load the saved model as MLflow does, and forecast once.

    Raises `ModelError` where that fails or the forecast is not finite.
    """
    import mlflow.pyfunc
    import numpy as np
    from mlflow.exceptions import MlflowException

    fault = "The model was saved, but its copy forecasts nothing finite; it was not registered."
    try:
        answer = mlflow.pyfunc.load_model(str(model_folder), suppress_warnings=True).predict(sample)
    except MlflowException as error:
        raise ModelError(f"{fault} It said: {error.message}") from None
    if answer.empty or not np.isfinite(answer["y_hat"].to_numpy()).all():
        raise ModelError(fault)


def _list_versions(client: MlflowClient, name: str) -> dict[int, dict[str, str]]:
    """Number → tags of the versions of a registered model, oldest first, without those that only
    use up a number.
    """
    versions = client.search_model_versions(
        f"name = '{name}'", max_results=10_000, order_by=["version_number ASC"]
    )
    return {int(v.version): dict(v.tags) for v in versions if FILLER not in v.tags}


def model_digest(model: Path) -> str:
    """The SHA-256 of a saved ensemble's manifest, which differs between any two ensembles."""
    return files.sha256(model / "ensemble.json")
