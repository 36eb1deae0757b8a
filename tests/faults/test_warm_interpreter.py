"""A program that the tests start warm is one that an interpreter has started, to whoever starts
it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import execnet
import psutil
import pytest

from tests.faults.processes import eventually
from tests.support import small_project, warm_client, warm_interpreter

FORKS = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="programs are started here, not forked"
)
TOLD = """
import os, pathlib, sys, time
print(sys.argv[1:], os.getcwd(), os.environ["A"], __name__)
print("a word", file=sys.stderr)
if "wait" in sys.argv:
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(300)
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """A module of the folder `tmp_path`, as it is started there."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").touch()
    (tmp_path / "pipelines" / "told.py").write_text(TOLD)
    return [warm_interpreter.warm_python(), "-m", "pipelines.told"]


def test_it_has_its_words_folder_and_environment_and_ends_with_its_own_code(
    program: list[str], tmp_path: Path
) -> None:
    env = small_project.environment(A="of one's own")
    done = subprocess.run(
        [*program, "x"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    expected = (3, f"['x'] {tmp_path} of one's own __main__\n", "a word\n")
    assert (done.returncode, done.stdout, done.stderr) == expected
    repeated = warm_interpreter.run([*program, "x"], cwd=tmp_path, env=env)
    assert (repeated.returncode, repeated.stdout, repeated.stderr) == expected


OPENS = """
import gc, os
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
gc.collect()
for file in files:
    os.fstat(file)
"""


def test_nothing_that_the_server_held_closes_a_file_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").touch()
    (tmp_path / "pipelines" / "opens.py").write_text(OPENS)
    command = [sys.executable, "-m", "pipelines.opens"]
    done = warm_interpreter.run(command, cwd=tmp_path, env=small_project.environment())
    assert done.returncode == 0, done.stderr


MODULES = """
import functools, gc, importlib, json, numpy, os, pathlib, sys
listed = pathlib.Path("modules.json")
begun_with = sorted(name for name in sys.modules if name.split(".")[0] == "forecast")
if not listed.exists():
    listed.write_text(json.dumps(begun_with))
told = {"begun with": len(begun_with), "environment": dict(os.environ)}
told["drawn"] = numpy.random.random()
for name in json.loads(listed.read_text()):
    module = importlib.import_module(name)
    places = module.__file__, module.__spec__.origin, getattr(module, "__path__", None)
    values = {
        key: str(value)
        for key, value in vars(module).items()
        if isinstance(value, str | int | float | pathlib.Path) and key != "__cached__"
    }
    told[name] = [[str(place) for place in places], values]
told["cached"] = {
    f"{function.__module__}.{function.__qualname__}": function.cache_info().currsize
    for function in gc.get_objects()
    if isinstance(function, functools._lru_cache_wrapper)
    and function.__module__.startswith("forecast.")
}
checkout = pathlib.Path(sys.argv[1])
told["of the checkout"] = [
    str(path)
    for path in gc.get_objects()
    if isinstance(path, pathlib.Path)
    and path is not checkout
    and (path == checkout or path.is_relative_to(checkout / "forecast"))
]
print(json.dumps(told))
"""


@FORKS
def test_our_modules_of_a_copy_are_as_it_would_import_them(tmp_path: Path) -> None:
    """Begun with where the code is the same; where one file is another they are read anew."""
    small_project.copy_code(tmp_path)
    (tmp_path / "pipelines" / "told.py").write_text(MODULES)
    command = [sys.executable, "-m", "pipelines.told", str(small_project.ROOT)]

    def describe_modules() -> dict[str, Any]:
        done = warm_interpreter.run(command, cwd=tmp_path, env=small_project.environment())
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first, second = describe_modules(), describe_modules()
    (tmp_path / "forecast" / "system" / "errors.py").touch()
    described = describe_modules()
    assert (
        first.pop("begun with") == second.pop("begun with") > 200 > described.pop("begun with") == 0
    )
    assert len({run.pop("drawn") for run in (first, second, described)}) == 3
    assert first == second == described
    assert not described["of the checkout"]
    (folder,) = described["forecast"][0][2:]
    assert folder == f"['{tmp_path / 'forecast'}']"


@FORKS
@pytest.mark.parametrize(("stage", "may_train"), [("prepare", False), ("train", True)])
def test_only_what_may_train_networks_is_forked_with_tensorflow(
    stage: str, may_train: bool, tmp_path: Path
) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").touch()
    (tmp_path / "pipelines" / f"{stage}.py").write_text(
        "import sys; print('mlflow' in sys.modules, 'tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-m", f"pipelines.{stage}"]
    done = warm_interpreter.run(command, cwd=tmp_path, env=small_project.environment())
    assert done.stdout == f"True {may_train}\n", done.stderr


FOUND = """
import os, sys
channel.send((
    "tensorflow" in sys.modules,
    sys.executable,
    os.environ["A"],
    hasattr(sys.modules["__main__"], "__file__"),
))
"""


@FORKS
def test_a_worker_of_the_tests_begins_with_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is this interpreter otherwise; processes that it starts import no file as its program."""
    monkeypatch.setenv("A", "of one's own")
    spec = execnet.XSpec("popen")
    spec.python = warm_interpreter.python_of_workers()
    gateway = execnet.makegateway(spec)
    answer = gateway.remote_exec(FOUND).receive()
    gateway.exit()
    assert answer == (True, sys.executable, "of one's own", False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_one_who_asked_ends_the_program(
    program: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    env = small_project.environment(A="a")
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*program, "wait"], cwd=tmp_path, env=env, **streams) as asker:
        pid = tmp_path / "pid"
        assert eventually(lambda: pid.exists() and pid.read_text())
        asker.send_signal(number)
        assert asker.wait(60) == -number
    assert eventually(lambda: not psutil.pid_exists(int(pid.read_text())), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_outlives_a_program_and_its_asker_that_end_at_once(
    program: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """On a full machine it hears of both in one round; when it ended, so did all programs."""
    folder = tmp_path / "server"
    folder.mkdir()
    # what every program has at its exit, once for both
    library = "mlflow.tracking.fluent"
    words = [sys.executable, warm_interpreter.SERVER, str(folder), str(os.getpid()), library]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, start_new_session=True)
    (server,) = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == words]
    client = [sys.executable, "-IS", warm_client.__file__, str(folder / "door"), sys.executable]
    pid = tmp_path / "pid"
    try:
        with subprocess.Popen(
            [*client, *program[1:], "wait"], cwd=tmp_path, env=small_project.environment(A="a")
        ) as asker:
            assert eventually(lambda: pid.exists() and pid.read_text())
            server.suspend()
            started = psutil.Process(int(pid.read_text()))
            started.kill()
            assert eventually(lambda: started.status() == psutil.STATUS_ZOMBIE)
            asker.send_signal(number)
            time.sleep(0.2)
            server.resume()
        done = subprocess.run(
            [*client, *program[1:]], cwd=tmp_path, env=small_project.environment(A="a"), check=False
        )
        assert done.returncode == 3
        assert server.is_running()
    finally:
        server.kill()


@FORKS
def test_a_program_ends_with_the_session(program: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with subprocess.Popen(["sleep", "300"]) as session:
        words = [sys.executable, warm_interpreter.SERVER, str(folder), str(session.pid), "json"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, start_new_session=True)
        client = [sys.executable, "-IS", warm_client.__file__, str(folder / "door"), sys.executable]
        pid = tmp_path / "pid"
        with subprocess.Popen(
            [*client, *program[1:], "wait"], cwd=tmp_path, env=small_project.environment(A="a")
        ) as asker:
            assert eventually(lambda: pid.exists() and pid.read_text())
            session.kill()
            assert asker.wait(60) == -signal.SIGKILL
    assert eventually(lambda: not psutil.pid_exists(int(pid.read_text())), 10)


def test_what_is_no_program_of_ours_has_an_interpreter_that_was_started(tmp_path: Path) -> None:
    code = "import sys; print('pandas' in sys.modules, sys.executable)"
    command = [warm_interpreter.warm_python(), "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"False {sys.executable}\n", os.environ
