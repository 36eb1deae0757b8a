"""Publishing is idempotent: whatever happens to the store or to an earlier publisher, one current
run per model.
"""

import os
import shutil
import signal
import socket
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from forecast.system import files
from forecast.system.errors import BusyError, DamagedError, ForecastError
from forecast.tracking import (
    mlflow_client,
    model_registry,
    publishing,
    stores,
    sync,
    tracking_store,
    writing,
)
from tests.operations import retraining
from tests.support import warm_interpreter
from tests.support.records import CANDIDATES, write_comparison, write_records

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
NAMES = {"naive", "lstm", "lstm (architecture alone)"}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A migrated database without runs; making one takes longer than everything else here."""
    root = tmp_path_factory.mktemp("empty")
    with mlflow_client.connect(tracking_store(root)):
        pass
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path, empty_database) -> Path:
    """Records, and a store with nothing in it."""
    project = write_records(tmp_path / "project")
    shutil.copy(empty_database, project / "mlflow.db")
    return project


@pytest.fixture(scope="session")
def original(tmp_path_factory, empty_database) -> Path:
    """A project whose records are published, as a copy of it: `published` has it where it was."""
    folder = tmp_path_factory.mktemp("original")
    project = write_records(folder / "project")
    shutil.copy(empty_database, project / "mlflow.db")
    assert len(sync(project, now=NOW).published) == 3
    return project.rename(folder / "kept")


@pytest.fixture
def published(original) -> Iterator[Path]:
    """Published already, in the folder that the database names: a copy elsewhere is tested in
    operations/test_copies.py.
    """
    project = original.with_name("project")
    shutil.copytree(original, project)
    yield project
    shutil.rmtree(project)


def runs_of(root: Path, *, uri: str = "", dataset: str = "weather", deleted: bool = False) -> list:
    """Every run of the dataset's experiment, trials included."""
    from mlflow.entities import ViewType

    with mlflow_client.connect(tracking_store(root, uri)) as client:
        experiment = client.get_experiment_by_name(dataset)
        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        return list(client.search_runs([experiment.experiment_id], run_view_type=view))


def experiment_tags_of(root: Path, uri: str) -> dict[str, str]:
    with mlflow_client.connect(tracking_store(root, uri)) as client:
        return dict(client.get_experiment_by_name("weather").tags)


def parents(runs: list) -> list:
    return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]


def current(runs: list) -> list:
    return [run for run in parents(runs) if run.data.tags["current"] == "true"]


def assert_one_current_run_each(root: Path, **options) -> None:
    runs = runs_of(root, **options)
    assert Counter(run.data.tags["candidate"] for run in current(runs)) == Counter(CANDIDATES)
    assert {run.info.run_name for run in current(runs)} == NAMES
    assert not [run for run in runs if run.info.status == "RUNNING"]
    with_trials = {
        run.info.run_id for run in current(runs) if run.data.tags["candidate"] != "naive"
    }
    trials = [
        run
        for run in runs
        if run.data.tags["kind"] == "trial" and run.data.tags["current"] == "true"
    ]
    assert Counter(run.data.tags["mlflow.parentRunId"] for run in trials) == dict.fromkeys(
        with_trials, 2
    )


def change(root: Path, candidate: str = "lstm.linear", **values) -> None:
    path = root / "data" / "trained" / "weather" / candidate / "record.json"
    files.write_json(path, files.read_json(path) | values)


@pytest.mark.slow  # test_reruns.py publishes again
def test_publishing_twice_makes_one_run_per_model(root):
    first = sync(root, now=NOW)
    second = sync(root, now=NOW + 60)
    assert len(first.published) == 3 and first.unchanged == 0
    assert second.published == [] and second.unchanged == 3 and second.set_aside == []
    assert len(parents(runs_of(root))) == 3
    assert_one_current_run_each(root)


def test_one_dataset_is_published_and_the_others_left_as_they_are(published):
    write_records(published, "tide")
    before = [run.to_dictionary() for run in runs_of(published)]
    result = sync(published, "", ["tide"], now=NOW + 60)
    assert len(result.published) == 3 and list(result.pages) == ["tide"]
    assert [run.to_dictionary() for run in runs_of(published)] == before
    rest = sync(published, "", ["weather"], now=NOW + 120)
    assert rest.published == [] and rest.unchanged == 3
    rest.add(result)
    assert len(rest.published) == rest.unchanged == 3 and set(rest.pages) == {"tide", "weather"}
    assert_one_current_run_each(published, dataset="tide")


def test_a_deleted_database_is_restored_by_sync(published, empty_database):
    for path in published.glob("mlflow.db*"):
        path.unlink()
    shutil.copy(empty_database, published / "mlflow.db")
    assert len(sync(published, now=NOW).published) == 3
    assert_one_current_run_each(published)


def test_another_address_gets_every_run(published, empty_database):
    shutil.copy(empty_database, published / "other.db")
    assert len(sync(published, "sqlite:///other.db", now=NOW).published) == 3
    assert_one_current_run_each(published, uri="sqlite:///other.db")


def test_a_changed_record_leaves_exactly_one_current_run_and_keeps_the_earlier_one(published):
    change(published, n_params=99)
    result = sync(published, now=NOW + 3600)
    assert (
        result.published == ["weather: lstm"]
        and result.set_aside == ["lstm"]
        and result.unchanged == 2
    )
    assert_one_current_run_each(published)
    earlier = [run for run in parents(runs_of(published)) if run.data.tags["current"] == "false"]
    assert [run.info.run_name for run in earlier] == ["lstm, earlier (2027-01-15 08:00 UTC)"]


def test_a_record_changed_back_makes_nothing_new(published):
    change(published, n_params=99)
    sync(published, now=NOW)
    change(published, n_params=1234)
    result = sync(published, now=NOW)
    assert result.published == [] and result.set_aside == ["lstm"]
    assert_one_current_run_each(published)


def test_a_new_verdict_is_shown_on_the_run_that_is_there(published):
    path = published / "data" / "compared" / "weather" / "verdicts.json"
    verdicts = files.read_json(path)
    for test in verdicts["tests"]:
        test["word"] = "worse"
    files.write_json(
        path,
        verdicts | {"tests": [test for test in verdicts["tests"] if test["family"] == "bar"]},
    )
    board = published / "data" / "compared" / "weather" / "leaderboard.csv"
    files.write_text(board, board.read_text().replace(",True", ",False"))
    assert sync(published, now=NOW).published == []
    tags = next(run.data.tags for run in runs_of(published) if run.info.run_name == "lstm")
    assert (
        tags["against_bar"] == "worse" and "against_skip" not in tags and tags["chosen"] == "false"
    )
    assert ": worse (" in tags["mlflow.note.content"]


def test_a_run_deleted_by_hand_is_made_again(published):
    victim = next(run for run in runs_of(published) if run.info.run_name == "lstm")
    with mlflow_client.connect(tracking_store(published)) as client:
        client.delete_run(victim.info.run_id)
    assert sync(published, now=NOW).published == ["weather: lstm"]
    assert len(current(runs_of(published))) == 3


def test_a_deleted_experiment_is_restored(published):
    with mlflow_client.connect(tracking_store(published)) as client:
        client.delete_experiment(client.get_experiment_by_name("weather").experiment_id)
    sync(published, now=NOW)
    assert len(current(runs_of(published))) == 3


def test_runs_whose_artifacts_are_gone_are_published_again(published):
    shutil.rmtree(published / "mlartifacts")
    assert len(sync(published, now=NOW).published) == 3
    assert_one_current_run_each(published)


def test_a_model_that_is_no_longer_there_is_set_aside(published):
    shutil.rmtree(published / "data" / "trained" / "weather" / "lstm.last")
    assert sync(published, now=NOW).set_aside == ["lstm (architecture alone)"]
    assert {run.info.run_name for run in current(runs_of(published))} == {"naive", "lstm"}


def test_a_failed_candidate_is_a_failed_run_with_its_reason(root):
    write_records(root, failed=("lstm.last",))
    shutil.rmtree(root / "data" / "trained" / "weather" / "lstm.last" / "seed-0")
    sync(root, now=NOW)
    failed = next(run for run in runs_of(root) if run.info.run_name == "lstm (architecture alone)")
    assert failed.info.status == "FAILED"
    assert failed.data.tags["reason"] == "the loss became NaN at step 12"
    assert failed.data.tags["status"] == "failed" and failed.data.tags["current"] == "true"
    assert "test/mae" not in failed.data.metrics
    assert sync(root, now=NOW).published == []


def test_an_interrupt_leaves_no_running_run_and_the_next_sync_completes(root, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing.Writer, "_log_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sync(root, now=NOW)
    stopped = runs_of(root)
    assert {run.info.status for run in parents(stopped)} == {"FAILED"} and current(stopped) == []
    assert parents(stopped)[0].info.run_name.endswith("(interrupted)")
    assert len(sync(root, now=NOW).published) == 3
    assert_one_current_run_each(root)


KILLED = """
import os, signal, sys
from pathlib import Path
from forecast.tracking import sync, writing

writing.Writer._log_files = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sync(Path(sys.argv[1]), now=1.8e9)
"""


def test_a_run_left_running_by_kill_9_is_closed_by_sync(root):
    command = [sys.executable, "-c", KILLED, str(root)]
    killed = warm_interpreter.run(command, cwd=ROOT, env=environment())
    assert killed.returncode == -signal.SIGKILL
    assert "RUNNING" in {run.info.status for run in runs_of(root)}
    result = sync(root, now=NOW)
    assert [run.info.status for run in runs_of(root)].count("FAILED") == 1
    assert len(result.published) == 3
    assert_one_current_run_each(root)


def test_any_dead_running_run_of_the_projects_own_store_is_closed(published):
    with mlflow_client.connect(tracking_store(published)) as client:
        experiment = client.get_experiment_by_name("weather").experiment_id
        run_id = client.create_run(experiment, run_name="left").info.run_id
    sync(published, now=NOW)
    with mlflow_client.connect(tracking_store(published)) as client:
        assert client.get_run(run_id).info.status == "FAILED"


def test_a_run_of_somebody_else_in_a_shared_store_stays_running(root, tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path}/shared.db"
    sync(root, uri, now=NOW)
    shared = tracking_store(root, uri)
    assert not shared.owned
    with mlflow_client.connect(shared) as client:
        experiment = client.get_experiment_by_name("weather").experiment_id
        theirs, clones, mine = (
            client.create_run(experiment, tags={"mlflow.user": user, **tags}).info.run_id
            for user, tags in (
                ("elsewhere:1", {}),
                ("elsewhere:1", {"project": shared.owner}),
                (shared.publisher, {"project": shared.owner}),
            )
        )
    sync(root, uri, now=NOW)
    with mlflow_client.connect(shared) as client:
        assert client.get_run(theirs).info.status == "RUNNING"
        assert client.get_run(clones).info.status == "RUNNING"
        assert client.get_run(mine).info.status == "FAILED"


def test_two_projects_with_a_dataset_of_one_name_leave_each_other_s_runs_alone(
    root, tmp_path, empty_database
):
    shutil.copy(empty_database, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path}/shared.db"
    other = write_records(tmp_path / "other")
    change(other, "naive", n_params=5)  # the other records are equal, digests too
    assert len(sync(root, uri, now=NOW).published) == 3
    before = [run.to_dictionary() for run in runs_of(root, uri=uri)]
    described = experiment_tags_of(root, uri)
    assert "the network chosen on validation is better" in described["mlflow.note.content"]
    verdicts = other / "data" / "compared" / "weather" / "verdicts.json"
    files.write_json(verdicts, {**files.read_json(verdicts), "sentences": ["Another verdict."]})
    theirs = sync(other, uri, now=NOW + 60)
    assert experiment_tags_of(root, uri) == described
    assert len(theirs.published) == 3 and not theirs.set_aside and not theirs.unchanged
    after = {run.info.run_id: run.to_dictionary() for run in runs_of(root, uri=uri)}
    assert [after[run["info"]["run_id"]] for run in before] == before
    shutil.rmtree(other / "data" / "trained" / "weather" / "lstm.last")
    change(other, n_params=99)
    second_sync = sync(other, uri, now=NOW + 120)
    assert second_sync.published == ["weather: lstm"] and second_sync.set_aside == ["lstm"]
    assert sync(root, uri, now=NOW + 180).unchanged == 3
    store = tracking_store(root, uri)
    own_runs = [run for run in current(runs_of(root, uri=uri)) if store.owns_run(run)]
    assert Counter(run.data.tags["candidate"] for run in own_runs) == Counter(CANDIDATES)


def test_equal_content_of_two_projects_is_a_run_of_each_with_its_publisher(
    tmp_path, empty_database
):
    shutil.copy(empty_database, tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path}/shared.db"
    pair = [tracking_store(tmp_path / name, uri) for name in ("a", "b")]
    content = {"key": "k", "word": "kept", "numbers": {}}
    logged_runs = [
        writing.log_content(store, "weather retraining", "a run", content, "row.json", now=NOW)
        for store in (*pair, *pair)
    ]
    assert logged_runs[0] == logged_runs[2] != logged_runs[1] == logged_runs[3]
    logged = runs_of(tmp_path / "a", uri=uri, dataset="weather retraining")
    assert {run.data.tags["mlflow.user"] for run in logged} == {
        publisher_of_pair.publisher for publisher_of_pair in pair
    }


def test_two_projects_in_one_repository_are_two_and_its_clones_one(tmp_path):
    uri = "sqlite:////elsewhere/shared.db"
    repository = tmp_path / "repository"
    for name in ("a", "b"):
        (repository / name).mkdir(parents=True)
        (repository / name / "file").write_text(name)
    retraining.git(repository, "init", "-q")
    retraining.commit(repository)
    shutil.copytree(repository, tmp_path / "clone")
    owners = [
        tracking_store(tmp_path / folder, uri).owner
        for folder in ("repository/a", "repository/b", "clone/a", "repository")
    ]
    assert owners[0] == owners[2] and len(set(owners)) == 3


def test_a_project_knows_its_runs_from_before_the_first_commit_or_of_another_container(
    tmp_path, monkeypatch
):
    """Each container has a host name of its own; git may be missing there, or refuse the folder."""
    uri = "http://127.0.0.1:5000"
    tag = tracking_store(tmp_path, uri).owner
    run = SimpleNamespace(data=SimpleNamespace(tags={"project": tag}))
    assert tag == tracking_store(tmp_path).owner, "its own database, which a server shows later"
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert tracking_store(tmp_path, uri).owns_run(run)
    (tmp_path / "file").write_text("a")
    retraining.git(tmp_path, "init", "-q")
    retraining.commit(tmp_path)
    stores.find_project_tag.cache_clear()
    committed = tracking_store(tmp_path, uri)
    assert committed.owns_run(run) and committed.owner != tag
    assert not tracking_store(tmp_path / "other", uri).owns_run(run)


def test_the_tag_of_a_folder_whose_name_is_no_utf_8_can_be_stored(tmp_path):
    folder = tmp_path / os.fsdecode(b"K\xf6ln")
    folder.mkdir()
    (folder / "file").write_text("a")
    retraining.git(tmp_path, "init", "-q")
    retraining.commit(tmp_path)
    assert stores.find_project_tag(folder).encode().endswith(rb" K\udcf6ln/")


PUBLISHES = """
import sys
from pathlib import Path
from forecast.tracking import sync

sync(Path(sys.argv[1]), now=1.8e9)
"""


def test_two_processes_on_a_new_database_both_succeed(root):
    (root / "mlflow.db").unlink()
    command = [sys.executable, "-c", PUBLISHES, str(root)]
    with ThreadPoolExecutor(2) as threads:
        started = [
            threads.submit(warm_interpreter.run, command, cwd=ROOT, env=environment())
            for _ in range(2)
        ]
    ended = [process.result() for process in started]
    assert [(process.returncode, process.stderr) for process in ended] == [(0, "")] * 2
    assert len(parents(runs_of(root))) == 3
    assert_one_current_run_each(root)


def test_a_first_run_that_is_stopped_leaves_no_half_of_a_database_to_the_next(root, monkeypatch):
    (root / "mlflow.db").unlink()
    (root / ".tmp-mlflow.db-0a1b2c3d-journal").write_text("left by a kill")

    def stop_half_way(uri: str) -> None:
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as half, half:
            half.execute("create table experiments (name)")
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(mlflow_client, "_migrated_client", stop_half_way)
        sync(root, now=NOW)
    assert not (root / "mlflow.db").exists() and not list(root.glob(".tmp-*"))
    assert len(sync(root, now=NOW).published) == 3
    assert_one_current_run_each(root)


def test_a_store_held_by_another_process_is_reported_busy(root, monkeypatch):
    monkeypatch.setattr(mlflow_client, "TIMEOUT", 0.05)
    with (
        mlflow_client.connect(tracking_store(root)),
        pytest.raises(BusyError, match=f"PID {os.getpid()}"),
    ):
        sync(root, now=NOW)


def test_a_file_that_is_no_database_is_named(root):
    (root / "mlflow.db").write_text("hello, this is a text file and no database")
    with pytest.raises(DamagedError, match=r"mlflow\.db: damaged .*`forecast doctor --repair`"):
        sync(root, now=NOW)


def test_a_database_that_cannot_be_written_is_one_message(root, monkeypatch):
    from mlflow.exceptions import MlflowException

    def full(*_, **__):
        raise MlflowException("(sqlite3.OperationalError) database or disk is full\n[SQL: insert]")

    monkeypatch.setattr("mlflow.MlflowClient.create_run", full)
    with pytest.raises(
        ForecastError, match=r"disk is full\. Free some space .* `forecast sync` publishes what is"
    ):
        sync(root, now=NOW)


def test_a_full_disk_is_named_also_where_sqlalchemy_says_first_what_it_was_doing(root):
    from mlflow.exceptions import MlflowException

    doing = "(raised as a result of Query-invoked autoflush; if this occurs prematurely)"
    message = f"{doing}\n(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT]"
    pattern = r"mlflow\.db: \(sqlite3\.OperationalError\) database or disk is full\. Free some"
    with (
        pytest.raises(ForecastError, match=pattern),
        mlflow_client.connect(tracking_store(root)),
    ):
        raise MlflowException(message)


def test_two_datasets_are_two_experiments_with_a_page_each(root):
    write_records(root, "stocks")
    pages = sync(root, now=NOW).pages
    assert set(pages) == {"weather", "stocks"} and pages["weather"] != pages["stocks"]
    with mlflow_client.connect(tracking_store(root)) as client:
        tags = client.get_experiment_by_name("stocks").tags
    assert tags["mlflow.note.content"].startswith(
        "On stocks the network chosen on validation is better"
    )
    assert "mlflow.sharedViewState.leaderboard" in tags


def test_a_copy_of_a_dataset_s_folder_is_no_dataset(root):
    trained = root / "data" / "trained"
    shutil.copytree(trained / "weather", trained / "weather-old")
    assert sync(root, now=NOW).pages.keys() == {"weather"}
    assert_one_current_run_each(root)


def test_records_without_a_comparison_can_be_published(root):
    shutil.rmtree(root / "data" / "compared")
    sync(root, now=NOW)
    write_comparison(root, "weather", CANDIDATES, horizon=3, seeds=2)
    assert len(sync(root, now=NOW).set_aside) == 3
    assert_one_current_run_each(root)


def test_nothing_to_publish_makes_no_database(tmp_path):
    assert sync(tmp_path, now=NOW) == publishing.SyncResult()
    assert not (tmp_path / "mlflow.db").exists()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"status": "ok"}', b'{"experiment": []}', b"[]", b"hello", b"{\xff\xfe}"],
)
def test_a_server_that_answers_and_is_no_mlflow_is_no_empty_registry(tmp_path, body):
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(ForecastError, match=uri) as refused:
                model_registry.read_registry(tracking_store(tmp_path, uri), "wave")
        finally:
            server.shutdown()
            thread.join()
    assert len(str(refused.value).splitlines()) == 1
