"""What goes on inside a trained network, kept beside it under the code that finds it: an edit there trains nothing.

The train stage calls it in its own process: 0.05 to 0.3 s a network, and no TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from forecast.backtest.backtest import Place, load_problem
from forecast.backtest.diagnostics import diagnose
from forecast.forecaster import Forecaster, Problem
from forecast.system import files
from forecast.system.code_closure import code_digest

ENGINE = "forecast.backtest.run_diagnostics"
WINDOWS = 3
"""Validation windows that a network is examined on, spread evenly over those of the first series."""


def diagnosed(place: Place, folder: Path) -> dict[str, Any]:
    """`{"numbers", "arrays"}` of the network saved in `folder`/seed; found once and kept next to its fit.json."""
    kept = folder / f"diagnostics-{code_digest([ENGINE])[:12]}.json"
    if not kept.exists():
        files.write_json(kept, examine(Forecaster.load(folder / "seed"), load_problem(place)))
    return files.read_json(kept)


def examine(forecaster: Forecaster, problem: Problem) -> dict[str, Any]:
    """`forecast.backtest.diagnostics.diagnose` on a few validation windows of the first series."""
    uid = problem.panel.series[0].unique_id
    rows = problem.rows(uid, "validation")
    spread = np.unique(np.linspace(0, len(rows) - 1, WINDOWS).astype(int))
    return diagnose(forecaster, next(problem.windows(uid, rows[spread])))
