"""Systems without Unix's modules, fork and links; files read and written alike on every one."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from forecast.system import processes
from forecast.system.errors import InputError
from tests.support.small_project import ROOT

HIDDEN = """
import os, signal, sys
# loaded before they are hidden: modules of Python's own that need them on this system
import asyncio, multiprocessing.util, multiprocessing.popen_spawn_posix, subprocess, tempfile
import joblib.externals.loky.backend.resource_tracker
# has locks of Windows as well; without either, a file that anybody left behind is a lock for ever
import filelock

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "getuid", "geteuid", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM"):
    delattr(signal, name)

def refuse_link(*_, **__):
    raise OSError("A required privilege is not held by the client")

os.symlink = os.link = refuse_link
"""
"""Run first in a process: what Windows lacks is missing there."""


def run_hidden(code: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environment.pop("FORECAST_NATIVE_KERNELS", None)  # switched off, they are no modules at all
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN + textwrap.dedent(code)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # what fitting and identifying import: below
def test_every_module_imports_without_what_windows_lacks(tmp_path: Path) -> None:
    code = """
        import importlib, pkgutil, forecast
        for module in pkgutil.walk_packages(forecast.__path__, "forecast."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        print("imported")
    """
    assert run_hidden(code, tmp_path).endswith("imported\n")


def test_a_model_is_fitted_compared_saved_and_asked_without_what_windows_lacks(
    tmp_path: Path,
) -> None:
    code = """
        import forecast
        df = forecast.example().tail(1500)
        model = forecast.fit(df, "ridge", freq="1h", horizon=6, lookback=24)
        model.save("saved")
        assert forecast.load("saved").predict(df).equals(model.predict())
        board = forecast.compare(df, ["naive", "ridge"], freq="1h", horizon=6, lookback=24)
        print(len(board.leaderboard))
    """
    assert run_hidden(code, tmp_path) == "9\n"  # the two, and seven that they are tested against


@pytest.mark.slow
def test_a_network_is_tuned_without_what_windows_lacks(tmp_path: Path) -> None:
    code = """
        import forecast

        df = forecast.example().tail(1500)
        budget = {"n_trials": 1, "trial_steps": 5, "final_steps": 5}
        model = forecast.fit(df, "gru", freq="1h", horizon=6, lookback=24, tuning=budget)
        print(len(model.predict()))
    """
    assert run_hidden(code, tmp_path).endswith("6\n")


def test_a_record_is_identified_without_what_windows_lacks(tmp_path: Path) -> None:
    code = """
        import numpy as np
        from forecast.identification.automatic import identify
        from forecast.identification.experiment import Experiment
        from forecast.identification.search_settings import Candidate, SearchSettings

        u = np.random.default_rng(0).uniform(-1, 1, 240)
        y = np.zeros(240)
        for t in range(1, 240):
            y[t] = 0.7 * y[t - 1] + 0.4 * np.tanh(u[t - 1])
        settings = SearchSettings(
            folds=2,
            candidates=(Candidate("delays", 2, 3),),
            fold_iterations=5,
            refit_iterations=(5, 5),
            longest_dead_time=5,
        )
        net = identify(Experiment(u, y), seed=0, settings=settings)
        print(type(net).__name__)
    """
    assert run_hidden(code, tmp_path).strip().isidentifier()


def test_the_pipeline_says_on_windows_that_it_needs_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.require_unix("`forecast run`")
    monkeypatch.setattr(processes.os, "name", "nt")
    with pytest.raises(InputError, match=r"`forecast run` needs a Unix system, .*WSL"):
        processes.require_unix("`forecast run`")


def test_every_text_file_names_its_encoding_and_every_table_its_line_ends() -> None:
    places = []
    for path in (*(ROOT / "forecast").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (_lacks_encoding(node) or _lacks_line_end(node)):
                places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert places == []


def _lacks_line_end(call: ast.Call) -> bool:
    """Whether pandas ends the lines of a table as the system does."""
    is_table = isinstance(call.func, ast.Attribute) and call.func.attr == "to_csv"
    return is_table and "lineterminator" not in {keyword.arg for keyword in call.keywords}


def _lacks_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the system prefers."""
    keywords = {keyword.arg for keyword in call.keywords}
    if not isinstance(call.func, ast.Attribute) or "encoding" in keywords:
        return False
    positional = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if call.func.attr == "read_text":
        return "utf-8" not in positional
    if call.func.attr == "write_text":
        return not (isinstance(call.func.value, ast.Name) and call.func.value.id == "files")
    if call.func.attr in ("run", "Popen"):
        return "text" in keywords
    is_text = call.func.attr == "open" and positional and positional[0] in ("r", "w", "a", "rt")
    return bool(is_text)
