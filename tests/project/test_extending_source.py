"""A new source is one file: its settings are checked, its rows are taken and prepared, and no other
file changes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.audit import cases
from tests.support import small_project, warm_interpreter
from tests.support.small_project import ROOT

DICE = '''
"""Throws of a die, made and not measured."""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config.sources import Source
from forecast.data.sources import RawFrame, Request, keep_known


class Settings(Source):
    """`throws` a day, one series."""

    described_as: ClassVar[str] = "the die"
    kind: Literal["dice"]
    throws: int = Field(ge=100)


def read(request: Request) -> RawFrame:
    source = request.dataset.source
    days = pd.date_range("2024-01-01", periods=source.throws)
    values = np.random.default_rng(0).integers(1, 7, source.throws).astype(float)
    thrown = pd.DataFrame({"unique_id": "die", "ds": days, "y": values, "x": values})
    frame, as_of = keep_known(request, thrown)
    return RawFrame(frame, as_of, where="the die", provenance={"source": "dice"})
'''
TAKE = """
from forecast.config.datasets import load_dataset
from forecast.data import preparation, snapshots
from pathlib import Path

dataset = load_dataset("wave")
snapshots.move_pointer(Path(), "wave", preparation.take_snapshot("wave", dataset, root=Path()))
checked = preparation.check_data("wave", dataset, root=Path())[0]
print(len(checked), dataset.model_dump(mode="json")["source"])
"""


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of the copy: its `forecast` and `pipelines` are those of the working folder."""
    env = small_project.environment(PYTHONPATH=str(root))
    return warm_interpreter.run([sys.executable, *command], cwd=root, env=env)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project with one more file, and the dataset `wave` read by it."""
    root = cases.write(tmp_path / "project")
    (root / "forecast" / "data" / "sources" / "dice.py").write_text(DICE)
    settle(root, {"kind": "dice", "throws": 320})
    return root


def settle(root: Path, source: dict) -> None:
    path = root / "configs" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    content["datasets"]["wave"]["source"] = source
    path.write_text(yaml.safe_dump(content))


def test_a_new_source_is_one_file_with_its_settings(copy: Path):
    done = run(copy, "-c", TAKE)
    assert done.stdout == "320 {'kind': 'dice', 'throws': 320}\n", done.stderr
    for stage in ("fetch", "prepare"):
        assert run(copy, "-m", f"pipelines.{stage}", "wave").returncode == 0
    assert (copy / "data" / "prepared" / "wave" / "frame.parquet").exists()
    shutil.rmtree(copy / "data" / "snapshots" / "wave")
    settle(copy, {"kind": "dice", "throws": 319})
    assert "the die now gives content" in run(copy, "-m", "pipelines.fetch", "wave").stderr


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        (
            {"kind": "dise", "throws": 320},
            "unknown kind 'dise'. Did you mean 'dice'? Known: 'dice', 'file',",
        ),
        (
            {"kind": "dice", "throw": 320},
            "unknown key 'datasets.wave.source.throw'. Did you mean 'throws'?",
        ),
        (
            {"kind": "dice", "throws": 3},
            "key 'datasets.wave.source.throws': Input should be greater than or equal",
        ),
    ],
)
def test_its_settings_are_checked_as_those_of_any_other(copy: Path, source: dict, answer: str):
    settle(copy, source)
    assert answer in run(copy, "-c", TAKE).stderr


def test_nothing_outside_its_file_asks_which_source_it_is():
    asks = re.compile(
        r"source\.kind (==|!=|in\b)|isinstance\([^\n]*[sS]ource\b|\"(yahoo|open_meteo|packaged)\""
    )
    files = [path for path in (ROOT / "forecast").rglob("*.py") if path.parent.name != "sources"]
    asking = [path.name for path in files if asks.search(path.read_text(encoding="utf-8"))]
    # `status` answers without loading a source; forecast/data/sources/__init__.py says so
    assert asking == ["status.py"]
