"""`mlflow models serve -m models:/wave@champion`, a real process: a right request, every wrong one
in a sentence.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess

import numpy as np
import pandas as pd
import psutil
import pytest
import requests

from forecast.operations import predicting
from tests.faults.processes import processes_of
from tests.operations import projects
from tests.operations.projects import NAME, NOW
from tests.support import small_project, warm_interpreter
from tests.support.serving import free_port, wait_for_server


@pytest.fixture(scope="module")
def service(running, tmp_path_factory):
    """The server's address; its processes end with the module."""
    port = free_port()
    folder = tmp_path_factory.mktemp("served")
    python = warm_interpreter.warm_python()
    uvicorn = folder / "uvicorn"  # MLflow looks for it in PATH
    uvicorn.write_text(f'#!/bin/sh\nexec {python} -m uvicorn "$@"\n')
    uvicorn.chmod(0o755)
    command = [python, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@champion"]
    command += ["--env-manager", "local", "--port", str(port)]
    extra = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{running}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment = small_project.environment(**extra, PATH=f"{folder}:{os.environ['PATH']}")
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=running.parent,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_server(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def history(root, **changes):
    """The documented request: the newest rows in MLflow's `dataframe_split`, times as ISO text."""
    rows = projects.prepared(root).tail(8).assign(**changes)
    return rows.assign(ds=rows["ds"].map(lambda moment: moment.isoformat()))


def ask(service, frame, **params):
    content = {"dataframe_split": json.loads(frame.to_json(orient="split", index=False))}
    return requests.post(f"{service}/invocations", json={**content, "params": params}, timeout=30)


def test_a_documented_request_is_answered_with_what_predict_says(service, running, moved):
    answer = ask(service, history(running), levels=[80, 95])
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    ours = predicting.forecast_champion(moved, NAME, now=NOW, usual_levels=(80, 95)).table
    for column in ("y_hat", "lo_80", "hi_80", "lo_95", "hi_95"):
        np.testing.assert_allclose([row[column] for row in rows], ours[column], rtol=1e-9)
    assert [row["ds"] for row in rows] == ["2024-07-19T00:00:00", "2024-07-20T00:00:00"]
    assert [
        row["step"] for row in ask(service, history(running), horizon=4).json()["predictions"]
    ] == [1, 2, 3, 4]


def changed(frame, row, column, value):
    result = frame.astype({column: object})
    result.loc[result.index[row], column] = value
    return result


WRONG = {
    "wrong columns": (lambda f: f.rename(columns={"y": "z"}), {}, "'z'. Send it under this name."),
    "text for a number": (
        lambda f: changed(f, 2, "y", "warm"),
        {},
        "holds text 'warm', wanted a number",
    ),
    "text for a time": (lambda f: changed(f, 0, "ds", "yesterday"), {}, "wanted ISO 8601 times"),
    "no rows": (lambda f: f.head(0), {}, "found no rows"),
    "a missing value": (
        lambda f: changed(f, 3, "y", float("nan")),
        {},
        "misses 1 of the last 7 steps",
    ),
    "a missing row": (lambda f: f.drop(index=f.index[4]), {}, "misses 1 of the last 7 steps"),
    "infinity": (
        lambda f: changed(f, 3, "y", "Infinity"),
        {},
        "holds text 'Infinity', wanted a number",
    ),
    "a time twice": (lambda f: changed(f, 1, "ds", f["ds"].iloc[0]), {}, "time"),
    "short history": (lambda f: f.tail(3), {}, "lookback=7"),
    "many unknown series": (
        lambda f: pd.concat([f.assign(unique_id=f"s{i}") for i in range(2_000)]),
        {},
        "not known; wanted 'wave'",
    ),
    "unknown series": (
        lambda f: f.assign(unique_id="mars"),
        {},
        "series 'mars' not known; wanted 'wave'",
    ),
    "huge horizon": (lambda f: f, {"horizon": 10**6}, "at most 20 steps"),
    "negative horizon": (lambda f: f, {"horizon": -1}, "wanted at least 1 step"),
    "a level too high": (lambda f: f, {"levels": [99.0]}, "takes at least 99"),
    "a level of no sense": (lambda f: f, {"levels": [250.0]}, "percent from 1 to below 100"),
    "a level as a share": (lambda f: f, {"levels": [0.95]}, "percent from 1 to below 100"),
    "horizon of the wrong type": (lambda f: f, {"horizon": "two"}, "horizon"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_told_in_a_sentence(service, running, case):
    change, params, pattern = WRONG[case]
    refused(ask(service, change(history(running)), **params), pattern)


@pytest.mark.parametrize(
    ("body", "kind", "pattern"),
    [
        (b'{"dataframe_split": {', "application/json", "valid JSON"),
        (b"[1, 2]", "application/json", "Received a list"),
        (b"{}", "application/json", "input fields"),
        (
            b'{"instances": [[1.0, 2.0]]}',
            "application/json",
            "wanted a table with one row per series and time",
        ),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "application/json", ""),
        (b'{"dataframe_records": []}', "application/json", "is missing"),
        (
            b'{"dataframe_split": {"columns": ["ds", "ds"], "data": [[1, 2]]}}',
            "application/json",
            "more than once",
        ),
        (b"unique_id,ds,y\nwave,2024-07-18,1e999\n", "text/csv", "request"),
        (b"ds;y\n\x00,1\n", "text/csv", ""),
    ],
    ids=[
        "broken",
        "a list",
        "nothing",
        "bare numbers",
        "ragged",
        "no records",
        "twice",
        "csv",
        "no csv",
    ],
)
def test_malformed_bodies_are_refused_too(service, body, kind, pattern):
    answer = requests.post(
        f"{service}/invocations", data=body, headers={"Content-Type": kind}, timeout=30
    )
    refused(answer, pattern)


def refused(answer, pattern):
    assert answer.status_code == 400, answer.text
    content = answer.json()
    assert pattern in content["message"]
    assert "Failed to predict data" not in answer.text and "Input:" not in answer.text
    assert (
        "Traceback" not in answer.text
        and "stack_trace" not in content
        and "File " not in answer.text
    )


def test_it_listens_on_loopback_alone(service, running):
    listening = {
        connection.laddr.ip
        for process in processes_of(running.parent)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_an_answer_costs_milliseconds(service, running):
    """Processor time of the server, which a busy machine stretches least."""
    body = {"dataframe_split": json.loads(history(running).to_json(orient="split", index=False))}
    family = processes_of(running.parent)
    assert family

    def measure_cpu():
        return sum(sum(process.cpu_times()[:2]) for process in family)

    with requests.Session() as client:
        client.post(f"{service}/invocations", json=body).raise_for_status()
        before = measure_cpu()
        for _ in range(30):
            client.post(f"{service}/invocations", json=body).raise_for_status()
    assert (measure_cpu() - before) / 30 < 0.04
