"""Several machines on one PostgreSQL, each a folder and a process: through MLflow's server, and on
the database.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from bench.soak import STEPS, killed_at
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.operations import champion, pending, registry
from forecast.operations.challenger import RetrainingJob
from forecast.operations.registry import make_card
from forecast.operations.retrain import retrain
from forecast.operations.status import read_status
from forecast.system.errors import BusyError, ForecastError, InputError
from forecast.system.processes import die_with_parent
from forecast.tracking import hold_store_lock, mlflow_client, tracking_store
from tests.operations import postgres, projects, retraining
from tests.operations.projects import NAME, NOW
from tests.operations.test_pending import decided
from tests.support import small_project, warm_interpreter

SECONDS = 300


@pytest.fixture(scope="module")
def databases() -> Iterator[Callable[..., str]]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def tables(databases: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with MLflow's tables and nothing in them, to be copied."""
    address = databases("tables")
    with mlflow_client.connect(tracking_store(tmp_path_factory.mktemp("tables"), address)):
        return "tables"


@pytest.fixture(scope="module")
def direct(databases: Callable[..., str], tables: str) -> str:
    """Spoken to without a server."""
    return databases("direct", template=tables)


@pytest.fixture(scope="module")
def server(
    databases: Callable[..., str], tables: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The server that the tests of this file share."""
    # the same tables, in a tenth of a second
    with serving(databases("served", template=tables), tmp_path_factory.mktemp("server")) as uri:
        yield uri


@pytest.fixture
def new_server(databases: Callable[..., str], tables: str, tmp_path: Path) -> Iterator[str]:
    """A server that no test has promoted anything on."""
    with serving(databases("new", template=tables), tmp_path) as uri:
        yield uri


@contextmanager
def serving(database: str, folder: Path) -> Iterator[str]:
    """MLflow's tracking server, started as docs/team.md says but on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [
        warm_interpreter.warm_python(),
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        database,
        "--workers",
        "1",
    ]
    command += [
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--port",
        address.rpartition(":")[2],
    ]
    env = small_project.environment(
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        until = time.monotonic() + SECONDS
        while not answers(f"{address}/health"):
            assert process.poll() is None and time.monotonic() < until, (
                folder / "log"
            ).read_text()[-3000:]
            time.sleep(0.1)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("FORECAST_DATABASE", database)
            yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    try:
        # plain http: no certificates to load
        return requests.get(address, timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def machines(repro: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two clones of one project, each with a decision that it was about to carry out when there was
    no champion.
    """
    places = []
    original = tmp_path_factory.mktemp("original") / "project"
    shutil.copytree(repro, original)
    retraining.git(original, "init", "-q")
    retraining.commit(original)
    for name, candidate in (("a", "ridge"), ("b", "arx")):
        root = tmp_path_factory.mktemp(name) / "project"
        shutil.copytree(original, root)
        folder = root / "data" / "trained" / NAME / candidate
        meta = make_card(Results(ProjectPaths.of(root), NAME), folder.name, now=NOW, revision="abc")
        pending.write_pending(root, decided("first", key=name), folder, meta)
        places.append(root)
    return places[0], places[1]


def assert_only_stale(done: subprocess.CompletedProcess[str]) -> None:
    """`status` finds nothing wrong but the age of the test's data, which are of 2024."""
    assert done.returncode == 5, done.stdout + done.stderr
    (state,) = (line for line in done.stdout.splitlines() if " state " in line)
    assert all(
        fault.strip().startswith(("stale", "`")) for fault in state.split("state")[1].split(";")
    )


def addresses(uri: str) -> dict[str, str]:
    """What every machine of a team is given; a `direct` address keeps the locks itself."""
    return {
        "MLFLOW_TRACKING_URI": uri,
        "FORECAST_DATABASE": os.environ.get("FORECAST_DATABASE", ""),
    }


def worker(root: Path, work: str, uri: str) -> subprocess.Popen[str]:
    command = [warm_interpreter.warm_python(), "-m", "tests.operations.team_worker", work]
    env = small_project.environment(**addresses(uri))
    return subprocess.Popen(
        command,
        cwd=root,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(*workers: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """All begin once every one has loaded; exit code and what each said."""
    try:
        for worker in workers:
            assert (
                worker.stdout is not None and select.select([worker.stdout], [], [], SECONDS)[0]
            ), "it does not load"
            assert worker.stdout.readline() == "ready\n", worker.communicate(timeout=SECONDS)
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [worker.communicate(timeout=SECONDS) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(SECONDS)
    return [(worker.returncode, *texts) for worker, texts in zip(workers, outputs, strict=True)]


def job(root: Path, uri: str) -> RetrainingJob:
    return RetrainingJob(root=root, dataset=NAME, now=NOW, environment={"MLFLOW_TRACKING_URI": uri})


def test_two_machines_publish_and_promote_at_once(server: str, machines: tuple[Path, Path]) -> None:
    ended = together(*(worker(root, "carry-out", server) for root in machines))
    assert [code for code, _, _ in ended] == [0, 0] and all(output for _, output, _ in ended), ended
    answers = [json.loads(output.splitlines()[-1]) for _, output, _ in ended]
    assert sorted(entry["word"] for entry in answers) == ["first", "kept"]
    winner, loser = sorted(answers, key=lambda entry: entry["word"])
    assert loser["reason"].startswith(
        f"version {winner['version']} became the champion in the meantime"
    )

    aliases = projects.registry_aliases(machines[0], NAME, tracking_uri=server)
    assert aliases["champion"] == winner["version"] and "previous" not in aliases
    # also where the decision became void
    assert {champion.load(root, NAME).version for root in machines} == {winner["version"]}
    assert sorted(entry["version"] for entry in answers) == [1, 2]

    assert sorted(name for entry in answers for name in entry["made"]) == sorted(
        f"{NAME}: {n}" for n in projects.GRID
    )
    with mlflow_client.connect(tracking_store(machines[0], server)) as client:
        experiment = client.get_experiment_by_name(NAME).experiment_id
        runs = client.search_runs([experiment], "tags.current = 'true' AND tags.kind != 'trial'")
    assert Counter(run.data.tags["candidate"] for run in runs) == Counter(projects.GRID)


def test_a_machine_takes_over_what_another_one_promoted(
    server: str, machines: tuple[Path, Path]
) -> None:
    now = datetime(2024, 7, 19, 7, tzinfo=UTC)
    second_machine = machines[1]
    shutil.rmtree(champion.version_folder(second_machine, NAME))
    assert read_status(second_machine, NAME, now=now).state.startswith("no champion here")
    for root in machines:
        done = small_project.command(root, "status", "--registry", **addresses(server))
        assert_only_stale(done)
        assert root != second_machine or "aliases taken from the registry" in done.stderr
        assert read_status(root, NAME, now=now).state == "good"
    first, second = (champion.load(root, NAME) for root in machines)
    assert first.card == second.card and first.version == second.version


def test_a_second_retraining_ends_with_75_and_names_the_first(
    server: str, machines: tuple[Path, Path]
) -> None:
    first_machine, there = machines
    with (
        hold_store_lock(
            tracking_store(there, server), f"retrain-{NAME}", purpose="A test", timeout=0.0
        ),
        pytest.raises(
            BusyError,
            match=rf"'{NAME}' is already running \(PID {os.getpid()} since .* UTC on"
            rf" {socket.gethostname()}",
        ),
    ):
        retrain(job(first_machine, server))
    assert BusyError.exit_code == 75


@pytest.mark.slow  # of one machine: test_registry.py
def test_a_kill_between_two_alias_moves_leaves_a_champion_and_status_repairs(
    direct: str, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (killed,) = together(worker(project, "killed", direct))
    assert killed[0] == -signal.SIGKILL, killed
    assert projects.registry_aliases(project, NAME, tracking_uri=direct) == {
        "champion": 1,
        "challenger": 2,
    }
    assert champion.load(project, NAME).version == 1 and champion.read_aliases(project, NAME) != {
        "champion": 1
    }

    done = small_project.command(project, "status", NAME, "--registry", **addresses(direct))
    assert_only_stale(done)
    assert "taken over" not in done.stderr, (
        "the server frees a killed process's lock; there is none to take over"
    )
    assert champion.read_aliases(project, NAME) == projects.registry_aliases(
        project, NAME, tracking_uri=direct
    )

    registry.promote(project, NAME, 2, now=NOW, tracking_uri=direct)
    assert projects.registry_aliases(project, NAME, tracking_uri=direct) == {
        "champion": 2,
        "previous": 1,
    }
    assert champion.load(project, NAME).version == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_under_kills_two_clones_of_one_server_lose_no_champion_and_no_lock(
    server: str, machines: tuple[Path, Path]
) -> None:
    dice, n_killed = random.Random(39), 0
    versions = {projects.register(machines[0], name, server) for name in ("ridge", "arx")}
    assert versions == {1, 2}
    for number in range(4):
        killed_root, other_root = machines if number % 2 else reversed(machines)
        ours, theirs = (worker(root, "promote", server) for root in (killed_root, other_root))
        try:
            for clone in (ours, theirs):
                assert clone.stdin is not None and clone.stdout is not None
                assert clone.stdout.readline() == "ready\n"
            for clone in (ours, theirs):
                clone.stdin.write("go\n")
                clone.stdin.flush()
            time.sleep(dice.uniform(0, 3))
            n_killed += ours.poll() is None
            ours.kill()
            _, errors = theirs.communicate(timeout=SECONDS)
            assert theirs.returncode == 0, errors  # no lock is left behind
        finally:
            for clone in (ours, theirs):
                clone.kill()
                clone.communicate(timeout=SECONDS)
        for root in machines:
            done = small_project.command(root, "status", NAME, "--registry", **addresses(server))
            assert_only_stale(done)
            assert champion.load(root, NAME).notice == ""
        aliases = projects.registry_aliases(machines[0], NAME, tracking_uri=server)
        assert (aliases["champion"], aliases["previous"]) in {(1, 2), (2, 1)}
        for root in machines:
            assert champion.read_aliases(root, NAME) == aliases
    assert n_killed >= 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_retraining_killed_at_every_late_step_over_http_is_finished_by_the_next(
    new_server: str, tmp_path: Path
) -> None:
    """After each kill in one clone the other one holds the server's aliases and can forecast."""
    mine = retraining.write_project(tmp_path / "a" / "project")
    environment = {**addresses(new_server), "FORECAST_JOBS": "1"}
    done = small_project.run_warm(mine, "retrain", NAME, **environment)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "b" / "project"
    shutil.copytree(mine, other, symlinks=True)
    retraining.configure(mine, ("naive", "ridge"))
    retraining.commit(mine)
    retraining.grow(mine, 30)
    late, killed = STEPS[STEPS.index("challenger") :], []
    for step in late:
        words, env = (
            small_project.arguments("retrain", NAME),
            small_project.environment(**environment),
        )
        if killed_at(step, words, mine, env):
            killed.append(step)
        status = small_project.command(other, "status", NAME, "--registry", **environment)
        assert status.returncode in (0, 5) and "registry:" not in status.stdout, status.stdout
        served_aliases = projects.registry_aliases(mine, NAME, tracking_uri=new_server)
        assert champion.read_aliases(other, NAME) == served_aliases
        assert champion.load(other, NAME).version == served_aliases["champion"]
        assert not champion.load(mine, NAME).notice
    assert killed == list(late)
    done = small_project.run_warm(mine, "retrain", NAME, **environment)
    assert done.returncode == 0, done.stderr  # no lock is left behind
    served_aliases = projects.registry_aliases(mine, NAME, tracking_uri=new_server)
    assert champion.read_aliases(mine, NAME) == served_aliases
    assert champion.load(mine, NAME).card.candidate == "ridge"
    assert not (ProjectPaths.of(mine).retraining(NAME) / "pending").exists()
    status = small_project.command(other, "status", NAME, "--registry", **environment)
    assert champion.read_aliases(other, NAME) == served_aliases and "registry:" not in status.stdout


def test_a_server_that_other_machines_reach_is_refused_without_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORECAST_DATABASE", raising=False)
    where = tracking_store(tmp_path, "https://somebody:secret@mlflow.example.org")
    with (
        pytest.raises(InputError, match=r"example\.org'.*Found no FORECAST_DATABASE") as refused,
        hold_store_lock(where, "publishing", purpose="A test", timeout=0.0),
    ):
        raise AssertionError("nothing keeps two machines apart")
    assert "secret" not in str(refused.value)


def test_projects_of_one_machine_that_share_its_server_are_kept_apart_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORECAST_DATABASE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first, second = (
        tracking_store(tmp_path / name, "http://127.0.0.1:5000") for name in ("a", "b")
    )
    with (
        hold_store_lock(first, "publishing", purpose="A test", timeout=0.0),
        pytest.raises(BusyError, match=rf"already running \(PID {os.getpid()}, "),
        hold_store_lock(second, "publishing", purpose="A test", timeout=0.0),
    ):
        raise AssertionError("two have the lock")


def test_a_database_that_does_not_answer_is_one_sentence_at_once(
    direct: str, tmp_path: Path
) -> None:
    unreachable = tracking_store(tmp_path, f"postgresql://forecast@/mlflow?host={tmp_path}")
    with (
        pytest.raises(ForecastError, match=r"PostgreSQL at .* does not answer"),
        mlflow_client.connect(unreachable),
    ):
        pass
    other = tracking_store(tmp_path, direct.replace("://", "+psycopg2://"))
    with (
        pytest.raises(InputError, match="needs the driver 'psycopg2'"),
        mlflow_client.connect(other),
    ):
        pass
