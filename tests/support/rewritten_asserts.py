"""What pytest makes of the asserts of test modules, made once: in a fresh clone each of the workers
would make it of every module, since they begin together.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

FILES = ("conftest.py", "test_*.py")
"""Those whose asserts pytest rewrites."""


def rewrite_asserts(folder: Path, config: pytest.Config) -> None:
    """Write what is missing, or of an earlier text, beside the modules in `folder`, where pytest
    looks for it. Nothing with a pytest that does it by other functions.
    """
    with contextlib.suppress(ImportError):
        from _pytest.assertion import rewrite
        from _pytest.assertion.rewrite import _read_pyc, _rewrite_test, _write_pyc

        state = config.stash[rewrite.assertstate_key]
        for path in sorted(path for pattern in FILES for path in folder.rglob(pattern)):
            kept = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
            if _read_pyc(path, kept) is None:
                digest, code = _rewrite_test(path, config)
                kept.parent.mkdir(parents=True, exist_ok=True)
                _write_pyc(state, code, digest, kept)
