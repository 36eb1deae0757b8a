"""A small project in a folder of its own: one series from a CSV, one model, and stages that a test
can make misbehave.

`write(root)` gives configs, data and a snapshot; `command(root, ...)` is `forecast ...` as typed
there.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.support import warm_interpreter

ROOT = Path(__file__).resolve().parents[2]
DAYS = 200
DATASET = {
    "title": "A wave",
    "source": {"kind": "file", "path": "data/wave.csv"},
    "calendar": {"kind": "regular", "freq": "1D"},
    "horizon": 2,
    "lookback": 7,
    "season_length": 7,
    "target": {"column": "y"},
    "splits": {"train": 0.5, "validation": 0.2, "calibration": 0.1},
    "licence": {"name": "none", "attribution": "made for a test"},
}
MODELS = {
    "grid": "default",
    "grids": {"default": ["naive", "drift"]},
    "models": {"naive": {"family": "naive"}, "drift": {"family": "drift"}},
}


def write(root: Path, *, stages: str = "", datasets: tuple[str, ...] = ("wave",)) -> Path:
    """Fills `root`; `stages` is the `stages:` part of its dvc.yaml."""
    from forecast.config.datasets import load_dataset
    from forecast.data.preparation import take_snapshot
    from forecast.data.snapshots import move_pointer

    (root / "configs").mkdir(parents=True)
    (root / "data").mkdir()
    write_yaml(
        root / "configs" / "datasets.yaml",
        {"run": list(datasets), "datasets": dict.fromkeys(datasets, DATASET)},
    )
    write_yaml(root / "configs" / "models.yaml", MODELS)
    for name in ("tuning.yaml", "evaluation.yaml"):
        if (ROOT / "configs" / name).exists():
            (root / "configs" / name).write_text((ROOT / "configs" / name).read_text())
    days = pd.date_range("2024-01-01", periods=DAYS, freq="D")
    noise = 0.2 * np.random.default_rng(0).standard_normal(DAYS)
    wave = pd.DataFrame({"ds": days.strftime("%Y-%m-%d"), "y": np.sin(np.arange(DAYS)) + noise})
    wave.to_csv(root / "data" / "wave.csv", index=False)
    for name in datasets:
        pointer = take_snapshot(name, load_dataset(name, root / "configs"), root=root)
        move_pointer(root, name, pointer)
    if stages:
        write_pipeline(root, stages)
    return root


def write_yaml(path: Path, content: object) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def write_pipeline(root: Path, stages: str) -> None:
    """dvc.yaml with `${python}`, an initialised DVC, and a package `pipelines` for stages of the
    test's own.
    """
    top = yaml.safe_dump({"vars": [{"python": sys.executable}]})
    (root / "dvc.yaml").write_text(top + textwrap.dedent(stages))
    (root / "pipelines").mkdir()
    (root / "pipelines" / "__init__.py").write_text("")
    initialise_dvc(root)


def initialise_dvc(root: Path) -> None:
    """What `dvc init` leaves: our configuration, and no git around it."""
    (root / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(
        (ROOT / ".dvc" / "config").read_text() + "    no_scm = true\n"
    )


RANKINGS = ("shipped", "architecture")
INTERPRETER = 'python: env PATH="$DVC_ROOT/.venv/bin:$PATH" python3'


def write_real(
    root: Path,
    *,
    models: tuple[str, ...] = ("elman",),
    rankings: tuple[str, ...] = RANKINGS,
) -> Path:
    """A small project with the real code and stages: the references, `models`, a budget of a few
    gradient steps.
    """
    write(root)
    copy_code(root)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    use_this_interpreter(root)
    grid = ("naive", "seasonal_naive", "ridge", "arx", *models)
    entries = {name: {"family": name} for name in grid}
    content = {
        "grid": "tiny",
        "grids": {"tiny": list(grid)},
        "rankings": list(rankings),
        "models": entries,
    }
    write_yaml(root / "configs" / "models.yaml", content)
    budget = {
        "n_trials": 2,
        "trial_steps": 4,
        "final_steps": 4,
        "evaluate_every": 2,
        "seeds": [0, 1],
        "base_seed": 0,
    }
    write_yaml(root / "configs" / "tuning.yaml", budget)
    initialise_dvc(root)
    return root


def copy_code(root: Path) -> None:
    """The packages as they are, with the bytecode that tests/conftest.py sees to: a project is
    often used once.
    """
    for name in ("forecast", "pipelines"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(".tmp-*"))


def use_this_interpreter(root: Path) -> None:
    """The project's own dvc.yaml, its stages run by the interpreter of the tests that has the
    libraries.
    """
    pipeline = (ROOT / "dvc.yaml").read_text()
    assert INTERPRETER in pipeline
    python = warm_interpreter.warm_python()
    (root / "dvc.yaml").write_text(pipeline.replace(INTERPRETER, f"python: {python}"))


def environment(**extra: str) -> dict[str, str]:
    """This process's environment with the project importable and nothing of a user's MLflow.

    Bytecode is written whatever the environment says: a project is started up to fifty times by one
    test.
    """
    others = ("MLFLOW_", "FORECAST_", "PYTEST_", "PYTHONDONTWRITEBYTECODE")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    return {**clean, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "", **extra}


def arguments(*words: str) -> list[str]:
    return [sys.executable, "-m", "forecast", *words]


def command(root: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """`forecast <words>` as from a shell in `root`, in this process: an interpreter that starts and
    imports takes a second and more. `run_process` has one of its own.
    """
    from forecast import cli

    printed, warned = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    env = environment(**extra)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        for name in os.environ.keys() - env.keys():
            patched.delenv(name)
        for name, value in env.items():
            patched.setenv(name, value)
        with redirect_stdout(printed), redirect_stderr(warned), pytest.raises(SystemExit) as ended:
            cli.main(words)
    texts = []
    for stream in (printed, warned):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(words, ended.value.code or 0, *texts)


def run_process(root: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """`forecast <words>` in a process of its own, with the code of `root` where it has some."""
    env = environment(**extra)
    return subprocess.run(
        arguments(*words),
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def run_measured(
    root: Path, command: list[str]
) -> tuple[subprocess.CompletedProcess[str], resource.struct_rusage]:
    """The finished command, and what it used itself; the sum over all children may also have one
    of an earlier test that ends meanwhile.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(
            command, cwd=root, env=environment(), stdout=out, stderr=error, text=True
        )
        _, exit_status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(exit_status)
        out.seek(0)
        error.seek(0)
        texts = out.read(), error.read()
    return subprocess.CompletedProcess(command, process.returncode, *texts), used


def run_warm(root: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """`run_process` without the seconds of a start, where neither they nor the interpreter's own
    settings are what is tested.
    """
    return warm_interpreter.run(arguments(*words), cwd=root, env=environment(**extra))
