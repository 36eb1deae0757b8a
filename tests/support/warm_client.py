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
WITHOUT_NETWORKS = (
    "dvc",
    *(f"pipelines.{name}" for name in ("settings", "fetch", "prepare", "compare", "report")),
)
"""Programs that are forked from the process without TensorFlow."""
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
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{door}-without-networks" if words[1] in WITHOUT_NETWORKS else door)
        socket.send_fds(server, [b"\n"], streams)
        server.sendall(json.dumps(request).encode() + b"\n")
        if __name__ == "__main__":
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        return int(server.recv(16) or -signal.SIGKILL)


def main(door: str, python: str, *words: str) -> None:
    if words[:1] == (WORKER_OF_TESTS,):
        words = words[2:]  # execnet's -u is for an interpreter that starts
    elif len(words) < 2 or words[0] != "-m" or words[1].split(".")[0] not in WARM_PROGRAMS:
        os.execv(python, [python, *words])
    this_file = os.environ.get("WARM_PYTHON", python)
    folder = os.getcwd()  # noqa: PTH109  pathlib takes longer to import than all of this
    code = run(door, this_file, words, folder, os.environ, (0, 1, 2))
    if code < 0:
        if code != -signal.SIGKILL:  # which nobody may set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
