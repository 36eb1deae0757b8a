"""Programs in processes of their own that begin with the libraries loaded: an interpreter that
starts and imports them takes one to three CPU seconds, and six with TensorFlow. So are the modules
of the project, as far as its code is that of the checkout; a program with other code reads it anew.

One process has the libraries and forks for all tests of a session (`warm_server`). `warm_python` is
a file that stands where an interpreter stands, as in the dvc.yaml of a project; it stays until the
program that it asked for has ended, and ends as that did. Whoever kills it, kills that.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from tests.support import warm_client

LIBRARIES = (
    "curl_cffi",  # before TensorFlow, as in tests/conftest.py
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "pydantic",
    "typer",
    "yaml",
    "scipy.stats",
    "filelock",
    "psutil",
    "joblib",
    "distributed.cli.dask_worker",
    "optuna",
    "arch.bootstrap",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
)
# the last of all: it puts another stream in the place of sys.stderr
RUN_OF_DVC = ("dvc.cli.parser", "dvc.repo.reproduce")
NETWORKS = ("tensorflow", "keras", "numba.np.linalg", *RUN_OF_DVC)
DVC = (
    *RUN_OF_DVC,
    "configobj",
    "dvc.data_cloud",
    "dvc.dirs",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.stage",
    "dvc.rwlock",
    "dvc.scm",
    "dvc.utils.strictyaml",
    "networkx",
    "ruamel.yaml",
)
"""What DVC imports on its way through a command."""
SERVER = str(Path(warm_client.__file__).with_name("warm_server.py"))
"""What the command line of every forked program names."""
CODE = Path(__file__).resolve().parents[2] / "forecast"
SESSION = "PYTEST_WARM_SESSION"
"""The variable with the process for which tests/conftest.py is imported first."""
BEFORE_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
"""As `forecast.networks.layers` sets them."""


@functools.cache
def warm_python() -> str:
    """The path of the file; that of this interpreter where the system has no `pidfd_open`."""
    if not hasattr(os, "pidfd_open"):
        return sys.executable
    return str(_folder_of_the_session() / "python3")


@functools.cache
def python_of_workers() -> str | None:
    """The command by which pytest-xdist starts its workers, forked with the libraries that each
    would import for eight CPU seconds; None where the system has no `pidfd_open`.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    door = str(_folder_of_the_session() / "door")
    return shlex.join(_client(door, sys.executable, warm_client.WORKER_OF_TESTS))


def _client(*words: str) -> list[str]:
    return [sys.executable, "-IS", warm_client.__file__, *words]


def _folder_of_the_session() -> Path:
    """What the first process of the session that needs it makes: the server, its door and the
    file that asks there.
    """
    session = int(os.environ.get(SESSION, os.getpid()))
    began = psutil.Process(session).create_time()
    # the path of a socket has a hundred characters
    folder = Path("/tmp") / f"warm-python-{session}-{began:.0f}"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "python3").exists():
            _start_server(folder, session)
            words = _client(str(folder / "door"), sys.executable)
            file = folder / "python3"
            file.write_text(f'#!/bin/sh\nexport WARM_PYTHON="$0"\nexec {shlex.join(words)} "$@"\n')
            file.chmod(0o755)
    return folder


def _start_server(folder: Path, session: int) -> None:
    prefixes = ("PYTHON", "PYTEST_", "FORECAST_", "MLFLOW_")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(prefixes)}
    subprocess.run(
        [
            sys.executable,
            SERVER,
            folder,
            str(session),
            *LIBRARIES,
            "--networks",
            *NETWORKS,
            "--dvc",
            *DVC,
            "--code",
            CODE,
        ],
        cwd=folder,
        env={**environment, **BEFORE_TENSORFLOW},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        check=True,  # it leaves a process behind as soon as it can be asked
    )


def run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: Any
) -> subprocess.CompletedProcess[str]:
    """What tests need of `subprocess.run`, for one `python -m` or `python -c`."""
    python = warm_python()
    if python == sys.executable:
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    door = str(Path(python).with_name("door"))
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as error,
        Path(os.devnull).open("rb") as nothing,
    ):
        streams = (nothing.fileno(), out.fileno(), error.fileno())
        code = warm_client.run(door, python, command[1:], str(cwd), env, streams)
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(command, code, *texts)
