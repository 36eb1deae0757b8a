"""The built wheel in an environment of its own, away from any clone: what it finds there and what
it does without.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.support.small_project import ROOT, run_measured

HEAVY = (
    "apscheduler",
    "arch",
    "dvc",
    "exchange_calendars",
    "aiohttp",
    "keras",
    "lightgbm",
    "matplotlib",
    "mlflow",
    "numba",
    "optuna",
    "sklearn",
    "statsforecast",
    "tensorflow",
    "yfinance",
)
"""What the extras `train` and `pipeline` bring."""


ABSENT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""An environment with the core alone, as far as imports can tell."""


def copy_sources(folder: Path) -> None:
    """The files of the tree that a wheel can be made of; nothing that git ignores."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in names.stdout.splitlines():
        if (
            not name.startswith(("tests/", "docs/", "reports/", "bench/"))
            and (ROOT / name).is_file()
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the source archive of a clone that has files and edits which
    nobody committed.
    """
    clone = tmp_path_factory.mktemp("built") / "clone"
    copy_sources(clone)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=clone, check=True)
    (clone / "configs" / "mine.yaml").write_text("mine: true\n")
    (clone / "forecast" / "mine.py").write_text("")
    (clone / "configs" / "tuning.yaml").write_text("edited: true\n")
    build = [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check"]
    subprocess.run([*build, "--wheel", "--sdist", "."], cwd=clone, check=True, capture_output=True)
    return clone / "dist"


@pytest.fixture(scope="module")
def installed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with this wheel; other packages are borrowed from that of
    the tests.
    """
    (wheel,) = archives.glob("*.whl")
    venv = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run(
        [*install, "--disable-pip-version-check", str(wheel)], check=True, capture_output=True
    )
    site = next(venv.glob("lib/python3*/site-packages"))
    borrowed = {
        sysconfig.get_path("purelib"),
        *(path for path in sys.path if path.endswith("site-packages")),
    }
    (site / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return python


def test_a_clone_s_wheel_and_source_archive_have_what_is_committed_and_nothing_else(
    archives: Path,
) -> None:
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (source,) = archives.glob("*.tar.gz")
    with tarfile.open(source) as tar:
        names = tar.getnames()
    assert not [name for name in (*files, *names) if "/mine." in name]
    (tuning,) = [name for name in files if name.endswith("configs/tuning.yaml")]
    assert files[tuning] == (ROOT / "configs" / "tuning.yaml").read_bytes()
    metadata = next(files[name] for name in files if name.endswith("METADATA")).decode()
    assert "Keywords: forecasting" in metadata and "Classifier: Typing :: Typed" in metadata


def run_code(python: Path, code: str, folder: Path) -> str:
    """What `code` prints, run in an empty folder without the tests' PYTHONPATH."""
    done = subprocess.run(
        [str(python), "-I", "-W", "ignore", "-c", textwrap.dedent(code)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rules_and_linear_models_need_neither_a_clone_nor_the_heavy_packages(
    installed: Path, tmp_path: Path
) -> None:
    code = """
        import forecast
        df = forecast.example().tail(2000)
        for name in ("naive", "ridge"):
            model = forecast.fit(df, name, freq="1h", horizon=24, lookback=48)
            model.save(name)
            assert forecast.load(name).predict(df, levels=[80]).equals(model.predict(levels=[80]))
        sessions = {"kind": "sessions", "exchange": "XNYS"}
        calls = (
            ("fit", "gru", "1h"), ("compare", ["naive", "ridge"], "1h"), ("fit", "naive", sessions)
        )
        for call, model, freq in calls:
            try:
                getattr(forecast, call)(df, model, freq=freq, horizon=24)
            except forecast.api.stages.InputError as error:
                print(error)
        print(forecast.__file__)
    """
    lines = run_code(installed, ABSENT + textwrap.dedent(code), tmp_path).splitlines()
    assert "pip install 'rolling-forecast[train]'" in lines[0] and "'gru'" in lines[0]
    assert (
        "`forecast.compare` needs arch" in lines[1]
        and "pip install 'rolling-forecast[train]'" in lines[1]
    )
    assert "'XNYS'} needs exchange_calendars. Install it: `pip install" in lines[2]
    assert Path(lines[3]).is_relative_to(installed.parents[1])
    # nothing that was not asked for
    assert {path.name for path in tmp_path.iterdir()} == {"naive", "ridge"}


@pytest.mark.slow
def test_a_network_forecasts_without_tensorflow_what_it_did_with_it(
    installed: Path, tmp_path: Path
) -> None:
    options = (
        'freq="1h", horizon=6, lookback=24, tuning={"n_trials": 1, "trial_steps": 5,'
        ' "final_steps": 5}'
    )
    show = "print(model.predict(df, levels=[80]).to_json(double_precision=15))"
    data = "import forecast\ndf = forecast.example().tail(1500)\n"
    fit = f'model = forecast.fit(df, "gru", {options})\nmodel.save("gru")\n'
    with_it = run_code(installed, data + fit + show, tmp_path)
    assert (
        run_code(installed, ABSENT + data + 'model = forecast.load("gru")\n' + show, tmp_path)
        == with_it
    )


def test_importing_takes_less_than_a_third_of_a_second_and_loads_nothing(
    installed: Path, tmp_path: Path
) -> None:
    code = """
        import json, sys, time
        before, began = set(sys.modules), time.process_time()
        import forecast
        took = time.process_time() - began
        found = {name.partition(".")[0] for name in set(sys.modules) - before}
        found -= sys.stdlib_module_names
        print(json.dumps([took, sorted(found), sorted(forecast.__all__)]))
    """
    took, modules, names = json.loads(run_code(installed, code, tmp_path))
    assert took < 0.3 and modules == ["forecast"]
    assert names == ["Board", "Model", "__version__", "compare", "example", "fit", "load"]


def test_a_type_checker_finds_the_marker_and_the_command_its_version(
    installed: Path, tmp_path: Path
) -> None:
    location = run_code(
        installed,
        "import forecast, pathlib; print(pathlib.Path(forecast.__file__).parent)",
        tmp_path,
    )
    assert (Path(location.strip()) / "py.typed").exists()
    version = subprocess.run(
        [installed.parent / "forecast", "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert version.stdout.startswith("forecast 0.")


@pytest.mark.slow
def test_the_first_forecast_takes_six_lines_and_few_imports_of_tensorflow(
    installed: Path, tmp_path: Path
) -> None:
    python = [str(installed), "-I", "-W", "ignore", "-c"]
    _, imported = run_measured(tmp_path, [*python, "import tensorflow"])
    code = (
        'import forecast\ndf = forecast.example()\nmodel = forecast.fit(df, "gru", freq="1h",'
        " horizon=24)\nprint(model.predict(levels=[80, 95]))\n"
    )
    # CPU seconds, since other processes compute too; they differ threefold between processors.
    # The first forecast of an installation compiles the kernels.
    for most_imports in (5, 3):
        done, used = run_measured(tmp_path, [*python, code])
        assert done.returncode == 0, done.stderr
        seconds = used.ru_utime + used.ru_stime
        assert seconds < most_imports * (imported.ru_utime + imported.ru_stime)
    assert len(code.splitlines()) <= 6
    assert "2026-07-01 00:00:00" in done.stdout


@pytest.mark.slow  # stages of a new project: test_installation.py
def test_a_project_of_ones_own_finds_its_stages_and_their_code(
    installed: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [installed.parent / "forecast", "new", "own"], cwd=tmp_path, check=True, capture_output=True
    )
    command = [str(installed), "-W", "ignore", "-m", "pipelines.settings"]
    environment = {"PATH": "/usr/bin:/bin"}
    subprocess.run(command, cwd=tmp_path / "own", env=environment, check=True, capture_output=True)
    settings = tmp_path / "own" / "data" / "settings" / "weather"
    before = {path.name: json.loads(path.read_text())["code"] for path in settings.glob("*.json")}
    stage = tmp_path / "own" / "pipelines" / "compare.py"
    stage.write_text(stage.read_text() + "\nchanged = True\n")
    subprocess.run(command, cwd=tmp_path / "own", env=environment, check=True, capture_output=True)
    after = {path.name: json.loads(path.read_text())["code"] for path in settings.glob("*.json")}
    assert {name for name in before if before[name] != after[name]} == {"compare.json"}
