"""What `dvc metrics`, `dvc plots` and `dvc params` show of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from docs.generate import read_verdicts
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.report import dvc_files, leaderboard
from tests.report.reading import DAILY, HOURLY
from tests.support import warm_interpreter
from tests.support.artifacts import write_project
from tests.support.small_project import ROOT


@pytest.fixture(scope="module")
def reported_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished project with the metrics, plots and parameters of the real dvc.yaml, committed."""
    root = write_project(tmp_path_factory.mktemp("project"))
    dvc_files.write(ProjectPaths.of(root), (HOURLY, DAILY))
    leaderboard.write_verdicts(ProjectPaths.of(root), (HOURLY, DAILY))
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    kept_keys = {key: pipeline[key] for key in ("params", "plots")}
    (metrics,) = pipeline["stages"]["report"]["metrics"]
    kept_keys["metrics"] = list(metrics)
    (root / "dvc.yaml").write_text(yaml.safe_dump(kept_keys))
    shutil.copytree(ROOT / ".dvc" / "plots", root / ".dvc" / "plots")
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    for name in kept_keys["params"]:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a finished run"]):
        subprocess.run([*git, *words], cwd=root, check=True)
    return root


def dvc(root: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    done = warm_interpreter.run(command, cwd=root, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_headline_figures_are_those_of_the_leaderboard(reported_project: Path) -> None:
    metrics = json.loads(dvc(reported_project, "metrics", "show", "--json"))
    figures = metrics[""]["data"]["reports/metrics.json"]["data"]
    results = Results(ProjectPaths.of(reported_project), HOURLY)
    score = results.score(str(results.selected_model("shipped")), "shipped")
    assert score is not None
    assert figures[HOURLY]["shipped"]["model"] == score["model"]
    assert figures[HOURLY]["shipped"]["mae"] == pytest.approx(score["mae"], rel=1e-4)
    assert set(figures) == {HOURLY, DAILY}


def test_every_plot_of_the_pipeline_is_drawn_from_rows_that_are_there(
    reported_project: Path, tmp_path: Path
) -> None:
    dvc(reported_project, "plots", "show", "-o", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text(encoding="utf-8")
    assert '"level in percent"' in page and '"coverage, a share"' in page
    for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]:
        ((name, settings),) = plot.items()
        ((file, y),) = settings["y"].items()
        table = pd.read_csv(reported_project / file)
        assert len(table) and {settings["x"], y, "dataset"} <= set(table.columns)
        assert name in page
    assert '"mark": "rule"' in page or '"mark":"rule"' in page  # the intervals


def test_an_edited_budget_is_a_difference_of_parameters(reported_project: Path) -> None:
    budget = reported_project / "configs" / "tuning.yaml"
    before = budget.read_text()
    key = next(key for key, value in yaml.safe_load(before).items() if isinstance(value, int))
    budget.write_text(before.replace(f"{key}: ", f"{key}: 9", 1))
    try:
        changes = json.loads(dvc(reported_project, "params", "diff", "--json"))
    finally:
        budget.write_text(before)
    assert list(changes) == ["configs/tuning.yaml"] and list(changes["configs/tuning.yaml"]) == [
        key
    ]


def test_the_report_of_a_pull_request_is_a_table_of_what_changed(reported_project: Path) -> None:
    """Docs/running.md: `dvc metrics diff --md <branch>`."""
    path = reported_project / "reports" / "metrics.json"
    before = path.read_text()
    figures = json.loads(before)
    was = figures[HOURLY]["shipped"]["mae"]
    figures[HOURLY]["shipped"]["mae"] = 2 * was
    path.write_text(json.dumps(figures))
    try:
        table = dvc(reported_project, "metrics", "diff", "--md", "HEAD")
    finally:
        path.write_text(before)
    (row,) = [line for line in table.splitlines() if f"{HOURLY}.shipped.mae" in line]
    assert [float(cell) for cell in row.split("|")[3:5]] == pytest.approx([was, 2 * was], rel=1e-3)


def test_a_table_without_rows_has_its_header(tmp_path: Path) -> None:
    empty = pd.DataFrame(columns=dvc_files.CURVE_COLUMNS)
    dvc_files._write_table(ProjectPaths.of(tmp_path), "learning_curves", [empty])
    text = (tmp_path / "reports" / "plots" / "learning_curves.csv").read_text()
    assert text.startswith("dataset,ranking,model,seed,step,training_loss,validation_loss")


def test_every_test_of_the_comparison_is_kept_with_the_digits_of_the_leaderboard(
    reported_project: Path,
) -> None:
    paths = ProjectPaths.of(reported_project)
    for name, published in read_verdicts(paths).items():
        tests = Results(paths, name).verdicts.tests
        assert [test.word for test in published.tests] == [test.word for test in tests]
        for rounded, test in zip(published.tests, tests, strict=True):
            assert rounded.p_holm == pytest.approx(test.p_holm, rel=1e-4)
            assert rounded.ci_low == pytest.approx(test.ci_low, rel=1e-4)
    assert set(read_verdicts(paths)) == {HOURLY, DAILY}


def test_a_project_without_a_finished_run_has_no_verdicts(tmp_path: Path) -> None:
    assert read_verdicts(ProjectPaths.of(tmp_path)) == {}
