"""A project that was copied, moved, restored or cloned writes into its own folder alone, and
`doctor` says what is.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forecast.operations import champion, registry, repair
from forecast.system.errors import ForecastError
from forecast.system.files import sha256
from forecast.tracking import model_registry, sync, tracking_store
from forecast.tracking.database_file import PATH_COLUMNS
from tests.operations import projects
from tests.operations.projects import NAME, NOW


@pytest.fixture(scope="module")
def published(running, tmp_path_factory) -> Path:
    """The running project with its records in MLflow; read only."""
    root = tmp_path_factory.mktemp("published") / "project"
    shutil.copytree(running, root)
    assert len(sync(root, now=1.8e9).published) == len(projects.GRID)
    return root


@pytest.fixture
def original(published, tmp_path) -> Path:
    """A project that knows its folder; the tests may damage it."""
    root = tmp_path / "original"
    shutil.copytree(published, root)
    projects.registry_aliases(root, NAME)
    return root


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): sha256(path) for path in root.rglob("*") if path.is_file()}


def artifacts(root: Path) -> set[Path]:
    return {path for path in (root / "mlartifacts").rglob("*") if path.is_file()}


def paths(root: Path) -> list[str]:
    """Every place of an artifact that the database names."""
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        paths_in_tables = [
            row
            for table, column in PATH_COLUMNS
            for row in connection.execute(f"select {column} from {table}")
        ]
    return [path for (path,) in paths_in_tables if path and path.startswith("file:")]


def use(root: Path) -> None:
    """What an operator does: publish, register, promote, go back."""
    sync(root, now=1.8e9)
    registry.promote(root, NAME, projects.register(root, "seasonal_naive"), now=NOW)
    registry.rollback(root, NAME, now=NOW)


def diagnosis(root: Path) -> tuple[str, str]:
    return next(
        (fault, repair)
        for what, fault, repair in repair.find_faults(root, "")
        if what == "MLflow's paths"
    )


def assert_its_own(root: Path) -> None:
    assert diagnosis(root) == ("lead into this folder", "")
    assert len(paths(root)) > 10
    assert [
        path for path in paths(root) if not path.startswith(f"{root.as_uri()}/mlartifacts/")
    ] == []


def test_a_copy_beside_its_original_writes_nothing_into_it(original, tmp_path, caplog):
    before, there = content(original), artifacts(original)
    copy = tmp_path / "a copy"
    shutil.copytree(original, copy)
    fault, repair = diagnosis(copy)
    assert (
        fault == f"lead into {original}: this project was copied or moved from there"
        and repair == "`forecast sync`"
    )
    use(copy)
    assert content(original) == before and artifacts(original) == there
    assert_its_own(copy)
    assert (
        len(artifacts(copy)) > len(there)
        and caplog.text.count("from now on they are those of this folder") == 1
    )
    assert champion.read_aliases(copy, NAME) == {"champion": 2, "previous": 3}
    assert_its_own(original)


def test_a_copy_whose_database_cannot_be_written_says_so_in_a_sentence(original, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    with closing(sqlite3.connect(copy / "mlflow.db")) as database:
        database.execute(
            "create trigger refused before update on experiments"
            " begin select raise(abort, 'database or disk is full'); end"
        )
    with pytest.raises(ForecastError, match=r"MLflow at sqlite.*is full\. Free some space"):
        projects.registry_aliases(copy, NAME)
    assert_its_own(original)


@pytest.mark.slow  # the kind of `test_a_copy_beside_its_original_writes_nothing_into_it`
def test_a_copy_without_its_artifacts_writes_nothing_into_the_original(original, tmp_path):
    before = content(original)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("mlartifacts"))
    use(copy)
    assert content(original) == before and artifacts(copy)
    assert diagnosis(copy) == ("lead into this folder", "")


def test_a_moved_project_finds_its_artifacts_and_publishes_nothing_twice(original, tmp_path):
    moved = original.rename(tmp_path / "moved")
    assert diagnosis(moved)[1] == "`forecast sync`"
    assert sync(moved, now=1.8e9).published == []
    assert_its_own(moved)
    shutil.rmtree(champion.version_folder(moved, NAME, 1))
    assert registry.repair_registry(moved, NAME, now=NOW) == [
        "wave: version 1 (previous) taken from the registry"
    ]
    use(moved)
    assert not original.exists()


def test_a_project_restored_from_a_backup_goes_on_in_another_folder(original, tmp_path):
    backup = tmp_path / "backup"
    shutil.copytree(original, backup)
    use(original)  # what came after the backup
    before = content(original)
    restored = tmp_path / "restored"
    shutil.copytree(backup, restored)
    shutil.rmtree(restored / ".forecast")
    done = list(repair.repair_faults(restored, "", NOW))
    assert done[0] == "MLflow's paths lead into this folder again"
    registry.repair_registry(restored, NAME, now=NOW)
    assert champion.read_aliases(restored, NAME) == {"champion": 2, "previous": 1}
    use(restored)
    assert_its_own(restored)
    assert (
        content(original) == before
        and content(backup)["mlflow.db"] != content(original)["mlflow.db"]
    )


def test_a_database_restored_into_the_project_it_came_from_fits_as_it_is(original, tmp_path):
    shutil.copy(original / "mlflow.db", tmp_path / "backup.db")
    registry.promote(original, NAME, projects.register(original, "seasonal_naive"), now=NOW)
    shutil.copy(tmp_path / "backup.db", original / "mlflow.db")
    assert diagnosis(original) == ("lead into this folder", "")
    assert "wave: version 3 registered again" in registry.repair_registry(original, NAME, now=NOW)
    registered = model_registry.read_registry(tracking_store(original), NAME)
    assert list(registered.versions) == [1, 2, 3]
    assert_its_own(original)


@pytest.mark.slow  # the kind of `test_a_copy_beside_its_original_writes_nothing_into_it`
def test_two_clones_side_by_side_keep_to_themselves(original, tmp_path):
    clones = [tmp_path / name for name in ("first", "second")]
    for clone in clones:
        shutil.copytree(original, clone)
    use(clones[0])
    first, before = content(clones[0]), content(original)
    use(clones[1])
    assert content(clones[0]) == first and content(original) == before
    for clone in clones:
        assert_its_own(clone)
        shutil.rmtree(champion.version_folder(clone, NAME))
        registry.repair_registry(clone, NAME, now=NOW)
        assert champion.load(clone, NAME).version == 2


def test_an_experiment_of_another_project_in_this_database_stays_where_it_is(original, tmp_path):
    other = tmp_path / "other" / "mlartifacts" / "theirs"
    with closing(sqlite3.connect(original / "mlflow.db")) as connection, connection:
        connection.execute(
            "insert into experiments (name, artifact_location, lifecycle_stage, workspace) "
            "values ('theirs', ?, 'active', 'default')",
            (other.as_uri(),),
        )
    use(original)
    assert other.as_uri() in paths(original)


def test_a_database_outside_the_project_keeps_artifacts_beside_itself_and_is_not_claimed(
    original, tmp_path
):
    uri = f"sqlite:///{tmp_path}/shared/team.db"
    (tmp_path / "shared").mkdir()
    shutil.copy(original / "mlflow.db", tmp_path / "shared" / "team.db")
    where = tracking_store(original, uri)
    assert where.artifact_root == tmp_path / "shared" / "mlartifacts" and not where.owned
    sync(original, uri, now=1.8e9)
    with closing(sqlite3.connect(tmp_path / "shared" / "team.db")) as connection:
        location = connection.execute(
            "select artifact_location from experiments where name = ?", (NAME,)
        ).fetchone()
    assert location == (f"{original.as_uri()}/mlartifacts/{NAME}",)
