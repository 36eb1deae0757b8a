"""Native kernels are compiled once, ahead of the workers that need them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from forecast.networks import ahead
from tests.faults.processes import eventually


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of kernels that were never compiled, and a compiler that leaves its number and
    works until it is ended.
    """
    pytest.importorskip("forecast.networks.native")
    folder = tmp_path / "native"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr("forecast.networks.native.__file__", str(folder / "__init__.py"))
    script = "import os, time; open('begun', 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(ahead, "SCRIPT", script)
    return folder


def test_a_compiler_works_beside_the_block_and_ends_with_it(kernels: Path) -> None:
    with ahead.compile_ahead(kernels):
        assert eventually(lambda: (kernels / "begun").exists() and (kernels / "begun").read_text())
        os.kill(pid := int((kernels / "begun").read_text()), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_kernels_that_are_newer_than_their_code_are_not_compiled(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = kernels / "__pycache__" / "recurrence.nbi"
    stored.touch()
    os.utime(stored, (time.time() + 10,) * 2)
    monkeypatch.setattr(ahead.subprocess, "Popen", lambda *_, **__: pytest.fail("it compiles"))
    with ahead.compile_ahead(kernels):
        pass


def test_nothing_is_compiled_where_kernels_are_switched_off(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("forecast.networks.native")
    monkeypatch.setitem(sys.modules, "forecast.networks.native", None)
    monkeypatch.setattr(ahead.subprocess, "Popen", lambda *_, **__: pytest.fail("it compiles"))
    with ahead.compile_ahead(kernels):
        pass
