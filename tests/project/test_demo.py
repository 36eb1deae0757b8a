"""`make demo`: a first leaderboard and report in a folder of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.processes import eventually
from tests.support import small_project, warm_interpreter
from tests.support.small_project import ROOT

BEFORE = "the leaderboard of an earlier run\n"


def demo(root: Path, seconds: float, jobs: int = 2) -> str:
    """What the command of the Makefile prints, run in `root` to its end."""
    command = [warm_interpreter.warm_python(), "-m", "pipelines.demo", "--jobs", str(jobs)]
    env = small_project.environment(PYTHONPATH=str(root))
    output_file, warned = root.with_name("said"), root.with_name("warned")
    with (
        output_file.open("w") as out,
        warned.open("w") as error,
        subprocess.Popen(command, cwd=root, env=env, stdout=out, stderr=error) as process,
    ):
        in_time = eventually(lambda: process.poll() is not None, seconds)
        process.kill()
    assert in_time and process.returncode == 0, output_file.read_text() + warned.read_text()
    return output_file.read_text()


def with_an_earlier_result(root: Path) -> Path:
    (root / "reports").mkdir()
    (root / "reports" / "leaderboard.csv").write_text(BEFORE)
    return root


def test_it_ends_with_the_leaderboard_and_the_path_of_the_report_and_overwrites_nothing(
    tmp_path: Path,
) -> None:
    root = with_an_earlier_result(small_project.write_real(tmp_path / "project", models=()))
    shutil.copytree(ROOT / "configs" / "demo", root / "configs" / "demo")
    budget = root / "configs" / "demo" / "tuning.yaml"
    few_steps, n_shortened = re.subn(r"(?m)^(\w+_steps): \d+$", r"\1: 4", budget.read_text())
    assert n_shortened == 2
    budget.write_text(few_steps.replace("evaluate_every: 25", "evaluate_every: 2"))
    output = demo(root, 200, jobs=1)  # every worker would import TensorFlow once more
    assert "wave, as shipped" in output
    report = Path(re.search(r"Report: (\S+)$", output.strip())[1])
    assert report == Path("demo/reports/report.html") and "gru" in (root / report).read_text()
    board = pd.read_csv(root / "demo" / "reports" / "leaderboard.csv")
    assert {"naive", "seasonal_naive", "ridge", "ets_seasonal", "elman", "gru"} <= set(
        board["model"]
    )
    assert (root / "reports" / "leaderboard.csv").read_text() == BEFORE
    assert sorted(p.name for p in (root / "data").iterdir()) == [
        "pointers",
        "snapshots",
        "wave.csv",
    ]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_on_the_packaged_data_it_takes_less_than_four_minutes(tmp_path: Path) -> None:
    root = tmp_path / "project"
    small_project.copy_code(root)
    for name in ("configs", "data/pointers", "data/snapshots"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "requirements.lock", root)
    output = demo(with_an_earlier_result(root), 240)
    assert "stocks, as shipped" in output and "weather, as shipped" in output


def test_make_demo_is_the_command_of_this_test() -> None:
    commands = subprocess.run(
        ["make", "-n", "--no-print-directory", "demo", "JOBS="],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert commands.strip().endswith("-m pipelines.demo")
