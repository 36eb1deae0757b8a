"""What is made of the asserts of a module before the workers begin is what pytest reads there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.rewritten_asserts import rewrite_asserts


def test_pytest_finds_the_asserts_of_the_module_as_it_is_now(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    module = tmp_path / "test_mine.py"
    for number in (1, 2):
        module.write_text(f"def test():\n    seen = {number}\n    assert seen == 3\n")
        rewrite_asserts(tmp_path, request.config)
        (kept,) = (tmp_path / "__pycache__").iterdir()
        made = kept.stat().st_ino, kept.stat().st_mtime_ns
        loader = request.config.pluginmanager.rewrite_hook
        spec = importlib.util.spec_from_file_location("test_mine", module, loader=loader)
        assert spec is not None
        found = importlib.util.module_from_spec(spec)
        loader.exec_module(found)
        with pytest.raises(AssertionError, match=f"assert {number} == 3"):
            found.test()
        found_later = kept.stat().st_ino, kept.stat().st_mtime_ns
        assert found_later == made, "pytest has made it again"
