"""What two runs of a pipeline must have in common."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from forecast.audit.runs import compare_choices


def run_with(folder: Path, **columns: list[float]) -> SimpleNamespace:
    keys = {"model": "naive", "ranking": "shipped", "series": ["a", "b"], "seed": "mean"}
    scores = pd.DataFrame({**keys, "rmse": [1.0, 2.0], "rmsse": [0.5, 1.0], **columns})
    results = SimpleNamespace(records={}, verdicts=SimpleNamespace(chosen={}), by_series=scores)
    return SimpleNamespace(tuned=folder, results=results)


@pytest.mark.parametrize(("mase", "n_leaks"), [([0.25, 0.5], 0), ([0.25, 0.4], 1)], ids=str)
def test_an_error_of_zero_shows_no_scale_and_is_no_leak(tmp_path, mase, n_leaks):
    """The first series is constant in the test block of the data as they are, not of the changed
    ones; the scale of the second is 4.
    """
    base = run_with(tmp_path, mae=[0.0, 2.0], mase=[0.0, 0.5])
    other = run_with(tmp_path, mae=[1.0, 2.0], mase=mase)
    findings = list(compare_choices(base, other, pd.Timestamp("2024-01-01"), "later rows"))
    assert len(findings) == n_leaks


@pytest.mark.parametrize(("mase", "n_leaks"), [(0.5, 0), (0.4, 1)])
def test_scales_of_the_rows_that_both_runs_have_are_compared(tmp_path, mase, n_leaks):
    base = run_with(tmp_path, mae=[1.0, 2.0], mase=[0.25, 0.5])
    other = run_with(tmp_path, mae=[1.0, 2.0], mase=[0.25, mase])
    other.results.by_series = other.results.by_series[1:]
    findings = list(compare_choices(base, other, pd.Timestamp("2024-01-01"), "later rows"))
    assert len(findings) == n_leaks
