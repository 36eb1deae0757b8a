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
        (cached,) = (tmp_path / "__pycache__").iterdir()
        written_at = cached.stat().st_ino, cached.stat().st_mtime_ns
        loader = request.config.pluginmanager.rewrite_hook
        spec = importlib.util.spec_from_file_location("test_mine", module, loader=loader)
        assert spec is not None
        loaded = importlib.util.module_from_spec(spec)
        loader.exec_module(loaded)
        with pytest.raises(AssertionError, match=f"assert {number} == 3"):
            loaded.test()
        found_later = cached.stat().st_ino, cached.stat().st_mtime_ns
        assert found_later == written_at, "pytest has made it again"


def test_a_module_that_cannot_be_read_is_left_to_its_collection(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "test_broken.py").write_text("def test(:\n")
    (tmp_path / "test_bytes.py").write_bytes(b"\0\xff")
    (tmp_path / "test_gone.py").symlink_to(tmp_path / "nothing")
    (tmp_path / "test_mine.py").write_text("def test():\n    assert True\n")
    rewrite_asserts(tmp_path, request.config)
    (cached,) = (tmp_path / "__pycache__").iterdir()
    assert cached.name.startswith("test_mine.")


def test_where_nothing_can_be_written_or_is_rewritten_nothing_is_made(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_mine.py").write_text("def test():\n    assert True\n")
    with monkeypatch.context() as patch:
        patch.setattr(request.config, "stash", pytest.Stash())  # --assert=plain
        rewrite_asserts(tmp_path, request.config)
    assert not (tmp_path / "__pycache__").exists()
    (tmp_path / "__pycache__").touch()  # no folder can be made
    rewrite_asserts(tmp_path, request.config)
