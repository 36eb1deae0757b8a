"""The command `forecast` as a user meets it: what it prints, how it ends, what it does not load."""

from __future__ import annotations

import errno
import getpass
import inspect
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import forecast
from forecast import cli, tracking
from forecast.cli import check, common, doctor, run
from forecast.cli.predict import parse_levels
from forecast.config.datasets import Datasets
from forecast.config.paths import ProjectPaths
from forecast.config.reading import read_yaml
from forecast.system import files
from forecast.system.bootstrap import RUN_LOCK
from forecast.system.errors import ForecastError, HealthCheck, InputError
from forecast.system.files import hold_lock
from pipelines import fetch
from tests.support import small_project, warm_interpreter

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "statsforecast", "numba", "matplotlib")
COMMANDS = (
    "run",
    "check",
    "models",
    "compare",
    "audit",
    "doctor",
    "sync",
    "clean",
    "schedule",
    "retrain",
    "predict",
    "promote",
    "rollback",
    "status",
    "history",
)
ASKED_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""For MLflow, whose server is not there: it would wait seconds between one request and the next."""
LEADERBOARD = """\
dataset,model,ranking,skip,seed,status,mae,mase
wave,naive,baseline,,mean,ok,2.0,
wave,drift,baseline,,mean,ok,2.5,
wave,lstm,shipped,linear,0,ok,1.4,
wave,lstm,shipped,linear,mean,ok,1.5,
wave,lstm,architecture,last,mean,ok,1.9,
wave,narx,shipped,linear,mean,failed,,
pair,naive,baseline,,mean,ok,,2.0
pair,lstm,shipped,linear,mean,ok,,1.8
"""
VERDICTS = {
    "tests": [
        {
            "ranking": "shipped",
            "family": "bar",
            "model": "lstm",
            "against": "naive",
            "word": "better",
            "relative_difference": -0.25,
            "p_holm": 0.004,
        }
    ]
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project.write(tmp_path_factory.mktemp("cli") / "project")
    (root / "reports").mkdir()
    (root / "reports" / "leaderboard.csv").write_text(LEADERBOARD)
    (root / "data" / "compared" / "wave").mkdir(parents=True)
    (root / "data" / "compared" / "wave" / "verdicts.json").write_text(json.dumps(VERDICTS))
    return root


def test_a_package_that_only_an_extra_brings_is_named_with_what_to_type(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(cli.check, "check_project", lambda *_: __import__("pyarrow.parquet"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "--root", str(project)])
    errors = capsys.readouterr().err
    assert ended.value.code == 2 and errors.count("\n") == 1
    assert (
        "needs pyarrow, which is not installed" in errors
        and "pip install 'rolling-forecast[pipeline]'" in errors
    )


EACH_COMMAND = """
import sys
from forecast.__main__ import main
for words in (["--help"], ["check"], ["models"], ["compare", "lstm", "naive"]):
    sys.argv = ["forecast", *words]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, words
"""


def test_commands_that_do_not_train_load_no_training_library(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", EACH_COMMAND],
        cwd=project,
        env=small_project.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    loaded = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert not loaded & set(HEAVY)


def test_help_takes_less_than_a_second() -> None:
    """The best of three in CPU seconds, so that a busy machine fails nothing."""
    assert any(cpu_seconds("--help") < 1.0 for _ in range(3))


def cpu_seconds(*words: str) -> float:
    done, used = small_project.run_measured(small_project.ROOT, small_project.arguments(*words))
    assert done.returncode == 0
    return used.ru_utime + used.ru_stime


NEEDLESS = {
    "forecast.cli": ("psutil", "yaml", "tomllib", "importlib.metadata", "pydantic"),
    "forecast": HEAVY,
    "forecast.operations.predicting": ("psutil", "asyncio", "dvc", "mlflow", "tensorflow"),
    "forecast.operations.retrain": ("scipy.special", "scipy.stats"),
    "forecast.tracking": ("mlflow", "matplotlib"),
    "forecast.backtest.studies": ("optuna",),
    "forecast.backtest.tuning": ("optuna",),
    "forecast.config.models": ("optuna",),
    "forecast.identification": ("tensorflow", "keras"),
}
"""What a module must not import, in an order in which none needs what one before it must not."""


def test_a_module_imports_nothing_that_only_others_need() -> None:
    """One after another in one process, whose start and imports take longer than what they add."""
    code = f"""
import importlib, sys
for module, needless in {NEEDLESS}.items():
    importlib.import_module(module)
    print(module, sorted(set(needless) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{module} []" for module in NEEDLESS], done.stderr


def test_help_lists_every_command_and_version_is_the_packages(project: Path) -> None:
    output = small_project.command(project, "--help").stdout
    assert all(re.search(rf"^\s+{name}\s", output, re.MULTILINE) for name in COMMANDS)
    assert (
        small_project.command(project, "--version").stdout == f"forecast {forecast.__version__}\n"
    )


def test_a_shell_completes_the_names_of_commands(project: Path) -> None:
    environment = {
        "_FORECAST_COMPLETE": "complete_bash",
        "COMP_WORDS": "forecast pr",
        "COMP_CWORD": "1",
    }
    done = small_project.run_warm(project, **environment)
    assert done.stdout.split() == ["predict", "promote"], done.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("forecast predict ", ["wave"]),
        ("forecast run --dataset w", ["wave"]),
        ("forecast fetch wave ", ["wave"]),
        ("forecast status x", []),
    ],
)
def test_a_shell_completes_the_names_of_datasets(
    project: Path, typed: str, offered: list[str]
) -> None:
    environment = {"_FORECAST_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    done = small_project.run_warm(project, **environment, COMP_CWORD=str(typed.count(" ")))
    assert done.stdout.split() == offered and not done.stderr


@pytest.mark.parametrize("content", ["datasets: 5", "datasets: {2024: {}}", "datasets: [", ""])
def test_of_a_wrong_configuration_a_shell_is_offered_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "datasets.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert common.complete_dataset("x") == []


def test_check_says_what_it_found(project: Path) -> None:
    rows = json.loads(small_project.command(project, "check", "--format", "json").stdout)
    by_check = {row["what"]: row["found"] for row in rows}
    assert by_check["configs/datasets.yaml"] == "right: wave"
    assert by_check["dataset wave"] == "right: 200 rows of 1 series, 2024-01-01 to 2024-07-18"


def test_check_notes_a_file_that_grew_and_refuses_one_that_is_gone(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "grown")
    path = root / "data" / "wave.csv"
    small_project.command(root, "fetch", "wave")
    path.write_text(path.read_text() + "2024-07-19,0.5\n")
    grown = small_project.command(root, "check")
    assert grown.returncode == 0 and "wave: data/wave.csv: changed since" in grown.stderr
    path.unlink()
    result = small_project.command(root, "check")
    assert result.returncode == 2 and "data/wave.csv: no such file. Restore it" in result.stderr


def test_a_fault_that_two_checks_meet_is_named_once(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "wrong")
    datasets = root / "configs" / "datasets.yaml"
    (root / "configs" / "retraining.yaml").write_text("default: {}\n")
    datasets.write_text(datasets.read_text().replace("lookback:", "lokback:"))
    assert small_project.command(root, "check").stderr.count("Did you mean 'lookback'?") == 1


def test_a_forecast_of_no_step_is_refused(project: Path) -> None:
    done = small_project.command(project, "predict", "wave", "--horizon", "0")
    assert done.returncode == 2 and "--horizon" in done.stderr


def test_check_of_one_name_says_what_each_column_is(project: Path) -> None:
    done = small_project.command(project, "check", "wave")
    assert re.search(r"y +target +what is forecast", done.stdout)
    rows = json.loads(small_project.command(project, "check", "wave", "--format", "json").stdout)
    assert rows[-1]["columns"][0]["role"] == "target"


def test_check_counts_many_entries_instead_of_listing_them_above_a_fault() -> None:
    assert check._list_names({"naive": 1, "ridge": 2}) == "right: naive, ridge"
    assert check._list_names(dict.fromkeys(map(str, range(64)))) == "right: 64 entries"


def test_entries_that_do_not_run_are_counted_where_their_data_are_not_checked(project: Path):
    config = read_yaml(project / "configs" / "datasets.yaml")
    config["datasets"]["tide"] = config["datasets"]["wave"]
    entries = Datasets.model_validate(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "config_readers", lambda _: {"datasets.yaml": lambda _: entries})
        first = next(check.check_project(project))
    assert first.finding == "right: wave; not in `run`, so their data are not checked: 1"


def test_check_of_one_name_looks_at_its_data_alone_whether_it_runs_or_not(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "two")
    datasets = root / "configs" / "datasets.yaml"
    content = yaml.safe_load(datasets.read_text())
    content["datasets"]["surge"] = content["datasets"]["wave"]
    small_project.write_yaml(datasets, content)
    done = small_project.command(root, "check", "surge")
    assert (
        done.returncode == 2
        and "data/pointers/surge.json" in done.stderr
        and "dataset wave" not in done.stdout
    )
    unknown = small_project.command(root, "check", "surg")
    assert unknown.returncode == 2 and "Did you mean 'surge'?" in unknown.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_goes_into_a_pipe_is_utf8_whatever_the_locale(project: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "forecast", "models"],
        cwd=project,
        env={**small_project.environment(), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert "─" in done.stdout.decode("utf-8")


def test_check_misses_the_row_that_every_score_is_taken_against(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "wrong")
    models = root / "configs" / "models.yaml"
    content = yaml.safe_load(models.read_text())
    small_project.write_yaml(models, {**content, "grids": {"default": ["drift"]}})
    done = small_project.command(root, "run")
    assert (
        done.returncode == 2 and "grids.default: found drift; wanted `naive` as well" in done.stderr
    )


def test_check_names_the_grid_of_a_dataset_that_models_yaml_does_not_have(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "wrong")
    datasets = root / "configs" / "datasets.yaml"
    datasets.write_text(datasets.read_text().replace("title:", "grid: defaults\n    title:"))
    done = small_project.command(root, "check")
    assert done.returncode == 2
    assert "unknown grid 'defaults'. Did you mean 'default'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_every_fault_at_once_without_a_traceback(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "wrong")
    datasets = root / "configs" / "datasets.yaml"
    datasets.write_text(datasets.read_text().replace("lookback:", "lokback:"))
    models = root / "configs" / "models.yaml"
    models.write_text(models.read_text().replace("family: naive", "family: naiv"))
    done = small_project.command(root, "check")
    assert done.returncode == 2
    assert "lokback" in done.stderr and "Did you mean 'lookback'?" in done.stderr
    assert "naiv" in done.stderr and "Did you mean 'naive'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lookback": 150}, "its train block has 100 of"),
        ({"target": {"column": "y", "transform": "log"}}, "`transform: log` needs values above 0"),
    ],
    ids=["too-short", "log-of-negative"],
)
@pytest.mark.parametrize(
    "words", [("forecast", "check"), ("pipelines.prepare", "wave")], ids=lambda w: w[0]
)
def test_what_would_fail_in_tuning_is_told_before(
    words: tuple[str, ...], changes: dict, message: str, tmp_path: Path
) -> None:
    root = small_project.write(tmp_path / "wrong")
    entry = {"run": ["wave"], "datasets": {"wave": {**small_project.DATASET, **changes}}}
    small_project.write_yaml(root / "configs" / "datasets.yaml", entry)
    (root / "pipelines").symlink_to(small_project.ROOT / "pipelines")
    env = small_project.environment()
    fetch.main("wave", root=str(root))
    done = warm_interpreter.run([sys.executable, "-m", *words], cwd=root, env=env)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_is_no_project_is_answered_with_what_to_do(tmp_path: Path) -> None:
    done = small_project.command(tmp_path, "check")
    assert done.returncode == 2
    assert "no configs/datasets.yaml here" in done.stderr and "--root" in done.stderr


def test_what_the_system_refuses_is_one_message(tmp_path: Path) -> None:
    occupied = small_project.write(tmp_path / "taken")
    (occupied / ".forecast").write_text("a file where the folder of locks should be")
    done = small_project.command(occupied, "run")
    assert done.returncode == 1
    assert (
        ".forecast" in done.stderr
        and "Check the file" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_an_unknown_option_exits_2(project: Path) -> None:
    assert small_project.command(project, "check", "--frmat", "json").returncode == 2


def test_models_lists_the_run_in_its_order_with_equations(project: Path) -> None:
    rows = json.loads(small_project.command(project, "models", "--format", "json").stdout)
    assert [row["model"] for row in rows] == ["naive", "drift"]
    assert all(row["equation"] and row["source"] and row["in_run"] == "yes" for row in rows)


def test_compare_says_who_is_better_and_what_was_tested(project: Path) -> None:
    lines = small_project.command(project, "compare", "lstm", "naive").stdout.splitlines()
    assert lines[0] == "wave, as shipped: lstm 1.5 against naive 2 in test MAE: 25.0 % lower."
    assert lines[1] == "  lstm against naive: better (−25.0 %, p 0.004)."
    assert (
        lines[2] == "wave, architecture alone: lstm 1.9 against naive 2 in test MAE: 5.0 % lower."
    )
    assert "not tested" in lines[3]


def test_compare_tells_several_series_by_mase(project: Path) -> None:
    line, _ = small_project.command(
        project, "compare", "lstm", "naive", "--dataset", "pair"
    ).stdout.splitlines()
    assert line == "pair, as shipped: lstm 1.8 against naive 2 in test MASE: 10.0 % lower."


def test_compare_puts_two_baselines_side_by_side_once(project: Path) -> None:
    rows = json.loads(
        small_project.command(project, "compare", "drift", "naive", "--format", "json").stdout
    )
    assert [(row["ranking"], row["difference"]) for row in rows] == [("baseline", 0.25)]


def test_a_run_for_a_program_prints_its_leaderboard_alone(project: Path, monkeypatch) -> None:
    finished = run.FinishedRun(ProjectPaths.of(project), ["wave"], project / "report.html")
    monkeypatch.setattr(run, "_check_and_clean", lambda *_: print("Checking"))
    monkeypatch.setattr(run, "_run_narrowed", lambda *_: [finished])
    done = small_project.command(project, "run", "--model", "drift", "--format", "json")
    assert "Checking" in done.stderr, done.stderr
    rows = json.loads(done.stdout)
    assert (rows[0]["model"], rows[0]["mae"], rows[0]["mase"]) == ("naive", 2.0, None)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "",
            "After `forecast ui` the leaderboards are at\n"
            f"  wave: http://127.0.0.1:{run.UI_PORT}/#/1",
        ),
        (
            "http://me:secret@team:8080/",
            "The leaderboards are at\n  wave: http://team:8080/#/1",
        ),
    ],
)
def test_the_leaderboards_are_said_to_be_where_they_were_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(
        tracking, "sync", lambda *_, **__: tracking.SyncResult(pages={"wave": "/#/1"})
    )
    assert run.Publication.of(tmp_path).finish().partition("\n")[2] == message


def test_the_leaderboards_are_said_to_be_at_the_port_that_the_pages_open_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inspect.signature(run.ui).parameters["port"].default.default == run.UI_PORT
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(run, "UI_PORT", run.UI_PORT + 1)
    result = tracking.SyncResult(pages={"wave": "/#/1"})
    monkeypatch.setattr(tracking, "sync", lambda *_, **__: result)
    assert f"http://127.0.0.1:{run.UI_PORT}/#/1" in run.Publication.of(tmp_path).finish()


@pytest.mark.parametrize("fault", [None, ForecastError("no server"), OSError(28, "disk full")])
def test_a_dataset_is_published_when_its_comparison_is_stored_and_what_is_left_at_the_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Exception | None,
) -> None:
    commands: list[list[str]] = []

    def sync(_root: Path, _uri: str, datasets: list[str], **_: object) -> tracking.SyncResult:
        commands.append(datasets)
        if len(commands) == 1 and fault:
            raise fault
        return tracking.SyncResult(
            [f"{name}: naive" for name in datasets], pages=dict.fromkeys(datasets, "/#/1")
        )

    monkeypatch.setattr(tracking, "sync", sync)
    monkeypatch.setattr(tracking, "list_datasets", lambda _: ["ebb", "tide", "wave"])
    publication = run.Publication.of(tmp_path)
    for stage in ("settings", "train@wave", "compare@wave", "compare@tide"):
        publication.publish_stored(stage)
    output, errors = capsys.readouterr()
    assert (
        errors.startswith("Publishing 'wave' failed") and str(fault) in errors
        if fault
        else not errors
    )
    assert output.startswith("Publishing wave to MLflow\n")
    assert "MLflow: 3 runs made, 0 already there" in publication.finish()
    last = "ebb, tide, wave" if fault else "ebb"
    assert capsys.readouterr().out == f"Publishing {last} to MLflow\n"
    assert commands == (
        [["wave"], ["ebb", "tide", "wave"]] if fault else [["wave"], ["tide"], ["ebb"]]
    )


def test_the_fault_of_a_publication_is_printed_without_the_password_of_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "postgresql://forecast:hunter2@db.example.org/mlflow"

    def sync(*_: object, **__: object) -> tracking.SyncResult:
        raise OSError(f"no answer of {address}: password hunter2 refused")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(tracking, "sync", sync)
    run.Publication.of(tmp_path).publish_stored("compare@wave")
    errors = capsys.readouterr().err
    assert "hunter2" not in errors
    assert "Publishing 'wave' failed (OSError: no answer of postgresql://db.example.org" in errors


def test_a_model_that_is_called_by_a_path_is_refused(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    path = root / "configs" / "models.yaml"
    content = yaml.safe_load(path.read_text())
    small_project.write_yaml(
        path, {**content, "models": {**content["models"], "lstm/2": {"family": "naive"}}}
    )
    done = small_project.command(root, "check")
    assert (
        done.returncode == 2 and "model name 'lstm/2': wanted the name of a folder" in done.stderr
    )


def test_compare_says_no_share_of_a_model_that_makes_no_error(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    board = LEADERBOARD.replace(
        "wave,naive,baseline,,mean,ok,2.0", "wave,naive,baseline,,mean,ok,0.0"
    )
    files.write_text(root / "reports" / "leaderboard.csv", board)
    verdicts = {"tests": [{**VERDICTS["tests"][0], "word": "worse", "relative_difference": None}]}
    files.write_json(root / "data" / "compared" / "wave" / "verdicts.json", verdicts)
    comparison, _ = run.compare_models(root, "lstm", "naive", "wave")
    assert comparison.difference is None
    assert comparison.headline == "lstm 1.5 against naive 0 in test MAE: higher."
    assert comparison.sentences == ["lstm against naive: worse (p 0.004)."]
    both = replace(comparison, error_a=0.0)
    assert both.headline == "lstm 0 against naive 0 in test MAE: equal."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "lstn", "naive"), "Did you mean 'lstm'?"),
        (("compare", "lstm", "naive", "--dataset", "wav"), "Did you mean 'wave'?"),
        (("compare", "narx", "naive"), "stand in no ranking together"),
        (("run", "--dataset", "wavy"), "Did you mean 'wave'?"),
        (("run", "--model", "drif"), "Did you mean 'drift'?"),
    ],
)
def test_a_name_that_does_not_fit_is_answered_with_the_nearest(
    project: Path, words: tuple[str, ...], message: str
) -> None:
    done = small_project.command(project, *words)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_run_of_one_data_set_is_stopped_by_its_own_faults_alone(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project", datasets=("wave", "other"))
    entries = yaml.safe_load((root / "configs" / "datasets.yaml").read_text())
    entries["datasets"]["other"] = {
        **entries["datasets"]["other"],
        "past_exogenous": [{"column": "wind"}],
    }
    small_project.write_yaml(root / "configs" / "datasets.yaml", entries)
    run._check_and_clean(root, "wave")
    with pytest.raises(InputError, match="'wind' is missing"):
        run._check_and_clean(root, "other")


def test_a_job_of_a_removed_dataset_stops_no_run(tmp_path: Path, capsys) -> None:
    root = small_project.write(tmp_path / "project")
    job = {"run": "retrain weather", "at": "05:30"}
    small_project.write_yaml(root / "configs" / "schedule.yaml", {"jobs": {"nightly": job}})
    run._check_and_clean(root, "")
    sentence = "schedule.yaml: correct or remove job nightly: unknown dataset 'weather'"
    assert sentence in capsys.readouterr().err
    done = small_project.command(root, "check")
    assert done.returncode == 2 and sentence in done.stderr


def test_an_entry_outside_of_run_has_stages_only_beside_the_pipeline(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project", datasets=("wave", "other"))
    entries = yaml.safe_load((root / "configs" / "datasets.yaml").read_text())
    small_project.write_yaml(root / "configs" / "datasets.yaml", {**entries, "run": ["wave"]})
    assert run.select_datasets(root, "other", ("drift",)) == ("other",)
    with pytest.raises(InputError, match=r"Write `run: \[wave, other\]`"):
        run.select_datasets(root, "other", ())


def test_doctor_names_the_repair_for_what_is_wrong(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    (root / "requirements.lock").write_text(
        "numpy==0.0.1 \\\n    --hash=sha256:0\nno-such-thing==1.0\n"
    )
    (root / "data" / ".tmp-half").write_text("")
    done = small_project.command(root, "doctor", "--format", "json")
    by_check = {row["what"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 5
    assert (
        "numpy" in by_check["environment"]["found"]
        and by_check["environment"]["repair"] == "`make setup`"
    )
    assert by_check["leftovers"]["repair"] == "`forecast doctor --repair`"
    assert "MLflow" in by_check and by_check["MLflow"]["repair"] == ""
    small_project.command(root, "doctor", "--repair")
    assert not (root / "data" / ".tmp-half").exists()


def test_doctor_misses_the_database_where_champions_were_registered(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    assert doctor.check_mlflow(root).repair == ""
    (root / ".forecast" / "champions" / "wave").mkdir(parents=True)
    missing = doctor.check_mlflow(root)
    assert "no such file, although there are champions here" in missing.observation
    assert missing.repair == "`forecast doctor --repair`; then `forecast sync`"


def test_doctor_hides_a_password_in_the_tracking_address(project: Path) -> None:
    (project / "requirements.lock").write_text("")
    uri = "http://me:secret@127.0.0.1:1/"
    done = small_project.command(
        project, "doctor", "--format", "json", MLFLOW_TRACKING_URI=uri, **ASKED_ONCE
    )
    assert "secret" not in done.stdout + done.stderr
    assert "forecast sync" in done.stdout


@pytest.mark.parametrize(
    ("password", "expected"), [("se/cret", "..."), ("se@cret", "host"), ("p@ss/secret", "...")]
)
def test_no_part_of_a_password_is_shown_whatever_marks_it_has(
    password: str, expected: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"mysql://me:{password}@host/name")
    assert doctor.check_mlflow(project)[1] == f"mysql://{expected}: not examined"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/a@b/mlflow.db")
    assert doctor.check_mlflow(project)[1].startswith(f"sqlite:///{project}/a@b/mlflow.db: ")


def test_doctor_examines_the_store_of_the_project_and_not_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "team.db").write_text("no database")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///team.db")
    assert "damaged" in doctor.check_mlflow(tmp_path / "project").observation


NO_EXPERIMENT = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no experiment"}'
"""The answer of an MLflow server to a name that no experiment has."""


@pytest.mark.parametrize(
    ("status", "answer", "is_mlflow"),
    [(200, "<html>", False), (200, "{}", False), (404, "", False), (404, NO_EXPERIMENT, True)],
)
def test_doctor_tells_an_mlflow_server_from_another_one(
    status: int, answer: str, is_mlflow: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_health = self.path == "/health"
            self.send_response(200 if is_health else status)
            self.end_headers()
            self.wfile.write(b"OK" if is_health else answer.encode())

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        # so that these two, which `doctor` sets where they are not set, are restored
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
        check = doctor.check_mlflow(project)
        server.shutdown()
        thread.join()
    assert check.observation.endswith(": answers") == is_mlflow
    assert ("the address" in check.repair) != is_mlflow


def test_clean_asks_first_and_never_touches_snapshots_or_records(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    (root / "mlflow.db").write_text("")
    for name in ("data/raw/wave.parquet", ".forecast/memo/x", "forecast/__pycache__/a.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    result = small_project.command(root, "clean")
    assert result.returncode == 2 and "--yes" in result.stderr
    assert (root / "data" / "raw").exists()
    assert small_project.command(root, "clean", "--yes").returncode == 0
    assert not (root / "data" / "raw").exists() and not (root / "forecast" / "__pycache__").exists()
    assert (root / ".forecast" / "memo" / "x").exists() and (root / "mlflow.db").exists()
    assert list((root / "data" / "snapshots" / "wave").glob("*.parquet"))
    assert small_project.command(root, "clean", "--work", "--yes").returncode == 0
    assert not (root / ".forecast" / "memo").exists()


def test_clean_asks_nobody_where_standard_input_is_closed(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    (root / "build").mkdir()
    command = f"{sys.executable} -m forecast clean --root {root} <&-"
    done = subprocess.run(
        ["bash", "-c", command],
        env=small_project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "there is no terminal to ask at" in done.stderr, done.stderr
    assert (root / "build").exists()


def test_clean_counts_what_is_gone_and_names_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_project.write(tmp_path / "project")
    for name in ("data/raw/wave.parquet", "data/trained/wave/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    remove = shutil.rmtree

    def remove_unless_raw(path: Path, **options: Any) -> None:
        if Path(path).name != "raw":  # such as a folder that another program holds open
            remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove_unless_raw)
    with pytest.raises(ForecastError, match=r"Removed (\d+) of \d+ .*data.raw is still there"):
        doctor.clean(root, work=False, yes=True)
    assert (root / "data" / "raw").exists() and not (root / "data" / "trained").exists()


def test_doctor_calls_nothing_left_over_while_a_run_writes(tmp_path: Path) -> None:
    root = small_project.write(tmp_path / "project")
    (root / "data" / ".tmp-half").write_text("")
    assert doctor.check_runs(root).observation == "1 temporary file"
    with hold_lock(root / RUN_LOCK, purpose="`forecast run`"):
        running = doctor.check_runs(root)
    assert running.what == "runs" and not running.repair
    doctor._remove_and_mend(root)
    assert doctor.check_runs(root) == HealthCheck("runs", "none is running")


def test_a_stream_that_was_closed_takes_no_file_s_place_and_costs_no_result() -> None:
    words = " ".join([sys.executable, "-m", "forecast"])
    where = {"env": small_project.environment(), "capture_output": True, "text": True}
    for argument, closed in (("models", ">&-"), ("--help", "2>&-"), ("--help", ">&- 2>&-")):
        command = f"{words} {argument} {closed}"
        done = subprocess.run(["bash", "-c", command], check=False, **where)  # type: ignore[call-overload]
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert ("promote" in done.stdout) == (not closed.startswith(">"))
    probe = (
        "import os; from forecast import cli; cli._make_streams_safe();"
        " file = open(os.devnull); assert file.fileno() > 2, file.fileno()"
    )
    command = f"{sys.executable} -c '{probe}' >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False, **where).returncode == 0  # type: ignore[call-overload]


@pytest.mark.parametrize("missing", [".dvc/config", "dvc.yaml"])
def test_doctor_names_the_file_of_dvc_that_is_missing(missing: str, tmp_path: Path) -> None:
    for name in (".dvc/config", "dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert not doctor.check_dvc(tmp_path).repair
    (tmp_path / missing).unlink()
    assert doctor.check_dvc(tmp_path) == HealthCheck("DVC", f"no {missing} here", doctor.RESTORE)


def test_doctor_reports_on_a_store_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, **options: object) -> object:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    root = small_project.write(tmp_path / "project")
    (root / "requirements.lock").write_text("")
    monkeypatch.setattr(doctor, "hold_lock", read_only)
    by_check = {what: (finding, repair) for what, finding, repair in doctor.examine_project(root)}
    assert "Read-only file system" in by_check["runs"][0] and by_check["runs"][1]
    assert {"disk", "DVC", "MLflow"} <= by_check.keys()


@pytest.mark.parametrize("port", ["5000", "65535"])
def test_the_pages_of_mlflow_are_served_to_this_machine_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, port: str
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda program, words, environment: started.append(words))
    with pytest.raises(SystemExit, match="0"):
        cli.main(["ui", "--root", str(project), "--port", port])
    (words,) = started
    hosts = [word for before, word in itertools.pairwise(words) if before in ("--host", "-h")]
    assert hosts == ["127.0.0.1"] and words[words.index("--port") + 1] == port


@pytest.mark.filterwarnings("ignore")  # those of MLflow, when it is imported
def test_the_pages_of_mlflow_get_the_address_of_a_database_without_showing_it_to_ps(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    from mlflow.cli import server

    address = "postgresql://forecast:hunter2@db.example.org/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(
        os, "execve", lambda program, words, environment: started.append((words, environment))
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main(["ui", "--root", str(project)])
    ((words, environment),) = started
    assert "hunter2" not in " ".join(words)
    (option,) = (each for each in server.params if each.name == "backend_store_uri")
    assert environment[option.envvar] == address


@pytest.mark.parametrize(
    ("shell", "words_typed"),
    [
        (
            "bash",
            'eval "$(forecast --show-completion)"; COMP_WORDS=(forecast retr); COMP_CWORD=1;'
            ' _forecast_completion forecast; echo "${COMPREPLY[@]}"',
        ),
        ("fish", 'forecast --show-completion | source; complete -C "forecast retr"; true'),
        (
            "zsh",
            "autoload -U compinit; compinit -D; source <(forecast --show-completion);"
            " words=(forecast retr); CURRENT=2;"
            ' _arguments() { print -r -- "$@" }; _forecast_completion; true',
        ),
    ],
    ids=["bash", "fish", "zsh"],
)
def test_the_shell_completes_the_commands(tmp_path: Path, shell: str, words_typed: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is needed: apt-get install {shell}")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = small_project.environment(PATH=programs, HOME=str(tmp_path))
    done = subprocess.run(
        [shell, "-c", words_typed],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "retrain" in done.stdout and "predict" not in done.stdout, done.stderr


def test_doctor_says_that_nothing_keeps_the_machines_of_a_team_apart(project: Path) -> None:
    (project / "requirements.lock").write_text("")
    uri = "http://somebody:secret@mlflow.example.org"
    for words in (("doctor",), ("doctor", "--repair")):
        done = small_project.command(
            project,
            *words,
            "--format",
            "json",
            MLFLOW_TRACKING_URI=uri,
            FORECAST_DATABASE="",
            **ASKED_ONCE,
        )
        by_check = {row["what"]: row for row in json.loads(done.stdout)}
        assert done.returncode == 5 and "secret" not in done.stdout + done.stderr
        assert "Found no FORECAST_DATABASE, wanted" in by_check["MLflow"]["found"]
        assert "set what is wanted" in by_check["MLflow"]["repair"]


@pytest.mark.parametrize("text", ["0.8", "80,0.95", "100", "nan", "eighty"])
def test_levels_are_percent_as_in_python_and_in_service(text: str) -> None:
    with pytest.raises(InputError, match="wanted percent from 1 to below 100"):
        parse_levels(text)
    assert parse_levels("80,97.5") == (80, 97.5)


def test_a_user_whom_the_system_does_not_know_has_a_name_and_a_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def know_nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", know_nobody)
    monkeypatch.setattr(os, "environ", {})
    cli._name_unknown_user()
    assert getpass.getuser() == "unknown"
    assert Path.home().is_dir()
    monkeypatch.setattr(os, "environ", {"USER": "ann", "HOME": "/home/ann"})
    cli._name_unknown_user()
    assert os.environ == {"USER": "ann", "HOME": "/home/ann"}
