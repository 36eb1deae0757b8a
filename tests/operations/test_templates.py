"""docs/templates: each is read by its own verifier where there is one, else by a parser; its
commands are ours.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from apscheduler.triggers.cron import CronTrigger

from forecast.cli import app
from tests.support.small_project import ROOT

TEMPLATES = ROOT / "docs" / "templates"
NAMES = (
    "forecast-retrain@.service",
    "forecast-retrain@.timer",
    "crontab",
    "cronjob.yaml",
    "retrain.yml",
    "airflow_dag.py",
    "prefect_flow.py",
)


def test_these_are_all_templates_and_the_page_of_schedulers_names_each() -> None:
    # see test_compose.py
    assert sorted(path.name for path in TEMPLATES.iterdir()) == sorted([*NAMES, "compose.yaml"])
    page = (ROOT / "docs" / "schedulers.md").read_text()
    assert [name for name in NAMES if name not in page] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_template_calls_only_commands_that_exist(name: str) -> None:
    words = set(re.findall(r"\.venv/bin/forecast (\w+)", (TEMPLATES / name).read_text()))
    assert words or name.endswith(".timer")
    assert words <= {command.name for command in app.registered_commands}


def crons(text: str) -> list[str]:
    return re.findall(
        r"""^\s*(?:- cron: |schedule: )?"?((?:[\d*,/-]+ ){4}[\d*,/-]+)"?""", text, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("name", "package"), [("airflow_dag.py", "airflow"), ("prefect_flow.py", "prefect")]
)
def test_a_scheduler_in_python_reads_its_file_where_it_is_installed(
    name: str, package: str
) -> None:
    compile((TEMPLATES / name).read_text(), name, "exec")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    read = "import runpy, sys; runpy.run_path(sys.argv[1])"
    subprocess.run([sys.executable, "-c", read, str(TEMPLATES / name)], check=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "count"), [("crontab", 2), ("cronjob.yaml", 1), ("retrain.yml", 1)]
)
def test_cron_expressions_name_a_moment(name: str, count: int) -> None:
    expressions = crons((TEMPLATES / name).read_text())
    assert len(expressions) == count
    for expression in expressions:
        assert CronTrigger.from_crontab(expression, timezone=UTC).get_next_fire_time(
            None, datetime.now(UTC)
        )


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="no systemd here; the next test parses the units",
)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "forecast" / ".venv" / "bin").mkdir(parents=True)
    program = home / "forecast" / ".venv" / "bin" / "forecast"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for suffix in ("service", "timer"):
        text = (TEMPLATES / f"forecast-retrain@.{suffix}").read_text()
        (tmp_path / f"forecast-retrain@weather.{suffix}").write_text(text.replace("%h", str(home)))
    units = [f"forecast-retrain@weather.{suffix}" for suffix in ("timer", "service")]
    command = ["systemd-analyze", "verify", "--recursive-errors=no", *units]
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "forecast" in line]) == (
        0,
        [],
    )


def unit(name: str) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    for line in (TEMPLATES / name).read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = sections.setdefault(match[1], {})
        elif line and not line.startswith("#"):
            key, sign, value = line.partition("=")
            assert sign and key.isalnum(), line
            section[key] = value
    return sections


def test_the_units_say_what_the_page_says() -> None:
    service, timer = unit(NAMES[0]), unit(NAMES[1])
    assert service["Service"]["SuccessExitStatus"].split() == ["4", "75"]
    assert service["Service"]["ExecStart"].endswith("/.venv/bin/forecast retrain %i")
    assert (
        timer["Timer"]["Persistent"] == "true" and timer["Install"]["WantedBy"] == "timers.target"
    )


def test_the_cron_job_is_one_kubernetes_knows() -> None:
    job: dict[str, Any] = yaml.safe_load((TEMPLATES / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["concurrencyPolicy"]) == (
        "batch/v1",
        "CronJob",
        "Forbid",
    )
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} <= volumes
    assert pod["restartPolicy"] == "Never"
    if shutil.which("kubectl"):  # decodes the file by its own types, without a cluster
        command = [
            "kubectl",
            "set",
            "image",
            "--local",
            "-f",
            str(TEMPLATES / "cronjob.yaml"),
            "retrain=x",
            "-o",
            "name",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "cronjob.batch/forecast-retrain-weather", done.stderr


def test_the_workflow_is_one_github_reads() -> None:
    workflow: dict[Any, Any] = yaml.safe_load((TEMPLATES / "retrain.yml").read_text())
    # `on` is YAML's true
    assert workflow[True]["schedule"] and workflow["concurrency"]["cancel-in-progress"] is False
    steps = workflow["jobs"]["weather"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
