"""docs/identification.md: its code runs from top to bottom, in one folder, and its names are all
there are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import forecast.identification as door
from forecast.identification import tank
from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "identification.md").read_text(encoding="utf-8")
OTHER = (ROOT / "docs" / "coming-from-matlab.md").read_text(encoding="utf-8")
CODE = re.sub(
    r"^ {4,6}", "", "".join(re.findall(r"^ {4,}\S.*\n|^\n", PAGE, re.MULTILINE)), flags=re.MULTILINE
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("page")
    runs = [tank(600, noise=0.005), tank(200, seed=1)]
    tables = [
        pd.DataFrame({"inflow": e.u[:, 0], "level": e.y[:, 0], "run": k})
        for k, e in enumerate(runs)
    ]
    tables[0].to_csv(folder / "tank.csv", index=False)
    pd.concat(tables).to_csv(folder / "runs.csv", index=False)
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(CODE, "identification.md", "exec"), names)
    return names, folder


def test_a_csv_becomes_a_simulator_that_follows_rows_it_has_not_seen(ran) -> None:
    names, folder = ran
    test = names["test_record"]
    error = names["perform"](test.y, names["free"].y, measure="rmse")
    assert error < 0.1 * test.y.std()
    np.savez(folder / "rows.npz", u=test.u, y=test.y[: names["model"].start])
    code = "import numpy as np, simulator; d = np.load('rows.npz')\n"
    code += "np.save('run.npy', simulator.simulate(d['u'], d['y']))"
    subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, env={"PYTHONPATH": str(folder)}
    )
    np.testing.assert_allclose(np.load(folder / "run.npy"), names["free"].y, rtol=1e-9)


def test_what_it_makes_is_what_it_says(ran) -> None:
    names, folder = ran
    test = names["test_record"]
    assert [len(e) for e in names["several"]] == [600, 200]
    assert names["found"].verdict == "stable"
    assert names["handed_on"].y.shape == (100, 1) and names["five"].shape == (195, 5, 1)
    np.testing.assert_array_equal(
        names["again"].simulate(test.u, test.y[: names["model"].start]).y, names["free"].y
    )
    assert np.nanmax(names["spread"]) < test.y.std()
    assert names["closed"].training.free_run["train"] < 0.01 * names["train_record"].y.var()
    assert len(list(folder.glob("*.png"))) == 6


def test_every_name_of_the_door_stands_in_one_of_the_two_pages() -> None:
    unnamed = [name for name in door.__all__ if not re.search(rf"\b{name}\b", PAGE + OTHER)]
    assert unnamed == ["LoopRun", "Net", "Stability", "State", "TrainingRecord"]
