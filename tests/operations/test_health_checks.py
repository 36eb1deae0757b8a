"""`forecast doctor` around champions: notes of dead processes, damaged and missing copies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from forecast.operations import champion, health_checks, registry
from tests.operations.projects import NAME
from tests.support import small_project


def found(root):
    return {what: (said, repair) for what, said, repair in health_checks.findings(root, "")}


def test_all_is_well(running):
    said = found(running)
    assert said["locks"] == ("none is stale", "") and said["champion wave"] == ("version 2, intact", "")
    assert said["MLflow's paths"] == ("lead into this folder", "")


def test_a_champion_that_only_the_registry_has_is_fetched(moved):
    shutil.rmtree(moved / ".forecast" / "champions")
    assert found(moved)["champion wave"] == ("not on this machine", "`forecast doctor --repair`")
    assert len(list(health_checks.repaired(moved, ""))) == 3  # two versions and the aliases
    assert found(moved)["champion wave"] == ("version 2, intact", "")


def test_notes_of_dead_processes_are_taken_away_and_those_of_living_ones_stay(moved):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = moved / ".forecast" / "locks"
    (folder / "dead.pid").write_text(f"{gone.pid}\n")
    (folder / "alive.pid").write_text(f"{os.getpid()}\n")
    assert found(moved)["locks"][0] == "1 name processes that are gone"
    assert "dead.pid" in next(health_checks.repaired(moved, ""))
    assert not (folder / "dead.pid").exists() and (folder / "alive.pid").exists()


def test_the_command_repairs_a_damaged_champion(moved):
    (champion.folder_of(moved, NAME, 2) / "member-0" / "spec.json").write_text("{}")
    said = small_project.command(moved, "doctor", "--repair", "--format", "json")
    assert "version 2 (champion) taken from the registry" in said.stderr
    rows = {row["what"]: row for row in json.loads(said.stdout)}
    assert rows["champion wave"]["found"] == "version 2, intact"
    assert champion.load(moved, NAME).version == 2
    assert registry.aliases(moved, NAME) == {"champion": 2, "previous": 1}


def test_a_database_that_cannot_be_read_is_one_finding(moved):
    (moved / "mlflow.db").write_text("hello, this is a text file and no database")
    said, repair = found(moved)["MLflow's paths"]
    assert "mlflow.db: cannot be read" in said and repair
