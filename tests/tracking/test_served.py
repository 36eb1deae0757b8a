"""What a request to MLflow's scoring server may cost: bytes, columns and seconds; and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException

from forecast.tracking import mlflow_client
from tests.faults.processes import eventually
from tests.support import small_project
from tests.support.serving import free_port, wait_for_server

with mlflow_client.silence_warnings():  # MLflow's of its own types
    from forecast.tracking import served
    from forecast.tracking.served import OverdueError, decode_table, end_overdue_work

SLOW_MODEL = """
import time
from pathlib import Path
import mlflow
import pandas
from mlflow.pyfunc import PythonModel

class Slow(PythonModel):
    def load_context(self, context):
        from forecast.tracking.served import bound_requests
        bound_requests(5_000)

    def predict(self, context, model_input: pandas.DataFrame, params=None) -> pandas.DataFrame:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            Path("beat").write_text(str(time.monotonic()))
            try:
                sum(range(10_000))
            except Exception:
                pass
        return model_input

mlflow.models.set_model(Slow())
"""
REQUEST = {"dataframe_split": {"columns": ["y"], "data": [[1.0]]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model whose forecast takes five minutes."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.py").write_text(SLOW_MODEL)
    with mlflow_client.silence_warnings():
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import DataType, ParamSchema, ParamSpec

        # given, because MLflow warns of its own types when it infers one
        signature = ModelSignature(params=ParamSchema([ParamSpec("horizon", DataType.long, 0)]))
        mlflow.pyfunc.save_model(
            str(folder / "model"),
            python_model=str(folder / "slow.py"),
            signature=signature,
            pip_requirements=["mlflow"],
        )
    return folder


@contextmanager
def serving(folder: Path, deadline: int) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address and the process of a server that gives a request `deadline` seconds."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "model"]
    command += ["--env-manager", "local", "--port", url.rpartition(":")[2]]
    environment = small_project.environment(
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT=str(deadline),
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for_server(url, process, log)
            yield url, process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_at_work(folder: Path) -> bool:
    before = (folder / "beat").read_text()
    time.sleep(0.5)
    return (folder / "beat").read_text() != before


def test_the_deadline_of_a_request_ends_its_work_and_the_next_one_is_answered(folder: Path) -> None:
    with serving(folder, deadline=2) as (url, _):
        for _ in range(2):
            answer = requests.post(f"{url}/invocations", json=REQUEST, timeout=60)
            assert answer.status_code == 504
            assert eventually(lambda: not is_at_work(folder), 5)
        assert requests.get(f"{url}/ping", timeout=60).status_code == 200


def test_sigterm_ends_a_server_whose_request_is_at_work(folder: Path) -> None:
    (folder / "beat").unlink(missing_ok=True)
    with serving(folder, deadline=300) as (url, process):

        def ask() -> None:
            with pytest.raises(requests.RequestException):
                requests.post(f"{url}/invocations", json=REQUEST, timeout=60).raise_for_status()

        asking = threading.Thread(target=ask)
        asking.start()
        assert eventually((folder / "beat").exists)
        process.terminate()
        process.wait(timeout=60)
        asking.join(timeout=60)  # its connection ends with the process
        assert not is_at_work(folder)


def test_work_within_its_time_keeps_its_result_and_its_error() -> None:
    assert end_overdue_work(lambda: 7, 60) == 7
    with pytest.raises(KeyError):
        end_overdue_work(lambda: {}["absent"], 60)


def test_work_that_swallows_every_exception_is_ended_and_the_thread_is_free_afterwards() -> None:
    def swallow() -> None:
        while True:
            try:
                sum(range(1_000))
            except Exception:
                continue

    for _ in range(5):
        with pytest.raises(OverdueError):
            end_overdue_work(swallow, 0.05)
    assert sum(range(1_000_000)) == 499_999_500_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"dataframe_split": {"columns": [f"c{i}" for i in range(9)], "data": []}},
            "has 9 columns, wanted at most 8",
        ),
        ({"dataframe_records": [dict.fromkeys("abcdefghi", 1)]}, "has 9 columns"),
        ({"dataframe_records": [{"a": 1}, {"b": 1}]}, "Records 0 and 1 .* different columns"),
        ({"inputs": {name: [1] for name in "abcdefghi"}}, "has 9 columns"),
        ({"instances": [dict.fromkeys("abcdefghi", 1)]}, "has 9 columns"),
    ],
    ids=["split", "records", "ragged records", "inputs", "instances"],
)
def test_a_wide_table_is_refused_before_it_becomes_one(content: dict, words: str) -> None:
    with pytest.raises(MlflowException, match=words):
        decode_table(json.loads, 8, json.dumps(content))


@pytest.mark.parametrize(
    "content",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}},
        {"dataframe_records": [{"a": 1, "b": 2}, {"b": None, "a": 1}]},
        {"dataframe_records": []},
        {"dataframe_records": [3]},
        {"dataframe_split": [3]},
        {"instances": [[1.0]]},
    ],
)
def test_every_other_table_is_left_to_mlflow(content: dict) -> None:
    assert decode_table(json.loads, 8, json.dumps(content)) == content


def test_csv_is_refused_by_its_header_and_parquet_by_its_kind() -> None:
    body = b"a,b,c,d,e,f,g,h,i\n1,1,1,1,1,1,1,1,1\n"
    for kind, words in (
        ("text/csv; charset=utf-8", "has 9 columns, wanted at most 8"),
        ("application/vnd.apache.parquet", "a table of any size"),
    ):
        with pytest.raises(MlflowException, match=words):
            served.answer_unchecked(
                lambda *_: pytest.fail("it was parsed"), 8, body, kind, None, None
            )


def test_bytes_are_counted_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MAX_REQUEST_BYTES", 10)
    with pytest.raises(MlflowException, match="has 11 bytes, wanted at most 10"):
        served.answer_in_time(lambda *_: pytest.fail("it was parsed"), 60, b"1" * 11)


def test_a_parameter_of_another_name_is_refused_and_not_dropped() -> None:
    """MLflow answered 200 as if it had not been given."""
    for given in ({"horizons": 3}, {"horizon": 3, "level": [80]}):
        content = {"inputs": {"y": [1.0]}, "params": given}
        with pytest.raises(MlflowException, match=r"Unknown in `params`: .* Known are `horizon`"):
            decode_table(dict, 10, content)
    content = {"inputs": {"y": [1.0]}, "params": {"horizon": 3, "levels": [80]}}
    assert decode_table(dict, 10, content) == content
