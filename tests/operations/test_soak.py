"""Five simulated days of operation with kills and faults; `make soak` lives through sixty, on both datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak import soak


@pytest.mark.slow
def test_five_days_of_operation_lose_nothing(tmp_path: Path) -> None:
    found = soak(tmp_path / "project", days=5, seed=3, datasets=("weather",), models=("naive", "ridge"))
    assert found.problems == [], dict(found.happened)
    assert found.happened["exit 0"] >= 1
