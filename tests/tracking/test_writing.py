"""One published run, looked at from all sides: numbers, trials, dataset and a model that
forecasts.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast import models
from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.data.records import RunRecord, SeedFit
from forecast.data.scaling import Scaling
from forecast.forecaster import Forecaster
from forecast.forecaster.ensemble import Ensemble
from forecast.system import files
from forecast.tracking import mlflow_client, model_registry, sync, tracking_store
from tests.support.records import DATASET, write_records

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Seen:
    root: Path
    run: Any
    trials: list[Any]
    histories: dict[str, list[tuple[int, float]]]
    artifacts: set[str]
    folder: Path
    model: Any


UNKNOWN = np.full((2, 1), np.nan)
SCALING = Scaling(
    centre={"dublin": np.zeros(1)},
    scale={"dublin": np.ones(1)},
    wild_limits={"dublin": UNKNOWN},
    ranges={"dublin": UNKNOWN},
)


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> Seen:
    """The run of a network whose saved forecaster is a real one."""
    root = write_records(
        tmp_path_factory.mktemp("project"), candidates=("lstm.linear",), origins=12
    )
    task = validate_config(Dataset, DATASET, where="test").task
    forecaster = Forecaster(
        "weather", task, models.spec({"family": "naive"}, where="test"), SCALING
    )
    forecaster.save(root / "data" / "trained" / "weather" / "lstm.linear" / "seed-0")
    hours = pd.date_range("2025-01-01", periods=6, freq="1h")
    frame = pd.DataFrame({"unique_id": "dublin", "ds": hours, "temperature": np.arange(6.0)})
    files.write_frame(root / "data" / "prepared" / "weather" / "frame.parquet", frame)
    sync(root, now=1.8e9, revision="0123456789")
    with mlflow_client.connect(tracking_store(root)) as client:
        experiment = client.get_experiment_by_name("weather").experiment_id
        parent = client.search_runs([experiment], "tags.kind = 'network'")[0]
        names = ("test_by_step/mae", "validation_loss/seed_0")
        histories = {name: client.get_metric_history(parent.info.run_id, name) for name in names}
        return Seen(
            root=root,
            run=parent,
            trials=list(
                client.search_runs(
                    [experiment], "tags.kind = 'trial'", order_by=["start_time DESC"]
                )
            ),
            histories={
                name: [(m.step, m.value) for m in history] for name, history in histories.items()
            },
            artifacts={file.path for file in client.list_artifacts(parent.info.run_id)},
            folder=Path(client.download_artifacts(parent.info.run_id, "")),
            model=client.get_logged_model(parent.outputs.model_outputs[0].model_id),
        )


def test_saving_a_model_leaves_the_checks_of_mlflow_as_they_were(logged: Seen) -> None:
    from mlflow.utils import environment, requirements_utils

    check = requirements_utils.warn_dependency_requirement_mismatches
    assert environment.warn_dependency_requirement_mismatches is check


def test_a_model_may_have_marks_in_its_name_that_mlflow_refuses(tmp_path):
    root = write_records(tmp_path, candidates=("lstm.linear",), origins=2)
    folder = root / "data" / "trained" / "weather" / "lstm.linear"
    files.write_json(
        folder / "record.json",
        {**files.read_json(folder / "record.json"), "model": "lstm_1.5, 50%"},
    )
    task = validate_config(Dataset, DATASET, where="test").task
    Forecaster("weather", task, models.spec({"family": "naive"}, where="test"), SCALING).save(
        folder / "seed-0"
    )
    assert sync(root, now=1.8e9).published == ["weather: lstm_1.5, 50%"]


@pytest.mark.parametrize("missing", ["named otherwise", "failed"])
def test_a_run_has_the_model_of_the_first_seed_that_has_one(tmp_path, missing):
    root = write_records(tmp_path, candidates=("lstm.linear",), origins=2)
    folder = root / "data" / "trained" / "weather" / "lstm.linear"
    record = RunRecord.read(folder / "record.json")
    seeds = [fit.model_copy(update={"seed": fit.seed + 3}) for fit in record.seeds]
    if missing == "failed":
        seeds = [SeedFit(seed=0, status="failed", reason="diverged"), *seeds]
    record.model_copy(update={"seeds": tuple(seeds)}).write(folder / "record.json")
    task = validate_config(Dataset, DATASET, where="test").task
    shutil.rmtree(folder / "seed-0")
    Forecaster("weather", task, models.spec({"family": "naive"}, where="test"), SCALING).save(
        folder / "seed-3"
    )
    sync(root, now=1.8e9)
    with mlflow_client.connect(tracking_store(root)) as client:
        experiment = client.get_experiment_by_name("weather").experiment_id
        (parent,) = client.search_runs([experiment], "tags.kind = 'network'")
    assert len(parent.outputs.model_outputs) == 1


def test_the_run_carries_parameters_scores_size_and_cost(logged):
    assert logged.run.info.run_name == "lstm" and logged.run.info.status == "FINISHED"
    assert logged.run.data.params["units"] == "64" and logged.run.data.params["loss"] == "huber"
    metrics = logged.run.data.metrics
    assert (
        metrics["test/mae"] == 1.0 and metrics["n_params"] == 1234 and metrics["cpu_seconds"] == 2.0
    )
    assert logged.run.data.tags["mlflow.source.git.commit"] == "0123456789"
    assert logged.run.info.end_time - logged.run.info.start_time == 1500


def test_errors_by_horizon_step_and_learning_curves_are_lines(logged):
    assert [step for step, _ in logged.histories["test_by_step/mae"]] == [1, 2, 3]
    assert [step for step, _ in logged.histories["validation_loss/seed_0"]] == [0, 10, 20, 30]


def load_logged(logged: Seen) -> Any:
    with mlflow_client.silence_warnings():
        import mlflow.pyfunc  # it warns when it is imported

        return mlflow.pyfunc.load_model(logged.model.artifact_location)


def test_the_dataset_is_named_with_its_digest(logged):
    data = logged.run.inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest) == ("weather", "a" * 12)


def test_the_signature_names_inputs_outputs_and_parameters(logged):
    signature = load_logged(logged).metadata.signature
    assert signature.inputs.input_names() == ["unique_id", "ds", "temperature"]
    assert signature.outputs.input_names() == [
        *("unique_id", "output", "cutoff", "step", "ds", "y_hat")
    ]
    assert [parameter.name for parameter in signature.params] == ["horizon", "levels"]


def test_whole_numbers_and_columns_of_no_account_are_taken(logged):
    model = load_logged(logged)
    hours = pd.date_range("2025-01-01", periods=5, freq="1h")
    frame = pd.DataFrame({"unique_id": "dublin", "ds": hours, "temperature": range(5), "note": "x"})
    assert model.predict(frame)["y_hat"].tolist() == [4.0, 4.0, 4.0]


def test_a_version_is_linked_on_the_page_of_its_run(logged, tmp_path):
    model = logged.model.artifact_location.removeprefix("file://")
    Ensemble((Forecaster.load(Path(model) / "artifacts" / "seed-0"),)).save(tmp_path / "champion")
    store = tracking_store(logged.root)
    number = model_registry.register_version(
        store, "weather", tmp_path / "champion", {"candidate": "lstm.linear"}
    )
    with mlflow_client.connect(store) as client:
        version = client.get_model_version("weather", str(number))
        assert version.run_id == logged.run.info.run_id


def test_trials_are_child_runs_in_order_with_the_best_marked(logged):
    assert [run.info.run_name for run in logged.trials] == ["trial 0: lstm", "trial 1 (best): lstm"]
    assert {run.data.tags["mlflow.parentRunId"] for run in logged.trials} == {
        logged.run.info.run_id
    }
    assert logged.trials[1].data.params == {"units": "32", "learning_rate": "0.002"}
    assert logged.trials[1].data.metrics["trial/value"] == 0.5


def test_the_record_is_attached(logged):
    assert logged.artifacts == {"record.json"}
    assert json.loads((logged.folder / "record.json").read_text())["candidate"] == "lstm.linear"


PREDICT = """
import json, os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow.pyfunc, pandas as pd
from mlflow.exceptions import MlflowException

model = mlflow.pyfunc.load_model(sys.argv[1])
ds = pd.date_range("2025-01-01", periods=5, freq="1h")
frame = pd.DataFrame({"unique_id": "dublin", "ds": ds, "temperature": [1.0, 2.0, 3.0, 4.0, 5.0]})
said = model.predict(frame)
try:
    model.predict(frame.drop(columns="temperature"))
except MlflowException as error:
    refused = [error.error_code, str(error)]
print(json.dumps([said.astype(str).to_dict("list"), refused, "tensorflow" in sys.modules]))
"""


def test_the_logged_model_forecasts_without_tensorflow_and_refuses_bad_input_in_one_sentence(
    logged,
):
    assert logged.model.name == "lstm" and logged.model.source_run_id == logged.run.info.run_id
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PREDICT, logged.model.artifact_location]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    forecast, refused, tensorflow = json.loads(answer.stdout.splitlines()[-1])
    assert forecast["y_hat"] == ["5.0", "5.0", "5.0"] and forecast["step"] == ["1", "2", "3"]
    assert forecast["ds"][0] == "2025-01-01T05:00:00"
    assert refused[0] == "INVALID_PARAMETER_VALUE" and "temperature" in refused[1]
    assert not tensorflow
