"""Writes runs and models to MLflow.

`Writer` writes a candidate as a parent run with its record, its model, and child runs for its
trials. `save_model` makes an MLflow model of a saved forecaster. `log_content` writes one run for a
retraining's decision or a row of an identification. `forecast.tracking.runs` computes the content.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.config.task import Task
from forecast.data.records import best_trial
from forecast.system import files
from forecast.system.progress import show_nothing
from forecast.tracking import mlflow_client, runs
from forecast.tracking.runs import CandidateRun, MetricPoint
from forecast.tracking.stores import PROJECT, TrackingStore

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

CANDIDATE = "candidate"
CURRENT = "current"
RECORD_DIGEST = "record_digest"
PARENT = "mlflow.parentRunId"
PUBLISHER = "mlflow.user"
TRIAL = "trial"
SERVED_CODE = Path(__file__).with_name("served.py")
REQUIREMENTS = (
    "numpy",
    "pandas",
    "pydantic",
    "pyyaml",
    "exchange-calendars",
    "filelock",
    "threadpoolctl",
)
NAME_REPLACEMENTS = str.maketrans(dict.fromkeys("/:.%\"'", "_"))
"""Characters that MLflow does not allow in the name of a model."""
BATCH = 1000
"""The most metrics that MLflow accepts in one call."""


@dataclass(frozen=True)
class Writer:
    """Writes runs to one experiment."""

    client: MlflowClient
    experiment_id: str
    store: TrackingStore
    start: int
    """Milliseconds since 1970."""
    revision: str = ""
    """The git commit, if any."""

    def write(self, candidate_run: CandidateRun, number: int) -> None:
        """Write the parent run and its trials; it is tagged current last, when it is complete.

        number: the place of the run in lists.
        """
        # lists are sorted by start: parents above trials, and the best model, written last, first
        start = self.start + 1 + number
        commit = {"mlflow.source.git.commit": self.revision} if self.revision else {}
        tags = {
            CANDIDATE: candidate_run.candidate,
            CURRENT: "false",
            **runs.run_tags(candidate_run),
            **commit,
        }
        with self._run(candidate_run.name, start, tags) as run_id:
            points = (
                runs.score_points(candidate_run)
                + runs.curve_points(candidate_run.record)
                + runs.diagnostic_points(candidate_run)
            )
            values = runs.parameter_texts(candidate_run.record.params)
            self._log(run_id, values, points, start)
            self._log_dataset(run_id, candidate_run)
            self._write_trials(candidate_run, run_id)
            self._log_files(run_id, candidate_run)
            self.tag(
                run_id,
                {
                    **runs.verdict_tags(candidate_run),
                    RECORD_DIGEST: candidate_run.digest,
                    CURRENT: "true",
                },
            )
            seconds = candidate_run.cost.wall_seconds or 0.0
            self._end(
                run_id, failed=candidate_run.record.has_failed, at=start + int(1000 * seconds)
            )

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def mark_interrupted(self, run_id: str, name: str) -> None:
        """End a run whose publishing was interrupted, as failed and not current."""
        self.tag(run_id, {CURRENT: "false", "reason": "publishing was interrupted"})
        self.client.update_run(run_id, name=f"{name} (interrupted)")
        self._end(run_id, failed=True, at=self.start)

    def _write_trials(self, candidate_run: CandidateRun, parent: str) -> None:
        """Write a child run of `parent` for each trial of the study; the best one is marked."""
        trials = candidate_run.record.trials
        best = best_trial(trials)
        for number, trial in enumerate(trials):
            tags = {
                PARENT: parent,
                "model": candidate_run.record.model,
                CANDIDATE: candidate_run.candidate,
                "kind": TRIAL,
                "ranking": candidate_run.record.ranking,
                "best_trial": str(trial is best).lower(),
                CURRENT: "true",
            }
            if trial.reason:
                tags["reason"] = trial.reason[: runs.MAX_TEXT]
            name = f"trial {trial.number}{' (best)' if trial is best else ''}: {candidate_run.name}"
            start = self.start - number
            with self._run(name, start, tags) as run_id:
                self._log(
                    run_id,
                    runs.parameter_texts(trial.params),
                    runs.trial_points(trial),
                    start,
                )
                self._end(run_id, failed=trial.value is None, at=start)

    def create(self, name: str, start: int, tags: Mapping[str, str]) -> Run:
        """A new run, with the tags that say who publishes it; the caller ends it. start:
        milliseconds since 1970.
        """
        tags = {
            **tags,
            PUBLISHER: self.store.publisher,
            PROJECT: self.store.owner,
            "mlflow.source.name": "forecast",
        }
        return self.client.create_run(self.experiment_id, start, tags, run_name=name)

    @contextmanager
    def _run(self, name: str, start: int, tags: Mapping[str, str]) -> Iterator[str]:
        """A new run, which is closed when the block fails or is interrupted."""
        run_id = self.create(name, start, tags).info.run_id
        try:
            yield run_id
        except BaseException:
            # where the store itself has failed, the next `sync` closes the run
            with contextlib.suppress(Exception):
                self.mark_interrupted(run_id, name)
            raise

    def _end(self, run_id: str, *, failed: bool, at: int) -> None:
        self.client.set_terminated(run_id, "FAILED" if failed else "FINISHED", at)

    def _log(
        self, run_id: str, values: Mapping[str, str], points: list[MetricPoint], at: int
    ) -> None:
        """Log the parameters and metrics of a run, the metrics in batches."""
        from mlflow.entities import Metric, Param

        metrics = [Metric(point.name, point.value, at, point.step) for point in points]
        params = [Param(name, value) for name, value in values.items()]
        for first in range(0, max(len(metrics), 1), BATCH):
            self.client.log_batch(
                run_id, metrics[first : first + BATCH], params if first == 0 else ()
            )

    def _log_dataset(self, run_id: str, candidate_run: CandidateRun) -> None:
        """Log the prepared data, by their digest, as the run's input."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        record = candidate_run.record
        source = json.dumps({"uri": f"data/prepared/{record.dataset}"})
        digest = record.digests.data[: runs.DIGEST_LENGTH] or "unknown"
        data = Dataset(record.dataset, digest, "local", source)
        self.client.log_inputs(
            run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
        )

    def _log_files(self, run_id: str, candidate_run: CandidateRun) -> None:
        """Log the record, and the model of the first seed with a saved one, as artifacts."""
        with files.scratch_folder() as folder:
            candidate_run.record.write(folder / "record.json")
            self.client.log_artifacts(run_id, str(folder))
            for fit in candidate_run.record.seeds:
                saved = candidate_run.folder / f"seed-{fit.seed}"
                if saved.exists():
                    self._log_model(run_id, candidate_run, saved, folder / "model")
                    break

    def _log_model(
        self, run_id: str, candidate_run: CandidateRun, forecaster_folder: Path, model_folder: Path
    ) -> None:
        """Log a saved forecaster as a model of the run, which MLflow's page can register.

        model_folder: a scratch folder for the MLflow model.
        """
        from mlflow.entities import LoggedModelOutput

        save_model(forecaster_folder, model_folder)
        name = candidate_run.name.replace(" (architecture alone)", "-architecture").translate(
            NAME_REPLACEMENTS
        )
        model = self.client.create_logged_model(self.experiment_id, name=name, source_run_id=run_id)
        self.client.log_model_artifacts(model.model_id, str(model_folder))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])


def save_model(
    forecaster_folder: Path, model_folder: Path, *, example: pd.DataFrame | None = None
) -> None:
    """Write an MLflow model with the forecaster or ensemble in `forecaster_folder` into
    `model_folder`; see `forecast.tracking.served`.

    example: a request that it answers, stored with the model.
    """
    import mlflow.pyfunc
    from mlflow.utils import environment

    # the smallest path: of an ensemble that of its first forecaster
    spec = files.read_json(min(forecaster_folder.rglob("spec.json")))
    # MLflow would compare all installed packages with the requirements, which are the installed
    # ones anyway: a fifth of the time of `promote --scored`.
    mlflow_environment: Any = environment
    warn = mlflow_environment.warn_dependency_requirement_mismatches
    mlflow_environment.warn_dependency_requirement_mismatches = show_nothing
    try:
        with mlflow_client.silence_warnings():
            mlflow.pyfunc.save_model(
                str(model_folder),
                python_model=str(SERVED_CODE),
                input_example=example,
                signature=signature_of(Task.model_validate(spec["task"])),
                artifacts={"forecaster": str(forecaster_folder)},
                # MLflow would take seconds to infer them, wrongly
                pip_requirements=_installed_requirements(),
            )
    finally:
        mlflow_environment.warn_dependency_requirement_mismatches = warn


@cache
def _installed_requirements() -> list[str]:
    """The packages that a served model needs, in the installed versions."""
    return [f"{name}=={version(name)}" for name in REQUIREMENTS]


def signature_of(task: Task) -> ModelSignature:
    """The inputs, outputs and parameters of a served forecaster; some registries require them.

    Every input is optional and of any type, so that `forecast.forecaster.serving` checks requests
    and not MLflow, which refuses whole numbers and answers a faulty table with the whole table.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    from forecast.data.schema import KEY_COLUMNS
    from forecast.forecaster.serving import DEFAULT_LEVELS

    names = dict.fromkeys([*KEY_COLUMNS, *task.plans, *task.frame_names, *task.static_names])
    outputs = {
        "unique_id": DataType.string,
        "output": DataType.string,
        "cutoff": DataType.string,
        "step": DataType.long,
        "ds": DataType.string,
        "y_hat": DataType.double,
    }
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in names]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
        params=ParamSchema(
            [
                ParamSpec("horizon", DataType.long, 0),
                ParamSpec("levels", DataType.double, [*DEFAULT_LEVELS], shape=(-1,)),
            ]
        ),
    )


CONTENT_KEY = "content_key"
"""The tag with the `key` of a decision or of a row of an identification."""
MAX_TAG = 5000
"""The most characters of a tag that every store accepts."""


def log_content(
    store: TrackingStore,
    experiment: str,
    name: str,
    content: Mapping[str, Any],
    file: str,
    *,
    now: float,
    folder: Path | None = None,
) -> str:
    """Write one finished run of `content`, unless one with its `key` is finished; returns its id.

    experiment: the name of the MLflow experiment, `<dataset> retraining` for a decision of the
    gate, the entry's name in configs/experiments.yaml for a contestant of an identification.

    `content["numbers"]` become metrics, texts and numbers tags, all of `content` the artifact
    `file`, and the files in `folder` artifacts. now: seconds since 1970. Raises the errors of
    `mlflow_client.connect`.
    """
    start = int(1000 * now)
    with mlflow_client.connect(store) as client:
        experiment_id = mlflow_client.ensure_experiment(client, experiment, store).experiment_id
        writer = Writer(client, experiment_id, store, start)
        key = content["key"]
        existing = client.search_runs([experiment_id], f"tags.{CONTENT_KEY} = '{key}'")
        run = next(filter(store.owns_run, existing), None) or writer.create(
            name, start, {CONTENT_KEY: key}
        )
        run_id = str(run.info.run_id)
        if run.info.status == "FINISHED":
            return run_id
        points = [MetricPoint(*number) for number in runs.flatten(content.get("numbers", {}), "/")]
        writer._log(run_id, {}, runs.finite_points(points), start)
        words = {
            k: str(v)[:MAX_TAG]
            for k, v in content.items()
            if isinstance(v, str | int | float) and k != "key"
        }
        writer.tag(run_id, words)
        with files.scratch_folder() as scratch:
            files.write_json(scratch / file, content)
            client.log_artifacts(run_id, str(scratch))
        if folder is not None and folder.exists():
            client.log_artifacts(run_id, str(folder), "model")
        writer._end(run_id, failed=False, at=start)
        return run_id
