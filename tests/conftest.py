"""What all tests of one process share."""

from pathlib import Path

# TensorFlow carries a libcurl of its own; loaded first, it takes curl_cffi's place and yfinance cannot fetch.
# Commands that fetch never import TensorFlow, but tests of both share a process.
import curl_cffi  # noqa: F401
import pytest

from forecast.statistical import keep_what_is_compiled

keep_what_is_compiled()  # statsforecast asks once, when the first test module imports it

HERE = Path(__file__).parent.as_posix()
LONG = (
    "test_whole_pipeline.py",
    "audit/test_leaks.py",
    "audit/test_clean.py",
    "faults/test_retrain_killed.py",
    "operations/test_soak.py",
    "audit/test_training_leaks.py",
    "test_live_examples.py",
    "faults/test_resume.py",
    "operations/test_retrain_service.py",
    "faults/test_runs.py",
    "tracking/test_reruns.py",
    "test_adding_a_model.py",
    "contract/test_heads.py",
    "contract/test_families.py",
)
"""Files of minutes, the longest first: begun last, one would leave every other worker idle until it ends."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, everything else in its order; `--dist loadfile` hands files out in the order they come in."""
    ranks = {name: rank for rank, name in enumerate(LONG)}

    def rank(item: pytest.Item) -> int:
        return ranks.get(item.path.as_posix().removeprefix(f"{HERE}/"), len(LONG))

    items.sort(key=rank)
