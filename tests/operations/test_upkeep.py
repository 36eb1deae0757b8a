"""`forecast doctor` around champions: a folder that was moved, notes of dead processes, damaged copies."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

from forecast.operations import champion, registry, upkeep
from forecast.operations.status import standing
from forecast.tracking import moved as mlflow_moved
from forecast.tracking import place
from tests.operations.projects import NAME
from tests.support import small_project


def found(root):
    return {what: (said, repair) for what, said, repair in upkeep.findings(root, "")}


def moved_from(root, former):
    """As if `root` had been `former` before: the database's paths, which lead to `running`, name that folder."""
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        for table, column in mlflow_moved.LOCATIONS:
            connection.execute(f"update {table} set {column} = replace({column}, ?, ?)", former)


def test_all_is_well(running):
    said = found(running)
    assert said["locks"] == ("none is stale", "") and said["champion wave"] == ("version 2, intact", "")
    assert said["MLflow's paths"] == ("lead into this folder", "")


def test_after_a_move_the_registry_s_artifacts_are_found_again(moved, running):
    moved_from(moved, (str(running), "/home/before/project"))
    shutil.rmtree(champion.folder_of(moved, NAME, 1))
    assert found(moved)["MLflow's paths"][1] == "`forecast doctor --repair`"
    done = list(upkeep.repaired(moved, ""))
    assert "paths lead into this folder again" in done[0] and "version 1 (previous) taken from" in done[1]
    assert champion.load_version(moved, NAME, 1).meta.candidate == "ridge"
    assert found(moved)["MLflow's paths"][1] == "" and not list(upkeep.repaired(moved, ""))
    with closing(sqlite3.connect(moved / "mlflow.db")) as connection:
        (source,) = connection.execute("select source from model_versions where version = 2").fetchone()
    assert source.startswith((moved / "mlartifacts").as_uri())


def test_a_champion_that_only_the_registry_has_is_fetched(moved):
    shutil.rmtree(moved / ".forecast" / "champions")
    assert found(moved)["champion wave"] == ("not on this machine", "`forecast doctor --repair`")
    assert "registry and local champion differ" in standing(moved, NAME, now=datetime.now(UTC)).state
    assert len(list(upkeep.repaired(moved, ""))) == 3
    assert found(moved)["champion wave"] == ("version 2, intact", "")


def test_paths_of_a_shared_store_are_not_touched(moved, running):
    moved_from(moved, (str(running), "/home/before/project"))
    assert mlflow_moved.lost(place(moved, f"sqlite:///{moved}/../elsewhere.db")) == {}


def test_notes_of_dead_processes_are_taken_away_and_those_of_living_ones_stay(moved):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = moved / ".forecast" / "locks"
    (folder / "dead.pid").write_text(f"{gone.pid}\n")
    (folder / "alive.pid").write_text(f"{os.getpid()}\n")
    assert found(moved)["locks"][0] == "1 name processes that are gone"
    assert "dead.pid" in next(upkeep.repaired(moved, ""))
    assert not (folder / "dead.pid").exists() and (folder / "alive.pid").exists()


def test_the_command_repairs_a_damaged_champion(moved):
    (champion.folder_of(moved, NAME, 2) / "member-0" / "spec.json").write_text("{}")
    said = small_project.command(moved, "doctor", "--repair", "--format", "json")
    assert "version 2 (champion) taken from the registry" in said.stderr
    rows = {row["what"]: row for row in json.loads(said.stdout)}
    assert rows["champion wave"]["found"] == "version 2, intact"
    assert champion.load(moved, NAME).version == 2
    assert registry.aliases(moved, NAME) == {"champion": 2, "previous": 1}
