"""Audits in processes of their own that start with the libraries loaded: only the project's code is
the copy's.

Nothing of `forecast` may be imported here: a process imports it from the copy it audits.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import multiprocessing.forkserver
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

LIBRARIES = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "pydantic.main",
    "pydantic.type_adapter",
    "yaml",
    "scipy.stats",
    "arch.bootstrap",
    "joblib",
    "filelock",
    "threadpoolctl",
    "optuna",
    "tensorflow",
    "keras",
)
BEFORE_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
"""As `forecast.networks.layers.silence_libraries` sets them."""
SECONDS = 900


def audit(root: Path, *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `python -m forecast.audit` with the code of
    `root`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LIBRARIES])
    with pytest.MonkeyPatch.context() as patched:
        for name, value in BEFORE_TENSORFLOW.items():
            patched.setenv(name, value)
        multiprocessing.forkserver.ensure_running()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_audited, root, arguments).result(timeout=SECONDS)


def _audited(root: Path, arguments: tuple[str, ...]) -> tuple[int, str, str]:
    assert "forecast" not in sys.modules, "the code under audit would be that of the tests"
    os.chdir(root)
    sys.path.insert(0, str(root))
    said, warned = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(warned):
        from forecast.audit.__main__ import main

        code = main([*arguments])
    return code, said.getvalue(), warned.getvalue()
