"""Files that the project keeps in operation, damaged: every command says so in a sentence and exits
5, `status` keeps saying it, and `doctor --repair` brings back what can be brought back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecast.operations import champion, live_accuracy, repair
from forecast.operations.live_accuracy import lock_issues
from forecast.operations.status import read_status
from forecast.system.errors import DamagedError
from forecast.system.files import TEMPORARY
from tests.operations import projects, retraining
from tests.operations.projects import NAME
from tests.support import small_project

NOW = datetime(2024, 7, 21, 6, 30, tzinfo=UTC)


def truncate_database(root: Path) -> None:
    with (root / "mlflow.db").open("r+b") as file:
        file.truncate(20_000)


def overwrite_head(root: Path) -> None:
    with (root / "mlflow.db").open("r+b") as file:
        file.write(b"garbage" * 100)


def put_folder_in_place(root: Path) -> None:
    (root / "mlflow.db").unlink()
    (root / "mlflow.db").mkdir()


@pytest.mark.parametrize(
    "words",
    [
        ("promote", NAME, "--scored"),
        ("promote", NAME, "--version", "1"),
        ("rollback", NAME),
        ("status", NAME, "--registry", "--format", "json"),
        ("sync",),
        ("retrain", NAME),
    ],
    ids=" ".join,
)
def test_a_command_that_meets_a_truncated_database_says_so_in_a_sentence(moved, words):
    truncate_database(moved)
    if words[0] == "retrain":  # it uses what is committed
        (moved / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        retraining.git(moved, "init", "-q")
        retraining.commit(moved)
    done = small_project.command(moved, *words)
    printed = done.stdout + done.stderr
    assert done.returncode == 5, printed
    assert "Traceback" not in printed and len(printed.splitlines()) <= 30
    assert "mlflow.db" in printed and "`forecast doctor --repair`" in printed


@pytest.mark.parametrize("damage", [overwrite_head, put_folder_in_place])
def test_every_damage_of_a_database_is_found_moved_away_and_named(moved, damage):
    damage(moved)
    for words in (("promote", NAME, "--scored"), ("status", NAME, "--registry"), ("doctor",)):
        done = small_project.command(moved, *words)
        printed = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 5 and "Traceback" not in printed, printed
        assert "damaged (" in printed and "`forecast doctor --repair`" in printed
    assert small_project.command(moved, "doctor", "--repair").returncode in (0, 5)
    assert (moved / "mlflow.db.damaged-1").exists()
    assert projects.registry_aliases(moved, NAME) == {"champion": 2, "previous": 1}
    assert not repair.database_file.find_damage(repair.tracking_store(moved, ""))


def test_after_a_lost_registry_a_rollback_knows_the_previous_champion(moved):
    (moved / "mlflow.db").write_bytes(b"")
    done = small_project.command(moved, "rollback", NAME)
    assert done.returncode == 0, done.stderr
    assert champion.read_aliases(moved, NAME) == {"champion": 1, "previous": 2}


def test_a_repair_moves_a_damaged_database_away_and_makes_the_registry_from_local_versions(moved):
    shutil.rmtree(champion.version_folder(moved, NAME, 1))
    champion.write_aliases(moved, NAME, {"champion": 2})
    truncate_database(moved)
    sentences = list(repair.repair_faults(moved, "", projects.NOW))
    assert any("mlflow.db.damaged-1" in sentence for sentence in sentences)
    assert f"{NAME}: lost, because only the registry had them: versions 1" in sentences
    assert (moved / "mlflow.db.damaged-1").stat().st_size == 20_000
    assert projects.registry_aliases(moved, NAME) == {"champion": 2}
    assert not any(finding.repair for finding in repair.find_faults(moved, ""))


def test_a_file_that_is_no_database_is_moved_away_as_well(moved):
    (moved / "mlflow.db").write_text("hello, this is a text file and no database")
    done = small_project.command(moved, "doctor", "--repair", "--format", "json")
    assert "mlflow.db.damaged-1" in done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert rows["MLflow"]["found"].endswith("answers") and not rows["champion wave"]["repair"]
    assert projects.registry_aliases(moved, NAME) == {"champion": 2, "previous": 1}


def test_damaged_issued_forecasts_are_a_state_until_they_are_repaired(moved):
    assert small_project.command(moved, "predict", NAME).returncode == 0
    path = moved / ".forecast" / "issued" / f"{NAME}.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    for _ in range(2):
        assert "cannot be read" in read_status(moved, NAME, now=NOW).state
        assert "not kept for scoring" in small_project.command(moved, "predict", NAME).stderr
    done = small_project.command(moved, "doctor", "--repair", "--format", "json")
    assert f"moved to {NAME}.parquet.damaged-1" in done.stderr
    assert small_project.command(moved, "predict", NAME).stderr == ""
    assert read_status(moved, NAME, now=NOW).state == "good" and path.exists()


def test_a_kill_while_a_forecast_is_kept_leaves_nothing_behind_after_the_next_one(moved):
    folder = moved / ".forecast" / "issued"
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / f"{TEMPORARY}{NAME}.parquet-0a0b0c0d"
    left.write_bytes(b"half")
    for _ in range(2):  # the second keeps nothing new
        assert small_project.command(moved, "predict", NAME).returncode == 0
        assert not left.exists()
        left.write_bytes(b"half")


def test_a_repair_leaves_a_forecast_alone_that_another_process_is_writing(moved, monkeypatch):
    monkeypatch.setattr(live_accuracy, "TIMEOUT", 0.1)
    folder = moved / ".forecast" / "issued"
    folder.mkdir(parents=True, exist_ok=True)
    being_written = folder / f"{TEMPORARY}{NAME}.parquet-0a0b0c0d"
    with lock_issues(moved, NAME):
        being_written.write_bytes(b"half")
        done = small_project.command(moved, "doctor", "--repair")
        assert being_written.exists()
        assert f"{NAME}: not repaired: Keeping a forecast of '{NAME}' is already" in done.stderr
    small_project.command(moved, "doctor", "--repair")
    assert not being_written.exists()


def test_what_a_kill_left_of_the_history_is_gone_after_the_next_event(moved):
    folder = champion.version_folder(moved, NAME)
    left = folder / f"{TEMPORARY}{champion.HISTORY}-0a0b0c0d"
    left.write_bytes(b"half")
    events = len(champion.read_events(moved, NAME))
    small_project.command(moved, "doctor", "--repair")
    assert left.exists()  # a retraining may be writing it
    assert small_project.command(moved, "rollback", NAME).returncode == 0
    assert not left.exists() and len(champion.read_events(moved, NAME)) == events + 1


def test_bytes_that_are_no_text_cost_the_history_their_own_line_alone(moved):
    events = champion.read_events(moved, NAME)
    path = champion.version_folder(moved, NAME) / champion.HISTORY
    with path.open("ab") as history:
        history.write(b"\xff\xfe\n")
        history.write(b'{"event": "promoted", "of_another_version": 1}\n')
    assert champion.read_events(moved, NAME) == events
    assert small_project.command(moved, "rollback", NAME).returncode == 0
    assert champion.read_events(moved, NAME)[:-1] == events
    assert "of_another_version" in path.read_text(encoding="utf-8")


def test_a_disk_that_is_full_costs_a_prediction_only_its_keeping(moved):
    words = " ".join([sys.executable, "-m", "forecast", "predict", NAME, "--format", "csv"])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; trap '' XFSZ; exec {words}"],
        cwd=moved,
        env=small_project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("unique_id,") and "not kept for scoring" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((moved / ".forecast").rglob(f"{TEMPORARY}*"))
    assert read_status(moved, NAME, now=NOW).state == "good"


def test_a_damaged_champion_is_no_fault_of_a_data_service(moved):
    for version in (1, 2):
        (champion.version_folder(moved, NAME, version) / "calibration.npz").write_bytes(b"")
    with pytest.raises(DamagedError):
        champion.load(moved, NAME)
    assert small_project.command(moved, "predict", NAME).returncode == 5
    assert small_project.command(moved, "status", NAME).returncode == 5
