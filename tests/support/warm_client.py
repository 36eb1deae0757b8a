"""Asks `warm_server` for a program: `python -IS warm_client.py DOOR PYTHON -m dvc repro` is `PYTHON
-m dvc repro` and begins with the libraries loaded.

It imports little, since it is started for every stage of a pipeline.
"""

import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

WARM_PROGRAMS = ("distributed", "dvc", "forecast", "mlflow", "pipelines", "tests", "uvicorn")
"""Of `-m`; what else is started, such as the worker processes of a stage, is no matter of ours."""
PROGRAMS_WITHOUT_NETWORKS = (
    "dvc",
    *(f"pipelines.{name}" for name in ("settings", "fetch", "prepare", "compare", "report")),
)
"""Programs that are forked from the process without TensorFlow."""
PROGRAMS_OF_OTHERS = ("distributed", "dvc", "mlflow", "uvicorn")
WITHOUT_NETWORKS, WITH_CODE = "-without-networks", "-with-code"
"""Ends of the names of doors: of processes without TensorFlow, and with our modules."""
CODE_LIST = "code.json"
"""The file beside the doors with the package of our modules and their sizes and times."""
WORKER_OF_TESTS = "--worker"
"""Before the words by which pytest-xdist starts a worker: `-u -c ...`."""


def run(
    door: str,
    python: str,
    words: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    streams: Sequence[int],
) -> int:
    """The exit code of `python words...`, negative where a signal ended it; a Ctrl-C or a
    termination of this process is passed on.
    """
    request = {
        "python": python,
        "words": list(words),
        "folder": folder,
        "environment": dict(environment),
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "package": find_same_code(os.path.dirname(door), words, folder, environment),
    }
    if words[1] in PROGRAMS_WITHOUT_NETWORKS:
        door += WITHOUT_NETWORKS
    if request["package"]:
        door += WITH_CODE
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(door)
        socket.send_fds(server, [b"\n"], streams)
        server.sendall(json.dumps(request).encode() + b"\n")
        if __name__ == "__main__":
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        return int(server.recv(16) or -signal.SIGKILL)


def find_same_code(
    session: str, words: Sequence[str], folder: str, environment: Mapping[str, str]
) -> str | None:
    """The package that the program would import as ours, where each of its files is, by size and
    time, the one that has been imported in the folder `session`.
    """
    if words[0] == "-m" and words[1] in PROGRAMS_OF_OTHERS:
        return None
    code_list = os.path.join(session, CODE_LIST)
    if not os.path.exists(code_list):
        return None
    with open(code_list) as file:
        name, imported = json.load(file)
    for place in (folder, *environment.get("PYTHONPATH", "").split(os.pathsep)):
        package = os.path.join(place, name)
        if place and os.path.isfile(os.path.join(package, "__init__.py")):
            return package if list_code(package) == imported else None
    return None


def list_code(package: str) -> dict[str, list[int]]:
    """Size and time of every file of Python code."""
    listed = {}
    for folder, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                status = os.stat(path)
                listed[path[len(package) :]] = [status.st_size, status.st_mtime_ns]
    return listed


def write_code_list(package: str, session: str) -> None:
    with open(os.path.join(session, CODE_LIST), "w") as file:
        json.dump([os.path.basename(package), list_code(package)], file)


def main(door: str, python: str, *words: str) -> None:
    if words[:1] == (WORKER_OF_TESTS,):
        words = words[2:]  # execnet's -u is for an interpreter that starts
    elif len(words) < 2 or words[0] != "-m" or words[1].split(".")[0] not in WARM_PROGRAMS:
        os.execv(python, [python, *words])
    this_file = os.environ.get("WARM_PYTHON", python)
    folder = os.getcwd()
    code = run(door, this_file, words, folder, os.environ, (0, 1, 2))
    if code < 0:
        if code != -signal.SIGKILL:  # which nobody may set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
