"""docs/extending.md, followed to the letter in a project of its own: all five extensions, run from
fetch to report.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.support import small_project, warm_interpreter
from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FAMILY, KIND, HEAD = (
    SECTIONS["A network family"],
    SECTIONS["Another kind of model"],
    SECTIONS["A head"],
)
METRIC, SOURCE = SECTIONS["A metric"], SECTIONS["A source"]
NEW_FILES = {"family": FAMILY, "kind": KIND, "head": HEAD, "source": SOURCE}
METRICS = "forecast/comparison/metrics.py"


def block(section: str, language: str) -> str:
    """The one block of code in `language` of the section."""
    (example,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return example


def place_of(section: str) -> str:
    """The path that the section gives its file."""
    return re.findall(r"^`(forecast/[\w/]+\.py)`", section, re.MULTILINE)[0]


ENTRIES = {
    name: entry
    for section in (FAMILY, KIND, HEAD)
    for name, entry in yaml.safe_load(block(section, "yaml")).items()
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with the files, the row and the entries of the page."""
    root = small_project.write_real(tmp_path_factory.mktemp("project") / "copy", models=())
    shutil.copytree(ROOT / "tests", root / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for section in NEW_FILES.values():
        assert not (root / place_of(section)).exists()
        (root / place_of(section)).write_text(block(section, "python"))
    text = (root / METRICS).read_text()
    end_of_table = text.index("\n)\n", text.index("METRICS = (")) + 1
    row = f"{block(METRIC, 'python').rstrip()},\n"
    (root / METRICS).write_text(text[:end_of_table] + row + text[end_of_table:])
    models = yaml.safe_load((root / "configs" / "models.yaml").read_text())
    models["models"] |= ENTRIES
    models["grids"]["tiny"] += list(ENTRIES)
    small_project.write_yaml(root / "configs" / "models.yaml", models)
    budget = yaml.safe_load((root / "configs" / "tuning.yaml").read_text())
    small_project.write_yaml(root / "configs" / "tuning.yaml", budget | {"seeds": [0]})
    datasets = yaml.safe_load((root / "configs" / "datasets.yaml").read_text())
    datasets["datasets"]["wave"] |= yaml.safe_load(block(SOURCE, "yaml"))
    small_project.write_yaml(root / "configs" / "datasets.yaml", datasets)
    with closing(sqlite3.connect(root / "data" / "wave.db")) as database:
        pd.read_csv(root / "data" / "wave.csv").to_sql("measured", database, index=False)
    return root


EVERY_STAGE = """
from pipelines import compare, fetch, prepare, report, train, tune

fetch.main("wave")
prepare.main("wave")
tune.main("wave", jobs=1)
train.main("wave", jobs=1)
compare.main("wave")
report.main()
"""


@pytest.fixture(scope="module")
def finished(project: Path) -> Path:
    """The same project after all stages."""
    shutil.rmtree(project / "data" / "pointers")  # of the CSV that the project began with
    run(project, "-m", "forecast", "fetch", "wave")
    run(project, "-c", EVERY_STAGE)
    return project


def run(root: Path, *words: str) -> str:
    """What `python <words>` says, started in the project; it has to end well."""
    env = small_project.environment(FORECAST_JOBS="1")
    done = warm_interpreter.run([sys.executable, *words], cwd=root, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def record(root: Path, candidate: str) -> dict[str, object]:
    return json.loads((root / "data" / "trained" / "wave" / candidate / "record.json").read_text())


def tuned(root: Path, candidate: str) -> dict[str, object]:
    path = root / "data" / "tuned" / "wave" / f"{candidate}.json"
    study = json.loads(path.read_text())
    return study["trials"][study["best"]]["params"]


@pytest.mark.parametrize("what", NEW_FILES)
def test_it_is_one_file_of_at_most_60_lines(what: str) -> None:
    assert len(block(NEW_FILES[what], "python").splitlines()) <= 60


def test_a_new_metric_takes_one_row_of_the_table() -> None:
    assert block(METRIC, "python").count("Metric(") == 1


def test_families_kinds_and_heads_are_found_and_their_entries_accepted(project: Path) -> None:
    run(project, "-m", "forecast", "check")
    rows = {
        row["model"]: row
        for row in json.loads(run(project, "-m", "forecast", "models", "--format", "json"))
    }
    assert {name: rows[name]["family"] for name in ENTRIES} == {
        n: entry["family"] for n, entry in ENTRIES.items()
    }
    assert {name: rows[name]["kind"] for name in ENTRIES} == {
        "conv_lstm": "network",
        "pls": "regression",
        "elman_laplace": "network",
    }
    assert all(rows[name]["in_run"] == "yes" for name in ENTRIES)


@pytest.mark.slow  # tests/contract; `finished` runs the files of the page
def test_the_contract_holds(project: Path) -> None:
    words = ["-v", "tests/contract", "-m", "", "-p", "no:cacheprovider"]
    # the warm interpreter has libraries that bring plugins
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    words += ["-k", "conv_lstm or pls or elman and laplace"]
    command = [sys.executable, "-m", "pytest", *words]
    env = small_project.environment(FORECAST_JOBS="1")
    done = warm_interpreter.run(command, cwd=project, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout
    passed = re.findall(r"^(\S+) PASSED", output, re.MULTILINE)
    heads = [name for name in passed if "test_heads.py" in name and "elman-laplace" in name]
    assert len(heads) > 5 and len(passed) - len(heads) > 50, output


def test_a_new_family_is_tuned_backtested_diagnosed_compared_and_reported(finished: Path) -> None:
    assert tuned(finished, "conv_lstm.linear").keys() == {
        "units",
        "taps",
        "learning_rate",
        "dropout",
    }
    family_record = record(finished, "conv_lstm.linear")
    assert family_record["status"] == "ok" and family_record["source"] in block(FAMILY, "python")
    assert max(family_record["diagnostics"]["arrays"]["gradient"]) > 0
    board = pd.read_csv(finished / "reports" / "leaderboard.csv")
    assert set(board[board.model == "conv_lstm"].ranking) == {"shipped", "architecture"}
    assert (
        family_record["equation"].split(";")[-1].strip()
        in (finished / "reports" / "report.html").read_text()
    )


def test_a_new_kind_of_model_is_tuned_backtested_with_intervals_and_reported(
    finished: Path,
) -> None:
    assert tuned(finished, "pls")["components"] in (1, 2, 4)
    record_of_pls = record(finished, "pls")
    assert (
        record_of_pls["status"] == "ok"
        and record_of_pls["kind"] == "regression"
        and record_of_pls["n_params"] > 0
    )
    board = pd.read_csv(finished / "reports" / "leaderboard.csv")
    of_pls = board[board.model == "pls"]
    assert (
        set(of_pls.ranking) == {"baseline"}
        and (of_pls.status == "ok").all()
        and (of_pls.mae > 0).all()
    )
    intervals = pd.read_parquet(finished / "data" / "compared" / "wave" / "intervals.parquet")
    assert intervals[intervals.model == "pls"]["coverage"].notna().all() and "pls" in set(
        intervals.model
    )


def test_a_new_kind_of_model_is_saved_and_loaded_like_the_rest(finished: Path) -> None:
    code = (
        "import numpy as np, pandas as pd; from forecast.forecaster import Forecaster;"
        "from forecast.backtest.backtest import load_problem;"
        "from forecast.backtest.prepared_data import PreparedData;"
        "from forecast.config.paths import ProjectPaths;"
        "data = PreparedData(ProjectPaths.of('.'), 'wave', 'frame.parquet', '');"
        "problem = load_problem(data);"
        "model = Forecaster.load(__import__('pathlib').Path('data/trained/wave/pls/seed-0'));"
        "rows = problem.rows('wave', 'test');"
        "kept = pd.read_parquet('data/trained/wave/pls/forecasts.parquet')"
        ".query('block == \"test\"');"
        "found = model.predict(problem.panel, {'wave': rows})['wave'];"
        "assert found.size and np.array_equal(found.ravel(), kept['y_hat'].to_numpy())"
    )
    run(finished, "-c", code)
    assert {path.suffix for path in (finished / "data/trained/wave/pls/seed-0").iterdir()} == {
        ".json",
        ".npz",
    }


def test_a_new_head_gives_quantiles_densities_and_a_row(finished: Path) -> None:
    folder = finished / "data" / "trained" / "wave" / "elman_laplace.linear"
    distributions = pd.read_parquet(folder / "distributions.parquet")
    assert (
        distributions[["q_0.025", "q_0.5", "q_0.975", "log_density", "p_rise"]].notna().all().all()
    )
    assert (distributions["q_0.025"] < distributions["q_0.5"]).all() and (
        distributions["q_0.5"] < distributions["q_0.975"]
    ).all()
    assert "elman_laplace" in (finished / "reports" / "report.html").read_text()


def test_a_new_metric_is_a_column_of_leaderboard_and_report(finished: Path) -> None:
    board = pd.read_csv(finished / "reports" / "leaderboard.csv")
    assert (board["mdae"] > 0).all() and (board["mdae"] < board["rmse"]).all()
    assert "MdAE" in (finished / "reports" / "report.html").read_text()


def test_a_new_source_gives_what_its_query_selects(finished: Path) -> None:
    (pointer,) = (finished / "data" / "pointers").glob("*.json")
    snapshot = pd.read_parquet(finished / json.loads(pointer.read_text())["snapshot"])
    written = pd.read_csv(finished / "data" / "wave.csv")
    assert snapshot["y"].tolist() == written["y"].tolist()
