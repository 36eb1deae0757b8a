import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.audit import KINDS, Audit, Finding, data_checks, order_findings, stored
from forecast.audit.__main__ import REVISED_HISTORY, _audit_results, main
from forecast.cli import app
from forecast.config.datasets import load_dataset
from forecast.data.preparation import take_snapshot
from forecast.data.snapshots import move_pointer
from tests.faults.processes import eventually, processes_of, started
from tests.support import small_project, warm_interpreter


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_project.write_real(tmp_path_factory.mktemp("audit") / "project", models=())


def test_the_command_runs_the_audit_in_a_process_of_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = subprocess.Popen

    def start(command, **options):
        calls.append((command, options))
        return real(["false"])

    arguments = ["wave", "--root", str(project), "--model", "lstm,gru", "--format", "json"]
    with real(["sleep", "600"]) as other_process:
        monkeypatch.setattr(subprocess, "Popen", start)
        result = CliRunner().invoke(app, ["audit", *arguments])
        is_running = other_process.poll() is None
        other_process.kill()
    assert is_running, "it is no process of the audit"
    command, options = calls[0]
    assert result.exit_code == 1 and options["cwd"] == project
    assert command[:4] == [sys.executable, "-m", "forecast.audit", "wave"]
    assert command[command.index("--models") + 1] == "lstm,gru" and "--json" in command


def test_an_unknown_dataset_is_one_sentence_and_exit_code_two(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wava", "--root", str(project), "--json"]) == 2
    assert "Did you mean 'wave'" in capsys.readouterr().err


def die(*arguments: object, **options: object) -> None:
    """As a process whose memory the system wants."""
    os._exit(137)


def test_a_run_whose_process_dies_is_one_sentence_and_exit_code_one(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forecast.audit.__main__.run_stages", die)
    assert main(["wave", "--root", str(project), "--json"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("audit: A process of the audit died at its work: killed")


def test_a_clean_project_is_told_with_what_was_checked(project: Path) -> None:
    command = [sys.executable, "-m", "forecast.audit", "wave", "--jobs", "2"]  # two at a time
    environment = small_project.environment(PYTHONPATH=str(project))
    done = warm_interpreter.run(command, cwd=project, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wave: no leak found. Checked: 4 candidates")
    assert "everything after each changed" in done.stderr
    assert not list(project.glob("forecast-audit-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_audit_with_its_processes_and_copies_without_a_traceback(
    project: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = started(project, "audit", "wave", "--jobs", "2", TMPDIR=str(tmp_path))
    assert run.stdout is not None and "the pipeline on the data" in run.stdout.readline()
    assert eventually(lambda: len(processes_of(project, running="forecast.audit")) >= 2)
    assert eventually(lambda: list(tmp_path.glob("forecast-*/*")))
    # a terminal sends Ctrl-C to all of them, an operator SIGTERM to one
    os.killpg(run.pid, number) if number == signal.SIGINT else run.terminate()
    output, _ = run.communicate(timeout=30)
    assert run.returncode == 130 and "Traceback" not in output
    assert eventually(lambda: not processes_of(project), 10)
    assert not list(tmp_path.glob("forecast-*"))


def test_causes_stand_before_effects_and_equal_findings_are_counted() -> None:
    findings = [
        Finding("forecast", "change", "lstm", "a forecast"),
        Finding("scaling", "nudge", "ridge", "the scaling of ridge"),
        Finding("scaling", "nudge", "lstm", "the scaling of lstm"),
    ]
    audited = Audit("wave", order_findings(findings), {"candidates": 2})
    lines = audited.describe()
    assert lines[0] == f"wave: LEAK: {KINDS['scaling']}; with it: {KINDS['forecast']}."
    assert "(ridge and 1 more), caught by nudge" in lines[1] and len(audited.findings) == 2
    assert json.loads(json.dumps(audited.to_json()))["clean"] is False


@pytest.mark.parametrize(
    ("kind", "outdated_file", "expected_note"),
    [
        ("history", "", REVISED_HISTORY),
        ("history", "data/raw/wave.parquet", ""),  # `Audit.describe` says this itself
        ("column", "data/raw/wave.parquet", ""),
        ("column", "", "no finished run"),
    ],
)
def test_stored_results_that_are_not_looked_at_are_said_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, kind: str, outdated_file: str, expected_note: str
) -> None:
    finding = Finding(kind, "a check of the data", "y", "a fault")
    for name in (
        "check_actuals",
        "check_columns",
        "check_future_inputs",
        "find_repeated_stretches",
        "find_copied_stretches",
    ):
        monkeypatch.setattr(data_checks, name, lambda *_: [])
    monkeypatch.setattr(data_checks, "check_history", lambda *_: [finding])
    monkeypatch.setattr(data_checks, "find_outdated_file", lambda *_: outdated_file)
    monkeypatch.setattr(stored, "reason_not_to_audit", lambda *_: "no finished run")
    monkeypatch.setattr("forecast.audit.__main__._audit_first_run", lambda *_: [])
    nothing: Any = None
    audited = _audit_results(nothing, nothing, {}, nothing, nothing, {}, print)
    assert audited == ([finding], outdated_file, expected_note)


@pytest.mark.slow  # other settings: test_stored.py
def test_a_run_before_the_last_fetch_is_out_of_date_and_no_leak(
    project: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("forecast.audit.origins.MOST_RANDOM_MOMENTS", 1)  # it shows elsewhere
    root = tmp_path / "project"
    shutil.copytree(project, root, symlinks=True)
    importlib.import_module("pipelines.fetch").main("wave", root=str(root))
    importlib.import_module("pipelines.prepare").main("wave", root=str(root))
    source = root / "data" / "wave.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    last_day = pd.Timestamp(lines[-1].split(",")[0])
    added = f"{last_day + pd.Timedelta(days=1):%Y-%m-%d},0.5"
    source.write_text("\n".join([*lines, added, ""]), encoding="utf-8")
    pointer = take_snapshot("wave", load_dataset("wave", root / "configs"), root=root)
    move_pointer(root, "wave", pointer)
    code = main(["wave", "--root", str(root), "--models", "naive"])
    output = capfd.readouterr().out
    assert code == 5 and "wave: no leak found" in output and "LEAK" not in output
    assert "The run is out of date: data/raw/wave" in output
    assert "`forecast run --dataset wave`, then the audit again" in output
