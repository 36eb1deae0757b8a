"""Five simulated days of operation with kills and faults; `make soak` lives through sixty, on both
datasets.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import killing
from bench.soak import soak


@pytest.mark.slow
def test_five_days_of_operation_lose_nothing(tmp_path: Path) -> None:
    soaked = soak(
        tmp_path / "project", days=5, seed=3, datasets=("weather",), models=("naive", "ridge")
    )
    assert soaked.problems == [], dict(soaked.happened)
    assert soaked.happened["exit 0"] >= 1


@pytest.mark.slow
def test_five_days_with_kills_at_random_moments_lose_nothing_and_go_on_where_they_stopped(
    tmp_path: Path,
) -> None:
    killing.lived(tmp_path, days=2, kills=2, seed=5)
    soaked = killing.lived(tmp_path, days=5, kills=10, seed=5)
    assert soaked.problems == [], dict(soaked.happened)
    assert (
        sum(
            count for what, count in soaked.happened.items() if what.endswith(("killed", "quicker"))
        )
        == 8
    )
