"""What all tests of one process share."""

import compileall
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# TensorFlow carries a libcurl of its own; loaded first, it takes curl_cffi's place and yfinance
# cannot fetch. Commands that fetch never import TensorFlow, but tests of both share a process.
import curl_cffi  # noqa: F401
import psutil
import pytest
from _pytest.runner import runtestprotocol

from tests.support import warm_interpreter
from tests.support.mlflow_tables import copy_tables_from_the_first_database
from tests.support.rewritten_asserts import rewrite_asserts
from tests.support.shared_projects import make_once

# started with & by a script: no child would hear a Ctrl-C
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Every core has a test process: two threads of BLAS in each wait for one another in a loop, which
# made one fit of 4 CPU seconds one of 60. NumPy, which reads this, is not imported yet.
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
# Two workers of a fit import NumPy and TensorFlow anew, six CPU seconds for what takes one; what is
# tested of workers asks for them.
os.environ.setdefault("FORECAST_JOBS", "1")
# What pytest makes of each `assert` is written, too, where a container writes no bytecode.
sys.dont_write_bytecode = False
# until all test modules are imported: what they bring stays, and would be looked through every time
gc.disable()
ALLOCATIONS = 10_000  # between two looks for garbage; Python's 700 cost 2 to 6 % of the CPU


def be_patient_with_examples() -> None:
    # a plugin of trio, which selenium brings, would import all of it for every process
    os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"
    import hypothesis

    hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no failure
    hypothesis.settings.load_profile("patient")


be_patient_with_examples()

MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30  # several times what all tests leave


def keep_temporary_files_in_memory() -> None:
    """Where there is room and a program may be started from it; a TMPDIR of one's own stays.

    Every result is flushed to disk before it gets its name, and every project of a test is deleted:
    on a disk the tests wait for that as long as they compute.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return
    if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or shutil.disk_usage(MEMORY).free < ROOM:
        return
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None  # asked again


keep_temporary_files_in_memory()

TESTS = Path(__file__).parent


def start_compiling_the_kernels() -> subprocess.Popen[bytes] | None:
    """Once, before any worker: every project of a test is a copy of the code with its machine code,
    or would compile it for ten CPU seconds.
    """
    native = TESTS.parent / "forecast" / "networks" / "native"
    newest_source = max(path.stat().st_mtime for path in native.glob("*.py"))
    compiled = [path.stat().st_mtime for path in native.glob("__pycache__/*.nbi")]
    switched_off = os.environ.get("FORECAST_NATIVE_KERNELS") == "0"
    if switched_off or max(compiled, default=0.0) >= newest_source:
        return None
    code = "from forecast.networks.layers import fused; fused.register_recurrences()"
    return subprocess.Popen([sys.executable, "-c", code], cwd=TESTS.parent)


def compile_the_packages() -> None:
    """Once, before any worker: dozens of tests run a copy of the code, and a container often writes
    no bytecode. What is read of each file for the digests of the code lies beside it.
    """
    for name in ("forecast", "pipelines"):
        compileall.compile_dir(TESTS.parent / name, quiet=1)
    from forecast.system.code_closure import code_digest

    modules = [
        f"{folder.replace('/', '.')}.{path.stem}"
        for folder in ("pipelines", "forecast/models/families")
        for path in (TESTS.parent / folder).glob("[!_]*.py")
    ]
    code_digest(modules, found_by_name=True)


if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ[warm_interpreter.SESSION] = str(os.getpid())
    kernels = start_compiling_the_kernels()
    compile_the_packages()
    if kernels is not None:
        kernels.wait()

LONG = (
    "operations/test_month.py",
    "operations/test_soak.py",
    "audit/test_clean.py",
    "operations/test_retrain_service.py",
    "data/test_guesses.py",
    "project/test_whole_pipeline.py",
    "system/test_cluster.py",
    "faults/test_retrain_killed.py",
    "identification/test_automatic.py",
    "api/test_same_as_stages.py",
    "audit/test_stored.py",
    "operations/test_team.py",
    "tracking/test_reruns.py",
    "tracking/test_served.py",
    "faults/test_resume.py",
    "api/test_many_series.py",
    "project/test_live_examples.py",
    "faults/test_runs.py",
    "audit/test_leaks.py",
    "audit/test_training_leaks.py",
    "api/test_frames.py",
    "models/test_statistical.py",
    "comparison/test_paired_tests.py",
    "networks/layers/test_runtime.py",
    "models/test_regressors.py",
    "api/test_future_exogenous.py",
    "audit/test_sandbox.py",
    "audit/test_command.py",
    "system/test_platforms.py",
    "project/test_coming_from_others.py",
    "api/test_docstrings.py",
    "identification/test_page.py",
    "api/test_wheel.py",
    "project/test_demo.py",
    "project/test_extending.py",
    "api/test_installation.py",
    "api/test_model.py",
    "contract/test_heads.py",
    "tracking/test_publishing.py",
    "training/test_gradient.py",
    "data/test_ingest.py",
    "operations/test_copies.py",
    "operations/test_predicting.py",
    "contract/test_fitting.py",
    "networks/layers/test_assemble.py",
)
"""Files of ten seconds and more, the longest first: begun last, one would leave the other workers
idle.
"""


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project with the real code after `dvc repro` by one worker; read only."""
    # NumPy, which they import, reads the variables above
    from tests.faults.processes import dvc
    from tests.support import small_project

    def run(root: Path) -> None:
        done = dvc(small_project.write_real(root), "repro", FORECAST_JOBS="1")
        assert done.returncode == 0, done.stdout + done.stderr

    return make_once(tmp_path_factory, "whole_run", run)


def pytest_runtest_setup() -> None:
    copy_tables_from_the_first_database()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """In a worker, one report of a test that passes instead of three and two marks around them:
    each is a message, and to write and read it takes as long as many a test.
    """
    option = item.config.option
    xml = getattr(option, "xmlpath", None)  # without its plugin there is no such option
    reads_all = option.verbose > 0 or option.durations is not None or xml is not None
    if "PYTEST_XDIST_WORKER" not in os.environ or reads_all:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


MEMORY_OF_A_PROCESS = 3 * 2**30


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Three for two cores: a test that waits for a process, a server or a disk leaves its core to
    another one. With two a fifth of the time of both cores was idle. One for each core where there
    is less memory than a process and what it starts may take.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    return max(cores, min(cores * 3 // 2, psutil.virtual_memory().total // MEMORY_OF_A_PROCESS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[Any]) -> None:
    """Workers begin with the libraries loaded, forked as the programs of tests are."""
    with ThreadPoolExecutor(1) as pool:
        python = pool.submit(warm_interpreter.python_of_workers)
        rewrite_asserts(TESTS, config)  # on another core
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = python.result()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, everything else in its order; `--dist loadfile` hands files out in the
    order they come in.
    """
    ranks = {name: rank for rank, name in enumerate(LONG)}

    def rank(item: pytest.Item) -> int:
        return ranks.get(item.path.as_posix().removeprefix(f"{TESTS.as_posix()}/"), len(LONG))

    items.sort(key=rank)
