"""Tasks on a Dask cluster of real worker processes: equal results, and each fault with what was
finished kept.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from forecast.system import cluster, workers
from forecast.system.errors import BusyError, InputError
from forecast.system.workers import WorkItem
from tests.faults.processes import crowding, eventually
from tests.support import warm_interpreter
from tests.support.cluster_tasks import (
    hungry,
    once_killed,
    pages_of_arrays,
    refuse,
    slow,
    square,
)
from tests.support.small_project import ROOT


def _read_json(path: Path) -> dict:
    """What the file holds; empty while it is absent or half written."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


@contextmanager
def started(
    folder: Path,
    nworkers: int,
    *,
    host: str = "127.0.0.1",
    memory: str = "600MB",
    **dask_settings: str,
):
    """As docs/cluster.md starts them, with the variables `dask_settings`: (address, scheduler,
    nannies).
    """
    place, local = folder / "scheduler.json", ["--host", host, "--dashboard-address", "127.0.0.1:0"]
    preload = [
        "--preload",
        "forecast.system.cluster",
        "--local-directory",
        str(folder),
        "--memory-limit",
        memory,
    ]
    with (folder / "log").open("w") as log:
        # Dask reads its variables as it is imported: with some it has to be a new interpreter
        python = sys.executable if dask_settings else warm_interpreter.warm_python()

        def program(name, *options):
            command = [
                python,
                "-m",
                f"distributed.cli.dask_{name}",
                "--scheduler-file",
                str(place),
                *options,
            ]
            return subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **dask_settings}
            )

        running = [program("scheduler", "--port", "0", *local)]
        try:
            # the scheduler writes the file in place: it exists before it is whole
            assert eventually(lambda: _read_json(place), 20.0), f"{place} did not come"
            address = _read_json(place)["address"]
            running.append(
                program("worker", "--nworkers", str(nworkers), "--nthreads", "1", *local, *preload)
            )
            yield address, *running
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(60)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with started(tmp_path_factory.mktemp("cluster"), 2) as (address, *_):
        yield address


@pytest.fixture
def run_given(local, monkeypatch):
    monkeypatch.setenv(cluster.CLUSTER_VARIABLE, local)
    return local


def run(*tasks):
    return {outcome.name: outcome for outcome in workers.run_items(tasks, jobs=2)}


def wait_for(path: Path, seconds: float = 20.0):
    assert eventually(path.exists, seconds), f"{path} did not come"


@pytest.mark.parametrize(
    "text",
    [
        "host:8786",
        "tcp://",
        "http://host:1",
        "local:0",
        "local:two",
        "tcp://a b:1",
        "tcp://host:0",
        "tcp://host:65536",
    ],
)
def test_a_malformed_address_is_refused_with_what_is_wanted(text, monkeypatch):
    monkeypatch.setenv(cluster.CLUSTER_VARIABLE, text)
    with pytest.raises(InputError, match="Wanted tcp://host:port"):
        cluster.cluster_address()


def answered(there: socket.socket, answer: bytes):
    with there.accept()[0] as connection:
        connection.sendall(answer)
        connection.settimeout(20)
        while connection.recv(1000):
            continue


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100])
def test_where_no_scheduler_answers_it_says_so_within_its_time(answer, monkeypatch):
    """Nobody listens; somebody who says nothing; another program, such as the dashboard."""
    monkeypatch.setattr(cluster, "WAIT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"tcp://127.0.0.1:{there.getsockname()[1]}"
        monkeypatch.setenv(cluster.CLUSTER_VARIABLE, address)
        there.settimeout(20)
        if answer is None:
            there.close()
        elif answer:
            threading.Thread(target=answered, args=(there, answer), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(BusyError, match=f"No scheduler answers at {address} within 1 s"):
            run(WorkItem("two", square, (2,)))
        assert time.monotonic() - began < 6 * crowding()


def test_results_and_failures_are_those_of_the_cores_of_this_machine(run_given, monkeypatch):
    tasks = [*(WorkItem(f"{n}", square, (n,)) for n in range(20)), WorkItem("wrong", refuse, ())]
    there = run(*tasks)
    monkeypatch.delenv(cluster.CLUSTER_VARIABLE)
    outcomes_here = {o.name: o for o in workers.run_items(tasks, jobs=1)}
    assert {n: (o.value, o.error, o.exit_code) for n, o in there.items()} == {
        n: (o.value, o.error, o.exit_code) for n, o in outcomes_here.items()
    }


def test_a_cluster_for_the_time_of_a_stage_needs_nobody_who_runs_one(monkeypatch, capfd):
    monkeypatch.setenv(cluster.CLUSTER_VARIABLE, "local:1")
    assert run(WorkItem("three", square, (3,)))["three"].value == 9
    assert "cluster local:1: 1 worker, dashboard http://127.0.0.1:" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
@pytest.mark.parametrize("where", ["local:1", ""])
def test_a_worker_keeps_the_memory_that_it_will_want_again(run_given, monkeypatch, where):
    """Dask's nanny has glibc give back every free page at once: 350,000 faults instead of
    hundreds.
    """
    monkeypatch.setenv(cluster.CLUSTER_VARIABLE, where or run_given)
    assert run(WorkItem("arrays", pages_of_arrays, ()))["arrays"].value < 30_000


def test_a_task_whose_worker_is_killed_runs_again_and_the_others_are_kept(run_given, tmp_path):
    outcomes = run(
        WorkItem("killed", once_killed, (tmp_path / "once", 7)),
        *(WorkItem(f"{n}", square, (n,)) for n in range(6)),
    )
    assert outcomes["killed"].value == 7 and outcomes["5"].value == 25


@pytest.mark.slow
def test_a_task_that_runs_out_of_memory_on_every_worker_has_failed_by_name(run_given):
    outcomes = run(
        WorkItem("too large", hungry, ()), *(WorkItem(f"{n}", square, (n,)) for n in range(6))
    )
    assert "too large: every worker process that ran it died" in outcomes["too large"].error
    assert "--memory-limit" in outcomes["too large"].error
    assert [outcomes[f"{n}"].value for n in range(6)] == [0, 1, 4, 9, 16, 25]


def wait_for_third_worker(address: str) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=30)


@contextmanager
def joined(address: str, folder: Path, preload: str):
    """One more worker, without a nanny, which begins by running `preload`."""
    (folder / "own.py").write_text(preload)
    command = [
        warm_interpreter.warm_python(),
        "-m",
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    ]
    command += [
        "--host",
        "127.0.0.1",
        "--preload",
        str(folder / "own.py"),
        "--local-directory",
        str(folder / "own"),
    ]
    with (folder / "own.log").open("w") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(60)


def test_a_worker_with_other_code_that_comes_late_is_refused_as_well(run_given, tmp_path):
    tasks = [
        WorkItem("fast", square, (2,)),
        *(WorkItem(f"{n}", slow, (tmp_path / f"{n}", 0.5)) for n in range(120)),
    ]
    loop = workers.run_items(tasks, jobs=2)
    assert next(loop).value == 4
    with (
        joined(run_given, tmp_path, "from forecast.system import cluster; cluster.PACKAGES = ()"),
        pytest.raises(InputError, match=r"has other packages .digest [0-9a-f]{12}, here"),
    ):
        list(loop)


def test_a_worker_without_this_project_is_one_sentence(run_given, tmp_path):
    with joined(run_given, tmp_path, "import sys; sys.modules['forecast.system.cluster'] = None"):
        wait_for_third_worker(run_given)
        with pytest.raises(
            InputError, match=r"cannot say which code it has .*ModuleNotFound.*install the same"
        ):
            run(WorkItem("two", square, (2,)))


def test_a_worker_that_does_not_see_the_files_is_refused_with_the_folder(run_given, tmp_path):
    blind = """
from forecast.system import cluster
def is_dir(path, sees=cluster.Path.is_dir):
    return "seen-" not in path.name and sees(path)
cluster.Path.is_dir = is_dir
"""
    with joined(run_given, tmp_path, blind):
        wait_for_third_worker(run_given)
        target = tmp_path / "made" / "one"
        with pytest.raises(InputError, match=f"does not see {tmp_path}. Put the project into"):
            run(WorkItem("two", square, (2,), writes=target))


def test_relative_paths_are_those_of_the_command(run_given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(WorkItem("slow", slow, (Path("marker"), 0)))
    assert (tmp_path / "marker").exists()


def test_certificates_from_the_settings_are_enough_for_tls(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60
    )
    settings = {"CA_FILE": certificate}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{role}__CERT": certificate, f"{role}__KEY": key}
    settings_of_dask = {
        f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in settings.items()
    }
    asks = (
        "import dask; dask.config.refresh();"  # read at its import, which is past
        "from forecast.system.workers import WorkItem, run_items;"
        "from tests.support.cluster_tasks import square;"
    )
    asks += "print([o.value for o in run_items([WorkItem('four', square, (4,))], jobs=2)])"
    with started(tmp_path, 1, host="tls://127.0.0.1", **settings_of_dask) as (address, *_):
        assert address.startswith("tls://")

        def run_asked(**variables: str) -> str:
            env = {**os.environ, cluster.CLUSTER_VARIABLE: address, **variables}
            done = warm_interpreter.run([sys.executable, "-c", asks], cwd=ROOT, env=env)
            return done.stdout + done.stderr

        assert "[16]" in run_asked(**settings_of_dask)
        for without in ({}, {name: str(tmp_path / "none.pem") for name in settings_of_dask}):
            assert (
                "for tls://, name certificates in Dask's settings"
                in run_asked(**without).splitlines()[-1]
            )


def listening(command: subprocess.Popen[bytes]) -> set[str]:
    """The addresses on which a command and what it started can be reached."""
    ours = [psutil.Process(command.pid), *psutil.Process(command.pid).children(recursive=True)]
    return {
        connection.laddr.ip
        for process in ours
        for connection in process.net_connections()
        if connection.status == "LISTEN"
    }


@pytest.mark.slow  # certificates: a cluster of programs
def test_the_lines_of_the_page_are_reached_from_this_machine_alone(tmp_path):
    """Also when a worker was started again, which Dask does after a Ctrl-C."""
    from distributed import Client

    page = (ROOT / "docs" / "cluster.md").read_text().replace("\\\n", "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    lines = [
        line.replace("8786", port).replace("8787", "0")
        for line in page.splitlines()
        if line.endswith(" &")
    ]
    names = [name for line in lines if (name := shlex.split(line)[1]) in ("scheduler", "worker")]
    assert names == ["scheduler", "worker"]
    commands = [[sys.executable, "-m", "dask", *shlex.split(line)[1:-1]] for line in lines]
    with (tmp_path / "log").open("w") as log:
        running = [
            subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) for command in commands
        ]
    try:
        with Client(f"tcp://127.0.0.1:{port}", set_as_default=False, timeout=30) as client:
            client.wait_for_workers(2, timeout=30)
            client.restart_workers(list(client.scheduler_info(n_workers=-1)["workers"]), timeout=30)
            assert [listening(process) for process in running] == [{"127.0.0.1"}] * 2
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(60)


def test_a_worker_with_other_code_is_refused_with_both_digests(run_given, monkeypatch):
    there = cluster.code_identity()
    monkeypatch.setattr(cluster, "code_identity", lambda: {**there, "packages": "of others"})
    with pytest.raises(
        InputError, match=f"has other packages .digest {there['packages']}, here of others"
    ):
        run(WorkItem("two", square, (2,)))


def test_what_is_called_off_ends_soon_and_nothing_waits_on(run_given, tmp_path):
    """Ctrl-C unwinds the loop that takes the outcomes."""
    from distributed import Client

    marker = tmp_path / "late"
    loop = workers.run_items(
        [
            WorkItem("fast", square, (2,)),
            WorkItem("slow", slow, (marker, 15)),
            *[WorkItem(f"{n}", slow, (tmp_path / f"{n}", 15)) for n in range(4)],
        ],
        jobs=2,
    )
    assert next(loop).value == 4
    wait_for(marker.with_suffix(".begun"))
    loop.close()
    with Client(run_given, set_as_default=False) as client:
        assert not any(client.processing().values())
    time.sleep(1)
    assert run(WorkItem("two", square, (2,)))["two"].value == 4
    assert not marker.exists()


def test_two_clients_at_once_get_their_own_results(run_given):
    script = (
        "from forecast.system.workers import WorkItem, run_items;"
        "from tests.support.cluster_tasks import square;"
        "items = [WorkItem(str(n), square, (n,)) for n in range(30)];"
        "print(sorted(o.value for o in run_items(items, jobs=2)))"
    )
    command, env = [sys.executable, "-c", script], {**os.environ, "PYTHONPATH": str(ROOT)}
    with ThreadPoolExecutor(2) as threads:
        others = [
            threads.submit(warm_interpreter.run, command, cwd=ROOT, env=env) for _ in range(2)
        ]
    assert {other.result().stdout.strip() for other in others} == {str([n * n for n in range(30)])}


def test_a_scheduler_that_goes_away_ends_the_command_with_what_is_finished(tmp_path, monkeypatch):
    with started(tmp_path, 1) as (address, scheduler, _):
        monkeypatch.setenv(cluster.CLUSTER_VARIABLE, address)
        loop = workers.run_items(
            [WorkItem("fast", square, (2,)), WorkItem("slow", slow, (tmp_path / "late", 60))],
            jobs=2,
        )
        assert next(loop).value == 4
        scheduler.kill()
        with pytest.raises(
            BusyError, match=f"{address} went away. Start it again. What is finished"
        ):
            next(loop)


def test_a_cluster_whose_last_worker_went_for_good_is_not_waited_for_without_end(
    tmp_path, monkeypatch
):
    with started(tmp_path, 1) as (address, _, nannies):
        monkeypatch.setenv(cluster.CLUSTER_VARIABLE, address)
        loop = workers.run_items(
            [WorkItem("fast", square, (2,)), WorkItem("slow", slow, (tmp_path / "late", 60))],
            jobs=2,
        )
        assert next(loop).value == 4
        wait_for(tmp_path / "late.begun")
        monkeypatch.setattr(cluster, "WORKER_SECONDS", 2)
        nannies.terminate()
        with pytest.raises(
            BusyError, match=r"has no worker after 2 s\. Start one .*What is finished"
        ):
            next(loop)
