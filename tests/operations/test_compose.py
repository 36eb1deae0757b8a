"""docs/templates/compose.yaml: valid by its schema, and its commands started for real beside each
other.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml

from tests.operations import postgres
from tests.support import small_project
from tests.support.small_project import ROOT

FILE = ROOT / "docs" / "templates" / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
SECONDS = 240


def test_it_is_valid_by_the_schema_of_compose() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(FILE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_what_is_no_compose_file(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(
        FILE.read_text(encoding="utf-8").replace("    command:", "    comand:"), encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(wrong),
    ]
    assert (
        subprocess.run(command, capture_output=True, timeout=SECONDS, check=False).returncode == 1
    )


def test_every_part_of_a_team_is_a_service_and_the_page_names_it() -> None:
    assert list(SERVICES) == ["postgres", "mlflow", "scheduler", "worker", "forecast"]
    page = (ROOT / "docs" / "team.md").read_text(encoding="utf-8")
    assert [name for name in SERVICES if f"`{name}`" not in page] == []
    addresses = set(SERVICES["forecast"]["environment"])
    assert addresses == {"FORECAST_CLUSTER", "FORECAST_DATABASE", "MLFLOW_TRACKING_URI"}
    assert SERVICES["worker"]["environment"] == SERVICES["forecast"]["environment"]


def test_no_port_is_open_beyond_the_host() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


class Here:
    """What the file's commands and addresses are on this machine, without containers."""

    def __init__(self, databases: Callable[..., str], artifacts: Path) -> None:
        self.mlflow, self.scheduler, dashboard = free_port(), free_port(), free_port()
        served, studies = databases("mlflow"), databases("forecast")
        self.changes = {
            r"postgresql://forecast:\S+?@postgres/mlflow": served,
            r"postgresql://forecast:\S.*?@postgres/forecast": studies,
            r"mlflow:5000,localhost:5000": f"127.0.0.1:{self.mlflow}",
            r"http://mlflow:5000": f"http://127.0.0.1:{self.mlflow}",
            r"--port 5000": f"--port {self.mlflow}",
            r"tcp://scheduler:8786": f"tcp://127.0.0.1:{self.scheduler}",
            r"--port 8786": f"--port {self.scheduler}",
            r"0\.0\.0\.0:8787": f"127.0.0.1:{dashboard}",
            r"0\.0\.0\.0": "127.0.0.1",
            r"/srv/artifacts": str(artifacts),
            r"/tmp/dask": str(artifacts / "dask"),
            r"\$\{\w+:-(\w+)\}": r"\1",
            r"\.venv/bin/forecast": f"{sys.executable} -m forecast",
            r"\.venv/bin/mlflow": f"{sys.executable} -m mlflow",
            r"\.venv/bin/dask": f"{sys.executable} -m dask",
        }
        self.studies = studies

    def put(self, text: str) -> str:
        for pattern, own_path in self.changes.items():
            text = re.sub(
                pattern, own_path.replace("\\", "\\\\") if own_path != r"\1" else own_path, text
            )
        assert "${" not in text and "/srv/" not in text, text
        return text

    def command(self, service: str) -> list[str]:
        return shlex.split(self.put(SERVICES[service]["command"]))

    def environment(self, service: str) -> dict[str, str]:
        given = {
            name: self.put(str(value))
            for name, value in SERVICES[service].get("environment", {}).items()
        }
        return small_project.environment(**given)


@contextmanager
def started(machine: Here, service: str, folder: Path) -> Iterator[Path]:
    """The service as a process group of its own; its log. Killed at the end, whatever happens."""
    log = folder / f"{service}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            machine.command(service),
            env=machine.environment(service),
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield log
        assert process.poll() is None, log.read_text()[-3000:]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def until(condition: Callable[[], bool], log: Path) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends, log.read_text()[-3000:]
        time.sleep(0.5)


def healthy(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_parts_work_together_when_they_are_started_for_real(tmp_path: Path) -> None:
    project = small_project.write_real(
        tmp_path / "project", models=("elman",), rankings=("shipped",)
    )
    with ExitStack() as stack:
        databases = stack.enter_context(postgres.running())
        (tmp_path / "artifacts").mkdir()
        machine = Here(databases, tmp_path / "artifacts")
        address = machine.environment("forecast")["MLFLOW_TRACKING_URI"]
        log = stack.enter_context(started(machine, "mlflow", tmp_path))
        until(lambda: healthy(address), log)
        log = stack.enter_context(started(machine, "scheduler", tmp_path))
        until(lambda: "Scheduler at" in log.read_text(), log)
        stack.enter_context(started(machine, "worker", project))
        command = [*machine.command("forecast"), "--jobs", "2"]
        done = subprocess.run(
            command,
            cwd=project,
            env=machine.environment("forecast"),
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output[-4000:]
        assert f"cluster tcp://127.0.0.1:{machine.scheduler}: 2 workers" in output
        with psycopg.connect(
            machine.studies, connect_timeout=10, options="-c statement_timeout=10000"
        ) as session:
            trials = session.execute(
                "select count(*) from trials where state = 'COMPLETE'"
            ).fetchone()
        assert trials is not None and trials[0] == 2, "the study of the one network, two trials"
        answer = requests.post(
            f"{address}/api/2.0/mlflow/experiments/search",
            json={"max_results": 100},
            timeout=30,
            verify=False,
        ).json()
        assert "wave" in {experiment["name"] for experiment in answer["experiments"]}
